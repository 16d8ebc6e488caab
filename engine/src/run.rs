//! One container in the foreground.
//!
//! What it writes goes to a snapshot of its own that is thrown away at the end; what it uses of images is leased for
//! as long as it runs. If this process is killed, the container dies with it, and the next command takes away what
//! is left.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rbuild_confined::Root;
use rbuild_confined::users::{Id, UserSpec, Users};
use rbuild_images::{Images, Progress, Resolved};
use rbuild_model::reference::Reference;
use rbuild_network::driver::{DriverKind, EndpointSpec, LinkEnd, NetworkSpec};
use rbuild_network::drivers::driver;
use rbuild_network::hosts::{HostEntry, render, render_on_host};
use rbuild_network::names::{EndpointId, NetworkId};
use rbuild_network::namespace::Namespace;
use rbuild_network::ports::{Published, Reservation};
use rbuild_network::resolver::{for_host_namespace, for_private_namespace};
use rbuild_network::site::{Site, SiteConfig};
use rbuild_sandbox::cgroup::{Cgroup, CgroupRequest, Devices, Layout as CgroupLayout};
use rbuild_sandbox::mounts::mount_detached;
use rbuild_sandbox::profile::{self, Identity, Options, Privilege};
use rbuild_sandbox::{
    Access, Exit, FileContent, Launcher, LauncherConfig, Lifetime, Mount, MountSource, Namespaces, Order,
    Restrictions, SlotRequest, Stdio, Stubs,
};
use rbuild_snapshotter::{Active, Snapshotter, Writes};
use rbuild_store::{LockClass, LockMode, LockName, Store, TempTree, UniqueId};

use crate::error::RunError;
use crate::plan;
use crate::request::{Init, Missing, MountKind, MountRequest, NetworkRequest, RunRequest, Stdin};
use crate::volumes;

/// The parts that an engine is put together from.
pub struct Parts {
    /// The store.
    pub store: Store,
    /// The images of the store.
    pub images: Arc<Images>,
    /// The snapshots of the store.
    pub snapshotter: Arc<dyn Snapshotter>,
    /// How processes are launched.
    pub launcher: LauncherConfig,
    /// Where networks are made.
    pub site: SiteConfig,
    /// The folder that the cgroups of this store are in.
    pub cgroup_prefix: String,
    /// `/etc/resolv.conf` of the host.
    pub resolv_conf: Option<String>,
    /// systemd-resolved's list of real servers.
    pub resolved_upstream: Option<String>,
    /// `/etc/hosts` of the host.
    pub hosts: String,
}

/// Runs containers.
pub struct Engine {
    parts: Parts,
}

/// The near ends of a container's standard streams.
#[derive(Debug)]
pub enum Streams {
    /// The master of its terminal.
    Terminal(OwnedFd),
    /// Pipes.
    Pipes {
        /// What is written here is its input; absent if that is not attached.
        stdin: Option<OwnedFd>,
        /// Its output.
        stdout: OwnedFd,
        /// Its error output.
        stderr: OwnedFd,
    },
}

/// Takes part in the life of a container in the foreground: moves bytes, forwards signals.
pub trait Attendant {
    /// The container's program is about to run, or runs. Must return soon; work goes to threads.
    fn started(&mut self, process: BorrowedFd<'_>, streams: Streams) -> std::io::Result<()>;

    /// The container has ended; returns when all of its output was passed on.
    fn ended(&mut self);

    /// Something that people should know.
    fn note(&mut self, text: &str);
}

/// How a container ended.
#[derive(Debug)]
pub struct Finished {
    /// The exit status.
    pub exit: Exit,
}

struct Networked {
    namespace: Option<OwnedFd>,
    endpoint: Option<(Site, NetworkId, EndpointId)>,
    own: Option<std::net::Ipv4Addr>,
    gateway: Option<std::net::Ipv4Addr>,
    _ports: Vec<Reservation>,
}

/// What a container's mounts need for as long as it runs.
struct Mounted {
    mounts: Vec<Mount>,
    _own: Vec<TempTree>,
}

impl Engine {
    /// Puts an engine together; nothing is started yet.
    pub fn new(parts: Parts) -> Self {
        Self { parts }
    }

    /// Runs a container to its end.
    pub fn run(
        &self,
        request: &RunRequest,
        progress: &dyn Progress,
        attendant: &mut dyn Attendant,
    ) -> Result<Finished, RunError> {
        if request.init == Init::Reaper {
            return Err(RunError::Unsupported { what: "--init".to_owned() });
        }
        let id = UniqueId::random()?;
        let store = &self.parts.store;
        let scope = store.locks().scope();
        let _name = match &request.name {
            None => None,
            Some(name) => {
                check_container_name(name)?;
                let lock = LockName::new(LockClass::Container, format!("name {name}"));
                let lock = scope.try_acquire(&lock, LockMode::Exclusive)?;
                Some(lock.ok_or_else(|| RunError::NameInUse { name: name.clone(), holder: None })?)
            }
        };
        let lease = store.lease("run")?;
        let resolved = self.resolve(request, &lease, progress)?;
        let active = self.parts.snapshotter.prepare(&resolved.chain)?;
        let result = self.run_on(request, &id, &resolved, &active, attendant);
        let discarded = self.parts.snapshotter.discard(active);
        let finished = result?;
        discarded?;
        Ok(finished)
    }

    fn resolve(
        &self,
        request: &RunRequest,
        lease: &rbuild_store::Lease,
        progress: &dyn Progress,
    ) -> Result<Resolved, RunError> {
        let images = &self.parts.images;
        let fail = |source| RunError::Image { name: request.image.clone(), source: Box::new(source) };
        // An id, or the beginning of one, is no name that a registry knows.
        if request.pull != rbuild_images::PullPolicy::Always
            && let Ok(id) = images.find_id(&request.image)
        {
            return images.ready(id, None, lease, progress).map_err(fail);
        }
        let reference: Reference = request
            .image
            .parse()
            .map_err(|error| RunError::Invalid { what: "image name", why: format!("{error}") })?;
        images.resolve(&reference, &request.platform, request.pull, lease, progress).map_err(fail)
    }

    fn run_on(
        &self,
        request: &RunRequest,
        id: &UniqueId,
        resolved: &Resolved,
        active: &Active,
        attendant: &mut dyn Attendant,
    ) -> Result<Finished, RunError> {
        let config = &resolved.config.config;
        let argv = plan::argv(request, config)?;
        let command = argv.join(" ");
        let view = self.parts.snapshotter.view(&resolved.chain)?;
        let image = Root::from_fd(mount_detached(&view)?)?;
        let user = request.user.as_deref().unwrap_or(&config.user);
        let (identity, home) = identity(&image, user, &request.groups)?;
        let short = &id.to_string()[..12];
        let hostname = request.hostname.clone().unwrap_or_else(|| short.to_owned());

        let mut options = Options::new(argv);
        options.env = plan::environment(request, config, &hostname, &home);
        options.cwd = plan::workdir(request, config)?;
        options.identity = identity;
        options.host_namespaces = request.host_namespaces;
        options.host_namespaces.network |= request.network == NetworkRequest::Host;
        options.hostname = Some(hostname.clone()).filter(|_| !options.host_namespaces.uts);
        options.domainname.clone_from(&request.domainname);
        options.confinement = request.confinement.clone();
        options.rlimits = request
            .ulimits
            .iter()
            .map(|limit| {
                let bound = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
                (limit.name.clone(), bound(limit.soft), bound(limit.hard))
            })
            .collect();
        options.sysctls.clone_from(&request.sysctls);
        if !request.devices.is_empty() {
            return Err(RunError::Unsupported { what: "--device".to_owned() });
        }
        if let Some(size) = request.shm_size {
            options.shm_size = size;
        }
        options.terminal = request.terminal;
        options.root = request.root;
        options.oom_score_adj = request.oom_score_adj;
        let spec = profile::container(options)?;

        let network = self.network(request, id)?;
        let result = (|| -> Result<Finished, RunError> {
            let mut mounted = self.mounts(request, &image)?;
            let mut mounts = self.host_files(request, &network, &hostname)?;
            mounts.append(&mut mounted.mounts);
            drop(image);
            let launch = |source| RunError::Launch { command: command.clone(), source };
            let launcher = Launcher::new(&self.parts.launcher).map_err(launch)?;
            let privileged = request.confinement.privilege == Privilege::Privileged;
            let cgroup = Cgroup::create(
                CgroupLayout::shared(),
                &CgroupRequest {
                    prefix: self.parts.cgroup_prefix.clone(),
                    name: id.to_string(),
                    limits: request.limits.clone(),
                    devices: if privileged {
                        Devices::All
                    } else {
                        Devices::DefaultAnd(request.device_rules.clone())
                    },
                },
            )?;
            let namespace = network.namespace.as_ref().map(OwnedFd::try_clone).transpose();
            let namespace = namespace.map_err(io("keep", "the network namespace"))?;
            let slot = launcher
                .slot(SlotRequest {
                    cgroup,
                    namespaces: Namespaces::of_spec(&spec, namespace),
                    lifetime: Lifetime::Bound,
                    oom_score_adj: request.oom_score_adj,
                })
                .map_err(launch)?;
            let root = self.parts.snapshotter.root(active, Writes::Volatile)?;
            let (stdio, near) = streams(request)?;
            let order = Order { spec, root, mounts, stubs: Stubs::Keep };
            let mut created = slot.create(order, stdio).map_err(launch)?;
            for note in created.notes() {
                attendant.note(note);
            }
            let streams = match near {
                Some(near) => near,
                None => Streams::Terminal(created.take_terminal().ok_or_else(|| RunError::Invalid {
                    what: "terminal",
                    why: "the container was made without one".to_owned(),
                })?),
            };
            attendant.started(created.pidfd(), streams).map_err(io("attach", "the container"))?;
            let exit = created.start().map_err(launch).and_then(|running| Ok(running.wait()?));
            attendant.ended();
            Ok(Finished { exit: exit? })
        })();
        let detached = network.detach();
        let finished = result?;
        detached?;
        Ok(finished)
    }

    fn network(&self, request: &RunRequest, id: &UniqueId) -> Result<Networked, RunError> {
        let mut networked =
            Networked { namespace: None, endpoint: None, own: None, gateway: None, _ports: Vec::new() };
        if request.network != NetworkRequest::Bridge {
            if !request.published.is_empty() {
                return Err(RunError::Invalid {
                    what: "port publication",
                    why: "published ports need the bridge network".to_owned(),
                });
            }
            return Ok(networked);
        }
        let mut published = Vec::new();
        for port in &request.published {
            let host = port.address().map_err(|address| RunError::Unsupported {
                what: format!("publishing on the IPv6 address {address}"),
            })?;
            let wanted = Published {
                protocol: port.protocol,
                host,
                port: port.host_port.unwrap_or(0),
                target: port.port,
            };
            let reservation = Reservation::bind(wanted)?;
            published.push(reservation.published());
            networked._ports.push(reservation);
        }
        let site = Site::open(self.parts.site.clone())?;
        let bridge = driver(DriverKind::Bridge);
        let network_id = NetworkId::new("bridge").map_err(rbuild_network::error::Error::from)?;
        let network = bridge.ensure(&site, &NetworkSpec::new(network_id))?;
        let mut namespace = Namespace::create()?;
        let endpoint_id = EndpointId::new(&id.to_string()).map_err(rbuild_network::error::Error::from)?;
        let spec = EndpointSpec { published, ..EndpointSpec::new(endpoint_id) };
        let endpoint = bridge.attach(&site, &network, &mut namespace, &spec)?;
        networked.namespace = Some(namespace.into_fd());
        networked.own = endpoint.address.map(|address| address.address);
        networked.gateway = endpoint.address.map(|address| address.gateway);
        networked.endpoint = Some((site, network.id, endpoint.id));
        Ok(networked)
    }

    fn host_files(
        &self,
        request: &RunRequest,
        network: &Networked,
        hostname: &str,
    ) -> Result<Vec<Mount>, RunError> {
        let invalid = |error: rbuild_network::hosts::HostNameError| RunError::Invalid {
            what: "host name",
            why: error.to_string(),
        };
        let mut extra = Vec::new();
        for host in &request.extra_hosts {
            let address = match host.address.as_str() {
                "host-gateway" => network.gateway.map(Into::into),
                text => text.parse().ok(),
            };
            if let Some(address) = address {
                extra.push(HostEntry::new(address, &host.name).map_err(invalid)?);
            }
        }
        let Parts { resolv_conf, resolved_upstream, hosts, .. } = &self.parts;
        let (hosts, resolv) = if request.network == NetworkRequest::Host {
            (render_on_host(hosts, &extra), for_host_namespace(resolv_conf.as_deref(), &request.dns))
        } else {
            let own: Result<Vec<_>, _> =
                network.own.iter().map(|own| HostEntry::new((*own).into(), hostname)).collect();
            let resolver =
                for_private_namespace(resolv_conf.as_deref(), resolved_upstream.as_deref(), &request.dns);
            (render(&extra, &own.map_err(invalid)?), resolver.conf.render())
        };
        let file = |target: &str, text: String| Mount {
            target: target.into(),
            source: MountSource::File(FileContent { bytes: text.into_bytes(), mode: 0o644, uid: 0, gid: 0 }),
            access: Access::ReadWrite,
            restrictions: Restrictions::default(),
        };
        Ok(vec![
            file("/etc/hosts", hosts),
            file("/etc/resolv.conf", resolv),
            file("/etc/hostname", format!("{hostname}\n")),
        ])
    }

    fn mounts(&self, request: &RunRequest, image: &Root) -> Result<Mounted, RunError> {
        let mut mounted = Mounted { mounts: Vec::new(), _own: Vec::new() };
        let mut wanted: Vec<&MountRequest> = request.mounts.iter().collect();
        // Parents before what lies below them, whatever the order on the command line.
        wanted.sort_by_key(|mount| Path::new(&mount.target).components().count());
        for MountRequest { target, access, kind } in wanted {
            let source = match kind {
                MountKind::Bind { source, missing } => {
                    if *missing == Missing::MakeFolder && !source.exists() {
                        std::fs::create_dir_all(source).map_err(io("make", source))?;
                    }
                    if std::fs::metadata(source).is_err() {
                        return Err(RunError::BindMissing { path: source.clone() });
                    }
                    MountSource::Host(source.clone())
                }
                MountKind::Volume { name, begins, subpath } => {
                    let folder = match name {
                        Some(name) => volumes::open(&self.parts.store, name, image, target, *begins)?,
                        None => {
                            let own = self.parts.store.temp_tree()?;
                            volumes::fill("of the container", own.path(), image, target)?;
                            let path = own.path().to_owned();
                            mounted._own.push(own);
                            path
                        }
                    };
                    let root = rbuild_model::rootfs::RootPlan::Directory { path: folder, readonly: false };
                    let path = subpath.as_ref().map_or_else(|| PathBuf::from("/"), PathBuf::from);
                    MountSource::Within { root, path }
                }
                MountKind::Tmpfs(tmpfs) => MountSource::Tmpfs(tmpfs.clone()),
            };
            let restrictions = match kind {
                MountKind::Tmpfs(_) => Restrictions { nosuid: true, nodev: true, noexec: true },
                _ => Restrictions::default(),
            };
            mounted.mounts.push(Mount { target: target.into(), source, access: *access, restrictions });
        }
        Ok(mounted)
    }
}

impl Networked {
    fn detach(self) -> Result<(), RunError> {
        let Some((site, network, endpoint)) = &self.endpoint else { return Ok(()) };
        Ok(driver(DriverKind::Bridge).detach(site, network, endpoint, LinkEnd::WithNamespace)?)
    }
}

/// Makes the pipes of a container without a terminal: its ends, and the near ones.
fn streams(request: &RunRequest) -> Result<(Stdio, Option<Streams>), RunError> {
    if request.terminal.is_some() {
        return Ok((Stdio::default(), None));
    }
    let pipe = || {
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|errno| io("make", "the container's pipes")(errno.into()))
    };
    let (stdout, out) = pipe()?;
    let (stderr, err) = pipe()?;
    let (input, stdin) = match request.stdin {
        Stdin::Closed => (None, None),
        Stdin::Attached => {
            let (read, write) = pipe()?;
            (Some(read), Some(write))
        }
    };
    let stdio = Stdio { stdin: input, stdout: Some(out), stderr: Some(err) };
    Ok((stdio, Some(Streams::Pipes { stdin, stdout, stderr })))
}

fn identity(image: &Root, user: &str, groups: &[String]) -> Result<(Identity, String), RunError> {
    let fail = |source| RunError::User { user: user.to_owned(), source };
    let spec: UserSpec = user.parse().map_err(fail)?;
    let users = Users::load(image);
    let found = users.lookup(&spec).map_err(fail)?;
    let mut all = found.groups;
    for group in groups {
        let spec: UserSpec = format!("0:{group}").parse().map_err(fail)?;
        let gid = match spec.group {
            Some(Id::Number(gid)) => gid,
            _ => users.lookup(&spec).map_err(fail)?.gid,
        };
        all.push(gid);
    }
    all.sort_unstable();
    all.dedup();
    let home = found.home.to_string_lossy().into_owned();
    Ok((Identity { uid: found.uid, gid: found.gid, groups: all }, home))
}

/// Checks a container's name: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
fn check_container_name(name: &str) -> Result<(), RunError> {
    let mut bytes = name.bytes();
    let good = name.len() >= 2
        && name.len() <= 128
        && bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if good {
        return Ok(());
    }
    Err(RunError::Invalid {
        what: "container name",
        why: format!("({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"),
    })
}

fn io(act: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> RunError {
    let path = path.into();
    move |source| RunError::Io { act, path, source }
}

//! One container in the foreground.
//!
//! What it writes goes to a snapshot of its own that is thrown away at the end; what it uses of images is leased for
//! as long as it runs. If this process is killed, the container dies with it, and the next command takes away what
//! is left.

mod devices;
mod mounts;
mod network;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rbuild_confined::Root;
use rbuild_confined::users::{Id, UserSpec, Users};
use rbuild_images::{Images, Progress, Resolved};
use rbuild_model::reference::Reference;
use rbuild_network::site::SiteConfig;
use rbuild_sandbox::cgroup::{Cgroup, CgroupRequest, Devices, Layout as CgroupLayout};
use rbuild_sandbox::mounts::mount_detached;
use rbuild_sandbox::profile::{self, FirstProcess, Identity, Options, Privilege};
use rbuild_sandbox::{
    Exit, Launcher, LauncherConfig, Lifetime, Namespaces, Order, SlotRequest, Stdio, Stubs,
};
use rbuild_snapshotter::{Active, Snapshotter, Writes};
use rbuild_store::{LockClass, LockError, LockMode, LockName, LockScope, Store, UniqueId, Wait};

use self::devices::Granted;
use crate::error::RunError;
use crate::plan;
use crate::request::{Init, NetworkRequest, RunRequest, Stdin};

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
        let id = UniqueId::random()?;
        let store = &self.parts.store;
        let scope = store.locks().scope();
        let _name = match &request.name {
            None => None,
            Some(name) => {
                check_container_name(name)?;
                let lock = LockName::new(LockClass::Container, format!("name {name}"));
                let at_once = Wait { timeout: Some(Duration::ZERO), ..Wait::forever() };
                let lock =
                    scope.acquire(&lock, LockMode::Exclusive, &at_once).map_err(|error| match error {
                        LockError::TimedOut { holder, .. } => RunError::NameInUse {
                            name: name.clone(),
                            holder: holder.map(|holder| holder.to_string()),
                        },
                        error => error.into(),
                    })?;
                Some(lock)
            }
        };
        let lease = store.lease("run")?;
        let resolved = self.resolve(request, &lease, progress)?;
        let active = self.parts.snapshotter.prepare(&resolved.chain)?;
        let result = self.run_on(request, &id, &resolved, &active, &scope, attendant);
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
        scope: &LockScope,
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
        let privileged = request.confinement.privilege == Privilege::Privileged;
        let Granted { devices, rules } = devices::grant(&request.devices)?;
        if privileged {
            options.devices = devices::all()?;
        }
        options.devices.extend(devices);
        options.first = match request.init {
            Init::Program => FirstProcess::Program,
            Init::Reaper => FirstProcess::Reaper,
        };
        if let Some(size) = request.shm_size {
            options.shm_size = size;
        }
        options.terminal = request.terminal;
        options.root = request.root;
        options.oom_score_adj = request.oom_score_adj;
        let spec = profile::container(options)?;

        let network = self.connect(request, id, attendant)?;
        let result = (|| -> Result<Finished, RunError> {
            let mut mounted = self.mounts(request, config, &image, scope)?;
            let mut mounts = self.name_files(request, &network, &hostname, attendant)?;
            mounts.append(&mut mounted.mounts);
            drop(image);
            let launch = |source| RunError::Launch { command: command.clone(), source };
            let launcher = Launcher::new(&self.parts.launcher).map_err(launch)?;
            let cgroup = Cgroup::create(
                CgroupLayout::shared(),
                &CgroupRequest {
                    prefix: self.parts.cgroup_prefix.clone(),
                    name: id.to_string(),
                    limits: request.limits.clone(),
                    devices: if privileged {
                        Devices::All
                    } else {
                        Devices::DefaultAnd([rules, request.device_rules.clone()].concat())
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
        let detached = network.disconnect();
        let finished = result?;
        detached?;
        Ok(finished)
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

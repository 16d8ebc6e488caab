//! A container of a service, as the engine is asked for it. Pure.
//!
//! What a service can say and no engine of one Linux host does is an error that names the key, never left out.

mod network;
mod resources;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rbuild_images::PullPolicy;
use rbuild_model::container::{
    Begins, BindRecursion, ContainerId, DeviceRequest, DeviceUse, LogConfig, MissingSource, MountAsked,
    NamespaceUse, Propagation, RestartPolicy, SeccompUse, Streams, TmpfsMount, TmpfsUse,
};
use rbuild_model::image_config::Healthcheck;
use rbuild_model::project::{
    self, Bytes, CgroupNamespace, DeviceCount, HealthTest, MountKind, Namespace, Project, Restart, Service,
    ServiceName, VolumesFrom,
};
use rbuild_sandbox::Access;
use rbuild_sandbox::capabilities::{self, canonical};

use super::labels::{self, Place};
use crate::containers::{CreateRequest, MountKind as Asked, MountRequest, check_workdir};

pub(super) use network::{endpoint, port};
pub(super) use resources::resources;

/// Something that a service, a network or a volume says and that cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{section}.{name}.{key}: {why}")]
pub struct NotPossible {
    /// The section of the project.
    section: &'static str,
    /// The service, network or volume.
    name: String,
    /// The key below it.
    pub key: String,
    /// Why, and what helps.
    pub why: String,
}

impl NotPossible {
    /// Says what is wrong with a key of a service.
    pub(super) fn new(service: &Service, key: impl Into<String>, why: impl ToString) -> Self {
        Self::of("services", service.name.as_str(), key, why)
    }

    /// Says what is wrong with a key of something in a section.
    pub(super) fn of(section: &'static str, name: &str, key: impl Into<String>, why: impl ToString) -> Self {
        Self { section, name: name.to_owned(), key: key.into(), why: why.to_string() }
    }

    /// Says that something of the host is not there.
    pub(super) fn missing(service: &Service, key: impl Into<String>, path: &Path) -> Self {
        Self::new(service, key, format!("bind source path does not exist: {}", path.display()))
    }

    /// The keys and positions that lead to it from the top of the project.
    pub fn path(&self) -> Vec<String> {
        let keys = self.key.split(['.', '[']).map(|key| key.trim_end_matches(']').to_owned());
        [self.section.to_owned(), self.name.clone()].into_iter().chain(keys).collect()
    }
}

/// What is known of a container besides its service.
#[derive(Clone, Debug)]
pub struct Making<'a> {
    /// The project.
    pub project: &'a Project,
    /// The service.
    pub service: &'a Service,
    /// Which of its containers it is.
    pub place: Place,
    /// Its name.
    pub name: String,
    /// The image, by the name that it is found by.
    pub image: String,
    /// The image's id, for its label.
    pub image_id: String,
    /// The first container of each service that others share something with.
    pub parents: &'a BTreeMap<ServiceName, ContainerId>,
    /// Volumes of the container whose place it takes, by target.
    pub inherited: &'a BTreeMap<String, String>,
    /// The content of files that `security_opt` names, by path.
    pub profiles: &'a BTreeMap<String, String>,
    /// The version of this program.
    pub version: &'a str,
}

/// Returns what the engine is asked for.
pub fn container(making: &Making<'_>) -> Result<CreateRequest, NotPossible> {
    let service = making.service;
    refuse(service)?;
    let mut request = CreateRequest::new(making.image.clone());
    request.pull = PullPolicy::Never;
    if let Some(platform) = &service.platform {
        request.platform = platform.parse().map_err(|error| not(service, "platform", error))?;
    }
    request.name = Some(making.name.clone());
    request.entrypoint.clone_from(&service.entrypoint);
    request.command = service.command.clone().unwrap_or_default();
    request.env = service
        .environment
        .iter()
        .map(|(name, value)| match value {
            Some(value) => format!("{name}={value}"),
            None => name.clone(),
        })
        .collect();
    if let Some(folder) = &service.working_dir {
        check_workdir(folder).map_err(|why| not(service, "working_dir", why))?;
    }
    request.workdir.clone_from(&service.working_dir);
    request.user.clone_from(&service.user);
    request.hostname.clone_from(&service.hostname);
    request.domainname.clone_from(&service.domainname);
    request.labels =
        labels::of_container(making.project, service, &making.place, &making.image_id, making.version);
    request.exposed = service
        .expose
        .iter()
        .map(|port| if port.contains('/') { port.clone() } else { format!("{port}/tcp") })
        .chain(service.ports.iter().map(|port| format!("{}/{}", port.target, port.protocol.as_str())))
        .collect();
    request.health = service.healthcheck.as_ref().map(|check| health(service, check)).transpose()?;
    let signal = service.stop_signal.as_deref().map(str::parse).transpose();
    request.stop_signal = signal.map_err(|error| not(service, "stop_signal", error))?;
    request.stop_timeout = service
        .stop_grace_period
        .map(|grace| i64::try_from(grace.as_secs_f64().ceil() as u64).unwrap_or(i64::MAX));
    request.streams = Streams { tty: service.tty, open_stdin: service.stdin_open, ..Streams::default() };
    request.mounts = mounts(making)?;
    request.volumes_from = volumes_from(making)?;
    host(making, &mut request)?;
    request.host.volumes_from.clone_from(&request.volumes_from);
    Ok(request)
}

/// Refuses what cannot be had on one Linux host.
fn refuse(service: &Service) -> Result<(), NotPossible> {
    let here = "works on Windows only";
    let refused = [
        ("credential_spec", service.credential_spec.is_some(), here),
        ("isolation", service.isolation.as_deref().is_some_and(|word| word != "default"), here),
        ("cpu_count", service.cpu_count.is_some_and(|count| count != 0), here),
        ("cpu_percent", service.cpu_percent.is_some_and(|percent| percent != 0), here),
        ("storage_opt", !service.storage_opt.is_empty(), "needs a quota, which is not supported yet"),
        ("use_api_socket", service.use_api_socket, "needs the Engine API, which is not served yet"),
        (
            "userns_mode",
            service.userns_mode.as_deref().is_some_and(|mode| !mode.is_empty() && mode != "host"),
            "can only be `host`",
        ),
        (
            "runtime",
            service
                .runtime
                .as_deref()
                .is_some_and(|name| !matches!(name, "" | "rbuild" | "runc" | "io.containerd.runc.v2")),
            "is not known: leave it out, there is one runtime",
        ),
    ];
    match refused.into_iter().find(|(_, refused, _)| *refused) {
        Some((key, _, why)) => Err(not(service, key, why)),
        None => Ok(()),
    }
}

fn not(service: &Service, key: impl Into<String>, why: impl ToString) -> NotPossible {
    NotPossible::new(service, key, why)
}

/// Durations of zero and an empty test mean what the image says.
fn health(service: &Service, check: &project::HealthCheck) -> Result<Healthcheck, NotPossible> {
    if check.start_interval.is_some() && check.start_period.is_none() {
        let why = "healthcheck.start_interval requires healthcheck.start_period to be set";
        return Err(not(service, "healthcheck.start_interval", why));
    }
    let nanoseconds =
        |time: Option<Duration>| i64::try_from(time.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX);
    let test = match &check.test {
        None => Vec::new(),
        Some(HealthTest::None) => vec!["NONE".to_owned()],
        Some(HealthTest::Command(argv)) => {
            std::iter::once("CMD".to_owned()).chain(argv.iter().cloned()).collect()
        }
        Some(HealthTest::Shell(text)) => vec!["CMD-SHELL".to_owned(), text.clone()],
    };
    Ok(Healthcheck {
        test,
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
        retries: check.retries.unwrap_or_default() as _,
    })
}

fn mounts(making: &Making<'_>) -> Result<Vec<MountRequest>, NotPossible> {
    let service = making.service;
    let mut mounts = Vec::new();
    for (number, mount) in service.volumes.iter().enumerate() {
        let key = || format!("volumes[{number}]");
        let kind = match &mount.kind {
            MountKind::Bind { source, options } => Asked::Bind {
                source: source.clone(),
                missing: if options.create_host_path { MissingSource::Make } else { MissingSource::Refuse },
                recursion: recursion(options.recursive, mount.read_only),
                propagation: propagation(options.propagation),
            },
            MountKind::Volume { source, nocopy, subpath, labels } => {
                let name = match source {
                    Some(key) => making.project.volumes.get(key).map(|volume| volume.name.clone()),
                    None => making.inherited.get(&mount.target).cloned(),
                };
                let volume = source.as_ref().and_then(|key| making.project.volumes.get(key));
                let volume = volume.filter(|volume| !volume.external);
                Asked::Volume {
                    name,
                    begins: if *nocopy { Begins::Empty } else { Begins::WithImage },
                    subpath: subpath.clone(),
                    driver: volume.and_then(|volume| volume.driver.clone()),
                    options: volume.map(|volume| volume.driver_opts.clone()).unwrap_or_default(),
                    labels: labels.clone(),
                }
            }
            MountKind::Tmpfs { size, mode } => Asked::Tmpfs(TmpfsUse::new(positive(*size), *mode)),
            MountKind::Image { source, subpath } => {
                Asked::Image { reference: source.clone(), subpath: subpath.clone() }
            }
            MountKind::NamedPipe { .. } => {
                return Err(not(service, key(), "named pipes work on Windows only"));
            }
            MountKind::Cluster { .. } => {
                return Err(not(service, key(), "volumes of a cluster need a cluster"));
            }
        };
        let access = if mount.read_only { Access::ReadOnly } else { Access::ReadWrite };
        mounts.push(MountRequest { target: mount.target.clone(), access, kind, asked: asked(mount) });
    }
    for (number, text) in service.tmpfs.iter().enumerate() {
        let mount: TmpfsMount = text.parse().map_err(|why| not(service, format!("tmpfs[{number}]"), why))?;
        let access = if mount.read_only { Access::ReadOnly } else { Access::ReadWrite };
        let (kind, asked) = (Asked::Tmpfs(mount.folder), MountAsked::default());
        mounts.push(MountRequest { target: mount.target, access, kind, asked });
    }
    // What the image declares and the project does not name: the volume of the container before.
    for (target, volume) in making.inherited {
        if !mounts.iter().any(|mount| mount.target == *target) {
            mounts.push(MountRequest {
                target: target.clone(),
                access: Access::ReadWrite,
                kind: Asked::Volume {
                    name: Some(volume.clone()),
                    begins: Begins::Empty,
                    subpath: None,
                    driver: None,
                    options: BTreeMap::new(),
                    labels: BTreeMap::new(),
                },
                asked: MountAsked::default(),
            });
        }
    }
    Ok(mounts)
}

/// In which form Compose asks for a mount: in the short one where that can say all of it.
fn asked(mount: &project::Mount) -> MountAsked {
    let short = |more: &str| {
        let access = if mount.read_only { "ro" } else { "rw" };
        MountAsked::Short { options: format!("{access}{more}") }
    };
    match &mount.kind {
        MountKind::Volume { source: None, .. } => MountAsked::Target,
        MountKind::Volume { nocopy, subpath: None, labels, .. } if labels.is_empty() => {
            short(if *nocopy { ",nocopy" } else { "" })
        }
        MountKind::Bind { options, .. } if options.recursive.is_none() => match options.propagation {
            Some(wanted) => short(&format!(",{}", propagation(Some(wanted)).word())),
            None => short(""),
        },
        _ => MountAsked::long(),
    }
}

fn recursion(wanted: Option<project::Recursive>, read_only: bool) -> BindRecursion {
    match wanted {
        None | Some(project::Recursive::Enabled) => BindRecursion::All,
        Some(project::Recursive::Disabled) => BindRecursion::One,
        Some(project::Recursive::Writable) => BindRecursion::Writable,
        Some(project::Recursive::ReadOnly) if read_only => BindRecursion::ReadOnly,
        Some(project::Recursive::ReadOnly) => BindRecursion::All,
    }
}

fn propagation(wanted: Option<project::Propagation>) -> Propagation {
    match wanted {
        None | Some(project::Propagation::RPrivate) => Propagation::RPrivate,
        Some(project::Propagation::Private) => Propagation::Private,
        Some(project::Propagation::Shared) => Propagation::Shared,
        Some(project::Propagation::RShared) => Propagation::RShared,
        Some(project::Propagation::Slave) => Propagation::Slave,
        Some(project::Propagation::RSlave) => Propagation::RSlave,
    }
}

fn volumes_from(making: &Making<'_>) -> Result<Vec<String>, NotPossible> {
    let mode = |read_only: bool| if read_only { "ro" } else { "rw" };
    let one = |from: &VolumesFrom| match from {
        VolumesFrom::Service { service, read_only } => {
            Ok(format!("{}:{}", parent(making, service, "volumes_from")?, mode(*read_only)))
        }
        VolumesFrom::Container { container, read_only } => Ok(format!("{container}:{}", mode(*read_only))),
    };
    making.service.volumes_from.iter().map(one).collect()
}

/// Returns the container of a service that something is shared with.
fn parent(making: &Making<'_>, service: &ServiceName, key: &str) -> Result<ContainerId, NotPossible> {
    let found = making.parents.get(service).copied();
    found.ok_or_else(|| not(making.service, key, format!("service {service} has no container")))
}

fn host(making: &Making<'_>, request: &mut CreateRequest) -> Result<(), NotPossible> {
    let service = making.service;
    let namespace = |wanted: &Option<Namespace>, key: &str| match wanted {
        None => Ok(NamespaceUse::Own),
        Some(Namespace::Host) => Ok(NamespaceUse::Host),
        Some(Namespace::Service(name)) => Ok(NamespaceUse::Container(parent(making, name, key)?.to_string())),
        Some(Namespace::Container(name)) => Ok(NamespaceUse::Container(name.clone())),
        Some(Namespace::Other(word)) => match word.as_str() {
            "" | "private" => Ok(NamespaceUse::Own),
            "shareable" => Ok(NamespaceUse::Shareable),
            "none" if key == "ipc" => Ok(NamespaceUse::Bare),
            other => Err(not(service, key, format!("`{other}` is not supported"))),
        },
    };
    let host = &mut request.host;
    network::network(making, host)?;
    host.ipc = namespace(&service.ipc, "ipc")?;
    host.pid = namespace(&service.pid, "pid")?;
    host.uts = namespace(&service.uts, "uts")?;
    host.cgroup = match service.cgroup {
        Some(CgroupNamespace::Host) => NamespaceUse::Host,
        Some(CgroupNamespace::Private) | None => NamespaceUse::Own,
    };
    host.cgroup_parent = service.cgroup_parent.clone().filter(|parent| !parent.is_empty());
    host.log = match &service.logging {
        None => LogConfig::default(),
        Some(logging) => LogConfig {
            driver: logging
                .driver
                .as_deref()
                .unwrap_or_default()
                .parse()
                .map_err(|error| not(service, "logging.driver", error))?,
            options: logging.options.clone(),
        },
    };
    host.restart = restart(service)?;
    host.privileged = service.privileged;
    host.read_only = service.read_only;
    host.cap_add = capabilities(service, "cap_add", &service.cap_add)?;
    host.cap_drop = capabilities(service, "cap_drop", &service.cap_drop)?;
    host.groups.clone_from(&service.group_add);
    host.sysctls.clone_from(&service.sysctls);
    host.shm_size = positive(service.shm_size);
    host.oom_score_adj = Some(service.oom_score_adj).filter(|adjustment| *adjustment != 0).map(|n| n as i32);
    host.init = service.init.unwrap_or_default();
    host.annotations.clone_from(&service.annotations);
    host.device_requests = device_requests(service).into_iter().map(|(_, request)| request).collect();
    host.devices = service
        .devices
        .iter()
        .filter(|device| is_path(device))
        .map(|device| DeviceUse {
            host: PathBuf::from(&device.source),
            container: PathBuf::from(&device.target),
            access: device.permissions.clone().unwrap_or_else(|| "rwm".to_owned()),
        })
        .collect();
    security(making, host)?;
    host.resources = resources(service)?;
    Ok(())
}

fn capabilities(service: &Service, key: &str, names: &[String]) -> Result<Vec<String>, NotPossible> {
    let one = |(number, name): (usize, &String)| match canonical(name) {
        name if name == "ALL" || capabilities::number(&name).is_some() => Ok(name),
        _ => Err(not(service, format!("{key}[{number}]"), format!("unknown capability `{name}`"))),
    };
    names.iter().enumerate().map(one).collect()
}

/// Whether a device is a node of the host; else it has a name of CDI.
fn is_path(device: &project::Device) -> bool {
    device.source.starts_with('/')
}

/// The devices that a service asks for by what they do or by their names, and the keys that do.
pub(super) fn device_requests(service: &Service) -> Vec<(String, DeviceRequest)> {
    let asked = |request: &project::DeviceRequest, more: &[&str]| DeviceRequest {
        driver: request.driver.clone().unwrap_or_default(),
        count: match request.count {
            Some(DeviceCount::All) => -1,
            Some(DeviceCount::Exactly(count)) => i64::try_from(count).unwrap_or(i64::MAX),
            None => 0,
        },
        ids: request.device_ids.clone(),
        capabilities: vec![
            request.capabilities.iter().cloned().chain(more.iter().map(|word| (*word).to_owned())).collect(),
        ],
        options: request.options.clone(),
    };
    let reserved =
        service.deploy.iter().flat_map(|deploy| &deploy.reservations).flat_map(|kept| &kept.devices);
    let reserved = reserved.enumerate().map(|(number, request)| {
        (format!("deploy.resources.reservations.devices[{number}]"), asked(request, &[]))
    });
    let gpus = service.gpus.iter().enumerate();
    let gpus = gpus.map(|(number, request)| (format!("gpus[{number}]"), asked(request, &["gpu"])));
    let named = service.devices.iter().enumerate().filter(|(_, device)| !is_path(device));
    let named = named.map(|(number, device)| {
        let (driver, ids) = (DeviceRequest::CDI.to_owned(), vec![device.source.clone()]);
        (format!("devices[{number}]"), DeviceRequest { driver, ids, ..DeviceRequest::default() })
    });
    reserved.chain(gpus).chain(named).collect()
}

/// The service's own policy, else the one of its deployment.
fn restart(service: &Service) -> Result<RestartPolicy, NotPossible> {
    let count =
        |count: Option<u64>| count.filter(|count| *count > 0).and_then(|count| u32::try_from(count).ok());
    if let Some(restart) = service.restart {
        return Ok(match restart {
            Restart::No => RestartPolicy::No,
            Restart::Always => RestartPolicy::Always,
            Restart::OnFailure(max) => RestartPolicy::OnFailure { max: count(max) },
            Restart::UnlessStopped => RestartPolicy::UnlessStopped,
        });
    }
    let Some(policy) = service.deploy.as_ref().and_then(|deploy| deploy.restart_policy.as_ref()) else {
        return Ok(RestartPolicy::No);
    };
    match policy.condition.as_deref().unwrap_or("any") {
        "none" => Ok(RestartPolicy::No),
        "on-failure" => Ok(RestartPolicy::OnFailure { max: count(policy.max_attempts) }),
        "any" | "" => match count(policy.max_attempts) {
            None => Ok(RestartPolicy::Always),
            max => Ok(RestartPolicy::OnFailure { max }),
        },
        other => {
            let why = format!("`{other}` is none of none, on-failure and any");
            Err(not(service, "deploy.restart_policy.condition", why))
        }
    }
}

fn security(making: &Making<'_>, host: &mut rbuild_model::container::HostOptions) -> Result<(), NotPossible> {
    let service = making.service;
    for (number, option) in service.security_opt.iter().enumerate() {
        let key = || format!("security_opt[{number}]");
        let (name, value) = option.split_once(['=', ':']).unwrap_or((option, ""));
        match (name, value) {
            ("no-new-privileges", "" | "true") => host.no_new_privileges = true,
            ("no-new-privileges", "false") => host.no_new_privileges = false,
            ("systempaths", "unconfined") => host.unmasked = true,
            ("seccomp", "unconfined") => host.seccomp = SeccompUse::Unconfined,
            ("seccomp", "builtin") => host.seccomp = SeccompUse::Default,
            ("seccomp", path) => match making.profiles.get(path) {
                Some(document) => host.seccomp = SeccompUse::Profile(document.clone()),
                None => return Err(not(service, key(), format!("{path} could not be read"))),
            },
            // What turns confinement off that this program does not put on is kept to.
            ("label", "disable") | ("apparmor", "unconfined") => {}
            _ => return Err(not(service, key(), format!("`{option}` is not supported"))),
        }
    }
    Ok(())
}

/// A size that was given; zero means none was.
fn positive(bytes: Option<Bytes>) -> Option<u64> {
    bytes.and_then(|bytes| u64::try_from(bytes.0).ok()).filter(|bytes| *bytes > 0)
}

#[cfg(test)]
mod tests;

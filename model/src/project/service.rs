//! A service.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::build::Build;
use super::deploy::{Deploy, DeviceRequest};
use super::develop::WatchRule;
use super::files::FileGrant;
use super::names::{ConfigKey, ModelKey, NetworkKey, SecretKey, ServiceName};
use super::network::Attachment;
use super::ports::Port;
use super::resources::{BlockIo, Bytes, Cpus, Limit, Ulimit};
use super::volume::Mount;

/// A service: containers that are all alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name.
    pub name: ServiceName,
    /// The hash of everything that makes its containers what they are: with another one they are recreated.
    pub config_hash: String,
    /// The profiles it belongs to, always enabled without any.
    pub profiles: Vec<String>,
    /// The image, if it is named.
    pub image: Option<String>,
    /// How its image is built.
    pub build: Option<Build>,
    /// The executable that stands in for containers.
    pub provider: Option<Provider>,
    /// How many containers.
    pub replicas: u64,
    /// The fixed name of its container.
    pub container_name: Option<String>,
    /// The arguments; the image's if `None`.
    pub command: Option<Vec<String>>,
    /// The program; the image's if `None`.
    pub entrypoint: Option<Vec<String>>,
    /// Variables; one without a value takes the image's away.
    pub environment: BTreeMap<String, Option<String>>,
    /// Labels of its containers.
    pub labels: BTreeMap<String, String>,
    /// OCI annotations of its containers.
    pub annotations: BTreeMap<String, String>,
    /// Whether `up` shows its output.
    pub attach: bool,
    /// What has to be there before it starts.
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// The `deploy` section.
    pub deploy: Option<Deploy>,
    /// Watch rules.
    pub watch: Vec<WatchRule>,
    /// How it is checked; the image's check if `None`.
    pub healthcheck: Option<HealthCheck>,
    /// When its image is pulled.
    pub pull_policy: Option<PullPolicy>,
    /// The platform of its image.
    pub platform: Option<String>,
    /// When its containers start again.
    pub restart: Option<Restart>,
    /// How long it may take to stop.
    pub stop_grace_period: Option<Duration>,
    /// The signal that stops it.
    pub stop_signal: Option<String>,
    /// What runs to its end before the first container starts.
    pub pre_start: Vec<PreStart>,
    /// What is run after a start.
    pub post_start: Vec<Hook>,
    /// What is run before a stop.
    pub pre_stop: Vec<Hook>,

    /// Instead of networks of its own.
    pub network_mode: Option<NetworkMode>,
    /// The networks it is attached to.
    pub networks: BTreeMap<NetworkKey, Attachment>,
    /// Published ports.
    pub ports: Vec<Port>,
    /// Ports it listens on, for people to read.
    pub expose: Vec<String>,
    /// Names of other services in its containers.
    pub links: Vec<Link>,
    /// Names of other containers in its containers.
    pub external_links: Vec<String>,
    /// Lines of `/etc/hosts`: a name and its addresses.
    pub extra_hosts: BTreeMap<String, Vec<String>>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Options of the resolver.
    pub dns_opt: Vec<String>,
    /// Search domains.
    pub dns_search: Vec<String>,
    /// The host name.
    pub hostname: Option<String>,
    /// The domain name.
    pub domainname: Option<String>,
    /// A fixed hardware address.
    pub mac_address: Option<String>,

    /// What is mounted.
    pub volumes: Vec<Mount>,
    /// Whose mounts it has too.
    pub volumes_from: Vec<VolumesFrom>,
    /// Memory file systems: a path and options.
    pub tmpfs: Vec<String>,
    /// Configs it is given.
    pub configs: Vec<FileGrant<ConfigKey>>,
    /// Secrets it is given.
    pub secrets: Vec<FileGrant<SecretKey>>,
    /// Models it is given the address of.
    pub models: BTreeMap<ModelKey, ModelUse>,
    /// Whether its root can only be read.
    pub read_only: bool,
    /// The size of `/dev/shm`.
    pub shm_size: Option<Bytes>,
    /// Options of the storage driver.
    pub storage_opt: BTreeMap<String, String>,
    /// Whether it is given the engine's socket.
    pub use_api_socket: bool,

    /// Whom its program runs as.
    pub user: Option<String>,
    /// Further groups.
    pub group_add: Vec<String>,
    /// The folder its program starts in.
    pub working_dir: Option<String>,
    /// Whether a small init is PID 1; the engine's choice if `None`.
    pub init: Option<bool>,
    /// Whether it has a terminal.
    pub tty: bool,
    /// Whether its input stays open.
    pub stdin_open: bool,
    /// Whether it has all rights.
    pub privileged: bool,
    /// Capabilities it has too.
    pub cap_add: Vec<String>,
    /// Capabilities it has not.
    pub cap_drop: Vec<String>,
    /// Security options, as they were given.
    pub security_opt: Vec<String>,
    /// Kernel parameters.
    pub sysctls: BTreeMap<String, String>,
    /// Limits of processes.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// The IPC namespace.
    pub ipc: Option<Namespace>,
    /// The PID namespace.
    pub pid: Option<Namespace>,
    /// The UTS namespace.
    pub uts: Option<Namespace>,
    /// The user namespace (`host`).
    pub userns_mode: Option<String>,
    /// The cgroup namespace.
    pub cgroup: Option<CgroupNamespace>,
    /// The cgroup that its containers are below.
    pub cgroup_parent: Option<String>,
    /// The runtime.
    pub runtime: Option<String>,
    /// The isolation on Windows.
    pub isolation: Option<String>,
    /// The managed account on Windows.
    pub credential_spec: Option<CredentialSpec>,

    /// Devices.
    pub devices: Vec<Device>,
    /// Rules of the device cgroup.
    pub device_cgroup_rules: Vec<String>,
    /// Graphics processors.
    pub gpus: Vec<DeviceRequest>,
    /// How much it may do with block devices.
    pub blkio_config: Option<BlockIo>,
    /// Processors, counted.
    pub cpus: Option<Cpus>,
    /// The processors it may use (`0-3,5`).
    pub cpuset: Option<String>,
    /// Its weight.
    pub cpu_shares: Option<i64>,
    /// The period in microseconds.
    pub cpu_period: Option<i64>,
    /// The quota in microseconds.
    pub cpu_quota: Option<i64>,
    /// The real-time period in microseconds.
    pub cpu_rt_period: Option<i64>,
    /// The real-time quota in microseconds.
    pub cpu_rt_runtime: Option<i64>,
    /// Processors on Windows.
    pub cpu_count: Option<i64>,
    /// The share on Windows, in millionths of a per cent.
    pub cpu_percent: Option<u64>,
    /// Memory.
    pub mem_limit: Option<Bytes>,
    /// Memory that is kept for it.
    pub mem_reservation: Option<Bytes>,
    /// Memory and swap, `-1` for any.
    pub memswap_limit: Option<Bytes>,
    /// How readily memory is swapped out, 0 to 100.
    pub mem_swappiness: Option<i64>,
    /// Whether the kernel leaves it alone when memory runs out.
    pub oom_kill_disable: bool,
    /// Whom the kernel kills first, -1000 to 1000.
    pub oom_score_adj: i64,
    /// Processes, `-1` for any.
    pub pids_limit: Option<Limit>,
    /// Where its output is kept.
    pub logging: Option<Logging>,
}

/// What has to be there before a service starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// How far it has to be.
    pub condition: Condition,
    /// Whether the dependent restarts with it.
    pub restart: bool,
    /// Whether the dependent cannot start without it.
    pub required: bool,
}

/// How far a dependency has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Condition {
    /// Its containers were started.
    #[default]
    Started,
    /// Its containers are healthy.
    Healthy,
    /// Its containers exited with 0.
    CompletedSuccessfully,
}

impl Condition {
    /// Returns the word of the format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Started => "service_started",
            Self::Healthy => "service_healthy",
            Self::CompletedSuccessfully => "service_completed_successfully",
        }
    }
}

/// How a service is checked. What is `None` is as the image says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HealthCheck {
    /// The check.
    pub test: Option<HealthTest>,
    /// The time between two checks.
    pub interval: Option<Duration>,
    /// How long one may take.
    pub timeout: Option<Duration>,
    /// How many fail before it counts as unhealthy.
    pub retries: Option<u64>,
    /// How long failures do not count.
    pub start_period: Option<Duration>,
    /// The time between two checks in that period.
    pub start_interval: Option<Duration>,
}

/// A health check's command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthTest {
    /// No check, not even the image's.
    None,
    /// A program and its arguments.
    Command(Vec<String>),
    /// A line for the container's shell.
    Shell(String),
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PullPolicy {
    /// Every time.
    Always,
    /// Never: it has to be there.
    Never,
    /// Where it is missing.
    Missing,
    /// It is built every time.
    Build,
    /// Where the last time is so long ago.
    Every(Duration),
    /// By `pull_refresh_after`, which nobody has given a meaning yet.
    Refresh,
}

/// When containers start again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Restart {
    /// Never.
    No,
    /// Always.
    Always,
    /// After a failure, so often at most.
    OnFailure(Option<u64>),
    /// Always, but for those that were stopped by hand.
    UnlessStopped,
}

/// Instead of networks of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NetworkMode {
    /// Loopback alone.
    None,
    /// The host's.
    Host,
    /// Those of a service's first container.
    Service(ServiceName),
    /// Those of a container.
    Container(String),
    /// A network of the machine by its name, such as `bridge`.
    Network(String),
}

/// Whose namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Namespace {
    /// The host's.
    Host,
    /// That of a service's first container.
    Service(ServiceName),
    /// That of a container.
    Container(String),
    /// A word of the kind: `private`, `shareable`, `none`.
    Other(String),
}

/// Which cgroup namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CgroupNamespace {
    /// The host's.
    Host,
    /// Its own.
    Private,
}

/// A name for another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The service.
    pub service: ServiceName,
    /// The name, the service's own if `None`.
    pub alias: Option<String>,
}

/// Whose mounts are mounted too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VolumesFrom {
    /// Those of a service.
    Service {
        /// The service.
        service: ServiceName,
        /// Whether they can only be read.
        read_only: bool,
    },
    /// Those of a container.
    Container {
        /// The container.
        container: String,
        /// Whether they can only be read.
        read_only: bool,
    },
}

/// A device in containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device of the host, or a CDI name.
    pub source: String,
    /// Where it is in the container.
    pub target: String,
    /// What may be done with it (`rwm`), the engine's choice if `None`.
    pub permissions: Option<String>,
}

/// A command run in a container at a turn of its life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hook {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whom it runs as.
    pub user: Option<String>,
    /// Whether it has all rights.
    pub privileged: bool,
    /// The folder it starts in.
    pub working_dir: Option<String>,
    /// Its variables, beside the service's.
    pub environment: BTreeMap<String, Option<String>>,
}

/// A container that runs to its end before the first container of its service starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PreStart {
    /// Its image, the service's if `None`.
    pub image: Option<String>,
    /// What runs in it; what the image says where there is no command.
    pub hook: Hook,
    /// Whether it runs for each container of the service.
    pub per_replica: bool,
}

/// Where output is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logging {
    /// The driver, the engine's choice if `None`.
    pub driver: Option<String>,
    /// Its options.
    pub options: BTreeMap<String, String>,
}

/// An executable that stands in for containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// The executable.
    pub kind: String,
    /// Its options, each given once or more.
    pub options: BTreeMap<String, Vec<String>>,
}

/// Which variables tell a service of a model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelUse {
    /// The variable with the address.
    pub endpoint_var: Option<String>,
    /// The variable with the name.
    pub model_var: Option<String>,
}

/// A managed account on Windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CredentialSpec {
    /// A config.
    pub config: Option<ConfigKey>,
    /// A file.
    pub file: Option<PathBuf>,
    /// A key of the registry.
    pub registry: Option<String>,
}

//! What a container is asked to be.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use rbuild_model::platform::Platform;
use rbuild_model::step::{ExtraHost, Ulimit};
use rbuild_network::ports::Protocol;
use rbuild_sandbox::cgroup::{DeviceRule, Limits};

/// A container to run.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// The image: a name, an id or the beginning of one.
    pub image: String,
    /// When a registry is asked for it.
    pub pull: rbuild_images::PullPolicy,
    /// The platform that the image should be for.
    pub platform: Platform,
    /// What replaces the image's `Cmd`; empty for nothing.
    pub command: Vec<String>,
    /// What replaces the image's `Entrypoint`; `Some` of nothing takes it away.
    pub entrypoint: Option<Vec<String>>,
    /// Variables besides the image's, `NAME=value`.
    pub env: Vec<String>,
    /// What replaces the image's working folder.
    pub workdir: Option<String>,
    /// What replaces the image's user.
    pub user: Option<String>,
    /// Groups besides the user's, names or numbers.
    pub groups: Vec<String>,
    /// The container's name; a fresh one if nothing is said.
    pub name: Option<String>,
    /// The host name; the beginning of the container's id if nothing is said.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// What it sees besides its root, in order.
    pub mounts: Vec<MountRequest>,
    /// Which network it has.
    pub network: NetworkRequest,
    /// Ports of the host that lead to it.
    pub published: Vec<PortRequest>,
    /// Host names it is given addresses of.
    pub extra_hosts: Vec<ExtraHost>,
    /// What its resolver asks.
    pub dns: rbuild_network::resolver::ResolverChoice,
    /// Whether its root can be written.
    pub root: rbuild_sandbox::profile::RootAccess,
    /// How far it is shut in.
    pub confinement: rbuild_sandbox::profile::Confinement,
    /// Which other namespaces it shares with the host.
    pub host_namespaces: rbuild_sandbox::profile::HostNamespaces,
    /// What it may use of the machine.
    pub limits: Limits,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters of its namespaces.
    pub sysctls: Vec<(String, String)>,
    /// Devices of the host that it is given.
    pub devices: Vec<DeviceRequest>,
    /// Rules for devices besides those.
    pub device_rules: Vec<DeviceRule>,
    /// The size of `/dev/shm` in bytes.
    pub shm_size: Option<u64>,
    /// How likely the kernel ends it first when memory runs out.
    pub oom_score_adj: Option<i32>,
    /// Whether a small init reaps and forwards signals.
    pub init: Init,
    /// Columns and rows of its terminal, if it gets one.
    pub terminal: Option<(u16, u16)>,
    /// Whether its standard input is attached.
    pub stdin: Stdin,
}

/// Whether a small init is the container's first process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Init {
    /// The program is the first process.
    #[default]
    Program,
    /// A reaper is, which forwards signals to the program.
    Reaper,
}

/// Whether standard input is attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stdin {
    /// It is at its end.
    #[default]
    Closed,
    /// It is the caller's.
    Attached,
}

/// Which network a container has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NetworkRequest {
    /// The default bridge.
    #[default]
    Bridge,
    /// The host's.
    Host,
    /// Only a loopback of its own.
    None,
}

/// A port of the host that leads to a port of the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRequest {
    /// The host's address; all of them if nothing is said.
    pub host_ip: Option<IpAddr>,
    /// The host's port; `None` for any free one.
    pub host_port: Option<u16>,
    /// The container's port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl PortRequest {
    /// Returns the host's address, of the kind that bridges have.
    pub(crate) fn address(&self) -> Result<Ipv4Addr, IpAddr> {
        match self.host_ip {
            None => Ok(Ipv4Addr::UNSPECIFIED),
            Some(IpAddr::V4(address)) => Ok(address),
            Some(other) => Err(other),
        }
    }
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRequest {
    /// Its path on the host.
    pub host: PathBuf,
    /// Its path in the container.
    pub container: PathBuf,
    /// What may be done with it: letters of `rwm`.
    pub access: String,
}

/// Something that a container sees besides its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRequest {
    /// Where: an absolute path.
    pub target: String,
    /// Whether it can be written.
    pub access: rbuild_sandbox::Access,
    /// What.
    pub kind: MountKind,
}

/// What a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file or folder of the host.
    Bind {
        /// Its absolute path.
        source: PathBuf,
        /// What happens if there is nothing.
        missing: Missing,
    },
    /// A volume.
    Volume {
        /// Its name; `None` for one that goes with the container.
        name: Option<String>,
        /// What a new one begins with.
        begins: Begins,
        /// The folder of it that is seen.
        subpath: Option<String>,
    },
    /// A folder in memory.
    Tmpfs {
        /// Its size and the attributes of its top.
        tmpfs: rbuild_sandbox::Tmpfs,
        /// What is forbidden in it; usually all.
        restrictions: rbuild_sandbox::Restrictions,
    },
}

/// What happens when the source of a bind is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It is an error (`--mount`).
    Refuse,
    /// A folder is made (`-v`).
    MakeFolder,
}

/// What a new volume begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begins {
    /// What the image has at the target.
    WithImage,
    /// Nothing.
    Empty,
}

impl RunRequest {
    /// Means the image's own program with defaults for all else.
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            pull: rbuild_images::PullPolicy::Missing,
            platform: Platform::host(),
            command: Vec::new(),
            entrypoint: None,
            env: Vec::new(),
            workdir: None,
            user: None,
            groups: Vec::new(),
            name: None,
            hostname: None,
            domainname: None,
            mounts: Vec::new(),
            network: NetworkRequest::default(),
            published: Vec::new(),
            extra_hosts: Vec::new(),
            dns: rbuild_network::resolver::ResolverChoice::default(),
            root: rbuild_sandbox::profile::RootAccess::default(),
            confinement: rbuild_sandbox::profile::Confinement::default(),
            host_namespaces: rbuild_sandbox::profile::HostNamespaces::default(),
            limits: Limits::default(),
            ulimits: Vec::new(),
            sysctls: Vec::new(),
            devices: Vec::new(),
            device_rules: Vec::new(),
            shm_size: None,
            oom_score_adj: None,
            init: Init::default(),
            terminal: None,
            stdin: Stdin::default(),
        }
    }
}

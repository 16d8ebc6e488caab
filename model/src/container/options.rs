//! What a container has of the machine: mounts, namespaces, rights.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{LogConfig, Resources, RestartPolicy};
use crate::network::{EndpointWish, NetworkMode, PortBinding};
use crate::step::ExtraHost;
use crate::volume::VolumeName;

/// What a container has of the machine (Docker's `HostConfig`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HostOptions {
    /// What it sees besides its root, in the order in which it is mounted.
    pub mounts: Vec<MountUse>,
    /// Containers whose mounts it has too, as given; they are among `mounts` already.
    pub volumes_from: Vec<String>,
    /// Which network it is in.
    pub network: NetworkMode,
    /// Whether it was taken out of that one since, and only has what `endpoints` say.
    pub left_network: bool,
    /// What it wants of each network, the main one first.
    pub endpoints: Vec<EndpointWish>,
    /// Ports of the host that lead to it.
    pub ports: Vec<PortBinding>,
    /// Whether all exposed ports are published at free ports of the host.
    pub publish_all: bool,
    /// Host names that it is given addresses of.
    pub extra_hosts: Vec<ExtraHost>,
    /// Name servers.
    pub dns: Vec<std::net::IpAddr>,
    /// Domains that short names are looked for in.
    pub dns_search: Vec<String>,
    /// Options of the resolver.
    pub dns_options: Vec<String>,
    /// Where its output is kept.
    pub log: LogConfig,
    /// Whether it is started again.
    pub restart: RestartPolicy,
    /// What becomes of it at its end.
    pub removal: Removal,
    /// What it may use of the machine.
    pub resources: Resources,
    /// Whether all walls but the namespaces are taken away.
    pub privileged: bool,
    /// Whether its root cannot be written.
    pub read_only: bool,
    /// Capabilities besides the default ones: `NET_ADMIN`, `ALL`.
    pub cap_add: Vec<String>,
    /// Capabilities that it does not have: `NET_ADMIN`, `ALL`.
    pub cap_drop: Vec<String>,
    /// The filter of system calls.
    pub seccomp: SeccompUse,
    /// Whether programs can gain no rights by being executed.
    pub no_new_privileges: bool,
    /// Whether nothing of `/proc` and `/sys` is hidden or read-only.
    pub unmasked: bool,
    /// Groups besides the user's, names or numbers.
    pub groups: Vec<String>,
    /// Devices of the host.
    pub devices: Vec<DeviceUse>,
    /// Devices by their names, or by what they do.
    pub device_requests: Vec<DeviceRequest>,
    /// Kernel parameters of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// The size of `/dev/shm` in bytes; `None` for the default.
    pub shm_size: Option<u64>,
    /// How likely the kernel ends it first when memory runs out.
    pub oom_score_adj: Option<i32>,
    /// Whether a small init reaps and forwards signals.
    pub init: bool,
    /// Whose shared memory and message queues it sees.
    pub ipc: NamespaceUse,
    /// Whose processes it sees.
    pub pid: NamespaceUse,
    /// Whose host name it has.
    pub uts: NamespaceUse,
    /// Whose view of cgroups it has.
    pub cgroup: NamespaceUse,
    /// The control group that its own is made below.
    pub cgroup_parent: Option<String>,
    /// Annotations of its runtime spec.
    pub annotations: BTreeMap<String, String>,
    /// The file that its id was written to.
    pub cidfile: Option<PathBuf>,
}

impl HostOptions {
    /// The network that a container comes up in: that of its mode, or the first of the others if it was taken out of it.
    pub fn first_network(&self) -> NetworkMode {
        match self.endpoints.first() {
            _ if !self.left_network => self.network.clone(),
            Some(wish) => NetworkMode::Named(wish.network.clone()),
            None => NetworkMode::None,
        }
    }
}

/// What becomes of a container at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Removal {
    /// It stays until somebody removes it.
    #[default]
    Keep,
    /// It goes, with its anonymous volumes (`--rm`).
    Auto,
}

/// The filter of system calls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeccompUse {
    /// The default one, as wide as the capabilities make it.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// Another one: its document.
    Profile(String),
}

/// Whose namespace a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NamespaceUse {
    /// One of its own.
    #[default]
    Own,
    /// One of its own that others may join.
    Shareable,
    /// One of its own, of messages, without memory to share.
    Bare,
    /// The host's.
    Host,
    /// That of another container, by name or id.
    Container(String),
}

/// A device of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceUse {
    /// Its path on the host.
    pub host: PathBuf,
    /// Its path in the container.
    pub container: PathBuf,
    /// What may be done with it: letters of `rwm`.
    pub access: String,
}

/// Devices that a container asks for by their names, or by what they do: which nodes and files these come to is found out at
/// each start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceRequest {
    /// Who has them: [`Self::CDI`], a maker of devices, or empty for whoever has what is asked for.
    pub driver: String,
    /// How many of them; -1 for all.
    pub count: i64,
    /// Their names.
    pub ids: Vec<String>,
    /// What they do: all that stands in one of these lists.
    pub capabilities: Vec<Vec<String>>,
    /// Options of who has them.
    pub options: BTreeMap<String, String>,
}

impl DeviceRequest {
    /// The driver of devices whose names are in full (`vendor/class=device`).
    pub const CDI: &str = "cdi";
}

/// Something that a container sees besides its root.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountUse {
    /// Where: an absolute path.
    pub target: String,
    /// What.
    pub what: MountWhat,
    /// Whether nothing in it can be changed.
    pub read_only: bool,
    /// How it was asked for; nothing follows from it.
    #[serde(default)]
    pub asked: MountAsked,
}

/// How a mount was asked for, for those who ask what was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "form")]
pub enum MountAsked {
    /// `SOURCE:TARGET:OPTIONS`, or the target of a tmpfs with its options.
    Short {
        /// The options, as written.
        options: String,
    },
    /// Key by key (`--mount`).
    Long {
        /// Who was to keep a new volume.
        driver: Option<String>,
        /// Options of the volume's driver.
        options: BTreeMap<String, String>,
        /// Labels of the volume.
        labels: BTreeMap<String, String>,
    },
    /// By its target alone, or by the image.
    Target,
    /// By another container that has it.
    Lent,
}

impl MountAsked {
    /// Key by key, with nothing to say of a new volume.
    pub fn long() -> Self {
        Self::Long { driver: None, options: BTreeMap::new(), labels: BTreeMap::new() }
    }
}

impl Default for MountAsked {
    fn default() -> Self {
        Self::Short { options: String::new() }
    }
}

/// What a container sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum MountWhat {
    /// A file or folder of the host.
    Bind {
        /// Its absolute path.
        source: PathBuf,
        /// What happens if there is nothing.
        missing: MissingSource,
        /// Which of the mounts below it come along.
        recursion: BindRecursion,
        /// How mounts made later spread.
        propagation: Propagation,
    },
    /// A volume; it exists since the container was made.
    Volume {
        /// Its name.
        name: VolumeName,
        /// Whether it was made for this container and has no name that people gave.
        anonymous: bool,
        /// What it begins with when it is empty.
        begins: Begins,
        /// The folder of it that is seen.
        subpath: Option<String>,
    },
    /// A folder in memory.
    Tmpfs(TmpfsUse),
    /// The root of an image, read-only.
    Image {
        /// Its name, as given.
        reference: String,
        /// Its id.
        id: crate::digest::ImageId,
        /// The stack of snapshots that is its root.
        #[serde(default)]
        chain: crate::snapshot::Chain,
        /// The folder of it that is seen.
        subpath: Option<String>,
    },
}

/// What happens when the source of a bind is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MissingSource {
    /// It is an error (`--mount`).
    Refuse,
    /// A folder is made (`-v`).
    Make,
}

/// Which of the mounts below a bind come along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BindRecursion {
    /// All; read-only means all of them where the kernel can do that.
    #[default]
    All,
    /// None.
    One,
    /// All, and only the top one is made read-only.
    Writable,
    /// All, and all of them are made read-only, or it fails.
    ReadOnly,
}

/// How mounts made later spread between the host and the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    /// Not at all, of this mount only.
    Private,
    /// Not at all.
    #[default]
    RPrivate,
    /// Into the container, of this mount only.
    Slave,
    /// Into the container.
    RSlave,
    /// Both ways, of this mount only.
    Shared,
    /// Both ways.
    RShared,
}

impl Propagation {
    /// Returns the kernel's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Private => "private",
            Self::RPrivate => "rprivate",
            Self::Slave => "slave",
            Self::RSlave => "rslave",
            Self::Shared => "shared",
            Self::RShared => "rshared",
        }
    }
}

/// What a new volume begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Begins {
    /// What the image has at the target.
    WithImage,
    /// Nothing.
    Empty,
}

/// A folder in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsUse {
    /// Its bound in bytes; half of the memory without one.
    pub size: Option<u64>,
    /// The mode of its top; that of the folder that it covers without one, and 1777 where there is none.
    pub mode: Option<u32>,
    /// The owner of its top.
    pub uid: u32,
    /// The group of its top.
    pub gid: u32,
    /// Whether programs in it can be executed.
    pub exec: bool,
    /// Whether set-user-id programs in it gain rights.
    pub suid: bool,
    /// Whether device nodes in it can be opened.
    pub dev: bool,
    /// The options as given, for those who ask.
    pub options: String,
    /// What of them only the kernel makes something of: how many files there may be, a bound as a part of the memory, when times of
    /// access are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<String>,
}

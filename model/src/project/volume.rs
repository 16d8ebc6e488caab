//! Volumes of a project, and what a service mounts.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::resources::Bytes;

/// A named volume of the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Volume {
    /// The name on the machine.
    pub name: String,
    /// The driver, the engine's choice if `None`.
    pub driver: Option<String>,
    /// Options of the driver, as they were given.
    pub driver_opts: BTreeMap<String, String>,
    /// Whether it is there already and belongs to somebody else.
    pub external: bool,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
}

/// Something mounted in a service's containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub kind: MountKind,
    /// Where.
    pub target: String,
    /// Whether it can only be read.
    pub read_only: bool,
    /// How fresh it has to be; nothing here goes by it.
    pub consistency: Option<String>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A path of the host.
    Bind {
        /// The path.
        source: PathBuf,
        /// How.
        options: Bind,
    },
    /// A volume, an anonymous one without a source.
    Volume {
        /// The key of the volume.
        source: Option<super::VolumeKey>,
        /// Whether the image's content is left out of a new volume.
        nocopy: bool,
        /// The folder in the volume.
        subpath: Option<String>,
        /// Labels of an anonymous volume.
        labels: BTreeMap<String, String>,
    },
    /// Memory.
    Tmpfs {
        /// The size.
        size: Option<Bytes>,
        /// The mode of its root.
        mode: Option<u32>,
    },
    /// The content of an image.
    Image {
        /// The image.
        source: String,
        /// The folder in it.
        subpath: Option<String>,
    },
    /// A named pipe of Windows.
    NamedPipe {
        /// The pipe.
        source: String,
    },
    /// A volume of a cluster.
    Cluster {
        /// The volume.
        source: Option<String>,
    },
}

/// How a path of the host is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bind {
    /// Whether a missing folder is made.
    pub create_host_path: bool,
    /// How later mounts travel.
    pub propagation: Option<Propagation>,
    /// What becomes of mounts below.
    pub recursive: Option<Recursive>,
    /// The SELinux label.
    pub selinux: Option<SeLinux>,
}

/// How mounts made later travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Propagation {
    /// Not at all.
    Private,
    /// Not at all, mounts below too.
    RPrivate,
    /// Both ways.
    Shared,
    /// Both ways, mounts below too.
    RShared,
    /// Inwards.
    Slave,
    /// Inwards, mounts below too.
    RSlave,
}

/// What becomes of mounts below a bind mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recursive {
    /// They come along, and are read-only where the kernel can do that.
    Enabled,
    /// They do not come along.
    Disabled,
    /// They come along and stay writable.
    Writable,
    /// They come along read-only, or it fails.
    ReadOnly,
}

/// Who shares the label of a bind mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SeLinux {
    /// `z`
    Shared,
    /// `Z`
    Private,
}

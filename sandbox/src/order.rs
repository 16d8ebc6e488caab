//! What a caller asks for: an OCI spec, a root, mounts, standard streams.

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use oci_spec::runtime::Spec;
use rbuild_model::container::{BindRecursion, Propagation};
use rbuild_model::rootfs::RootPlan;
use serde::{Deserialize, Serialize};

/// Everything that one program is to be run with.
///
/// The spec says what the process is and may do; its `root.path` is not used, and `linux.resources` are not applied
/// (limits belong to the cgroup that the [slot](crate::SlotRequest) was made with). Its mounts come first, in their
/// order, then [`mounts`](Self::mounts) in theirs: a later one covers an earlier one on the same place.
#[derive(Debug)]
pub struct Order {
    /// The process, its rights and its view of the kernel.
    pub spec: Spec,
    /// The root file system.
    pub root: RootSource,
    /// Mounts on top of those of the spec.
    pub mounts: Vec<Mount>,
    /// What becomes of mount points that did not exist.
    pub stubs: Stubs,
}

/// The root file system of a program.
#[derive(Debug)]
pub enum RootSource {
    /// It is mounted when the order is carried out.
    Plan(RootPlan),
    /// It is [mounted](crate::mounts::mount_for_program) already, in no tree.
    Mounted(OwnedFd),
}

impl From<RootPlan> for RootSource {
    fn from(plan: RootPlan) -> Self {
        Self::Plan(plan)
    }
}

/// What becomes of files and folders that were made only to mount something on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stubs {
    /// They are removed after the end, if they are still empty: so for build steps.
    Remove,
    /// They stay.
    Keep,
}

/// One mount.
#[derive(Debug, Serialize, Deserialize)]
pub struct Mount {
    /// Where, an absolute path within the root; symlinks in it stay within the root.
    pub target: PathBuf,
    /// What.
    pub source: MountSource,
    /// Whether it can be written.
    pub access: Access,
    /// What is forbidden in it.
    pub restrictions: Restrictions,
}

/// What is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub enum MountSource {
    /// A file or folder of the host. A symlink there is followed.
    Host(PathBuf),
    /// A file or folder of the host, with a say in the mounts below it.
    Bind(HostBind),
    /// A file or folder by descriptor. An order that holds one cannot be written down.
    #[serde(skip)]
    Fd(OwnedFd),
    /// A mount that is in no tree, as it is. An order that holds one cannot be written down.
    #[serde(skip)]
    Detached(OwnedFd),
    /// A path within another root, resolved there: never outside.
    Within {
        /// The other root.
        root: RootPlan,
        /// The path in it; `/` for all of it.
        path: PathBuf,
    },
    /// An empty file system in memory.
    Tmpfs(Tmpfs),
    /// A file with given content, which is never on a disk.
    File(FileContent),
}

/// A file or folder of the host, and what becomes of the mounts below it, now and later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostBind {
    /// Its path. A symlink there is followed.
    pub path: PathBuf,
    /// Which of the mounts below it come along, and which of them are read-only with it.
    pub recursion: BindRecursion,
    /// How mounts made later spread. Anything but private wants a mount of the host that spreads.
    pub propagation: Propagation,
}

/// An empty file system in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfs {
    /// Its bound in bytes; the kernel's default (half of the memory) without one.
    pub size: Option<u64>,
    /// The mode of its top; without one it is that of the folder that it covers, and 1777 where there is none.
    pub mode: Option<u32>,
    /// The owner of its top.
    pub uid: u32,
    /// The group of its top.
    pub gid: u32,
    /// Further options, in the words of `mount(8)`: of the mount (`noatime`) and of the file system (`nr_inodes=1k`).
    #[serde(default)]
    pub more: Vec<String>,
}

/// A file made of bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileContent {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// The mode.
    pub mode: u32,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl std::fmt::Debug for FileContent {
    /// Leaves the bytes out: they may be a secret.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { bytes, mode, uid, gid } = self;
        write!(formatter, "FileContent {{ {} bytes, mode: {mode:o}, uid: {uid}, gid: {gid} }}", bytes.len())
    }
}

/// Whether a mount can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Access {
    /// Nothing in it can be changed, nor in mounts below it.
    ReadOnly,
    /// What permissions allow.
    ReadWrite,
}

/// What is forbidden in a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restrictions {
    /// Set-user-id bits and file capabilities have no effect.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Programs cannot be executed.
    pub noexec: bool,
}

impl Restrictions {
    /// All of them: for secrets, sockets and configuration.
    pub const ALL: Self = Self { nosuid: true, nodev: true, noexec: true };
}

/// Where the standard streams go. A program with a terminal (`process.terminal`) gets all three from it.
#[derive(Debug, Default)]
pub struct Stdio {
    /// Standard input; at its end without one.
    pub stdin: Option<OwnedFd>,
    /// Standard output; discarded without one.
    pub stdout: Option<OwnedFd>,
    /// Standard error; discarded without one.
    pub stderr: Option<OwnedFd>,
}

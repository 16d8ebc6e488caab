//! What a stage is told to do: an order after it was checked and everything in it was opened.
//!
//! The stage decides nothing. Host paths became descriptors, names became numbers, the filter is compiled; what is
//! left is a list of acts within the new root. Descriptors and bytes are referred to by their place in the frame.

use serde::{Deserialize, Serialize};

use crate::profile::FirstProcess;

/// A descriptor by its place in the frame.
pub(crate) type FdIndex = u16;

/// A range of the frame's blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BlobRange {
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl BlobRange {
    /// Returns the bytes, or nothing if the range is not within the blob.
    pub(crate) fn of<'a>(&self, blob: &'a [u8]) -> Option<&'a [u8]> {
        blob.get(self.start..self.start.checked_add(self.length)?)
    }
}

/// What the server stage is asked: to make one parked init.
///
/// The descriptors are, in this order: the report channel, the order channel, the cgroup, the `tasks` files, and
/// the namespaces to join after the clone.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct SpawnRequest {
    /// What the process becomes.
    pub(crate) role: Role,
    /// The clone flags of its namespaces.
    pub(crate) namespaces: u64,
    /// Whether it gets a cgroup namespace, once it is in its cgroups.
    pub(crate) cgroup_namespace: bool,
    /// Whether it dies with its maker.
    pub(crate) bound: bool,
    /// Its likelihood to be killed when memory runs out.
    pub(crate) oom_score_adj: Option<i32>,
    /// Whether a cgroup v2 folder to be born in comes along.
    pub(crate) cgroup: bool,
    /// Whether a pid namespace to be born in comes along.
    pub(crate) pid: bool,
    /// How many `tasks` files to enter come along.
    pub(crate) joins: usize,
    /// Whether the network namespace is new, so that its loopback is ours to set up.
    pub(crate) loopback: bool,
}

/// What becomes of a process that the server stage makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Role {
    /// The init of new namespaces, which gets a [`Script`].
    Init,
    /// One that enters the namespaces of another, which gets an [`EnterScript`].
    Entrant,
}

/// What the server stage answers on the report channel, in this order.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Report {
    /// The init exists; its pidfd comes along.
    Spawned {
        /// Its pid as the server sees it.
        pid: i32,
    },
    /// It could not be made.
    Failed(StageFailure),
    /// It has ended.
    Ended {
        /// The status word of `wait4`.
        status: i32,
        /// Processor time of it and what it reaped.
        cpu_us: u64,
        /// The biggest resident set.
        max_rss_kib: u64,
    },
}

/// What an init says on its order channel.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum InitMessage {
    /// It is in its cgroups and namespaces, and waits for its script.
    Parked,
    /// All is ready for the program; a pty master comes along if one was asked for.
    Ready {
        /// Mount points that were made for the mounts.
        stubs: Vec<Stub>,
        /// Things worth telling that are no failure.
        notes: Vec<String>,
    },
    /// An entrant has made the process that will be the program; its pidfd comes along.
    Cloned {
        /// Its pid as the entrant saw it.
        pid: i32,
    },
    /// It could not go on, and ends now.
    Failed(StageFailure),
}

/// A failed act of a stage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("cannot {act}")]
pub struct StageFailure {
    /// What was tried, with its object.
    pub act: String,
    /// The kernel's answer.
    #[source]
    pub cause: Cause,
    /// Whether it is the program that cannot be executed, and how.
    pub program: Option<ProgramFailure>,
}

/// Why an act failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Cause {
    /// The kernel said no.
    #[error("{}", std::io::Error::from_raw_os_error(*.0))]
    Errno(i32),
    /// A check of ours said no.
    #[error("{0}")]
    Check(String),
}

/// Why a program cannot be executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProgramFailure {
    /// There is no such file (exit status 127).
    NotFound,
    /// It cannot be executed (exit status 126).
    NotExecutable,
}

/// A mount point that did not exist before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stub {
    /// Its path within the root, free of symlinks.
    pub(crate) path: String,
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) directory: bool,
}

/// Everything an init does between its parking and the program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Script {
    /// The root, a detached mount.
    pub(crate) root: FdIndex,
    pub(crate) root_readonly: bool,
    /// Propagation of the root in the end (`MS_*`), private if 0.
    pub(crate) root_propagation: u64,
    pub(crate) mounts: Vec<ScriptMount>,
    pub(crate) devices: Vec<ScriptDevice>,
    pub(crate) hostname: Option<String>,
    pub(crate) domainname: Option<String>,
    /// Files below `/proc/sys` and what is written to them.
    pub(crate) sysctls: Vec<(String, String)>,
    pub(crate) masked: Vec<String>,
    pub(crate) readonly: Vec<String>,
    pub(crate) program: ScriptProgram,
    /// Whether to wait for a word before the program.
    pub(crate) hold: bool,
}

/// Everything an entrant does.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EnterScript {
    /// The process whose namespaces are entered, a pidfd.
    pub(crate) target: FdIndex,
    /// Which of them, as clone flags.
    pub(crate) namespaces: u32,
    pub(crate) program: ScriptProgram,
}

/// The attributes of a mount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    pub(crate) set: u64,
    pub(crate) clear: u64,
    /// Whether the mounts below get them too.
    pub(crate) recursive: bool,
    /// `MS_*`, 0 for private.
    pub(crate) propagation: u64,
    /// Whether the mounts below get the propagation too; as `recursive` says if nothing is said.
    pub(crate) spread: Option<bool>,
}

/// One mount of a script.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScriptMount {
    /// Where, as a path within the root.
    pub(crate) target: String,
    pub(crate) source: ScriptSource,
    pub(crate) attributes: Attributes,
    /// Whether a mount point made for it stays in the tree.
    pub(crate) keep_target: bool,
}

/// What is mounted.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum ScriptSource {
    /// A detached mount.
    Fd(FdIndex),
    /// One path within a root that comes as a detached mount.
    Within {
        /// The root.
        root: FdIndex,
        /// The path.
        path: String,
    },
    /// A new file system of a kind the stage knows.
    New {
        /// Its type.
        kind: NewFilesystem,
        /// Its options.
        options: Vec<(String, Option<String>)>,
    },
    /// The procfs of the new pid namespace.
    Proc,
    /// What the cgroup namespace sees, of whatever versions the host has.
    Cgroup {
        /// The version 1 hierarchies: folder name and option; empty on a pure version 2 host.
        v1: Vec<(String, String)>,
        /// Where version 2 is: `None` if nowhere, the empty name if it is the only one.
        v2: Option<String>,
    },
    /// A file with given content.
    File {
        /// The content.
        content: BlobRange,
        mode: u32,
        uid: u32,
        gid: u32,
    },
}

/// The file systems a stage makes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NewFilesystem {
    Tmpfs,
    Devpts,
    Mqueue,
    Sysfs,
}

impl NewFilesystem {
    /// Returns the kernel's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tmpfs => "tmpfs",
            Self::Devpts => "devpts",
            Self::Mqueue => "mqueue",
            Self::Sysfs => "sysfs",
        }
    }
}

/// A device node in `/dev`.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScriptDevice {
    /// Its path within the root.
    pub(crate) path: String,
    pub(crate) block: bool,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// The host's node, to be bound where nodes cannot be made.
    pub(crate) host: Option<FdIndex>,
}

/// The five capability sets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CapabilityMasks {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

/// The program and what it runs with.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ScriptProgram {
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
    pub(crate) umask: u32,
    pub(crate) capabilities: CapabilityMasks,
    /// Resource number, soft, hard.
    pub(crate) rlimits: Vec<(u32, u64, u64)>,
    pub(crate) no_new_privileges: bool,
    pub(crate) oom_score_adj: Option<i32>,
    pub(crate) personality: Option<u64>,
    /// The compiled filter, and its flags.
    pub(crate) seccomp: Option<(BlobRange, u64)>,
    /// Standard input, output and error; without one, the null device.
    pub(crate) stdio: [Option<FdIndex>; 3],
    /// Columns and rows of a terminal of its own.
    pub(crate) terminal: Option<(u16, u16)>,
    /// What the first process is.
    pub(crate) first: FirstProcess,
}

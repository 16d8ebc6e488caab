//! Why a build, or a step of it, could not be done.

use std::path::PathBuf;

use rbuild_confined::users::UserError;
use rbuild_model::event::ExitStatus;
use rbuild_model::snapshot::SnapshotId;
use rbuild_model::span::{Diagnostic, Location};
use rbuild_solver::IndexError;
use rbuild_store::{DatabaseError, FileError, LockError};

use crate::request::ClientError;

/// Why a build could not be done.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The Dockerfile is wrong; every finding is told.
    #[error("{}", .0.first().map(ToString::to_string).unwrap_or_default())]
    Dockerfile(Vec<Diagnostic>),
    /// A base image or a context could not be had.
    #[error("failed to resolve {name}")]
    Resolve {
        /// Its name.
        name: String,
        /// The line that wants it.
        location: Option<Location>,
        /// What may have been meant.
        help: Option<String>,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The main context, or the Dockerfile, could not be had.
    #[error("failed to load {what}")]
    Context {
        /// Where it is, without credentials.
        what: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A step could not be done.
    #[error("failed to solve: {name}")]
    Step {
        /// The step's display name.
        name: String,
        /// Where it was written.
        location: Option<Location>,
        /// Why.
        #[source]
        source: Box<StepError>,
    },
    /// An export could not be done.
    #[error("failed to export {what}")]
    Export {
        /// What was to be made.
        what: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The caller could not give what it was asked for.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A context is to be what comes out of a target that is not built here.
    #[error("there is no target {name} to take files from")]
    NoTarget {
        /// Its name.
        name: String,
    },
    /// Targets are made from each other.
    #[error("targets are made from each other: {}", names.join(" -> "))]
    TargetCycle {
        /// Their names, the first once more at the end.
        names: Vec<String>,
    },
    /// Something is asked for that there is not yet.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What.
        what: String,
    },
    /// The files of a snapshot are gone, again and again.
    #[error("the files of snapshot {0} are gone; `rbuild doctor` tells what else is")]
    LostSnapshot(SnapshotId),
    /// The cache failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The store failed.
    #[error("failed to use the store")]
    Store(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Why a step could not be done.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    /// Images and the cache may not grow by what it writes, or what they take cannot be counted.
    #[error("cannot reserve room for what the step writes")]
    Room(#[source] rbuild_store::RoomError),
    /// Its program failed.
    #[error("process {command:?} did not complete successfully: {}", describe(status))]
    Exited {
        /// The command as one text.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// Its last lines.
        tail: Vec<String>,
        /// Where all of its output is, if it printed anything.
        log: Option<PathBuf>,
        /// That the kernel killed a process of it because memory ran out.
        shortage: Option<Box<MemoryShortage>>,
    },
    /// Its process could not be made.
    #[error("failed to start {command:?}")]
    Launch {
        /// The command as one text.
        command: String,
        /// Why.
        #[source]
        source: rbuild_sandbox::LaunchError,
    },
    /// Its program is for another platform than this machine's.
    #[error("failed to start {command:?}")]
    Foreign {
        /// The command as one text.
        command: String,
        /// Why it cannot run here.
        #[source]
        source: Box<rbuild_sandbox::Foreign>,
    },
    /// Its process could not be waited for or cleaned up after.
    #[error("failed to wait for the step's process")]
    Wait(#[source] rbuild_sandbox::WaitError),
    /// Its options cannot be made a process of.
    #[error("failed to prepare the step's process")]
    Profile(#[from] rbuild_sandbox::profile::ProfileError),
    /// A tree could not be mounted.
    #[error("failed to mount the step's tree")]
    Mount(#[from] rbuild_sandbox::mounts::MountError),
    /// The user it runs as cannot be told.
    #[error("unable to find {}", wanted(user, source))]
    User {
        /// As it was written.
        user: String,
        /// Why not.
        #[source]
        source: UserError,
    },
    /// A snapshot could not be made, read or committed.
    #[error("failed to keep the step's files")]
    Snapshot(#[source] rbuild_snapshotter::Error),
    /// Files could not be copied.
    #[error("failed to copy {path:?}")]
    Copy {
        /// The source as written.
        path: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What a step selects could not be hashed.
    #[error("failed to compute cache key: failed to calculate checksum")]
    Hash(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What was copied is not what was hashed, again and again.
    #[error("the context changed while it was copied: {path:?}; build again when nothing writes to it")]
    Changing {
        /// The source as written.
        path: String,
    },
    /// A required secret is missing.
    #[error("secret {id}: not found; give it with --secret id={id},src=FILE or --secret id={id},env=NAME")]
    SecretMissing {
        /// Its id.
        id: String,
    },
    /// A secret that becomes a variable is no text.
    #[error("secret {id} cannot become an environment variable: it is not UTF-8 text without NUL")]
    SecretNotText {
        /// Its id.
        id: String,
    },
    /// A required ssh agent is missing.
    #[error("unset ssh forward key {id}: give the agent with --ssh {id}")]
    SshMissing {
        /// Its id.
        id: String,
    },
    /// The caller could not give what it was asked for.
    #[error(transparent)]
    Client(ClientError),
    /// It cannot have a device.
    #[error(transparent)]
    Device(#[from] crate::cdi::StepDeviceError),
    /// The step's network could not be made.
    #[error("failed to set up the step's network")]
    Network(#[from] rbuild_network::error::Error),
    /// A name stands for the way to the machine that builds, and there is none.
    #[error("{name}: host-gateway has no address here: the step's network is `{network}`")]
    NoGateway {
        /// The name.
        name: String,
        /// The network that the step has.
        network: &'static str,
    },
    /// A host name cannot be written down.
    #[error(transparent)]
    HostName(#[from] rbuild_network::hosts::HostNameError),
    /// A base image's layers could not be had.
    #[error("failed to get the layers of {name}")]
    Image {
        /// The image.
        name: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A source could not be had.
    #[error("failed to fetch {what}")]
    Fetch {
        /// Where it is, without credentials.
        what: String,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A cache elsewhere turned out to be of no use.
    #[error(transparent)]
    Cache(Box<crate::caches::Unusable>),
    /// A file of the store failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A lock failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The cache failed.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Something is asked for that there is not yet.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What.
        what: String,
    },
    /// Somebody cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// A process was killed because memory ran out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryShortage {
    /// Its name, where the kernel's log tells.
    pub process: Option<String>,
    /// The memory in bytes that the step was allowed, if that was bounded.
    pub limit: Option<u64>,
}

impl std::fmt::Display for MemoryShortage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.process {
            Some(name) => write!(f, "the kernel killed `{name}`, as memory ran out")?,
            None => write!(f, "the kernel killed a process of it, as memory ran out")?,
        }
        const MIB: u64 = 1 << 20;
        match self.limit {
            Some(limit) if limit.is_multiple_of(MIB) => {
                write!(f, ": the limit of the step is {} MiB", limit / MIB)
            }
            Some(limit) => write!(f, ": the limit of the step is {limit} bytes"),
            None => write!(
                f,
                ": the step has no limit, so it was that of the machine or of a group around rbuild"
            ),
        }
    }
}

/// Returns what could not be found of a user and a group.
fn wanted(user: &str, reason: &UserError) -> String {
    match reason {
        UserError::NoGroup { name } => format!("group {}", name.escape_debug()),
        UserError::NoUser { name } => format!("user {}", name.escape_debug()),
        _ => format!("user {}", user.escape_debug()),
    }
}

fn describe(status: &ExitStatus) -> String {
    let code = status.code();
    match status {
        ExitStatus::Code(_) => format!("exit code: {code}"),
        ExitStatus::Signal(signal) => format!("exit code: {code} (killed by signal {signal})"),
        ExitStatus::OutOfMemory => format!("exit code: {code} (killed because its memory limit was reached)"),
    }
}

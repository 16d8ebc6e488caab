//! What clients and monitors say to each other.
//!
//! A connection begins with `Request::Hello` and its answer: each side names the newest version it speaks, and both use
//! the lower one. Then the client asks and the monitor answers, one at a time. After `Reply::Attached` and
//! `Reply::ExecStarted` the connection belongs to a stream: bytes go both ways as frames of their own, until
//! `Reply::StreamEnded` or `Reply::ExecEnded`. A wait is acknowledged by `Reply::Waiting` when nothing can be
//! missed any more, and ended by `Reply::Exited`. `Request::Watch` is answered by `Reply::Changed` at once and at every
//! change, until `Reply::Gone`.
//!
//! Messages are JSON, so that a field that is added is no new version; [`frame`] puts them on the wire.

pub mod frame;

use std::time::Duration;

use rbuild_model::container::{RestartPolicy, Signal};
use rbuild_network::hosts::LineChange;
use rbuild_sandbox::cgroup::Limits;
use serde::{Deserialize, Serialize};

use crate::plan::{ExecPlan, HandedList, NameServing, Plan, Settings};
use crate::record::{Moment, Record};

/// The version that this program speaks. The second has `Request::Names`.
pub const VERSION: u32 = 2;
/// The first version in which a monitor follows changes of its container's names.
pub(crate) const NAMES_FOLLOWED: u32 = 2;
/// The oldest version that this program speaks.
pub const OLDEST: u32 = 1;

/// What a new monitor is told, by the command that makes it, before it listens to anybody.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    pub(crate) version: u32,
    pub(crate) folder: std::path::PathBuf,
    pub(crate) run: std::path::PathBuf,
    pub(crate) id: rbuild_model::container::ContainerId,
    /// Without settings it takes the place of a dead one, and reads what that left.
    pub(crate) settings: Option<Box<Settings>>,
    /// How many descriptors come along that are only to be held.
    pub(crate) holds: usize,
    /// Whether the namespace that networks are made in comes behind them, for one that takes a dead one's place.
    #[serde(default)]
    pub(crate) place: bool,
}

/// What a new monitor answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Begun {
    /// It listens.
    Listening,
    /// Somebody else has the container.
    Busy,
    /// There is nothing to take over: what ran has ended.
    Nothing,
    /// It cannot work.
    Failed(String),
}

/// What a client asks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// The first message.
    Hello { version: u32 },
    /// Runs the container; descriptors come along.
    Start { plan: Box<Plan>, handed: HandedList },
    /// Asks its program to end, and ends it after the grace; answered when it has ended.
    Stop { signal: Option<Signal>, grace: Grace },
    /// Sends a signal.
    Kill { signal: Signal },
    /// Freezes it.
    Pause,
    /// Thaws it.
    Unpause,
    /// Waits.
    Wait { until: Until },
    /// Is told of every change from now on, the present state first.
    Watch,
    /// Attaches streams.
    Attach(Attach),
    /// Sets the size of the terminal.
    Resize { columns: u16, rows: u16 },
    /// Makes an execution ready.
    ExecCreate { plan: Box<ExecPlan> },
    /// Runs it, with streams unless it is detached.
    ExecStart { id: ExecId, attach: Option<Attach>, size: Option<(u16, u16)> },
    /// Sets the size of its terminal.
    ExecResize { id: ExecId, columns: u16, rows: u16 },
    /// Sends it a signal.
    ExecKill { id: ExecId, signal: Signal },
    /// Looks at it.
    ExecInspect { id: ExecId },
    /// Lists all.
    Execs,
    /// Changes limits and policy.
    Update { limits: Option<Box<Limits>>, restart: Option<RestartPolicy> },
    /// Changes the name in events.
    Rename { name: String },
    /// Follows a change of networks: lines of the file of names, and who answers questions for names from now on.
    Names { hosts: LineChange, serving: Option<NameServing> },
    /// Looks at the record.
    Inspect,
    /// Takes the container's lock over, to remove it; only if nothing runs.
    TakeLock,
    /// The container was removed by whoever says so.
    Removed,
    /// This client removes the container when it has ended, though it would remove itself.
    WillRemove,
}

/// How long a program has to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grace {
    /// As long as the container's definition says.
    Default,
    /// So long.
    For(Duration),
    /// As long as it takes.
    Forever,
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Until {
    /// That its program does not run.
    NotRunning,
    /// The next end of its program, even if none runs now.
    NextExit,
    /// That it is removed.
    Removed,
}

/// Which streams are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// Standard input: what is sent.
    pub stdin: bool,
    /// Standard output, or the terminal.
    pub stdout: bool,
    /// Standard error output.
    pub stderr: bool,
}

impl Attach {
    /// All three streams.
    pub const ALL: Self = Self { stdin: true, stdout: true, stderr: true };
}

/// The id of an execution: 64 hex digits.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExecId(pub String);

/// What is known of an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecState {
    /// Which one.
    pub id: ExecId,
    /// What it was made with.
    pub plan: ExecPlan,
    /// How far it is.
    pub progress: ExecProgress,
}

/// How far an execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExecProgress {
    /// It was not started yet.
    Created,
    /// It runs.
    Running {
        /// Its pid.
        pid: i32,
    },
    /// It has ended.
    Ended {
        /// Its status: the exit code, or 128 and the number of a signal.
        code: i32,
        /// Its pid when it ran; zero if it could not be executed.
        pid: i32,
    },
}

/// A place in a container's log: what comes after it was not in the log yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// The inode of the log file.
    pub file: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// What a monitor answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The first answer.
    Hello { version: u32, pid: u32 },
    /// It is done.
    Done,
    /// The program runs.
    Started { pid: i32, notes: Vec<String> },
    /// Nothing can be missed any more.
    Waiting,
    /// What was waited for.
    Exited { code: i32, error: Option<String> },
    /// What the container is now; more follows.
    Changed(Box<Moment>),
    /// The container was removed; nothing follows.
    Gone,
    /// Output follows; with the place in the log at which it begins.
    Attached { position: Option<LogPosition> },
    /// No more output.
    StreamEnded(StreamEnd),
    /// The execution is ready.
    ExecCreated { id: ExecId },
    /// It runs; if it was attached, output follows.
    ExecStarted { pid: i32 },
    /// It has ended, and this is all of its output.
    ExecEnded { code: i32 },
    /// What was asked for.
    ExecInspected(Box<ExecState>),
    /// What was asked for.
    Execs(Vec<ExecId>),
    /// What was asked for.
    Inspected(Box<Record>),
    /// The lock comes along.
    Lock,
    /// It cannot be done.
    Refused(Refusal),
}

/// Why no more output comes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamEnd {
    /// The program has ended, and this was all of its output.
    Ended,
    /// The reader fell too far behind.
    TooSlow,
}

/// Why a request was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The program could not be run; with the status that stands for it (125, 126, 127).
    #[error("{message}")]
    NotStarted {
        /// The status.
        status: u8,
        /// What went wrong, with its causes.
        message: String,
    },
    /// It runs already.
    #[error("the container is running")]
    Running,
    /// It does not run.
    #[error("the container is not running")]
    NotRunning,
    /// It is paused.
    #[error("the container is paused")]
    Paused,
    /// It is not paused.
    #[error("the container is not paused")]
    NotPaused,
    /// It will be started again soon.
    #[error("the container is restarting")]
    Restarting,
    /// There is no such execution.
    #[error("no such execution: {0}")]
    NoSuchExec(String),
    /// The execution was started already.
    #[error("the execution {0} has already run")]
    ExecStarted(String),
    /// The versions do not meet.
    #[error(
        "the monitor of the container speaks versions {oldest} to {newest} of the protocol, this program version {asked}: \
         use the rbuild that started the container, or end the monitor, and the next command takes its place"
    )]
    Version {
        /// The oldest that the monitor speaks.
        oldest: u32,
        /// The newest.
        newest: u32,
        /// What was asked for.
        asked: u32,
    },
    /// Too many clients are connected.
    #[error("the monitor of the container serves {0} clients already: try again when one has left")]
    Crowded(usize),
    /// The request makes no sense at this moment, or in this connection.
    #[error("{0}")]
    Unexpected(String),
    /// An act failed.
    #[error("{0}")]
    Failed(String),
}

#[cfg(test)]
mod tests;

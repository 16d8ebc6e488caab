//! What happens during a build, told as it happens: the only channel to displays, the build record and the API.
//!
//! A build is a set of *tasks*: the steps of its graph, and what is done around them (reading the context, pulling,
//! exporting). A task is declared once, started at most once, and finished exactly once if it was started.

use std::sync::Arc;
use std::time::Duration;

use crate::span::{Diagnostic, Location};

/// The number of a task in one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(pub u32);

/// Something that happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// A task will be, or may be, done.
    Declared {
        /// The task.
        task: TaskId,
        /// Its display name (`[build 2/4] RUN make`).
        name: String,
        /// The stage it belongs to.
        stage: Option<String>,
        /// Where it was written.
        location: Option<Location>,
    },
    /// A task began.
    Started {
        /// The task.
        task: TaskId,
    },
    /// A task printed something.
    Log {
        /// The task.
        task: TaskId,
        /// Which of its outputs.
        stream: Stream,
        /// The bytes as printed, not necessarily whole lines.
        bytes: Vec<u8>,
    },
    /// A part of a task got on.
    Progress {
        /// The task.
        task: TaskId,
        /// The part (a layer's short digest), empty for the task as a whole.
        part: String,
        /// How far, in the unit of `total`.
        current: u64,
        /// How far it has to go, if that is known.
        total: Option<u64>,
        /// What is counted.
        unit: Unit,
    },
    /// A task ended.
    Finished {
        /// The task.
        task: TaskId,
        /// How.
        outcome: Outcome,
        /// Its time from start to end.
        took: Duration,
    },
    /// Something that people should know and that stops nothing.
    Warning(Diagnostic),
    /// A remark of the builder (a fallback that was taken, a lock that is waited for).
    Note(String),
}

/// An output of a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What progress is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unit {
    /// Bytes.
    Bytes,
    /// Files.
    Files,
}

/// How a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// An earlier result was used.
    Cached(Hit),
    /// Its program ended with another status than 0.
    Exited(ExitStatus),
    /// It took longer than it may.
    TimedOut,
    /// It was stopped because somebody asked, or because another task failed.
    Cancelled,
    /// It could not be done.
    Failed,
}

/// By which of its keys an earlier result was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// By its definition.
    Definition,
    /// By the content of what it selects.
    Content,
    /// Another step of this build, or another build at this moment, did the same.
    InFlight,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// It returned this code.
    Code(u8),
    /// This signal killed it.
    Signal(u8),
    /// It was killed because its memory limit was reached.
    OutOfMemory,
}

impl ExitStatus {
    /// Returns the code a shell would report: 128 and the signal's number for a killed program.
    pub const fn code(self) -> u8 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128_u8.saturating_add(signal),
            Self::OutOfMemory => 137,
        }
    }
}

/// Where events go. Called from many threads; must not block for long and must not fail.
pub trait Listener: Send + Sync {
    /// Takes one event.
    fn event(&self, event: Event);
}

/// A shared [`Listener`].
pub type Events = Arc<dyn Listener>;

/// A listener that hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Listener for Silent {
    fn event(&self, _event: Event) {}
}

//! What has become of a container.
//!
//! ```text
//! create -> Created -start-> Running <-pause/unpause-> Paused
//! Running -end-> Exited | Restarting -wait-> Running
//! Created, Exited, Dead -rm-> Removing -> gone        a removal that fails -> Dead
//! ```

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Health, ProcessIdentity};

/// What has become of a container. Each variant has what this state has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "status")]
pub enum State {
    /// It never ran.
    Created {
        /// Why the last attempt to start it failed, if there was one.
        failure: Option<StartFailure>,
    },
    /// Its program runs.
    Running(Run),
    /// Its program is frozen.
    Paused(Run),
    /// Its program ended and will be started again.
    Restarting {
        /// How it ended.
        last: Ended,
        /// When the next attempt is due.
        next: Timestamp,
    },
    /// Its program ended.
    Exited(Ended),
    /// It is being removed.
    Removing {
        /// How its program ended, if it ever ran.
        last: Option<Ended>,
    },
    /// It could not be removed.
    Dead {
        /// What went wrong.
        why: String,
        /// How its program ended, if it ever ran.
        last: Option<Ended>,
    },
}

/// A program that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// The first process of the container.
    pub init: ProcessIdentity,
    /// When it was started.
    pub started: Timestamp,
    /// What is known of its health, if it is asked.
    pub health: Option<Health>,
}

/// A program that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When it was started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
    /// Its status: the exit code, or 128 and the number of a signal; 255 if nobody saw it.
    pub code: i32,
    /// Whether the kernel killed something in it for want of memory.
    pub oom_killed: bool,
    /// Whether somebody asked it to stop; then policies leave it alone.
    pub stopped: Stopped,
    /// What else there is to say ("monitor lost").
    pub error: Option<String>,
    /// Its health at the end, if it was asked.
    pub health: Option<Health>,
}

/// Whether somebody asked a program to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stopped {
    /// It ended by itself.
    ByItself,
    /// By `stop`, or by `kill` with the signal that stops it.
    ByHand,
}

/// A start that failed before the program ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailure {
    /// 127 for a program that is not there, 126 for one that cannot be executed, 128 for all else.
    pub code: i32,
    /// What went wrong, with its causes.
    pub error: String,
}

/// The name of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// [`State::Created`].
    Created,
    /// [`State::Running`].
    Running,
    /// [`State::Paused`].
    Paused,
    /// [`State::Restarting`].
    Restarting,
    /// [`State::Removing`].
    Removing,
    /// [`State::Exited`].
    Exited,
    /// [`State::Dead`].
    Dead,
}

impl Status {
    /// All names.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Running,
        Self::Paused,
        Self::Restarting,
        Self::Removing,
        Self::Exited,
        Self::Dead,
    ];

    /// Returns Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Restarting => "restarting",
            Self::Removing => "removing",
            Self::Exited => "exited",
            Self::Dead => "dead",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|status| status.word() == text).ok_or(())
    }
}

impl State {
    /// What a container begins with.
    pub const NEW: Self = Self::Created { failure: None };

    /// Returns the name of the state.
    pub fn status(&self) -> Status {
        match self {
            Self::Created { .. } => Status::Created,
            Self::Running(_) => Status::Running,
            Self::Paused(_) => Status::Paused,
            Self::Restarting { .. } => Status::Restarting,
            Self::Exited(_) => Status::Exited,
            Self::Removing { .. } => Status::Removing,
            Self::Dead { .. } => Status::Dead,
        }
    }

    /// Returns the program that runs, frozen or not.
    pub fn run(&self) -> Option<&Run> {
        match self {
            Self::Running(run) | Self::Paused(run) => Some(run),
            _ => None,
        }
    }

    /// Returns how the program last ended, if it is not running.
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Exited(ended) | Self::Restarting { last: ended, .. } => Some(ended),
            Self::Removing { last } | Self::Dead { last, .. } => last.as_ref(),
            Self::Created { .. } | Self::Running(_) | Self::Paused(_) => None,
        }
    }

    /// Tells whether a monitor has to be there: a program runs, or will again.
    pub fn is_active(&self) -> bool {
        matches!(self, Self::Running(_) | Self::Paused(_) | Self::Restarting { .. })
    }

    /// Returns the status that `wait` tells.
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Created { failure: Some(failure) } => failure.code,
            state => state.ended().map_or(0, |ended| ended.code),
        }
    }
}

//! What is known of a container's life, as its monitor writes it down.
//!
//! The same [`Record`] lies in two places: `state.json` in the run folder follows every change and is gone after a
//! reboot, `last.json` in the container's own folder follows starts, ends and wishes to stop, and stays.

use rbuild_model::container::{Ended, ProcessIdentity, State, Stopped};
use serde::{Deserialize, Serialize};

/// What is known of a container's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The boot in which this was written, 32 hex digits.
    pub boot: String,
    /// What has become of it.
    pub state: State,
    /// How often its policy started it again since it was started by hand.
    pub restart_count: u32,
    /// Whether somebody asked it to stop, which its policy respects.
    pub stopped: Stopped,
    /// How its program ended the time before this, for a state that does not tell.
    pub previous: Option<Ended>,
    /// Its monitor.
    pub monitor: Option<ProcessIdentity>,
    /// What the plan of the present run says.
    pub note: serde_json::Value,
}

impl Record {
    /// A container that never ran.
    pub(crate) fn new(boot: String) -> Self {
        Self {
            boot,
            state: State::NEW,
            restart_count: 0,
            stopped: Stopped::ByItself,
            previous: None,
            monitor: None,
            note: serde_json::Value::Null,
        }
    }

    /// Marks a container as ended whose end nobody saw; `why` says what is known.
    pub(crate) fn lose(&mut self, why: &str) {
        let now = jiff::Timestamp::now();
        let ended = match &self.state {
            State::Running(run) | State::Paused(run) => Ended {
                started: run.started,
                finished: now,
                code: LOST,
                oom_killed: false,
                stopped: self.stopped,
                error: Some(why.to_owned()),
                health: run.health.clone(),
            },
            State::Restarting { last, .. } => last.clone(),
            _ => return,
        };
        self.state = State::Exited(ended);
        self.monitor = None;
        self.note = serde_json::Value::Null;
    }
}

/// The status of a program whose end nobody saw.
pub(crate) const LOST: i32 = 255;

//! What is known of a container's life, as its monitor writes it down.
//!
//! The same [`Record`] lies in two places: `state.json` in the run folder follows every change and is gone after a
//! reboot, `last.json` in the container's own folder follows starts, ends and wishes to stop, and stays.

use std::time::Duration;

use jiff::Timestamp;
use rbuild_model::container::{Ended, HealthStatus, ProcessIdentity, State, Status, Stopped};
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
    /// How long its program may take to end, since somebody asked it to.
    #[serde(default)]
    pub patience: Option<Patience>,
    /// How its program ended the time before this, for a state that does not tell.
    pub previous: Option<Ended>,
    /// Its monitor.
    pub monitor: Option<ProcessIdentity>,
    /// What the plan of the present run says.
    pub note: serde_json::Value,
}

/// How long a program may take to end that was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Patience {
    /// As long as it takes.
    Endless,
    /// Until then.
    Until(Uptime),
}

/// Milliseconds that the machine was awake since its start: what no setting of its clock and no sleep changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uptime(u64);

impl Uptime {
    fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let now = Duration::try_from(now).unwrap_or_default();
        Self(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the moment so long from now.
    pub(crate) fn after(time: Duration) -> Self {
        Self(Self::now().0.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX)))
    }

    /// Returns how long it is until then.
    pub(crate) fn left(self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(Self::now().0))
    }
}

impl Record {
    /// A container that never ran.
    pub(crate) fn new(boot: String) -> Self {
        Self {
            boot,
            state: State::NEW,
            restart_count: 0,
            stopped: Stopped::ByItself,
            patience: None,
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
        // A start that fails now is not the first one.
        self.previous = Some(ended.clone());
        self.state = State::Exited(ended);
        self.monitor = None;
        self.note = serde_json::Value::Null;
    }
}

/// What those who watch a container are told of it, at each change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// Its state.
    pub status: Status,
    /// Its health, if it runs and is asked.
    pub health: Option<HealthStatus>,
    /// The pid of its first process, if it runs.
    pub pid: Option<i32>,
    /// How often its policy started it again since it was started by hand.
    pub restarts: u32,
    /// The status of its last end, or of the attempt to start it that failed.
    pub code: i32,
    /// When it last ended; another time means that it ended again.
    pub finished: Option<Timestamp>,
    /// What else there is to say of its last end, or of the attempt to start it that failed.
    pub error: Option<String>,
}

impl Moment {
    /// Returns what a record says.
    pub fn of(record: &Record) -> Self {
        let Record { state, restart_count, previous, .. } = record;
        let failure = match state {
            State::Created { failure } => failure.as_ref(),
            _ => None,
        };
        let ended = state.ended().or(previous.as_ref());
        Self {
            status: state.status(),
            health: state.run().and_then(|run| run.health.as_ref()).map(|health| health.status),
            pid: state.run().map(|run| run.init.pid),
            restarts: *restart_count,
            code: failure.map_or(ended.map_or(0, |ended| ended.code), |failure| failure.code),
            finished: ended.map(|ended| ended.finished),
            error: failure
                .map(|failure| failure.error.clone())
                .or_else(|| ended.and_then(|ended| ended.error.clone())),
        }
    }
}

/// The status of a program whose end nobody saw.
pub(crate) const LOST: i32 = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_of_a_grace_is_no_matter_of_the_clock() {
        let hour = Duration::from_secs(3600);
        let written = serde_json::to_string(&Patience::Until(Uptime::after(hour))).unwrap();
        let Patience::Until(moment) = serde_json::from_str(&written).unwrap() else { panic!("{written}") };
        assert!(moment.left() <= hour && moment.left() > hour / 2, "{moment:?}");
        // Both are the clock that waits are measured with: the machine's time of day is no part of it.
        assert!(Uptime::now().0 < 1_000_000_000_000, "{:?}", Uptime::now());
        assert_eq!(Uptime(0).left(), Duration::ZERO);
        assert_eq!(Uptime::after(Duration::MAX), Uptime(u64::MAX));
    }
}

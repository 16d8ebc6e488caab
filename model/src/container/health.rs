//! Whether a container does its work: how that is found out, and what was found.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::image_config::Healthcheck;

/// How the health of a container is found out. A definition whose checks were turned off has none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// What is run in the container, as its user; status 0 is healthy.
    pub test: HealthTest,
    /// The time between two probes.
    pub interval: Duration,
    /// The time after which a probe is killed and counts as failed.
    pub timeout: Duration,
    /// The time after the start in which failures do not count, until the first success.
    pub start_period: Duration,
    /// The time between two probes within the start period.
    pub start_interval: Duration,
    /// So many failures in a row make it unhealthy.
    pub retries: u32,
}

/// When the health of a container is asked for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FirstProbe {
    /// Soon after the start, again and again until it is due: a success counts, a failure is forgotten.
    #[default]
    Early,
    /// When it is due.
    Scheduled,
}

impl HealthCheck {
    /// The time between two probes unless another is asked for.
    pub const INTERVAL: Duration = Duration::from_secs(30);
    /// The time for one probe unless another is asked for.
    pub const TIMEOUT: Duration = Duration::from_secs(30);
    /// The time between two probes within the start period unless another is asked for.
    pub const START_INTERVAL: Duration = Duration::from_secs(5);
    /// The failures in a row unless another number is asked for.
    pub const RETRIES: u32 = 3;
}

/// What a probe runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthTest {
    /// A program with its arguments.
    Command(Vec<String>),
    /// A program made of the container's shell and a text; the first words are the shell's own.
    Shell {
        /// `["/bin/sh", "-c"]`, or what the image's SHELL says.
        shell: Vec<String>,
        /// What the shell is given.
        script: String,
    },
}

impl HealthTest {
    /// Returns what is executed.
    pub fn argv(&self) -> Vec<String> {
        match self {
            Self::Command(argv) => argv.clone(),
            Self::Shell { shell, script } => shell.iter().chain([script]).cloned().collect(),
        }
    }
}

/// What is known of the health of a running container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What it comes to.
    pub status: HealthStatus,
    /// Failures since the last success.
    pub failing_streak: u32,
    /// The last probes, oldest first; at most [`Health::KEPT`].
    pub log: Vec<Probe>,
}

impl Health {
    /// So many probes are kept.
    pub const KEPT: usize = 5;

    /// What is known right after a start.
    pub const fn starting() -> Self {
        Self { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() }
    }
}

/// What the probes come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// Nobody knows yet.
    Starting,
    /// The last probe succeeded.
    Healthy,
    /// As many probes failed in a row as it takes.
    Unhealthy,
}

impl HealthStatus {
    /// Returns Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// One probe that has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// When it began.
    pub start: Timestamp,
    /// When it ended.
    pub end: Timestamp,
    /// Its status; -1 if it was killed for taking too long, or could not be run.
    pub exit_code: i32,
    /// The beginning of what it wrote, at most 4096 bytes.
    pub output: String,
}

impl HealthCheck {
    /// Fills in the defaults of what an image or a caller says; `None` if it says that health is not asked.
    pub fn of_config(config: &Healthcheck, shell: Option<&[String]>) -> Option<Self> {
        let test = match config.test.split_first()? {
            (kind, argv) if kind == "CMD" => HealthTest::Command(argv.to_vec()),
            (kind, [script, ..]) if kind == "CMD-SHELL" => HealthTest::Shell {
                shell: match shell {
                    Some(shell) if !shell.is_empty() => shell.to_vec(),
                    _ => vec!["/bin/sh".to_owned(), "-c".to_owned()],
                },
                script: script.clone(),
            },
            _ => return None,
        };
        let time = |nanos: i64, default| match u64::try_from(nanos) {
            Ok(nanos) if nanos > 0 => Duration::from_nanos(nanos),
            _ => default,
        };
        Some(Self {
            test,
            interval: time(config.interval, Self::INTERVAL),
            timeout: time(config.timeout, Self::TIMEOUT),
            start_period: time(config.start_period, Duration::ZERO),
            start_interval: time(config.start_interval, Self::START_INTERVAL),
            retries: u32::try_from(config.retries).ok().filter(|count| *count > 0).unwrap_or(Self::RETRIES),
        })
    }
}

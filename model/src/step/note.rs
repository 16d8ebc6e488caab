//! What is told of a step and never hashed.

use crate::span::Location;

/// What is told of a step: for displays, errors and the schedule. Nothing of it changes the result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StepNote {
    /// The display name, with variables replaced by their values: `[build 2/4] RUN make v1`. For progress alone: what is
    /// kept is called by `written`.
    pub name: String,
    /// The name with the instruction as it is written: `[build 2/4] RUN make $VERSION`.
    pub written: String,
    /// The stage it belongs to, as displays group steps.
    pub stage: Option<String>,
    /// Where it was written; for a step that several lines share, the first.
    pub location: Option<Location>,
    /// Whether an earlier result must not be used (`--no-cache`, `--no-cache-filter`).
    pub ignore_cache: bool,
    /// What it may use of the machine.
    pub limits: Limits,
}

impl StepNote {
    /// Returns what the step is called where it is kept: no value of a variable stands there.
    pub fn kept_name(&self) -> &str {
        if self.written.is_empty() { &self.name } else { &self.written }
    }
}

/// What a step may use of the machine. `None` is no limit of ours.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Memory in bytes.
    pub memory: Option<u64>,
    /// Memory and swap together, in bytes.
    pub memory_swap: Option<i64>,
    /// Relative share of processor time (docker's `--cpu-shares`).
    pub cpu_shares: Option<u64>,
    /// Length of a period in microseconds.
    pub cpu_period: Option<u64>,
    /// Processor time per period in microseconds.
    pub cpu_quota: Option<i64>,
    /// Processors it may run on (`0-2,4`).
    pub cpuset_cpus: Option<String>,
    /// Memory nodes it may use.
    pub cpuset_mems: Option<String>,
}

//! What is known of why a container failed, beside what it wrote itself.

use rbuild_model::container::{Health, State};

use super::Execution;
use super::error::OperationError;

/// So much of what a health check wrote is told.
const LINES: usize = 10;

/// What is known of why a container failed, beside what it wrote itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What its health check said last.
    HealthCheck {
        /// Its status; -1 if it was ended for taking too long, or could not be run.
        status: i32,
        /// What it wrote.
        lines: Vec<String>,
    },
    /// The kernel killed a program of it for want of memory.
    Memory {
        /// The bytes that it may have, if that was said.
        limit: Option<u64>,
    },
}

impl Execution<'_> {
    /// Looks why a container failed. What cannot be known is nothing.
    pub(super) fn reason(&self, name: &str, error: &OperationError) -> Option<Reason> {
        let definition = self.engine.find(name).ok()?;
        let state = self.engine.look(&definition).ok()?.0;
        match (error, &state) {
            (OperationError::Unhealthy { .. }, State::Running(run) | State::Paused(run)) => {
                health_check(run.health.as_ref()?)
            }
            (OperationError::Unhealthy { .. }, State::Exited(ended)) => health_check(ended.health.as_ref()?),
            (_, State::Exited(ended)) if ended.oom_killed => {
                Some(Reason::Memory { limit: definition.host.resources.memory })
            }
            _ => None,
        }
    }
}

fn health_check(health: &Health) -> Option<Reason> {
    let probe = health.log.iter().rev().find(|probe| probe.exit_code != 0)?;
    let lines = probe.output.lines().take(LINES).map(str::to_owned).collect();
    Some(Reason::HealthCheck { status: probe.exit_code, lines })
}

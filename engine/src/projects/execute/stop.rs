//! A container's end: what the project runs before, how long it is waited for, and who cannot hear that it should stop.

use rbuild_model::container::{Definition, NamespaceUse, Signal, State};

use rbuild_monitor::ClientError;
use rbuild_sandbox::process::Attitude;

use super::Execution;
use super::error::OperationError;
use crate::containers::ContainerError;
use crate::engine::Engine;
use crate::projects::happening::{Phase, Subject};
use crate::projects::labels;
use crate::projects::operation::{Existing, OperationId};

/// Whether those are waited for that cannot hear that they should stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Haste {
    /// They get their full time, as by docker.
    #[default]
    None,
    /// Where nothing could come of waiting, there is none.
    WhereDeaf,
}

impl Execution<'_> {
    /// Stops a container if it runs.
    pub(super) fn stop(&self, id: OperationId, existing: &Existing) -> Result<(), OperationError> {
        let definition = match self.engine.find(&existing.id.to_string()) {
            // Somebody else was faster.
            Err(ContainerError::NotFound(_)) => return Ok(()),
            found => found?,
        };
        let services = &self.work.project.services;
        let service = services
            .get(existing.service.as_str())
            .or_else(|| self.work.project.disabled.get(existing.service.as_str()));
        if let Some(service) = service
            && !service.pre_stop.is_empty()
            && !definition.labels.contains_key(labels::key::HOOK)
            // Who told it to stop has run them.
            && let seen = self.engine.observe(&definition)?
            && matches!(seen.state, State::Running(_))
            && !seen.is_stopping
        {
            self.hooks(&definition, &existing.service, existing.number, "pre_stop", &service.pre_stop)?;
        }
        let asked = self.work.wanted.timeout.map(|time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
        let mut timeout = asked;
        if self.work.haste == Haste::WhereDeaf && asked.is_none() && self.engine.is_deaf(&definition)? {
            timeout = Some(0);
            let signal = definition.program.stop_signal();
            let note = format!(
                "its only process is PID 1 and has no handler for {signal}, so it was ended at once; a handler, or \
                 `init: true`, lets it end by itself"
            );
            self.tell(id, Subject::Container(existing.name.clone()), Phase::Note(note));
        }
        match self.engine.stop(&definition, None, timeout) {
            // Its monitor was killed meanwhile; another look gives it a new one.
            Err(ContainerError::Monitor(error)) if matches!(*error, ClientError::Wire(_)) => {
                Ok(self.engine.stop(&definition, None, timeout)?)
            }
            stopped => Ok(stopped?),
        }
    }
}

impl Engine {
    /// Whether the signal that is to stop a container's program can do nothing: it is the first process of a PID
    /// namespace of its own, where signals do nothing by default, it neither catches nor blocks this one, and there is
    /// nobody else who could.
    fn is_deaf(&self, definition: &Definition) -> Result<bool, ContainerError> {
        if definition.host.init || definition.host.pid != NamespaceUse::Own {
            return Ok(false);
        }
        let State::Running(run) = self.observe(definition)?.state else { return Ok(false) };
        let signal = definition.program.stop_signal();
        if signal == Signal::KILL || self.processes_of(definition, &run).len() != 1 {
            return Ok(false);
        }
        let attitude = u32::try_from(run.init.pid).ok().and_then(Attitude::of);
        // Of a process that is gone nothing is known, and nothing needs to be: it has ended.
        Ok(attitude.is_some_and(|attitude| attitude.is_deaf_to(signal.number())))
    }
}

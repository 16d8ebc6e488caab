//! Containers that remove themselves: by the command that is attached, by the process that their monitor starts, or, if
//! none of them is left, by whoever meets them next. The process also gives back volumes that are mounted only while
//! they are used.

use rbuild_model::container::{ContainerId, Definition, Removal, State};
use rbuild_sandbox::process::is_alive;

use super::error::ContainerError;
use super::rows;
use crate::engine::Engine;

/// Whether a container that removes itself has ended: look-ups take it for gone.
pub(super) fn is_gone(definition: &Definition, state: &State) -> bool {
    definition.host.removal == Removal::Auto && matches!(state, State::Exited(_))
}

impl Engine {
    /// Looks after a container that has ended: one that removes itself goes, others give their volumes back. One that is
    /// gone already is no failure.
    pub fn reap(&self, id: ContainerId) -> Result<(), ContainerError> {
        let scope = self.parts.store.locks().scope();
        let _held = self.hold(&scope, id)?;
        let Some(definition) = self.parts.store.read(|transaction| rows::get(transaction, id))? else {
            return Ok(());
        };
        let state = self.observe(&definition)?.state;
        if is_gone(&definition, &state) {
            return self.take_away(&definition, true);
        }
        if !state.is_active() {
            self.release_volumes(&definition);
        }
        Ok(())
    }

    /// Removes a container that removes itself, has ended, and that nobody removed: its monitor and the command that was
    /// attached were killed, or the machine was restarted. Tells whether it is gone for those who look.
    pub(super) fn reap_left(&self, definition: &Definition) -> Result<bool, ContainerError> {
        if definition.host.removal != Removal::Auto {
            return Ok(false);
        }
        let record = self.record(definition)?;
        if !is_gone(definition, &record.state) {
            return Ok(false);
        }
        // A monitor waits for its readers, and has it removed then.
        if !record.monitor.is_some_and(is_alive) {
            self.reap(definition.id)?;
        }
        Ok(true)
    }

    /// Does so for all containers, and goes on past those that cannot be removed now: the next command tries again.
    pub(super) fn reap_all_left(&self) -> Result<(), ContainerError> {
        for definition in self.parts.store.read(rows::auto_removed)? {
            let _ = self.reap_left(&definition);
        }
        Ok(())
    }
}

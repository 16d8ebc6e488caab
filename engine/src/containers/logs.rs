//! What containers wrote, and how they ended.

use rbuild_model::container::{Definition, State};
use rbuild_monitor::log::{Filter, ReadError, Reader, read};

use super::error::ContainerError;
use crate::engine::Engine;

impl Engine {
    /// Opens the log of a container.
    pub fn logs(&self, definition: &Definition, filter: Filter) -> Result<Reader, ContainerError> {
        match self.observe(definition)?.state {
            State::Removing { .. } | State::Dead { .. } => {
                return Err(ContainerError::State(
                    "can not get logs from container which is dead or marked for removal".to_owned(),
                ));
            }
            _ => {}
        }
        read(&self.folder(definition.id), &definition.id, &definition.host.log, filter).map_err(|error| {
            match error {
                ReadError::Unreadable => ContainerError::Invalid(error.to_string()),
                error => ContainerError::Log(error),
            }
        })
    }

    /// Tells whether the kernel killed something in a container for want of memory, the last time it ran.
    pub fn was_killed_for_memory(&self, definition: &Definition) -> Result<bool, ContainerError> {
        Ok(self.observe(definition)?.state.ended().is_some_and(|ended| ended.oom_killed))
    }
}

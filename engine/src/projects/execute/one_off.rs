//! One container more of a service, for one program (`run`).

use std::collections::BTreeMap;

use rbuild_model::container::Definition;
use rbuild_model::project::{Hook, Service};

use super::error::OperationError;
use super::{Execution, Work};
use crate::containers::CreateRequest;
use crate::engine::Engine;
use crate::projects::happening::Watcher;
use crate::projects::labels::{Aliases, Place};
use crate::projects::operation::Plan;

/// A container that is to be run once.
#[derive(Clone, Copy, Debug)]
pub struct OneOff<'a> {
    /// What it is made of.
    pub service: &'a Service,
    /// Its name.
    pub name: &'a str,
    /// Its id among those of `run`.
    pub slug: &'a str,
    /// Whether the service's names lead to it too.
    pub aliases: Aliases,
}

impl Engine {
    /// Makes a container of a service that is none of its numbered ones; nothing runs yet.
    pub fn make_one_off(
        &self,
        work: Work<'_>,
        one: OneOff<'_>,
        adjust: impl FnOnce(&mut CreateRequest),
    ) -> Result<Definition, OperationError> {
        let execution = Execution::new(self, &Plan::default(), work, &crate::projects::Unwatched)
            .map_err(|error| OperationError::Watch(Box::new(error)))?;
        let place = Place::OneOff { slug: one.slug.to_owned(), aliases: one.aliases };
        execution.make(one.service, place, one.name, &BTreeMap::new(), adjust)
    }

    /// Runs the hooks of a service in a container that has just been started, one after the other.
    pub fn run_hooks(
        &self,
        work: Work<'_>,
        definition: &Definition,
        service: &str,
        hooks: &[Hook],
        watcher: &dyn Watcher,
    ) -> Result<(), OperationError> {
        let execution = Execution::new(self, &Plan::default(), work, watcher)
            .map_err(|error| OperationError::Watch(Box::new(error)))?;
        execution.hooks(definition, service, 1, "post_start", hooks)
    }
}

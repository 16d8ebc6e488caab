//! Names that go from one container to another.

use rbuild_model::project::{Project, Service};

use super::{Planner, Replicas};
use crate::projects::cause::Cause;
use crate::projects::observed::ReplicaKind;
use crate::projects::operation::{New, Operation, OperationId};

impl Planner<'_> {
    /// What takes a name from the container that has it, so that one of this service can have it. Where its own service
    /// comes later, it gets a name for the time being: two that swap their names cannot wait for each other.
    pub(super) fn name_freed(&mut self, service: &Service, name: &str) -> Option<OperationId> {
        let holder = self.observed.replicas.iter().find(|replica| replica.name == name)?;
        let frees = |operation: &Operation| match operation {
            Operation::Remove { container, .. } | Operation::Rename { container, .. } => {
                container.id == holder.id
            }
            Operation::Recreate { old, new, .. } | Operation::TakeOver { old, new } => {
                old.id == holder.id && new.name != name
            }
            _ => false,
        };
        if let Some(place) = self.plan.operations.iter().position(|planned| frees(&planned.operation)) {
            return Some(OperationId(place));
        }
        let own = self.project.services.get(holder.service.as_str())?;
        let is_to_come = own.name != service.name
            && self.selected.contains(&own.name)
            && !self.services.contains_key(&own.name)
            && self.wanted.one_off.as_ref() != Some(&own.name)
            && own.provider.is_none();
        if holder.kind != ReplicaKind::Numbered || !is_to_come {
            return None;
        }
        let Replicas { kept, surplus, unfinished } = self.replicas(own, self.count(own));
        let goes = surplus.iter().chain(&unfinished).any(|replica| replica.id == holder.id);
        let changes = kept.iter().any(|(replica, diverged)| {
            replica.id == holder.id
                && diverged.is_some()
                && self.new_container(own, replica.number).name != name
        });
        if !(goes || changes) {
            return None;
        }
        let container = holder.existing();
        let operation = Operation::Rename { name: format!("{}_{name}", holder.id.short()), container };
        let renamed = self.plan.add(operation, Cause::NameWanted(service.name.clone()), vec![]);
        self.ground.rejoined.entry(holder.id).or_default().push(renamed);
        Some(renamed)
    }

    /// How many containers a service is to have.
    pub(super) fn count(&self, service: &Service) -> u64 {
        self.wanted.scale.get(&service.name).copied().unwrap_or(service.replicas)
    }

    /// A container of a service that is to be.
    pub(super) fn new_container(&self, service: &Service, number: u64) -> New {
        let name = match &service.container_name {
            Some(name) => name.clone(),
            None => {
                let Project { name, separator, .. } = self.project;
                format!("{name}{separator}{}{separator}{number}", service.name)
            }
        };
        New { service: service.name.clone(), number, name }
    }
}

//! Names that go from one container to another.

use rbuild_model::project::{Project, Service};

use super::{Planner, Replica, Replicas};
use crate::projects::cause::Cause;
use crate::projects::observed::{Observed, ReplicaKind};
use crate::projects::operation::{New, Operation, OperationId};

/// What takes a name from the container that has it.
pub(super) enum Freed<'a> {
    /// What is planned already.
    By(OperationId),
    /// A name for the time being: its own service comes later, and two that swap their names cannot wait for each other.
    Later(&'a Replica),
}

impl<'a> Planner<'a> {
    /// What takes a name from the container that has it, so that one of this service can have it.
    pub(super) fn name_freed(&mut self, service: &Service, name: &str) -> Option<OperationId> {
        match self.freed(service, name)? {
            Freed::By(operation) => Some(operation),
            Freed::Later(holder) => Some(self.rename_for_now(service, holder, vec![])),
        }
    }

    /// Gives a container a name for the time being, as one of this service is to have its own.
    pub(super) fn rename_for_now(
        &mut self,
        service: &Service,
        holder: &Replica,
        after: Vec<OperationId>,
    ) -> OperationId {
        let name = format!("{}_{}", holder.id.short(), holder.name);
        let operation = Operation::Rename { name, container: holder.existing() };
        let renamed = self.plan.add(operation, Cause::NameWanted(service.name.clone()), after);
        self.ground.rejoined.entry(holder.id).or_default().push(renamed);
        renamed
    }

    pub(super) fn freed(&self, service: &Service, name: &str) -> Option<Freed<'a>> {
        let observed: &'a Observed = self.observed;
        let holder = observed.replicas.iter().find(|replica| replica.name == name)?;
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
            return Some(Freed::By(OperationId(place)));
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
        (goes || changes).then_some(Freed::Later(holder))
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

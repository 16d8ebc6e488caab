//! `update`: limits and policy of a container that is there.

use rbuild_model::container::{Removal, Resources, RestartPolicy};
use rbuild_sandbox::cgroup::Layout;

use super::define;
use super::error::ContainerError;
use super::launch::limits;
use crate::engine::Engine;

/// What is to be another; what is not given stays.
#[derive(Clone, Debug, Default)]
pub struct Update {
    /// The limits. Below zero, memory with swap and processor time are limited no more.
    pub resources: Resources,
    /// The number of processes.
    pub processes: Processes,
    /// When it is started again.
    pub restart: Option<RestartPolicy>,
}

/// What becomes of the limit of processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Processes {
    /// It is the one that is given, or stays.
    #[default]
    AsGiven,
    /// There is none any more.
    Unlimited,
}

impl Engine {
    /// Changes limits and policy, also of a container that runs.
    pub fn update(&self, text: &str, update: &Update) -> Result<(), ContainerError> {
        define::check_processors(&update.resources)?;
        define::check_real_time(&update.resources, Layout::shared())?;
        let scope = self.parts.store.locks().scope();
        let _held = self.hold(&scope, self.find(text)?.id)?;
        let mut definition = self.find(text)?;
        let wrong =
            |why: &str| ContainerError::Invalid(format!("Cannot update container {}: {why}", definition.id));
        if definition.host.removal == Removal::Auto
            && update.restart.is_some_and(|policy| policy != RestartPolicy::No)
        {
            return Err(wrong(
                "Restart policy cannot be updated because AutoRemove is enabled for the container",
            ));
        }
        let old = &definition.host.resources;
        if let (Some(memory), None, Some(swap)) =
            (update.resources.memory, update.resources.memory_swap, old.memory_swap)
            && swap > 0
            && memory > swap.unsigned_abs()
        {
            return Err(wrong(
                "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time",
            ));
        }
        let mut merged = merged(old, &update.resources);
        if update.processes == Processes::Unlimited {
            merged.pids = None;
        }
        let changes_limits = merged != *old;
        let limits = limits(&merged)?;
        definition.host.resources = merged;
        if let Some(policy) = update.restart {
            definition.host.restart = policy;
        }
        define::check(&definition)?;
        if let Some(mut client) = self.client(&definition)? {
            client.update(changes_limits.then_some(limits), update.restart)?;
        }
        self.rewrite(&definition)?;
        self.tell(&definition, "update", &[]);
        Ok(())
    }
}

/// Returns the old limits with those that are given in their place.
fn merged(old: &Resources, new: &Resources) -> Resources {
    let by_quota = new.cpu_quota.is_some() || new.cpu_period.is_some();
    Resources {
        memory: new.memory.or(old.memory),
        memory_swap: new.memory_swap.or(old.memory_swap),
        memory_reservation: new.memory_reservation.or(old.memory_reservation),
        // The two ways to say the same take each other's place.
        nano_cpus: new.nano_cpus.or(old.nano_cpus.filter(|_| !by_quota)),
        cpu_shares: new.cpu_shares.or(old.cpu_shares),
        cpu_period: new.cpu_period.or(old.cpu_period.filter(|_| new.nano_cpus.is_none())),
        cpu_quota: new.cpu_quota.or(old.cpu_quota.filter(|_| new.nano_cpus.is_none())),
        cpu_rt_period: new.cpu_rt_period.or(old.cpu_rt_period),
        cpu_rt_runtime: new.cpu_rt_runtime.or(old.cpu_rt_runtime),
        cpuset_cpus: new.cpuset_cpus.clone().or_else(|| old.cpuset_cpus.clone()),
        cpuset_mems: new.cpuset_mems.clone().or_else(|| old.cpuset_mems.clone()),
        pids: new.pids.or(old.pids),
        blkio_weight: new.blkio_weight.or(old.blkio_weight),
        ..old.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_stays() {
        let old = Resources { memory: Some(64 << 20), nano_cpus: Some(500_000_000), ..Resources::default() };
        let new = Resources { cpu_quota: Some(20_000), pids: Some(7), ..Resources::default() };
        let merged = merged(&old, &new);
        assert_eq!(
            (merged.memory, merged.nano_cpus, merged.cpu_quota, merged.pids),
            (Some(64 << 20), None, Some(20_000), Some(7))
        );
    }
}

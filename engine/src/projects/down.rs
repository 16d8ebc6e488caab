//! The plan that takes a project down.

use std::collections::{BTreeMap, BTreeSet};

use super::cause::Cause;
use super::observed::{Replica, ReplicaKind};
use super::operation::{Operation, OperationId, Plan, Warning};
use super::order::{Cycle, dependencies_first};
use super::wanted::AnonymousVolumes;

/// What is taken down. The project's file need not be there: all of it can be read from labels.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Down {
    /// The project's containers.
    pub replicas: Vec<Replica>,
    /// What each service depends on.
    pub dependencies: BTreeMap<String, BTreeSet<String>>,
    /// The services that were named; all of them if empty.
    pub targets: BTreeSet<String>,
    /// The names of networks that go too.
    pub networks: Vec<String>,
    /// The names of volumes that go too, if volumes do.
    pub named_volumes: Vec<String>,
    /// Whether volumes go.
    pub volumes: VolumesToo,
    /// Whether containers of services that are gone, and those of `run`, go too.
    pub orphans: super::wanted::Orphans,
}

/// Whether volumes go with their containers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VolumesToo {
    /// They stay.
    #[default]
    Keep,
    /// The named and the anonymous ones go (`-v`).
    Remove,
}

/// Plans the end of a project: each container stops after all that depend on it, networks and volumes go last.
pub fn down(down: &Down) -> Result<Plan, Cycle> {
    let mut plan = Plan::default();
    let is_orphan = |replica: &Replica| match replica.kind {
        ReplicaKind::OneOff => !replica.activity.is_up(),
        ReplicaKind::Numbered | ReplicaKind::PreStart => !down.dependencies.contains_key(&replica.service),
    };
    let is_wanted = |replica: &&Replica| {
        let orphan = replica.kind == ReplicaKind::OneOff || !down.dependencies.contains_key(&replica.service);
        if orphan {
            return down.targets.is_empty() && down.orphans == super::wanted::Orphans::Remove;
        }
        down.targets.is_empty() || down.targets.contains(&replica.service)
    };
    let mut graph = down.dependencies.clone();
    for replica in &down.replicas {
        graph.entry(replica.service.clone()).or_default();
    }
    let mut order = dependencies_first(&graph)?;
    order.reverse();
    let mut stops: BTreeMap<&str, Vec<OperationId>> = BTreeMap::new();
    let mut removals = Vec::new();
    let volumes = match down.volumes {
        VolumesToo::Keep => AnonymousVolumes::Keep,
        VolumesToo::Remove => AnonymousVolumes::Renew,
    };
    for service in &order {
        let dependents = graph.iter().filter(|(_, dependencies)| dependencies.contains(service));
        let before: Vec<OperationId> = dependents
            .filter_map(|(dependent, _)| stops.get(dependent.as_str()))
            .flatten()
            .copied()
            .collect();
        let mut replicas: Vec<&Replica> =
            down.replicas.iter().filter(|replica| replica.service == *service).filter(is_wanted).collect();
        replicas.sort_by_key(|replica| replica.number);
        // Whether it runs is seen when it is stopped: it may come back by itself until then.
        let mut own = Vec::new();
        for replica in replicas {
            let stop = plan.add(Operation::Stop(replica.existing()), Cause::Down, before.clone());
            own.push(stop);
            let operation = Operation::Remove { container: replica.existing(), volumes };
            removals.push(plan.add(operation, Cause::Down, vec![stop]));
        }
        // Who has nothing to stop hands on what it would have waited for.
        stops.insert(service, if own.is_empty() { before } else { own });
    }
    let mut orphans: Vec<String> = down
        .replicas
        .iter()
        .filter(|replica| is_orphan(replica))
        .map(|replica| replica.name.clone())
        .collect();
    orphans.sort();
    if down.orphans == super::wanted::Orphans::Warn && down.targets.is_empty() && !orphans.is_empty() {
        plan.warnings.push(Warning::Orphans { names: orphans });
    }
    for name in &down.networks {
        plan.add(Operation::RemoveNetwork { name: name.clone() }, Cause::Down, removals.clone());
    }
    if down.volumes == VolumesToo::Remove {
        for name in &down.named_volumes {
            plan.add(Operation::RemoveVolume { name: name.clone() }, Cause::Down, removals.clone());
        }
    }
    Ok(plan)
}

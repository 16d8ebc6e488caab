//! The part of a plan that makes networks and volumes what the project says.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::container::ContainerId;
use rbuild_model::project::{NetworkKey, Project, ServiceName, VolumeKey};

use super::cause::Cause;
use super::observed::{Observed, Owner, Replica, ReplicaKind};
use super::operation::{Existing, Operation, OperationId, Plan, Warning};
use super::plan_error::PlanError;
use super::services::in_order;
use super::wanted::{AnonymousVolumes, ChangedVolumes, Wanted};

/// What the containers of the plan build on.
#[derive(Debug, Default)]
pub(super) struct Ground {
    /// What makes each network usable: empty for one that is.
    pub(super) networks: BTreeMap<NetworkKey, Vec<OperationId>>,
    /// What makes each volume usable: empty for one that is.
    pub(super) volumes: BTreeMap<VolumeKey, Vec<OperationId>>,
    /// The containers that are stopped to be started again.
    pub(super) stopped: BTreeMap<ContainerId, Interrupted>,
    /// What gives containers that do not run their networks back: whatever uses or removes one comes after it.
    pub(super) rejoined: BTreeMap<ContainerId, Vec<OperationId>>,
    /// The containers that are removed, and what removes them.
    pub(super) removed: BTreeMap<ContainerId, OperationId>,
}

/// A container that is stopped to be started again.
#[derive(Clone, Debug)]
pub(super) struct Interrupted {
    /// Why.
    pub(super) cause: Cause,
    /// What has to be done before it starts again; its stop comes first.
    pub(super) before: Vec<OperationId>,
}

impl Replica {
    /// Returns what names it in operations.
    pub(super) fn existing(&self) -> Existing {
        Existing { id: self.id, name: self.name.clone(), service: self.service.clone(), number: self.number }
    }
}

/// Plans the networks that are used.
pub(super) fn networks(
    plan: &mut Plan,
    ground: &mut Ground,
    project: &Project,
    used: &BTreeSet<NetworkKey>,
    observed: &Observed,
    wanted: &Wanted,
) -> Result<(), PlanError> {
    for key in used {
        let Some(network) = project.networks.get(key) else { continue };
        let name = network.name.clone();
        let ready = match observed.networks.get(key).map(|found| &found.owner) {
            None if network.external => return Err(PlanError::ExternalNetwork { key: key.clone(), name }),
            None => {
                vec![plan.add(Operation::CreateNetwork { key: key.clone(), name }, Cause::Missing, vec![])]
            }
            Some(_) if network.external => vec![],
            Some(Owner::Nobody) => return Err(PlanError::UnlabelledNetwork { name, key: key.clone() }),
            Some(Owner::Other { .. }) => {
                let project = project.name.to_string();
                plan.warnings.push(Warning::ForeignNetwork { name, project });
                vec![]
            }
            Some(Owner::Ours { hash }) => match wanted.network_hashes.get(key) {
                Some(now) if now != hash => remade_network(plan, ground, project, key, &name, observed)?,
                _ => vec![],
            },
        };
        ground.networks.insert(key.clone(), ready);
    }
    Ok(())
}

/// A network that is defined otherwise now: its containers stop, each after what depends on it, leave, and join the new
/// one. They stay who they are.
fn remade_network(
    plan: &mut Plan,
    ground: &mut Ground,
    project: &Project,
    key: &NetworkKey,
    name: &str,
    observed: &Observed,
) -> Result<Vec<OperationId>, PlanError> {
    let cause = || Cause::NetworkChanged(key.clone());
    let attached = observed.replicas.iter().filter(|replica| replica.networks.contains(name));
    let (going, mut attached): (Vec<&Replica>, Vec<&Replica>) =
        attached.partition(|replica| ground.removed.contains_key(&replica.id));
    let run = |replica: &&&Replica| replica.kind != ReplicaKind::Numbered && replica.activity.is_up();
    let containers: Vec<String> = attached.iter().filter(run).map(|replica| replica.name.clone()).collect();
    if !containers.is_empty() {
        return Err(PlanError::NetworkInUse { name: name.to_owned(), containers });
    }
    let order = in_order(project)?;
    let place = |replica: &Replica| order.iter().position(|name| name.as_str() == replica.service);
    attached.sort_by_key(|replica| Reverse(place(replica)));
    // Who goes leaves the network by going.
    let mut left: Vec<OperationId> =
        going.iter().filter_map(|replica| ground.removed.get(&replica.id)).copied().collect();
    for replica in &attached {
        // It is back in the last network that was changed before it leaves the next.
        let mut after = ground.rejoined.get(&replica.id).cloned().unwrap_or_default();
        if replica.activity.is_up() && !ground.stopped.contains_key(&replica.id) {
            let depends = |other: &&&Replica| {
                let service = project.services.get(other.service.as_str());
                service.is_some_and(|service| service.depends_on.contains_key(replica.service.as_str()))
            };
            let dependents = attached.iter().filter(depends);
            let dependents = dependents.filter_map(|other| ground.stopped.get(&other.id)?.before.first());
            let before = dependents.copied().collect();
            after.push(plan.add(Operation::Stop(replica.existing()), cause(), before));
            ground.stopped.insert(replica.id, Interrupted { cause: cause(), before: after.clone() });
        } else if let Some(interrupted) = ground.stopped.get(&replica.id) {
            after.extend(interrupted.before.first());
        }
        let operation = Operation::Disconnect { container: replica.existing(), network: name.to_owned() };
        left.push(plan.add(operation, cause(), after));
    }
    let removed = plan.add(Operation::RemoveNetwork { name: name.to_owned() }, cause(), left);
    let operation = Operation::CreateNetwork { key: key.clone(), name: name.to_owned() };
    let created = plan.add(operation, cause(), vec![removed]);
    for replica in attached {
        let (container, network) = (replica.existing(), name.to_owned());
        let operation = Operation::Connect { container, key: key.clone(), network };
        let connected = plan.add(operation, cause(), vec![created]);
        match ground.stopped.get_mut(&replica.id) {
            Some(interrupted) => interrupted.before.push(connected),
            None => ground.rejoined.entry(replica.id).or_default().push(connected),
        }
    }
    Ok(vec![created])
}

/// Plans the volumes that are used. `made` are the services whose containers the plan makes again where they go.
pub(super) fn volumes(
    plan: &mut Plan,
    ground: &mut Ground,
    project: &Project,
    used: &BTreeSet<VolumeKey>,
    made: &BTreeSet<ServiceName>,
    observed: &Observed,
    wanted: &Wanted,
) -> Result<(), PlanError> {
    for key in used {
        let Some(volume) = project.volumes.get(key) else { continue };
        let name = volume.name.clone();
        let project = project.name.to_string();
        let ready = match observed.volumes.get(key).map(|found| &found.owner) {
            None if volume.external => return Err(PlanError::ExternalVolume { key: key.clone(), name }),
            None => {
                vec![plan.add(Operation::CreateVolume { key: key.clone(), name }, Cause::Missing, vec![])]
            }
            Some(_) if volume.external => vec![],
            Some(Owner::Nobody) => {
                plan.warnings.push(Warning::UnlabelledVolume { name });
                vec![]
            }
            Some(Owner::Other { project: owner }) => {
                plan.warnings.push(Warning::ForeignVolume { name, owner: owner.clone(), project });
                vec![]
            }
            Some(Owner::Ours { hash }) if wanted.volume_hashes.get(key).is_none_or(|now| now == hash) => {
                vec![]
            }
            Some(Owner::Ours { .. }) if wanted.changed_volumes == ChangedVolumes::Keep => {
                plan.warnings.push(Warning::VolumeKept { name });
                vec![]
            }
            Some(Owner::Ours { .. }) => remade_volume(plan, ground, key, &name, made, observed)?,
        };
        ground.volumes.insert(key.clone(), ready);
    }
    Ok(())
}

/// A volume that is made anew: the containers that use it go first.
fn remade_volume(
    plan: &mut Plan,
    ground: &mut Ground,
    key: &VolumeKey,
    name: &str,
    made: &BTreeSet<ServiceName>,
    observed: &Observed,
) -> Result<Vec<OperationId>, PlanError> {
    let cause = || Cause::VolumeChanged(key.clone());
    let users = observed.replicas.iter().filter(|replica| replica.volumes.contains(name));
    let users: Vec<&Replica> = users.filter(|replica| !ground.removed.contains_key(&replica.id)).collect();
    let comes_back =
        |replica: &Replica| replica.kind == ReplicaKind::Numbered && made.contains(replica.service.as_str());
    let others = users.iter().filter(|replica| !comes_back(replica));
    let containers: Vec<String> = others.map(|replica| replica.name.clone()).collect();
    if !containers.is_empty() {
        return Err(PlanError::VolumeInUse { name: name.to_owned(), containers });
    }
    let mut gone = Vec::new();
    for replica in users {
        let mut after = ground.rejoined.remove(&replica.id).unwrap_or_default();
        if replica.activity.is_up() && !ground.stopped.contains_key(&replica.id) {
            after.push(plan.add(Operation::Stop(replica.existing()), cause(), vec![]));
        }
        // What was begun for it before has to be done.
        after.extend(
            ground.stopped.remove(&replica.id).into_iter().flat_map(|interrupted| interrupted.before),
        );
        let operation = Operation::Remove { container: replica.existing(), volumes: AnonymousVolumes::Keep };
        let removal = plan.add(operation, cause(), after);
        ground.removed.insert(replica.id, removal);
        gone.push(removal);
    }
    let removed = plan.add(Operation::RemoveVolume { name: name.to_owned() }, cause(), gone);
    let operation = Operation::CreateVolume { key: key.clone(), name: name.to_owned() };
    Ok(vec![plan.add(operation, cause(), vec![removed])])
}

//! The plan that makes what there is what the project says.

mod before;
mod beside;
mod names;

use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::container::ContainerId;
use rbuild_model::project::{Condition, NetworkKey, Project, Service, ServiceName, VolumeKey};

use super::cause::Cause;
use super::change::changes;
use super::content::{other_contents, without_contents};
use super::network::{Ground, Interrupted, networks, volumes};
use super::observed::{Activity, Observed, Replica, ReplicaKind};
use super::operation::{New, Operation, OperationId, Plan, Startable, Warning};
use super::plan_error::PlanError;
use super::services::{in_order, named_volumes, parents, selected};
use super::unfinished;
use super::wanted::{AnonymousVolumes, ChangedContents, Orphans, Recreate, Starting, Wanted};

/// The most containers that a service may have: as many as a bridge of the kernel has ports.
const MOST_REPLICAS: u64 = 1023;

/// Plans what makes the selected services what the project says.
pub fn up(project: &Project, observed: &Observed, wanted: &Wanted) -> Result<Plan, PlanError> {
    for name in wanted.targets.iter().chain(wanted.scale.keys()) {
        if !project.services.contains_key(name) {
            return Err(PlanError::NoSuchService { name: name.to_string() });
        }
    }
    let order = in_order(project)?;
    let selected = selected(project, &wanted.targets, wanted.dependencies);
    if selected.is_empty() {
        return Err(PlanError::NothingSelected);
    }
    let mut planner = Planner {
        project,
        observed,
        wanted,
        selected,
        plan: Plan::default(),
        ground: Ground::default(),
        services: BTreeMap::new(),
    };
    planner.orphans();
    planner.left_before();
    planner.ground()?;
    for name in &order {
        if planner.selected.contains(name) {
            planner.service(&project.services[name])?;
        }
    }
    planner.resume(&order);
    Ok(planner.plan)
}

/// What was planned for a service: what later ones build on.
#[derive(Debug, Default)]
struct Placed {
    /// What makes its containers exist.
    made: Vec<OperationId>,
    /// What starts them.
    started: Vec<OperationId>,
    /// Whether a container of it comes anew.
    recreated: bool,
    /// How many containers it has in the end.
    count: u64,
    /// The operations that wait for it, by condition, so that it is waited for once.
    awaited: BTreeMap<&'static str, OperationId>,
}

/// The containers of a service, divided by what becomes of them.
struct Replicas<'a> {
    /// Those that stay, with the reason why one has to come anew.
    kept: Vec<(&'a Replica, Option<Cause>)>,
    /// Those that are too many.
    surplus: Vec<&'a Replica>,
    /// What a command that was killed left behind.
    unfinished: Vec<&'a Replica>,
}

struct Planner<'a> {
    project: &'a Project,
    observed: &'a Observed,
    wanted: &'a Wanted,
    selected: BTreeSet<ServiceName>,
    plan: Plan,
    ground: Ground,
    services: BTreeMap<ServiceName, Placed>,
}

impl<'a> Planner<'a> {
    /// Containers of services that the project does not know, enabled or not.
    fn orphans(&mut self) {
        if self.wanted.orphans == Orphans::Ignore {
            return;
        }
        let known = |service: &str| {
            self.project.services.contains_key(service) || self.project.disabled.contains_key(service)
        };
        let observed: &'a Observed = self.observed;
        let mut orphans: Vec<&'a Replica> = observed
            .replicas
            .iter()
            .filter(|replica| match replica.kind {
                ReplicaKind::Numbered | ReplicaKind::PreStart => !known(&replica.service),
                ReplicaKind::OneOff => !replica.activity.is_up(),
            })
            .collect();
        orphans.sort_by(|a, b| a.name.cmp(&b.name));
        if orphans.is_empty() {
            return;
        }
        if self.wanted.orphans == Orphans::Warn {
            let names = orphans.iter().map(|replica| replica.name.clone()).collect();
            self.plan.warnings.push(Warning::Orphans { names });
            return;
        }
        for orphan in orphans {
            self.remove(orphan, &Cause::Orphan);
        }
    }

    fn ground(&mut self) -> Result<(), PlanError> {
        let services = || self.selected.iter().filter_map(|name| self.project.services.get(name));
        let used_networks = services().flat_map(|service| service.networks.keys().cloned()).collect();
        let used_volumes: BTreeSet<VolumeKey> =
            services().flat_map(|service| named_volumes(service).cloned()).collect();
        let mut made = self.selected.clone();
        if let Some(name) = &self.wanted.one_off {
            made.remove(name);
        }
        let Self { plan, ground, project, observed, wanted, .. } = self;
        networks(plan, ground, project, &used_networks, observed, wanted)?;
        volumes(plan, ground, project, &used_volumes, &made, observed, wanted)
    }

    fn service(&mut self, service: &'a Service) -> Result<(), PlanError> {
        if service.provider.is_some() {
            self.services.insert(service.name.clone(), Placed::default());
            return Ok(());
        }
        if self.wanted.one_off.as_ref() == Some(&service.name) {
            self.before_creation(service)?;
            self.awaits(service);
            self.services.insert(service.name.clone(), Placed::default());
            return Ok(());
        }
        let count = self.count(service);
        if service.container_name.is_some() && count > 1 {
            return Err(PlanError::NameNotUnique { service: service.name.clone(), wanted: count });
        }
        if count > MOST_REPLICAS {
            let service = service.name.clone();
            return Err(PlanError::TooMany { service, wanted: count, most: MOST_REPLICAS });
        }
        let Replicas { kept, surplus, unfinished } = self.replicas(service, count);
        let mut room = BTreeMap::new();
        for replica in unfinished {
            room.insert(replica.number, self.remove(replica, &Cause::Unfinished));
        }
        for replica in surplus {
            self.remove(replica, &Cause::Surplus { wanted: count });
        }
        let before = self.before_creation(service)?;
        let any_runs =
            kept.iter().any(|(replica, diverged)| diverged.is_none() && replica.activity.goes_on());
        let mut placed = Placed { count, ..Placed::default() };
        let mut to_start = Vec::new();
        let mut beside: BTreeMap<String, &Replica> = BTreeMap::new();
        for (replica, diverged) in kept {
            match diverged {
                Some(cause) => {
                    let after = before.iter().chain(room.get(&replica.number)).copied().collect();
                    let (new, made, goes_beside) = self.anew(service, replica, cause, after);
                    placed.made.push(made);
                    placed.recreated = true;
                    if goes_beside {
                        beside.insert(new.name.clone(), replica);
                    }
                    to_start.push((Startable::New(new), Cause::New, vec![made]));
                }
                None => {
                    let mut existing = replica.existing();
                    let mut after = self.ground.rejoined.remove(&replica.id).unwrap_or_default();
                    let name = self.new_container(service, replica.number).name;
                    if unfinished::is_temporary(&replica.name, &name) {
                        let room = room.get(&replica.number).copied();
                        let room = room.into_iter().chain(self.name_freed(service, &name)).collect();
                        let operation = Operation::Rename { container: existing.clone(), name: name.clone() };
                        let renamed = self.plan.add(operation, Cause::Unfinished, room);
                        after.push(renamed);
                        placed.made.push(renamed);
                        existing.name = name;
                    }
                    let container = Startable::Existing(existing.clone());
                    let interrupted = self.ground.stopped.remove(&replica.id);
                    match (interrupted, replica.activity) {
                        (Some(Interrupted { cause, before }), _) => {
                            after.extend(before);
                            to_start.push((container, cause, after));
                        }
                        (None, Activity::Running | Activity::Restarting) => self.plan.kept.push(existing),
                        (None, Activity::Stopping) => {
                            let end = Operation::AwaitEnd(existing);
                            after.push(self.plan.add(end, Cause::Stopping, vec![]));
                            to_start.push((container, Cause::NotRunning, after));
                        }
                        (None, Activity::Paused) => to_start.push((container, Cause::Paused, after)),
                        (None, Activity::Created) => to_start.push((container, Cause::New, after)),
                        (None, _) => to_start.push((container, Cause::NotRunning, after)),
                    }
                }
            }
        }
        let mut next = self.numbers(service).max().unwrap_or_default();
        let there = to_start.len() as u64 + self.kept_of(service);
        for _ in there..count {
            next += 1;
            let new = self.new_container(service, next);
            let mut after = before.clone();
            after.extend(self.name_freed(service, &new.name));
            let made = self.plan.add(Operation::Create(new.clone()), Cause::Missing, after);
            placed.made.push(made);
            to_start.push((Startable::New(new), Cause::New, vec![made]));
        }
        // Where nothing is to start, what the service needs is waited for all the same: a step that is done again may fail.
        if self.wanted.starting == Starting::Start && count > 0 {
            let mut waits = self.awaits(service);
            let needs = [&waits[..], &before].concat();
            waits.extend(self.before(service, &to_start, &placed, &needs, any_runs));
            placed.started = self.started(service, to_start, &beside, &waits);
        }
        self.services.insert(service.name.clone(), placed);
        Ok(())
    }

    /// Plans that a container comes anew: what makes the new one, and whether that starts before the old one stops.
    fn anew(
        &mut self,
        service: &Service,
        old: &Replica,
        cause: Cause,
        mut after: Vec<OperationId>,
    ) -> (New, OperationId, bool) {
        let new = self.new_container(service, old.number);
        let anonymous = self.wanted.anonymous;
        let goes_beside = self.goes_beside(service, old);
        let operation = if goes_beside {
            Operation::MakeBeside { old: old.existing(), new: new.clone(), anonymous }
        } else {
            after.extend(self.name_freed(service, &new.name));
            let interrupted = self.ground.stopped.remove(&old.id);
            after.extend(interrupted.into_iter().flat_map(|interrupted| interrupted.before));
            after.extend(self.dependents_stopped(service, &[]));
            Operation::Recreate { old: old.existing(), new: new.clone(), anonymous }
        };
        after.extend(self.ground.rejoined.remove(&old.id).unwrap_or_default());
        let made = self.plan.add(operation, cause, after);
        (new, made, goes_beside)
    }

    /// Plans the starts of a service's containers; those that stand beside old ones take over, one after the other.
    fn started(
        &mut self,
        service: &Service,
        to_start: Vec<(Startable, Cause, Vec<OperationId>)>,
        beside: &BTreeMap<String, &Replica>,
        waits: &[OperationId],
    ) -> Vec<OperationId> {
        let (mut started, mut taken_over) = (Vec::new(), Vec::new());
        let ground = self.ground_of(service);
        for (container, cause, mut after) in to_start {
            // What is made comes after them anyway; one that was there may have lost a network while it did not run.
            let comes_after =
                |made: &OperationId| after.iter().any(|before| self.plan.plainly_follows(*before, *made));
            let missing: Vec<OperationId> =
                ground.iter().filter(|made| !comes_after(made)).copied().collect();
            after.extend(missing);
            after.extend(waits);
            let old = beside.get(container.name());
            // No more than one is there twice.
            after.extend(taken_over.last().filter(|_| old.is_some()));
            let start = self.plan.add(Operation::Start(container.clone()), cause, after);
            started.push(start);
            if let (Some(old), Startable::New(new)) = (old, container) {
                taken_over.push(self.take_over(service, old, new, start));
            }
        }
        if !taken_over.is_empty() {
            self.dependents_stopped(service, &taken_over);
        }
        started.extend(taken_over);
        started
    }

    /// Divides the service's containers into those that stay, with the reason why one has to come anew, and those that
    /// are too many: up-to-date ones stay first, then low numbers.
    fn replicas(&self, service: &Service, count: u64) -> Replicas<'a> {
        let observed: &'a Observed = self.observed;
        let mut all: Vec<(&'a Replica, Option<Cause>)> = observed
            .replicas
            .iter()
            .filter(|replica| {
                replica.kind == ReplicaKind::Numbered && replica.service == service.name.as_str()
            })
            .filter(|replica| !self.ground.removed.contains_key(&replica.id))
            .map(|replica| (replica, self.diverged(service, replica)))
            .collect();
        let own = |number| self.new_container(service, number).name;
        let unfinished = unfinished::take(&mut all, self.wanted.order, own);
        all.sort_by_key(|(replica, diverged)| (diverged.is_some(), replica.number));
        let stay = usize::try_from(count).unwrap_or(usize::MAX).min(all.len());
        let surplus = all.split_off(stay).into_iter().map(|(replica, _)| replica).collect();
        all.sort_by_key(|(replica, _)| replica.number);
        Replicas { kept: all, surplus, unfinished }
    }

    /// Why a container is not what the project says, under the policy in force.
    fn diverged(&self, service: &Service, replica: &Replica) -> Option<Cause> {
        let is_target = self.wanted.targets.is_empty() || self.wanted.targets.contains(&service.name);
        let policy = if is_target { self.wanted.recreate } else { self.wanted.recreate_dependencies };
        match policy {
            Recreate::Never => return None,
            Recreate::Always => return Some(Cause::Forced),
            Recreate::Diverged => {}
        }
        if is_target && self.wanted.anonymous == AnonymousVolumes::Renew {
            return Some(Cause::Forced);
        }
        let desired = self.wanted.desired.get(&service.name);
        if replica.config_hash != service.config_hash {
            let known = replica.config.as_ref().zip(desired);
            return Some(Cause::ConfigChanged(
                known
                    .map(|(old, desired)| changes(&without_contents(old), &desired.config))
                    .unwrap_or_default(),
            ));
        }
        if self.wanted.changed_contents == ChangedContents::Recreate
            && let Some(now) = desired.and_then(|desired| desired.contents.as_ref())
        {
            let other = replica.config.as_ref().map(|old| other_contents(old, now)).unwrap_or_default();
            if !other.is_empty() {
                return Some(Cause::ContentChanged(other));
            }
        }
        if let Some(desired) = desired.filter(|desired| !desired.image.is_empty())
            && desired.image != replica.image
        {
            return Some(Cause::ImageChanged { from: replica.image.clone(), to: desired.image.clone() });
        }
        if let Some(mounted) = desired.and_then(|desired| desired.mounted.as_ref()) {
            let other = mounted.iter().filter(|(target, image)| replica.mounted.get(*target) != Some(*image));
            let other: Vec<String> = other.map(|(target, _)| target.clone()).collect();
            if !other.is_empty() {
                return Some(Cause::MountedImageChanged(other));
            }
        }
        let name = |key: &NetworkKey| self.project.networks.get(key).map(|network| network.name.as_str());
        if replica.activity == Activity::Running
            && let Some(key) = service
                .networks
                .keys()
                .find(|key| name(key).is_some_and(|name| !replica.networks.contains(name)))
        {
            return Some(Cause::Detached(key.clone()));
        }
        let name = |key: &VolumeKey| self.project.volumes.get(key).map(|volume| volume.name.as_str());
        if let Some(key) =
            named_volumes(service).find(|key| name(key).is_some_and(|name| !replica.volumes.contains(name)))
        {
            return Some(Cause::WithoutVolume(key.clone()));
        }
        let parent =
            parents(service).find(|parent| self.services.get(*parent).is_some_and(|placed| placed.recreated));
        if let Some(parent) = parent {
            return Some(Cause::ParentRecreated(parent.clone()));
        }
        // One that it was made to share with may have come anew since, behind its back. Of an older container it may be
        // unknown whose mounts it has.
        if replica.shares.is_empty() {
            return None;
        }
        let is_of = |parent: &ServiceName, id: &ContainerId| {
            let others = self.observed.replicas.iter().filter(|other| other.service == parent.as_str());
            others.filter(|other| other.kind == ReplicaKind::Numbered).any(|other| other.id == *id)
        };
        let gone = parents(service).find(|parent| !replica.shares.iter().any(|id| is_of(parent, id)));
        gone.map(|parent| Cause::ParentGone(parent.clone()))
    }

    /// What a container of the service needs to be made.
    fn before_creation(&self, service: &Service) -> Result<Vec<OperationId>, PlanError> {
        let mut before = self.ground_of(service);
        for parent in parents(service) {
            match self.services.get(parent) {
                Some(placed) => before.extend(&placed.made),
                None if self.observed.replicas.iter().any(|replica| replica.service == parent.as_str()) => {}
                None => {
                    let (service, parent) = (service.name.clone(), parent.clone());
                    return Err(PlanError::NoParent { service, parent });
                }
            }
        }
        Ok(before)
    }

    /// What makes the networks and volumes of the service.
    fn ground_of(&self, service: &Service) -> Vec<OperationId> {
        let networks = service.networks.keys().filter_map(|key| self.ground.networks.get(key)).flatten();
        let volumes = named_volumes(service).filter_map(|key| self.ground.volumes.get(key)).flatten();
        networks.chain(volumes).copied().collect()
    }

    /// What has to be before containers of the service start. What is waited for is waited for once.
    fn awaits(&mut self, service: &Service) -> Vec<OperationId> {
        let mut waits = Vec::new();
        for (name, dependency) in &service.depends_on {
            let Some(placed) = self.services.get_mut(name) else { continue };
            if placed.count == 0 {
                continue;
            }
            if dependency.condition == Condition::Started {
                waits.extend(&placed.started);
                continue;
            }
            let word = dependency.condition.as_str();
            if let Some(known) = placed.awaited.get(word) {
                waits.push(*known);
                continue;
            }
            let operation = Operation::Await {
                service: name.clone(),
                condition: dependency.condition,
                required: dependency.required,
            };
            let cause = Cause::NeededBy { service: service.name.clone(), condition: dependency.condition };
            let wait = self.plan.add(operation, cause, placed.started.clone());
            placed.awaited.insert(word, wait);
            waits.push(wait);
        }
        waits
    }

    /// Stops the containers that restart with a service of which one comes anew; they start again in their turn.
    fn dependents_stopped(&mut self, service: &Service, after: &[OperationId]) -> Vec<OperationId> {
        let restarts = |replica: &&Replica| {
            replica.kind == ReplicaKind::Numbered
                && replica.activity == Activity::Running
                && self.project.services.get(replica.service.as_str()).is_some_and(|dependent| {
                    self.selected.contains(&dependent.name)
                        && dependent
                            .depends_on
                            .get(&service.name)
                            .is_some_and(|dependency| dependency.restart)
                })
        };
        let mut stops = Vec::new();
        for replica in self.observed.replicas.iter().filter(restarts).collect::<Vec<_>>() {
            if self.ground.removed.contains_key(&replica.id) {
                continue;
            }
            if let Some(interrupted) = self.ground.stopped.get(&replica.id) {
                stops.extend(interrupted.before.first());
                continue;
            }
            let cause = Cause::RestartsWith(service.name.clone());
            let stop = self.plan.add(Operation::Stop(replica.existing()), cause.clone(), after.to_vec());
            self.ground.stopped.insert(replica.id, Interrupted { cause, before: vec![stop] });
            stops.push(stop);
        }
        stops
    }

    /// Starts again what was stopped on the way and is not looked after otherwise: the plan leaves nobody down who was
    /// up and whom nobody asked it to end.
    fn resume(&mut self, order: &[ServiceName]) {
        let observed: &'a Observed = self.observed;
        let place = |service: &str| order.iter().position(|name| name.as_str() == service);
        let stopped = observed.replicas.iter().filter(|one| self.ground.stopped.contains_key(&one.id));
        let mut stopped: Vec<&Replica> = stopped.collect();
        // Dependencies first; whom the project does not know comes last.
        stopped.sort_by_key(|one| (place(&one.service).unwrap_or(usize::MAX), one.number));
        for replica in stopped {
            let Some(Interrupted { cause, before: mut after }) = self.ground.stopped.remove(&replica.id)
            else {
                continue;
            };
            let service = self.project.services.get_key_value(replica.service.as_str());
            let needs = service.into_iter().flat_map(|(_, service)| service.depends_on.keys());
            after.extend(needs.filter_map(|name| self.services.get(name)).flat_map(|placed| &placed.started));
            let operation = Operation::Start(Startable::Existing(replica.existing()));
            let started = self.plan.add(operation, cause, after);
            if let Some((name, _)) = service {
                self.services.entry(name.clone()).or_default().started.push(started);
            }
        }
    }

    fn remove(&mut self, replica: &Replica, cause: &Cause) -> OperationId {
        let interrupted = self.ground.stopped.remove(&replica.id);
        let mut after = interrupted.map(|interrupted| interrupted.before).unwrap_or_default();
        if replica.activity.is_up() && after.is_empty() {
            after.push(self.plan.add(Operation::Stop(replica.existing()), cause.clone(), vec![]));
        }
        after.extend(self.ground.rejoined.remove(&replica.id).unwrap_or_default());
        // Nobody takes over what a step before the start had for itself.
        let volumes = match replica.kind {
            ReplicaKind::PreStart => AnonymousVolumes::Renew,
            ReplicaKind::Numbered | ReplicaKind::OneOff => AnonymousVolumes::Keep,
        };
        let operation = Operation::Remove { container: replica.existing(), volumes };
        let removal = self.plan.add(operation, cause.clone(), after);
        self.ground.removed.insert(replica.id, removal);
        removal
    }

    fn numbers(&self, service: &Service) -> impl Iterator<Item = u64> {
        self.observed
            .replicas
            .iter()
            .filter(|replica| {
                replica.kind == ReplicaKind::Numbered && replica.service == service.name.as_str()
            })
            .filter(|replica| !self.ground.removed.contains_key(&replica.id))
            .map(|replica| replica.number)
    }

    fn kept_of(&self, service: &Service) -> u64 {
        self.plan.kept.iter().filter(|kept| kept.service == service.name.as_str()).count() as u64
    }
}

//! The plan that makes what there is what the project says.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::project::{
    Condition, MountKind, Namespace, NetworkKey, NetworkMode, Project, Service, ServiceName, VolumeKey,
    VolumesFrom,
};

use super::cause::Cause;
use super::change::changes;
use super::network::{Ground, Interrupted, networks, volumes};
use super::observed::{Activity, Observed, Replica, ReplicaKind};
use super::operation::{New, Operation, OperationId, Plan, Startable, Warning};
use super::order::{Cycle, dependencies_first};
use super::wanted::{AnonymousVolumes, Dependencies, Orphans, Recreate, Starting, Wanted};

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Services depend on each other.
    #[error(transparent)]
    Cycle(#[from] Cycle),
    /// A service that was named is not in the project.
    #[error("no such service: {name}")]
    NoSuchService {
        /// The name.
        name: String,
    },
    /// Nothing is left to do anything with.
    #[error("no service selected")]
    NothingSelected,
    /// An external network is not there.
    #[error("network {name} declared as external, but could not be found")]
    ExternalNetwork {
        /// Its name.
        name: String,
    },
    /// A network is there that no project made.
    #[error(
        "network {name} was found but has incorrect label com.docker.compose.network set to \"\" (expected: \"{key}\")"
    )]
    UnlabelledNetwork {
        /// Its name.
        name: String,
        /// Its key in the project.
        key: NetworkKey,
    },
    /// An external volume is not there.
    #[error("external volume \"{name}\" not found")]
    ExternalVolume {
        /// Its name.
        name: String,
    },
    /// A container's fixed name cannot be given to several.
    #[error(
        "services.{service}: can't set container_name and {service} as container name must be unique: \
         {wanted} containers are wanted"
    )]
    NameNotUnique {
        /// The service.
        service: ServiceName,
        /// How many are wanted.
        wanted: u64,
    },
    /// What a service shares with another is not there, and the other one is left alone.
    #[error(
        "service {service} shares with {parent}, which has no container; start it or leave --no-deps out"
    )]
    NoParent {
        /// The service.
        service: ServiceName,
        /// What it shares with.
        parent: ServiceName,
    },
}

/// Plans what makes the selected services what the project says.
pub fn up(project: &Project, observed: &Observed, wanted: &Wanted) -> Result<Plan, PlanError> {
    for name in wanted.targets.iter().chain(wanted.scale.keys()) {
        if !project.services.contains_key(name) {
            return Err(PlanError::NoSuchService { name: name.to_string() });
        }
    }
    let order = in_order(project)?;
    let selected = selected(project, wanted);
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
    planner.ground()?;
    for name in &order {
        if planner.selected.contains(name) {
            planner.service(&project.services[name])?;
        }
    }
    Ok(planner.plan)
}

/// Returns all services, dependencies first.
fn in_order(project: &Project) -> Result<Vec<ServiceName>, Cycle> {
    let graph = project
        .services
        .iter()
        .map(|(name, service)| {
            let dependencies = service.depends_on.keys().map(ToString::to_string).collect();
            (name.to_string(), dependencies)
        })
        .collect();
    let sorted = dependencies_first(&graph)?;
    Ok(sorted
        .iter()
        .filter_map(|name| Some(project.services.get_key_value(name.as_str())?.0.clone()))
        .collect())
}

/// Returns the services that are looked after: the targets, and what they need.
fn selected(project: &Project, wanted: &Wanted) -> BTreeSet<ServiceName> {
    if wanted.targets.is_empty() {
        return project.services.keys().cloned().collect();
    }
    let mut selected = wanted.targets.clone();
    if wanted.dependencies == Dependencies::LeftAlone {
        return selected;
    }
    let mut open: Vec<ServiceName> = selected.iter().cloned().collect();
    while let Some(name) = open.pop() {
        for dependency in
            project.services.get(&name).into_iter().flat_map(|service| service.depends_on.keys())
        {
            if project.services.contains_key(dependency) && selected.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    selected
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
                ReplicaKind::Numbered => !known(&replica.service),
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
        let Self { plan, ground, project, observed, wanted, .. } = self;
        networks(plan, ground, project, &used_networks, observed, wanted)?;
        volumes(plan, ground, project, &used_volumes, observed, wanted)
    }

    fn service(&mut self, service: &Service) -> Result<(), PlanError> {
        if service.provider.is_some() {
            self.services.insert(service.name.clone(), Placed::default());
            return Ok(());
        }
        let count = self.wanted.scale.get(&service.name).copied().unwrap_or(service.replicas);
        if service.container_name.is_some() && count > 1 {
            return Err(PlanError::NameNotUnique { service: service.name.clone(), wanted: count });
        }
        let (kept, surplus) = self.replicas(service, count);
        for replica in surplus {
            self.remove(replica, &Cause::Surplus { wanted: count });
        }
        let before = self.before_creation(service)?;
        let mut placed = Placed { count, ..Placed::default() };
        let mut to_start = Vec::new();
        for (replica, diverged) in kept {
            match diverged {
                Some(cause) => {
                    let mut after = before.clone();
                    let interrupted = self.ground.stopped.remove(&replica.id);
                    after.extend(interrupted.into_iter().flat_map(|interrupted| interrupted.before));
                    after.extend(self.dependents_stopped(service));
                    let operation = Operation::Recreate {
                        old: replica.existing(),
                        new: self.new_container(service, replica.number),
                        anonymous: self.wanted.anonymous,
                    };
                    let made = self.plan.add(operation, cause, after);
                    placed.made.push(made);
                    placed.recreated = true;
                    let container = Startable::New(self.new_container(service, replica.number));
                    to_start.push((container, Cause::New, vec![made]));
                }
                None => {
                    let existing = replica.existing();
                    let container = Startable::Existing(existing.clone());
                    let interrupted = self.ground.stopped.remove(&replica.id);
                    match (interrupted, replica.activity) {
                        (Some(Interrupted { cause, before }), _) => to_start.push((container, cause, before)),
                        (None, Activity::Running | Activity::Restarting) => self.plan.kept.push(existing),
                        (None, Activity::Created) => to_start.push((container, Cause::New, vec![])),
                        (None, _) => to_start.push((container, Cause::NotRunning, vec![])),
                    }
                }
            }
        }
        let mut next = self.numbers(service).max().unwrap_or_default();
        let there = to_start.len() as u64 + self.kept_of(service);
        for _ in there..count {
            next += 1;
            let new = self.new_container(service, next);
            let made = self.plan.add(Operation::Create(new.clone()), Cause::Missing, before.clone());
            placed.made.push(made);
            to_start.push((Startable::New(new), Cause::New, vec![made]));
        }
        if self.wanted.starting == Starting::Start && !to_start.is_empty() {
            let waits = self.awaits(service);
            for (container, cause, mut after) in to_start {
                after.extend(&waits);
                placed.started.push(self.plan.add(Operation::Start(container), cause, after));
            }
        }
        self.services.insert(service.name.clone(), placed);
        Ok(())
    }

    /// Divides the service's containers into those that stay, with the reason why one has to come anew, and those that
    /// are too many: up-to-date ones stay first, then low numbers.
    fn replicas(
        &self,
        service: &Service,
        count: u64,
    ) -> (Vec<(&'a Replica, Option<Cause>)>, Vec<&'a Replica>) {
        let observed: &'a Observed = self.observed;
        let mut all: Vec<(&'a Replica, Option<Cause>)> = observed
            .replicas
            .iter()
            .filter(|replica| {
                replica.kind == ReplicaKind::Numbered && replica.service == service.name.as_str()
            })
            .filter(|replica| !self.ground.removed.contains(&replica.id))
            .map(|replica| (replica, self.diverged(service, replica)))
            .collect();
        all.sort_by_key(|(replica, diverged)| (diverged.is_some(), replica.number));
        let stay = usize::try_from(count).unwrap_or(usize::MAX).min(all.len());
        let surplus = all.split_off(stay).into_iter().map(|(replica, _)| replica).collect();
        all.sort_by_key(|(replica, _)| replica.number);
        (all, surplus)
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
                known.map(|(old, desired)| changes(old, &desired.config)).unwrap_or_default(),
            ));
        }
        if let Some(desired) = desired.filter(|desired| !desired.image.is_empty())
            && desired.image != replica.image
        {
            return Some(Cause::ImageChanged { from: replica.image.clone(), to: desired.image.clone() });
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
        parent.map(|parent| Cause::ParentRecreated(parent.clone()))
    }

    /// What a container of the service needs to be made.
    fn before_creation(&self, service: &Service) -> Result<Vec<OperationId>, PlanError> {
        let networks = service.networks.keys().filter_map(|key| self.ground.networks.get(key)).flatten();
        let volumes = named_volumes(service).filter_map(|key| self.ground.volumes.get(key)).flatten();
        let mut before: Vec<OperationId> = networks.chain(volumes).copied().collect();
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
    fn dependents_stopped(&mut self, service: &Service) -> Vec<OperationId> {
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
            if self.ground.removed.contains(&replica.id) {
                continue;
            }
            if let Some(interrupted) = self.ground.stopped.get(&replica.id) {
                stops.extend(interrupted.before.first());
                continue;
            }
            let cause = Cause::RestartsWith(service.name.clone());
            let stop = self.plan.add(Operation::Stop(replica.existing()), cause.clone(), vec![]);
            self.ground.stopped.insert(replica.id, Interrupted { cause, before: vec![stop] });
            stops.push(stop);
        }
        stops
    }

    fn remove(&mut self, replica: &Replica, cause: &Cause) {
        let interrupted = self.ground.stopped.remove(&replica.id);
        let mut after = interrupted.map(|interrupted| interrupted.before).unwrap_or_default();
        if replica.activity.is_up() && after.is_empty() {
            after.push(self.plan.add(Operation::Stop(replica.existing()), cause.clone(), vec![]));
        }
        let operation = Operation::Remove { container: replica.existing(), volumes: AnonymousVolumes::Keep };
        self.plan.add(operation, cause.clone(), after);
        self.ground.removed.insert(replica.id);
    }

    fn numbers(&self, service: &Service) -> impl Iterator<Item = u64> {
        self.observed
            .replicas
            .iter()
            .filter(|replica| {
                replica.kind == ReplicaKind::Numbered && replica.service == service.name.as_str()
            })
            .filter(|replica| !self.ground.removed.contains(&replica.id))
            .map(|replica| replica.number)
    }

    fn kept_of(&self, service: &Service) -> u64 {
        self.plan.kept.iter().filter(|kept| kept.service == service.name.as_str()).count() as u64
    }

    fn new_container(&self, service: &Service, number: u64) -> New {
        let name = match &service.container_name {
            Some(name) => name.clone(),
            None => format!("{}-{}-{number}", self.project.name, service.name),
        };
        New { service: service.name.clone(), number, name }
    }
}

/// The named volumes that a service mounts.
fn named_volumes(service: &Service) -> impl Iterator<Item = &VolumeKey> {
    service.volumes.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume { source, .. } => source.as_ref(),
        _ => None,
    })
}

/// The services whose containers have to be there to share something with them.
fn parents(service: &Service) -> impl Iterator<Item = &ServiceName> {
    let network = match &service.network_mode {
        Some(NetworkMode::Service(parent)) => Some(parent),
        _ => None,
    };
    let namespaces =
        [&service.ipc, &service.pid, &service.uts].into_iter().filter_map(|namespace| match namespace {
            Some(Namespace::Service(parent)) => Some(parent),
            _ => None,
        });
    let volumes = service.volumes_from.iter().filter_map(|from| match from {
        VolumesFrom::Service { service, .. } => Some(service),
        VolumesFrom::Container { .. } => None,
    });
    network.into_iter().chain(namespaces).chain(volumes)
}

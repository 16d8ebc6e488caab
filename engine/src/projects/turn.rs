//! Plans for containers that are there: started, stopped, restarted, without making any.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::container::Signal;
use rbuild_model::project::{Condition, Project, ServiceName};

use super::cause::Cause;
use super::observed::{Activity, Replica, ReplicaKind};
use super::operation::{Operation, OperationId, Plan, Startable};
use super::order::{Cycle, dependencies_first};
use super::pre_start::Steps;
use super::wanted::AnonymousVolumes;

/// What becomes of containers that are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Those that do not run are started, each after what it depends on.
    Start,
    /// They are stopped, each after what depends on it.
    Stop,
    /// They are stopped and started again.
    Restart,
    /// They are sent a signal.
    Kill(Signal),
    /// They are held still.
    Pause,
    /// They go on.
    Unpause,
    /// They are removed; those that are up are stopped before.
    Remove(AnonymousVolumes),
}

/// Why a turn of containers cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TurnError {
    /// Services depend on each other in a circle.
    #[error(transparent)]
    Cycle(#[from] Cycle),
    /// What runs before a service starts is known from the project's files alone, and has not ended well.
    #[error(
        "service {service:?} cannot be started: what runs before it has not ended well ({container}), and the project's \
         files say what that is: name them with -f, or call this in their folder"
    )]
    StepLeft {
        /// The service.
        service: String,
        /// What is left of it.
        container: String,
    },
}

/// Plans a turn of containers. The order comes from the project where it is known, and from labels else; who of a service
/// that is depended on is not among the containers is not waited for.
pub fn turn(
    replicas: &[Replica],
    dependencies: &BTreeMap<String, BTreeSet<String>>,
    project: Option<&Project>,
    turn: Turn,
) -> Result<Plan, TurnError> {
    let mut graph = dependencies.clone();
    for replica in replicas {
        graph.entry(replica.service.clone()).or_default();
    }
    let order = dependencies_first(&graph)?;
    // What runs before a start is none of what is started or stopped for it.
    let is_step = |replica: &&Replica| {
        matches!(turn, Turn::Start | Turn::Restart) && replica.kind == ReplicaKind::PreStart
    };
    let (steps, replicas) = replicas.iter().partition(is_step);
    let mut planner = Planner { replicas, steps, graph, project, plan: Plan::default() };
    match turn {
        Turn::Start => planner.start(&order, &BTreeMap::new())?,
        Turn::Stop => drop(planner.stop(&order)),
        Turn::Restart => {
            let stops = planner.stop(&order);
            planner.start(&order, &stops)?;
        }
        Turn::Kill(signal) => {
            planner.each(|activity| activity.is_up(), |container| Operation::Kill { container, signal })
        }
        Turn::Pause => planner.each(|activity| activity == Activity::Running, Operation::Pause),
        Turn::Unpause => planner.each(|activity| activity == Activity::Paused, Operation::Unpause),
        Turn::Remove(volumes) => planner.remove(volumes),
    }
    Ok(planner.plan)
}

/// Lets a plan end when services do what they are there for (`--wait`). All are started before: one that is not ready keeps
/// nobody from starting who can do without it.
pub fn ready(plan: &mut Plan, services: impl IntoIterator<Item = ServiceName>) {
    let places = plan.operations.iter().enumerate();
    let starts = places
        .filter(|(_, planned)| matches!(planned.operation, Operation::Start(_) | Operation::TakeOver { .. }));
    let starts: Vec<OperationId> = starts.map(|(place, _)| OperationId(place)).collect();
    for service in services {
        plan.add(Operation::AwaitReady { service }, Cause::Asked, starts.clone());
    }
}

struct Planner<'a> {
    replicas: Vec<&'a Replica>,
    /// What is left of what runs before services start.
    steps: Vec<&'a Replica>,
    graph: BTreeMap<String, BTreeSet<String>>,
    project: Option<&'a Project>,
    plan: Plan,
}

impl<'a> Planner<'a> {
    fn each(
        &mut self,
        fits: impl Fn(Activity) -> bool,
        operation: impl Fn(super::operation::Existing) -> Operation,
    ) {
        for replica in self.replicas.iter().filter(|replica| fits(replica.activity)) {
            self.plan.add(operation(replica.existing()), Cause::Asked, vec![]);
        }
    }

    fn of(&self, service: &str) -> Vec<&'a Replica> {
        self.replicas.iter().copied().filter(|replica| replica.service == service).collect()
    }

    /// Stops all; returns the stops of each service. Whether one runs is seen when it is stopped.
    fn stop(&mut self, order: &[String]) -> BTreeMap<String, Vec<OperationId>> {
        let mut stops: BTreeMap<String, Vec<OperationId>> = BTreeMap::new();
        for service in order.iter().rev() {
            let dependents = self.graph.iter().filter(|(_, needs)| needs.contains(service));
            let before: Vec<OperationId> =
                dependents.filter_map(|(name, _)| stops.get(name)).flatten().copied().collect();
            let mut own = Vec::new();
            for replica in self.of(service) {
                let operation = Operation::Stop(replica.existing());
                own.push(self.plan.add(operation, Cause::Asked, before.clone()));
            }
            // Who has nothing to stop hands on what it would have waited for.
            stops.insert(service.clone(), if own.is_empty() { before } else { own });
        }
        stops
    }

    fn remove(&mut self, volumes: AnonymousVolumes) {
        for replica in &self.replicas {
            let mut after = Vec::new();
            if replica.activity.is_up() {
                after.push(self.plan.add(Operation::Stop(replica.existing()), Cause::Asked, vec![]));
            }
            let operation = Operation::Remove { container: replica.existing(), volumes };
            self.plan.add(operation, Cause::Asked, after);
        }
    }

    /// Starts what does not run, or was stopped just before.
    fn start(
        &mut self,
        order: &[String],
        stops: &BTreeMap<String, Vec<OperationId>>,
    ) -> Result<(), TurnError> {
        let restarts = !stops.is_empty();
        let mut started: BTreeMap<String, Vec<OperationId>> = BTreeMap::new();
        for service in order {
            let replicas: Vec<&Replica> = self
                .of(service)
                .into_iter()
                .filter(|replica| replica.kind == ReplicaKind::Numbered || restarts)
                .filter(|replica| restarts || replica.activity != Activity::Running)
                .collect();
            let mut own = Vec::new();
            // Who runs already is not started, and fails all the same where what it needs does.
            if !self.of(service).is_empty() {
                let mut after = self.awaits(service, &started, restarts);
                after.extend(stops.get(service).into_iter().flatten());
                after.extend(self.before(service, &replicas, &after)?);
                for replica in replicas {
                    let mut after = after.clone();
                    if !restarts && replica.activity == Activity::Stopping {
                        let end = Operation::AwaitEnd(replica.existing());
                        after.push(self.plan.add(end, Cause::Stopping, vec![]));
                    }
                    let operation = Operation::Start(Startable::Existing(replica.existing()));
                    own.push(self.plan.add(operation, Cause::Asked, after));
                }
            }
            started.insert(service.clone(), own);
        }
        Ok(())
    }

    /// What runs to its end before a service starts of which no container runs, or for which it has not ended well the
    /// last time; the last of it.
    fn before(
        &mut self,
        service: &str,
        starts: &[&Replica],
        after: &[OperationId],
    ) -> Result<Option<OperationId>, TurnError> {
        if starts.is_empty() {
            return Ok(None);
        }
        let known = self.project.and_then(|project| Some((project, project.services.get(service)?)));
        let Some((project, known)) = known else {
            let left = self.steps.iter().find(|step| step.service == service);
            return match left.filter(|_| self.project.is_none()) {
                Some(step) => {
                    let (service, container) = (service.to_owned(), step.name.clone());
                    Err(TurnError::StepLeft { service, container })
                }
                None => Ok(None),
            };
        };
        let steps = Steps::of(project, known, self.steps.iter().copied());
        let any_runs = self.of(service).iter().any(|replica| replica.activity.goes_on());
        let Some(why) = steps.why(false, any_runs) else { return Ok(None) };
        let starts: Vec<Startable> =
            starts.iter().map(|replica| Startable::Existing(replica.existing())).collect();
        let only = (starts.len() == 1).then(|| starts[0].clone());
        Ok(steps.plan(&mut self.plan, why, only, &starts, after, &BTreeMap::new()))
    }

    /// What has to be before containers of a service start. A restart keeps the order and waits for no more than that, but
    /// of those with whom the service restarts: one that was up is left down by nobody else's failure.
    fn awaits(
        &mut self,
        service: &str,
        started: &BTreeMap<String, Vec<OperationId>>,
        restarts: bool,
    ) -> Vec<OperationId> {
        let mut waits = Vec::new();
        let known = self.project.and_then(|project| project.services.get(service));
        let Some(known) = known else {
            let needs = self.graph.get(service).into_iter().flatten();
            waits.extend(needs.filter_map(|name| started.get(name)).flatten());
            return waits;
        };
        for (name, dependency) in &known.depends_on {
            let before = started.get(name.as_str()).cloned().unwrap_or_default();
            let is_order = dependency.condition == Condition::Started || (restarts && !dependency.restart);
            if is_order || self.of(name.as_str()).is_empty() {
                waits.extend(before);
                continue;
            }
            let operation = Operation::Await {
                service: name.clone(),
                condition: dependency.condition,
                required: dependency.required,
            };
            let cause = Cause::NeededBy { service: known.name.clone(), condition: dependency.condition };
            waits.push(self.plan.add(operation, cause, before));
        }
        waits
    }
}

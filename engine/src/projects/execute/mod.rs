//! A plan, carried out: as much at once as its edges allow.
//!
//! One loop owns the schedule; every operation that is ready gets a thread and sends back how it ended. Nothing is decided
//! here: what fails keeps what waits for it from being done, and in a plan that makes something nothing more is begun
//! after a failure, while a plan that takes something down goes on and reports all.
//!
//! ```text
//! mod       the schedule
//! perform   one operation
//! stop      a container's end: hooks, grace, what never listens
//! awaiting  how far the containers of a service have to be
//! before    containers that run to their end before a service starts
//! beside    new containers that start before the old ones stop
//! hooks     programs of the project beside a container's own
//! reason    what is known of why a container failed
//! grants    configs and secrets
//! ```

mod awaiting;
mod before;
mod beside;
mod error;
mod grants;
mod hooks;
mod one_off;
mod perform;
mod reason;
mod stop;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rbuild_model::container::ContainerId;
use rbuild_model::project::Project;

use super::halt::Halt;
use super::happening::{Happening, Phase, Subject, Watcher};
use super::hold::Hold;
use super::observe::Member;
use super::observed::{Replica, ReplicaKind};
use super::operation::{Operation, OperationId, Plan};
use super::wanted::Wanted;
use crate::containers::ContainerError;
use crate::engine::Engine;

pub use error::OperationError;
pub(super) use grants::granted;
pub use one_off::OneOff;
pub use reason::Reason;
pub use stop::Haste;

/// What a plan is carried out with.
#[derive(Clone, Copy, Debug)]
pub struct Work<'a> {
    /// The project; one without services where it is only known by labels.
    pub project: &'a Project,
    /// The containers that were there when it was planned.
    pub members: &'a [Member],
    /// What was asked for.
    pub wanted: &'a Wanted,
    /// The content of files that `security_opt` names, by path.
    pub profiles: &'a BTreeMap<String, String>,
    /// Whether those are waited for that cannot hear that they should stop.
    pub haste: Haste,
    /// How much is done at once; as much as possible if `None`. Waiting counts for nothing.
    pub parallel: Option<NonZeroUsize>,
    /// Whether anything is begun after a failure.
    pub after_failure: AfterFailure,
    /// How long containers have to become ready, or what others need, where that is waited for; for ever if `None`.
    pub ready_within: Option<Duration>,
    /// The wish to stop: what is under way is finished, nothing new is begun.
    pub halt: &'a Halt,
    /// The right to change the project, where the plan asks for it: it was looked at and planned under it. Nobody has it
    /// when the plan is over.
    pub hold: Option<&'a Hold>,
    /// The version of this program, for labels.
    pub version: &'a str,
}

/// Whether anything is begun after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterFailure {
    /// Nothing is.
    Stop,
    /// All that does not wait for what failed.
    GoOn,
}

/// How carrying out a plan ended.
#[derive(Debug, Default)]
pub struct Carried {
    /// What failed, in the order of the plan.
    pub failures: Vec<Failure>,
    /// How many operations were not begun.
    pub left: usize,
    /// The plan, where more came to it than was planned at first.
    pub plan: Option<Plan>,
    /// The containers that were made, by their names in the plan.
    pub made: BTreeMap<String, ContainerId>,
}

impl Carried {
    /// Whether all that failed is that another command has made anew what was waited for: there is something to be looked
    /// at again.
    pub fn is_overtaken(&self) -> bool {
        let overtaken = |failure: &Failure| matches!(failure.error, OperationError::Overtaken { .. });
        !self.failures.is_empty() && self.failures.iter().all(overtaken)
    }
}

/// An operation that failed.
#[derive(Debug)]
pub struct Failure {
    /// Which one.
    pub operation: OperationId,
    /// To what.
    pub subject: Subject,
    /// Why.
    pub error: OperationError,
    /// The last lines of the container that it is about, if it wrote any.
    pub log: Vec<String>,
    /// What else is known of why.
    pub reason: Option<Reason>,
}

/// Containers by service and number.
type Places = BTreeMap<(String, u64), ContainerId>;

/// What the operations of one plan share.
struct Execution<'a> {
    engine: &'a Engine,
    work: Work<'a>,
    watcher: &'a dyn Watcher,
    /// The containers of services, by service and number; without those that the plan takes away: nobody waits for them,
    /// and nobody joins them.
    places: Mutex<Places>,
    /// The containers that this plan made, by name.
    made: Mutex<BTreeMap<String, ContainerId>>,
    /// The containers that were made beside others that have not been stopped, each with what made it.
    beside: Mutex<BTreeMap<ContainerId, OperationId>>,
    /// Made when something failed after which nothing more is to be begun.
    failed: Halt,
    /// Whether the plan makes and removes nothing: what it stops is started again, by whoever comes first.
    only_runs: bool,
}

impl Engine {
    /// Carries a plan out.
    pub fn execute(&self, plan: &Plan, work: Work<'_>, watcher: &dyn Watcher) -> std::io::Result<Carried> {
        self.execute_from(0, plan, work, watcher)
    }

    /// Carries the end of a plan out, from an operation on.
    pub fn execute_from(
        &self,
        begin: usize,
        plan: &Plan,
        work: Work<'_>,
        watcher: &dyn Watcher,
    ) -> std::io::Result<Carried> {
        let execution = Execution::new(self, plan, work, watcher)?;
        let mut carried = thread::scope(|scope| {
            if plan.operations[begin..].iter().any(|planned| is_start(&planned.operation)) {
                scope.spawn(|| self.prepare_starts());
            }
            execution.run(begin, plan)
        });
        execution.remove_beside();
        if let Some(hold) = work.hold {
            hold.let_go();
        }
        self.drop_prepared();
        carried.made = execution.made.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(carried)
    }
}

impl<'a> Execution<'a> {
    fn new(
        engine: &'a Engine,
        plan: &Plan,
        work: Work<'a>,
        watcher: &'a dyn Watcher,
    ) -> std::io::Result<Self> {
        Ok(Self {
            engine,
            work,
            watcher,
            places: Mutex::new(places(work.members.iter().map(|member| &member.replica), plan)),
            made: Mutex::default(),
            beside: Mutex::default(),
            failed: Halt::new()?,
            only_runs: plan.operations.iter().all(|planned| planned.operation.only_runs()),
        })
    }
}

/// The containers of services that are there and that a plan leaves there, by service and number.
pub(super) fn places<'a>(replicas: impl Iterator<Item = &'a Replica>, plan: &Plan) -> Places {
    let removed: BTreeSet<ContainerId> = plan
        .operations
        .iter()
        .filter_map(|planned| match &planned.operation {
            Operation::Remove { container, .. } => Some(container.id),
            _ => None,
        })
        .collect();
    let stays = |replica: &&Replica| replica.kind == ReplicaKind::Numbered && !removed.contains(&replica.id);
    let place = |replica: &Replica| ((replica.service.clone(), replica.number), replica.id);
    replicas.filter(stays).map(place).collect()
}

/// Which operations can be begun, and which never will.
struct Schedule {
    /// How many operations each one still waits for.
    waits: Vec<usize>,
    /// Who waits for each one.
    waiters: Vec<Vec<usize>>,
    ready: VecDeque<usize>,
    left: usize,
}

impl Schedule {
    fn of(begin: usize, plan: &Plan) -> Self {
        let mut waiters = vec![Vec::new(); plan.operations.len()];
        for (place, planned) in plan.operations.iter().enumerate().skip(begin) {
            for before in &planned.after {
                waiters[before.0].push(place);
            }
        }
        let waits: Vec<usize> = plan.operations.iter().map(|planned| planned.after.len()).collect();
        let ready = (begin..waits.len()).filter(|place| waits[*place] == 0).collect();
        Self { left: waits.len() - begin, waits, waiters, ready }
    }

    /// Takes the first operation that can be begun and that `fits`.
    fn take(&mut self, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let at = self.ready.iter().position(|place| fits(*place))?;
        self.left -= 1;
        self.ready.remove(at)
    }

    fn done(&mut self, place: usize) {
        for waiter in std::mem::take(&mut self.waiters[place]) {
            self.waits[waiter] -= 1;
            if self.waits[waiter] == 0 {
                self.ready.push_back(waiter);
            }
        }
    }
}

impl Execution<'_> {
    fn run(&self, begin: usize, plan: &Plan) -> Carried {
        let mut schedule = Schedule::of(begin, plan);
        let mut carried = Carried::default();
        let limit = self.work.parallel.map_or(usize::MAX, NonZeroUsize::get);
        let counts = |place: usize| !is_wait(&plan.operations[place].operation);
        let changes = |place: usize| self.needs_hold(&plan.operations[place].operation);
        let (sender, receiver) = mpsc::channel();
        thread::scope(|scope| {
            let (mut running, mut busy, mut changing) = (0_usize, 0_usize, 0_usize);
            loop {
                while !self.is_over()
                    && let Some(place) = schedule.take(|place| busy < limit || !counts(place))
                {
                    running += 1;
                    busy += usize::from(counts(place));
                    changing += usize::from(changes(place));
                    let sender = sender.clone();
                    scope.spawn(move || {
                        let result = self.perform(OperationId(place), &plan.operations[place]);
                        // The loop listens until all have reported.
                        let _ = sender.send((place, result));
                    });
                }
                if running == 0 {
                    break;
                }
                if changing == 0 {
                    self.let_others();
                }
                let Ok((place, result)) = receiver.recv() else { break };
                running -= 1;
                busy -= usize::from(counts(place));
                changing -= usize::from(changes(place));
                match result {
                    Ok(()) => schedule.done(place),
                    Err(OperationError::Halted) => {}
                    Err(error) => {
                        if self.work.after_failure == AfterFailure::Stop {
                            self.failed.now();
                        }
                        carried.failures.push(self.failure(OperationId(place), plan, error));
                    }
                }
            }
        });
        carried.failures.sort_by_key(|failure| failure.operation);
        carried.left = schedule.left;
        carried
    }

    /// Whether nobody else may change the project meanwhile. A container that is stopped to be started again may take all of its
    /// grace: others go on, and may have it started before.
    fn needs_hold(&self, operation: &Operation) -> bool {
        let is_free = self.only_runs && matches!(operation, Operation::Stop(_));
        !is_free && !operation.only_waits()
    }

    /// Lets other commands change the project while this one only waits; unless they would take what it has made for
    /// something that was left behind.
    fn let_others(&self) {
        if let Some(hold) = self.work.hold
            && self.beside.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
        {
            hold.let_go();
        }
    }

    /// Sees to it that nobody else changes the project.
    fn hold(&self, id: OperationId, subject: Subject) -> Result<(), OperationError> {
        let Some(hold) = self.work.hold else { return Ok(()) };
        let tell = |note: String| self.tell(id, subject.clone(), Phase::Note(note));
        match hold.take(self.work.halt, &tell) {
            Ok(true) => Ok(()),
            Ok(false) => Err(OperationError::Halted),
            Err(error) => Err(OperationError::Hold(Box::new(error))),
        }
    }

    /// Whether nothing more is to be begun.
    fn is_over(&self) -> bool {
        self.work.halt.is_made() || self.failed.is_made()
    }

    fn failure(&self, operation: OperationId, plan: &Plan, error: OperationError) -> Failure {
        let error = self.told(&plan.operations[operation.0].operation, error);
        let subject = match error.container() {
            Some(name) => Subject::Container(name.to_owned()),
            None => subject(&plan.operations[operation.0].operation),
        };
        let (log, reason) = match (&subject, error.has_log()) {
            (Subject::Container(name), true) => (self.last_lines(name), self.reason(name, &error)),
            _ => (Vec::new(), None),
        };
        // Of what is looked at again it is not known yet.
        if !matches!(error, OperationError::Overtaken { .. }) {
            self.tell(operation, subject.clone(), Phase::Failed(error.to_string()));
        }
        Failure { operation, subject, error, log, reason }
    }

    /// Why an operation failed: where another command took the container away, that is the reason, and not what was missing
    /// first.
    fn told(&self, operation: &Operation, error: OperationError) -> OperationError {
        let container = match operation {
            Operation::Start(container) => Some(container),
            Operation::RunBefore(before) => before.starts.first(),
            _ => None,
        };
        let Some(container) = container else { return error };
        match (self.there(container), error) {
            (
                Err(ContainerError::NotFound(_)),
                OperationError::Container(_)
                | OperationError::Member(_)
                | OperationError::Networks(_)
                | OperationError::Hook { .. },
            ) => OperationError::Removed { container: container.name().to_owned() },
            (_, error) => error,
        }
    }

    fn tell(&self, operation: OperationId, subject: Subject, phase: Phase) {
        self.watcher.happened(Happening { operation, subject, phase });
    }
}

/// Whether an operation waits most of the time.
fn is_wait(operation: &Operation) -> bool {
    operation.only_waits() || matches!(operation, Operation::TakeOver { .. })
}

/// Whether an operation makes a program run.
fn is_start(operation: &Operation) -> bool {
    matches!(operation, Operation::Start(_) | Operation::RunBefore(_))
}

/// What an operation is about.
pub fn subject(operation: &Operation) -> Subject {
    match operation {
        Operation::CreateNetwork { name, .. } | Operation::RemoveNetwork { name } => {
            Subject::Network(name.clone())
        }
        Operation::CreateVolume { name, .. } | Operation::RemoveVolume { name } => {
            Subject::Volume(name.clone())
        }
        Operation::Disconnect { container, .. }
        | Operation::Connect { container, .. }
        | Operation::AwaitEnd(container)
        | Operation::Stop(container)
        | Operation::Kill { container, .. }
        | Operation::Pause(container)
        | Operation::Unpause(container)
        | Operation::Rename { container, .. }
        | Operation::Remove { container, .. } => Subject::Container(container.name.clone()),
        Operation::Create(new)
        | Operation::Recreate { new, .. }
        | Operation::MakeBeside { new, .. }
        | Operation::AwaitBeside(new)
        | Operation::TakeOver { new, .. } => Subject::Container(new.name.clone()),
        Operation::RunBefore(before) => Subject::Container(before.name.clone()),
        Operation::Start(container) => Subject::Container(container.name().to_owned()),
        Operation::Await { service, .. } | Operation::AwaitReady { service } => {
            Subject::Container(service.to_string())
        }
    }
}

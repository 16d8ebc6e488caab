//! How far the containers of a service have to be before others start.
//!
//! Nobody asks again and again: a wait looks when the store's events say that something happened, when the program or its
//! monitor is gone, and when it is wished that all waiting ends. What is seen is what the monitor itself says.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rbuild_model::container::{ContainerId, Definition, HealthStatus, Run, State, Stopped};
use rbuild_model::network::NetworkMode;
use rbuild_model::project::{Condition, ServiceName};
use rbuild_monitor::Until;
use rbuild_monitor::client::Waiter;
use rbuild_store::events::Watch;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::sync::PoisonError;

use super::Execution;
use super::error::OperationError;
use crate::containers::ContainerError;
use crate::engine::Engine;
use crate::projects::happening::{Act, Phase, Subject};
use crate::projects::labels;
use crate::projects::operation::{Existing, OperationId};

/// How far a container has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Goal {
    /// Its health check succeeds.
    Healthy,
    /// It has ended, with 0.
    Completed,
    /// It runs, and is healthy if it is asked.
    Ready,
    /// As [`Goal::Ready`], or it has ended with 0, as others need it.
    ReadyOrCompleted,
}

/// How far a container is.
#[derive(Debug)]
enum Far {
    There,
    NotYet,
    /// It is there unless it ends within this time.
    Settles(Duration),
    Never(OperationError),
}

/// How long a program without a health check has to run until it counts as ready: one that ends at once never was.
const SETTLED: Duration = Duration::from_millis(500);

impl Execution<'_> {
    /// Waits for a service that others depend on.
    pub(super) fn wait_for(
        &self,
        id: OperationId,
        service: &ServiceName,
        condition: Condition,
        required: bool,
    ) -> Result<(), OperationError> {
        let (goal, act) = match condition {
            Condition::Started => return Ok(()),
            Condition::Healthy => (Goal::Healthy, Act::AwaitHealth),
            Condition::CompletedSuccessfully => (Goal::Completed, Act::AwaitEnd),
        };
        // Whoever waits for this starts at once when it is there.
        self.engine.prepare_start(&NetworkMode::Default);
        let open = self.containers_of(service);
        match self.reach(id, service, open, goal, act, self.work.ready_within) {
            Err(error @ (OperationError::Halted | OperationError::Overtaken { .. })) => Err(error),
            Err(error) if !required => {
                let name = error.container().unwrap_or(service.as_str()).to_owned();
                let why = match &error {
                    OperationError::NotCompleted { code, .. } => {
                        format!("optional dependency \"{service}\" didn't complete successfully: exit {code}")
                    }
                    _ => format!("optional dependency \"{service}\" failed to start: {error}"),
                };
                self.tell(id, Subject::Container(name), Phase::Skipped(why));
                Ok(())
            }
            result => result,
        }
    }

    /// Waits until a service does what it is there for (`--wait`).
    pub(super) fn wait_until_ready(
        &self,
        id: OperationId,
        service: &ServiceName,
    ) -> Result<(), OperationError> {
        let open = self.containers_of(service);
        self.reach_ready(id, service, open)
    }

    /// Waits until one container of a service does what it is there for.
    pub(super) fn wait_until_one_is_ready(
        &self,
        id: OperationId,
        service: &ServiceName,
        definition: &Definition,
    ) -> Result<(), OperationError> {
        self.reach_ready(id, service, vec![definition.id]).map_err(|error| match error {
            // There are others, and none is this one.
            OperationError::Overtaken { container } => OperationError::Removed { container },
            error => error,
        })
    }

    fn reach_ready(
        &self,
        id: OperationId,
        service: &ServiceName,
        containers: Vec<ContainerId>,
    ) -> Result<(), OperationError> {
        let is_step = self.work.project.services.values().any(|other| {
            let needed = other.depends_on.get(service);
            needed.is_some_and(|needed| needed.condition == Condition::CompletedSuccessfully)
        });
        let goal = if is_step { Goal::ReadyOrCompleted } else { Goal::Ready };
        let within = self.work.ready_within;
        self.reach(id, service, containers, goal, Act::AwaitHealth, within)
    }

    /// Waits until a program has ended that somebody told to stop: no longer than what is waited for altogether
    /// (`--wait-timeout`), and not beyond its grace, as its monitor kills it then.
    pub(super) fn wait_for_end(&self, container: &Existing) -> Result<(), OperationError> {
        let within = self.work.ready_within;
        let deadline = within.and_then(|within| Instant::now().checked_add(within));
        let watch = self.engine.parts.store.events().watch().map_err(watching)?;
        let definition = self.engine.find(&container.id.to_string())?;
        let mut ending = None;
        loop {
            let (state, waiter) = match self.engine.look(&definition) {
                // It has ended, and is gone, too.
                Err(ContainerError::NotFound(_)) => return Ok(()),
                looked => looked?,
            };
            // Another run than the first one that was seen is somebody's who was faster.
            match state.run().map(|run| run.init) {
                Some(init) if *ending.get_or_insert(init) == init => {}
                _ => return Ok(()),
            }
            self.sleep(&watch, waiter.as_slice(), None, deadline, within)?;
        }
    }

    fn reach(
        &self,
        id: OperationId,
        service: &ServiceName,
        containers: Vec<ContainerId>,
        goal: Goal,
        act: Act,
        within: Option<Duration>,
    ) -> Result<(), OperationError> {
        let begun = Instant::now();
        let deadline = within.and_then(|within| begun.checked_add(within));
        // Before the first look: nothing that happens behind it is missed.
        let watch = self.engine.parts.store.events().watch().map_err(watching)?;
        let mut open = Vec::new();
        for container in containers {
            let definition = match self.engine.find(&container.to_string()) {
                Err(ContainerError::NotFound(_)) => {
                    let removed = OperationError::Removed { container: service.to_string() };
                    return Err(self.verdict(id, service, container, removed));
                }
                found => found?,
            };
            self.tell(id, Subject::Container(definition.name.to_string()), Phase::Begun(act));
            open.push(definition);
        }
        loop {
            let mut waiters = Vec::new();
            let mut left = Vec::new();
            let mut settled = None;
            for definition in open {
                let (state, waiter) = match self.engine.look(&definition) {
                    Err(ContainerError::NotFound(_)) => {
                        let removed = OperationError::Removed { container: definition.name.to_string() };
                        return Err(self.verdict(id, service, definition.id, removed));
                    }
                    looked => looked?,
                };
                match far(service, &definition, &state, goal, begun.elapsed()) {
                    Far::There => {
                        let act = if matches!(state, State::Exited(_)) { Act::AwaitEnd } else { act };
                        self.tell(id, Subject::Container(definition.name.to_string()), Phase::Done(act));
                    }
                    Far::Never(error) => return Err(self.verdict(id, service, definition.id, error)),
                    far => {
                        if let Far::Settles(after) = far {
                            settled = Some(settled.map_or(after, |known: Duration| known.max(after)));
                        }
                        waiters.extend(waiter);
                        left.push(definition);
                    }
                }
            }
            if left.is_empty() {
                return Ok(());
            }
            open = left;
            self.sleep(&watch, &waiters, settled, deadline, within)?;
        }
    }

    /// Why a wait came to nothing. While another command changes the project nothing is final: the container may be stopped
    /// because it is made anew.
    fn verdict(
        &self,
        id: OperationId,
        service: &ServiceName,
        container: ContainerId,
        error: OperationError,
    ) -> OperationError {
        let name = error.container().unwrap_or(service.as_str()).to_owned();
        if let Err(error) = self.hold(id, Subject::Container(name.clone())) {
            return error;
        }
        match (self.engine.find(&container.to_string()), self.engine.definitions()) {
            (Err(ContainerError::NotFound(_)), Ok(all))
                if all.iter().any(|other| self.is_of(other, service)) =>
            {
                OperationError::Overtaken { container: name }
            }
            _ => error,
        }
    }

    /// Whether a container is one of a service's own.
    fn is_of(&self, definition: &Definition, service: &ServiceName) -> bool {
        let label = |key: &str| definition.labels.get(key).map(String::as_str).unwrap_or_default();
        label(labels::key::PROJECT) == self.work.project.name.as_str()
            && label(labels::key::SERVICE) == service.as_str()
            && !label(labels::key::ONE_OFF).eq_ignore_ascii_case("true")
    }

    fn containers_of(&self, service: &ServiceName) -> Vec<ContainerId> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let own = places.iter().filter(|((name, _), _)| name == service.as_str());
        own.map(|(_, id)| *id).collect()
    }

    /// Waits until there may be something new, or something has settled.
    fn sleep(
        &self,
        watch: &Watch,
        waiters: &[Waiter],
        settled: Option<Duration>,
        deadline: Option<Instant>,
        within: Option<Duration>,
    ) -> Result<(), OperationError> {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(OperationError::NotReady { seconds: within.unwrap_or_default().as_secs() });
        }
        let time = left.into_iter().chain(settled).min().map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        });
        let (wish, failed, events) = (self.work.halt.as_fd(), self.failed.as_fd(), watch.as_fd());
        let mut waits = vec![
            PollFd::new(&wish, PollFlags::IN),
            PollFd::new(&failed, PollFlags::IN),
            PollFd::new(&events, PollFlags::IN),
        ];
        waits.extend(waiters.iter().map(|waiter| PollFd::new(waiter, PollFlags::IN)));
        match poll(&mut waits, time.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(watching(errno)),
        }
        if self.is_over() {
            return Err(OperationError::Halted);
        }
        if !waits[2].revents().is_empty() {
            watch.wait(Some(Duration::ZERO)).map_err(watching)?;
        }
        Ok(())
    }
}

impl Engine {
    /// Looks at a container, as its monitor sees it, and registers to be told of its end. One that was removed is not found.
    pub(super) fn look(&self, definition: &Definition) -> Result<(State, Option<Waiter>), ContainerError> {
        if let Some(mut client) = self.client(definition)?
            && let Ok(record) = client.inspect()
        {
            let waiter = match record.state {
                // Its monitor tells of the next start as an event; this tells of the monitor's own end.
                State::Running(_) | State::Paused(_) | State::Restarting { .. } => {
                    client.wait(Until::NotRunning).ok()
                }
                _ => None,
            };
            return Ok((record.state, waiter));
        }
        let state = self.observe(definition)?.state;
        // Of one that is gone there is as little as of one that never was started.
        if let State::Created { .. } = state {
            self.find(&definition.id.to_string())?;
        }
        Ok((state, None))
    }
}

fn watching(error: impl std::error::Error + Send + Sync + 'static) -> OperationError {
    OperationError::Watch(Box::new(error))
}

/// How far a container is that was waited for so long.
fn far(service: &ServiceName, definition: &Definition, state: &State, goal: Goal, waited: Duration) -> Far {
    let container = || definition.name.to_string();
    match (goal, state) {
        (_, State::Created { .. } | State::Removing { .. } | State::Dead { .. }) => {
            Far::Never(OperationError::NotStarted { container: container(), state: state.status().word() })
        }
        (_, State::Restarting { .. }) => Far::NotYet,
        (Goal::Completed, State::Running(_) | State::Paused(_)) => Far::NotYet,
        (Goal::Completed | Goal::ReadyOrCompleted, State::Exited(ended)) if ended.code == 0 => Far::There,
        (_, State::Exited(ended)) if ended.stopped == Stopped::ByHand => {
            Far::Never(OperationError::Stopped { container: container() })
        }
        (Goal::Completed, State::Exited(ended)) => Far::Never(OperationError::NotCompleted {
            service: service.clone(),
            container: container(),
            code: ended.code,
        }),
        (_, State::Exited(ended)) => {
            Far::Never(OperationError::Exited { container: container(), code: ended.code })
        }
        (_, State::Running(run) | State::Paused(run)) => healthy(container(), run, goal, waited),
    }
}

fn healthy(container: String, run: &Run, goal: Goal, waited: Duration) -> Far {
    match run.health.as_ref().map(|health| health.status) {
        Some(HealthStatus::Healthy) => Far::There,
        Some(HealthStatus::Starting) => Far::NotYet,
        Some(HealthStatus::Unhealthy) => Far::Never(OperationError::Unhealthy { container }),
        None if goal == Goal::Healthy => Far::Never(OperationError::NoHealthCheck { container }),
        None => {
            // A clock that was set back lets nobody wait longer.
            let age = Duration::try_from(Timestamp::now().duration_since(run.started)).unwrap_or_default();
            match SETTLED.saturating_sub(age.max(waited)) {
                Duration::ZERO => Far::There,
                left => Far::Settles(left),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rbuild_model::container::ProcessIdentity;

    use super::*;

    #[test]
    fn a_program_is_ready_when_it_has_not_ended_at_once() {
        let run = |started| Run { init: ProcessIdentity { pid: 1, start_ticks: 0 }, started, health: None };
        let far = |started, waited| healthy("a".to_owned(), &run(started), Goal::Ready, waited);
        let hour = Duration::from_secs(3600);
        let now = Timestamp::now();
        assert!(matches!(far(now, Duration::ZERO), Far::Settles(left) if left <= SETTLED));
        assert!(matches!(far(now - hour, Duration::ZERO), Far::There));
        assert!(matches!(far(now + hour, Duration::ZERO), Far::Settles(SETTLED)));
        assert!(matches!(far(now + hour, SETTLED), Far::There));
        let waited = healthy("a".to_owned(), &run(now), Goal::Healthy, hour);
        assert!(matches!(waited, Far::Never(OperationError::NoHealthCheck { .. })));
    }
}

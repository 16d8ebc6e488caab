//! Waiting for containers: every change is told by their monitors, nothing is asked twice.
//!
//! A [`Watch`] looks at any number of containers at once; an [`Expectation`] says when one of them is what it is waited
//! for to be. A monitor that is killed meanwhile is replaced, and what happened until then is found out: a watch ends only
//! with what it waits for, with its time, or with the wish of who started it.

use std::collections::VecDeque;
use std::time::Instant;

use jiff::Timestamp;
use rbuild_model::container::{ContainerId, Definition, HealthStatus, Status};
use rbuild_monitor::{Client, ClientError, Moment, WatchEvent, Watcher};
use rbuild_store::{Cancel, Wake};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::error::ContainerError;
use super::rows;
use crate::engine::{Engine, io};

/// What happened to a container that is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// This is what it is now.
    Now(Moment),
    /// It was removed; nothing more is told of it.
    Removed,
}

/// What a watch has to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Something happened to a container. Of each, its present state is told first.
    Changed(ContainerId, Change),
    /// The time is over.
    TimedOut,
    /// Whoever started the watch wants it to end.
    Cancelled,
    /// Nothing is watched any more.
    Nothing,
}

/// Containers that are watched.
pub struct Watch<'e> {
    engine: &'e Engine,
    wake: Wake,
    watched: Vec<Watched>,
    ready: VecDeque<(ContainerId, Change)>,
}

/// One of them.
struct Watched {
    definition: Definition,
    /// The monitor that tells; `None` until it is needed, or if it was lost.
    teller: Option<Watcher>,
    last: Option<Moment>,
}

/// What a container is waited for to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Its program runs.
    Running,
    /// Its program runs and its health was found good. One whose health is not asked fails.
    Healthy,
    /// It runs, and is healthy if its health is asked.
    Ready,
    /// Its program does not run: it never did, or has ended, whether or not it will be started again.
    NotRunning,
    /// Its program ends once more.
    NextExit,
    /// Its program has ended and is not started again.
    Exited,
    /// It is removed.
    Removed,
}

/// What a wait came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// It is so.
    Met(Moment),
    /// It will not be so by itself: it ended, or is not healthy.
    Failed(Moment),
    /// The container was removed, which may be what was waited for.
    Removed,
}

/// A condition that is waited for, with what was told of the container so far.
#[derive(Clone, Debug)]
pub struct Expectation {
    condition: Condition,
    /// When the container had ended last before it was waited for; `None` before anything was told.
    before: Option<Option<Timestamp>>,
}

impl Expectation {
    /// Begins to wait.
    pub fn new(condition: Condition) -> Self {
        Self { condition, before: None }
    }

    /// Takes what is told, in order; returns what the wait came to, if it is over.
    pub fn told(&mut self, change: &Change) -> Option<Awaited> {
        let Change::Now(moment) = change else { return Some(Awaited::Removed) };
        let before = *self.before.get_or_insert(moment.finished);
        let met = || Some(Awaited::Met(moment.clone()));
        let failed = || Some(Awaited::Failed(moment.clone()));
        let has_failed = moment.status == Status::Created && moment.error.is_some();
        match (self.condition, moment.status) {
            (Condition::Removed, _) => None,
            (Condition::NextExit, _) if moment.finished != before => met(),
            (Condition::NextExit, Status::Created) if has_failed => failed(),
            (Condition::NextExit, _) => None,
            // It may have ended and run again between two looks at it.
            (Condition::NotRunning, _) if moment.finished != before => met(),
            (Condition::NotRunning, Status::Created | Status::Exited | Status::Dead | Status::Removing) => {
                met()
            }
            (Condition::NotRunning, Status::Running | Status::Paused | Status::Restarting) => None,
            (Condition::Exited, Status::Exited) => met(),
            (Condition::Exited, Status::Dead | Status::Removing) => failed(),
            (_, Status::Created) if has_failed => failed(),
            (_, Status::Created | Status::Restarting) | (Condition::Exited, _) => None,
            (_, Status::Exited | Status::Dead | Status::Removing) => failed(),
            (Condition::Running, Status::Running | Status::Paused) => met(),
            (Condition::Healthy | Condition::Ready, Status::Running | Status::Paused) => {
                match moment.health {
                    None if self.condition == Condition::Ready => met(),
                    None => failed(),
                    Some(HealthStatus::Starting) => None,
                    Some(HealthStatus::Healthy) => met(),
                    Some(HealthStatus::Unhealthy) => failed(),
                }
            }
        }
    }
}

impl Engine {
    /// Begins to watch containers; none yet.
    pub fn watch(&self, cancel: &Cancel) -> Result<Watch<'_>, ContainerError> {
        let wake = cancel.wake().map_err(io("make", "a pipe"))?;
        Ok(Watch { engine: self, wake, watched: Vec::new(), ready: VecDeque::new() })
    }

    /// Waits for the end of a container's program and returns its status; for one that does not run, the last one.
    pub fn wait(&self, definition: &Definition) -> Result<i32, ContainerError> {
        let mut watch = self.watch(&Cancel::never())?;
        watch.add(definition)?;
        let mut expectation = Expectation::new(Condition::NotRunning);
        let mut last = 0;
        loop {
            let Told::Changed(_, change) = watch.next(None)? else { return Ok(last) };
            if let Change::Now(moment) = &change {
                last = moment.code;
            }
            if expectation.told(&change).is_some() {
                return Ok(last);
            }
        }
    }
}

impl Watch<'_> {
    /// Watches one container more. Nothing that happens to it from now on is missed; its present state is told first.
    pub fn add(&mut self, definition: &Definition) -> Result<(), ContainerError> {
        let mut watched = Watched { definition: definition.clone(), teller: None, last: None };
        match Client::find(&self.engine.place(definition.id))? {
            // The monitor tells what is now before all else.
            Some(client) => watched.teller = client.watch().ok(),
            None => {
                if !self.exists(definition)? {
                    self.ready.push_back((definition.id, Change::Removed));
                    return Ok(());
                }
                let now = Moment::of(&self.engine.record(definition)?);
                self.ready.push_back((definition.id, Change::Now(now.clone())));
                watched.last = Some(now);
            }
        }
        self.watched.push(watched);
        Ok(())
    }

    /// Watches a container no longer.
    pub fn remove(&mut self, id: ContainerId) {
        self.watched.retain(|watched| watched.definition.id != id);
        self.ready.retain(|(known, _)| *known != id);
    }

    /// Waits for what happens next.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Told, ContainerError> {
        loop {
            if let Some((id, change)) = self.ready.pop_front() {
                if change == Change::Removed {
                    self.watched.retain(|watched| watched.definition.id != id);
                }
                return Ok(Told::Changed(id, change));
            }
            if self.watched.is_empty() {
                return Ok(Told::Nothing);
            }
            // Only now: who is content with the present needs no monitor for it.
            self.connect()?;
            if self.ready.is_empty()
                && let Some(told) = self.wait(deadline)?
            {
                return Ok(told);
            }
        }
    }

    /// Connects to the monitors that are not connected.
    fn connect(&mut self) -> Result<(), ContainerError> {
        for at in 0..self.watched.len() {
            if self.watched[at].teller.is_some() {
                continue;
            }
            let definition = self.watched[at].definition.clone();
            if !self.exists(&definition)? {
                self.ready.push_back((definition.id, Change::Removed));
                continue;
            }
            match self.engine.monitor(&definition) {
                Ok(client) => self.watched[at].teller = client.watch().ok(),
                // It was just removed, or its monitor is just leaving.
                Err(_) if !self.exists(&definition)? => {
                    self.ready.push_back((definition.id, Change::Removed));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn exists(&self, definition: &Definition) -> Result<bool, ContainerError> {
        let store = &self.engine.parts.store;
        Ok(store.read(|transaction| rows::exists(transaction, definition.id))?)
    }

    /// Waits until monitors tell something, and takes it; returns what else ended the wait.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Option<Told>, ContainerError> {
        let ready: Vec<bool> = {
            let tellers = self.watched.iter().map(|watched| watched.teller.as_ref());
            let mut fds = vec![PollFd::new(&self.wake, PollFlags::IN)];
            fds.extend(tellers.flatten().map(|teller| PollFd::new(teller, PollFlags::IN)));
            if fds.len() <= self.watched.len() {
                // One was lost since: it is looked for first.
                return Ok(None);
            }
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(|left| Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: left.subsec_nanos().into(),
            });
            match poll(&mut fds, left.as_ref()) {
                Ok(0) => return Ok(Some(Told::TimedOut)),
                Ok(_) => {}
                Err(Errno::INTR) => return Ok(None),
                Err(errno) => return Err(io("wait for", "monitors")(errno.into()).into()),
            }
            fds.iter().map(|fd| !fd.revents().is_empty()).collect()
        };
        if ready[0] {
            return Ok(Some(Told::Cancelled));
        }
        let mut ready = ready.into_iter().skip(1);
        for watched in &mut self.watched {
            if watched.teller.is_some() && ready.next().unwrap_or(false) {
                watched.take(&mut self.ready)?;
            }
        }
        Ok(None)
    }
}

impl Watched {
    /// Takes what the monitor has told. One that was lost is looked for again, and tells what is now.
    fn take(&mut self, ready: &mut VecDeque<(ContainerId, Change)>) -> Result<(), ClientError> {
        let id = self.definition.id;
        while let Some(teller) = &mut self.teller {
            match teller.next_event() {
                Ok(WatchEvent::Changed(moment)) => {
                    if self.last.as_ref() != Some(&moment) {
                        self.last = Some(moment.clone());
                        ready.push_back((id, Change::Now(moment)));
                    }
                }
                Ok(WatchEvent::Gone) => {
                    self.teller = None;
                    ready.push_back((id, Change::Removed));
                }
                Err(ClientError::Wire(_)) => self.teller = None,
                Err(error) => return Err(error),
            }
            if !self.teller.as_ref().is_some_and(Watcher::has_event) {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "watch/tests.rs"]
mod tests;

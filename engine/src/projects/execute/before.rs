//! Containers that run to their end before a service starts.
//!
//! Each is made when it is its turn, and gone when its program has ended with 0; one that failed stays for people to look
//! at until the next run. One that is there and runs is of a command that was cut off: it is waited for. Where the
//! service's own containers run by now, somebody else has seen to all that comes before them.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::sync::PoisonError;
use std::thread;

use rbuild_model::container::{Definition, MountWhat, State, Stopped};
use rbuild_model::project::ServiceName;
use rbuild_model::volume::ANONYMOUS_LABEL;
use rbuild_monitor::{Attach, ClientError, Session, SessionEvent};
use rbuild_store::crash;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::Execution;
use super::error::OperationError;
use crate::containers::{ContainerError, RemoveOptions, Start};
use crate::projects::halt::Halt;
use crate::projects::happening::{Act, HookAt, HookPlace, Phase, Subject};
use crate::projects::labels::{self, Place};
use crate::projects::operation::{Before, OperationId, Startable};
use crate::projects::pre_start::{self, Sharing};

/// What is heard of such a container.
const OUTPUT: Attach = Attach { stdin: false, stdout: true, stderr: true };

/// How its program ended.
enum Ended {
    With(i32),
    /// It was stopped, as nothing more was wanted.
    Stopped,
}

impl Execution<'_> {
    /// Runs a container of `pre_start` to its end.
    pub(super) fn run_before(&self, id: OperationId, before: &Before) -> Result<(), OperationError> {
        if self.have_started(before)? || self.is_passed(before)? {
            return Ok(());
        }
        let tell = |phase: Phase| self.tell(id, Subject::Container(before.name.clone()), phase);
        let (definition, session) = match self.under_way(before)? {
            Some(definition) => (definition, None),
            None => {
                tell(Phase::Begun(Act::Create));
                let definition = self.make_before(before)?;
                crash::point("project.before-made");
                // Nothing that it writes is missed.
                let (session, _) =
                    self.engine.monitor(&definition)?.attach(OUTPUT).map_err(ContainerError::from)?;
                tell(Phase::Begun(Act::Start));
                if let Start::Started(notes) = self.engine.start(&definition)? {
                    notes.into_iter().for_each(|note| tell(Phase::Note(note)));
                }
                crash::point("project.before-started");
                (definition, Some(session))
            }
        };
        tell(Phase::Begun(Act::AwaitEnd));
        let code = match self.ended(before, &definition, session)? {
            Ended::With(code) => code,
            Ended::Stopped => {
                self.remove_before(&definition)?;
                return Err(OperationError::Halted);
            }
        };
        if code != 0 {
            let (service, container) = (before.service.clone(), before.name.clone());
            return Err(OperationError::PreStart { service, at: before.at, container, code });
        }
        self.remove_before(&definition)?;
        tell(Phase::Done(Act::AwaitEnd));
        Ok(())
    }

    /// Whether the containers that were to start behind it run: another command did all of it, while this one waited for
    /// something else.
    fn have_started(&self, before: &Before) -> Result<bool, ContainerError> {
        for container in &before.starts {
            let state = match self.there(container) {
                // It was removed, or another one has its place: its start tells.
                Err(ContainerError::NotFound(_)) => continue,
                found => self.engine.observe(&found?)?.state,
            };
            if !matches!(state, State::Running(_) | State::Restarting { .. }) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether one that comes later is under way: a command that was cut off while this one waited for something else has
    /// done this one, and the two must not run at the same time.
    fn is_passed(&self, before: &Before) -> Result<bool, ContainerError> {
        let service = self.service(&before.service);
        for at in before.at + 1..service.pre_start.len() {
            let name = pre_start::name(self.work.project, service, at);
            if let Some((_, true)) = self.there_before(&before.service, &name)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the container if it is there and runs; one that has ended is removed.
    fn under_way(&self, before: &Before) -> Result<Option<Definition>, OperationError> {
        match self.there_before(&before.service, &before.name)? {
            Some((found, true)) => Ok(Some(found)),
            Some((found, false)) => self.remove_before(&found).map(|()| None),
            None => Ok(None),
        }
    }

    /// The container of this name, if it is one that runs before the service starts, and whether it is what would be run
    /// now and runs.
    fn there_before(
        &self,
        service: &ServiceName,
        name: &str,
    ) -> Result<Option<(Definition, bool)>, ContainerError> {
        let found = match self.engine.find(name) {
            Err(ContainerError::NotFound(_)) => return Ok(None),
            found => found?,
        };
        let label = |key: &str| found.labels.get(key).map(String::as_str).unwrap_or_default();
        let is_ours = label(labels::key::PROJECT) == self.work.project.name.as_str()
            && label(labels::key::SERVICE) == service.as_str()
            && found.labels.contains_key(labels::key::HOOK);
        if !is_ours {
            // Making it says whose the name is.
            return Ok(None);
        }
        let is_same = label(labels::key::CONFIG_HASH) == self.service(service).config_hash;
        let runs = is_same && self.engine.observe(&found)?.state.is_active();
        Ok(Some((found, runs)))
    }

    fn make_before(&self, before: &Before) -> Result<Definition, OperationError> {
        let service = self.service(&before.service);
        let step = &service.pre_start[before.at];
        let (sharing, inherited) = match &before.only {
            Some(only) => (Sharing::All, self.anonymous_volumes(&self.there(only)?)),
            None => (Sharing::Shared, BTreeMap::new()),
        };
        let own = pre_start::service(service, step, sharing);
        self.make(&own, Place::PreStart { at: before.at }, &before.name, &inherited, |request| {
            if step.image.is_some() {
                request.labels.remove(labels::key::IMAGE);
            }
            request.origin = None;
        })
    }

    /// The container that is to be started, which is there by now.
    pub(super) fn there(&self, container: &Startable) -> Result<Definition, ContainerError> {
        let found = match container {
            Startable::Existing(existing) => existing.id.to_string(),
            Startable::New(new) => {
                let made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                made.get(&new.name).expect("what makes a container comes before its start").to_string()
            }
        };
        self.engine.find(&found)
    }

    /// The volumes of a container that nobody named, by target.
    pub(super) fn anonymous_volumes(&self, definition: &Definition) -> BTreeMap<String, String> {
        let volumes = self.engine.volumes();
        let of_mount = |what: &MountWhat| match what {
            MountWhat::Volume { name, .. } => {
                let volume = volumes.find(name.as_str()).ok()?;
                volume.labels.contains_key(ANONYMOUS_LABEL).then(|| name.to_string())
            }
            _ => None,
        };
        let mounts = definition.host.mounts.iter();
        mounts.filter_map(|mount| Some((mount.target.clone(), of_mount(&mount.what)?))).collect()
    }

    fn remove_before(&self, definition: &Definition) -> Result<(), OperationError> {
        // Volumes that only its image declares are its own; those of the service's container are not.
        let options = RemoveOptions { force: true, volumes: true };
        match self.engine.remove(&definition.id.to_string(), options) {
            Err(ContainerError::NotFound(_)) => Ok(()),
            removed => Ok(removed.map(|_| ())?),
        }
    }

    /// Passes on what it writes until its program has ended. A wish to stop stops it.
    fn ended(
        &self,
        before: &Before,
        definition: &Definition,
        session: Option<Session>,
    ) -> Result<Ended, OperationError> {
        let session = match session {
            None => match self.joined(definition) {
                // What it means that it is gone is told below.
                Err(ContainerError::NotFound(_)) => None,
                joined => joined?,
            },
            session => session,
        };
        thread::scope(|scope| {
            let mut is_stopping = false;
            let mut stop = || {
                if !is_stopping && self.work.halt.is_made() {
                    is_stopping = true;
                    let grace = self.work.wanted.timeout;
                    let grace = grace.map(|time| i64::try_from(time.as_secs()).unwrap_or(i64::MAX));
                    // What it still writes is heard meanwhile; whether it has ended is seen there.
                    scope.spawn(move || drop(self.engine.stop(definition, None, grace)));
                }
                is_stopping
            };
            if let Some(session) = session {
                self.hear(before, session, &mut stop)?;
            }
            loop {
                let (state, waiter) = match self.engine.look(definition) {
                    Err(ContainerError::NotFound(_)) if stop() => return Ok(Ended::Stopped),
                    // Nobody can tell any more whether it ended well.
                    Err(ContainerError::NotFound(_)) => {
                        return Err(OperationError::Removed { container: before.name.clone() });
                    }
                    looked => looked?,
                };
                match (state, waiter) {
                    (State::Exited(_), _) if stop() => return Ok(Ended::Stopped),
                    (State::Exited(ended), _) if ended.stopped == Stopped::ByHand && ended.code != 0 => {
                        return Err(OperationError::Stopped { container: before.name.clone() });
                    }
                    (State::Exited(ended), _) => return Ok(Ended::With(ended.code)),
                    (state, Some(waiter)) if state.is_active() => {
                        let is_stopping = stop();
                        wait(&waiter, (!is_stopping).then_some(self.work.halt))?;
                    }
                    (state, _) => {
                        let (container, state) = (before.name.clone(), state.status().word());
                        return Err(OperationError::NotStarted { container, state });
                    }
                }
            }
        })
    }

    /// Listens to a container that runs already; nothing if it has ended meanwhile.
    fn joined(&self, definition: &Definition) -> Result<Option<Session>, ContainerError> {
        let Some(client) = self.engine.client(definition)? else { return Ok(None) };
        let Ok((session, _)) = client.attach(OUTPUT) else { return Ok(None) };
        // Whoever is told of its end listened before that.
        Ok(self.engine.look(definition)?.0.is_active().then_some(session))
    }

    /// Hears a container to the end of its output, or of its monitor.
    fn hear(
        &self,
        before: &Before,
        mut session: Session,
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<(), OperationError> {
        let place = HookPlace { service: before.service.to_string(), at: HookAt::PreStart(before.at) };
        // Who shows what hooks say has its place ready before there is anything.
        self.watcher.said(&place, &[]);
        loop {
            while !session.has_event() && !stop() && !wait(&session, Some(self.work.halt))? {}
            match session.next_event() {
                Ok(SessionEvent::Stdout(bytes) | SessionEvent::Stderr(bytes)) => {
                    self.watcher.said(&place, &bytes);
                }
                Ok(SessionEvent::Ended(_) | SessionEvent::ExecEnded(_)) | Err(ClientError::Wire(_)) => {
                    return Ok(());
                }
                Err(error) => return Err(ContainerError::from(error).into()),
            }
        }
    }
}

/// Waits for something, or for the wish to stop; tells whether it was the former.
fn wait(what: &impl AsFd, wish: Option<&Halt>) -> Result<bool, OperationError> {
    let mut waits = vec![PollFd::new(what, PollFlags::IN)];
    waits.extend(wish.map(|wish| PollFd::new(wish, PollFlags::IN)));
    match poll(&mut waits, None) {
        Ok(_) => Ok(!waits[0].revents().is_empty()),
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(OperationError::Watch(Box::new(errno))),
    }
}

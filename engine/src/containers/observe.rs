//! What has become of a container: read from its state file, without asking anybody; and its monitor, for those who ask.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use rbuild_model::container::{ContainerId, Definition, FirstProbe, Program, Removal, State, Streams};
use rbuild_monitor::{
    Client, ClientError, Lock, Observed as Seen, Patience, Place, Record, Settings, Spawned, Stdin,
};
use rbuild_sandbox::cgroup::{Cgroup, Layout};
use rbuild_sandbox::process::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::error::ContainerError;
use super::events;
use super::note::RunNote;
use crate::engine::{Engine, io};

/// What has become of a container.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Its state.
    pub state: State,
    /// Whether its program runs, was told to stop, and is killed when its time is over. One that may take as long as it
    /// likes runs: nobody knows whether it ever ends.
    pub is_stopping: bool,
    /// How often its policy started it again since somebody started it.
    pub restarts: u32,
    /// What its run got of the machine.
    pub note: RunNote,
    /// When the run before this one ended.
    pub finished_before: Option<Timestamp>,
}

/// How many monitors in turn may be met that are neither there nor gone.
const LEAVING_LOOKS: u32 = 8;
/// The longest that one takes to leave.
const LEAVING: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// The right to take a container away: its lock, and the monitor that gave it, if there is one.
pub(super) struct Takeover {
    place: Place,
    client: Option<Client>,
    _lock: Lock,
}

impl Takeover {
    /// Tells those who wait for it that the container is gone, and takes its folder of this boot away.
    pub(super) fn removed(mut self) -> Result<(), ContainerError> {
        if let Some(client) = &mut self.client {
            client.removed()?;
        }
        Ok(self.place.clear().map_err(ClientError::from)?)
    }
}

impl Engine {
    /// Returns where a container's files are.
    pub(super) fn place(&self, id: ContainerId) -> Place {
        let layout = self.parts.store.layout();
        Place::new(&layout.containers(), &layout.run_containers(), &id)
    }

    /// Looks at what has become of a container. One whose monitor was killed gets another; one whose end nobody saw is
    /// written down as ended.
    pub fn observe(&self, definition: &Definition) -> Result<Observed, ContainerError> {
        let record = self.record(definition)?;
        Ok(Observed {
            is_stopping: record.state.run().is_some() && matches!(record.patience, Some(Patience::Until(_))),
            restarts: record.restart_count,
            // What another version wrote there says nothing here.
            note: serde_json::from_value(record.note.clone()).unwrap_or_default(),
            finished_before: record.previous.as_ref().map(|ended| ended.finished),
            state: record.state,
        })
    }

    /// Returns what is written down of a container's life, and true.
    pub(super) fn record(&self, definition: &Definition) -> Result<Record, ContainerError> {
        let place = self.place(definition.id);
        let observe = || place.observe().map_err(ClientError::from);
        let mut seen = observe()?;
        let has_lost_its_monitor = match &seen {
            Seen::Orphan(_) => true,
            // It may have left a status that only a monitor finds; nothing of another boot has.
            Seen::Lost(record) => Place::is_of_this_boot(record).map_err(ClientError::from)?,
            Seen::Settled(_) | Seen::Interrupted(_) => false,
        };
        if has_lost_its_monitor {
            // Another command may be faster; whoever serves it finds out what it is now.
            let _ = self.adopt(&place);
            seen = observe()?;
        }
        Ok(match seen {
            Seen::Settled(record) | Seen::Orphan(record) => record,
            Seen::Interrupted(record) => {
                if self.start_anew(definition)? {
                    observe()?.record().clone()
                } else {
                    record
                }
            }
            Seen::Lost(record) => match place.try_lock().map_err(ClientError::from)? {
                Some(lock) => {
                    let record = place.settle(&lock).map_err(ClientError::from)?;
                    // Nobody serves its networks any more.
                    let _ = self.networks().disconnect_all(&definition.id.to_string());
                    drop(lock);
                    self.release_volumes_of(definition);
                    record
                }
                None => record,
            },
        })
    }

    /// Has another monitor take the place of one that was killed.
    fn adopt(&self, place: &Place) -> Result<Option<Client>, ContainerError> {
        let networks = self.parts.place().ok().flatten();
        Ok(Client::adopt(place, &self.parts.monitor, networks)?)
    }

    /// Starts a container whose policy wants it to run, and whose monitor was killed before it could: what it had of
    /// networks is gone, so it is connected anew. Tells whether it did; whoever changes the container now does it else.
    fn start_anew(&self, definition: &Definition) -> Result<bool, ContainerError> {
        let Some(_held) = self.try_hold(definition.id)? else { return Ok(false) };
        let place = self.place(definition.id);
        if !matches!(place.observe().map_err(ClientError::from)?, Seen::Interrupted(_)) {
            return Ok(true);
        }
        // Why it could not is written down, as for any start.
        if self.start_held(definition, None).is_err()
            && let Some(lock) = place.try_lock().map_err(ClientError::from)?
        {
            place.settle(&lock).map_err(ClientError::from)?;
        }
        Ok(true)
    }

    /// Whether a container waits for its next start and has lost its monitor and its networks.
    pub(super) fn is_interrupted(&self, id: ContainerId) -> bool {
        matches!(self.place(id).observe(), Ok(Seen::Interrupted(_)))
    }

    /// Tells whether a container's program may run, or will again. What cannot be read may.
    pub(super) fn may_run(&self, id: ContainerId) -> bool {
        match self.place(id).observe() {
            Ok(Seen::Settled(record) | Seen::Orphan(record) | Seen::Interrupted(record)) => {
                record.state.is_active()
            }
            Ok(Seen::Lost(_)) => false,
            Err(_) => true,
        }
    }

    /// Connects to the monitor of a container, if its program runs or somebody waits for it.
    pub fn client(&self, definition: &Definition) -> Result<Option<Client>, ContainerError> {
        let place = self.place(definition.id);
        if let Some(client) = Client::find(&place)? {
            return Ok(Some(client));
        }
        let observe = || place.observe().map_err(ClientError::from);
        if matches!(observe()?, Seen::Orphan(_))
            && let Some(client) = self.adopt(&place)?
        {
            return Ok(Some(client));
        }
        match observe()? {
            // It is named before it listens: it is taking a dead one's place, for another command.
            Seen::Settled(record) if record.state.is_active() => Ok(Client::find_soon(&place)?),
            Seen::Interrupted(_) if self.start_anew(definition)? => Ok(Client::find(&place)?),
            Seen::Settled(_) | Seen::Orphan(_) | Seen::Interrupted(_) | Seen::Lost(_) => Ok(None),
        }
    }

    /// Ends the monitor of a container, which nobody can ask to leave any more.
    pub(super) fn end_monitor(&self, definition: &Definition) -> Result<(), ContainerError> {
        let seen = self.place(definition.id).observe().map_err(ClientError::from)?;
        if let Some(monitor) = seen.record().monitor.and_then(Process::find) {
            monitor.kill();
            let mut fds = [PollFd::from_borrowed_fd(monitor.pidfd(), PollFlags::IN)];
            // Whatever is true then is found by the next look.
            let _ = poll(&mut fds, Some(&LEAVING));
        }
        Ok(())
    }

    /// Connects to the monitor of a container; starts one if there is none.
    pub fn monitor(&self, definition: &Definition) -> Result<Client, ContainerError> {
        if let Some(client) = self.client(definition)? {
            return Ok(client);
        }
        self.begin_monitor(definition, self.new_monitor()?)
    }

    /// Connects to the monitor of a container; if there is none, this one becomes it.
    pub(super) fn monitor_or(
        &self,
        definition: &Definition,
        spawned: Spawned,
    ) -> Result<Client, ContainerError> {
        match self.client(definition)? {
            Some(client) => Ok(client),
            None => self.begin_monitor(definition, spawned),
        }
    }

    fn begin_monitor(&self, definition: &Definition, spawned: Spawned) -> Result<Client, ContainerError> {
        Ok(spawned.begin(&self.place(definition.id), &self.settings(definition))?)
    }

    fn settings(&self, definition: &Definition) -> Settings {
        let Streams { open_stdin, stdin_once, .. } = definition.streams;
        let attributes: BTreeMap<String, String> = events::attributes(definition);
        let id = definition.id.to_string();
        Settings {
            id: definition.id,
            attributes,
            env: definition.program.env.clone(),
            stdin: match (open_stdin, stdin_once) {
                (false, _) => Stdin::Closed,
                (true, true) => Stdin::Once,
                (true, false) => Stdin::Open,
            },
            log: definition.host.log.clone(),
            restart: definition.host.restart,
            health: definition.health_check(),
            early_probes: match definition.first_probe {
                FirstProbe::Early => rbuild_monitor::EarlyProbes::On,
                FirstProbe::Scheduled => rbuild_monitor::EarlyProbes::Off,
            },
            stop_signal: definition.program.stop_signal,
            stop_timeout: grace(definition.program.stop_timeout),
            removal: definition.host.removal,
            events: Some(self.parts.store.layout().events()),
            reap: if definition.host.removal == Removal::Auto || self.has_lent_volumes(definition) {
                self.parts.reap.iter().cloned().chain([id.clone()]).collect()
            } else {
                Vec::new()
            },
        }
    }

    /// Takes a container that does not run out of the hands of its monitor, to remove it.
    pub(super) fn take_over(&self, definition: &Definition) -> Result<Takeover, ContainerError> {
        let place = self.place(definition.id);
        if !place.folder().is_dir() {
            // A power loss took it, and nothing else of the container is left.
            std::fs::create_dir(place.folder()).map_err(io("make", place.folder()))?;
        }
        for _ in 0..LEAVING_LOOKS {
            if let Some(mut client) = Client::find(&place)? {
                match client.take_lock() {
                    Ok(lock) => return Ok(Takeover { place, client: Some(client), _lock: lock }),
                    // It was just leaving.
                    Err(ClientError::Wire(_)) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            // Who has the lock is asked before the lock is: it is free once that one has ended, not the other way round.
            let seen = place.observe().map_err(ClientError::from)?;
            let monitor = seen.record().monitor.and_then(Process::find);
            if let Some(lock) = place.try_lock().map_err(ClientError::from)? {
                // Whoever looked after it may have left its control group.
                let (prefix, name) = (self.cgroups_of(definition), definition.id.to_string());
                if let Some(group) = Cgroup::open(Layout::shared(), &prefix, &name) {
                    group.remove()?;
                }
                return Ok(Takeover { place, client: None, _lock: lock });
            }
            // A monitor that listens no more, or not yet, still has its lock.
            match monitor {
                Some(monitor) => {
                    let mut fds = [PollFd::from_borrowed_fd(monitor.pidfd(), PollFlags::IN)];
                    // Whatever is true then is found by the next look.
                    let _ = poll(&mut fds, Some(&LEAVING));
                }
                None => drop(Client::find_soon(&place)?),
            }
        }
        Err(ClientError::Busy.into())
    }

    /// Writes down why a container could not be started, for those who ask later.
    pub(super) fn note_failure(
        &self,
        definition: &Definition,
        failure: rbuild_model::container::StartFailure,
    ) {
        let place = self.place(definition.id);
        // A monitor that is there keeps the record; it was told nothing of this attempt.
        if let Ok(Some(lock)) = place.try_lock()
            && let Ok(seen) = place.observe()
            && matches!(seen.record().state, State::Created { .. })
        {
            let _ = place.mark(&lock, State::Created { failure: Some(failure) });
        }
    }
}

/// Returns how long a program is waited for that was asked to end; `None` for ever.
pub(super) fn grace(seconds: Option<i64>) -> Option<Duration> {
    let seconds = seconds.unwrap_or(Program::STOP_TIMEOUT);
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

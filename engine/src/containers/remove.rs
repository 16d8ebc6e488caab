//! `rm` and its kin: a container goes with all that is its own.
//!
//! Order: its program ends, the monitor hands its lock over and leaves; the row goes, synced; the folder goes to the
//! trash. What a kill in between leaves is found by the next command: a folder without a row is taken away, and a
//! container that removes itself and has ended is removed by whoever meets it.

use std::time::Duration;

use rbuild_model::container::{
    ContainerId, ContainerName, Definition, MountUse, MountWhat, Removal, Signal, State,
};
use rbuild_monitor::{ClientError, Refusal};
use rbuild_store::{Lock, LockClass, LockMode, LockName, LockScope, Wait, crash};

use super::collected::VOLUMES_STAY;
use super::error::ContainerError;
use super::list::{Filter, ListRequest};
use super::reap::is_gone;
use super::rows;
use crate::engine::Engine;
use crate::volumes::VolumeUsers as _;

/// How a container is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoveOptions {
    /// Whether its program is killed if it runs.
    pub force: bool,
    /// Whether volumes go with it that were made for it and that nobody named.
    pub volumes: bool,
}

/// What a sweep of containers took.
#[derive(Clone, Debug, Default)]
pub struct Pruned {
    /// The containers that went.
    pub removed: Vec<ContainerId>,
    /// The bytes that they had written.
    pub bytes: u64,
}

impl Engine {
    /// Waits until nobody else changes what a container is.
    pub(crate) fn hold(&self, scope: &LockScope, id: ContainerId) -> Result<Lock, ContainerError> {
        let name = LockName::new(LockClass::Container, id);
        Ok(scope.acquire(&name, LockMode::Exclusive, &Wait::forever())?)
    }

    /// As [`hold`](Self::hold), unless somebody else changes it now.
    pub(super) fn try_hold(&self, id: ContainerId) -> Result<Option<Lock>, ContainerError> {
        let name = LockName::new(LockClass::Container, id);
        Ok(self.parts.store.locks().scope().try_acquire(&name, LockMode::Exclusive)?)
    }

    /// Keeps a container from being started while its tree is looked at from outside; nothing for one that runs, whose
    /// tree is the kernel's to keep in order.
    pub(super) fn hold_still(&self, definition: &Definition) -> Result<Option<Lock>, ContainerError> {
        if self.observe(definition)?.state.run().is_some() {
            return Ok(None);
        }
        self.hold(&self.parts.store.locks().scope(), definition.id).map(Some)
    }

    /// Removes a container.
    pub fn remove(&self, text: &str, options: RemoveOptions) -> Result<ContainerId, ContainerError> {
        let definition = self.find(text)?;
        let scope = self.parts.store.locks().scope();
        let at_once = Wait { timeout: Some(Duration::ZERO), ..Wait::forever() };
        let name = LockName::new(LockClass::Container, definition.id);
        let _held = match scope.acquire(&name, LockMode::Exclusive, &at_once) {
            Err(rbuild_store::LockError::TimedOut { .. })
                if matches!(self.observe(&definition)?.state, State::Removing { .. }) =>
            {
                return Err(ContainerError::State(format!(
                    "removal of container {text} is already in progress"
                )));
            }
            Err(rbuild_store::LockError::TimedOut { .. }) => self.hold(&scope, definition.id)?,
            held => held?,
        };
        // Whoever held it may have removed it.
        let definition = self.find(&definition.id.to_string())?;
        let state = self.observe(&definition)?.state;
        match &state {
            State::Paused(_) if !options.force => {
                return Err(ContainerError::State(format!(
                    "cannot remove container \"{text}\": container is paused and must be unpaused first"
                )));
            }
            State::Running(_) | State::Restarting { .. } if !options.force => {
                let state = state.status();
                return Err(ContainerError::State(format!(
                    "cannot remove container \"{text}\": container is {state}: stop the container before removing or \
                     force remove"
                )));
            }
            state if state.is_active() => {
                self.tell(&definition, "kill", &[("signal", Signal::KILL.number().to_string())]);
                self.end_at_once(&definition)?;
            }
            _ => {}
        }
        match self.take_away(&definition, options.volumes) {
            // The start that a killed command had asked for was done only now.
            Err(ContainerError::Monitor(error))
                if options.force && matches!(*error, ClientError::Refused(Refusal::Running)) =>
            {
                self.end_at_once(&definition)?;
                self.take_away(&definition, options.volumes)?;
            }
            taken => taken?,
        }
        Ok(definition.id)
    }

    /// Removes what a container is, after its program has ended; the caller holds its lock in the store.
    pub(super) fn take_away(&self, definition: &Definition, volumes: bool) -> Result<(), ContainerError> {
        let store = &self.parts.store;
        let takeover = self.take_over(definition)?;
        let networks = self.disconnect(definition);
        let is_passing = definition.host.removal == Removal::Auto;
        // On a full disk even a row cannot be deleted without room, and what goes may be what fills it.
        if rbuild_store::space::free(store.layout().root())? < store.reserve().size() {
            store.reserve().release()?;
        }
        self.note_volumes_stay(definition, volumes || is_passing)?;
        self.release_volumes(definition);
        let delete = |transaction: &rusqlite::Transaction<'_>| rows::delete(transaction, definition.id);
        if is_passing {
            store.write(delete)?
        } else {
            store.write_synced(delete)?
        };
        crash::point("container.row-gone");
        if volumes || is_passing {
            self.drop_anonymous_volumes(definition);
        }
        let discarded = store.discard(&self.folder(definition.id));
        crash::point("container.folder-gone");
        let cleared = takeover.removed();
        self.tell(definition, "destroy", &[]);
        let _ = store.empty_trash();
        // What does not fit yet is reserved by a later command.
        let _ = store.reserve().restore();
        networks?;
        discarded?;
        cleared
    }

    /// Says in the container's folder whether its anonymous volumes stay, for whoever finds it without a row.
    fn note_volumes_stay(&self, definition: &Definition, go: bool) -> Result<(), ContainerError> {
        let has = |mount: &MountUse| matches!(mount.what, MountWhat::Volume { anonymous: true, .. });
        if !definition.host.mounts.iter().any(has) {
            return Ok(());
        }
        let (folder, precious) = (self.folder(definition.id), self.parts.store.precious());
        if !folder.is_dir() {
            return Ok(());
        }
        if go {
            // Somebody may have begun to remove it otherwise.
            return Ok(precious.remove(&folder.join(VOLUMES_STAY))?);
        }
        Ok(precious.replace(&folder, VOLUMES_STAY, b"", rbuild_store::Access::Private)?)
    }

    /// Makes sure that nobody who has ended keeps a name from a new container.
    pub(super) fn make_room(&self, name: &ContainerName) -> Result<(), ContainerError> {
        let store = &self.parts.store;
        let Some(holder) = store.read(|transaction| rows::holder_of(transaction, name))? else {
            return Ok(());
        };
        let taken = || ContainerError::NameTaken { name: name.to_string(), holder };
        let definition = self.find(&holder.to_string())?;
        if !is_gone(&definition, &self.observe(&definition)?.state) {
            return Err(taken());
        }
        // Its output may still be read; its name is free all the same.
        store.write(|transaction| rows::free_name(transaction, holder))?;
        Ok(())
    }

    /// Removes all containers that do not run and fit; goes on past those that cannot be removed.
    pub fn prune(&self, filters: Vec<Filter>) -> Result<(Pruned, Vec<ContainerError>), ContainerError> {
        let listing = self.listing(&ListRequest { all: true, last: None, filters, sizes: true })?;
        let mut pruned = Pruned::default();
        let mut failures = listing.damaged;
        for one in listing.containers {
            if !matches!(one.observed.state, State::Created { .. } | State::Exited(_) | State::Dead { .. }) {
                continue;
            }
            match self.remove(&one.definition.id.to_string(), RemoveOptions::default()) {
                Ok(id) => {
                    pruned.removed.push(id);
                    pruned.bytes += one.size.map_or(0, |(writes, _)| writes);
                }
                // It was started or removed meanwhile.
                Err(ContainerError::State(_) | ContainerError::NotFound(_)) => {}
                Err(error) => failures.push(error),
            }
        }
        let reclaimed = [("reclaimed".to_owned(), pruned.bytes.to_string())].into();
        self.tell_of("container", "prune", "", &reclaimed);
        Ok((pruned, failures))
    }

    /// Removes the volumes that were made for a container and that no other has.
    pub(super) fn drop_anonymous_volumes(&self, definition: &Definition) {
        for mount in &definition.host.mounts {
            if let MountWhat::Volume { name, anonymous: true, .. } = &mount.what
                && self.users(name).is_ok_and(|users| users.is_empty())
            {
                // A volume that cannot be removed now is unused, and goes with the next prune.
                let _ = self.drop_volume(name);
            }
        }
    }

    /// Gives a container another name.
    pub fn rename(&self, text: &str, name: &str) -> Result<(), ContainerError> {
        if name.is_empty() || text.is_empty() {
            return Err(ContainerError::Invalid("Neither old nor new names may be empty".to_owned()));
        }
        let name = ContainerName::new(name)?;
        let scope = self.parts.store.locks().scope();
        let _held = self.hold(&scope, self.find(text)?.id)?;
        let mut definition = self.find(text)?;
        if definition.name == name {
            return Err(ContainerError::Invalid(
                "Renaming a container with the same name as its current name".to_owned(),
            ));
        }
        self.make_room(&name)?;
        let old = std::mem::replace(&mut definition.name, name);
        self.rewrite(&definition).map_err(|error| match error {
            ContainerError::Database(_) => match self.make_room(&definition.name) {
                Err(taken @ ContainerError::NameTaken { .. }) => taken,
                _ => error,
            },
            error => error,
        })?;
        self.renamed(&definition)?;
        self.tell(&definition, "rename", &[("oldName", format!("/{old}"))]);
        Ok(())
    }
}

//! The volumes of containers: made with them, seen by them, gone with them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_confined::Root;
use rbuild_model::container::{Begins, ContainerId, Definition, MountUse, MountWhat};
use rbuild_model::volume::{ANONYMOUS_LABEL, VolumeName};
use rbuild_sandbox::MountSource;
use rbuild_store::Store;

use super::error::ContainerError;
use crate::engine::Engine;
use crate::volumes::{Absence, Ownership, VolumeRequest, VolumeUsers, Volumes, VolumesError};

/// A volume that a container wants; it may be there already.
#[derive(Clone, Debug)]
pub(super) struct VolumeWish {
    pub(super) name: VolumeName,
    /// Whether it goes with the container.
    pub(super) anonymous: bool,
    pub(super) driver: String,
    pub(super) options: BTreeMap<String, String>,
    pub(super) labels: BTreeMap<String, String>,
}

impl VolumeWish {
    /// A volume that goes with the container.
    pub(super) fn anonymous(name: VolumeName) -> Self {
        let (driver, options, labels) = Default::default();
        Self { name, anonymous: true, driver, options, labels }
    }
}

impl Engine {
    /// Returns the volumes of the store.
    pub fn volumes(&self) -> Volumes {
        Volumes::new(&self.parts.store)
    }

    /// Makes a volume, unless it is there.
    pub(super) fn note_volume(&self, wish: &VolumeWish) -> Result<(), ContainerError> {
        let VolumeWish { name, anonymous, driver, options, mut labels } = wish.clone();
        if anonymous {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        self.volumes().create(&VolumeRequest { name: Some(name.to_string()), driver, options, labels })?;
        Ok(())
    }

    /// Fills a volume of a container if it is empty.
    pub(super) fn fill_volume(
        &self,
        name: &VolumeName,
        begins: Begins,
        image: &Root,
        target: &str,
    ) -> Result<(), ContainerError> {
        let volumes = self.volumes();
        Ok(volumes.fill(&volumes.find(name.as_str())?, image, target, begins)?)
    }

    /// Has a volume ready and returns what is mounted of it, with its driver.
    pub(super) fn volume_source(
        &self,
        name: &VolumeName,
        subpath: Option<&str>,
    ) -> Result<(MountSource, String), ContainerError> {
        let volumes = self.volumes();
        let volume = volumes.find(name.as_str())?;
        Ok((volumes.source(&volume, subpath)?, volume.driver))
    }

    /// Returns where a volume is seen on the host.
    pub(super) fn volume_folder(&self, name: &VolumeName) -> PathBuf {
        self.volume_place(name).0
    }

    /// Returns where a volume is seen on the host, and who keeps it.
    pub(super) fn volume_place(&self, name: &VolumeName) -> (PathBuf, String) {
        let volumes = self.volumes();
        let found = volumes.find(name.as_str());
        let found = found.and_then(|volume| Ok((volumes.mountpoint(&volume)?, volume.driver)));
        // One that was removed by force is seen nowhere.
        found.unwrap_or_default()
    }

    /// Gives back what only use needs of the volumes of a container that does not run, where no other uses them. The
    /// caller holds the container's lock in the store.
    pub(super) fn release_volumes(&self, definition: &Definition) {
        for mount in &definition.host.mounts {
            if let MountWhat::Volume { name, .. } = &mount.what {
                // What cannot be given back now is when the next one ends, or with the volume.
                let _ = self.release_volume(name, definition.id);
            }
        }
    }

    /// Does so for a container that nobody holds. One that somebody changes may be about to start.
    pub(super) fn release_volumes_of(&self, definition: &Definition) {
        let is_volume = |mount: &MountUse| matches!(mount.what, MountWhat::Volume { .. });
        if definition.host.mounts.iter().any(is_volume)
            && let Ok(Some(_held)) = self.try_hold(definition.id)
            && !self.may_run(definition.id)
        {
            self.release_volumes(definition);
        }
    }

    /// Whether a container has volumes that are mounted only while they are used.
    pub(super) fn has_lent_volumes(&self, definition: &Definition) -> bool {
        let volumes = self.volumes();
        definition.host.mounts.iter().any(|mount| {
            let MountWhat::Volume { name, .. } = &mount.what else { return false };
            let found = volumes.find(name.as_str());
            found.and_then(|volume| volumes.holds_bytes(&volume)).is_ok_and(|of| of == Ownership::Elsewhere)
        })
    }

    fn release_volume(&self, name: &VolumeName, own: ContainerId) -> Result<(), ContainerError> {
        let volumes = self.volumes();
        let volume = volumes.find(name.as_str())?;
        if volumes.holds_bytes(&volume)? == Ownership::Store {
            return Ok(());
        }
        let users = self.parts.store.read(|tables| super::rows::volume_users(tables, name.as_str()))?;
        let mut held = Vec::new();
        for user in users.into_iter().filter(|user| *user != own) {
            match self.try_hold(user)? {
                Some(lock) if !self.may_run(user) => held.push(lock),
                _ => return Ok(()),
            }
        }
        Ok(volumes.release(&volume)?)
    }

    /// Removes a volume that no container has.
    pub(super) fn drop_volume(&self, name: &VolumeName) -> Result<(), ContainerError> {
        Ok(self.volumes().remove(name.as_str(), &RowsOf(&self.parts.store), Absence::Fine)?)
    }
}

/// Who has volumes, as the rows say.
pub(super) struct RowsOf<'a>(pub(super) &'a Store);

impl VolumeUsers for RowsOf<'_> {
    fn users(&self, volume: &VolumeName) -> Result<Vec<String>, VolumesError> {
        let users = self.0.read(|tables| super::rows::volume_users(tables, volume.as_str()))?;
        Ok(users.iter().map(ToString::to_string).collect())
    }
}

/// Containers keep the volumes that they have.
impl VolumeUsers for Engine {
    fn users(&self, volume: &VolumeName) -> Result<Vec<String>, VolumesError> {
        RowsOf(&self.parts.store).users(volume)
    }

    fn forget_gone(&self) {
        // One that cannot be removed now is a user, and is named as one.
        let _ = self.reap_all_left();
    }
}

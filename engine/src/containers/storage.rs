//! The volumes of containers: made with them, seen by them, gone with them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rbuild_confined::Root;
use rbuild_model::container::Begins;
use rbuild_model::volume::{ANONYMOUS_LABEL, VolumeName};
use rbuild_sandbox::MountSource;

use super::error::ContainerError;
use crate::engine::Engine;
use crate::volumes::{Absence, VolumeRequest, VolumeUsers, Volumes, VolumesError};

impl Engine {
    /// Returns the volumes of the store.
    pub fn volumes(&self) -> Volumes {
        Volumes::new(&self.parts.store)
    }

    /// Makes a volume, unless it is there.
    pub(super) fn note_volume(
        &self,
        name: &VolumeName,
        anonymous: bool,
        driver: Option<&str>,
        options: &BTreeMap<String, String>,
        labels: &BTreeMap<String, String>,
    ) -> Result<(), ContainerError> {
        let mut labels = labels.clone();
        if anonymous {
            labels.insert(ANONYMOUS_LABEL.to_owned(), String::new());
        }
        self.volumes().create(&VolumeRequest {
            name: Some(name.to_string()),
            driver: driver.unwrap_or_default().to_owned(),
            options: options.clone(),
            labels,
        })?;
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

    /// Has a volume ready and returns what is mounted of it.
    pub(super) fn volume_source(
        &self,
        name: &VolumeName,
        subpath: Option<&str>,
    ) -> Result<MountSource, ContainerError> {
        let volumes = self.volumes();
        Ok(volumes.source(&volumes.find(name.as_str())?, subpath)?)
    }

    /// Returns where a volume is seen on the host.
    pub(super) fn volume_folder(&self, name: &VolumeName) -> PathBuf {
        let volumes = self.volumes();
        let found = volumes.find(name.as_str()).and_then(|definition| volumes.mountpoint(&definition));
        // One that was removed by force is seen nowhere.
        found.unwrap_or_default()
    }

    /// Removes a volume that no container has.
    pub(super) fn drop_volume(&self, name: &VolumeName) -> Result<(), ContainerError> {
        Ok(self.volumes().remove(name.as_str(), self, Absence::Fine)?)
    }
}

/// Containers keep the volumes that they have.
impl VolumeUsers for Engine {
    fn users(&self, volume: &VolumeName) -> Result<Vec<String>, VolumesError> {
        let users =
            self.parts.store.read(|transaction| super::rows::volume_users(transaction, volume.as_str()))?;
        Ok(users.iter().map(ToString::to_string).collect())
    }
}

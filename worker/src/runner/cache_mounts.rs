//! The folders of cache mounts: protected while they are used, filled from caches elsewhere, counted.

use std::path::{Path, PathBuf};

use rbuild_cache::mounts::{MountUse, Mounts};
use rbuild_store::{FileError, Room};

use super::Runner;
use crate::caches;
use crate::error::StepError;

impl Runner<'_> {
    /// Protects folders of cache mounts for the life of this process, and remembers their use.
    pub(crate) fn open_caches(&self, uses: &[MountUse]) -> Result<(), StepError> {
        Ok(Mounts::new(&self.parts.worker.store).open(uses, self.parts.worker.lease()?)?)
    }

    /// Returns the folder of a cache mount.
    pub(crate) fn cache_folder(&self, name: &str) -> PathBuf {
        self.parts.worker.store.layout().mounts().join(name)
    }

    /// Fills the folder that is to be a cache mount with what a cache elsewhere has of it. Where that fails, the mount
    /// begins empty. Returns the room that is reserved for what came, until [`count_mount`](Self::count_mount).
    pub(crate) fn restore_mount(&self, folder: &Path, fresh: &Path) -> Result<Option<Room>, StepError> {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
        let error = match caches::restore(self.parts.imports, name, fresh, self.store(), self.parts.cancel) {
            Ok(room) => return Ok(room),
            Err(error) => error,
        };
        self.note(&format!("a cache mount begins empty: {}", caches::told(&error)));
        let failed = |act| move |error: std::io::Error| FileError::new(act, fresh, error);
        std::fs::remove_dir_all(fresh).map_err(failed("clean"))?;
        std::fs::create_dir_all(fresh).map_err(failed("make"))?;
        Ok(None)
    }

    /// Counts a cache mount that came from elsewhere, now that it has its place.
    pub(crate) fn count_mount(&self, folder: &Path) -> Result<(), StepError> {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
        Ok(Mounts::new(self.store()).count(name)?)
    }
}

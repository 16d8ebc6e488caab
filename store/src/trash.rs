//! Getting rid of things: out of sight at once, off the disk later.
//!
//! Removing a tree takes long, so it is never done under a lock: [`Store::discard`] renames the thing into `trash`,
//! which is atomic, and [`Store::empty_trash`] unlinks what lies there, following no link and crossing no mount.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use rustix::io::Errno;

use crate::Store;
use crate::crash;
use crate::database::DatabaseError;
use crate::durable::open_folder;
use crate::error::{Context, FileError};
use crate::id::UniqueId;
use crate::lock::{LockClass, LockError, LockMode, LockName};

/// What emptying the trash did.
#[derive(Debug, Default)]
pub struct Emptied {
    /// The things that are gone.
    pub removed: usize,
    /// The things that could not be removed; they stay for the next time.
    pub failures: Vec<FileError>,
}

/// Why a store was not made small.
#[derive(Debug, thiserror::Error)]
pub enum ShrinkError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The lock of the trash failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl Store {
    /// Moves a file or tree of this store into the trash; tells whether it was there. Repeatable.
    pub fn discard(&self, path: &Path) -> Result<bool, FileError> {
        self.put_away(path, &self.layout().trash())
    }

    /// Moves a file or tree that failed verification aside, so that it can be made again and looked at.
    pub fn quarantine(&self, path: &Path) -> Result<bool, FileError> {
        self.put_away(path, &self.layout().bad())
    }

    fn put_away(&self, path: &Path, folder: &Path) -> Result<bool, FileError> {
        let target = folder.join(UniqueId::random()?.to_string());
        match rustix::fs::rename(path, &target) {
            Ok(()) => {
                crash::point("trash.renamed");
                Ok(true)
            }
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(FileError::new("move aside", path, error)),
        }
    }

    /// Makes a store small in which little is left: what failed verification goes, the database gives its room back,
    /// and so does the reserve, which is taken again with the next promotion.
    pub fn shrink(&self) -> Result<(), ShrinkError> {
        let folder = self.layout().bad();
        for entry in fs::read_dir(&folder).at("list", &folder)? {
            self.discard(&entry.at("list", &folder)?.path())?;
        }
        self.empty_trash()?;
        self.database().compact()?;
        if self.is_bare()? {
            self.reserve().release()?;
        }
        Ok(())
    }

    /// Whether no blob and no snapshot is here: then there is nothing that a full disk could keep from being freed.
    pub fn is_bare(&self) -> Result<bool, FileError> {
        let is_empty = |folder: &Path| -> Result<bool, FileError> {
            for entry in fs::read_dir(folder).at("list", folder)? {
                // What a snapshotter keeps for itself has another kind of name.
                let name = entry.at("list", folder)?.file_name();
                if name.to_str().is_some_and(|name| name.len() >= 32) {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let snapshots = self.layout().root().join("snapshots");
        for entry in fs::read_dir(&snapshots).at("list", &snapshots)? {
            if !is_empty(&entry.at("list", &snapshots)?.path())? {
                return Ok(false);
            }
        }
        is_empty(&self.layout().blobs())
    }

    /// Tells whether there is anything to unlink.
    pub fn has_trash(&self) -> Result<bool, FileError> {
        let folder = self.layout().trash();
        Ok(fs::read_dir(&folder).at("list", &folder)?.next().is_some())
    }

    /// Unlinks what lies in the trash, unless another process is at it, which goes on until nothing is left.
    ///
    /// It goes on past what cannot be removed, and reports all of it.
    pub fn empty_trash(&self) -> Result<Emptied, LockError> {
        let name = LockName::new(LockClass::Upkeep, "trash");
        let folder = self.layout().trash();
        let mut emptied = Emptied::default();
        let mut stuck = BTreeSet::new();
        // Who threw something away while this one had the lock leaves it to this one, so it is looked at without the lock.
        loop {
            let mut entries = fs::read_dir(&folder).at("list", &folder)?;
            let is_new = |entry: io::Result<fs::DirEntry>| {
                entry.is_ok_and(|entry| !stuck.contains(&entry.file_name()))
            };
            if !entries.any(is_new) {
                return Ok(emptied);
            }
            let Some(_lock) = self.locks().scope().try_acquire(&name, LockMode::Exclusive)? else {
                return Ok(emptied);
            };
            let handle = open_folder(&folder)?;
            for entry in fs::read_dir(&folder).at("list", &folder)? {
                let name = entry.at("list", &folder)?.file_name();
                if stuck.contains(&name) {
                    continue;
                }
                match rbuild_confined::remove_tree(&handle, &name) {
                    Ok(()) => emptied.removed += 1,
                    Err(error) => {
                        let path = folder.join(&name);
                        emptied.failures.push(FileError::new("remove", path, io::Error::other(error)));
                        stuck.insert(name);
                    }
                }
                crash::point("trash.removed");
            }
        }
    }
}

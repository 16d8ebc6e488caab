//! Locks on files of the runtime folder.
//!
//! A lock is an exclusive `flock` on a file of its own. After the lock is taken the file is compared with what the
//! path names now, because the one who held it before may have removed it together with what it guards.
//!
//! Order, outermost first: `host.lock`, a network's lock, the packet filter's lock.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::error::FileError;

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    /// Waits for the lock and takes it, making the file if there is none.
    pub(crate) fn take(path: &Path) -> Result<Self, FileError> {
        let taken = Self::acquire(path, FlockOperation::LockExclusive)?;
        Ok(taken.expect("who waits for a lock gets it"))
    }

    /// As [`Lock::take`], but takes nothing if somebody else has it.
    pub(crate) fn attempt(path: &Path) -> Result<Option<Self>, FileError> {
        Self::acquire(path, FlockOperation::NonBlockingLockExclusive)
    }

    /// Whether somebody has the lock. Who looks at it so keeps none of the others who only look from it.
    pub(crate) fn is_held(path: &Path) -> Result<bool, FileError> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file.map_err(|source| FileError::new("open the lock", path, source))?,
        };
        match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared)) {
            Ok(()) => Ok(false),
            Err(Errno::WOULDBLOCK) => Ok(true),
            Err(source) => Err(FileError::new("look at the lock", path, source.into())),
        }
    }

    fn acquire(path: &Path, operation: FlockOperation) -> Result<Option<Self>, FileError> {
        loop {
            let file = OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .mode(0o600)
                .open(path)
                .map_err(|source| FileError::new("open the lock", path, source))?;
            match rustix::io::retry_on_intr(|| rustix::fs::flock(&file, operation)) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => return Ok(None),
                Err(source) => return Err(FileError::new("take the lock", path, source.into())),
            }
            if same_file(&file, path).map_err(|source| FileError::new("look at the lock", path, source))? {
                return Ok(Some(Self { _file: file, path: path.to_owned() }));
            }
        }
    }

    /// Removes the lock's file and lets go.
    pub(crate) fn remove(self) -> Result<(), FileError> {
        fs::remove_file(&self.path).map_err(|source| FileError::new("remove the lock", &self.path, source))
    }
}

fn same_file(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok((held.dev(), held.ino()) == (named.dev(), named.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

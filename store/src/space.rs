//! Room on the disk: how much is free, and the reserve that keeps a full store repairable.
//!
//! The root holds a preallocated file, `reserve`. When the disk is full it is given up, so that the database can
//! still write the rows that free space; [`Reserve::restore`] takes it again once there is room.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Context, FileError};

/// A byte count as people read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = 0;
        while value >= 1023.95 && unit + 1 < UNITS.len() {
            value /= 1024.0;
            unit += 1;
        }
        write!(f, "{value:.1} {}", UNITS[unit])
    }
}

/// Returns the bytes an unprivileged writer may still use on the file system of `path`.
pub fn free(path: &Path) -> Result<Bytes, FileError> {
    let stat = rustix::fs::statvfs(path).at("stat the file system of", path)?;
    Ok(Bytes(stat.f_bavail.saturating_mul(stat.f_frsize)))
}

/// A reserve is no more than this share of its file system: on a small one it would never be had, or leave no room.
const SHARE: u64 = 8;

/// As [`free`], for a path that may not exist: its nearest existing ancestor answers.
pub(crate) fn free_near(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|ancestor| free(ancestor).ok()).map(|bytes| bytes.0)
}

/// The preallocated file that is given up when the disk is full.
#[derive(Debug, Clone)]
pub struct Reserve {
    path: PathBuf,
    size: u64,
}

impl Reserve {
    pub(crate) fn new(path: PathBuf, size: u64) -> Self {
        Self { path, size }
    }

    /// Returns how many bytes are to be reserved: what is wanted, or less on a small file system.
    pub fn size(&self) -> Bytes {
        let all = |folder: &Path| rustix::fs::statvfs(folder).ok().map(|stat| stat.f_blocks * stat.f_frsize);
        let most = self.path.parent().and_then(all).map_or(u64::MAX, |all| all / SHARE);
        Bytes(self.size.min(most))
    }

    /// Gives the reserved bytes back to the file system. Repeatable.
    pub fn release(&self) -> Result<(), FileError> {
        match rustix::fs::unlink(&self.path) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(error) => Err(FileError::new("remove", &self.path, error)),
        }
    }

    /// Takes the reserve again if it is missing and the disk holds at least twice as much; tells whether it is held.
    pub fn restore(&self) -> Result<bool, FileError> {
        if self.size == 0 || self.path.exists() {
            return Ok(self.size != 0);
        }
        let folder = self.path.parent().expect("the reserve lies in the root");
        let size = self.size().0;
        if size == 0 || free(folder)?.0 < size.saturating_mul(2) {
            return Ok(false);
        }
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = match rustix::fs::open(&self.path, flags, Mode::RUSR | Mode::WUSR) {
            Err(Errno::EXIST) => return Ok(true),
            opened => opened.at("create", &self.path)?,
        };
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, size) {
            Ok(()) => Ok(true),
            // A file system without preallocation cannot promise room; an empty reserve would only pretend to.
            Err(Errno::OPNOTSUPP | Errno::NOSPC | Errno::DQUOT) => {
                self.release()?;
                Ok(false)
            }
            Err(error) => {
                self.release()?;
                Err(FileError::new("preallocate", &self.path, error))
            }
        }
    }

    /// Tells whether the reserve is on the disk.
    pub fn is_held(&self) -> bool {
        self.path.exists()
    }

    /// Tells whether the reserve is held, or none is wanted.
    pub(crate) fn restore_not_needed(&self) -> bool {
        self.size == 0 || self.is_held()
    }
}

//! Making directories inside a tree.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Gid, Mode, OFlags, Timespec, Timestamps, UTIME_OMIT, Uid};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::metadata::{Metadata, Owner, Time};
use crate::resolve::{self, Last, Maker};
use crate::root::{Mounts, Root};

/// How a missing directory is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewDir {
    /// Its permission bits, whatever the umask is.
    pub mode: u32,
    /// Its owner; without one it belongs to this process.
    pub owner: Option<Owner>,
    /// Its time, set before anything is made inside it; without one it is now.
    pub mtime: Option<Time>,
}

impl Default for NewDir {
    fn default() -> Self {
        Self { mode: 0o755, owner: None, mtime: None }
    }
}

/// A directory that [`Root::mkdir_all`] had to make.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Created {
    /// Where it is, free of links and dots, relative to the root.
    pub path: PathBuf,
    /// The device it lies on, so that a later removal can tell whether it is still the same.
    pub dev: u64,
    /// Its inode number.
    pub ino: u64,
}

/// What [`Root::mkdir_all`] found or made.
#[derive(Debug)]
pub struct Made {
    /// The directory.
    pub dir: Handle,
    /// What was made on the way, parents first.
    pub created: Vec<Created>,
}

impl Root {
    /// Makes the directory `path` and its missing parents, and returns it.
    ///
    /// Links are followed inside the tree, the last component's too; the missing target of a dangling link is made.
    /// An existing directory is left as it is. A file in the way is `ENOTDIR`.
    pub fn mkdir_all(&self, path: impl AsRef<Path>, new: NewDir) -> Result<Made> {
        let path = path.as_ref();
        match self.resolve(path) {
            Ok(dir) if dir.metadata()?.is_dir() => return Ok(Made { dir, created: Vec::new() }),
            Ok(_) => return Err(Error::io("make directory", path, Errno::NOTDIR)),
            Err(error) if error.is_not_found() => {}
            Err(error) => return Err(error),
        }
        let mut maker = DirMaker { new, created: Vec::new() };
        let found = resolve::walk(self.as_fd(), path, Last::Follow, Mounts::Cross, Some(&mut maker))
            .map_err(|errno| Error::io("make directory", path, errno))?;
        let dir = Handle::new(found.fd, path.to_owned());
        if !dir.metadata()?.is_dir() {
            return Err(Error::io("make directory", path, Errno::NOTDIR));
        }
        Ok(Made { dir, created: maker.created })
    }
}

struct DirMaker {
    new: NewDir,
    created: Vec<Created>,
}

impl Maker for DirMaker {
    fn make(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> std::result::Result<(), Errno> {
        rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o700))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(parent, name, flags, Mode::empty())?;
        if let Some(Owner { uid, gid }) = self.new.owner {
            rustix::fs::fchown(&fd, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        rustix::fs::fchmod(&fd, Mode::from_raw_mode(self.new.mode & 0o7777))?;
        if let Some(time) = self.new.mtime {
            let omit = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
            rustix::fs::futimens(&fd, &Timestamps { last_access: omit, last_modification: time.timespec() })?;
        }
        let stat = Metadata::from_stat(&rustix::fs::fstat(&fd)?);
        self.created.push(Created { path: path.to_owned(), dev: stat.dev, ino: stat.ino });
        Ok(())
    }
}

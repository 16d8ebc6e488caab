//! Removal of mount points that were made only to mount something on them.
//!
//! A build step's layer must not show them. Only what is still the very file that was made, and still empty, goes;
//! the times of the folder around it stay as the step left them.

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;

use crate::mounts::retry_again;
use crate::running::WaitError;
use crate::script::Stub;

/// Removes stubs, the last made first, so that folders are empty when their turn comes.
pub(crate) fn remove(root: BorrowedFd<'_>, stubs: &[Stub]) -> Result<(), WaitError> {
    let mut first = Ok(());
    for stub in stubs.iter().rev() {
        if let Err(errno) = remove_one(root, stub) {
            let error = WaitError::Stub { path: stub.path.clone(), source: errno.into() };
            first = first.and(Err(error));
        }
    }
    first
}

fn remove_one(root: BorrowedFd<'_>, stub: &Stub) -> Result<(), Errno> {
    let (folder, name) = stub.path.rsplit_once('/').unwrap_or((".", &stub.path));
    let parent = match open_folder(root, folder) {
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(()),
        result => result?,
    };
    let stat = match rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(()),
        result => result?,
    };
    let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    let same = (stat.st_dev, stat.st_ino, directory) == (stub.device, stub.inode, stub.directory);
    if !same || !directory && stat.st_size != 0 {
        return Ok(());
    }
    let before = rustix::fs::fstat(&parent)?;
    let flags = if directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match rustix::fs::unlinkat(&parent, name, flags) {
        // The step put something into it: it stays.
        Err(Errno::NOTEMPTY | Errno::EXIST) => return Ok(()),
        result => result?,
    }
    let times = Timestamps {
        last_access: Timespec { tv_sec: before.st_atime as _, tv_nsec: before.st_atime_nsec as _ },
        last_modification: Timespec { tv_sec: before.st_mtime as _, tv_nsec: before.st_mtime_nsec as _ },
    };
    rustix::fs::futimens(&parent, &times)
}

fn open_folder(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    retry_again(|| rustix::fs::openat2(root, path, flags, Mode::empty(), resolve))
}

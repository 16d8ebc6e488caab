//! Deleting trees by descriptor.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, IFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::metadata::Kind;
use crate::mode::chmod_nofollow;
use crate::walk::{Step, Walk, open_subdir};

/// Removes the entry `name` of `dir` with everything below it; nothing there is success.
///
/// Several may remove the same tree at a time: what another one took is gone, which is what was wanted.
///
/// Links are removed, never followed. Depth is not limited. A mount below the tree ends the work with an error before
/// anything inside the mount is touched. Directories that this process may not read are opened up first, and the
/// immutable flag is taken off where it is in the way.
pub fn remove_tree(dir: impl AsFd, name: impl AsRef<OsStr>) -> Result<()> {
    let (dir, name) = (dir.as_fd(), name.as_ref());
    match unlink(dir, name, Kind::File) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(errno) => return Err(Error::io("remove", name, errno)),
    }
    let inside = match open_writable(dir, name) {
        Ok(inside) => inside,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(Error::io("remove", name, errno)),
    };
    // The check against the parent's mount keeps a mount on `name` itself from being emptied.
    let same = |a, b| Ok::<_, Errno>(crate::resolve::mount_of(a)? == crate::resolve::mount_of(b)?);
    if !same(dir, inside.as_fd()).map_err(|errno| Error::io("inspect", name, errno))? {
        return Err(Error::io("remove", name, Errno::XDEV));
    }
    empty(inside, Path::new(name))?;
    match unlink(dir, name, Kind::Directory) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(Error::io("remove", name, errno)),
    }
}

/// Removes everything in `dir` and keeps the directory itself.
pub fn remove_contents(dir: impl AsFd) -> Result<()> {
    let inside = open_subdir(dir.as_fd(), OsStr::new(".")).map_err(|errno| Error::io("open", ".", errno))?;
    empty(inside, Path::new("."))
}

fn empty(dir: OwnedFd, base: &Path) -> Result<()> {
    let mut walk = match Walk::within_mount(dir) {
        Err(error) if error.is_not_found() => return Ok(()),
        walk => walk?,
    };
    let failed = |walk: &Walk, errno: Errno| Error::io("remove", base.join(walk.path()), errno);
    while let Some(step) = walk.next()? {
        let name = walk.path().file_name().expect("every step has a name").to_owned();
        let kind = match step {
            Step::Leave => match unlink(walk.dir(), &name, Kind::Directory) {
                Ok(()) | Err(Errno::NOENT) => continue,
                Err(errno) => return Err(failed(&walk, errno)),
            },
            Step::Entry(entry) => entry.kind,
        };
        let result = match kind {
            Some(Kind::Directory) => Err(Errno::ISDIR),
            _ => unlink(walk.dir(), &name, Kind::File),
        };
        match result {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(Errno::ISDIR) => match open_writable(walk.dir(), &name) {
                Ok(inside) => match walk.enter_fd(inside) {
                    Err(error) if error.is_not_found() => {}
                    entered => entered?,
                },
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(failed(&walk, errno)),
            },
            Err(errno) => return Err(failed(&walk, errno)),
        }
    }
    Ok(())
}

/// Opens a directory so that its entries can be removed, whatever its mode and flags are.
fn open_writable(dir: BorrowedFd<'_>, name: &OsStr) -> std::result::Result<OwnedFd, Errno> {
    let fd = match open_subdir(dir, name) {
        Err(Errno::ACCESS) => {
            chmod_nofollow(dir, name, Kind::Directory, Mode::RWXU)?;
            open_subdir(dir, name)?
        }
        other => other?,
    };
    if !rustix::process::geteuid().is_root() {
        // A directory without write permission stops its owner, but not root.
        let _ = rustix::fs::fchmod(&fd, Mode::RWXU);
    }
    Ok(fd)
}

fn unlink(dir: BorrowedFd<'_>, name: &OsStr, kind: Kind) -> std::result::Result<(), Errno> {
    let flags = if kind == Kind::Directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
    match rustix::fs::unlinkat(dir, name, flags) {
        Err(Errno::PERM) if clear_immutable(dir, name) => rustix::fs::unlinkat(dir, name, flags),
        other => other,
    }
}

/// Takes the immutable and append-only flags off a file or directory and off its parent; says whether any was set.
fn clear_immutable(dir: BorrowedFd<'_>, name: &OsStr) -> bool {
    let stuck = IFlags::IMMUTABLE | IFlags::APPEND;
    let clear = |fd: &OwnedFd| match rustix::fs::ioctl_getflags(fd) {
        Ok(flags) if flags.intersects(stuck) => rustix::fs::ioctl_setflags(fd, flags - stuck).is_ok(),
        _ => false,
    };
    let parent = open_subdir(dir, OsStr::new("."));
    let parent_cleared = parent.is_ok_and(|fd| clear(&fd));
    let openable = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|stat| {
        let kind = rustix::fs::FileType::from_raw_mode(stat.st_mode);
        kind.is_file() || kind.is_dir()
    });
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let own = openable.then(|| rustix::fs::openat(dir, name, flags, Mode::empty()));
    matches!(own, Some(Ok(fd)) if clear(&fd)) || parent_cleared
}

//! The two ways to walk a path inside a root; see the crate's documentation for what they share.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags};
use rustix::io::Errno;

use crate::root::Mounts;

/// How often a walk that lost a race against a rename is begun again.
const RETRIES: usize = 128;
/// How many links one path may pass through, as in the kernel.
const MAX_LINKS: usize = 40;
/// The longest path, with its terminating NUL, as in the kernel.
const PATH_MAX: usize = 4096;

/// What happens to a link that is the last component.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Last {
    /// It is followed, inside the root.
    Follow,
    /// It is the object that was asked for.
    Keep,
}

/// Resolves with `openat2`.
pub(crate) fn kernel(
    root: BorrowedFd<'_>,
    path: &Path,
    last: Last,
    mounts: Mounts,
) -> Result<OwnedFd, Errno> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    let mut flags = OFlags::PATH | OFlags::CLOEXEC;
    if last == Last::Keep {
        flags |= OFlags::NOFOLLOW;
    }
    let mut resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    if mounts == Mounts::Refuse {
        resolve |= ResolveFlags::NO_XDEV;
    }
    for _ in 0..RETRIES {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

/// Whether `openat2` works here: a seccomp filter may answer `EPERM` for a call that it does not know.
pub(crate) fn kernel_can(root: BorrowedFd<'_>) -> bool {
    !matches!(
        kernel(root, Path::new("."), Last::Follow, Mounts::Cross),
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL)
    )
}

/// Makes what a walk finds missing.
pub(crate) trait Maker {
    /// Makes directory `name` in `parent`; `path` is where that is inside the root.
    fn make(&mut self, parent: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(), Errno>;
}

/// One directory that the walk came through.
struct Level {
    fd: OwnedFd,
    name: OsString,
}

/// What a walk ends with.
pub(crate) struct Found {
    pub(crate) fd: OwnedFd,
    /// Where the object is, free of links and dots, relative to the root.
    pub(crate) path: PathBuf,
}

/// Resolves component by component, and lets `maker` make missing directories.
pub(crate) fn walk(
    root: BorrowedFd<'_>,
    path: &Path,
    last: Last,
    mounts: Mounts,
    mut maker: Option<&mut dyn Maker>,
) -> Result<Found, Errno> {
    if path.as_os_str().len() >= PATH_MAX {
        return Err(Errno::NAMETOOLONG);
    }
    let home = match mounts {
        Mounts::Cross => None,
        Mounts::Refuse => Some(mount_of(root)?),
    };
    let mut todo: VecDeque<OsString> = VecDeque::new();
    let mut must_be_dir = push_front(&mut todo, path.as_os_str());
    let mut stack: Vec<Level> = Vec::new();
    let mut links = 0;
    while let Some(name) = todo.pop_front() {
        if name == ".." {
            stack.pop();
            continue;
        }
        let at = stack.last().map_or(root, |level| level.fd.as_fd());
        let fd = match open_component(at, &name) {
            Err(Errno::NOENT) if maker.is_some() => {
                let here = location(&stack, Some(&name));
                match maker.as_mut().expect("just looked").make(at, &name, &here) {
                    Ok(()) | Err(Errno::EXIST) => open_component(at, &name)?,
                    Err(errno) => return Err(errno),
                }
            }
            other => other?,
        };
        let stat = rustix::fs::fstat(&fd)?;
        if let Some(home) = home
            && mount_of(fd.as_fd())? != home
        {
            return Err(Errno::XDEV);
        }
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink if todo.is_empty() && !must_be_dir && last == Last::Keep => {
                let path = location(&stack, Some(&name));
                return Ok(Found { fd, path });
            }
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let target = rustix::fs::readlinkat(&fd, "", Vec::new())?.into_bytes();
                if target.is_empty() {
                    return Err(Errno::NOENT);
                }
                if target.first() == Some(&b'/') {
                    stack.clear();
                }
                let is_last = todo.is_empty();
                let dir = push_front(&mut todo, OsStr::from_bytes(&target));
                must_be_dir |= is_last && dir;
            }
            FileType::Directory => stack.push(Level { fd, name }),
            _ if todo.is_empty() && !must_be_dir => {
                let path = location(&stack, Some(&name));
                return Ok(Found { fd, path });
            }
            _ => return Err(Errno::NOTDIR),
        }
    }
    let path = location(&stack, None);
    let fd = match stack.pop() {
        Some(level) => level.fd,
        None => rustix::fs::openat(root, ".", PATH_DIR, Mode::empty())?,
    };
    Ok(Found { fd, path })
}

const PATH_DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

fn open_component(at: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(at, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
}

/// Puts the components of `path` before those that are left, and says whether the path demands a directory.
fn push_front(todo: &mut VecDeque<OsString>, path: &OsStr) -> bool {
    let bytes = path.as_bytes();
    let parts = bytes.split(|&byte| byte == b'/').filter(|part| !part.is_empty() && *part != b".");
    for part in parts.rev() {
        todo.push_front(OsString::from_vec(part.to_vec()));
    }
    matches!(bytes, [.., b'/'] | [.., b'/', b'.'] | [b'.'])
}

fn location(stack: &[Level], name: Option<&OsStr>) -> PathBuf {
    stack.iter().map(|level| level.name.as_os_str()).chain(name).collect()
}

/// Names the mount that `fd` lies on: the mount id where the kernel tells it, else the device.
pub(crate) fn mount_of(fd: BorrowedFd<'_>) -> Result<u64, Errno> {
    let stat = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
    if stat.stx_mask & StatxFlags::MNT_ID.bits() != 0 {
        return Ok(stat.stx_mnt_id);
    }
    Ok(u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor))
}

//! Where a tree comes from.

use std::fmt;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use rbuild_confined::{Kind, Root};
use rustix::fs::{Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;

use super::error::{Error, Result};
use super::filter::Filter;
use super::node::Name;

/// The longest path of a directory inside a tree, as in the kernel.
const PATH_MAX: usize = 4095;
/// How often an opening that raced with a rename is repeated.
const RETRIES: usize = 128;

/// A tree to select from.
pub struct TreeSource {
    pub(crate) root: Root,
    pub(crate) origin: Origin,
}

/// What is special about a tree.
pub(crate) enum Origin {
    /// A client's folder: owners count as 0:0, files may change at any time, an ignore file hides some.
    Client { filter: Option<Arc<dyn Filter>>, index: Option<PathBuf> },
    /// A snapshot: it does not change while it is looked at, and all of it counts.
    Snapshot,
}

impl TreeSource {
    /// Means a client's folder. Whatever is selected of it counts as from a client, even where a
    /// [`PathSource`](rbuild_model::step::PathSource) does not say so.
    pub fn client(root: Root) -> Self {
        Self { root, origin: Origin::Client { filter: None, index: None } }
    }

    /// Means a mounted or merged snapshot.
    pub fn snapshot(root: Root) -> Self {
        Self { root, origin: Origin::Snapshot }
    }

    /// Hides what an ignore file says. It has no meaning for snapshots.
    #[must_use]
    pub fn with_filter(mut self, ignore: Arc<dyn Filter>) -> Self {
        if let Origin::Client { filter, .. } = &mut self.origin {
            *filter = Some(ignore);
        }
        self
    }

    /// Names the file of the stat index, in a folder that exists. It has no meaning for snapshots.
    #[must_use]
    pub fn with_index(mut self, file: impl Into<PathBuf>) -> Self {
        if let Origin::Client { index, .. } = &mut self.origin {
            *index = Some(file.into());
        }
        self
    }
}

impl fmt::Debug for TreeSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = match &self.origin {
            Origin::Client { .. } => "client",
            Origin::Snapshot => "snapshot",
        };
        f.debug_struct("TreeSource").field("root", &self.root).field("origin", &origin).finish()
    }
}

/// Opens the directory at `path`, which holds no links; `None` if there is no directory any more.
pub(crate) fn open_dir(root: &Root, path: &[u8]) -> Result<Option<OwnedFd>> {
    if path.len() > PATH_MAX {
        let start = super::error::absolute(&path[..64]);
        return Err(Error::PathTooLong { start, limit: PATH_MAX });
    }
    match open_real(root, if path.is_empty() { b"." } else { path }) {
        Ok(fd) => Ok(Some(fd)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(Error::io("open", path, errno)),
    }
}

fn open_real(root: &Root, path: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RETRIES {
        match rustix::fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // No openat2 here, or a filter that does not know it: one component after the other means the same.
            Err(Errno::NOSYS | Errno::PERM) => break,
            other => return other,
        }
    }
    let mut dir = rustix::fs::openat(root.as_fd(), ".", flags, Mode::empty())?;
    for name in path.split(|&byte| byte == b'/').filter(|name| *name != b".") {
        dir = rustix::fs::openat(&dir, name, flags, Mode::empty())?;
    }
    Ok(dir)
}

/// Reads all names of a directory that was just opened, sorted by bytes, with their kinds where the file system tells.
pub(crate) fn read_names(dir: BorrowedFd<'_>) -> std::result::Result<Vec<(Name, Option<Kind>)>, Errno> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 32 * 1024];
    let mut all = Vec::new();
    let mut found: Vec<(Range<u32>, Option<Kind>)> = Vec::new();
    let mut raw = RawDir::new(dir, &mut buffer);
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let start = u32::try_from(all.len()).map_err(|_| Errno::OVERFLOW)?;
            all.extend_from_slice(name);
            let end = u32::try_from(all.len()).map_err(|_| Errno::OVERFLOW)?;
            found.push((start..end, Kind::from_file_type(entry.file_type())));
        }
    }
    let all: Arc<[u8]> = all.into();
    let mut names: Vec<_> =
        found.into_iter().map(|(range, kind)| (Name::within(&all, range), kind)).collect();
    names.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    Ok(names)
}

//! The merged view of a stack of layers, without a mount.
//!
//! A name is looked up in the layers from the top. A whiteout ends the search, anything but a directory ends it, and an
//! opaque directory is the last one of a merged directory. A directory of the merged view is therefore a path that is
//! free of links together with the layers that have a directory there; layers of which nothing is seen are out of the
//! list, and so are not asked again below.
//!
//! # Who may be asked by path
//! A stack with marks is of the store: its layers are immutable, and the one that is being written is nobody else's yet.
//! Below these, paths of several parts are given to the kernel as they are once each part is known to be a directory.
//! A plain tree, without marks, may be in use: a container may put a link in the place of any folder at any time. There
//! the folder is resolved within the tree, every time, and only the last name is given to the kernel.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_confined::{Error, Kind, Metadata, Result, Root, read_dir};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::xattr::{self, Marks};

/// A stack of layers, the topmost first.
#[derive(Debug)]
pub(crate) struct Merged {
    layers: Vec<Root>,
    /// Without marks there is at most one layer, a plain tree, and every name in it means itself.
    marks: Option<Marks>,
}

/// What a name means in the merged view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// Nothing.
    Absent,
    /// A directory, with the layers that contribute to it and the attributes of the topmost.
    Directory { layers: Vec<usize>, meta: Metadata },
    /// Anything else, with the layer that it lies in.
    Other { layer: usize, meta: Metadata },
}

/// Whether this is a whiteout of overlayfs.
pub(crate) fn is_whiteout(meta: &Metadata) -> bool {
    meta.kind == Kind::CharDevice && meta.rdev == 0
}

impl Merged {
    pub(crate) fn new(layers: Vec<Root>, marks: Option<Marks>) -> Self {
        Self { layers, marks }
    }

    /// Returns the layers that the root has: all.
    pub(crate) fn all(&self) -> Vec<usize> {
        (0..self.layers.len()).collect()
    }

    pub(crate) fn layer(&self, index: usize) -> BorrowedFd<'_> {
        self.layers[index].as_fd()
    }

    /// Looks `name` up in the directory `dir` to which `layers` contribute.
    pub(crate) fn lookup(&self, dir: &Path, layers: &[usize], name: &OsStr) -> Result<Found> {
        if layers.is_empty() {
            return Ok(Found::Absent);
        }
        let path = dir.join(name);
        let mut directory: Option<(Vec<usize>, Metadata)> = None;
        for (nth, &index) in layers.iter().enumerate() {
            let meta = match self.plain(index) {
                Some(tree) => tree.find_nofollow(dir)?.map_or(Ok(None), |folder| folder.entry(name))?,
                None => self.inspect(index, &path)?,
            };
            let Some(meta) = meta else { continue };
            if self.marks.is_some() && is_whiteout(&meta) {
                break;
            }
            if !meta.is_dir() {
                if directory.is_none() {
                    return Ok(Found::Other { layer: index, meta });
                }
                break;
            }
            directory.get_or_insert_with(|| (Vec::new(), meta)).0.push(index);
            let last = nth + 1 == layers.len();
            if !last && self.is_opaque(index, &path)? {
                break;
            }
        }
        Ok(match directory {
            Some((layers, meta)) => Found::Directory { layers, meta },
            None => Found::Absent,
        })
    }

    /// Returns the plain tree that this is, in which only folders that were just resolved may be asked.
    fn plain(&self, index: usize) -> Option<&Root> {
        self.marks.is_none().then(|| &self.layers[index])
    }

    fn inspect(&self, index: usize, path: &Path) -> Result<Option<Metadata>> {
        match rustix::fs::statat(self.layer(index), path, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Metadata::from_stat(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io("inspect", path, errno)),
        }
    }

    fn is_opaque(&self, index: usize, path: &Path) -> Result<bool> {
        let Some(marks) = self.marks else { return Ok(false) };
        let dir = self.open_dir(index, path)?;
        let value = xattr::get(&dir, marks.opaque).map_err(|errno| Error::io("inspect", path, errno))?;
        Ok(value.as_deref() == Some(b"y"))
    }

    fn open_dir(&self, index: usize, path: &Path) -> Result<OwnedFd> {
        if let Some(tree) = self.plain(index) {
            return tree.resolve_nofollow(path)?.open_dir();
        }
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.layer(index), path, flags, Mode::empty())
            .map_err(|errno| Error::io("open", path, errno))
    }

    /// Returns the names that are seen in the directory `dir` to which `layers` contribute.
    pub(crate) fn names(&self, dir: &Path, layers: &[usize]) -> Result<BTreeSet<OsString>> {
        let mut seen = BTreeSet::new();
        let mut hidden = BTreeSet::new();
        for &index in layers {
            let fd = self.open_dir(index, dir)?;
            for entry in read_dir(&fd).map_err(|errno| Error::io("read directory", dir, errno))? {
                if seen.contains(&entry.name) || hidden.contains(&entry.name) {
                    continue;
                }
                let device = matches!(entry.kind, None | Some(Kind::CharDevice));
                let whiteout = self.marks.is_some() && device && {
                    let stat = rustix::fs::statat(&fd, &entry.name, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(|errno| Error::io("inspect", dir.join(&entry.name), errno))?;
                    is_whiteout(&Metadata::from_stat(&stat))
                };
                if whiteout { &mut hidden } else { &mut seen }.insert(entry.name);
            }
        }
        Ok(seen)
    }

    /// Opens a regular file of a layer.
    pub(crate) fn open_file(&self, layer: usize, path: &Path) -> Result<OwnedFd> {
        if let Some(tree) = self.plain(layer) {
            return Ok(tree.resolve_nofollow(path)?.open_file()?.into());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        rustix::fs::openat(self.layer(layer), path, flags, Mode::empty())
            .map_err(|errno| Error::io("open", path, errno))
    }

    /// Reads a link of a layer.
    pub(crate) fn read_link(&self, layer: usize, path: &Path) -> Result<PathBuf> {
        use std::os::unix::ffi::OsStringExt;
        if let Some(tree) = self.plain(layer) {
            return tree.read_link(path);
        }
        let target = rustix::fs::readlinkat(self.layer(layer), path, Vec::new())
            .map_err(|errno| Error::io("read link", path, errno))?;
        Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
    }
}

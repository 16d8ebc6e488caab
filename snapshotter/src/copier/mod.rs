//! Trees into trees, as COPY does.
//!
//! The copier takes a source that somebody else has chosen (patterns and destinations are the worker's) and a directory
//! to put it into, and decides how the two merge:
//!
//! | source | at the destination | result |
//! |---|---|---|
//! | directory | nothing | a directory with the source's attributes |
//! | directory | directory | merged; it gets the source's attributes |
//! | directory | anything else, a link too | error `cannot copy to non-directory` |
//! | anything else | directory | error `cannot replace to directory` |
//! | anything else | anything else | replaced: other names of the old file keep it |
//!
//! The directory that [`Copier::copy_dir`] copies *into* keeps its mode and owner and gets the source's time. Hard links
//! among the files of one call are kept. Links inside a directory are copied as they are.
//!
//! # Into the folder of an overlay
//! The destination may be the upper folder of a layer that is being written, with nothing mounted: then the merged tree
//! [`Below`] says what the layers below have at the destination, so that merging follows the same table. A file that
//! hides one of a lower layer, and a directory that merges with one, need no mark of overlayfs; nothing is ever removed.
//! To write so costs half of what it costs through the mount.
//!
//! # Threads
//! One thread walks, decides and makes directories; files are copied by as many as there are processors, which is what
//! a tree of small files gains most from. A directory gets its attributes when the last of its files is there.
//!
//! A small file takes open, stat, copy, the changes of owner and mode that are needed, time, and two closes. With a
//! [`Watch`] the bytes pass through memory once, for whoever hashes them: what was hashed is what was written.

mod crew;
mod data;
mod hand;
mod links;
mod tree;

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rbuild_confined::{Error as TreeError, Handle, Kind, Metadata, Owner, Root, Time};

use self::hand::{Hand, Place};
use crate::error::Error;

/// A copy failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// Work on files failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// A directory would have to become a file.
    #[error("cannot replace to directory {} with file", path.display())]
    OntoDirectory {
        /// The place, relative to the destination.
        path: PathBuf,
    },
    /// A file would have to become a directory.
    #[error("cannot copy to non-directory: {}", path.display())]
    OntoFile {
        /// The place, relative to the destination.
        path: PathBuf,
    },
    /// A file grew or shrank while it was copied.
    #[error("`{}` changed while it was copied", path.display())]
    Changed {
        /// The file, relative to the source.
        path: PathBuf,
    },
    /// The one who asked for the copy wants it no more.
    #[error("stopped")]
    Stopped,
    /// An owner does not exist in this user namespace.
    #[error("`{}` cannot belong to {}:{}, which this user namespace does not map", path.display(), owner.uid, owner.gid)]
    Unmapped {
        /// The place, relative to the destination.
        path: PathBuf,
        /// The owner.
        owner: Owner,
    },
    /// Whose a file is cannot be told in this user namespace.
    #[error("`{}` belongs to somebody whom this user namespace does not map", path.display())]
    Foreign {
        /// The file, relative to the source.
        path: PathBuf,
    },
}

impl CopyError {
    /// Makes it an error of a snapshot whose tree is at `tree`.
    pub(crate) fn into_tree(self, tree: &Path) -> Error {
        match self {
            Self::Tree(error) => error.into(),
            other => TreeError::io("copy the parent to", tree, std::io::Error::other(other)).into(),
        }
    }
}

type Result<T> = std::result::Result<T, CopyError>;

/// What becomes of extended attributes: of `security.capability`, and of all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Capabilities {
    /// It is left out, as for a build context, with all others.
    #[default]
    Drop,
    /// It is copied, as from a stage or an image, and the others are left out.
    Keep,
    /// All of files and folders are copied, as into a volume, as far as the destination has any.
    All,
}

/// What becomes of sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sockets {
    /// They are left out.
    #[default]
    Skip,
    /// They become empty regular files, as from a build context.
    EmptyFiles,
}

/// Decides about an entry by its path relative to the source.
pub type Filter<'a> = &'a mut dyn FnMut(&Path, Kind) -> Verdict;

/// Computes the mode of a file or directory from its kind and its own mode.
pub type ModeRule<'a> = &'a (dyn Fn(Kind, u32) -> u32 + Sync);

/// What a copy changes.
#[derive(Clone, Copy, Default)]
pub struct CopyRules<'a> {
    /// The owner of everything; without it each object keeps its own.
    pub owner: Option<Owner>,
    /// The mode of everything but links; without it each object keeps its own.
    pub mode: Option<ModeRule<'a>>,
    /// The time of everything; without it each object keeps its own.
    pub mtime: Option<Time>,
    /// What becomes of `security.capability`.
    pub capabilities: Capabilities,
    /// What becomes of sockets.
    pub sockets: Sockets,
}

/// What a filter says about an entry below the source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is copied.
    Take,
    /// It is left out, with everything below it.
    Skip,
    /// It is a directory that is made only if something below it is taken.
    Descend,
}

/// Sees what is copied, for instance to hash it. Several threads copy: whatever is told may come from any of them.
pub trait Watch: Sync {
    /// A directory, link, device or socket is about to be copied; `target` is the text of a link. Paths are relative to
    /// the source, the empty one is the source itself.
    fn entry(&self, path: &Path, meta: &Metadata, target: Option<&Path>);

    /// A regular file is about to be copied; what is returned sees its bytes.
    fn file<'w>(&'w self, path: &Path, meta: &Metadata) -> Box<dyn WatchFile + 'w>;
}

/// Sees the bytes of one file.
pub trait WatchFile {
    /// The next bytes.
    fn data(&mut self, bytes: &[u8]);

    /// That was all.
    fn end(self: Box<Self>);
}

/// What the layers below have at the destination.
#[derive(Debug)]
pub struct Below {
    /// The merged tree of the layers below.
    pub root: Root,
    /// Where in it the destination is: a path without links.
    pub path: PathBuf,
}

impl Below {
    /// Returns the kind of what is at a path relative to the destination.
    fn kind(&self, path: &Path) -> Result<Option<Kind>> {
        match self.root.find_nofollow(self.path.join(path))? {
            Some(found) => Ok(Some(found.metadata()?.kind)),
            None => Ok(None),
        }
    }
}

/// Copies objects into directories.
pub struct Copier<'a> {
    hand: Hand<'a>,
    filter: Option<Filter<'a>>,
    below: Option<Below>,
    buffer: Vec<u8>,
}

impl<'a> Copier<'a> {
    /// Makes a copier.
    pub fn new(rules: CopyRules<'a>) -> Self {
        Self { hand: Hand::new(rules), filter: None, below: None, buffer: Vec::new() }
    }

    /// Asks `filter` about each entry below a directory source, by its path relative to it.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter<'a>) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Shows everything that is copied to `watch`.
    #[must_use]
    pub fn with_watch(mut self, watch: &'a dyn Watch) -> Self {
        self.hand.watch = Some(watch);
        self
    }

    /// Asks before every entry, and now and then in large files, whether to stop; what was copied by then stays.
    #[must_use]
    pub fn until(mut self, stop: &'a (dyn Fn() -> bool + Sync)) -> Self {
        self.hand.stop = Some(stop);
        self
    }

    /// Says that the destination is the upper folder of an overlay, and what lies below it.
    #[must_use]
    pub fn with_below(mut self, below: Below) -> Self {
        self.below = Some(below);
        self
    }

    /// Copies one object that is no directory to `name` in `dest`. The source is the object itself: a link is copied
    /// as a link.
    pub fn copy_entry(&mut self, source: &Handle, dest: &Handle, name: impl AsRef<OsStr>) -> Result<()> {
        let name = name.as_ref();
        let meta = source.metadata()?;
        let inherits = dest.metadata()?.mode & 0o2000 != 0;
        let place = Place { dir: dest.as_fd(), name, path: Path::new(name), inherits };
        let path = Path::new("");
        if let Some(below) = &self.below
            && below.kind(Path::new(name))? == Some(Kind::Directory)
        {
            return Err(CopyError::OntoDirectory { path: PathBuf::from(name) });
        }
        match meta.kind {
            Kind::Directory => Err(CopyError::OntoFile { path: PathBuf::from(name) }),
            Kind::File => self.hand.file(&source.open_file()?.into(), place, path, None, &mut self.buffer),
            Kind::Symlink => self.hand.link(&source.read_link()?, &meta, place, path),
            _ => self.hand.special(&meta, place, path),
        }
    }

    /// Copies the content of the directory `source` into the directory `dest`, whose time becomes the source's.
    pub fn copy_dir(&mut self, source: &Handle, dest: Handle) -> Result<()> {
        self.hand.links.clear();
        let Self { hand, filter, below, buffer } = self;
        tree::copy(hand, filter.as_mut(), below.as_ref(), buffer, source, dest)
    }
}

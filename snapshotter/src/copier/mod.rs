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
//! A small file takes open, stat, copy, the changes of owner and mode that are needed, time, and two closes. With a
//! [`Watch`] the bytes pass through memory once, for whoever hashes them: what was hashed is what was written.

mod data;

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rbuild_confined::{
    DirStack, Error as TreeError, Handle, Kind, Metadata, Owner, Root, Step, Time, Walk, open_subdir,
};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;

use crate::error::Error;
use crate::xattr;

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

/// What becomes of `security.capability`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Capabilities {
    /// It is left out, as for a build context.
    #[default]
    Drop,
    /// It is copied, as from a stage or an image.
    Keep,
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
pub type ModeRule<'a> = &'a dyn Fn(Kind, u32) -> u32;

/// What a copy changes.
#[derive(Clone, Copy, Default)]
pub struct CopyRules<'a> {
    /// The owner of everything; without it each object keeps its own.
    pub owner: Option<Owner>,
    /// The mode of everything but links; without it each object keeps its own.
    pub mode: Option<ModeRule<'a>>,
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

/// Sees what is copied, for instance to hash it.
pub trait Watch {
    /// An object is about to be copied; `target` is the text of a link. Paths are relative to the source, the empty
    /// one is the source itself. Entries come in the order of [`Walk`].
    fn entry(&mut self, path: &Path, meta: &Metadata, target: Option<&Path>);

    /// Bytes of the file that was announced last.
    fn data(&mut self, bytes: &[u8]);
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
    rules: CopyRules<'a>,
    filter: Option<Filter<'a>>,
    watch: Option<&'a mut dyn Watch>,
    stop: Option<&'a dyn Fn() -> bool>,
    as_root: bool,
    /// Whether the kernel has not yet refused to copy between these two file systems.
    ranges: bool,
    below: Option<Below>,
    /// Files of the current directory source that have further names, by where they are at the destination.
    links: HashMap<(u64, u64), PathBuf>,
    buffer: Vec<u8>,
}

/// A place at the destination.
#[derive(Clone, Copy)]
struct Place<'a> {
    dir: BorrowedFd<'a>,
    name: &'a OsStr,
    /// For messages.
    path: &'a Path,
    /// Whether new files get the directory's group.
    inherits: bool,
}

impl<'a> Copier<'a> {
    /// Makes a copier.
    pub fn new(rules: CopyRules<'a>) -> Self {
        Self {
            rules,
            filter: None,
            watch: None,
            stop: None,
            below: None,
            as_root: rustix::process::geteuid().is_root() && rustix::process::getegid().is_root(),
            ranges: true,
            links: HashMap::new(),
            buffer: Vec::new(),
        }
    }

    /// Asks `filter` about each entry below a directory source, by its path relative to it.
    #[must_use]
    pub fn with_filter(mut self, filter: Filter<'a>) -> Self {
        self.filter = Some(filter);
        self
    }

    /// Shows everything that is copied to `watch`.
    #[must_use]
    pub fn with_watch(mut self, watch: &'a mut dyn Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// Asks before every entry, and now and then in large files, whether to stop; what was copied by then stays.
    #[must_use]
    pub fn until(mut self, stop: &'a dyn Fn() -> bool) -> Self {
        self.stop = Some(stop);
        self
    }

    fn check_stop(&self) -> Result<()> {
        if self.stop.is_some_and(|stop| stop()) { Err(CopyError::Stopped) } else { Ok(()) }
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
            Kind::File => self.file(source.open_file()?.into(), place, path, None),
            Kind::Symlink => self.link(&source.read_link()?, &meta, place, path),
            _ => self.special(&meta, place, path),
        }
    }

    /// Makes `name` in `dest` a directory with the attributes of the directory `source`, without its content; an
    /// existing directory gets them too. Its time is set again by whoever puts something into it.
    pub fn copy_dir_itself(
        &mut self,
        source: &Handle,
        dest: &Handle,
        name: impl AsRef<OsStr>,
    ) -> Result<OwnedFd> {
        let name = name.as_ref();
        let meta = source.metadata()?;
        let (dir, _) = make_dir(dest.as_fd(), name, Path::new(name))?;
        self.finish_dir(&dir, &meta, Path::new(name))?;
        Ok(dir)
    }

    /// Copies the content of the directory `source` into the directory `dest`, whose time becomes the source's.
    pub fn copy_dir(&mut self, source: &Handle, dest: Handle) -> Result<()> {
        self.links.clear();
        let source_meta = source.metadata()?;
        if let Some(watch) = self.watch.as_deref_mut() {
            watch.entry(Path::new(""), &source_meta, None);
        }
        let mut walk = Walk::new(source.open_dir()?)?;
        let top = dest.open_dir()?;
        let mut levels = Levels {
            inherits: vec![dest.metadata()?.mode & 0o2000 != 0],
            below: vec![self.below.is_some()],
            dirs: DirStack::new(dest.open_dir()?),
            names: Vec::new(),
            root: dest.into_root()?,
        };
        while let Some(step) = walk.next()? {
            match step {
                Step::Entry(entry) => self.entry(&mut walk, entry.kind, &mut levels)?,
                Step::Leave => {
                    if let Some((meta, dir)) = levels.leave(walk.path())? {
                        self.finish_dir(&dir, &meta, walk.path())?;
                    }
                }
            }
        }
        rustix::fs::futimens(&top, &times(source_meta.mtime))
            .map_err(|errno| io("set the time of", Path::new("."), errno))
    }

    fn entry(&mut self, walk: &mut Walk, kind: Option<Kind>, levels: &mut Levels) -> Result<()> {
        self.check_stop()?;
        let path = walk.path().to_owned();
        let name = path.file_name().expect("every entry has a name");
        // A regular file is inspected once it is open.
        let meta = if kind == Some(Kind::File) { None } else { Some(walk.metadata()?) };
        let kind = meta.map_or(Kind::File, |meta| meta.kind);
        let verdict = self.filter.as_mut().map_or(Verdict::Take, |filter| filter(&path, kind));
        match (verdict, &meta) {
            (Verdict::Skip, _) => return Ok(()),
            (verdict, Some(meta)) if kind == Kind::Directory => {
                walk.enter()?;
                levels.names.push((name.to_owned(), *meta));
                if verdict == Verdict::Take {
                    if let Some(watch) = self.watch.as_deref_mut() {
                        watch.entry(&path, meta, None);
                    }
                    levels.make(&path, self.below.as_ref())?;
                }
                return Ok(());
            }
            (Verdict::Descend, _) => return Ok(()),
            _ => {}
        }
        levels.make(path.parent().unwrap_or(Path::new("")), self.below.as_ref())?;
        if levels.below.last() == Some(&true)
            && let Some(below) = &self.below
            && below.kind(&path)? == Some(Kind::Directory)
        {
            return Err(CopyError::OntoDirectory { path });
        }
        let inherits = *levels.inherits.last().expect("the destination itself stays");
        let place = Place { dir: levels.dirs.top(), name, path: &path, inherits };
        match (kind, meta) {
            (Kind::File, _) => {
                let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let file = rustix::fs::openat(walk.dir(), name, flags, Mode::empty())
                    .map_err(|errno| io("open", &path, errno))?;
                self.file(file, place, &path, Some(&levels.root))
            }
            (Kind::Symlink, Some(meta)) => {
                let target = rustix::fs::readlinkat(walk.dir(), name, Vec::new())
                    .map_err(|errno| io("read link", &path, errno))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                self.link(&target, &meta, place, &path)
            }
            (_, Some(meta)) => self.special(&meta, place, &path),
            (_, None) => Ok(()),
        }
    }

    /// Copies an open file; `links` is the tree in which its other names are, if they are to be kept.
    fn file(&mut self, source: OwnedFd, place: Place<'_>, path: &Path, links: Option<&Root>) -> Result<()> {
        let stat = rustix::fs::fstat(&source).map_err(|errno| io("inspect", path, errno))?;
        let meta = Metadata::from_stat(&stat);
        if meta.kind != Kind::File {
            return Err(TreeError::NotRegular { path: path.to_owned() }.into());
        }
        if let Some(watch) = self.watch.as_deref_mut() {
            watch.entry(path, &meta, None);
        }
        let inode = (meta.dev, meta.ino);
        if meta.nlink > 1
            && let Some(tree) = links
        {
            if let Some(original) = self.links.get(&inode) {
                let (dir, name) = tree.parent(original)?;
                let linked = replacing(place, |place| {
                    rustix::fs::linkat(&dir, &name, place.dir, place.name, AtFlags::empty())
                });
                match linked {
                    Ok(()) => return self.show(&source, &meta, path),
                    // A file system bounds the names of a file: the next one is a file of its own.
                    Err(CopyError::Tree(error)) if error.errno() == Some(Errno::MLINK) => {}
                    Err(error) => return Err(error),
                }
            }
            self.links.insert(inode, place.path.to_owned());
        }
        let file = create(place)?;
        self.data(&source, &file, &meta, path)?;
        let capability = match self.rules.capabilities {
            Capabilities::Keep => {
                xattr::get(&source, xattr::CAPABILITY).map_err(|errno| io("inspect", path, errno))?
            }
            Capabilities::Drop => None,
        };
        self.finish_file(&file, &meta, place, capability.as_deref())
    }

    /// Gives a new file its attributes, in the order that keeps them.
    fn finish_file(
        &self,
        file: &OwnedFd,
        meta: &Metadata,
        place: Place<'_>,
        capability: Option<&[u8]>,
    ) -> Result<()> {
        let owner = self.rules.owner.unwrap_or(meta.owner);
        if place.inherits || !self.as_root || owner != Owner::ROOT {
            rustix::fs::fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                .map_err(|errno| cannot_own(place.path, owner, errno))?;
        }
        if let Some(value) = capability {
            xattr::set(file, xattr::CAPABILITY.as_bytes(), value)
                .map_err(|errno| io("set the capabilities of", place.path, errno))?;
        }
        let mode = self.mode(Kind::File, meta.mode);
        if mode != 0o600 {
            rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
                .map_err(|errno| io("set the mode of", place.path, errno))?;
        }
        rustix::fs::futimens(file, &times(meta.mtime))
            .map_err(|errno| io("set the time of", place.path, errno))
    }

    fn finish_dir(&self, dir: &OwnedFd, meta: &Metadata, path: &Path) -> Result<()> {
        let owner = self.rules.owner.unwrap_or(meta.owner);
        rustix::fs::fchown(dir, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
            .map_err(|errno| cannot_own(path, owner, errno))?;
        let mode = self.mode(Kind::Directory, meta.mode);
        rustix::fs::fchmod(dir, Mode::from_raw_mode(mode))
            .map_err(|errno| io("set the mode of", path, errno))?;
        rustix::fs::futimens(dir, &times(meta.mtime)).map_err(|errno| io("set the time of", path, errno))
    }

    fn link(&mut self, target: &Path, meta: &Metadata, place: Place<'_>, path: &Path) -> Result<()> {
        if let Some(watch) = self.watch.as_deref_mut() {
            watch.entry(path, meta, Some(target));
        }
        replacing(place, |place| rustix::fs::symlinkat(target, place.dir, place.name))?;
        self.finish_by_name(meta, place)
    }

    fn special(&mut self, meta: &Metadata, place: Place<'_>, path: &Path) -> Result<()> {
        let file_type = match meta.kind {
            Kind::Socket if self.rules.sockets == Sockets::Skip => return Ok(()),
            Kind::Socket => FileType::RegularFile,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        if let Some(watch) = self.watch.as_deref_mut() {
            watch.entry(path, meta, None);
        }
        if file_type == FileType::RegularFile {
            let file = create(place)?;
            return self.finish_file(&file, meta, place, None);
        }
        let mode = Mode::RUSR | Mode::WUSR;
        replacing(place, |place| rustix::fs::mknodat(place.dir, place.name, file_type, mode, meta.rdev))?;
        let mode = Mode::from_raw_mode(self.mode(meta.kind, meta.mode));
        self.finish_by_name(meta, place)?;
        // This process has just made the node, and a node does not turn into a link.
        rustix::fs::chmodat(place.dir, place.name, mode, AtFlags::empty())
            .map_err(|errno| io("set the mode of", place.path, errno))
    }

    /// Gives what cannot be opened its owner and time.
    fn finish_by_name(&self, meta: &Metadata, place: Place<'_>) -> Result<()> {
        let owner = self.rules.owner.unwrap_or(meta.owner);
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        if place.inherits || !self.as_root || owner != Owner::ROOT {
            rustix::fs::chownat(place.dir, place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| cannot_own(place.path, owner, errno))?;
        }
        rustix::fs::utimensat(place.dir, place.name, &times(meta.mtime), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| io("set the time of", place.path, errno))
    }

    fn mode(&self, kind: Kind, mode: u32) -> u32 {
        self.rules.mode.map_or(mode, |rule| rule(kind, mode) & 0o7777)
    }
}

/// The directories at the destination, of which the deepest may still have to be made.
struct Levels {
    dirs: DirStack,
    /// For each directory that is made, whether new files get its group.
    inherits: Vec<bool>,
    /// For each directory that is made, whether a lower layer has it too.
    below: Vec<bool>,
    /// The source's directories that the walk is in.
    names: Vec<(OsString, Metadata)>,
    root: Root,
}

impl Levels {
    /// Makes what is missing of the directories that the walk is in; `path` is the deepest of them.
    fn make(&mut self, path: &Path, below: Option<&Below>) -> Result<()> {
        while self.dirs.depth() < self.names.len() {
            let (name, _) = &self.names[self.dirs.depth()];
            let merges = match below {
                Some(below) if self.below.last() == Some(&true) => {
                    let place: PathBuf =
                        self.names[..=self.dirs.depth()].iter().map(|(name, _)| name).collect();
                    match below.kind(&place)? {
                        None => false,
                        Some(Kind::Directory) => true,
                        Some(_) => return Err(CopyError::OntoFile { path: place }),
                    }
                }
                _ => false,
            };
            self.below.push(merges);
            let (dir, mode) = make_dir(self.dirs.top(), name, path)?;
            self.inherits.push(mode & 0o2000 != 0);
            self.dirs.push(dir).map_err(|errno| io("open", path, errno))?;
        }
        Ok(())
    }

    /// Leaves the deepest directory; returns it with the source's attributes if it was made.
    fn leave(&mut self, path: &Path) -> Result<Option<(Metadata, OwnedFd)>> {
        let made = self.dirs.depth() == self.names.len();
        let (_, meta) = self.names.pop().expect("every directory that is left was entered");
        if !made {
            return Ok(None);
        }
        self.inherits.pop();
        self.below.pop();
        match self.dirs.pop().map_err(|errno| io("open", path, errno))? {
            Some(dir) => Ok(Some((meta, dir))),
            None => Err(TreeError::Moved { path: path.to_owned() }.into()),
        }
    }
}

/// Makes or opens the directory `name`, and returns it with the mode that it has until the end.
fn make_dir(dir: BorrowedFd<'_>, name: &OsStr, path: &Path) -> Result<(OwnedFd, u32)> {
    match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(io("make directory", path, errno)),
    }
    let made = match open_subdir(dir, name) {
        Ok(made) => made,
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(CopyError::OntoFile { path: path.to_owned() }),
        Err(errno) => return Err(io("open", path, errno)),
    };
    let stat = rustix::fs::fstat(&made).map_err(|errno| io("inspect", path, errno))?;
    Ok((made, Metadata::from_stat(&stat).mode))
}

fn create(place: Place<'_>) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    replacing(place, |place| rustix::fs::openat(place.dir, place.name, flags, mode))
}

/// Runs `make`, and once more after the old file is unlinked if there is one; a directory is an error.
fn replacing<T>(place: Place<'_>, make: impl Fn(Place<'_>) -> std::result::Result<T, Errno>) -> Result<T> {
    match make(place) {
        Err(Errno::EXIST) => {
            match rustix::fs::unlinkat(place.dir, place.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => {
                    return Err(CopyError::OntoDirectory { path: place.path.to_owned() });
                }
                Err(errno) => return Err(io("replace", place.path, errno)),
            }
            make(place).map_err(|errno| io("create", place.path, errno))
        }
        done => done.map_err(|errno| io("create", place.path, errno)),
    }
}

fn times(mtime: Time) -> Timestamps {
    Timestamps { last_access: mtime.timespec(), last_modification: mtime.timespec() }
}

fn io(act: &'static str, path: &Path, errno: Errno) -> CopyError {
    TreeError::io(act, path, errno).into()
}

fn cannot_own(path: &Path, owner: Owner, errno: Errno) -> CopyError {
    match errno {
        Errno::INVAL => CopyError::Unmapped { path: path.to_owned(), owner },
        errno => io("set the owner of", path, errno),
    }
}

//! What a snapshot changes, compared with the stack below it.
//!
//! # Two ways, one result
//! Of an overlay only the top layer's own folder is walked (`layer`): what is there is new or touched, whiteouts say
//! what is gone, and an opaque directory hides all that its parent has. Of a whole tree (`whole_tree`) everything is
//! walked, and everything that the parent has and the tree has not is gone: that is, each directory counts as opaque.
//!
//! # What counts as a change
//! | in the layer | is |
//! |---|---|
//! | whiteout, opaque directory | one whiteout for each name that the parent shows and the tree does not |
//! | directory with the parent's mode and owner | nothing of its own: written only as carrier of changes below it |
//! | file, link, device with the parent's attributes, time, capabilities and bytes | nothing |
//! | further name of a file written by this layer | hard link to the name that came first |
//! | further name of a file of a lower layer | a file of its own |
//! | socket | nothing; a whiteout, if it hides something |
//!
//! # Order
//! Depth first. In a directory the whiteouts come first, then the names, both sorted by bytes; a directory comes before
//! what is in it.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rbuild_confined::{Error as TreeError, Kind, Metadata, Root, Step, Time, Walk, open_subdir};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::merged::{Found, Merged, is_whiteout};
use crate::xattr::{self, Marks};

/// One difference between a tree and the stack below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Where, relative to the root; empty for the root itself.
    pub path: PathBuf,
    /// What.
    pub kind: ChangeKind,
}

/// The kind of a difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangeKind {
    /// The parent has something there and the tree has nothing.
    Whiteout,
    /// A directory.
    Directory {
        /// Its attributes.
        meta: Metadata,
        /// Whether the directory itself differs, or only carries differences.
        novelty: Novelty,
    },
    /// A new or changed regular file.
    File {
        /// Its attributes.
        meta: Metadata,
        /// Its `security.capability`.
        capability: Option<Vec<u8>>,
    },
    /// A further name of a file of this same layer.
    Hardlink {
        /// The name that the layer has already.
        target: PathBuf,
        /// The file's attributes.
        meta: Metadata,
    },
    /// A symbolic link.
    Symlink {
        /// Its attributes.
        meta: Metadata,
        /// Its text.
        target: PathBuf,
    },
    /// A device or a named pipe, as the kind in the attributes says.
    Special {
        /// Its attributes.
        meta: Metadata,
    },
}

/// Why a directory is among the changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Novelty {
    /// It is new, or its mode or owner is.
    Changed,
    /// Something below it is.
    Carrier,
}

type Visit<'a> = dyn FnMut(Change, Option<File>) -> Result<()> + 'a;

/// Visits what a layer of overlayfs changes.
pub(crate) fn layer(top: &Root, below: &Merged, marks: Marks, visit: &mut Visit<'_>) -> Result<()> {
    Comparison {
        marks: Some(marks),
        untouched_before: None,
        below,
        visit,
        levels: Vec::new(),
        linked: HashMap::new(),
    }
    .run(top)
}

/// Visits what a whole tree changes, compared with the whole tree of its parent.
///
/// Contents are not compared of files that nobody has touched since `untouched_before`.
pub(crate) fn whole_tree(
    top: &Root,
    below: &Merged,
    untouched_before: Option<Time>,
    visit: &mut Visit<'_>,
) -> Result<()> {
    Comparison { marks: None, untouched_before, below, visit, levels: Vec::new(), linked: HashMap::new() }
        .run(top)
}

struct Comparison<'a, 'v> {
    /// Marks of the tree that is walked; none for a whole tree.
    marks: Option<Marks>,
    untouched_before: Option<Time>,
    below: &'a Merged,
    visit: &'a mut Visit<'v>,
    levels: Vec<Level>,
    /// Files of this layer that have further names.
    linked: HashMap<(u64, u64), PathBuf>,
}

/// A directory that the walk is in.
struct Level {
    /// The layers below that have this directory.
    layers: Vec<usize>,
    /// Whether names that the tree does not have are gone.
    whole: bool,
    /// The directory itself, as long as nothing below it has been visited.
    carrier: Option<Change>,
}

impl Comparison<'_, '_> {
    fn run(mut self, top: &Root) -> Result<()> {
        let handle = top.resolve("/")?;
        let meta = handle.metadata()?;
        let mut walk = Walk::within_mount(handle.open_dir()?)?;
        let parent = match self.below.all().first() {
            Some(&index) => {
                let stat = rustix::fs::fstat(self.below.layer(index));
                Some(Metadata::from_stat(&stat.map_err(|errno| TreeError::io("inspect", ".", errno))?))
            }
            None => None,
        };
        let (mode, owner) = parent.map_or((0o755, Default::default()), |meta| (meta.mode, meta.owner));
        let root = Level { layers: self.below.all(), whole: self.marks.is_none(), carrier: None };
        self.levels.push(root);
        if (meta.mode, meta.owner) != (mode, owner) {
            let kind = ChangeKind::Directory { meta, novelty: Novelty::Changed };
            self.emit(Change { path: PathBuf::new(), kind }, None)?;
        }
        self.whiteouts(&walk, Path::new(""))?;
        while let Some(step) = walk.next()? {
            match step {
                Step::Leave => drop(self.levels.pop()),
                Step::Entry(_) => self.entry(&mut walk)?,
            }
        }
        Ok(())
    }

    /// Visits a change, after the directories that it lies in.
    fn emit(&mut self, change: Change, content: Option<File>) -> Result<()> {
        for level in &mut self.levels {
            if let Some(carrier) = level.carrier.take() {
                (self.visit)(carrier, None)?;
            }
        }
        (self.visit)(change, content)
    }

    fn level(&self) -> &Level {
        self.levels.last().expect("the root's level stays")
    }

    /// Visits the names that are gone from the directory that the walk has just entered.
    fn whiteouts(&mut self, walk: &Walk, dir: &Path) -> Result<()> {
        if self.level().layers.is_empty() {
            return Ok(());
        }
        let mut gone = BTreeSet::new();
        let mut present = BTreeSet::new();
        for entry in walk.pending() {
            let maybe = match entry.kind {
                None | Some(Kind::Socket) => true,
                Some(Kind::CharDevice) => self.marks.is_some(),
                Some(_) => false,
            };
            if maybe {
                let stat = rustix::fs::statat(walk.dir(), &entry.name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(|errno| TreeError::io("inspect", dir.join(&entry.name), errno))?;
                let meta = Metadata::from_stat(&stat);
                if meta.kind == Kind::Socket || (self.marks.is_some() && is_whiteout(&meta)) {
                    if self.below.lookup(dir, &self.level().layers, &entry.name)? != Found::Absent {
                        gone.insert(entry.name.clone());
                    }
                    continue;
                }
            }
            if self.level().whole {
                present.insert(&entry.name);
            }
        }
        if self.level().whole {
            let names: BTreeSet<OsString> = self.below.names(dir, &self.level().layers)?;
            gone.extend(names.into_iter().filter(|name| !present.contains(name)));
        }
        for name in gone {
            self.emit(Change { path: dir.join(name), kind: ChangeKind::Whiteout }, None)?;
        }
        Ok(())
    }

    fn entry(&mut self, walk: &mut Walk) -> Result<()> {
        let meta = walk.metadata()?;
        if meta.kind == Kind::Socket || (self.marks.is_some() && is_whiteout(&meta)) {
            return Ok(());
        }
        let path = walk.path().to_owned();
        let dir = path.parent().unwrap_or(Path::new(""));
        let name = path.file_name().expect("every entry has a name");
        let below = self.below.lookup(dir, &self.level().layers, name)?;
        match meta.kind {
            Kind::Directory => self.directory(walk, path, meta, below),
            Kind::File => self.file(walk, path, meta, below),
            Kind::Symlink => {
                let target = rustix::fs::readlinkat(walk.dir(), name, Vec::new())
                    .map_err(|errno| TreeError::io("read link", &path, errno))?;
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                if let Found::Other { layer, meta: old } = below
                    && same_attributes(&meta, &old)
                    && self.below.read_link(layer, &path)? == target
                {
                    return Ok(());
                }
                self.emit(Change { path, kind: ChangeKind::Symlink { meta, target } }, None)
            }
            _ => {
                let same = matches!(&below, Found::Other { meta: old, .. }
                    if same_attributes(&meta, old) && meta.rdev == old.rdev);
                if same {
                    return Ok(());
                }
                self.emit(Change { path, kind: ChangeKind::Special { meta } }, None)
            }
        }
    }

    fn directory(&mut self, walk: &mut Walk, path: PathBuf, meta: Metadata, below: Found) -> Result<()> {
        let name = path.file_name().expect("every entry has a name");
        let fd = open_subdir(walk.dir(), name).map_err(|errno| TreeError::io("open", &path, errno))?;
        let mut whole = self.level().whole;
        if let Some(marks) = self.marks {
            whole |= check_marks(&fd, marks, &path)?;
        }
        let (layers, same) = match below {
            Found::Directory { layers, meta: old } => {
                (layers, (old.mode, old.owner) == (meta.mode, meta.owner))
            }
            _ => (Vec::new(), false),
        };
        let novelty = if same { Novelty::Carrier } else { Novelty::Changed };
        let change = Change { path: path.clone(), kind: ChangeKind::Directory { meta, novelty } };
        let carrier = match novelty {
            Novelty::Carrier => Some(change),
            Novelty::Changed => {
                self.emit(change, None)?;
                None
            }
        };
        walk.enter_fd(fd)?;
        self.levels.push(Level { layers, whole, carrier });
        self.whiteouts(walk, &path)
    }

    fn file(&mut self, walk: &Walk, path: PathBuf, meta: Metadata, below: Found) -> Result<()> {
        let inode = (meta.dev, meta.ino);
        if meta.nlink > 1
            && let Some(target) = self.linked.get(&inode)
        {
            let kind = ChangeKind::Hardlink { target: target.clone(), meta };
            return self.emit(Change { path, kind }, None);
        }
        let same = match below {
            Found::Other { layer, meta: old } if same_attributes(&meta, &old) => Some(layer),
            _ => None,
        };
        if same.is_some() && self.untouched_before.is_some_and(|time| meta.ctime < time) {
            return Ok(());
        }
        let name = path.file_name().expect("every entry has a name");
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(walk.dir(), name, flags, Mode::empty())
            .map_err(|errno| TreeError::io("open", &path, errno))?;
        let capability = capability_of(&file, self.marks, &path)?;
        if let Some(layer) = same {
            let old = self.below.open_file(layer, &path)?;
            if capability == capability_of(&old, self.marks, &path)? && same_bytes(&file, old, &path)? {
                return Ok(());
            }
        }
        if meta.nlink > 1 {
            self.linked.insert(inode, path.clone());
        }
        self.emit(Change { path, kind: ChangeKind::File { meta, capability } }, Some(File::from(file)))
    }
}

fn same_attributes(new: &Metadata, old: &Metadata) -> bool {
    let key = |meta: &Metadata| (meta.kind, meta.mode, meta.owner, meta.size, meta.mtime);
    key(new) == key(old)
}

/// Says whether a directory is opaque, and refuses marks of features that are off.
fn check_marks(dir: &OwnedFd, marks: Marks, path: &Path) -> Result<bool> {
    let failed = |errno: Errno| TreeError::io("inspect", path, errno);
    let mut opaque = false;
    for name in xattr::list(dir).map_err(failed)? {
        let Some(mark) = name.strip_prefix(marks.prefix.as_bytes()) else { continue };
        match mark {
            b"opaque" => opaque = xattr::get(dir, marks.opaque).map_err(failed)?.as_deref() == Some(b"y"),
            b"redirect" | b"metacopy" => return Err(redirected(path, &name)),
            _ => {}
        }
    }
    Ok(opaque)
}

fn redirected(path: &Path, name: &[u8]) -> Error {
    Error::Redirected { path: path.to_owned(), name: String::from_utf8_lossy(name).into_owned() }
}

/// Reads the capabilities of a program, with one call for the many files that have no attributes.
fn capability_of(file: &OwnedFd, marks: Option<Marks>, path: &Path) -> Result<Option<Vec<u8>>> {
    let failed = |errno: Errno| TreeError::io("inspect", path, errno);
    let mut capability = None;
    for name in xattr::list(file).map_err(failed)? {
        if name == xattr::CAPABILITY.as_bytes() {
            capability = xattr::get(file, xattr::CAPABILITY).map_err(failed)?;
        }
        if let Some(marks) = marks
            && matches!(name.strip_prefix(marks.prefix.as_bytes()), Some(b"redirect" | b"metacopy"))
        {
            return Err(redirected(path, &name));
        }
    }
    Ok(capability)
}

/// Compares contents; the new file is left at its beginning.
fn same_bytes(new: &OwnedFd, old: OwnedFd, path: &Path) -> Result<bool> {
    let failed = |error: std::io::Error| TreeError::io("read", path, error);
    let duplicate = new.try_clone().map_err(failed)?;
    let mut new_reader = BufReader::with_capacity(64 << 10, File::from(duplicate));
    let mut old_reader = BufReader::with_capacity(64 << 10, File::from(old));
    let mut new_buffer = vec![0; 64 << 10];
    let mut old_buffer = vec![0; 64 << 10];
    let same = loop {
        let count = read_full(&mut new_reader, &mut new_buffer).map_err(failed)?;
        let old_count = read_full(&mut old_reader, &mut old_buffer).map_err(failed)?;
        if new_buffer[..count] != old_buffer[..old_count] {
            break false;
        }
        if count == 0 {
            break true;
        }
    };
    // The duplicate shares its position with the original.
    rustix::fs::seek(new.as_fd(), rustix::fs::SeekFrom::Start(0)).map_err(|errno| failed(errno.into()))?;
    Ok(same)
}

fn read_full(reader: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

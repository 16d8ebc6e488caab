//! Layers and archives onto trees, safely.
//!
//! Every entry's directory is resolved inside the root, link by link, in the *merged* view: what lies in the layers
//! below and what this archive has added so far. The last component is only touched by calls that do not follow.
//!
//! # Rules
//! * A link on the way is followed inside the root; there is no second, stricter mode.
//! * A directory onto a directory merges; every other pair replaces. An existing file is unlinked, never written into.
//! * Missing directories on the way are made: 0755, owner 0:0; in a layer their time is the beginning of 1970.
//! * A hard link names what the merged view has now. To a file of a lower layer it becomes a copy, as nothing is ever
//!   linked into an immutable layer; further links to the same file share that copy.
//! * Of the extended attributes `security.capability` (not bound to a user namespace) and `user.*` are kept, overlay
//!   marks never. Modes, owners and times of directories are set at the end, so that nothing below is in their way.
//! * Devices need the right to make them; without it they are left out and told ([`Extracted::devices`]).
//! * In a layer, a whiteout takes away what the layers *below* have, wherever it stands among the entries.
//!
//! The time of a directory that an archive only passes through is kept when layers are extracted, and moves, as with
//! any program, when an archive is unpacked into a tree in use.

mod node;
mod place;
mod whiteout;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rbuild_confined::{Error as TreeError, Owner, Root};
use rbuild_image::tar::{End, Entry, EntryKind, EntryProblem, Reader, TarError};
use rbuild_model::rootfs::OverlayXattr;
use rustix::io::Errno;

use crate::merged::Merged;
use crate::xattr::Marks;
use node::Attributes;
use place::Level;

/// An archive could not be extracted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExtractError {
    /// Work on files failed.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The archive is bad.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// An entry is a whiteout of no known form.
    #[error("bad whiteout `{}`", path.display())]
    Whiteout {
        /// The entry.
        path: PathBuf,
        /// What is wrong.
        source: EntryProblem,
    },
    /// An entry lies below something that is no directory.
    #[error("`{}` lies below something that is not a directory", path.display())]
    BelowFile {
        /// The entry's directory.
        path: PathBuf,
    },
    /// A link on the way leads nowhere, or in circles.
    #[error("cannot follow the link on the way to `{}`", path.display())]
    Link {
        /// The entry's directory.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A hard link's target is not there, or is a directory.
    #[error("`{}` is a hard link to `{}`, which cannot be linked to", path.display(), target.display())]
    Hardlink {
        /// The entry.
        path: PathBuf,
        /// The target.
        target: PathBuf,
    },
    /// An owner does not exist in this user namespace.
    #[error("`{}` belongs to {}:{}, which this user namespace does not map", path.display(), owner.uid, owner.gid)]
    Unmapped {
        /// The entry.
        path: PathBuf,
        /// Its owner.
        owner: Owner,
    },
}

type Result<T> = std::result::Result<T, ExtractError>;

/// What a whiteout's name means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Whiteouts {
    /// A file's name like any other: the archive is no layer.
    #[default]
    Literal,
    /// What it names is removed from the tree, unless this archive has added it.
    Remove,
    /// What it names is hidden by a mark of overlayfs.
    Marks,
}

/// What happens where a link on the way leads to something missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ImpliedThroughLinks {
    /// It is an error.
    #[default]
    Refuse,
    /// It is made.
    Make,
}

/// How an archive is extracted. The default is how ADD unpacks one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rules {
    /// What a whiteout's name means.
    pub whiteouts: Whiteouts,
    /// What happens where a link on the way leads to something missing.
    pub implied_through_links: ImpliedThroughLinks,
    /// The owner of all entries, whatever the archive says; implied directories stay 0:0.
    pub owner: Option<Owner>,
}

/// What was extracted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extracted {
    /// How many entries there were.
    pub entries: u64,
    /// Devices that could not be made here.
    pub devices: Vec<PathBuf>,
    /// How many extended attributes were left out.
    pub dropped_attributes: u64,
    /// How the archive ended.
    pub end: End,
}

/// Extracts one archive.
pub struct Extractor {
    /// The tree that is written, resolved into only by paths that are free of links.
    upper: Root,
    merged: Merged,
    marks: Option<Marks>,
    rules: Rules,
    /// The directory that the last entry lies in: each level is a directory of the merged view.
    trail: Vec<Level>,
    root_layers: Vec<usize>,
    /// The last directory, opened in the tree that is written.
    here: Option<OwnedFd>,
    /// Attributes that directories get at the end.
    dirs: BTreeMap<PathBuf, Attributes>,
    /// What this archive has made, where whiteouts need to know it.
    added: HashSet<PathBuf>,
    /// Copies of files of lower layers, by where the original is.
    copies: HashMap<PathBuf, PathBuf>,
    /// Whether the tree belongs to this archive alone, so that new files get no group from their directory.
    private: bool,
    as_root: bool,
    extracted: Extracted,
    buffer: Vec<u8>,
}

impl Extractor {
    /// Extracts into a plain tree, which may have content already.
    pub fn onto_tree(tree: Root, rules: Rules) -> Result<Self> {
        let merged = Merged::new(vec![tree.try_clone()?], None);
        Ok(Self::new(tree, merged, None, rules))
    }

    /// Extracts into `upper`, the folder of a new layer over `lowers`, of which the topmost comes first.
    pub(crate) fn onto_layers(
        upper: Root,
        lowers: Vec<Root>,
        xattr: OverlayXattr,
        rules: Rules,
    ) -> Result<Self> {
        let marks = Some(Marks::of(xattr));
        let layers = std::iter::once(upper.try_clone()?).chain(lowers).collect();
        Ok(Self::new(upper, Merged::new(layers, marks), marks, rules))
    }

    fn new(upper: Root, merged: Merged, marks: Option<Marks>, rules: Rules) -> Self {
        let root_layers = merged.all();
        Self {
            upper,
            merged,
            marks,
            rules,
            trail: Vec::new(),
            root_layers,
            here: None,
            dirs: BTreeMap::new(),
            added: HashSet::new(),
            copies: HashMap::new(),
            private: marks.is_some(),
            as_root: rustix::process::geteuid().is_root() && rustix::process::getegid().is_root(),
            extracted: Extracted {
                entries: 0,
                devices: Vec::new(),
                dropped_attributes: 0,
                end: End::Unmarked,
            },
            buffer: vec![0; 128 << 10],
        }
    }

    /// Extracts all entries and reads the archive's stream to its end.
    pub fn extract<R: Read>(self, mut tar: Reader<R>) -> Result<Extracted> {
        let mut extracted = self.all(&mut tar)?;
        extracted.end = tar.finish()?.1;
        Ok(extracted)
    }

    fn all(mut self, tar: &mut Reader<dyn Read + '_>) -> Result<Extracted> {
        if self.rules.whiteouts != Whiteouts::Literal {
            let root = self.upper.metadata("/")?;
            self.dirs.insert(PathBuf::new(), Attributes::of(&root));
        }
        while let Some(entry) = tar.next_entry()? {
            self.extracted.entries += 1;
            self.entry(&entry, tar)?;
        }
        self.finish_dirs()?;
        Ok(self.extracted)
    }

    fn entry(&mut self, entry: &Entry, tar: &mut Reader<dyn Read + '_>) -> Result<()> {
        if self.whiteout(entry)? {
            return Ok(());
        }
        let Some((parent, name)) = entry.path.split_last() else {
            // An archive for ADD does not change the directory that it is unpacked into.
            if self.rules.whiteouts != Whiteouts::Literal {
                let attributes = self.attributes(entry);
                self.dirs.insert(PathBuf::new(), attributes);
            }
            return Ok(());
        };
        self.enter(parent.as_bytes(), place::Missing::Make)?;
        let name = OsStr::from_bytes(name);
        match &entry.kind {
            EntryKind::Directory => self.directory(name, entry)?,
            EntryKind::Hardlink { target } => self.hardlink(name, parent.as_bytes(), target.as_bytes())?,
            _ => self.node(name, entry, tar)?,
        }
        if self.rules.whiteouts == Whiteouts::Remove {
            let path = self.trail_path().join(name);
            let mut ancestors = path.ancestors().skip(1);
            // A directory that holds something added stays, so it counts as added itself.
            while let Some(dir) = ancestors.next().filter(|dir| !dir.as_os_str().is_empty()) {
                if !self.added.insert(dir.to_owned()) {
                    break;
                }
            }
            self.added.insert(path);
        }
        Ok(())
    }
}

pub(crate) fn io(act: &'static str, path: &Path, errno: Errno) -> ExtractError {
    TreeError::io(act, path, errno).into()
}

//! Whether what a copier copied is what was hashed.
//!
//! A key is made from a selection's hash before the step runs; if a file changes in between, the step's result would
//! be remembered under the wrong key. So COPY compares while it copies, and a [`Mismatch`] means: hash again with a new
//! scan, and do the step again. There are two ways to compare a file:
//! - feed the bytes as they pass ([`FileCheck`]);
//! - or, where the kernel copies them (reflink, `copy_file_range`), inspect the source *after* the copying:
//!   [`FileFacts::vouches`] says yes when nothing can have changed since the hashing.
//!
//! Names need no comparing: a copier walks the selection's own [`TreeNode`](super::TreeNode)s, not the folder.

use std::path::{Component, Path, PathBuf};

use rbuild_confined::{Kind, Metadata};

use super::node::{Content, FileFacts, TreeEntry};
use super::select::SelectionHash;

/// A file is not what it was when the step's key was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` changed during the build", path.display())]
pub struct Mismatch {
    /// The file, relative to the match that it was copied from.
    pub path: PathBuf,
}

/// Compares one file's bytes with those that were hashed.
#[derive(Debug)]
pub struct FileCheck<'a> {
    facts: &'a FileFacts,
    hasher: blake3::Hasher,
}

impl<'a> FileCheck<'a> {
    /// Begins a file.
    pub fn new(facts: &'a FileFacts) -> Self {
        Self { facts, hasher: blake3::Hasher::new() }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Whether these were the bytes.
    pub fn matches(&self) -> bool {
        self.hasher.count() == self.facts.size()
            && *self.hasher.finalize().as_bytes() == self.facts.digest().0
    }
}

/// Compares one match of a selection, file by file, with what a copier reports.
///
/// The copier announces each regular file with [`CopyCheck::file`], then feeds its bytes or asks
/// [`CopyCheck::vouches`]; [`CopyCheck::finish`] tells the first file that differed. A file that was announced and
/// neither fed nor vouched for is one that is empty.
#[derive(Debug)]
pub struct CopyCheck<'a> {
    entry: &'a TreeEntry,
    open: Option<(PathBuf, FileCheck<'a>)>,
    mismatch: Option<Mismatch>,
}

impl<'a> CopyCheck<'a> {
    /// Begins the match number `index` of a selection; `None` if there is none.
    pub fn new(selection: &'a SelectionHash, index: usize) -> Option<Self> {
        let entry = selection.matches().get(index)?.entry();
        Some(Self { entry, open: None, mismatch: None })
    }

    /// Begins a file, at a path relative to the match (empty when the match is a file), and ends the one before.
    pub fn file(&mut self, path: &Path, metadata: &Metadata) {
        self.end();
        match find(self.entry, path) {
            // A socket is copied as an empty file.
            Some((_, facts)) if metadata.is_file() || metadata.kind == Kind::Socket => {
                self.open = Some((path.to_owned(), FileCheck::new(facts)));
            }
            _ => self.differs(path),
        }
    }

    /// Takes the next bytes of the file.
    pub fn bytes(&mut self, bytes: &[u8]) {
        if let Some((_, check)) = &mut self.open {
            check.update(bytes);
        }
    }

    /// Whether the file, inspected after it was copied, is certain to have given the bytes that were hashed. After a
    /// yes the file is done; after a no its bytes must be fed.
    pub fn vouches(&mut self, after: &Metadata) -> bool {
        let vouched = self.open.as_ref().is_some_and(|(_, check)| check.facts.vouches(after));
        if vouched {
            self.open = None;
        }
        vouched
    }

    /// Ends the last file and tells whether all were what was hashed.
    pub fn finish(mut self) -> Result<(), Mismatch> {
        self.end();
        match self.mismatch {
            Some(mismatch) => Err(mismatch),
            None => Ok(()),
        }
    }

    fn end(&mut self) {
        if let Some((path, check)) = self.open.take()
            && !check.matches()
        {
            self.differs(&path);
        }
    }

    fn differs(&mut self, path: &Path) {
        self.mismatch.get_or_insert_with(|| Mismatch { path: path.to_owned() });
    }
}

/// Finds a file below an entry.
fn find<'a>(entry: &'a TreeEntry, path: &Path) -> Option<(&'a TreeEntry, &'a FileFacts)> {
    let mut entry = entry;
    for component in path.components() {
        let Component::Normal(name) = component else { return None };
        let Content::Directory(node) = entry.content() else { return None };
        entry = node.entry(name)?;
    }
    match entry.content() {
        Content::File(facts) => Some((entry, facts)),
        _ => None,
    }
}

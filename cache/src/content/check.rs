//! Whether what a copier copied is what was hashed.
//!
//! A key is made from a selection's hash before the step runs; if a file changes in between, the step's result would
//! be remembered under the wrong key. So COPY compares the bytes as they pass, and a difference means: hash again with a
//! new scan, and do the step again. Names need no comparing by the copier's side: it walks the selection's own
//! [`TreeNode`](super::TreeNode)s, not the folder.

use std::path::{Component, Path};

use super::node::{Content, FileFacts, TreeEntry};

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

/// Finds what a path, relative to an entry, stands for; the empty one is the entry itself.
pub fn find<'t>(entry: &'t TreeEntry, path: &Path) -> Option<&'t TreeEntry> {
    path.components().try_fold(entry, |entry, component| match (component, entry.content()) {
        (Component::Normal(name), Content::Directory(node)) => node.entry(name),
        _ => None,
    })
}

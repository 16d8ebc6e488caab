//! The folders that content hashes stand for.
//!
//! The hash of a selection is the hash of its matches, that of a folder the hash of its entries, which name the hashes
//! of folders below. Keeping the hashed bytes lets `why` descend from "the content differs" to the file that does.
//! A folder is kept once, however many records selected it, and for as long as a pre-image leads to it.
//!
//! A folder that is known has all that is below it known too. So what is new is found from the top down without
//! looking below what is known: an edit in a large tree costs a look at each entry of the folders on the way to it and
//! one row for each of those.

use std::collections::HashSet;

use rbuild_model::key::{CacheKey, ContentHash};
use rbuild_store::DatabaseError;
use rusqlite::{OptionalExtension, Transaction};

use super::trees::to_row;
use super::{RecordError, Records};
use crate::content::{Content, SelectionHash, TreeEntry, TreeNode};

/// One thing that a step selected of a tree, for the record of the step.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    /// The path as the step has it.
    pub path: &'a str,
    /// What it selected.
    pub content: &'a SelectionHash,
}

/// The root or an inner node of what was hashed.
#[derive(Clone, Copy)]
pub(super) enum Tree<'a> {
    Selection(&'a SelectionHash),
    Folder(&'a TreeNode),
}

impl<'a> Tree<'a> {
    fn hash(self) -> ContentHash {
        match self {
            Self::Selection(selection) => selection.hash(),
            Self::Folder(folder) => folder.hash(),
        }
    }

    fn folders(self) -> Vec<&'a TreeNode> {
        let below = |entry: &'a TreeEntry| match entry.content() {
            Content::Directory(node) => Some(&**node),
            _ => None,
        };
        match self {
            Self::Selection(selection) => {
                selection.matches().iter().filter_map(|matched| below(matched.entry())).collect()
            }
            Self::Folder(folder) => folder.entries().iter().filter_map(below).collect(),
        }
    }
}

/// One folder or selection, ready to be stored.
struct Node {
    hash: ContentHash,
    body: Vec<u8>,
    children: Vec<ContentHash>,
}

/// What is to be stored of some trees: the nodes that were not known, and where the search ended at known ones.
#[derive(Default)]
pub(super) struct NewNodes<'a> {
    nodes: Vec<Node>,
    known: Vec<Tree<'a>>,
}

impl<'a> NewNodes<'a> {
    /// Finds what is new of trees.
    pub(super) fn of(
        transaction: &Transaction<'_>,
        trees: impl IntoIterator<Item = Tree<'a>>,
    ) -> Result<Self, DatabaseError> {
        let mut look = transaction.prepare_cached("SELECT 1 FROM nodes WHERE hash = ?1")?;
        let mut new = Self::default();
        let mut seen = HashSet::new();
        let mut open: Vec<Tree<'a>> = trees.into_iter().collect();
        while let Some(tree) = open.pop() {
            let hash = tree.hash();
            if !seen.insert(hash) {
                continue;
            }
            if look.exists([hash.as_bytes()])? {
                new.known.push(tree);
                continue;
            }
            let body = match tree {
                Tree::Selection(selection) => selection.encoded().to_vec(),
                Tree::Folder(folder) => folder.encoded(),
            };
            let folders = tree.folders();
            new.nodes.push(Node {
                hash,
                body,
                children: folders.iter().map(|folder| folder.hash()).collect(),
            });
            open.extend(folders.into_iter().map(Tree::Folder));
        }
        Ok(new)
    }

    /// Stores what is new. What was known may have been dropped since: then it is new as well.
    pub(super) fn store(&self, transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
        let mut insert =
            transaction.prepare_cached("INSERT INTO nodes VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        let mut link =
            transaction.prepare_cached("INSERT INTO node_children VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
        for Node { hash, body, children } in &self.nodes {
            if insert.execute((hash.as_bytes(), body))? > 0 {
                for child in children {
                    link.execute((child.as_bytes(), hash.as_bytes()))?;
                }
            }
        }
        let again = Self::of(transaction, self.known.iter().copied())?;
        if again.nodes.is_empty() { Ok(()) } else { again.store(transaction) }
    }
}

/// Remembers where the contents of a content key came from. They are not in the key, which has the content instead.
pub(super) fn remember_paths(
    transaction: &Transaction<'_>,
    key: CacheKey,
    selected: &[Selected<'_>],
) -> Result<(), DatabaseError> {
    let mut insert =
        transaction.prepare_cached("INSERT INTO selections VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
    for (place, Selected { path, content: _ }) in selected.iter().enumerate() {
        insert.execute((key.as_bytes(), to_row(place as u64), path))?;
    }
    Ok(())
}

impl Records {
    /// Returns the paths of what a content key selects, in its order; empty if they are not known.
    pub fn selected_paths(&self, key: CacheKey) -> Result<Vec<String>, RecordError> {
        self.store.read(|transaction| {
            let mut statement = transaction
                .prepare_cached("SELECT path FROM selections WHERE pre_image = ?1 ORDER BY place")?;
            let rows = statement.query_map([key.as_bytes()], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Returns the hashed bytes of a folder or selection, if it is known; [`HashedNode`](crate::content::HashedNode)
    /// reads them.
    pub fn node(&self, hash: ContentHash) -> Result<Option<Vec<u8>>, RecordError> {
        self.store.read(|transaction| {
            let mut statement = transaction.prepare_cached("SELECT body FROM nodes WHERE hash = ?1")?;
            Ok(statement.query_row([hash.as_bytes()], |row| row.get(0)).optional()?)
        })
    }
}

/// Drops the folders that no pre-image leads to.
pub(super) fn drop_loose(transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
    let mut statement = transaction.prepare_cached(
        "DELETE FROM nodes WHERE NOT EXISTS (SELECT 1 FROM contents WHERE contents.hash = nodes.hash) \
         AND NOT EXISTS (SELECT 1 FROM node_children WHERE node_children.child = nodes.hash)",
    )?;
    // Each round drops the roots of what is loose; hashes form no cycles.
    while statement.execute([])? > 0 {}
    Ok(())
}

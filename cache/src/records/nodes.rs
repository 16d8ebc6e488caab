//! The folders that content hashes stand for.
//!
//! The hash of a tree is the hash of a folder, whose entries name the hashes of its files and folders. Keeping the
//! folders lets `why` descend from "the content differs" to the file that does. A folder is kept once, however many
//! records selected it, and for as long as a pre-image leads to it.

use rbuild_model::key::ContentHash;
use rbuild_store::DatabaseError;
use rusqlite::{OptionalExtension, Transaction};

use super::{RecordError, Records};

/// One folder of a hashed tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its hash.
    pub hash: ContentHash,
    /// Its entries, in the form of whoever hashed it.
    pub body: Vec<u8>,
    /// The folders in it.
    pub children: Vec<ContentHash>,
}

impl Records {
    /// Remembers folders; those that are known already cost a look.
    pub fn remember_nodes(&self, nodes: &[Node]) -> Result<(), RecordError> {
        self.store.write(|transaction| {
            let mut insert =
                transaction.prepare_cached("INSERT INTO nodes VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
            let mut link = transaction
                .prepare_cached("INSERT INTO node_children VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
            for Node { hash, body, children } in nodes {
                if insert.execute((hash.as_bytes(), body))? > 0 {
                    for child in children {
                        link.execute((child.as_bytes(), hash.as_bytes()))?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Returns the entries of a folder, if it is known.
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

//! Records: what was computed, what it is found by, what it cost.
//!
//! A record belongs to one result. It is found by its keys (definition and content keys are kept apart), it knows its
//! canonical key, and its *typed* pre-images say what the keys were made of, so that people can be told what changed.
//! A record outlives its tree: a tombstone still matches, so that a chain of steps resolves without bytes.
//!
//! [`Records`] is the [`CacheIndex`] over the store. Nothing is hashed or serialised inside a transaction.
//!
//! - `look_up`: waves of look-ups; what is found with its tree is leased to this process.
//! - `pre_images`: what keys were made of.
//! - [`builds`]: which records a build consisted of, in order; the last fifty builds of each project are kept.
//! - [`nodes`]: the folders of hashed trees that content hashes in pre-images stand for, shared between records.
//! - [`sweep`]: records and snapshots as the store's sweep sees them.
//!
//! Values of ARG and ENV stand in a table of their own; pre-images refer to them by hash. The database file is the
//! owner's alone (0600).

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rbuild_model::key::{CacheKey, PreImage};
use rbuild_model::snapshot::SnapshotId;
use rbuild_solver::index::{CacheIndex, Found, IndexError, NewRecord};
pub use rbuild_solver::index::{KeyKind, LookUp};
use rbuild_solver::{RecordId, Usage};
use rbuild_store::process::next_generation;
use rbuild_store::{DatabaseError, FileError, Lease, ObjectKind, Room, Store};
use rusqlite::{OptionalExtension, Transaction};
use thiserror::Error;

pub mod builds;
pub mod census;
mod look_up;
pub mod nodes;
mod pre_images;
mod schema;
pub mod sweep;
mod travel;
mod trees;

pub use schema::SCHEMA;
pub use travel::{IMPORTED, Travelling};
pub use trees::{forget_snapshot, is_durable, remember_snapshots};

use look_up::Looking;
use nodes::{NewNodes, Selected};
use pre_images::Prepared;
use trees::to_row;

#[cfg(test)]
mod tests;

/// Why the records did not do what was asked.
#[derive(Debug, Error)]
pub enum RecordError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The process could not be registered.
    #[error(transparent)]
    File(#[from] FileError),
    /// A pre-image could not be written down.
    #[error("failed to write down what the key of step `{name}` is made of")]
    Encode {
        /// The display name of the step.
        name: String,
        /// What JSON says.
        source: serde_json::Error,
    },
    /// A pre-image that was written down cannot be read.
    #[error("failed to read what key {key} was made of")]
    Decode {
        /// The key.
        key: CacheKey,
        /// What JSON says.
        source: serde_json::Error,
    },
}

impl From<rusqlite::Error> for RecordError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

/// The records of one store, and the lease of this process on those it found.
#[derive(Debug)]
pub struct Records {
    store: Store,
    format: String,
    lease: Mutex<Option<Lease>>,
    looking: Mutex<Looking>,
}

/// A record as it is shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordDetails {
    /// Its number.
    pub id: RecordId,
    /// The display name of the step.
    pub name: String,
    /// The canonical key.
    pub canonical: CacheKey,
    /// The definition key of its own, if it has one.
    pub definition: Option<CacheKey>,
    /// The content key, if it has one.
    pub content: Option<CacheKey>,
    /// Whether its tree is here.
    pub has_tree: bool,
    /// When the step began, in nanoseconds since the Unix epoch.
    pub started: i128,
    /// How long it took.
    pub took: Duration,
    /// What it used.
    pub usage: Usage,
    /// The name of its log file, if it printed anything.
    pub log: Option<String>,
}

fn kind_row(kind: KeyKind) -> i64 {
    match kind {
        KeyKind::Definition => 1,
        KeyKind::Content => 2,
    }
}

/// Names the tree of a record for leases and sweeps.
pub(crate) fn object_of(record: RecordId) -> [u8; 8] {
    record.0.to_be_bytes()
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| to_row(since.as_secs()))
}

impl Records {
    /// Opens the records of a store whose new trees have this snapshot format (the folder below `snapshots/`).
    pub fn new(store: &Store, format: &str) -> Self {
        Self {
            store: store.clone(),
            format: format.to_owned(),
            lease: Mutex::new(None),
            looking: Mutex::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a definition another way to find a record.
    pub fn add_alias(&self, definition: &PreImage, record: RecordId) -> Result<(), RecordError> {
        let prepared = Prepared::new(definition, "alias")?;
        self.store.write(|transaction| {
            prepared.store(transaction)?;
            claim(transaction, KeyKind::Definition, prepared.key, record)?;
            Ok(())
        })
    }

    /// Remembers a result and leases it; nothing is known of what its content key selects.
    pub fn remember(&self, record: &NewRecord) -> Result<RecordId, RecordError> {
        self.remember_in(record, &[], &Room::default())
    }

    /// Remembers a result and leases it, with what its content key selects, in the order of the key. From its row on the
    /// room that was reserved for it is counted.
    pub fn remember_in(
        &self,
        record: &NewRecord,
        selected: &[Selected<'_>],
        room: &Room,
    ) -> Result<RecordId, RecordError> {
        // Everything that hashes or serialises happens before the transaction.
        let definition =
            record.definition.as_ref().map(|image| Prepared::new(image, &record.name)).transpose()?;
        let content = record.content.as_ref().map(|image| Prepared::new(image, &record.name)).transpose()?;
        let started = i64::try_from(record.started).unwrap_or(0);
        let duration = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let now = now_s();
        let trees = selected.iter().map(|selected| nodes::Tree::Selection(selected.content));
        let folders = match selected {
            [] => NewNodes::default(),
            _ => self.store.read(|transaction| NewNodes::of(transaction, trees))?,
        };
        let (stamp, snapshot_stamp) = (self.store.stamp(), self.store.stamp());
        self.with_lease(|lease| {
            self.store.write(|transaction| {
                room.settle(transaction)?;
                trees::remember_snapshots(
                    transaction,
                    record.chain.layers(),
                    &self.format,
                    record.usage.bytes,
                    snapshot_stamp,
                )?;
                let chain = trees::chain_row(transaction, &record.chain)?;
                for image in [&definition, &content].into_iter().flatten() {
                    image.store(transaction)?;
                }
                if let Some(content) = &content {
                    folders.store(transaction)?;
                    nodes::remember_paths(transaction, content.key, selected)?;
                }
                let generation = next_generation(transaction)?;
                let id: i64 = transaction
                    .prepare_cached(
                        "INSERT INTO records (name, canonical, definition, content, tree, chain, started_ns, took_ns, \
                         cpu_ns, peak_memory, bytes, log, generation, used_at, unsynced) \
                         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) RETURNING id",
                    )?
                    .query_row(
                        rusqlite::params![
                            record.name,
                            record.canonical.as_bytes(),
                            definition.as_ref().map(|image| image.key.as_bytes()),
                            content.as_ref().map(|image| image.key.as_bytes()),
                            chain,
                            started,
                            duration(record.took),
                            record.usage.cpu.map(duration),
                            record.usage.peak_memory.map(to_row),
                            record.usage.bytes.map(to_row),
                            record.log,
                            generation,
                            now,
                            stamp,
                        ],
                        |row| row.get(0),
                    )?;
                let id = RecordId(id);
                for (kind, image) in [(KeyKind::Definition, &definition), (KeyKind::Content, &content)] {
                    if let Some(image) = image {
                        claim(transaction, kind, image.key, id)?;
                    }
                }
                lease.protect(transaction, &[(ObjectKind::RECORD, &object_of(id))])?;
                Ok(id)
            })
        })
    }

    /// Writes down how much room the layer of a record takes, which is counted after the record was made.
    pub fn measured(&self, record: RecordId, snapshot: SnapshotId, bytes: u64) -> Result<(), RecordError> {
        self.store.write(|transaction| {
            transaction
                .prepare_cached("UPDATE records SET bytes = ?2 WHERE id = ?1")?
                .execute((record.0, to_row(bytes)))?;
            transaction
                .prepare_cached("UPDATE snapshots SET bytes = ?2 WHERE id = ?1")?
                .execute((snapshot.as_bytes(), to_row(bytes)))?;
            Ok(())
        })
    }

    /// Forgets the tree of a record, as sweeping does; its keys go on matching.
    #[cfg(test)]
    pub(crate) fn forget_tree(&self, record: RecordId) -> Result<bool, RecordError> {
        Ok(self.store.write(|transaction| trees::drop_tree(transaction, record))?)
    }

    /// Forgets a snapshot that turned out to be missing or damaged, and with it the trees of all records upon it.
    pub fn forget_snapshot(&self, snapshot: SnapshotId) -> Result<(), RecordError> {
        Ok(self.store.write(|transaction| trees::forget_snapshot(transaction, snapshot))?)
    }

    /// Returns a record as it is shown to people.
    pub fn details(&self, record: RecordId) -> Result<Option<RecordDetails>, RecordError> {
        self.store.read(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT name, canonical, definition, content, tree, started_ns, took_ns, cpu_ns, peak_memory, bytes, \
                 log FROM records WHERE id = ?1",
            )?;
            let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<RecordDetails> {
                let key = |column: usize| -> rusqlite::Result<Option<CacheKey>> {
                    Ok(row.get::<_, Option<[u8; 32]>>(column)?.map(CacheKey::from_bytes))
                };
                let nanos = |number: i64| Duration::from_nanos(number.unsigned_abs());
                Ok(RecordDetails {
                    id: record,
                    name: row.get(0)?,
                    canonical: CacheKey::from_bytes(row.get(1)?),
                    definition: key(2)?,
                    content: key(3)?,
                    has_tree: row.get(4)?,
                    started: i128::from(row.get::<_, i64>(5)?),
                    took: nanos(row.get(6)?),
                    usage: Usage {
                        cpu: row.get::<_, Option<i64>>(7)?.map(nanos),
                        peak_memory: row.get::<_, Option<i64>>(8)?.map(i64::unsigned_abs),
                        bytes: row.get::<_, Option<i64>>(9)?.map(i64::unsigned_abs),
                    },
                    log: row.get(10)?,
                })
            };
            Ok(statement.query_row([record.0], read).optional()?)
        })
    }

    /// Returns when recorded steps ended, in nanoseconds since the Unix epoch; without those whose records are gone.
    pub fn ends(&self, records: &[RecordId]) -> Result<HashMap<RecordId, i128>, RecordError> {
        self.store.read(|transaction| {
            let mut statement =
                transaction.prepare_cached("SELECT started_ns, took_ns FROM records WHERE id = ?1")?;
            let mut ends = HashMap::with_capacity(records.len());
            for record in records {
                let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
                if let Some((started, took)) = statement.query_row([record.0], read).optional()? {
                    ends.insert(*record, i128::from(started) + i128::from(took));
                }
            }
            Ok(ends)
        })
    }

    /// Ends the lease on what was found and remembered so far; outside of tests it ends with this value.
    #[cfg(test)]
    fn release(&self) -> Result<(), RecordError> {
        *self.looking.lock().unwrap_or_else(PoisonError::into_inner) = Looking::No;
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner).take();
        lease.map_or(Ok(()), |lease| Ok(lease.release()?))
    }

    fn with_lease<T>(&self, body: impl FnOnce(&Lease) -> Result<T, RecordError>) -> Result<T, RecordError> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        let lease = match &mut *lease {
            Some(lease) => lease,
            empty => empty.insert(self.store.lease("records of a build")?),
        };
        body(lease)
    }
}

/// Lets a key lead to a record; the latest claim wins.
fn claim(
    transaction: &Transaction<'_>,
    kind: KeyKind,
    key: CacheKey,
    record: RecordId,
) -> Result<(), DatabaseError> {
    transaction
        .prepare_cached(
            "INSERT INTO keys VALUES (?1, ?2, ?3) ON CONFLICT (kind, key) DO UPDATE SET record = excluded.record",
        )?
        .execute((kind_row(kind), key.as_bytes(), record.0))?;
    Ok(())
}

impl From<RecordError> for IndexError {
    fn from(error: RecordError) -> Self {
        Self(Box::new(error))
    }
}

impl CacheIndex for Records {
    fn look_up(&self, wave: &[LookUp]) -> Result<Vec<Option<Found>>, IndexError> {
        self.find_more(wave).map_err(IndexError::from)
    }

    fn settle(&self) -> Result<(), IndexError> {
        Ok(Records::settle(self)?)
    }

    fn alias(&self, definition: &PreImage, record: RecordId) -> Result<(), IndexError> {
        self.add_alias(definition, record).map_err(IndexError::from)
    }

    fn insert(&self, record: &NewRecord) -> Result<RecordId, IndexError> {
        self.remember(record).map_err(IndexError::from)
    }
}

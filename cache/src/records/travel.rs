//! Records that come from caches elsewhere, and what of ours leaves.
//!
//! A record that is adopted has keys and costs and no tree. Its keys lead to it only where they led nowhere before: what
//! this store made or fetched itself always comes first. The table `imported` says where each came from, also after its
//! tree was fetched.

use rbuild_model::key::CacheKey;
use rbuild_model::snapshot::Chain;
use rbuild_solver::index::KeyKind;
use rbuild_store::process::next_generation;
use rbuild_store::{ObjectKind, Schema};
use rusqlite::OptionalExtension as _;

use super::trees::{self, to_row};
use super::{RecordDetails, RecordError, RecordId, Records, kind_row, now_s, object_of};
use crate::backends::catalog::Record;

/// Where imported records came from; comes behind [`super::SCHEMA`].
pub const IMPORTED: Schema = Schema {
    name: "cache.imported",
    migrations: &["
        CREATE TABLE imported (
            record INTEGER PRIMARY KEY REFERENCES records (id) ON DELETE CASCADE,
            source TEXT NOT NULL
        ) STRICT;
    "],
    promotable: &[],
};

/// A record of this store with all that leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Travelling {
    /// The record.
    pub details: RecordDetails,
    /// The keys that lead to it.
    pub keys: Vec<(KeyKind, CacheKey)>,
    /// Its tree, if it is here.
    pub chain: Option<Chain>,
}

impl Records {
    /// Takes records of a cache elsewhere over, without their trees.
    pub fn adopt(&self, source: &str, adopted: &[&Record]) -> Result<Vec<RecordId>, RecordError> {
        if adopted.is_empty() {
            return Ok(Vec::new());
        }
        let now = now_s();
        let stamp = || self.store.stamp();
        self.store.write(|transaction| {
            let generation = next_generation(transaction)?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO records (name, canonical, definition, content, tree, chain, started_ns, took_ns, cpu_ns, \
                 peak_memory, bytes, generation, used_at, unsynced) \
                 VALUES (?1, ?2, ?3, ?4, 0, 0, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) RETURNING id",
            )?;
            let mut mark = transaction.prepare_cached("INSERT INTO imported VALUES (?1, ?2)")?;
            let mut claim =
                transaction.prepare_cached("INSERT INTO keys VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
            let mut ids = Vec::with_capacity(adopted.len());
            for record in adopted {
                let id: i64 = insert.query_row(
                    rusqlite::params![
                        record.name,
                        record.canonical.as_bytes(),
                        record.definitions.first().map(CacheKey::as_bytes),
                        record.contents.first().map(CacheKey::as_bytes),
                        record.started_ns,
                        to_row(record.took_ns),
                        record.cpu_ns.map(to_row),
                        record.peak_memory.map(to_row),
                        record.bytes.map(to_row),
                        generation,
                        now,
                        stamp(),
                    ],
                    |row| row.get(0),
                )?;
                mark.execute((id, source))?;
                for (kind, key) in record.keys() {
                    claim.execute((kind_row(kind), key.as_bytes(), id))?;
                }
                ids.push(RecordId(id));
            }
            Ok(ids)
        })
    }

    /// Lets more keys lead to a record, where they lead nowhere.
    pub fn lead_to(&self, record: RecordId, keys: &[(KeyKind, CacheKey)]) -> Result<(), RecordError> {
        self.store.write(|transaction| {
            let mut claim =
                transaction.prepare_cached("INSERT INTO keys VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING")?;
            for (kind, key) in keys {
                claim.execute((kind_row(*kind), key.as_bytes(), record.0))?;
            }
            Ok(())
        })
    }

    /// Forgets those of some imported records whose trees never came.
    pub fn forget_adopted(&self, records: &[RecordId]) -> Result<(), RecordError> {
        self.store.write(|transaction| {
            let mut forget = transaction.prepare_cached(
                "DELETE FROM records WHERE id = ?1 AND tree = 0 AND id IN (SELECT record FROM imported)",
            )?;
            for record in records {
                forget.execute([record.0])?;
            }
            Ok(())
        })
    }

    /// Remembers that the trees of records are here now, and leases them.
    pub fn came(&self, trees_here: &[(RecordId, Chain)]) -> Result<(), RecordError> {
        let now = now_s();
        self.with_lease(|lease| {
            self.store.write(|transaction| {
                let generation = next_generation(transaction)?;
                for (record, chain) in trees_here {
                    let row = trees::chain_row(transaction, chain)?;
                    let stamp = self.store.stamp();
                    transaction
                        .prepare_cached(
                            "UPDATE records SET tree = 1, chain = ?2, generation = ?3, used_at = ?4, unsynced = ?5 \
                             WHERE id = ?1 AND tree = 0",
                        )?
                        .execute((record.0, row, generation, now, stamp))?;
                    lease.protect(transaction, &[(ObjectKind::RECORD, &object_of(*record))])?;
                }
                // Of a record that is gone by now, or had a tree, the chain may be nobody's.
                trees::drop_loose_chains(transaction)?;
                Ok(())
            })
        })
    }

    /// Returns records with all that leads to them, in order; nothing for those that are gone.
    pub fn travelling(&self, records: &[RecordId]) -> Result<Vec<Option<Travelling>>, RecordError> {
        records
            .iter()
            .map(|record| {
                let Some(details) = self.details(*record)? else { return Ok(None) };
                let (keys, chain) = self.store.read(|transaction| -> Result<_, RecordError> {
                    let mut statement = transaction
                        .prepare_cached("SELECT kind, key FROM keys WHERE record = ?1 ORDER BY kind, key")?;
                    let rows = statement.query_map([record.0], |row| {
                        let kind = if row.get::<_, i64>(0)? == kind_row(KeyKind::Content) {
                            KeyKind::Content
                        } else {
                            KeyKind::Definition
                        };
                        Ok((kind, CacheKey::from_bytes(row.get(1)?)))
                    })?;
                    let keys = rows.collect::<rusqlite::Result<Vec<_>>>()?;
                    let mut statement =
                        transaction.prepare_cached("SELECT chain FROM records WHERE id = ?1 AND tree = 1")?;
                    let row: Option<i64> = statement.query_row([record.0], |row| row.get(0)).optional()?;
                    Ok((keys, row.map(|row| trees::read_chain(transaction, row)).transpose()?))
                })?;
                Ok(Some(Travelling { details, keys, chain }))
            })
            .collect()
    }

    /// Says which of the snapshots of a chain were made by themselves, on nothing.
    pub fn standing_alone(&self, chain: &Chain) -> Result<Vec<bool>, RecordError> {
        self.store.read(|transaction| {
            let mut statement =
                transaction.prepare_cached("SELECT 1 FROM chains WHERE parent = 0 AND snapshot = ?1")?;
            chain.layers().iter().map(|layer| Ok(statement.exists([layer.as_bytes()])?)).collect()
        })
    }
}

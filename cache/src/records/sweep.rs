//! Records and snapshots as the store's sweep sees them.
//!
//! A record whose tree is swept becomes a tombstone, or goes altogether when no build names it. The snapshots of its
//! chain are swept after it, once no other chain, image or container needs them.

use std::time::Duration;

use rbuild_model::snapshot::SnapshotId;
use rbuild_store::collect::{Candidate, Collected, Mark, Protection, SweepError, Verdict};
use rbuild_store::doctor::Finding;
use rbuild_store::{DatabaseError, FileError, ObjectKind, Store};
use rusqlite::{OptionalExtension, Transaction};

use super::{RecordId, builds, trees};

/// The trees of records; comes before [`SnapshotTrees`].
#[derive(Clone, Copy, Debug)]
pub struct RecordTrees;

/// Committed snapshots.
#[derive(Clone, Copy, Debug)]
pub struct SnapshotTrees;

fn record_of(object: &[u8]) -> Result<RecordId, DatabaseError> {
    let bytes = object.try_into().map_err(|_| DatabaseError::Damaged {
        table: "lease_objects",
        why: "not the number of a record".to_owned(),
    })?;
    Ok(RecordId(i64::from_be_bytes(bytes)))
}

fn snapshot_of(object: &[u8]) -> Result<SnapshotId, DatabaseError> {
    let bytes = object.try_into().map_err(|_| DatabaseError::Damaged {
        table: "lease_objects",
        why: "not the id of a snapshot".to_owned(),
    })?;
    Ok(SnapshotId::from_bytes(bytes))
}

impl Collected for RecordTrees {
    fn kind(&self) -> ObjectKind {
        ObjectKind::RECORD
    }

    fn references(
        &self,
        transaction: &Transaction<'_>,
        object: &[u8],
        mark: &mut Mark,
    ) -> Result<(), DatabaseError> {
        let record = record_of(object)?;
        let mut statement = transaction.prepare_cached("SELECT chain, log FROM records WHERE id = ?1")?;
        let row = statement.query_row([record.0], |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)));
        if let Some((chain, log)) = row.optional()? {
            if let Some(log) = log {
                mark.keep(ObjectKind::LOG, log.as_bytes());
            }
            for snapshot in trees::read_chain(transaction, chain)?.layers() {
                mark.keep(ObjectKind::SNAPSHOT, snapshot.as_bytes());
            }
        }
        Ok(())
    }

    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        let mut statement = transaction
            .prepare_cached("SELECT id, used_at, took_ns FROM records WHERE tree = 1 ORDER BY generation")?;
        // The room belongs to the snapshots, which are counted by themselves.
        let rows = statement.query_map([], |row| {
            let took = Duration::from_nanos(row.get::<_, i64>(2)?.unsigned_abs());
            let object = super::object_of(RecordId(row.get(0)?)).to_vec();
            Ok(Candidate::new(object, 0).used_at(row.get(1)?).costing(took))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        if !trees::drop_tree(transaction, record_of(object)?)? {
            return Ok(Verdict::Needed);
        }
        Ok(Verdict::Condemned)
    }

    fn finish(&self, transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
        builds::bury(transaction).map(drop)
    }

    fn needs(
        &self,
        transaction: &Transaction<'_>,
        kind: ObjectKind,
        object: &[u8],
    ) -> Result<bool, DatabaseError> {
        if kind == ObjectKind::LOG {
            let Ok(name) = std::str::from_utf8(object) else { return Ok(false) };
            let text = "SELECT 1 FROM records WHERE log = ?1 AND tree = 1";
            return Ok(transaction.prepare_cached(text)?.exists([name])?);
        }
        if kind != ObjectKind::SNAPSHOT {
            return Ok(false);
        }
        let mut statement = transaction.prepare_cached("SELECT 1 FROM chains WHERE snapshot = ?1 LIMIT 1")?;
        Ok(statement.exists([object])?)
    }

    fn reclaim(&self, _: &Store, _: &[u8]) -> Result<(), SweepError> {
        // The files are the snapshots'.
        Ok(())
    }
}

impl Collected for SnapshotTrees {
    fn kind(&self) -> ObjectKind {
        ObjectKind::SNAPSHOT
    }

    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        let mut statement =
            transaction.prepare_cached("SELECT id, bytes FROM snapshots ORDER BY number DESC")?;
        let rows = statement
            .query_map([], |row| Ok(Candidate::new(row.get(0)?, row.get::<_, i64>(1)?.unsigned_abs())))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        let mut statement = transaction.prepare_cached("DELETE FROM snapshots WHERE id = ?1")?;
        Ok(if statement.execute([object])? > 0 { Verdict::Condemned } else { Verdict::Needed })
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        let Ok(snapshot) = snapshot_of(object) else { return Ok(()) };
        // The row is gone, and with it the format; a name is found in one format's folder at most.
        for folder in format_folders(store)? {
            if store.discard(&folder.join(snapshot.to_string()))? {
                break;
            }
        }
        Ok(())
    }

    fn protection(&self) -> Protection {
        Protection::Before
    }

    fn check(&self, store: &Store) -> Result<Vec<Finding>, DatabaseError> {
        let rows: Vec<([u8; 16], String)> = store.read(|transaction| -> Result<_, DatabaseError> {
            let mut statement = transaction.prepare_cached("SELECT id, format FROM snapshots")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let mut known = std::collections::HashSet::with_capacity(rows.len());
        let mut findings = Vec::new();
        for (id, format) in rows {
            let path = store.layout().snapshots(&format).join(SnapshotId::from_bytes(id).to_string());
            if !path.is_dir() {
                findings.push(Finding::Missing { path: path.clone() });
            }
            known.insert(path);
        }
        for folder in format_folders(store)? {
            let entries =
                std::fs::read_dir(&folder).map_err(|error| FileError::new("list", &folder, error))?;
            for entry in entries {
                let entry = entry.map_err(|error| FileError::new("list", &folder, error))?;
                let is_snapshot =
                    entry.file_name().to_str().is_some_and(|name| name.parse::<SnapshotId>().is_ok());
                if is_snapshot && !known.contains(&entry.path()) {
                    findings.push(Finding::Orphan { path: entry.path() });
                }
            }
        }
        Ok(findings)
    }
}

fn format_folders(store: &Store) -> Result<Vec<std::path::PathBuf>, FileError> {
    let folder = store.layout().root().join("snapshots");
    let entries = std::fs::read_dir(&folder).map_err(|error| FileError::new("list", &folder, error))?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    paths.collect::<Result<_, _>>().map_err(|error| FileError::new("list", &folder, error))
}

//! Blobs as the store's sweep sees them.

use std::collections::HashSet;
use std::time::Duration;

use rbuild_model::digest::BlobDigest;
use rbuild_store::collect::{Candidate, Collected, SweepError, Verdict};
use rbuild_store::doctor::Finding;
use rbuild_store::{DatabaseError, FileError, LockMode, ObjectKind, Store, Wait};
use rusqlite::Transaction;

use super::name_of;

/// What a blob is fetched or made with again, for the price of one that goes.
pub const BYTES_PER_SECOND: f64 = 20e6;

/// The files of blobs; comes after whatever names blobs.
#[derive(Clone, Copy, Debug)]
pub struct BlobFiles;

impl Collected for BlobFiles {
    fn kind(&self) -> ObjectKind {
        ObjectKind::BLOB
    }

    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        let mut statement = transaction
            .prepare_cached("SELECT digest, size, used_at FROM blobs ORDER BY generation, number")?;
        let rows = statement.query_map([], |row| {
            let bytes = row.get::<_, i64>(1)?.unsigned_abs();
            let again = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
            Ok(Candidate::new(row.get(0)?, bytes).used_at(row.get(2)?).costing(again))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        let gone = transaction.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([object])?;
        Ok(if gone > 0 { Verdict::Condemned } else { Verdict::Needed })
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        let Ok(bytes) = <[u8; 32]>::try_from(object) else { return Ok(()) };
        let digest = BlobDigest::from_bytes(bytes);
        // Somebody may have stored the very same blob since its row went: then the file is theirs.
        let _name = store.locks().scope().acquire(&name_of(digest), LockMode::Exclusive, &Wait::forever())?;
        let came_back = store.read(|transaction| -> Result<bool, DatabaseError> {
            Ok(transaction.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([object])?)
        })?;
        if !came_back {
            store.discard(&store.layout().blobs().join(digest.hex()))?;
        }
        Ok(())
    }

    fn check(&self, store: &Store) -> Result<Vec<Finding>, DatabaseError> {
        let rows: Vec<([u8; 32], i64)> = store.read(|transaction| -> Result<_, DatabaseError> {
            let mut statement = transaction.prepare_cached("SELECT digest, size FROM blobs")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let folder = store.layout().blobs();
        let mut known = HashSet::with_capacity(rows.len());
        let mut findings = Vec::new();
        for (digest, size) in rows {
            let path = folder.join(BlobDigest::from_bytes(digest).hex());
            match std::fs::symlink_metadata(&path) {
                Ok(stat) if stat.is_file() && stat.len() == size.unsigned_abs() => {}
                Ok(_) => findings.push(Finding::Damaged { path: path.clone() }),
                Err(_) => findings.push(Finding::Missing { path: path.clone() }),
            }
            known.insert(path);
        }
        let listed = std::fs::read_dir(&folder).map_err(|error| FileError::new("list", &folder, error))?;
        for entry in listed {
            let path = entry.map_err(|error| FileError::new("list", &folder, error))?.path();
            if !known.contains(&path) {
                findings.push(Finding::Orphan { path });
            }
        }
        Ok(findings)
    }
}

//! Folders of cache mounts as the store's sweep sees them.

use std::time::Duration;

use rbuild_store::collect::{Candidate, Collected, SweepError, Verdict};
use rbuild_store::doctor::Finding;
use rbuild_store::{DatabaseError, ObjectKind, Store};
use rusqlite::Transaction;

use super::{Mounts, has_row};

/// What a cache is filled with again, for the price of one that goes: it was downloaded and compiled.
const BYTES_PER_SECOND: f64 = 5e6;

/// The folders of cache mounts.
#[derive(Clone, Copy, Debug)]
pub struct MountFolders;

fn name_of(object: &[u8]) -> Option<&str> {
    std::str::from_utf8(object).ok().filter(|name| !name.contains('/') && !name.starts_with('.'))
}

impl Collected for MountFolders {
    fn kind(&self) -> ObjectKind {
        ObjectKind::MOUNT
    }

    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        let mut statement = transaction
            .prepare_cached("SELECT name, bytes, used_at FROM cache_mounts ORDER BY used_at, name")?;
        let rows = statement.query_map([], |row| {
            let bytes = row.get::<_, i64>(1)?.unsigned_abs();
            let again = Duration::from_secs_f64(bytes as f64 / BYTES_PER_SECOND);
            let name = row.get::<_, String>(0)?.into_bytes();
            Ok(Candidate::new(name, bytes).used_at(row.get(2)?).costing(again))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError> {
        let Some(name) = name_of(object) else { return Ok(Verdict::Needed) };
        let gone = transaction.prepare_cached("DELETE FROM cache_mounts WHERE name = ?1")?.execute([name])?;
        Ok(if gone > 0 { Verdict::Condemned } else { Verdict::Needed })
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        let Some(name) = name_of(object) else { return Ok(()) };
        // One rename, inside the transaction: whoever opens the folder writes its row first, and waits for this.
        store.write(|transaction| -> Result<(), DatabaseError> {
            if !has_row(transaction, name)? {
                store.discard(&Mounts::new(store).path(name))?;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn check(&self, store: &Store) -> Result<Vec<Finding>, DatabaseError> {
        let mounts = Mounts::new(store);
        // A folder without a row is from before there were rows; a row whose step died before the folder was made is not
        // yet wrong either.
        let missing = mounts.list()?.into_iter().filter(|mount| mount.bytes > 0);
        let paths = missing.map(|mount| mounts.path(&mount.is_for.name)).filter(|path| !path.is_dir());
        Ok(paths.map(|path| Finding::Missing { path }).collect())
    }
}

//! The folders of cache mounts: which there are, what they are for, when they were last used.
//!
//! A folder is protected by a lease of the process whose step uses it, taken with its row before the folder is looked
//! for ([`Mounts::open`]). It is condemned as any object is; its folder is moved away in a write transaction that
//! finds no row, so whoever opens it at that moment either keeps it or makes a new one.
//!
//! A folder knows how many of its users have not counted it since they opened it: each does when it is done with the
//! folder ([`Mounts::close`]). Where the number says that some are left and nobody uses the folder, they were killed, or had
//! no limit to keep; whoever has one counts the folder before room is reserved ([`Mounts::settle`]), or takes stock.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::SystemTime;

use rbuild_store::process::is_leased;
use rbuild_store::usage::bytes_of;
use rbuild_store::{DatabaseError, FileError, Lease, ObjectKind, Schema, Store};
use rusqlite::Transaction;

mod sweep;
#[cfg(test)]
mod tests;

pub use sweep::MountFolders;

/// The tables; every store that has cache mounts is opened with them.
pub const SCHEMA: Schema = Schema {
    name: "cache.mounts",
    migrations: &[
        "
        CREATE TABLE cache_mounts (
            name TEXT PRIMARY KEY,
            id TEXT NOT NULL,
            target TEXT NOT NULL,
            created_at INTEGER NOT NULL,
            used_at INTEGER NOT NULL,
            uses INTEGER NOT NULL,
            bytes INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
    ",
        UNCOUNTED,
    ],
    promotable: &[],
};

/// How many users of a folder may have written to it since its room was counted.
const UNCOUNTED: &str = "ALTER TABLE cache_mounts ADD COLUMN uncounted INTEGER NOT NULL DEFAULT 0;";

/// A use is written down again only when the last one is longer ago.
const USE_RESOLUTION_S: i64 = 60;

/// A folder that a step is about to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountUse {
    /// The name of the folder.
    pub name: String,
    /// What the mount is found by, as it is written.
    pub id: String,
    /// Where it is seen.
    pub target: String,
}

/// A folder of a cache mount as it is shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountFolder {
    /// What it is for.
    pub is_for: MountUse,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it was last used.
    pub used_at: i64,
    /// How many steps used it, those within a minute as one.
    pub uses: u64,
    /// Its room, as it was last counted.
    pub bytes: u64,
}

/// The folders of one store.
#[derive(Clone, Debug)]
pub struct Mounts {
    store: Store,
}

fn now_s() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}

impl Mounts {
    /// Opens the folders of a store.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Protects folders and writes down that they are used. Only then may a caller look for them, or make them.
    pub fn open(&self, uses: &[MountUse], lease: &Lease) -> Result<(), DatabaseError> {
        if uses.is_empty() {
            return Ok(());
        }
        let now = now_s();
        self.store.write(|transaction| {
            let objects: Vec<_> =
                uses.iter().map(|wanted| (ObjectKind::MOUNT, wanted.name.as_bytes())).collect();
            lease.protect(transaction, &objects)?;
            let mut insert = transaction.prepare_cached(
                "INSERT INTO cache_mounts VALUES (?1, ?2, ?3, ?4, ?4, 1, 0, 0) ON CONFLICT (name) DO UPDATE \
                 SET id = ?2, target = ?3, used_at = ?4, uses = uses + 1 WHERE used_at < ?4 - ?5",
            )?;
            let mut begin = transaction
                .prepare_cached("UPDATE cache_mounts SET uncounted = uncounted + 1 WHERE name = ?1")?;
            for MountUse { name, id, target } in uses {
                insert.execute((name, id, target, now, USE_RESOLUTION_S))?;
                begin.execute([name])?;
            }
            Ok(())
        })
    }

    /// Lists the folders, the last used first.
    pub fn list(&self) -> Result<Vec<MountFolder>, DatabaseError> {
        self.store.read(|transaction| {
            let mut statement = transaction.prepare_cached(
                "SELECT name, id, target, created_at, used_at, uses, bytes FROM cache_mounts \
                 ORDER BY used_at DESC, name",
            )?;
            let rows = statement.query_map([], |row| {
                Ok(MountFolder {
                    is_for: MountUse { name: row.get(0)?, id: row.get(1)?, target: row.get(2)? },
                    created_at: row.get(3)?,
                    used_at: row.get(4)?,
                    uses: row.get::<_, i64>(5)?.unsigned_abs(),
                    bytes: row.get::<_, i64>(6)?.unsigned_abs(),
                })
            })?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Counts the room of each folder, and gives those a row that have none: they are from before there were rows.
    pub fn take_stock(&self) -> Result<(), DatabaseError> {
        let left = self.left()?;
        let folder = self.store.layout().mounts();
        let failed = |error| FileError::new("list", &folder, error);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if let Ok(name) = entry.file_name().into_string() {
                let used_at = entry.metadata().map_or(0, |stat| std::os::unix::fs::MetadataExt::mtime(&stat));
                found.push((name, used_at, bytes_of(&entry.path())?));
            }
        }
        self.store.write(|transaction| {
            let mut insert = transaction.prepare_cached(
                "INSERT INTO cache_mounts VALUES (?1, '', '', ?2, ?2, 1, ?3, 0) ON CONFLICT (name) DO UPDATE \
                 SET bytes = ?3",
            )?;
            for (name, used_at, bytes) in found {
                // One that was moved away meanwhile has no row, and must get none.
                if self.path(&name).is_dir() {
                    insert.execute((&name, used_at, row(bytes)))?;
                    if let Some(users) = left.get(&name) {
                        forget_users(transaction, &name, *users)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// Counts the room of folders that were opened, that nobody uses any more and nobody has counted.
    pub fn settle(&self) -> Result<(), DatabaseError> {
        for (name, users) in self.left()? {
            self.write_counted(&name, |transaction| forget_users(transaction, &name, users))?;
        }
        Ok(())
    }

    /// Returns the folders that have users who will not count them any more, and how many.
    fn left(&self) -> Result<HashMap<String, i64>, DatabaseError> {
        let is_any = self.store.read(|transaction| -> Result<_, DatabaseError> {
            Ok(transaction.prepare_cached("SELECT 1 FROM cache_mounts WHERE uncounted > 0")?.exists([])?)
        })?;
        if !is_any {
            return Ok(HashMap::new());
        }
        self.store.void_dead_leases()?;
        self.store.read(|transaction| {
            let mut statement =
                transaction.prepare_cached("SELECT name, uncounted FROM cache_mounts WHERE uncounted > 0")?;
            let mut left = HashMap::new();
            for row in statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))? {
                let (name, users) = row?;
                if !is_leased(transaction, ObjectKind::MOUNT, name.as_bytes())? {
                    left.insert(name, users);
                }
            }
            Ok(left)
        })
    }

    /// Counts the room of a folder for one who goes on using it.
    pub fn count(&self, name: &str) -> Result<(), DatabaseError> {
        self.write_counted(name, |_| Ok(()))
    }

    /// Counts the room of folders for one who opened them and is done with them.
    pub fn close(&self, names: &[&str]) -> Result<(), DatabaseError> {
        for name in names {
            self.write_counted(name, |transaction| {
                let sql = "UPDATE cache_mounts SET uncounted = max(uncounted - 1, 0) WHERE name = ?1";
                transaction.prepare_cached(sql)?.execute([name])?;
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Counts a folder, and writes down its room and in the same moment who has counted it.
    fn write_counted(
        &self,
        name: &str,
        counted: impl FnOnce(&Transaction<'_>) -> Result<(), DatabaseError>,
    ) -> Result<(), DatabaseError> {
        let bytes = row(bytes_of(&self.path(name))?);
        self.store.write(|transaction| {
            let mut update =
                transaction.prepare_cached("UPDATE cache_mounts SET bytes = ?2 WHERE name = ?1")?;
            update.execute((name, bytes))?;
            counted(transaction)
        })
    }

    /// Throws folders away that there is no room for, whoever uses them.
    pub fn forget(&self, names: &[&str]) -> Result<(), DatabaseError> {
        self.store.write(|transaction| {
            for name in names {
                transaction.prepare_cached("DELETE FROM cache_mounts WHERE name = ?1")?.execute([name])?;
                self.store.discard(&self.path(name))?;
            }
            Ok(())
        })
    }

    /// Returns where a folder lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.store.layout().mounts().join(name)
    }
}

/// Forgets users that will not count a folder any more, unless somebody came or went since they were looked for.
fn forget_users(transaction: &Transaction<'_>, name: &str, users: i64) -> Result<(), DatabaseError> {
    let sql = "UPDATE cache_mounts SET uncounted = 0 WHERE name = ?1 AND uncounted = ?2";
    transaction.prepare_cached(sql)?.execute((name, users))?;
    Ok(())
}

fn row(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn has_row(transaction: &Transaction<'_>, name: &str) -> Result<bool, DatabaseError> {
    Ok(transaction.prepare_cached("SELECT 1 FROM cache_mounts WHERE name = ?1")?.exists([name])?)
}

//! From "renamed" to "on the disk": rows that name derived files, and how they become trusted.
//!
//! Derived data is renamed into place unsynced, and its row says so: the column `unsynced` holds a [`Stamp`], made of
//! the boot id and a number of its own. That survives `kill -9`. It may not survive a power loss, so a stamp of
//! another boot means the row is not to be believed, and it is dropped when the store is first opened after a boot.
//!
//! Promotion lists the stamped rows, syncs the whole file system once, and clears exactly the stamps it listed: a
//! row that was written again meanwhile carries another stamp and waits for the next promotion. That they are cleared is on
//! the disk before promotion succeeds: what a power loss brings back is a row that is trusted.

use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Transaction;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use crate::Store;
use crate::boot::BootId;
use crate::crash;
use crate::database::DatabaseError;
use crate::error::Context;

/// What the column `unsynced` of a derived row holds until promotion clears it to NULL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp([u8; 24]);

static NEXT: AtomicU64 = AtomicU64::new(0);

impl Stamp {
    /// Makes a stamp that no other row carries: the process takes part through its random id.
    pub(crate) fn new(boot: BootId, process: u64) -> Self {
        let number = process.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(boot.as_bytes());
        bytes[16..].copy_from_slice(&number.to_be_bytes());
        Self(bytes)
    }
}

impl ToSql for Stamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(ValueRef::Blob(&self.0)))
    }
}

/// A row as promotion listed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The row's number.
    pub row: i64,
    /// The stamp it carried.
    pub stamp: Vec<u8>,
}

/// A table whose rows name derived files.
///
/// [`DerivedTable`] is all that most tables need; a table that does not drop but reverts has its own implementation.
pub trait Promotable: Sync {
    /// Lists the rows that carry a stamp.
    fn unpromoted(&self, transaction: &Transaction<'_>) -> Result<Vec<Listed>, DatabaseError>;

    /// Clears the stamps of those listed rows that still carry them.
    fn promote(&self, transaction: &Transaction<'_>, listed: &[Listed]) -> Result<(), DatabaseError>;

    /// Undoes every row that was stamped under another boot; returns how many there were.
    fn undo_other_boots(&self, transaction: &Transaction<'_>, boot: BootId) -> Result<usize, DatabaseError>;
}

/// A table with a rowid and a column `unsynced BLOB`, whose unpromoted rows of another boot are deleted.
///
/// An index `ON <table>(rowid) WHERE unsynced IS NOT NULL` keeps each of these statements linear in what it finds.
#[derive(Clone, Copy, Debug)]
pub struct DerivedTable(pub &'static str);

impl Promotable for DerivedTable {
    fn unpromoted(&self, transaction: &Transaction<'_>) -> Result<Vec<Listed>, DatabaseError> {
        let text = format!("SELECT rowid, unsynced FROM {} WHERE unsynced IS NOT NULL", self.0);
        let mut statement = transaction.prepare_cached(&text)?;
        let rows = statement.query_map([], |row| Ok(Listed { row: row.get(0)?, stamp: row.get(1)? }))?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn promote(&self, transaction: &Transaction<'_>, listed: &[Listed]) -> Result<(), DatabaseError> {
        let text = format!("UPDATE {} SET unsynced = NULL WHERE rowid = ?1 AND unsynced = ?2", self.0);
        let mut statement = transaction.prepare_cached(&text)?;
        for Listed { row, stamp } in listed {
            statement.execute((row, stamp))?;
        }
        Ok(())
    }

    fn undo_other_boots(&self, transaction: &Transaction<'_>, boot: BootId) -> Result<usize, DatabaseError> {
        let text =
            format!("DELETE FROM {} WHERE unsynced IS NOT NULL AND substr(unsynced, 1, 16) <> ?1", self.0);
        Ok(transaction.prepare_cached(&text)?.execute([boot.as_bytes()])?)
    }
}

/// What a promotion did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Promoted {
    /// The rows that are trusted across a power loss from now on.
    pub rows: usize,
}

impl Store {
    /// Makes all derived data that is recorded now survive a power loss, before it succeeds.
    ///
    /// Called after a result was delivered, every 30 seconds while a command runs, and before precious data names
    /// derived data.
    pub fn promote(&self) -> Result<Promoted, DatabaseError> {
        let tables = || self.schemas().iter().flat_map(|schema| schema.promotable.iter());
        let listed = self.database().read(|transaction| {
            tables().map(|table| table.unpromoted(transaction)).collect::<Result<Vec<_>, DatabaseError>>()
        })?;
        crash::point("promote.listed");
        let rows = listed.iter().map(Vec::len).sum();
        if rows > 0 {
            // Reports write errors since the descriptor was opened with the store; an error promotes nothing.
            rustix::fs::syncfs(self.root_fd()).at("sync the file system of", self.layout().root())?;
            crash::point("promote.synced");
            self.database().write_synced(|transaction| {
                tables().zip(&listed).try_for_each(|(table, listed)| table.promote(transaction, listed))
            })?;
            crash::point("promote.marked");
        }
        self.database().checkpoint()?;
        Ok(Promoted { rows })
    }

    /// Counts the derived rows that a power loss would drop.
    pub fn unpromoted(&self) -> Result<usize, DatabaseError> {
        self.database().read(|transaction| {
            let tables = self.schemas().iter().flat_map(|schema| schema.promotable.iter());
            tables.map(|table| Ok(table.unpromoted(transaction)?.len())).sum()
        })
    }

    /// Returns a fresh stamp for the column `unsynced` of one derived row.
    pub fn stamp(&self) -> Stamp {
        Stamp::new(self.boot(), self.stamp_base())
    }

    /// Drops what was not promoted before the machine went down.
    pub(crate) fn undo_other_boots(&self) -> Result<usize, DatabaseError> {
        let boot = self.boot();
        self.database().write(|transaction| {
            let tables = self.schemas().iter().flat_map(|schema| schema.promotable.iter());
            tables.map(|table| table.undo_other_boots(transaction, boot)).sum()
        })
    }
}

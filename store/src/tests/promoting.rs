//! What promotion says is trusted has been synced when it says so.

use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Transaction;

use super::*;
use crate::promotion::Listed;

/// How SQLite syncs the commit that last cleared stamps: 1 is NORMAL (later), 2 is FULL (before it succeeds).
static LEVEL: AtomicI64 = AtomicI64::new(0);

/// The table of notes, which looks at how what it clears is to be synced.
struct Watched(DerivedTable);

impl Promotable for Watched {
    fn unpromoted(&self, transaction: &Transaction<'_>) -> Result<Vec<Listed>, DatabaseError> {
        self.0.unpromoted(transaction)
    }

    fn promote(&self, transaction: &Transaction<'_>, listed: &[Listed]) -> Result<(), DatabaseError> {
        let level = transaction.pragma_query_value(None, "synchronous", |row| row.get(0))?;
        LEVEL.store(level, Ordering::SeqCst);
        self.0.promote(transaction, listed)
    }

    fn undo_other_boots(&self, transaction: &Transaction<'_>, boot: BootId) -> Result<usize, DatabaseError> {
        self.0.undo_other_boots(transaction, boot)
    }
}

const WATCHED: Schema = Schema { promotable: &[&Watched(DerivedTable("notes"))], ..NOTES };

#[test]
fn promoted_rows_are_on_the_disk_as_such() {
    let place = Place::new();
    let store = Store::open(StoreOptions { schemas: &[&WATCHED], ..place.options() }).unwrap();
    add_note(&store, "a", None);
    assert_eq!(store.promote().unwrap().rows, 1);
    // The files alone are not enough: a row that comes back with its stamp is dropped.
    assert_eq!(LEVEL.load(Ordering::SeqCst), 2, "FULL");
}

//! The most that the cache may take: room is reserved before it is written.
//!
//! A store that was opened with a budget counts what is committed and no image and no container needs, and what is
//! reserved by live processes. [`Store::reserve_room`] adds a reservation only where all of it together stays within
//! the budget; else it makes room by sweeping what is cheapest to make again, and where that is not enough it
//! refuses. Whoever commits an object holds a reservation of at least its bytes until the object's row counts it, so
//! what is committed never exceeds the budget.
//!
//! Counting and adding happen under one lock, so two who reserve at once do not count the same room. What is protected
//! by leases, and what is reserved, is not taken for others.

use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Transaction;
use thiserror::Error;

use crate::Store;
use crate::collect::{Collected, Counted, Policy, Sweep, SweepError};
use crate::database::{DatabaseError, Schema};
use crate::error::FileError;
use crate::id::UniqueId;
use crate::lock::{LockClass, LockError, LockMode, LockName, Wait};
use crate::process::ObjectKind;
use crate::space::Bytes;

/// The table of reservations.
pub(crate) const SCHEMA: Schema = Schema {
    name: "store.budget",
    migrations: &["
        CREATE TABLE reservations (
            id INTEGER PRIMARY KEY,
            process BLOB NOT NULL,
            bytes INTEGER NOT NULL
        ) STRICT;
    "],
    promotable: &[],
};

/// The most that the cache may take, and who owns what is in it.
#[derive(Clone, Copy)]
pub struct Budget {
    /// In bytes.
    pub max: u64,
    /// The owners of what is counted and can be swept.
    pub owners: &'static [&'static dyn Collected],
}

/// Why no room was reserved.
#[derive(Debug, Error)]
pub enum RoomError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The lock of the budget failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Making room failed.
    #[error(transparent)]
    Sweep(#[from] SweepError),
    /// There is not enough, whatever is swept.
    #[error("the cache may take {max} (`cache.max`), {held} of it are in use, and {wanted} more are needed")]
    Full {
        /// The budget.
        max: Bytes,
        /// What cannot be swept, and what others reserved.
        held: Bytes,
        /// What was asked for.
        wanted: Bytes,
    },
}

/// Room that is reserved until this is dropped or the process ends. Without a budget it is nothing.
#[derive(Debug, Default)]
pub struct Room {
    reserved: Option<Reserved>,
}

#[derive(Debug)]
struct Reserved {
    store: Store,
    id: i64,
    bytes: AtomicI64,
}

fn row(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// What the cache takes: committed by rows, and reserved by others.
struct Taken {
    committed: u64,
    reserved: u64,
}

/// The bytes of what no image and no container needs.
fn counted(census: &[Counted]) -> u64 {
    let of_cache = census.iter().filter(|one| !one.needed && one.kind != ObjectKind::RECORD);
    of_cache.map(|one| one.candidate.bytes).sum()
}

/// What became of an attempt to make room.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Swept {
    /// Something went.
    Some,
    /// Somebody else was sweeping: what that came to is not known.
    ByOthers,
    /// There was nothing that could go.
    Nothing,
}

impl Store {
    /// Sets the budget of this opening; once.
    pub fn set_budget(&self, budget: Budget) {
        let _ = self.budget_cell().set(budget);
    }

    /// Whether there is a budget: then whoever commits says beforehand how much.
    pub fn has_budget(&self) -> bool {
        self.budget_cell().get().is_some()
    }

    /// Reserves room for what is about to be written.
    pub fn reserve_room(&self, bytes: u64) -> Result<Room, RoomError> {
        let Some(budget) = self.budget_cell().get() else { return Ok(Room::default()) };
        let process = self.process_id()?;
        // One that no other ever has: what was settled is dropped once more later, and must not take another's with it.
        let id = UniqueId::random()?.as_bytes().first_chunk().copied().map_or(0, i64::from_le_bytes);
        self.within(budget, bytes, None, |transaction| {
            transaction
                .prepare_cached("INSERT INTO reservations (id, process, bytes) VALUES (?1, ?2, ?3)")?
                .execute((id, process.as_bytes(), row(bytes)))?;
            Ok(())
        })?;
        let bytes = AtomicI64::new(row(bytes));
        Ok(Room { reserved: Some(Reserved { store: self.clone(), id, bytes }) })
    }

    /// Writes a reservation if there is room for it, after making some.
    fn within<T>(
        &self,
        budget: &Budget,
        wanted: u64,
        own: Option<i64>,
        write: impl Fn(&Transaction<'_>) -> Result<T, DatabaseError>,
    ) -> Result<T, RoomError> {
        let name = LockName::new(LockClass::Upkeep, "budget");
        let _lock = self.locks().scope().acquire(&name, LockMode::Exclusive, &Wait::forever())?;
        self.forget_dead_reservations()?;
        let max = budget.max;
        let mut last = false;
        loop {
            let taken = self.taken(budget, own)?;
            let all = taken.committed.saturating_add(taken.reserved).saturating_add(wanted);
            if all <= max {
                return Ok(self.write(|transaction| write(transaction))?);
            }
            if last || taken.reserved.saturating_add(wanted) > max {
                let held = taken.committed.saturating_add(taken.reserved);
                return Err(RoomError::Full { max: Bytes(max), held: Bytes(held), wanted: Bytes(wanted) });
            }
            // What is kept is what fits beside the reservations.
            let keep = max.saturating_sub(taken.reserved).saturating_sub(wanted);
            // Where nothing was left to take, somebody else may have taken it since it was counted: it is counted once more.
            last = self.make_room(budget, keep)? == Swept::Nothing;
        }
    }

    /// Sweeps until only so many bytes are left.
    fn make_room(&self, budget: &Budget, keep: u64) -> Result<Swept, RoomError> {
        // What is held stays and counts: the rest has to fit beside it.
        let policy = Policy { used_since: None, keep_bytes: Some(keep.saturating_sub(self.held(budget)?)) };
        match self.sweep(budget.owners, &policy, Sweep::Take) {
            Ok(report) if report.bytes == 0 => Ok(Swept::Nothing),
            Ok(_) => Ok(Swept::Some),
            Err(SweepError::Busy) => {
                // Somebody is making room just now: that is waited for, and then counted again.
                let name = LockName::new(LockClass::Upkeep, "sweep");
                drop(self.locks().scope().acquire(&name, LockMode::Exclusive, &Wait::forever())?);
                Ok(Swept::ByOthers)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The bytes of what is counted and leased.
    fn held(&self, budget: &Budget) -> Result<u64, RoomError> {
        let all = counted(&self.census(budget.owners)?);
        let free = self.sweep(budget.owners, &Policy::default(), Sweep::Dry)?.bytes;
        Ok(all.saturating_sub(free))
    }

    /// Counts all in one moment: what is settled meanwhile is counted by its row or by its reservation, and not by neither.
    fn taken(&self, budget: &Budget, own: Option<i64>) -> Result<Taken, RoomError> {
        let (census, reserved) =
            self.census_and(budget.owners, |transaction| -> Result<i64, DatabaseError> {
                let mut statement = transaction
                    .prepare_cached("SELECT coalesce(sum(bytes), 0) FROM reservations WHERE id IS NOT ?1")?;
                Ok(statement.query_row([own], |row| row.get(0))?)
            })?;
        Ok(Taken { committed: counted(&census), reserved: reserved.unsigned_abs() })
    }

    /// Drops the reservations of processes that are no more.
    fn forget_dead_reservations(&self) -> Result<(), RoomError> {
        let processes: Vec<[u8; 16]> = self.read(|transaction| -> Result<_, DatabaseError> {
            let mut statement = transaction.prepare_cached("SELECT DISTINCT process FROM reservations")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })?;
        let own = self.process_id()?;
        for process in processes {
            let id = UniqueId::from_bytes(process);
            if id != own && !self.is_alive(id)? {
                self.write(|transaction| -> Result<(), DatabaseError> {
                    transaction.execute("DELETE FROM reservations WHERE process = ?1", [process])?;
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

impl Room {
    /// Reserves so much altogether: more, if it is less until now.
    pub fn grow_to(&self, bytes: u64) -> Result<(), RoomError> {
        let Some(Reserved { store, id, bytes: known }) = &self.reserved else { return Ok(()) };
        if row(bytes) <= known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let Some(budget) = store.budget_cell().get() else { return Ok(()) };
        store.within(budget, bytes, Some(*id), |transaction| {
            transaction
                .prepare_cached("UPDATE reservations SET bytes = ?2 WHERE id = ?1")?
                .execute((id, row(bytes)))?;
            Ok(())
        })?;
        known.store(row(bytes), Ordering::Relaxed);
        Ok(())
    }

    /// In the transaction that writes the row of what was reserved for: from now on that row counts.
    pub fn settle(&self, transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
        if let Some(Reserved { id, .. }) = &self.reserved {
            transaction.prepare_cached("DELETE FROM reservations WHERE id = ?1")?.execute([id])?;
        }
        Ok(())
    }
}

impl std::fmt::Debug for Budget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Budget").field("max", &self.max).finish_non_exhaustive()
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        // What cannot be dropped now goes with the process.
        let _ = self.store.write(|transaction| -> Result<(), DatabaseError> {
            transaction.prepare_cached("DELETE FROM reservations WHERE id = ?1")?.execute([self.id])?;
            Ok(())
        });
    }
}

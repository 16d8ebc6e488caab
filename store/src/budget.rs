//! The most that images and the cache may take: room is reserved before it is written.
//!
//! A store that was opened with a budget counts all objects that owners know, each once whoever needs it, and what is
//! reserved by live processes. [`Store::reserve_room`] adds a reservation only where all of it together stays within
//! the budget; else it makes room by sweeping what is cheapest to make again, and where that is not enough it
//! refuses, takes nothing, and says what holds the room. Whoever commits an object holds a reservation of at least its
//! bytes until the object's row counts it, so what is committed never exceeds the budget.
//!
//! Counting and adding happen under one lock, so two who reserve at once do not count the same room. What is protected
//! by leases, and what is reserved, is not taken for others.

mod holders;

use std::sync::atomic::{AtomicI64, Ordering};

use rusqlite::Transaction;
use thiserror::Error;

use crate::Store;
use crate::collect::{Collected, Policy, Sweep, SweepError};
use crate::database::{self, DatabaseError, Schema};
use crate::error::FileError;
use crate::id::UniqueId;
use crate::lock::{LockClass, LockError, LockMode, LockName, Wait};
use crate::process::{ALL, is_leased};
use crate::space::Bytes;

pub use holders::Holder;

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

/// The most that images and the cache may take, and who owns what is in them.
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
    #[error("images and the cache may take {max} (`cache.max`), {held} of it are in use{}, and {extent}{wanted} more are needed", holders::told(.holders))]
    Full {
        /// The budget.
        max: Bytes,
        /// What stays whatever is swept, and what others reserved.
        held: Bytes,
        /// What was asked for.
        wanted: Bytes,
        /// Whether that is all.
        extent: Extent,
        /// Who has what stays, the largest first.
        holders: Vec<Holder>,
    },
}

/// How much is known of what is going to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What came so far; more may follow.
    SoFar,
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Whole => "",
            Self::SoFar => "at least ",
        })
    }
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

/// What is taken: committed by rows, and reserved by others.
struct Taken {
    committed: u64,
    reserved: u64,
}

/// What a reservation does not fit beside.
struct Shortage {
    wanted: u64,
    /// What stays whatever is swept.
    committed: u64,
    /// What others reserved.
    reserved: u64,
}

/// So often is looked again at what is only held for a moment: a second and a half altogether.
const MOMENTS: i32 = 40;

/// How hard room is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// It is wanted if there is any now.
    Now,
    /// It is needed: what others hold for a moment is waited for.
    Patient,
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
        let short = self.within(budget, bytes, None, Effort::Patient, &|transaction| {
            transaction
                .prepare_cached("INSERT INTO reservations (id, process, bytes) VALUES (?1, ?2, ?3)")?
                .execute((id, process.as_bytes(), row(bytes)))?;
            Ok(())
        })?;
        self.refuse(budget, short, Extent::Whole)?;
        let bytes = AtomicI64::new(row(bytes));
        Ok(Room { reserved: Some(Reserved { store: self.clone(), id, bytes }) })
    }

    /// Writes a reservation if there is room for it, after making some; returns what there is not.
    fn within(
        &self,
        budget: &Budget,
        wanted: u64,
        own: Option<i64>,
        effort: Effort,
        write: &dyn Fn(&Transaction<'_>) -> Result<(), DatabaseError>,
    ) -> Result<Option<Shortage>, RoomError> {
        let name = LockName::new(LockClass::Upkeep, "budget");
        let _lock = self.locks().scope().acquire(&name, LockMode::Exclusive, &Wait::forever())?;
        self.forget_dead_reservations()?;
        let max = budget.max;
        let most = if effort == Effort::Patient { MOMENTS } else { 1 };
        let mut attempt = 0;
        loop {
            let Taken { committed, reserved } = self.taken(budget, own)?;
            let beside = reserved.saturating_add(wanted);
            if committed.saturating_add(beside) <= max {
                self.write(write)?;
                return Ok(None);
            }
            // For what does not fit beside what stays in any case, nothing goes.
            self.void_dead_leases()?;
            let was_all_leased = self.is_all_leased(budget)?;
            let free = self.sweep(budget.owners, &Policy::default(), Sweep::Dry)?.bytes;
            let committed = committed.saturating_sub(free);
            let is_there = committed.saturating_add(beside) <= max;
            if is_there && self.make_room(budget, max - committed - beside)? != Swept::Nothing {
                continue;
            }
            // What was there and could not be taken was taken by others since it was counted, or is looked up by them; and
            // who looks many up protects all of a kind meanwhile. Nothing tells when that is over.
            let is_momentary = is_there || was_all_leased || self.is_all_leased(budget)?;
            if !is_momentary || attempt == most {
                return Ok(Some(Shortage { wanted, committed, reserved }));
            }
            database::pause(attempt);
            attempt += 1;
        }
    }

    /// Tells whether all objects of a kind are protected: somebody is looking some up.
    fn is_all_leased(&self, budget: &Budget) -> Result<bool, DatabaseError> {
        self.read(|transaction| {
            for owner in budget.owners {
                if is_leased(transaction, owner.kind(), ALL)? {
                    return Ok(true);
                }
            }
            Ok(false)
        })
    }

    /// Refuses what there is no room for, and says what holds it.
    fn refuse(&self, budget: &Budget, short: Option<Shortage>, extent: Extent) -> Result<(), RoomError> {
        let Some(Shortage { wanted, committed, reserved }) = short else { return Ok(()) };
        Err(RoomError::Full {
            max: Bytes(budget.max),
            held: Bytes(committed.saturating_add(reserved)),
            wanted: Bytes(wanted),
            extent,
            holders: self.holders(budget, reserved)?,
        })
    }

    /// Sweeps until only so many bytes are left of what may go.
    fn make_room(&self, budget: &Budget, keep: u64) -> Result<Swept, RoomError> {
        let policy = Policy { used_since: None, keep_bytes: Some(keep) };
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

    /// Counts all in one moment: what is settled meanwhile is counted by its row or by its reservation, and not by neither.
    fn taken(&self, budget: &Budget, own: Option<i64>) -> Result<Taken, RoomError> {
        let (committed, reserved) =
            self.total_and(budget.owners, |transaction| -> Result<i64, DatabaseError> {
                let mut statement = transaction
                    .prepare_cached("SELECT coalesce(sum(bytes), 0) FROM reservations WHERE id IS NOT ?1")?;
                Ok(statement.query_row([own], |row| row.get(0))?)
            })?;
        Ok(Taken { committed, reserved: reserved.unsigned_abs() })
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

/// What is reserved beyond a count that grows is the eighth of it, within these bounds: not each step has to reserve.
const AHEAD: std::ops::RangeInclusive<u64> = 4 << 20..=32 << 20;

impl Room {
    /// Reserves so much altogether where more follows: some of that too, as far as there is room.
    pub fn grow_with(&self, bytes: u64) -> Result<(), RoomError> {
        if self.covers(bytes) {
            return Ok(());
        }
        let ahead = (bytes / 8).clamp(*AHEAD.start(), *AHEAD.end());
        match self.try_grow(bytes.saturating_add(ahead), Effort::Now)? {
            None => Ok(()),
            Some(_) => self.grow(bytes, Extent::SoFar),
        }
    }

    /// As [`Room::grow_with`], where what others see grow besides (a log) has to fit as well: looks in any case.
    pub fn hold_with(&self, bytes: u64) -> Result<(), RoomError> {
        if !self.covers(bytes) {
            return self.grow_with(bytes);
        }
        let Some((Reserved { store, id, bytes: known }, budget)) = self.counted() else { return Ok(()) };
        let known = known.load(Ordering::Relaxed).unsigned_abs();
        store.refuse(
            budget,
            store.within(budget, known, Some(*id), Effort::Patient, &|_| Ok(()))?,
            Extent::SoFar,
        )
    }

    /// Whether so much is reserved, or nothing is counted.
    fn covers(&self, bytes: u64) -> bool {
        self.reserved.as_ref().is_none_or(|reserved| row(bytes) <= reserved.bytes.load(Ordering::Relaxed))
    }

    /// What it counts for, and where.
    fn counted(&self) -> Option<(&Reserved, &Budget)> {
        let reserved = self.reserved.as_ref()?;
        Some((reserved, reserved.store.budget_cell().get()?))
    }

    /// Reserves so much altogether: more, if it is less until now.
    pub fn grow_to(&self, bytes: u64) -> Result<(), RoomError> {
        self.grow(bytes, Extent::Whole)
    }

    fn grow(&self, bytes: u64, extent: Extent) -> Result<(), RoomError> {
        let short = self.try_grow(bytes, Effort::Patient)?;
        let Some((reserved, budget)) = self.counted() else { return Ok(()) };
        reserved.store.refuse(budget, short, extent)
    }

    /// Reserves so much altogether if there is room for it; returns what there is not.
    fn try_grow(&self, bytes: u64, effort: Effort) -> Result<Option<Shortage>, RoomError> {
        if self.covers(bytes) {
            return Ok(None);
        }
        let Some((Reserved { store, id, bytes: known }, budget)) = self.counted() else { return Ok(None) };
        let short = store.within(budget, bytes, Some(*id), effort, &|transaction| {
            transaction
                .prepare_cached("UPDATE reservations SET bytes = ?2 WHERE id = ?1")?
                .execute((id, row(bytes)))?;
            Ok(())
        })?;
        if short.is_none() {
            known.store(row(bytes), Ordering::Relaxed);
        }
        Ok(short)
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

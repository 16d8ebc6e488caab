//! The root folder: layout, database, locks, leases, durability.
//!
//! A store is two folders ([`layout`] draws them): the root, which survives a reboot, and the run folder, which does
//! not. Any number of processes use one store at once and need no daemon between them:
//!
//! - rows live in SQLite ([`database`]); owners bring their tables as [`Schema`]s;
//! - named `flock`s serialise what must be ([`lock`]); a process registers with one held for life, and its leases
//!   protect what it uses ([`process`]);
//! - files and trees appear under their names whole ([`durable`]), either derived (unsynced, promoted later, see
//!   [`promotion`]) or precious (on the disk before success); what takes several attempts has a name of its own until then
//!   ([`partial`]);
//! - what nothing needs is swept ([`collect`]) into the trash ([`trash`]); where there is a limit, room is reserved before
//!   it is written ([`budget`]);
//! - what happened is told through append-only segments ([`events`]).
//!
//! Everything here is synchronous and nothing polls. Opening is cheap ([`open`]): a current store of this boot costs
//! some dozen system calls and one query.
//!
//! Order of deletion: the row, synced; then the rename into the trash; then the unlinking. Order of creation: the
//! lease, the object, its row.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

pub mod boot;
pub mod budget;
pub mod cancel;
pub mod collect;
pub mod crash;
pub mod database;
pub mod doctor;
pub mod durable;
pub mod error;
pub mod events;
pub mod id;
pub mod layout;
pub mod lock;
pub mod meta;
pub mod open;
pub mod partial;
pub mod process;
pub mod promotion;
pub mod space;
pub mod stoppable;
pub mod trash;
pub mod usage;

pub use boot::BootId;
pub use budget::{Budget, Room, RoomError};
pub use cancel::{Cancel, Canceller, Wake};
pub use database::{Database, DatabaseError, Schema};
pub use durable::{Access, Published, TempFile, TempTree, sync_tree};
pub use error::{ErrorKind, FileError};
pub use id::UniqueId;
pub use layout::Layout;
pub use lock::{Flight, Holder, Lock, LockClass, LockError, LockMode, LockName, LockScope, Locks, Wait};
pub use meta::StoreId;
pub use open::{OpenError, StoreOptions, is_abandoned};
pub use partial::PartialFile;
pub use process::{Lease, ObjectKind};
pub use promotion::{DerivedTable, Promotable, Stamp};
pub use stoppable::Stoppable;

use process::Process;
use space::Reserve;

#[cfg(test)]
mod tests;

/// An open store; clones are the same opening of it.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    layout: Layout,
    id: StoreId,
    boot: BootId,
    purpose: String,
    schemas: Vec<&'static Schema>,
    database: Database,
    locks: Locks,
    reserve: Reserve,
    process: ProcessCell,
    budget: OnceLock<budget::Budget>,
    stamp_base: u64,
    /// The root folder, opened before anything was written: `syncfs` on it reports every later write error.
    root: OwnedFd,
    /// Holds the store-wide lock shared, for life.
    _presence: OwnedFd,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(process) = self.process.get() {
            process.retire();
        }
    }
}

/// The registration, made once at first need.
#[derive(Default)]
pub(crate) struct ProcessCell {
    made: OnceLock<Process>,
    making: Mutex<()>,
}

impl ProcessCell {
    pub(crate) fn get(&self) -> Option<&Process> {
        self.made.get()
    }

    pub(crate) fn get_or_try_register(
        &self,
        register: impl FnOnce() -> Result<Process, FileError>,
    ) -> Result<&Process, FileError> {
        if self.made.get().is_none() {
            let _making = self.making.lock().unwrap_or_else(PoisonError::into_inner);
            if self.made.get().is_none() {
                let process = register()?;
                return Ok(self.made.get_or_init(|| process));
            }
        }
        Ok(self.made.get().expect("it was made just now or before"))
    }
}

impl Store {
    /// Returns the paths.
    pub fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    /// Returns the random id.
    pub fn id(&self) -> StoreId {
        self.inner.id
    }

    /// Returns the current boot.
    pub fn boot(&self) -> BootId {
        self.inner.boot
    }

    /// Returns the database.
    pub fn database(&self) -> &Database {
        &self.inner.database
    }

    /// Runs a transaction that only reads; see [`Database::read`].
    pub fn read<T, E: From<DatabaseError>>(
        &self,
        body: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.inner.database.read(body)
    }

    /// Runs a transaction that may write; see [`Database::write`].
    pub fn write<T, E: From<DatabaseError>>(
        &self,
        body: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.inner.database.write(body)
    }

    /// Runs a transaction that is on the disk before it succeeds; see [`Database::write_synced`].
    pub fn write_synced<T, E: From<DatabaseError>>(
        &self,
        body: impl FnOnce(&rusqlite::Transaction<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        self.inner.database.write_synced(body)
    }

    /// Returns the named locks.
    pub fn locks(&self) -> &Locks {
        &self.inner.locks
    }

    /// Returns the reserve for a full disk.
    pub fn reserve(&self) -> &Reserve {
        &self.inner.reserve
    }

    /// Returns what this process uses the store for, as it tells others.
    pub fn purpose(&self) -> &str {
        &self.inner.purpose
    }

    pub(crate) fn schemas(&self) -> &[&'static Schema] {
        &self.inner.schemas
    }

    pub(crate) fn process_cell(&self) -> &ProcessCell {
        &self.inner.process
    }

    pub(crate) fn budget_cell(&self) -> &OnceLock<budget::Budget> {
        &self.inner.budget
    }

    pub(crate) fn stamp_base(&self) -> u64 {
        self.inner.stamp_base
    }

    pub(crate) fn root_fd(&self) -> BorrowedFd<'_> {
        self.inner.root.as_fd()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("root", &self.inner.layout.root()).field("id", &self.inner.id).finish()
    }
}

/// The default size of the reserve: 16 MiB.
pub const DEFAULT_RESERVE: u64 = 16 << 20;

impl StoreOptions {
    /// Options with the default reserve.
    pub fn new(root: impl Into<PathBuf>, runtime: impl Into<PathBuf>, purpose: impl Into<String>) -> Self {
        Self {
            root: root.into(),
            runtime: runtime.into(),
            purpose: purpose.into(),
            schemas: &[],
            reserve: DEFAULT_RESERVE,
        }
    }
}

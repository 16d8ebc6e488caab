//! Mark and sweep over what owners register.
//!
//! The sweep knows no tables. Each owner implements [`Collected`] for one kind of object: what of it is kept for its
//! own sake ([`Collected::keepers`]), what an object needs ([`Collected::references`]), which objects exist.
//!
//! 1. Leases of dead processes are voided.
//! 2. Marking reads one consistent state: roots and leased objects, and all that these need.
//! 3. Each unmarked object of that state is condemned in a write transaction that looks again: a lease or a reference
//!    that came meanwhile saves it. All rows that lead to the object go in that transaction, of whichever owner
//!    ([`Collected::forget`]), and look-ups take their lease in the one that finds the object, so nothing slips between.
//!    The rows of a batch are gone, and synced, before any file is touched.
//! 4. Outside of all transactions the owner moves the files into the trash, which is emptied at the end.
//!
//! Objects that appear after the marking are not candidates. A dry run is the same code without the third step.
//!
//! Some kinds have no rows: files that only save work, and are listed before the marking ([`Collected::survey`]).
//! Where only so much is to go, `plan` chooses.

mod mark;
mod plan;
mod sweep;

use std::time::Duration;

use rusqlite::Transaction;
use thiserror::Error;

pub use mark::Mark;

use crate::Store;
use crate::database::DatabaseError;
use crate::error::FileError;
use crate::lock::LockError;
use crate::process::ObjectKind;

/// Why a sweep did not run or stopped.
#[derive(Debug, Error)]
pub enum SweepError {
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The lock of sweeps failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process is sweeping.
    #[error("another rbuild is sweeping this store")]
    Busy,
}

/// What is kept although no image or container needs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Keep what was used at or after this time, in seconds since 1970; without it age keeps nothing.
    pub used_since: Option<i64>,
    /// Keep so many bytes of what no image needs: what is dearest to make again, and was used last; without it nothing
    /// is kept for its size.
    pub keep_bytes: Option<u64>,
}

/// Says of an object whether it may go at all, whatever the policy.
pub type Choice<'a> = &'a dyn Fn(ObjectKind, &Candidate) -> bool;

/// An object that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// What it is called.
    pub object: Vec<u8>,
    /// How much room it takes, as far as its row tells.
    pub bytes: u64,
    /// When it was last used, in seconds since 1970; `None` for what lives for others alone.
    pub used_at: Option<i64>,
    /// How long making it again takes.
    pub cost: Duration,
    /// Whether its owner knows of somebody who works with it, without a lease: then it counts and stays.
    pub in_use: bool,
}

impl Candidate {
    /// An object that lives for others alone.
    pub fn new(object: Vec<u8>, bytes: u64) -> Self {
        Self { object, bytes, used_at: None, cost: Duration::ZERO, in_use: false }
    }

    /// Somebody works with the object.
    #[must_use]
    pub fn in_use(self) -> Self {
        Self { in_use: true, ..self }
    }

    /// The object was last used at a time.
    #[must_use]
    pub fn used_at(self, used_at: i64) -> Self {
        Self { used_at: Some(used_at), ..self }
    }

    /// Making it again takes so long.
    #[must_use]
    pub fn costing(self, cost: Duration) -> Self {
        Self { cost, ..self }
    }
}

/// An object that exists, and why it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counted {
    /// The kind.
    pub kind: ObjectKind,
    /// The object and its room.
    pub candidate: Candidate,
    /// Whether somebody uses it now.
    pub leased: bool,
    /// Whether something that is kept for its own sake needs it.
    pub needed: bool,
}

/// Something that people keep for its own sake: a named image, a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keeper {
    /// What it is called: `image debian:12`.
    pub name: String,
    /// What it keeps, of whatever kind; all that these need stays with them.
    pub objects: Vec<(ObjectKind, Vec<u8>)>,
}

/// What became of an object that was to be condemned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Its rows are gone: nobody finds it any more.
    Condemned,
    /// It stays.
    Needed,
}

/// When the files of an object begin to be protected from being taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// Everybody leases the object before its files get their name: what is there without a lease or a row is nobody's.
    Before,
    /// The lease comes with the row, after the files.
    Afterwards,
}

/// One kind of object that can be swept; implemented by its owner.
///
/// An owner says what it lists, what it holds on to and how it is taken away; of what it says nothing, there is nothing.
pub trait Collected: Sync {
    /// Returns the kind.
    fn kind(&self) -> ObjectKind;

    /// Lists what is kept for its own sake: named or pinned. What the policy keeps, the sweep keeps.
    fn keepers(&self, transaction: &Transaction<'_>) -> Result<Vec<Keeper>, DatabaseError> {
        let _ = transaction;
        Ok(Vec::new())
    }

    /// Marks what an object of this kind needs.
    fn references(
        &self,
        transaction: &Transaction<'_>,
        object: &[u8],
        mark: &mut Mark,
    ) -> Result<(), DatabaseError> {
        let _ = (transaction, object, mark);
        Ok(())
    }

    /// Lists all objects of this kind that have rows and may go, those that need others before those.
    fn candidates(&self, transaction: &Transaction<'_>) -> Result<Vec<Candidate>, DatabaseError> {
        let _ = transaction;
        Ok(Vec::new())
    }

    /// Lists the objects of this kind that have no rows, and marks those that somebody works with; what has room reserved for
    /// it is left out.
    fn survey(&self, store: &Store) -> Result<Vec<Candidate>, SweepError> {
        let _ = store;
        Ok(Vec::new())
    }

    /// Deletes the rows of an object that nothing needs, unless it knows better.
    fn condemn(&self, transaction: &Transaction<'_>, object: &[u8]) -> Result<Verdict, DatabaseError>;

    /// Tells whether anything of this owner needs an object of whatever kind.
    ///
    /// Asked once more just before the object is condemned, of all owners: it may be needed since the marking. Whoever
    /// marks objects, of itself or of others, says so here too.
    fn needs(
        &self,
        transaction: &Transaction<'_>,
        kind: ObjectKind,
        object: &[u8],
    ) -> Result<bool, DatabaseError> {
        let _ = (transaction, kind, object);
        Ok(false)
    }

    /// Forgets an object of whatever kind that has just been condemned: rows of this owner that lead to it and keep nothing.
    ///
    /// It goes in one transaction with the object's own rows. Else a look-up would still be led there, and lease what is
    /// not protected any more, until its files are gone.
    fn forget(
        &self,
        transaction: &Transaction<'_>,
        kind: ObjectKind,
        object: &[u8],
    ) -> Result<(), DatabaseError> {
        let _ = (transaction, kind, object);
        Ok(())
    }

    /// Moves the files of a condemned object out of sight; repeatable.
    ///
    /// Where the same name can be published again, this holds its [`LockClass::Publish`](crate::LockClass::Publish) lock
    /// and looks once more.
    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError>;

    /// Says when the files of this kind begin to be protected.
    fn protection(&self) -> Protection {
        Protection::Afterwards
    }

    /// Tidies up after all objects of a sweep were condemned.
    fn finish(&self, transaction: &Transaction<'_>) -> Result<(), DatabaseError> {
        let _ = transaction;
        Ok(())
    }

    /// Finds files that no row names, and rows whose files are missing. Repairs nothing.
    fn check(&self, store: &Store) -> Result<Vec<crate::doctor::Finding>, DatabaseError> {
        let _ = store;
        Ok(Vec::new())
    }
}

/// One object that a sweep took, or would take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swept {
    /// The kind.
    pub kind: ObjectKind,
    /// The object and its room.
    pub candidate: Candidate,
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct SweepReport {
    /// The objects that were taken, or would be by a sweep that is not dry.
    pub swept: Vec<Swept>,
    /// Their room altogether, as far as their rows tell.
    pub bytes: u64,
    /// What could not be moved away or removed; it is found again by `doctor`.
    pub failures: Vec<SweepError>,
}

/// Whether a sweep takes what it finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sweep {
    /// Take it.
    Take,
    /// Only tell.
    Dry,
}

/// Whether files that nobody recorded were taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Orphans {
    /// There are none any more.
    Gone,
    /// There may be some: other processes work in the store, to which they may belong.
    Left,
}

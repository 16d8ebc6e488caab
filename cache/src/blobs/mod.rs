//! Blobs: files named by the sha256 of what they hold, `blobs/sha256/<hex>`.
//!
//! A blob is written without a name while its digest is computed; only when digest and size are what was expected
//! does it get its name and its row. The file comes first, then the row, which takes the lease in the same
//! transaction: a file without a row is garbage that `doctor` finds, a row without a file is a miss. Both happen under
//! the lock of the name, so that a sweep does not move away the file of a blob that has just come back.
//!
//! What takes long to come is kept in part as well ([`PartialBlob`]).
//!
//! Blobs are not synced as they come; those that cannot be fetched or made again are as safe as all else after a promotion.

use std::fs::{File, Metadata};
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::time::SystemTime;

use rbuild_model::digest::BlobDigest;
use rbuild_store::process::next_generation;
use rbuild_store::{
    Access, DatabaseError, DerivedTable, FileError, Lease, LockClass, LockError, LockMode, LockName,
    ObjectKind, Room, RoomError, Schema, Store, TempFile, Wait,
};
use rusqlite::{OptionalExtension, Transaction};
use thiserror::Error;

mod partial;
mod sweep;
mod tally;

pub use partial::{PartialBlob, PartialBlobs};
pub use sweep::{BYTES_PER_SECOND, BlobFiles};
use tally::{Excess, Tally};

#[cfg(test)]
mod tests;

/// The table of blobs; every store that holds them is opened with it.
pub const SCHEMA: Schema = Schema {
    name: "cache.blobs",
    migrations: &["
        CREATE TABLE blobs (
            number INTEGER PRIMARY KEY,
            digest BLOB NOT NULL UNIQUE,
            size INTEGER NOT NULL,
            generation INTEGER NOT NULL,
            used_at INTEGER NOT NULL,
            unsynced BLOB
        ) STRICT;
        CREATE INDEX blobs_unsynced ON blobs (number) WHERE unsynced IS NOT NULL;
    "],
    promotable: &[&DerivedTable("blobs")],
};

/// Why a blob was not stored or read.
#[derive(Debug, Error)]
pub enum BlobError {
    /// A file operation failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Images and the cache may not grow by it, or what they take cannot be counted.
    #[error("cannot reserve room for a blob")]
    Room(#[from] RoomError),
    /// The lock of the name failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The bytes are not those that were promised.
    #[error("the blob that should be {expected} is {found}")]
    WrongDigest {
        /// The digest that was expected.
        expected: BlobDigest,
        /// The digest of what came.
        found: BlobDigest,
    },
    /// There are more or fewer bytes than were promised.
    #[error("the blob {}should have {expected} bytes and has {found}", name(digest))]
    WrongSize {
        /// The digest that was expected, if one was.
        digest: Option<BlobDigest>,
        /// How many bytes were expected.
        expected: u64,
        /// How many came, or had come when it was too many.
        found: u64,
    },
    /// The file of a blob holds something else by now; it was moved aside and is a miss from now on.
    #[error("the blob {digest} was damaged on the disk and has been moved to `{}`; it has to be fetched or made again", moved_to.display())]
    Damaged {
        /// The blob.
        digest: BlobDigest,
        /// The folder it was moved to.
        moved_to: PathBuf,
    },
}

fn name(digest: &Option<BlobDigest>) -> String {
    digest.map_or_else(String::new, |digest| format!("{digest} "))
}

impl From<rusqlite::Error> for BlobError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

/// What is known of a blob before it comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expected {
    /// Its digest.
    pub digest: Option<BlobDigest>,
    /// Its size in bytes.
    pub size: Option<u64>,
}

/// A blob that is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: BlobDigest,
    /// Its size in bytes.
    pub size: u64,
}

/// The blobs of one store.
#[derive(Clone, Debug)]
pub struct Blobs {
    store: Store,
}

impl Blobs {
    /// Opens the blobs of a store.
    pub fn new(store: &Store) -> Self {
        Self { store: store.clone() }
    }

    /// Returns where the file of a blob lies, or would lie.
    pub fn path(&self, digest: BlobDigest) -> PathBuf {
        self.store.layout().blobs().join(digest.hex())
    }

    /// Begins to store a blob.
    pub fn ingest(&self, expected: Expected) -> Result<BlobWriter, BlobError> {
        let room = self.store.reserve_room(expected.size.unwrap_or(0))?;
        let file = self.store.temp_file(&self.store.layout().blobs())?;
        Ok(BlobWriter { blobs: self.clone(), file, room, tally: Tally::new(expected) })
    }

    /// Stores bytes that are at hand, as derived data.
    pub fn put(&self, bytes: &[u8], lease: &Lease) -> Result<Blob, BlobError> {
        let expected = Expected { digest: None, size: Some(bytes.len() as u64) };
        let mut writer = self.ingest(expected)?;
        writer.write_all(bytes).map_err(|error| writer.write_failed(error))?;
        writer.finish(lease)
    }

    /// Looks blobs up and leases those that are recorded, in one transaction; one answer for each, in order.
    pub fn find(&self, digests: &[BlobDigest], lease: &Lease) -> Result<Vec<Option<Blob>>, BlobError> {
        let now = now_s();
        self.store.write(|transaction| {
            digests.iter().map(|digest| find(transaction, *digest, lease, now)).collect()
        })
    }

    /// As [`Blobs::find`] for one blob, inside a transaction of the caller.
    pub fn find_in(
        transaction: &Transaction<'_>,
        digest: BlobDigest,
        lease: &Lease,
    ) -> Result<Option<Blob>, BlobError> {
        find(transaction, digest, lease, now_s())
    }

    /// Opens a blob whose size is what its row says; `None` is a miss.
    ///
    /// The bytes were verified when they came; [`Blobs::read`] compares those of a small blob again.
    pub fn open(&self, digest: BlobDigest) -> Result<Option<File>, BlobError> {
        let recorded: Option<i64> = self.store.read(|transaction| -> Result<_, DatabaseError> {
            let mut statement = transaction.prepare_cached("SELECT size FROM blobs WHERE digest = ?1")?;
            Ok(statement.query_row([digest.as_bytes()], |row| row.get(0)).optional()?)
        })?;
        let Some(recorded) = recorded else { return Ok(None) };
        let path = self.path(digest);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return if self.take_away(digest, None)? { Ok(None) } else { self.open(digest) };
            }
            Err(error) => return Err(FileError::new("open", path, error).into()),
        };
        let size = file.metadata().map_err(|error| FileError::new("stat", &path, error))?.len();
        if size != recorded.unsigned_abs() {
            return if self.take_away(digest, Some(&file))? {
                Err(self.damaged(digest))
            } else {
                self.open(digest)
            };
        }
        Ok(Some(file))
    }

    /// Reads a small blob whole, and verifies it.
    pub fn read(&self, digest: BlobDigest) -> Result<Option<Vec<u8>>, BlobError> {
        let Some(mut file) = self.open(digest)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(|error| FileError::new("read", self.path(digest), error))?;
        if BlobDigest::of(&bytes) != digest {
            return if self.take_away(digest, Some(&file))? {
                Err(self.damaged(digest))
            } else {
                self.read(digest)
            };
        }
        Ok(Some(bytes))
    }

    /// Forgets a blob whose file turned out to be missing, or to be damaged: that file is moved aside.
    ///
    /// Somebody may have stored the blob again since: then what they stored stays, and this tells so by `false`.
    fn take_away(&self, digest: BlobDigest, damaged: Option<&File>) -> Result<bool, BlobError> {
        let path = self.path(digest);
        let _name =
            self.store.locks().scope().acquire(&name_of(digest), LockMode::Exclusive, &Wait::forever())?;
        let failed = |error| FileError::new("stat", &path, error);
        let found = damaged.map(File::metadata).transpose().map_err(failed)?;
        let now = match std::fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            stat => Some(stat.map_err(failed)?),
        };
        let file_of = |stat: Metadata| (stat.dev(), stat.ino());
        if found.map(file_of) != now.map(file_of) {
            return Ok(false);
        }
        self.store.write(|transaction| -> Result<(), DatabaseError> {
            transaction
                .prepare_cached("DELETE FROM blobs WHERE digest = ?1")?
                .execute([digest.as_bytes()])?;
            Ok(())
        })?;
        if damaged.is_some() {
            self.store.quarantine(&path)?;
        }
        Ok(true)
    }

    /// The error that says of a blob that it was moved aside.
    fn damaged(&self, digest: BlobDigest) -> BlobError {
        BlobError::Damaged { digest, moved_to: self.store.layout().bad() }
    }
}

/// A blob that is being written; dropping it leaves nothing.
pub struct BlobWriter {
    blobs: Blobs,
    file: TempFile,
    /// Counts for it until it has its row.
    room: Room,
    tally: Tally,
}

impl BlobWriter {
    /// Returns how many bytes were written so far.
    pub fn written(&self) -> u64 {
        self.tally.written()
    }

    /// Returns another handle of its file, for who reads what has been written.
    pub fn reader(&self) -> io::Result<File> {
        self.file.as_file().try_clone()
    }

    /// Returns how many bytes are free on the disk that it is written to.
    pub fn free(&self) -> Result<u64, BlobError> {
        Ok(rbuild_store::space::free(&self.blobs.store.layout().blobs())?.0)
    }

    /// Says what it has to be, where that is only known by now.
    pub fn expect(&mut self, digest: BlobDigest) {
        self.tally.expect(digest);
    }

    /// Gives the blob its name and its row, if it is what was expected, and leases it.
    pub fn finish(self, lease: &Lease) -> Result<Blob, BlobError> {
        let Self { blobs: Blobs { store, .. }, file, room, tally } = self;
        let blob = tally.check()?;
        room.grow_to(blob.size)?;
        let folder = store.layout().blobs();
        let _name =
            store.locks().scope().acquire(&name_of(blob.digest), LockMode::Exclusive, &Wait::forever())?;
        store.derived().publish(file, &folder, &blob.digest.hex(), Access::ReadOnly)?;
        record(&store, &room, blob, lease)
    }

    /// Names the file that could not be written.
    pub fn write_failed(&self, error: io::Error) -> BlobError {
        let error = match error.downcast::<Excess>() {
            Ok(Excess { digest, expected, found }) => {
                return BlobError::WrongSize { digest, expected, found };
            }
            Err(error) => error,
        };
        match error.downcast::<RoomError>() {
            Ok(error) => error.into(),
            Err(error) => FileError::new("write a blob in", self.blobs.store.layout().blobs(), error).into(),
        }
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.tally.is_sized() {
            // For what was promised there is room already.
            let come = self.tally.written().saturating_add(bytes.len() as u64);
            self.room.grow_with(come).map_err(io::Error::other)?;
        }
        self.tally.write(&mut self.file, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Names the lock under which a blob gets and loses its name.
fn name_of(digest: BlobDigest) -> LockName {
    LockName::new(LockClass::Publish, digest)
}

fn find(
    transaction: &Transaction<'_>,
    digest: BlobDigest,
    lease: &Lease,
    now: i64,
) -> Result<Option<Blob>, BlobError> {
    let mut statement = transaction.prepare_cached(
        "UPDATE blobs SET used_at = max(used_at, ?2), generation = (SELECT number FROM generation) \
         WHERE digest = ?1 RETURNING size",
    )?;
    let size: Option<i64> = statement.query_row((digest.as_bytes(), now), |row| row.get(0)).optional()?;
    let Some(size) = size else { return Ok(None) };
    lease.protect(transaction, &[(ObjectKind::BLOB, digest.as_bytes())])?;
    Ok(Some(Blob { digest, size: size.unsigned_abs() }))
}

/// Writes the row of a derived blob that has just got its name; the lock of the name is held.
fn record(store: &Store, room: &Room, blob: Blob, lease: &Lease) -> Result<Blob, BlobError> {
    let stamp = store.stamp();
    store.write(|transaction| {
        room.settle(transaction)?;
        // A row that is promoted already speaks of the same file, and stays so.
        insert(transaction, blob, stamp, lease)?;
        Ok(blob)
    })
}

fn insert(
    transaction: &Transaction<'_>,
    blob: Blob,
    stamp: rbuild_store::Stamp,
    lease: &Lease,
) -> Result<(), BlobError> {
    let generation = next_generation(transaction)?;
    transaction
        .prepare_cached(
            "INSERT INTO blobs (digest, size, generation, used_at, unsynced) VALUES (?1, ?2, ?3, ?4, ?5) \
             ON CONFLICT (digest) DO UPDATE SET generation = excluded.generation, used_at = excluded.used_at",
        )?
        .execute((
            blob.digest.as_bytes(),
            i64::try_from(blob.size).unwrap_or(i64::MAX),
            generation,
            now_s(),
            stamp,
        ))?;
    lease.protect(transaction, &[(ObjectKind::BLOB, blob.digest.as_bytes())])?;
    Ok(())
}

fn now_s() -> i64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

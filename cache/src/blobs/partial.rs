//! Blobs that come in part: `blobs/partial/<hex>`, so that a transfer that broke off goes on where it stopped, also in
//! another process.
//!
//! Whoever writes one holds the lock of its download ([`LockClass::Blob`]); nobody else touches it meanwhile. What an
//! earlier attempt left is never trusted: it is read and hashed again, and the blob gets its name only if all of it has
//! the digest that was asked for.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rbuild_model::digest::BlobDigest;
use rbuild_store::collect::{Candidate, Collected, SweepError, Verdict};
use rbuild_store::doctor::Finding;
use rbuild_store::{
    Access, DatabaseError, FileError, Lease, Lock, LockClass, LockMode, LockName, ObjectKind, PartialFile,
    Room, Store, Wait,
};
use rusqlite::Transaction;

use super::sweep::BYTES_PER_SECOND;
use super::tally::Tally;
use super::{Blob, BlobError, Blobs, Expected, name_of, now_s, record};

/// A blob that goes on; dropped, what came of it stays for the next attempt.
#[derive(Debug)]
pub struct PartialBlob {
    blobs: Blobs,
    file: PartialFile,
    /// Counts for it until it has its row, or is counted as it is.
    room: Room,
    tally: Tally,
    digest: BlobDigest,
    /// Goes last.
    _lock: Lock,
}

impl Blobs {
    /// Names the lock of a blob's download.
    pub fn download(digest: BlobDigest) -> LockName {
        LockName::new(LockClass::Blob, digest)
    }

    /// Goes on with a blob under the lock of its download, behind what earlier attempts left of it.
    ///
    /// Reads all that is there.
    pub fn resume(&self, expected: Blob, lock: Lock) -> Result<PartialBlob, BlobError> {
        debug_assert_eq!(*lock.name(), Self::download(expected.digest), "the lock is that of the blob");
        let room = self.store.reserve_room(expected.size)?;
        let folder = self.store.layout().partial_blobs();
        let file = self.store.partial_file(&folder, &expected.digest.hex())?;
        let blobs = self.clone();
        let Blob { digest, size } = expected;
        let tally = Tally::new(Expected { digest: Some(digest), size: Some(size) });
        let mut part = PartialBlob { blobs, file, room, tally, digest, _lock: lock };
        part.tally.read(&mut part.file).map_err(|error| part.failed("read", error))?;
        if part.written() > size {
            part.restart().map_err(|error| part.failed("clear", error))?;
        }
        Ok(part)
    }

    /// Removes what came of blobs that nobody went on with for so long.
    pub fn forget_parts(&self, unused_for: Duration) -> Result<(), SweepError> {
        let before = now_s() - i64::try_from(unused_for.as_secs()).unwrap_or(i64::MAX);
        for part in PartialBlobs.survey(&self.store)? {
            if part.used_at.is_some_and(|used_at| used_at < before) {
                PartialBlobs.reclaim(&self.store, &part.object)?;
            }
        }
        Ok(())
    }
}

impl PartialBlob {
    /// Returns how many bytes are here.
    pub fn written(&self) -> u64 {
        self.tally.written()
    }

    /// Returns the digest of what is here.
    pub fn digest(&self) -> BlobDigest {
        self.tally.digest()
    }

    /// Returns the file, for reading at places below [`PartialBlob::written`].
    pub fn as_file(&self) -> &std::fs::File {
        self.file.as_file()
    }

    /// Throws away what came so far.
    pub fn restart(&mut self) -> io::Result<()> {
        self.file.clear()?;
        self.tally.restart();
        Ok(())
    }

    /// Gives the blob its name and its row, if it is what was asked for, and leases it; else nothing of it stays.
    pub fn finish(mut self, lease: &Lease) -> Result<Blob, BlobError> {
        let blob = match self.tally.check() {
            Ok(blob) => blob,
            Err(wrong) => {
                self.restart().map_err(|error| self.failed("clear", error))?;
                return Err(wrong);
            }
        };
        let Self { blobs, file, room, digest, _lock, .. } = self;
        let store = blobs.store;
        let _name = store.locks().scope().acquire(&name_of(digest), LockMode::Exclusive, &Wait::forever())?;
        file.publish(&store, &store.layout().blobs(), &digest.hex(), Access::ReadOnly)?;
        record(&store, &room, blob, lease)
    }

    fn failed(&self, act: &'static str, error: io::Error) -> BlobError {
        let path = self.blobs.store.layout().partial_blobs().join(self.digest.hex());
        FileError::new(act, path, error).into()
    }
}

impl Write for PartialBlob {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tally.write(&mut self.file, bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What came of blobs whose transfer broke off. It has no rows: it only saves fetching the same bytes again.
#[derive(Clone, Copy, Debug)]
pub struct PartialBlobs;

impl Collected for PartialBlobs {
    fn kind(&self) -> ObjectKind {
        ObjectKind::PARTIAL
    }

    fn survey(&self, store: &Store) -> Result<Vec<Candidate>, SweepError> {
        let mut found = Vec::new();
        for (path, digest) in list(store)? {
            let Some(digest) = digest else { continue };
            // Whoever writes has reserved its room.
            let scope = store.locks().scope();
            let Some(_lock) = scope.try_acquire(&Blobs::download(digest), LockMode::Exclusive)? else {
                continue;
            };
            // What was published or removed meanwhile takes no room.
            let Ok(stat) = std::fs::symlink_metadata(&path) else { continue };
            let used_at =
                stat.modified().ok().and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
            let used_at = used_at.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
            let again = Duration::from_secs_f64(stat.len() as f64 / BYTES_PER_SECOND);
            let candidate = Candidate::new(digest.as_bytes().to_vec(), stat.len());
            found.push(candidate.used_at(used_at).costing(again));
        }
        Ok(found)
    }

    fn condemn(&self, _: &Transaction<'_>, _: &[u8]) -> Result<Verdict, DatabaseError> {
        Ok(Verdict::Condemned)
    }

    fn reclaim(&self, store: &Store, object: &[u8]) -> Result<(), SweepError> {
        let Ok(bytes) = <[u8; 32]>::try_from(object) else { return Ok(()) };
        let digest = BlobDigest::from_bytes(bytes);
        // Somebody may go on with it by now: then it stays.
        let scope = store.locks().scope();
        if let Some(_lock) = scope.try_acquire(&Blobs::download(digest), LockMode::Exclusive)? {
            store.discard(&store.layout().partial_blobs().join(digest.hex()))?;
        }
        Ok(())
    }

    fn check(&self, store: &Store) -> Result<Vec<Finding>, DatabaseError> {
        let strange = list(store)?.into_iter().filter(|(_, digest)| digest.is_none());
        Ok(strange.map(|(path, _)| Finding::Orphan { path }).collect())
    }
}

/// Lists what lies in the folder: paths, and the digests that their names are.
fn list(store: &Store) -> Result<Vec<(PathBuf, Option<BlobDigest>)>, FileError> {
    let folder = store.layout().partial_blobs();
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(|error| FileError::new("list", &folder, error))?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|error| FileError::new("list", &folder, error))?;
        let digest = entry.file_name().to_str().and_then(|name| format!("sha256:{name}").parse().ok());
        found.push((entry.path(), digest));
    }
    Ok(found)
}

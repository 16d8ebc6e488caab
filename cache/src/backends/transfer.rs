//! Blobs on their way: into the store, verified; out of it, several at a time and within a time.

use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use rbuild_image::distribution::{Receiver, Sender};
use rbuild_image::manifest::Descriptor;
use rbuild_model::digest::BlobDigest;
use rbuild_store::{Lease, LockClass, LockMode, LockName, Store, Wait};

use super::{Backend, BackendError, Put};
use crate::blobs::{BlobWriter, Blobs, Expected};

/// How a blob came to be here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// It was here.
    Here,
    /// It came.
    Came,
}

/// Brings a blob into the store, unless it is there, and compares it with its digest and size.
pub fn fetch(
    backend: &dyn Backend,
    blob: &Descriptor,
    store: &Store,
    lease: &Lease,
    wait: &Wait<'_>,
) -> Result<Fetched, BackendError> {
    let blobs = Blobs::new(store);
    let here = || -> Result<bool, BackendError> {
        let known = blobs.find(&[blob.digest], lease)?.first().is_some_and(Option::is_some);
        Ok(known && blobs.open(blob.digest)?.is_some())
    };
    if here()? {
        return Ok(Fetched::Here);
    }
    let name = LockName::new(LockClass::Blob, blob.digest);
    let locked = store.locks().scope().acquire(&name, LockMode::Exclusive, wait);
    let _lock = locked.map_err(|error| BackendError::Here { act: "lock a blob", source: error.into() })?;
    if here()? {
        return Ok(Fetched::Here);
    }
    let expected = Expected { digest: Some(blob.digest), size: Some(blob.size) };
    let mut incoming = Incoming { blobs: &blobs, expected, writer: Some(blobs.ingest(expected)?) };
    backend.get(blob, &mut incoming)?;
    let writer = incoming.writer.take().map_or_else(|| blobs.ingest(expected), Ok)?;
    writer.finish(lease)?;
    Ok(Fetched::Came)
}

/// A blob that is being fetched.
struct Incoming<'a> {
    blobs: &'a Blobs,
    expected: Expected,
    writer: Option<BlobWriter>,
}

impl Receiver for Incoming<'_> {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.writer.is_none() {
            self.writer = Some(self.blobs.ingest(self.expected).map_err(io::Error::other)?);
        }
        self.writer.as_mut().map_or(Ok(()), |writer| writer.write_all(bytes))
    }

    fn restart(&mut self) -> io::Result<()> {
        self.writer = None;
        Ok(())
    }
}

/// A blob that comes into memory, and no more of it than was promised.
#[derive(Debug, Default)]
pub(super) struct Memory {
    pub(super) bytes: Vec<u8>,
    limit: u64,
}

impl Memory {
    pub(super) fn new(limit: u64) -> Self {
        Self { bytes: Vec::new(), limit }
    }
}

impl Receiver for Memory {
    fn receive(&mut self, bytes: &[u8]) -> io::Result<()> {
        if (self.bytes.len() + bytes.len()) as u64 > self.limit {
            return Err(io::Error::other(format!("more than {} bytes came", self.limit)));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> io::Result<()> {
        self.bytes.clear();
        Ok(())
    }
}

/// Reads a blob of at most `limit` bytes into memory, and compares it with its digest and size.
pub fn read(backend: &dyn Backend, blob: &Descriptor, limit: u64) -> Result<Vec<u8>, BackendError> {
    if blob.size > limit {
        return Err(BackendError::Unusable(format!(
            "{} has {} bytes, and {limit} are taken",
            blob.digest, blob.size
        )));
    }
    let mut memory = Memory::new(blob.size);
    backend.get(blob, &mut memory)?;
    let Memory { bytes, .. } = memory;
    if bytes.len() as u64 != blob.size || BlobDigest::of(&bytes) != blob.digest {
        return Err(BackendError::Unusable(format!("what came for {} is something else", blob.digest)));
    }
    Ok(bytes)
}

/// A blob of the store, to be sent.
pub struct StoredBlob<'a> {
    /// The blobs of the store.
    pub blobs: &'a Blobs,
    /// The blob.
    pub digest: BlobDigest,
}

impl Sender for StoredBlob<'_> {
    fn open(&self, from: u64) -> io::Result<Box<dyn Read + Send>> {
        let file = self.blobs.open(self.digest).map_err(io::Error::other)?;
        let mut file = file.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        file.seek(SeekFrom::Start(from))?;
        Ok(Box::new(file))
    }
}

/// Reads a piece of a blob into memory, once.
pub(super) fn piece(sender: &dyn Sender, from: u64, length: u64) -> Result<Bytes, BackendError> {
    let failed = |source: io::Error| BackendError::Here { act: "read a blob", source: source.into() };
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    sender.open(from).map_err(failed)?.take(length).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 != length {
        return Err(BackendError::Unusable("a blob is shorter than it should be".to_owned()));
    }
    Ok(bytes.into())
}

/// What was brought to a cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// How many blobs went up.
    pub blobs: u64,
    /// How many bytes that were.
    pub bytes: u64,
    /// How many blobs were there.
    pub present: u64,
}

/// Why not all was brought, and what was all the same.
#[derive(Debug)]
pub struct Stopped {
    /// Why not.
    pub error: Box<BackendError>,
    /// What was brought, or was there, by then.
    pub sent: Sent,
}

impl From<Stopped> for BackendError {
    fn from(stopped: Stopped) -> Self {
        *stopped.error
    }
}

/// Does something for each of several blobs, so many at a time; the first failure, and the end of the time, stop it.
pub fn send_missing<T: Sync>(
    items: &[T],
    parallel: usize,
    deadline: Option<Instant>,
    send: impl Fn(&T) -> Result<(Put, u64), BackendError> + Sync,
) -> Result<Sent, Stopped> {
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    let (blobs, bytes, present) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    let failure: Mutex<Option<BackendError>> = Mutex::new(None);
    let fail = |error| {
        stop.store(true, Ordering::Relaxed);
        failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    };
    std::thread::scope(|scope| {
        for _ in 0..parallel.clamp(1, items.len().max(1)) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed)
                    && let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                        return fail(BackendError::OutOfTime);
                    }
                    match send(item) {
                        Ok((Put::Present, _)) => drop(present.fetch_add(1, Ordering::Relaxed)),
                        Ok((Put::Sent, size)) => {
                            blobs.fetch_add(1, Ordering::Relaxed);
                            bytes.fetch_add(size, Ordering::Relaxed);
                        }
                        Err(error) => return fail(error),
                    }
                }
            });
        }
    });
    let sent = Sent { blobs: blobs.into_inner(), bytes: bytes.into_inner(), present: present.into_inner() };
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(Stopped { error: Box::new(error), sent }),
        None => Ok(sent),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_brought_counts_also_when_the_rest_was_not() {
        let send = |item: &u64| match item {
            0 => Ok((Put::Present, 100)),
            3 => Err(BackendError::OutOfTime),
            size => Ok((Put::Sent, *size)),
        };
        let Stopped { error, sent } = send_missing(&[0, 1, 2, 3, 4], 1, None, send).unwrap_err();
        assert!(matches!(*error, BackendError::OutOfTime), "{error}");
        assert_eq!(sent, Sent { blobs: 2, bytes: 3, present: 1 });
        let over = send_missing(&[1], 1, Some(Instant::now()), send).unwrap_err();
        assert!(matches!(*over.error, BackendError::OutOfTime) && over.sent == Sent::default());
        assert_eq!(send_missing(&[1, 2], 2, None, send).unwrap(), Sent { blobs: 2, bytes: 3, present: 0 });
    }
}

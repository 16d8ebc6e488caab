//! What came of a blob so far: how much of it, and its digest; and whether that is what was asked for.

use std::io::{self, Read, Write};

use rbuild_model::digest::BlobDigest;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::{Blob, BlobError, Expected};

/// Counts and hashes the bytes of a blob as they come.
#[derive(Debug)]
pub(super) struct Tally {
    hasher: Sha256,
    written: u64,
    expected: Expected,
}

impl Tally {
    /// Nothing came yet.
    pub(super) fn new(expected: Expected) -> Self {
        Self { hasher: Sha256::new(), written: 0, expected }
    }

    /// How many bytes came.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    /// Whether it was said beforehand how much comes.
    pub(super) fn is_sized(&self) -> bool {
        self.expected.size.is_some()
    }

    /// The digest of what came.
    pub(super) fn digest(&self) -> BlobDigest {
        BlobDigest::from_bytes(self.hasher.clone().finalize().into())
    }

    /// Says what it has to be, where that is only known by now.
    pub(super) fn expect(&mut self, digest: BlobDigest) {
        self.expected.digest = Some(digest);
    }

    /// Forgets what came.
    pub(super) fn restart(&mut self) {
        *self = Self::new(self.expected);
    }

    /// Writes bytes that come to where they are kept. A sender that sends more than it promised is stopped before the disk
    /// is full.
    pub(super) fn write(&mut self, file: &mut impl Write, bytes: &[u8]) -> io::Result<usize> {
        let found = self.written.saturating_add(bytes.len() as u64);
        if let Some(expected) = self.expected.size
            && found > expected
        {
            return Err(io::Error::other(Excess { digest: self.expected.digest, expected, found }));
        }
        let length = file.write(bytes)?;
        self.add(&bytes[..length]);
        Ok(length)
    }

    /// Counts what is kept already, to its end or to where it is more than it may be.
    pub(super) fn read(&mut self, file: &mut impl Read) -> io::Result<()> {
        let mut buffer = vec![0; 256 * 1024];
        while self.expected.size.is_none_or(|size| self.written <= size) {
            match file.read(&mut buffer) {
                Ok(0) => break,
                Ok(length) => self.add(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the blob, if it is what was expected.
    pub(super) fn check(&self) -> Result<Blob, BlobError> {
        let Self { written, expected, .. } = *self;
        if let Some(size) = expected.size
            && size != written
        {
            return Err(BlobError::WrongSize { digest: expected.digest, expected: size, found: written });
        }
        let found = self.digest();
        if let Some(digest) = expected.digest
            && digest != found
        {
            return Err(BlobError::WrongDigest { expected: digest, found });
        }
        Ok(Blob { digest: found, size: written })
    }

    fn add(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
    }
}

/// More bytes than were promised.
#[derive(Debug, Error)]
#[error("more than the promised {expected} bytes")]
pub(super) struct Excess {
    pub(super) digest: Option<BlobDigest>,
    pub(super) expected: u64,
    pub(super) found: u64,
}

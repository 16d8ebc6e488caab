//! Readers and writers that take a sha256 of what passes through them.

use std::io::{self, Read, Write};

use rbuild_model::digest::{BlobDigest, DiffId};
use sha2::{Digest as _, Sha256};

/// The sha256 and the length of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    bytes: [u8; 32],
    /// How many bytes passed.
    pub size: u64,
}

impl Summary {
    /// Returns the hash as the digest of a blob.
    pub const fn blob(&self) -> BlobDigest {
        BlobDigest::from_bytes(self.bytes)
    }

    /// Returns the hash as the digest of an uncompressed layer.
    pub const fn diff_id(&self) -> DiffId {
        DiffId::from_bytes(self.bytes)
    }
}

#[derive(Default)]
struct Running {
    hasher: Sha256,
    size: u64,
}

impl Running {
    fn update(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
    }

    fn summary(&self) -> Summary {
        Summary { bytes: self.hasher.clone().finalize().into(), size: self.size }
    }
}

/// Hashes what is read from another reader.
pub struct HashingReader<R> {
    inner: R,
    running: Running,
}

impl<R: Read> HashingReader<R> {
    /// Starts with nothing read yet.
    pub fn new(inner: R) -> Self {
        Self { inner, running: Running::default() }
    }

    /// Returns the hash of what was read so far.
    pub fn summary(&self) -> Summary {
        self.running.summary()
    }

    /// Gives the reader back.
    pub fn into_inner(self) -> R {
        self.inner
    }

    /// Returns the reader below.
    pub fn get_ref(&self) -> &R {
        &self.inner
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.running.update(&buffer[..count]);
        Ok(count)
    }
}

/// Hashes what is written to another writer.
pub struct HashingWriter<W> {
    inner: W,
    running: Running,
}

impl<W: Write> HashingWriter<W> {
    /// Starts with nothing written yet.
    pub fn new(inner: W) -> Self {
        Self { inner, running: Running::default() }
    }

    /// Returns the hash of what was written so far.
    pub fn summary(&self) -> Summary {
        self.running.summary()
    }

    /// Gives the writer back.
    pub fn into_inner(self) -> W {
        self.inner
    }
}

impl<W: Write> Write for HashingWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.running.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_adapters_agree_with_the_digest_of_the_bytes() {
        let text = b"what passes through";
        let mut reader = HashingReader::new(&text[..]);
        let mut writer = HashingWriter::new(Vec::new());
        io::copy(&mut reader, &mut writer).unwrap();
        assert_eq!(reader.summary(), writer.summary());
        assert_eq!(reader.summary().blob(), BlobDigest::of(text));
        assert_eq!(reader.summary().size, 19);
        assert_eq!(writer.into_inner(), text);
    }
}

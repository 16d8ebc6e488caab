//! What decoders read: the stream, and what somebody read of it and gave back.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The packed bytes of a stream.
pub(super) struct Input<'a> {
    /// What comes before the rest of the stream.
    ahead: Vec<u8>,
    /// How much of that was read again.
    at: usize,
    rest: BufReader<Counted<'a>>,
}

impl<'a> Input<'a> {
    /// Reads what was taken from a stream already, and then that; tells how many bytes of it were taken.
    pub(super) fn new(start: Vec<u8>, inner: Box<dyn Read + 'a>) -> (Self, Arc<AtomicU64>) {
        let count = Arc::new(AtomicU64::new(start.len() as u64));
        let counted = Counted { inner, count: Arc::clone(&count) };
        (Self { ahead: start, at: 0, rest: BufReader::with_capacity(64 << 10, counted) }, count)
    }

    /// Gives bytes back that were read last.
    pub(super) fn give_back(&mut self, mut bytes: Vec<u8>) {
        bytes.extend_from_slice(&self.ahead[self.at..]);
        (self.ahead, self.at) = (bytes, 0);
    }
}

impl BufRead for Input<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.at < self.ahead.len() {
            return Ok(&self.ahead[self.at..]);
        }
        // It may be many MiB, and the rest of the stream is long.
        (self.ahead, self.at) = (Vec::new(), 0);
        self.rest.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        if self.at < self.ahead.len() {
            self.at += count;
        } else {
            self.rest.consume(count);
        }
    }
}

impl Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.ahead.len() {
            return self.rest.read(buffer);
        }
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// Counts the bytes that a decoder takes in.
struct Counted<'a> {
    inner: Box<dyn Read + 'a>,
    count: Arc<AtomicU64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.count.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }
}

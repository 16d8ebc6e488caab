//! Our two output streams, written in the order of the lines but not line by line.

use std::io;

use crate::terminal::{write_err, write_out};

/// So much is held back, and a line at most.
const ROOM: usize = 32 << 10;

/// Lines that are about to be written.
#[derive(Debug, Default)]
pub(super) struct Sink {
    held: Vec<u8>,
    stream: Stream,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stream {
    #[default]
    Out,
    Err,
}

impl Sink {
    /// Returns what goes to standard output, to be added to.
    pub(super) fn out(&mut self) -> io::Result<&mut Vec<u8>> {
        self.held_for(Stream::Out)
    }

    /// Returns what goes to the error output, to be added to.
    pub(super) fn err(&mut self) -> io::Result<&mut Vec<u8>> {
        self.held_for(Stream::Err)
    }

    /// Writes what is held back.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let written = match self.stream {
            Stream::Out => write_out(&self.held),
            Stream::Err => write_err(&self.held),
        };
        self.held.clear();
        written
    }

    fn held_for(&mut self, stream: Stream) -> io::Result<&mut Vec<u8>> {
        if self.stream != stream || self.held.len() >= ROOM {
            self.flush()?;
        }
        self.stream = stream;
        Ok(&mut self.held)
    }
}

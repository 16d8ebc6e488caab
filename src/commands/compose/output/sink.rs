//! Our two output streams, written in the order of the lines but not line by line.

use std::io::{self, Write as _};

/// So much is held back at most.
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
    /// Takes bytes for standard output.
    pub(super) fn out(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.take(Stream::Out, bytes)
    }

    /// Takes bytes for the error output.
    pub(super) fn err(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.take(Stream::Err, bytes)
    }

    /// Writes what is held back.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        if held.is_empty() {
            return Ok(());
        }
        match self.stream {
            Stream::Out => {
                let mut out = io::stdout().lock();
                out.write_all(&held)?;
                out.flush()
            }
            Stream::Err => io::stderr().lock().write_all(&held),
        }
    }

    fn take(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        if self.stream != stream || self.held.len() + bytes.len() > ROOM {
            self.flush()?;
        }
        self.stream = stream;
        self.held.extend_from_slice(bytes);
        Ok(())
    }
}

//! Streams that end where whoever waits for them gives up.

use std::fmt;
use std::io::{self, Read, Write};

/// A reader or a writer that fails from the moment on that it is to stop.
pub struct Stoppable<T, F> {
    inner: T,
    is_over: F,
}

impl<T: fmt::Debug, F> fmt::Debug for Stoppable<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stoppable").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl<T, F: Fn() -> bool> Stoppable<T, F> {
    /// Asks `is_over` before every operation on a stream.
    pub const fn new(inner: T, is_over: F) -> Self {
        Self { inner, is_over }
    }

    /// Returns the stream.
    pub fn into_inner(self) -> T {
        self.inner
    }

    fn check(&self) -> io::Result<()> {
        // Not of the kind `Interrupted`: what ends so is tried again.
        if (self.is_over)() { Err(io::Error::other("it was cancelled")) } else { Ok(()) }
    }
}

impl<T: Read, F: Fn() -> bool> Read for Stoppable<T, F> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<T: Write, F: Fn() -> bool> Write for Stoppable<T, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_stream_goes_on_until_it_is_over() {
        let is_over = Cell::new(false);
        let mut stream = Stoppable::new(io::Cursor::new(vec![1, 2]), || is_over.get());
        assert_eq!(stream.read(&mut [0]).unwrap(), 1);
        stream.write_all(&[3]).unwrap();
        is_over.set(true);
        for failed in [stream.read(&mut [0]), stream.write(&[4]), stream.flush().map(|()| 0)] {
            // Copying goes on past the kind `Interrupted`.
            assert_ne!(failed.unwrap_err().kind(), io::ErrorKind::Interrupted);
        }
        assert_eq!(stream.into_inner().into_inner(), [1, 3]);
    }
}

//! Streams that end where the caller gives up.

use std::io::{self, Read, Write};

use rbuild_store::Cancel;

/// A reader or a writer that fails from the moment on that the caller gives up.
pub(crate) struct Watched<'a, T> {
    inner: T,
    cancel: &'a Cancel,
}

impl<'a, T> Watched<'a, T> {
    pub(crate) const fn new(inner: T, cancel: &'a Cancel) -> Self {
        Self { inner, cancel }
    }

    pub(crate) fn into_inner(self) -> T {
        self.inner
    }

    fn check(&self) -> io::Result<()> {
        // Not of the kind `Interrupted`: such a read is tried again.
        if self.cancel.is_cancelled() { Err(io::Error::other("it was cancelled")) } else { Ok(()) }
    }
}

impl<T: Read> Read for Watched<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.read(buffer)
    }
}

impl<T: Write> Write for Watched<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.check()?;
        self.inner.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.check()?;
        self.inner.flush()
    }
}

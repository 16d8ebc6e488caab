//! A wish to stop that wakes whoever waits in `poll`, or for a lock.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use rbuild_store::{Cancel, Canceller};

/// A wish to stop; nothing new is begun once it was made.
#[derive(Debug)]
pub struct Halt {
    made: AtomicBool,
    woken: PipeReader,
    cancel: Cancel,
    wakers: Mutex<Option<(PipeWriter, Canceller)>>,
}

impl Halt {
    /// Nobody wishes anything yet.
    pub fn new() -> io::Result<Self> {
        let (woken, waker) = io::pipe()?;
        let (canceller, cancel) = Cancel::pair();
        Ok(Self { made: AtomicBool::new(false), woken, cancel, wakers: Mutex::new(Some((waker, canceller))) })
    }

    /// Makes the wish.
    pub fn now(&self) {
        self.made.store(true, Ordering::Release);
        drop(self.wakers.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Whether it was made.
    pub fn is_made(&self) -> bool {
        self.made.load(Ordering::Acquire)
    }

    /// The same wish, for who waits for a lock.
    pub(super) fn cancel(&self) -> &Cancel {
        &self.cancel
    }
}

impl AsFd for Halt {
    /// Returns a descriptor that has an event once the wish was made.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}

//! A wish to stop, seen by those who wait.

use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crossbeam_channel::{Receiver, Sender, never, select};
use rustix::pipe::{PipeFlags, pipe_with};

/// The side that wishes: dropping it, or calling [`Canceller::cancel`], wakes every waiter.
#[derive(Debug)]
pub struct Canceller {
    _alive: Sender<Infallible>,
}

impl Canceller {
    /// Cancels; the same as dropping, with a name.
    pub fn cancel(self) {}
}

/// The side that waits; clones see the same wish.
#[derive(Clone, Debug)]
pub struct Cancel {
    wish: Receiver<Infallible>,
}

impl Cancel {
    /// Makes the two sides.
    pub fn pair() -> (Canceller, Self) {
        let (alive, wish) = crossbeam_channel::bounded(0);
        (Canceller { _alive: alive }, Self { wish })
    }

    /// Makes a waiting side that is never woken.
    pub fn never() -> Self {
        Self { wish: never() }
    }

    /// Tells whether the wish was made.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.wish.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected))
    }

    /// Returns a descriptor that becomes readable when the wish is made, for who waits with `poll`.
    pub fn wake(&self) -> io::Result<Wake> {
        let (near, far) = pipe_with(PipeFlags::CLOEXEC)?;
        let (alive, ended) = crossbeam_channel::bounded::<Infallible>(0);
        let wish = self.wish.clone();
        std::thread::Builder::new().name("cancel".to_owned()).spawn(move || {
            let _far = far;
            select! {
                recv(wish) -> _ => {}
                recv(ended) -> _ => {}
            }
        })?;
        Ok(Wake { near, _alive: alive })
    }

    /// The channel that disconnects when the wish is made, for `select!`.
    pub(crate) fn channel(&self) -> &Receiver<Infallible> {
        &self.wish
    }
}

/// A descriptor that becomes readable when a wish to stop is made.
#[derive(Debug)]
pub struct Wake {
    near: OwnedFd,
    _alive: Sender<Infallible>,
}

impl AsFd for Wake {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.near.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_awake(wake: &Wake, time: Option<&Timespec>) -> bool {
        poll(&mut [PollFd::new(wake, PollFlags::IN)], time).unwrap() > 0
    }

    #[test]
    fn a_wish_wakes_those_who_poll() {
        let (canceller, cancel) = Cancel::pair();
        let (first, second) = (cancel.wake().unwrap(), cancel.wake().unwrap());
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        assert!(!is_awake(&first, Some(&now)) && !cancel.is_cancelled());
        drop(first);
        canceller.cancel();
        assert!(is_awake(&second, None));
        assert!(is_awake(&cancel.wake().unwrap(), None), "also later");
    }
}

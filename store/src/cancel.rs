//! A wish to stop, seen by those who wait.

use crossbeam_channel::{Receiver, Sender, never};

/// The side that wishes: dropping it, or calling [`Canceller::cancel`], wakes every waiter.
#[derive(Debug)]
pub struct Canceller {
    _alive: Sender<std::convert::Infallible>,
}

impl Canceller {
    /// Cancels; the same as dropping, with a name.
    pub fn cancel(self) {}
}

/// The side that waits; clones see the same wish.
#[derive(Clone, Debug)]
pub struct Cancel {
    wish: Receiver<std::convert::Infallible>,
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

    /// The channel that disconnects when the wish is made, for `select!`.
    pub(crate) fn channel(&self) -> &Receiver<std::convert::Infallible> {
        &self.wish
    }
}

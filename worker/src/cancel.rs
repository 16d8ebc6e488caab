//! Telling everything that runs for a build to stop.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

type Stop = Arc<dyn Fn() + Send + Sync>;

/// A switch that is thrown once: by a signal, by a failure, by the end of a session.
///
/// What runs registers how it is stopped; a registration that comes after the switch was thrown is called at once.
#[derive(Clone, Default)]
pub struct Cancel {
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    thrown: AtomicBool,
    next: AtomicU64,
    stops: Mutex<Vec<(u64, Stop)>>,
}

impl fmt::Debug for Cancel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancel").field("thrown", &self.is_cancelled()).finish_non_exhaustive()
    }
}

/// Keeps a registration alive; dropping it ends the registration.
#[must_use]
pub struct Registration {
    state: Arc<State>,
    number: u64,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Registration({})", self.number)
    }
}

impl Cancel {
    /// Makes a switch that is not thrown.
    pub fn new() -> Self {
        Self::default()
    }

    /// Throws the switch and stops everything that is registered. Can be repeated.
    pub fn cancel(&self) {
        self.state.thrown.store(true, Ordering::SeqCst);
        let stops: Vec<Stop> = self.state.lock().iter().map(|(_, stop)| Arc::clone(stop)).collect();
        for stop in stops {
            stop();
        }
    }

    /// Returns whether the switch was thrown.
    pub fn is_cancelled(&self) -> bool {
        self.state.thrown.load(Ordering::SeqCst)
    }

    /// Registers how something is stopped.
    pub fn on_cancel(&self, stop: impl Fn() + Send + Sync + 'static) -> Registration {
        let number = self.state.next.fetch_add(1, Ordering::Relaxed);
        let stop: Stop = Arc::new(stop);
        self.state.lock().push((number, Arc::clone(&stop)));
        if self.is_cancelled() {
            stop();
        }
        Registration { state: Arc::clone(&self.state), number }
    }

    /// Makes a switch that is thrown with this one, and can be thrown without it.
    pub fn child(&self) -> (Self, Registration) {
        let child = Self::new();
        let handle = child.clone();
        let registration = self.on_cancel(move || handle.cancel());
        (child, registration)
    }
}

/// The wish to stop in the form that waits for locks take; it ends with the value.
#[derive(Debug)]
pub(crate) struct LockCancel {
    pub(crate) wish: rbuild_store::Cancel,
    _registration: Registration,
}

impl Cancel {
    pub(crate) fn for_locks(&self) -> LockCancel {
        let (canceller, wish) = rbuild_store::Cancel::pair();
        let canceller = Mutex::new(Some(canceller));
        let registration = self.on_cancel(move || {
            // Dropping it wakes whoever waits.
            drop(canceller.lock().unwrap_or_else(PoisonError::into_inner).take());
        });
        LockCancel { wish, _registration: registration }
    }
}

impl State {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(u64, Stop)>> {
        self.stops.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.state.lock().retain(|(number, _)| *number != self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_registered_is_stopped_and_late_comers_at_once() {
        let cancel = Cancel::new();
        let (child, _link) = cancel.child();
        let count = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&count);
        let early = child.on_cancel(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let counter = Arc::clone(&count);
        drop(child.on_cancel(move || {
            counter.fetch_add(100, Ordering::SeqCst);
        }));
        cancel.cancel();
        assert!(child.is_cancelled());
        assert_eq!(count.load(Ordering::SeqCst), 1);
        drop(early);
        let counter = Arc::clone(&count);
        let _late = child.on_cancel(move || {
            counter.fetch_add(10, Ordering::SeqCst);
        });
        assert_eq!(count.load(Ordering::SeqCst), 11);
    }
}

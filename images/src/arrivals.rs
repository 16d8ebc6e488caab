//! Layers on their way: whoever fetches them tells how much is here, whoever unpacks them reads it as it comes.
//!
//! The file that a blob is written to stands between both. So fetching never waits for unpacking, whatever the order in
//! which layers come and however large they are, and nothing of them is held in memory; what was just written is read
//! back from the page cache.
//!
//! What comes is not yet known to be right: its digest is compared when all of it is here. Until then a reader waits
//! before the end, so nobody takes a stream for whole that is not; and a transfer that begins anew ends the reading of
//! the former attempt with an error, after which [`Arrival::settled`] tells what to do.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// The layers of one stack, in its order.
pub(crate) struct Arrivals {
    all: Vec<Arrival>,
    refused: AtomicBool,
}

/// One layer.
pub(crate) struct Arrival {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    phase: Phase,
    /// Counts beginnings.
    attempt: u32,
}

#[derive(Clone)]
enum Phase {
    /// Nothing of it came yet.
    Waiting,
    /// So many bytes are in a file.
    Coming { file: Arc<File>, bytes: u64 },
    /// All of it is in the store, and right.
    Here,
    /// It does not come.
    Failed,
}

/// What became of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// It brought the right bytes.
    Right,
    /// It was given up for another one.
    Anew,
    /// It ended, and no other follows.
    Failed,
}

impl Arrivals {
    /// Nothing of so many layers is here yet.
    pub(crate) fn of(count: usize) -> Self {
        let waiting = || Arrival {
            state: Mutex::new(State { phase: Phase::Waiting, attempt: 0 }),
            changed: Condvar::new(),
        };
        Self { all: std::iter::repeat_with(waiting).take(count).collect(), refused: AtomicBool::new(false) }
    }

    /// All of so many layers is here.
    pub(crate) fn here(count: usize) -> Self {
        let arrivals = Self::of(count);
        arrivals.all.iter().for_each(Arrival::complete);
        arrivals
    }

    /// Returns one layer.
    pub(crate) fn get(&self, place: usize) -> &Arrival {
        &self.all[place]
    }

    /// Says that nobody reads any more: what has not come need not.
    pub(crate) fn refuse(&self) {
        self.refused.store(true, Ordering::Relaxed);
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed)
    }

    /// Returns what says, when it is dropped, that nothing comes any more.
    pub(crate) fn source(&self) -> Source<'_> {
        Source(self)
    }
}

/// Whoever makes layers come; without it those that are not here have failed.
pub(crate) struct Source<'a>(&'a Arrivals);

impl Drop for Source<'_> {
    fn drop(&mut self) {
        for arrival in &self.0.all {
            arrival.change(|state| {
                if !matches!(state.phase, Phase::Here) {
                    state.phase = Phase::Failed;
                }
            });
        }
    }
}

impl Arrival {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Says that so many bytes of it are in a file.
    pub(crate) fn begin(&self, file: File, bytes: u64) {
        self.change(|state| state.phase = Phase::Coming { file: Arc::new(file), bytes });
    }

    /// Says that by now so many bytes are in the file.
    pub(crate) fn advance(&self, now: u64) {
        self.change(|state| {
            if let Phase::Coming { bytes, .. } = &mut state.phase {
                *bytes = now;
            }
        });
    }

    /// Says that what came so far was wrong, or cannot be gone on with.
    pub(crate) fn restart(&self) {
        self.change(|state| {
            state.attempt += 1;
            if let Phase::Coming { bytes, .. } = &mut state.phase {
                *bytes = 0;
            }
        });
    }

    /// Says that all of it is in the store, and right.
    pub(crate) fn complete(&self) {
        self.change(|state| state.phase = Phase::Here);
    }

    /// Reads it as it comes; `open` opens it in the store once all of it is here.
    pub(crate) fn read<O>(&self, open: O) -> Arriving<'_, O>
    where
        O: FnMut() -> io::Result<File>,
    {
        let attempt = self.lock().attempt;
        Arriving { arrival: self, attempt, open, file: None, at: 0, known: 0 }
    }

    /// Waits until it is known what became of an attempt.
    pub(crate) fn settled(&self, attempt: u32) -> Settled {
        let mut state = self.lock();
        loop {
            match state.phase {
                _ if state.attempt != attempt => return Settled::Anew,
                Phase::Here => return Settled::Right,
                Phase::Failed => return Settled::Failed,
                Phase::Waiting | Phase::Coming { .. } => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits until there is more than a reader knows of, or an end.
    fn beyond(&self, known: u64, attempt: u32) -> io::Result<Phase> {
        let mut state = self.lock();
        loop {
            match &state.phase {
                _ if state.attempt != attempt => return Err(io::Error::other("its transfer began anew")),
                Phase::Failed => return Err(io::Error::other("its transfer failed")),
                Phase::Here => return Ok(Phase::Here),
                Phase::Coming { bytes, .. } if *bytes > known => return Ok(state.phase.clone()),
                Phase::Waiting | Phase::Coming { .. } => {}
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Reads a layer while it comes.
pub(crate) struct Arriving<'a, O> {
    arrival: &'a Arrival,
    attempt: u32,
    open: O,
    file: Option<Arc<File>>,
    at: u64,
    /// How many bytes are known to be here.
    known: u64,
}

impl<O> Arriving<'_, O> {
    /// Returns which attempt this reads.
    pub(crate) fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl<O: FnMut() -> io::Result<File>> Read for Arriving<'_, O> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.known {
            match self.arrival.beyond(self.known, self.attempt)? {
                Phase::Coming { file, bytes } => (self.file, self.known) = (Some(file), bytes),
                // The end may be read: it is where the file's is.
                _ => self.known = u64::MAX,
            }
        }
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(Arc::new((self.open)()?)),
        };
        let left = usize::try_from(self.known - self.at).unwrap_or(usize::MAX);
        let length = buffer.len().min(left);
        let count = file.read_at(&mut buffer[..length], self.at)?;
        if count == 0 && length > 0 && self.known != u64::MAX {
            // It was emptied a moment ago.
            return Err(io::Error::other("its transfer began anew"));
        }
        self.at += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn nothing() -> io::Result<File> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    #[test]
    fn what_comes_is_read_as_it_comes_and_ends_when_it_is_right() {
        let arrivals = Arrivals::of(2);
        let arrival = arrivals.get(0);
        let written = file(b"hello world");
        arrival.begin(written.try_clone().unwrap(), 5);
        let mut reader = arrival.read(nothing);
        let mut buffer = [0; 64];
        assert_eq!(reader.read(&mut buffer).unwrap(), 5);
        let rest = std::thread::scope(|scope| {
            let reading = scope.spawn(move || {
                let mut rest = String::new();
                reader.read_to_string(&mut rest).map(|_| rest)
            });
            arrival.advance(7);
            arrival.advance(11);
            arrival.complete();
            reading.join().unwrap()
        });
        assert_eq!(rest.unwrap(), " world");
        assert_eq!(arrival.settled(0), Settled::Right);
        // What came by other roads is opened where it lies.
        let mut all = String::new();
        arrivals.get(1).complete();
        arrivals.get(1).read(|| Ok(file(b"whole"))).read_to_string(&mut all).unwrap();
        assert_eq!(all, "whole");
        assert!(Arrivals::here(1).get(0).read(nothing).read(&mut buffer).is_err(), "it is gone");
    }

    #[test]
    fn attempts_that_were_given_up_end_in_an_error_and_say_what_follows() {
        let arrivals = Arrivals::of(1);
        let arrival = arrivals.get(0);
        arrival.begin(file(b"wrong"), 5);
        let mut first = arrival.read(nothing);
        let mut buffer = [0; 64];
        assert_eq!(first.read(&mut buffer).unwrap(), 5);
        arrival.restart();
        assert!(first.read(&mut buffer).unwrap_err().to_string().contains("began anew"));
        assert_eq!(arrival.settled(first.attempt()), Settled::Anew);
        let mut second = arrival.read(nothing);
        drop(arrivals.source());
        assert!(second.read(&mut buffer).unwrap_err().to_string().contains("failed"));
        assert_eq!(arrival.settled(second.attempt()), Settled::Failed);
        assert!(!arrivals.is_refused());
        arrivals.refuse();
        assert!(arrivals.is_refused());
    }
}

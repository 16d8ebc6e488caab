//! Signals that ask for the end: the first lets everything clean up, the second ends the program at once.

use std::io::{self, PipeReader, Read};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask, raise};
use rbuild_sandbox::process::Attitude;
use rbuild_store::Cancel;
use rustix::event::{PollFd, PollFlags, poll};

/// The signals that ask for the end. A hangup does not where the program was started to survive it (`nohup`).
fn ending() -> SigSet {
    let mut set = SigSet::empty();
    set.add(Signal::SIGINT);
    set.add(Signal::SIGTERM);
    let survives = Attitude::of(std::process::id()).is_some_and(|own| own.ignores(Signal::SIGHUP as i32));
    if !survives {
        set.add(Signal::SIGHUP);
    }
    set
}

/// Ends the program by a signal, whose default the kernel carries out. Where whoever started us left the signal ignored,
/// as shells do for `&`, it was sent all the same: we end with the status that it would have given.
pub(super) fn end_by(signal: Signal) -> ! {
    let mut set = SigSet::empty();
    set.add(signal);
    let _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&set), None);
    let _ = raise(signal);
    #[expect(
        clippy::exit,
        clippy::disallowed_methods,
        reason = "a signal ends all threads, wherever they are"
    )]
    std::process::exit(128 + signal as i32)
}

/// Calls `end` at the first signal. Must be called before any other thread is started: those inherit that the signals
/// are taken by one thread of ours.
pub(super) fn watch(end: impl Fn(Signal) + Send + 'static) -> nix::Result<()> {
    let set = ending();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None)?;
    let watch = move || {
        if let Ok(signal) = set.wait() {
            end(signal);
        }
        if let Ok(signal) = set.wait() {
            end_by(signal);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).map_err(|_| nix::Error::EAGAIN)?;
    Ok(())
}

/// The first signal, as those see it who wait for something else.
#[derive(Clone)]
pub(crate) struct Wish {
    cancel: Cancel,
    /// Ends at the signal, for waits in `poll`.
    woken: Arc<PipeReader>,
}

impl Wish {
    /// What loops and locks look at.
    pub(super) fn cancel(&self) -> Cancel {
        self.cancel.clone()
    }
}

/// Awaits the first signal; see [`watch`].
pub(super) fn wish() -> anyhow::Result<Wish> {
    wish_and(|| ())
}

/// As [`wish`], and does something more at the signal.
pub(super) fn wish_and(also: impl Fn() + Send + 'static) -> anyhow::Result<Wish> {
    let (canceller, cancel) = Cancel::pair();
    let (woken, waker) = io::pipe().context("failed to watch for signals")?;
    let held = Mutex::new(Some((canceller, waker)));
    let end = move |_| {
        drop(held.lock().unwrap_or_else(PoisonError::into_inner).take());
        also();
    };
    watch(end).context("failed to watch for signals")?;
    Ok(Wish { cancel, woken: Arc::new(woken) })
}

/// What becomes of the program at a signal that asks for the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtSignal {
    /// It goes on: somebody else sees to the end.
    GoesOn,
    /// It ends at once.
    Ends,
}

/// What a signal asks of a program that works with containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asks {
    /// An end, also of what it attends.
    End,
    /// That it leaves: its terminal is gone, which is nothing to containers.
    Leave,
}

/// As [`wish`], and asks at every signal what becomes of the program; they are counted from 1.
pub(super) fn wish_of_each(
    mut at: impl FnMut(u32, Asks) -> AtSignal + Send + 'static,
) -> anyhow::Result<Wish> {
    let (canceller, cancel) = Cancel::pair();
    let (woken, waker) = io::pipe().context("failed to watch for signals")?;
    let set = ending();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&set), None).context("failed to watch for signals")?;
    let watch = move || {
        let mut held = Some((canceller, waker));
        for count in 1.. {
            let Ok(signal) = set.wait() else { return };
            drop(held.take());
            let asks = if signal == Signal::SIGHUP { Asks::Leave } else { Asks::End };
            if at(count, asks) == AtSignal::Ends {
                end_by(signal);
            }
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(watch).context("failed to watch for signals")?;
    Ok(Wish { cancel, woken: Arc::new(woken) })
}

/// Begins a thread that takes no signals: they belong to whoever watches for them, also if that begins later.
pub(super) fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    let mut before = SigSet::empty();
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))?;
    let begun = thread::Builder::new().name(name.to_owned()).spawn(run);
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    begun
}

/// Standard input whose reads end at a signal.
pub(crate) struct Stdin<'a> {
    wish: Option<&'a Wish>,
}

impl<'a> Stdin<'a> {
    pub(super) const fn new(wish: Option<&'a Wish>) -> Self {
        Self { wish }
    }
}

impl Read for Stdin<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Past the standard library's buffer, which `poll` knows nothing of.
        let stdin = rustix::stdio::stdin();
        if let Some(wish) = self.wish {
            let mut ready = [PollFd::new(&*wish.woken, PollFlags::IN), PollFd::new(&stdin, PollFlags::IN)];
            poll(&mut ready, None)?;
            if !ready[0].revents().is_empty() {
                return Err(io::Error::other("a signal came"));
            }
        }
        Ok(rustix::io::read(stdin, buffer)?)
    }
}

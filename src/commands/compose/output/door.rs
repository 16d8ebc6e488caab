//! The way into an [`Output`](super::Output) from other threads: those that start containers while one thread prints.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context as _;
use rbuild_engine::Engine;
use rbuild_model::container::Definition;
use rbuild_monitor::log::{Filter, Source, Tail};
use rustix::event::{EventfdFlags, eventfd};

use super::line::{Line, Unfinished};
use super::voice::Voice;

/// Lets containers in, from any thread.
#[derive(Clone, Debug)]
pub(crate) struct Door {
    arrived: Arc<Mutex<Vec<Arrival>>>,
    bell: Arc<OwnedFd>,
}

/// Who came.
#[derive(Debug)]
pub(super) enum Arrival {
    /// A container that will write.
    Speaker(Box<Definition>, Box<Voice>),
    /// Lines that something wrote under a name.
    Lines(String, Vec<Line>),
}

impl Door {
    pub(super) fn new() -> anyhow::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let bell = eventfd(0, flags).context("failed to make an event")?;
        Ok(Self { arrived: Arc::default(), bell: Arc::new(bell) })
    }

    /// Listens to what a container writes from now on: when this returns, nothing of it is missed. For who is about to
    /// start it.
    pub(crate) fn join_live(&self, engine: &Engine, definition: &Definition) -> anyhow::Result<()> {
        let from_now = Filter { tail: Tail::Lines(0), ..Filter::default() };
        let voice = Voice::live(engine, definition, from_now)?;
        self.enter(Arrival::Speaker(Box::new(definition.clone()), Box::new(voice)));
        Ok(())
    }

    /// Tells of a container's end, and shows nothing that it writes.
    pub(crate) fn await_end(&self, definition: &Definition) {
        self.enter(Arrival::Speaker(Box::new(definition.clone()), Box::new(Voice::silent())));
    }

    /// Prints what something wrote that is no container, such as a hook, under a name.
    pub(crate) fn say(&self, name: &str, bytes: &[u8]) {
        let mut unfinished = Unfinished::default();
        let mut lines = Vec::new();
        unfinished.take_bytes(Source::Stdout, super::now(), bytes, |line| lines.push(line));
        lines.extend(unfinished.finish());
        self.enter(Arrival::Lines(name.to_owned(), lines));
    }

    /// Lets the thread that prints look around.
    pub(crate) fn ring(&self) {
        // A bell that rings already is heard.
        let _ = rustix::io::write(&*self.bell, &1_u64.to_ne_bytes());
    }

    fn enter(&self, arrival: Arrival) {
        self.arrived.lock().unwrap_or_else(PoisonError::into_inner).push(arrival);
        self.ring();
    }

    /// Takes who came until now, and silences the bell; tells whether it rang.
    pub(super) fn take(&self) -> (bool, Vec<Arrival>) {
        let rung = rustix::io::read(&*self.bell, &mut [0_u8; 8]).is_ok();
        (rung, std::mem::take(&mut *self.arrived.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl AsFd for Door {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }
}

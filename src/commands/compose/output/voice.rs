//! Where the lines of one container come from: its log, or its streams where no log is kept.

use std::collections::VecDeque;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::path::Path;

use rbuild_engine::Engine;
use rbuild_engine::containers::ContainerError;
use rbuild_model::container::{Definition, LogDriver};
use rbuild_monitor::log::{Filter, Reader, Source as Stream};
use rbuild_monitor::{Attach, Session, SessionEvent};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::line::{Line, Unfinished};
use super::merge::Source;

/// Where the lines of one container come from.
#[derive(Debug)]
pub(super) struct Voice {
    from: From,
    unfinished: Unfinished,
    ready: VecDeque<Line>,
    /// Whether its program has ended: what it did not finish is a line.
    ended: bool,
    watched: bool,
}

#[derive(Debug)]
enum From {
    Log(Box<Reader>),
    Streams(Box<Session>),
    /// Its streams ended with its program.
    Nothing,
    /// Nobody wants to hear it.
    Silence,
}

impl Voice {
    /// Reads a log.
    pub(super) fn of_log(reader: Reader) -> Self {
        Self::new(From::Log(Box::new(reader)))
    }

    /// Reads a container's log, or its streams where it has none.
    pub(super) fn live(
        engine: &Engine,
        definition: &Definition,
        filter: Filter,
    ) -> Result<Self, ContainerError> {
        match definition.host.log.driver {
            LogDriver::None => Ok(Self::new(attached(engine, definition)?)),
            _ => Ok(Self::of_log(engine.logs(definition, filter)?)),
        }
    }

    /// Says nothing.
    pub(super) fn silent() -> Self {
        Self::new(From::Silence)
    }

    /// Whether it never says anything.
    pub(super) fn is_silent(&self) -> bool {
        matches!(self.from, From::Silence)
    }

    fn new(from: From) -> Self {
        Self { from, unfinished: Unfinished::default(), ready: VecDeque::new(), ended: false, watched: false }
    }

    /// Notes that the program has ended: all that it wrote is there.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Notes that the program was started again.
    pub(super) fn go_on(&mut self, engine: &Engine, definition: &Definition) -> Result<(), ContainerError> {
        self.ended = false;
        if matches!(self.from, From::Nothing) {
            self.from = attached(engine, definition)?;
        }
        Ok(())
    }

    /// Returns the folder that tells of more, if it is not watched yet.
    pub(super) fn unwatched(&self) -> Option<&Path> {
        match &self.from {
            From::Log(reader) if !self.watched => Some(reader.folder()),
            _ => None,
        }
    }

    /// Notes that the folder is watched.
    pub(super) fn watched(&mut self) {
        self.watched = true;
    }

    /// Returns the descriptor that tells of more.
    pub(super) fn stream(&self) -> Option<BorrowedFd<'_>> {
        match &self.from {
            From::Streams(session) => Some(session.as_fd()),
            From::Log(_) | From::Nothing | From::Silence => None,
        }
    }

    /// Reads once; tells whether there may be more.
    fn read(&mut self) -> anyhow::Result<bool> {
        let Self { from, unfinished, ready, .. } = self;
        match from {
            From::Log(reader) => match reader.next_entry()? {
                Some(entry) => ready.extend(unfinished.take_entry(entry)),
                None => return Ok(false),
            },
            From::Streams(session) => {
                if !session.has_event() && !is_readable(session) {
                    return Ok(false);
                }
                let (stream, bytes) = match session.next_event()? {
                    SessionEvent::Stdout(bytes) => (Stream::Stdout, bytes),
                    SessionEvent::Stderr(bytes) => (Stream::Stderr, bytes),
                    SessionEvent::Ended(_) | SessionEvent::ExecEnded(_) => {
                        ready.extend(unfinished.finish());
                        *from = From::Nothing;
                        return Ok(true);
                    }
                };
                unfinished.take_bytes(stream, super::now(), &bytes, |line| ready.push_back(line));
            }
            From::Nothing | From::Silence => return Ok(false),
        }
        Ok(true)
    }
}

impl Source for Voice {
    type Error = anyhow::Error;

    fn next_line(&mut self) -> anyhow::Result<Option<Line>> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Ok(Some(line));
            }
            if self.read()? {
                continue;
            }
            if self.ended {
                self.ready.extend(self.unfinished.finish());
            }
            return Ok(self.ready.pop_front());
        }
    }
}

fn attached(engine: &Engine, definition: &Definition) -> Result<From, ContainerError> {
    let streams = Attach { stdin: false, stdout: true, stderr: true };
    let (session, _) = engine.monitor(definition)?.attach(streams)?;
    Ok(From::Streams(Box::new(session)))
}

fn is_readable(session: &Session) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(session.as_fd(), PollFlags::IN)];
    poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

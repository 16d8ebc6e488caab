//! Who is connected: taken in, heard as fast as they are served, filled up when they lag, let go.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::connection::{Connection, Health, Role};
use super::execs::Kind;
use super::monitor::{Monitor, Phase};
use crate::output::HIGH;
use crate::protocol::{Refusal, Reply, StreamEnd};
use crate::record::Moment;

/// More clients are turned away.
const MOST_CONNECTIONS: usize = 512;
/// So many of those are told why; any more are not.
const MOST_TOLD: usize = 64;
/// How long no client is heard when there is no descriptor left for one.
const DEAFNESS: Duration = Duration::from_millis(100);

impl Monitor {
    pub(super) fn accept(&mut self) {
        loop {
            match accept_with(&self.listener, SocketFlags::CLOEXEC) {
                Ok(socket) => self.welcome(socket),
                Err(Errno::MFILE | Errno::NFILE) => {
                    if self.spare.take().is_none() {
                        // The socket stays readable: it is left alone until something may have been closed.
                        self.deaf_until = Some(Instant::now() + DEAFNESS);
                        return;
                    }
                }
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                Err(_) => return,
            }
        }
    }

    fn welcome(&mut self, socket: OwnedFd) {
        let mut connection = Connection::new(self.next_number, socket);
        self.next_number += 1;
        if self.connections.len() >= MOST_CONNECTIONS + MOST_TOLD {
            return;
        }
        if self.connections.len() >= MOST_CONNECTIONS {
            connection.say(&Reply::Refused(Refusal::Crowded(MOST_CONNECTIONS)));
            connection.leaving = true;
        }
        self.connections.push(connection);
    }

    /// Keeps a descriptor for the client that comes when all others are in use.
    pub(super) fn keep_spare(&mut self) {
        if self.spare.is_none() {
            self.spare = rustix::io::fcntl_dupfd_cloexec(&self.lock, 3).ok();
        }
    }

    pub(super) fn serve_client(&mut self, number: u64) {
        let Some(connection) = self.connection(number) else { return };
        if connection.receive() == Health::Gone {
            // What arrived before the end is still done.
            self.requests_of(number);
            self.forget(number);
            return;
        }
        self.requests_of(number);
    }

    pub(super) fn connection(&mut self, number: u64) -> Option<&mut Connection> {
        self.connections.iter_mut().find(|connection| connection.number == number)
    }

    /// Lets a client go.
    pub(super) fn forget(&mut self, number: u64) {
        let Some(at) = self.connections.iter().position(|connection| connection.number == number) else {
            return;
        };
        let gone = self.connections.remove(at);
        match &gone.role {
            Role::Attached(attached) if attached.streams.stdin => self.end_input(),
            // The program goes on; what it writes is read and dropped.
            Role::Exec(id, _) => {
                if let Some(exec) = self.execs.all.get_mut(id) {
                    exec.kind = Kind::Client(None);
                    if !exec.streams.is_terminal {
                        exec.streams.input.ending = true;
                        exec.streams.input.flush();
                    }
                }
            }
            _ => {}
        }
        if gone.took_lock {
            self.take_back();
        }
        if gone.removes {
            self.remove_if_due();
        }
    }

    /// Whoever took the lock to remove the container is gone without a word.
    fn take_back(&mut self) {
        if self.place.folder().is_dir() {
            // The lock has been ours all the time.
            self.given_up = false;
            self.save();
        } else {
            self.was_removed();
        }
    }

    /// Whether more is taken from a client: not while what it sent before waits.
    pub(super) fn takes_input(&self, role: &Role) -> bool {
        match role {
            Role::Attached(attached) if attached.streams.stdin => match &self.phase {
                Phase::Running(live) => live.streams.input.has_room(),
                // What is sent before the start waits in the socket.
                Phase::Waiting(_) => false,
                Phase::Idle => attached.complete,
            },
            Role::Exec(id, _) => self.execs.all.get(id).is_none_or(|exec| exec.streams.input.has_room()),
            _ => true,
        }
    }

    pub(super) fn has_room_for(&self, kind: &Kind) -> bool {
        match kind {
            Kind::Client(Some(number)) => self
                .connections
                .iter()
                .find(|connection| connection.number == *number)
                .is_none_or(|connection| connection.outbox.len() < HIGH),
            _ => true,
        }
    }

    /// Tells those who watch what the container is now, if that is another thing than before.
    pub(super) fn tell_watchers(&mut self) {
        let now = Moment::of(&self.record);
        if self.told.as_ref() == Some(&now) {
            return;
        }
        for connection in &mut self.connections {
            if connection.role != Role::Watching {
                continue;
            }
            if connection.outbox.len() < HIGH {
                connection.say(&Reply::Changed(Box::new(now.clone())));
            } else {
                // It does not listen: it may come again and ask.
                connection.cut = true;
            }
        }
        self.told = Some(now);
    }

    pub(super) fn let_laggards_go(&mut self) {
        for connection in &mut self.connections {
            let Role::Attached(attached) = &mut connection.role else { continue };
            if attached.lags.take().is_some() {
                connection.role = Role::Requests;
                connection.say(&Reply::StreamEnded(StreamEnd::TooSlow));
                connection.leaving = true;
            }
        }
        self.spool.clear();
    }

    /// Sends what clients take, and fills up those that lag.
    pub(super) fn flush(&mut self) {
        let mut gone = Vec::new();
        for connection in &mut self.connections {
            loop {
                if let Role::Attached(attached) = &mut connection.role
                    && connection.outbox.is_empty()
                {
                    if let Some(place) = attached.lags {
                        let wanted = attached.clone();
                        let taken = self.spool.take(place, |kind| wanted.wants(kind), &mut connection.outbox);
                        attached.lags = match taken {
                            Ok(place) if place < self.spool.end() => Some(place),
                            Ok(_) => None,
                            Err(_) => {
                                gone.push(connection.number);
                                break;
                            }
                        };
                    } else if attached.complete {
                        connection.say(&Reply::StreamEnded(StreamEnd::Ended));
                        connection.role = Role::Requests;
                    }
                }
                if connection.outbox.is_empty() {
                    break;
                }
                if connection.flush() == Health::Gone {
                    gone.push(connection.number);
                    break;
                }
                if !connection.outbox.is_empty() {
                    break;
                }
            }
        }
        let lags = |connection: &Connection| matches!(&connection.role, Role::Attached(attached) if attached.lags.is_some());
        if self.spool.end() > 0 && !self.connections.iter().any(lags) {
            self.spool.clear();
        }
        for number in gone {
            self.forget(number);
        }
        self.remove_if_due();
    }
}

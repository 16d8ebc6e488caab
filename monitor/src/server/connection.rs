//! A client, as the monitor has it.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use serde::Serialize;

use crate::protocol::frame::{self, Decoder, Frame, FrameError, Kind, encode};
use crate::protocol::{Attach, ExecId, Until};

/// What a connection is used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Requests and answers.
    Requests,
    /// It waits.
    Waiting(Until),
    /// It is told of every change.
    Watching,
    /// It is told when the program has ended.
    AwaitsEnd,
    /// It has streams of the container.
    Attached(Attached),
    /// It has streams of an execution.
    Exec(ExecId, Attach),
}

/// Streams of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Attached {
    pub(super) streams: Attach,
    /// The place in the spool up to which it got everything, if it does not keep up.
    pub(super) lags: Option<u64>,
    /// Whether all of the output that it will get is there.
    pub(super) complete: bool,
}

impl Attached {
    pub(super) fn wants(&self, kind: Kind) -> bool {
        match kind {
            Kind::Stdout => self.streams.stdout,
            Kind::Stderr => self.streams.stderr,
            _ => false,
        }
    }
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    Good,
    Gone,
}

/// A client.
#[derive(Debug)]
pub(super) struct Connection {
    /// A number of its own, never given again.
    pub(super) number: u64,
    pub(super) socket: OwnedFd,
    pub(super) role: Role,
    pub(super) outbox: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
    pub(super) greeted: bool,
    /// Whether it promised to remove the container.
    pub(super) removes: bool,
    /// Whether it has the container's lock too, to remove the container.
    pub(super) took_lock: bool,
    /// Whether it goes when its outbox is empty.
    pub(super) leaving: bool,
    /// Whether it goes now, with what is in its outbox.
    pub(super) cut: bool,
    decoder: Decoder,
}

impl Connection {
    pub(super) fn new(number: u64, socket: OwnedFd) -> Self {
        Self {
            number,
            socket,
            role: Role::Requests,
            outbox: Vec::new(),
            fds: Vec::new(),
            greeted: false,
            removes: false,
            took_lock: false,
            leaving: false,
            cut: false,
            decoder: Decoder::default(),
        }
    }

    /// Takes what arrived; at most so much that others have their turn.
    pub(super) fn receive(&mut self) -> Health {
        let mut buffer = [0; 16 << 10];
        for _ in 0..4 {
            match frame::receive_some(&self.socket, &mut buffer, &mut self.fds, RecvFlags::DONTWAIT) {
                Ok(0) => return Health::Gone,
                Ok(count) => self.decoder.feed(&buffer[..count]),
                Err(FrameError::Socket(error)) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(_) => return Health::Gone,
            }
        }
        Health::Good
    }

    /// Takes the next frame that is complete.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        self.decoder.next_frame()
    }

    /// Queues a message.
    pub(super) fn say<T: Serialize>(&mut self, message: &T) {
        if let Ok(frame) = Frame::message(message) {
            encode(frame.kind, &frame.bytes, &mut self.outbox);
        }
    }

    /// Sends a message with a descriptor at once.
    pub(super) fn say_with<T: Serialize>(&mut self, message: &T, fd: impl AsFd) -> Health {
        let Ok(frame) = Frame::message(message) else { return Health::Gone };
        let mut bytes = Vec::new();
        encode(frame.kind, &frame.bytes, &mut bytes);
        match frame::send_some(&self.socket, &bytes, &[fd.as_fd()], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        {
            Ok(count) if count == bytes.len() => Health::Good,
            _ => Health::Gone,
        }
    }

    /// Sends as much as the client takes.
    pub(super) fn flush(&mut self) -> Health {
        if self.cut {
            return Health::Gone;
        }
        while !self.outbox.is_empty() {
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            match frame::send_some(&self.socket, &self.outbox, &[], flags) {
                Ok(count) if count == self.outbox.len() => self.outbox = Vec::new(),
                Ok(count) => drop(self.outbox.drain(..count)),
                Err(Errno::WOULDBLOCK) => return Health::Good,
                Err(_) => return Health::Gone,
            }
        }
        if self.leaving { Health::Gone } else { Health::Good }
    }
}

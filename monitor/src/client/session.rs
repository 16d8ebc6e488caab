//! Streams of a container or of an execution, as a client has them.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::{Client, ClientError};
use crate::protocol::frame::{self, Frame, Kind, MAX_PIECE};
use crate::protocol::{Reply, StreamEnd};

/// Streams that are attached. What is written and what is read are apart: [`Session::writer`] is for another thread.
#[derive(Debug)]
pub struct Session {
    client: Client,
}

/// What comes out of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// Bytes of standard output or of the terminal.
    Stdout(Vec<u8>),
    /// Bytes of the error output.
    Stderr(Vec<u8>),
    /// No more output: the streams of a container ended.
    Ended(StreamEnd),
    /// No more output: the execution ended with this status.
    ExecEnded(i32),
}

impl Session {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Tells whether an event has arrived already, so that the descriptor need not become readable for it.
    pub fn has_event(&self) -> bool {
        self.client.decoder.has_frame()
    }

    /// Waits for the next event. After one that ends there is no other.
    pub fn next_event(&mut self) -> Result<SessionEvent, ClientError> {
        let client = &mut self.client;
        let frame = frame::receive(&client.socket, &mut client.decoder, &mut client.fds)?;
        match frame.kind {
            Kind::Stdout => Ok(SessionEvent::Stdout(frame.bytes)),
            Kind::Stderr => Ok(SessionEvent::Stderr(frame.bytes)),
            Kind::Message => match frame.read()? {
                Reply::StreamEnded(end) => Ok(SessionEvent::Ended(end)),
                Reply::ExecEnded { code } => Ok(SessionEvent::ExecEnded(code)),
                _ => Err(ClientError::Order),
            },
            Kind::Stdin | Kind::Size => Err(ClientError::Order),
        }
    }

    /// Returns the end that is written to.
    pub fn writer(&self) -> Result<SessionWriter, ClientError> {
        let socket = self.client.socket.try_clone().map_err(ClientError::Socket)?;
        Ok(SessionWriter { socket })
    }
}

impl AsFd for Session {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.client.socket.as_fd()
    }
}

/// The end of a session that is written to.
#[derive(Debug)]
pub struct SessionWriter {
    socket: std::os::fd::OwnedFd,
}

impl SessionWriter {
    /// Sends bytes to standard input or the terminal; waits while those before them are not taken.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ClientError> {
        for piece in bytes.chunks(MAX_PIECE) {
            frame::send(&self.socket, &Frame { kind: Kind::Stdin, bytes: piece.to_vec() }, &[])?;
        }
        Ok(())
    }

    /// Says that nothing more comes.
    pub fn close(&mut self) -> Result<(), ClientError> {
        Ok(frame::send(&self.socket, &Frame { kind: Kind::Stdin, bytes: Vec::new() }, &[])?)
    }

    /// Sets the size of the terminal.
    pub fn resize(&mut self, columns: u16, rows: u16) -> Result<(), ClientError> {
        Ok(frame::send(&self.socket, &Frame::of_size(columns, rows), &[])?)
    }
}

/// Waits until there is something to read, for at most so long.
pub(super) fn is_readable(fd: BorrowedFd<'_>, time: Option<Duration>) -> Result<bool, ClientError> {
    let time = time.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    loop {
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], time.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(ClientError::Socket(errno.into())),
        }
    }
}

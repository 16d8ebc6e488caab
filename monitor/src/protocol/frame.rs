//! Frames on a stream socket: four bytes of length (little endian), one of kind, and the rest.
//!
//! Descriptors travel with the first byte of a frame. Lengths are bounded before anything is kept; after a frame that
//! is wrong nothing more is read from that peer.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest message.
pub const MAX_MESSAGE: usize = 4 << 20;
/// The longest piece of a stream.
pub const MAX_PIECE: usize = 64 << 10;
/// The most descriptors that come along with a frame.
pub const MAX_FDS: usize = 250;

const HEAD: usize = 5;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A message in JSON.
    Message,
    /// Bytes for standard input; none is its end.
    Stdin,
    /// Bytes of standard output or of the terminal.
    Stdout,
    /// Bytes of the error output.
    Stderr,
    /// A size of the terminal: columns and rows, two bytes each.
    Size,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Message, Self::Stdin, Self::Stdout, Self::Stderr, Self::Size];

    fn number(self) -> u8 {
        self as u8
    }

    fn longest(self) -> usize {
        match self {
            Self::Message => MAX_MESSAGE,
            Self::Stdin | Self::Stdout | Self::Stderr => MAX_PIECE,
            Self::Size => 4,
        }
    }
}

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it holds.
    pub kind: Kind,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// A frame that could not be sent, received or understood.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The peer closed its end or died.
    #[error("the other side is gone")]
    Closed,
    /// The frame is of no kind that is known.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// The frame is too long.
    #[error("a frame of {length} bytes is over the limit of {limit}")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// The message is not what it has to be.
    #[error("a malformed message")]
    Malformed(#[source] serde_json::Error),
    /// Descriptors did not arrive, or too many.
    #[error("descriptors of a message were lost")]
    Descriptors,
    /// The socket failed.
    #[error("the socket failed")]
    Socket(#[source] io::Error),
}

impl From<Errno> for FrameError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            errno => Self::Socket(errno.into()),
        }
    }
}

impl Frame {
    /// Makes a frame of a message.
    pub fn message<T: Serialize>(message: &T) -> Result<Self, FrameError> {
        let bytes = serde_json::to_vec(message).map_err(FrameError::Malformed)?;
        let (length, limit) = (bytes.len(), MAX_MESSAGE);
        if length > limit {
            Err(FrameError::TooLong { length, limit })
        } else {
            Ok(Self { kind: Kind::Message, bytes })
        }
    }

    /// Reads the message in it.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, FrameError> {
        if self.kind != Kind::Message {
            return Err(FrameError::Kind(self.kind.number()));
        }
        serde_json::from_slice(&self.bytes).map_err(FrameError::Malformed)
    }

    /// Returns the columns and rows in it.
    pub fn size(&self) -> Option<(u16, u16)> {
        match (self.kind, &self.bytes[..]) {
            (Kind::Size, &[a, b, c, d]) => Some((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]))),
            _ => None,
        }
    }

    /// Makes a frame of a size of the terminal.
    pub fn of_size(columns: u16, rows: u16) -> Self {
        let bytes = [columns.to_le_bytes(), rows.to_le_bytes()].concat();
        Self { kind: Kind::Size, bytes }
    }
}

/// Appends a frame to bytes that are to be sent.
pub fn encode(kind: Kind, bytes: &[u8], into: &mut Vec<u8>) {
    into.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    into.push(kind.number());
    into.extend_from_slice(bytes);
}

/// Takes frames out of bytes as they arrive.
#[derive(Debug, Default)]
pub struct Decoder {
    bytes: Vec<u8>,
}

impl Decoder {
    /// Adds bytes that arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Tells whether the next frame is complete, or can only be an error.
    pub fn has_frame(&self) -> bool {
        let Some(head) = self.bytes.first_chunk::<4>() else { return false };
        let length = u32::from_le_bytes(*head) as usize;
        self.bytes.len() >= HEAD.saturating_add(length.min(MAX_PIECE))
    }

    /// Takes the next frame, if it is complete. After an error there is no next one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.bytes.len() < HEAD {
            return Ok(None);
        }
        let length =
            u32::from_le_bytes([self.bytes[0], self.bytes[1], self.bytes[2], self.bytes[3]]) as usize;
        let number = self.bytes[4];
        let kind =
            Kind::ALL.into_iter().find(|kind| kind.number() == number).ok_or(FrameError::Kind(number))?;
        let limit = kind.longest();
        if length > limit {
            return Err(FrameError::TooLong { length, limit });
        }
        if self.bytes.len() < HEAD + length {
            return Ok(None);
        }
        let bytes = self.bytes[HEAD..HEAD + length].to_vec();
        self.bytes.drain(..HEAD + length);
        if self.bytes.is_empty() {
            // A long message is no reason to keep its room.
            self.bytes = Vec::new();
        }
        Ok(Some(Frame { kind, bytes }))
    }
}

/// Sends a whole frame on a socket that waits.
pub fn send(socket: impl AsFd, frame: &Frame, fds: &[BorrowedFd<'_>]) -> Result<(), FrameError> {
    if fds.len() > MAX_FDS {
        return Err(FrameError::Descriptors);
    }
    let mut bytes = Vec::with_capacity(HEAD + frame.bytes.len());
    encode(frame.kind, &frame.bytes, &mut bytes);
    let mut sent = send_some(&socket, &bytes, fds, SendFlags::NOSIGNAL)?;
    while sent < bytes.len() {
        sent += send_some(&socket, &bytes[sent..], &[], SendFlags::NOSIGNAL)?;
    }
    Ok(())
}

/// Sends as much as the socket takes; descriptors go with the first byte.
pub(crate) fn send_some(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(fits, "the space is made for MAX_FDS");
    }
    loop {
        match sendmsg(&socket, &[IoSlice::new(bytes)], &mut control, flags) {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

/// Receives what is there: the number of bytes in `buffer`, zero at the end, and descriptors.
pub(crate) fn receive_some(
    socket: impl AsFd,
    buffer: &mut [u8],
    fds: &mut Vec<OwnedFd>,
    flags: RecvFlags,
) -> Result<usize, FrameError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(&socket, &mut [IoSliceMut::new(buffer)], &mut control, flags | RecvFlags::CMSG_CLOEXEC)
        {
            Err(Errno::INTR) => {}
            result => break result?,
        }
    };
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(arrived) = message {
            fds.extend(arrived);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) || fds.len() > MAX_FDS {
        return Err(FrameError::Descriptors);
    }
    Ok(received.bytes)
}

/// Receives one frame on a socket that waits, with the descriptors that came since the last.
pub fn receive(
    socket: impl AsFd,
    decoder: &mut Decoder,
    fds: &mut Vec<OwnedFd>,
) -> Result<Frame, FrameError> {
    let mut buffer = [0; 16 << 10];
    loop {
        if let Some(frame) = decoder.next_frame()? {
            return Ok(frame);
        }
        match receive_some(&socket, &mut buffer, fds, RecvFlags::empty())? {
            0 => return Err(FrameError::Closed),
            count => decoder.feed(&buffer[..count]),
        }
    }
}

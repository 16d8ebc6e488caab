//! Framed messages between the program and its stages.
//!
//! A frame on a stream socket is a header of three little-endian lengths (text, blob, number of descriptors), the
//! text (JSON of one serde type), and the blob (bytes that the text refers to by range: file contents, filters).
//! Descriptors travel with the header as one `SCM_RIGHTS` message. Everything is bounded before it is allocated; a
//! peer that is gone is [`WireError::Closed`].

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

/// The longest frame, text and blob together.
pub(crate) const MAX_FRAME: usize = 4 << 20;
/// The most descriptors in a frame (the kernel's own bound is 253).
pub(crate) const MAX_FDS: usize = 250;

const HEADER: usize = 12;

/// A message that could not be sent or received.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The peer closed its end or died.
    #[error("the other side is gone")]
    Closed,
    /// The message is longer than the limit.
    #[error("message of {size} bytes is over the limit of {MAX_FRAME}")]
    TooLong {
        /// Its size.
        size: usize,
    },
    /// The message carries more than the limit descriptors.
    #[error("message with {count} descriptors is over the limit of {MAX_FDS}")]
    TooManyFds {
        /// How many.
        count: usize,
    },
    /// The message is not what its type says.
    #[error("malformed message")]
    Malformed(#[source] serde_json::Error),
    /// Descriptors were lost on the way: the receiver's table is full.
    #[error("descriptors of the message did not arrive: too many open files")]
    LostFds,
    /// The socket failed.
    #[error("socket failed")]
    Socket(#[source] io::Error),
}

impl From<Errno> for WireError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::PIPE | Errno::CONNRESET => Self::Closed,
            errno => Self::Socket(errno.into()),
        }
    }
}

/// A received message with what came along.
pub(crate) struct Received<T> {
    pub(crate) message: T,
    pub(crate) blob: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// Sends one message.
pub(crate) fn send<T: Serialize>(
    socket: impl AsFd,
    message: &T,
    blob: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(), WireError> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message).map_err(WireError::Malformed)?;
    let text = bytes.len() - HEADER;
    let size = text + blob.len();
    if size > MAX_FRAME {
        return Err(WireError::TooLong { size });
    }
    if fds.len() > MAX_FDS {
        return Err(WireError::TooManyFds { count: fds.len() });
    }
    for (place, value) in [text, blob.len(), fds.len()].into_iter().enumerate() {
        bytes[place * 4..place * 4 + 4].copy_from_slice(&(value as u32).to_le_bytes());
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(fits, "the space is made for MAX_FDS");
    }
    let mut sent = retry(|| {
        sendmsg(&socket, &[IoSlice::new(&bytes), IoSlice::new(blob)], &mut control, SendFlags::NOSIGNAL)
    })?;
    while sent < bytes.len() + blob.len() {
        let rest = if sent < bytes.len() { &bytes[sent..] } else { &blob[sent - bytes.len()..] };
        sent += retry(|| rustix::net::send(&socket, rest, SendFlags::NOSIGNAL))?;
    }
    Ok(())
}

/// Receives one message; waits for it.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Received<T>, WireError> {
    let mut header = [0; HEADER];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut fds = Vec::new();
    let received = retry(|| {
        recvmsg(&socket, &mut [IoSliceMut::new(&mut header)], &mut control, RecvFlags::CMSG_CLOEXEC)
    })?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(arrived) = message {
            fds.extend(arrived);
        }
    }
    if received.bytes == 0 {
        return Err(WireError::Closed);
    }
    read_exact(&socket, &mut header[received.bytes..])?;
    let length = |place: usize| {
        let bytes = header[place * 4..place * 4 + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    };
    let (text, blob, count) = (length(0), length(1), length(2));
    let size = text.saturating_add(blob);
    if size > MAX_FRAME {
        return Err(WireError::TooLong { size });
    }
    if received.flags.contains(ReturnFlags::CTRUNC) || fds.len() != count {
        return Err(WireError::LostFds);
    }
    let mut bytes = vec![0; size];
    read_exact(&socket, &mut bytes)?;
    let blob = bytes.split_off(text);
    let message = serde_json::from_slice(&bytes).map_err(WireError::Malformed)?;
    Ok(Received { message, blob, fds })
}

fn read_exact(socket: impl AsFd, mut bytes: &mut [u8]) -> Result<(), WireError> {
    while !bytes.is_empty() {
        let (count, _) = retry(|| rustix::net::recv(&socket, &mut *bytes, RecvFlags::empty()))?;
        if count == 0 {
            return Err(WireError::Closed);
        }
        bytes = &mut bytes[count..];
    }
    Ok(())
}

fn retry<T>(mut act: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    loop {
        match act() {
            Err(Errno::INTR) => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap()
    }

    #[test]
    fn text_blob_and_descriptors_arrive_together() {
        let (a, b) = pair();
        let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        rustix::io::write(&file, b"content").unwrap();
        send(&a, &vec!["one", "two"], b"\0blob", &[file.as_fd()]).unwrap();
        send(&a, &vec!["next"], b"", &[]).unwrap();
        let first: Received<Vec<String>> = receive(&b).unwrap();
        assert_eq!(first.message, ["one", "two"]);
        assert_eq!(first.blob, b"\0blob");
        let mut bytes = [0; 7];
        rustix::io::pread(&first.fds[0], &mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"content");
        let flags = rustix::io::fcntl_getfd(&first.fds[0]).unwrap();
        assert!(flags.contains(rustix::io::FdFlags::CLOEXEC));
        let second: Received<Vec<String>> = receive(&b).unwrap();
        assert_eq!(second.message, ["next"]);
        drop(a);
        assert!(matches!(receive::<Vec<String>>(&b), Err(WireError::Closed)));
    }

    #[test]
    fn frames_are_bounded_on_both_sides() {
        let (a, b) = pair();
        let long = vec![0; MAX_FRAME];
        assert!(matches!(send(&a, &"x", &long, &[]), Err(WireError::TooLong { .. })));
        rustix::io::write(&a, &[0xff; HEADER]).unwrap();
        assert!(matches!(receive::<String>(&b), Err(WireError::TooLong { .. })));
    }

    #[test]
    fn a_dead_peer_is_an_error_and_no_signal() {
        let (a, b) = pair();
        drop(b);
        assert!(matches!(send(&a, &"x", b"", &[]), Err(WireError::Closed)));
    }

    #[test]
    fn another_number_of_descriptors_is_refused() {
        let (a, b) = pair();
        let mut header = [0; HEADER + 2];
        header[0] = 2;
        header[8] = 1;
        header[HEADER..].copy_from_slice(b"\"\"");
        rustix::io::write(&a, &header).unwrap();
        assert!(matches!(receive::<String>(&b), Err(WireError::LostFds)));
    }
}

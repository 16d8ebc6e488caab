//! Framed messages between the program and its stages.
//!
//! A frame on a stream socket is a header of three little-endian lengths (text, blob, number of descriptors), the
//! text (JSON of one serde type), and the blob (bytes that the text refers to by range: file contents, filters).
//! Descriptors travel with the header as one `SCM_RIGHTS` message, and those that the kernel does not take in one behind the
//! blob, each message with a byte of its own. Everything is bounded before it is allocated; a peer that is gone is
//! [`WireError::Closed`].

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
/// The most descriptors in a frame.
pub(crate) const MAX_FDS: usize = 4000;
/// The most descriptors in a message (the kernel's own bound is 253).
const FDS_AT_ONCE: usize = 250;

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
    let (first, others) = fds.split_at(fds.len().min(FDS_AT_ONCE));
    let mut sent = send_with(&socket, &[IoSlice::new(&bytes), IoSlice::new(blob)], first)?;
    while sent < bytes.len() + blob.len() {
        let rest = if sent < bytes.len() { &bytes[sent..] } else { &blob[sent - bytes.len()..] };
        sent += retry(|| rustix::net::send(&socket, rest, SendFlags::NOSIGNAL))?;
    }
    for some in others.chunks(FDS_AT_ONCE) {
        send_with(&socket, &[IoSlice::new(&[0])], some)?;
    }
    Ok(())
}

/// Sends bytes with at most [`FDS_AT_ONCE`] descriptors; returns how many bytes went.
fn send_with(socket: impl AsFd, bytes: &[IoSlice<'_>], fds: &[BorrowedFd<'_>]) -> Result<usize, WireError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_AT_ONCE))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() {
        let fits = control.push(SendAncillaryMessage::ScmRights(fds));
        debug_assert!(fits, "the space is made for so many");
    }
    Ok(retry(|| sendmsg(&socket, bytes, &mut control, SendFlags::NOSIGNAL))?)
}

/// Receives one message; waits for it.
pub(crate) fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Received<T>, WireError> {
    let mut header = [0; HEADER];
    let mut fds = Vec::new();
    let received = receive_with(&socket, &mut header, &mut fds)?;
    read_exact(&socket, &mut header[received..])?;
    let length = |place: usize| {
        let bytes = header[place * 4..place * 4 + 4].try_into().expect("four bytes");
        u32::from_le_bytes(bytes) as usize
    };
    let (text, blob, count) = (length(0), length(1), length(2));
    let size = text.saturating_add(blob);
    if size > MAX_FRAME {
        return Err(WireError::TooLong { size });
    }
    if count > MAX_FDS {
        return Err(WireError::TooManyFds { count });
    }
    if fds.len() != count.min(FDS_AT_ONCE) {
        return Err(WireError::LostFds);
    }
    let mut bytes = vec![0; size];
    read_exact(&socket, &mut bytes)?;
    while fds.len() < count {
        let before = fds.len();
        receive_with(&socket, &mut [0], &mut fds)?;
        if fds.len() != count.min(before + FDS_AT_ONCE) {
            return Err(WireError::LostFds);
        }
    }
    let blob = bytes.split_off(text);
    let message = serde_json::from_slice(&bytes).map_err(WireError::Malformed)?;
    Ok(Received { message, blob, fds })
}

/// Receives some bytes with the descriptors that come along; returns how many bytes.
fn receive_with(socket: impl AsFd, bytes: &mut [u8], fds: &mut Vec<OwnedFd>) -> Result<usize, WireError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_AT_ONCE))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received =
        retry(|| recvmsg(&socket, &mut [IoSliceMut::new(bytes)], &mut control, RecvFlags::CMSG_CLOEXEC))?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(arrived) = message {
            fds.extend(arrived);
        }
    }
    match (received.bytes, received.flags.contains(ReturnFlags::CTRUNC)) {
        (0, _) => Err(WireError::Closed),
        (_, true) => Err(WireError::LostFds),
        (count, false) => Ok(count),
    }
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
    fn any_number_of_descriptors_arrives_in_order() {
        for count in [FDS_AT_ONCE, FDS_AT_ONCE + 1, 3 * FDS_AT_ONCE] {
            let (a, b) = pair();
            let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            let last = rustix::fs::memfd_create("y", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
            rustix::io::write(&last, b"last").unwrap();
            let mut fds = vec![file.as_fd(); count];
            fds[count - 1] = last.as_fd();
            send(&a, &"many", b"blob", &fds).unwrap();
            send(&a, &"next", b"", &[file.as_fd()]).unwrap();
            let many: Received<String> = receive(&b).unwrap();
            assert_eq!((many.message.as_str(), &*many.blob, many.fds.len()), ("many", &b"blob"[..], count));
            let mut bytes = [0; 4];
            rustix::io::pread(&many.fds[count - 1], &mut bytes, 0).unwrap();
            assert_eq!(&bytes, b"last");
            let next: Received<String> = receive(&b).unwrap();
            assert_eq!((next.message.as_str(), next.fds.len()), ("next", 1));
        }
        let (a, b) = pair();
        let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
        let fds = vec![file.as_fd(); MAX_FDS + 1];
        assert!(matches!(send(&a, &"x", b"", &fds), Err(WireError::TooManyFds { .. })));
        drop(b);
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

//! A netlink socket: requests in, acknowledgements and dumps out.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink};

use super::message::{
    ACK_ATTRIBUTES, Attributes, CAPPED, DUMP_INTERRUPTED, Frame, Frames, KIND_DONE, KIND_ERROR, Message,
    read_string, read_u32,
};
use super::sys::{self, NetlinkOption};

/// Why a conversation with the kernel failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The socket could not be made.
    #[error("cannot open a netlink socket")]
    Open {
        /// What the kernel said.
        source: io::Error,
    },
    /// Sending or receiving failed.
    #[error("cannot speak with the kernel over netlink")]
    Transfer {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("the kernel refused to {act}{}", text.as_deref().map(|text| format!(" ({text})")).unwrap_or_default())]
    Refused {
        /// What was asked.
        act: String,
        /// The kernel's own explanation, if it gave one.
        text: Option<String>,
        /// The error number it answered with.
        source: io::Error,
    },
    /// An answer did not have the form it must have.
    #[error("an answer of the kernel is malformed: {what}")]
    Malformed {
        /// Which answer.
        what: &'static str,
    },
    /// The objects changed during each of several attempts to list them.
    #[error("the list kept changing while it was read: {act}")]
    Unstable {
        /// What was asked.
        act: String,
    },
}

impl NetlinkError {
    /// The error number of a refusal.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { source, .. } => Errno::from_io_error(source),
            _ => None,
        }
    }
}

/// Which part of the kernel a socket speaks with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Links, addresses and routes.
    Route,
    /// Packet filter.
    Netfilter,
}

/// A request and the words for it in an error message.
#[derive(Clone, Debug)]
pub struct Request {
    /// Completes the sentence "the kernel refused to …".
    pub act: String,
    /// The message.
    pub message: Message,
}

impl Request {
    /// Pairs a message with the words for it.
    pub fn new(act: impl Into<String>, message: Message) -> Self {
        Self { act: act.into(), message }
    }
}

/// One outcome for each request that asked for an acknowledgement.
pub type Outcomes = Vec<Result<(), NetlinkError>>;

/// An answer of the kernel that carries an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What kind of message it is.
    pub kind: u16,
    /// Everything after the header.
    pub body: Vec<u8>,
}

/// A netlink socket. It belongs to the network namespace in which it was opened, whoever uses it later.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// Largest datagram that the kernel makes of a dump.
const RECEIVE_BYTES: usize = 64 * 1024;
const DUMP_ATTEMPTS: usize = 8;

impl Socket {
    /// Opens a socket in the network namespace of the calling thread.
    pub fn open(family: Family) -> Result<Self, NetlinkError> {
        let protocol = match family {
            Family::Route => None,
            Family::Netfilter => Some(netlink::NETFILTER),
        };
        let open = || -> io::Result<OwnedFd> {
            let fd =
                net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
            net::bind(&fd, &netlink::SocketAddrNetlink::new(0, 0))?;
            sys::enable(fd.as_fd(), NetlinkOption::CappedAcknowledgement)?;
            sys::enable(fd.as_fd(), NetlinkOption::ExtendedAcknowledgement)?;
            if family == Family::Route {
                sys::enable(fd.as_fd(), NetlinkOption::StrictCheck)?;
            }
            Ok(fd)
        };
        let fd = open().map_err(|source| NetlinkError::Open { source })?;
        Ok(Self { fd, sequence: 0, buffer: vec![0; RECEIVE_BYTES] })
    }

    /// Sends requests in one datagram and waits until each is acknowledged. The kernel works them off in order
    /// and does not stop at one that fails; the first failure is returned.
    pub fn execute(&mut self, requests: Vec<Request>) -> Result<(), NetlinkError> {
        self.attempt(requests)?.into_iter().collect()
    }

    /// Has a process of its own send a request and wait for its end. Returns what can be read when that process has ended.
    pub(super) fn send_apart(&mut self, message: Message) -> Result<OwnedFd, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        sys::send_apart(self.fd.as_fd(), &message.finish(self.sequence))
            .map_err(|source| NetlinkError::Transfer { source })
    }

    /// As [`Socket::execute`], but with one outcome for each request that asked for an acknowledgement.
    pub fn attempt(&mut self, requests: Vec<Request>) -> Result<Outcomes, NetlinkError> {
        Ok(self.attempt_and_hear(requests)?.0)
    }

    /// As [`Socket::attempt`], and returns what the kernel told of these requests before its last acknowledgement.
    pub fn attempt_and_hear(
        &mut self,
        requests: Vec<Request>,
    ) -> Result<(Outcomes, Vec<Answer>), NetlinkError> {
        let mut told = Vec::new();
        let mut datagram = Vec::new();
        let mut waiting = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            let outcome =
                if request.message.wants_acknowledgement() { Outcome::Awaited } else { Outcome::Silent };
            datagram.extend(request.message.finish(self.sequence));
            waiting.push((self.sequence, request.act, outcome));
        }
        if waiting.is_empty() {
            // The kernel takes a datagram without a message for a mistake.
            return Ok(Default::default());
        }
        self.send(&datagram)?;
        while waiting.iter().any(|(_, _, outcome)| matches!(outcome, Outcome::Awaited)) {
            let length = self.receive()?;
            for frame in Frames::new(&self.buffer[..length]) {
                let Some(entry) = waiting.iter_mut().find(|entry| entry.0 == frame.sequence) else {
                    continue;
                };
                if frame.kind != KIND_ERROR {
                    told.push(Answer { kind: frame.kind, body: frame.body.to_vec() });
                    continue;
                }
                let outcome = acknowledgement(&frame, &entry.1);
                // A transaction that cannot even begin is answered once, under the number of its beginning.
                if matches!(entry.2, Outcome::Silent) {
                    outcome?;
                } else {
                    entry.2 = Outcome::Known(outcome);
                }
            }
        }
        let known = waiting.into_iter().filter_map(|(_, _, outcome)| match outcome {
            Outcome::Known(outcome) => Some(outcome),
            Outcome::Awaited | Outcome::Silent => None,
        });
        Ok((known.collect(), told))
    }

    /// Asks for one object.
    pub fn query(&mut self, request: Request) -> Result<Answer, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        let datagram = request.message.finish(sequence);
        self.send(&datagram)?;
        loop {
            let length = self.receive()?;
            for frame in Frames::new(&self.buffer[..length]) {
                if frame.sequence != sequence {
                    continue;
                }
                if frame.kind == KIND_ERROR {
                    acknowledgement(&frame, &request.act)?;
                    return Err(NetlinkError::Malformed {
                        what: "an acknowledgement where an object was asked for",
                    });
                }
                return Ok(Answer { kind: frame.kind, body: frame.body.to_vec() });
            }
        }
    }

    /// Asks for all objects of a kind, again if they changed meanwhile.
    pub fn dump(&mut self, request: &Request) -> Result<Vec<Answer>, NetlinkError> {
        for _ in 0..DUMP_ATTEMPTS {
            if let Some(answers) = self.dump_once(request)? {
                return Ok(answers);
            }
        }
        Err(NetlinkError::Unstable { act: request.act.clone() })
    }

    fn dump_once(&mut self, request: &Request) -> Result<Option<Vec<Answer>>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.send(&request.message.clone().finish(sequence))?;
        let mut answers = Vec::new();
        let mut whole = true;
        loop {
            let length = self.receive()?;
            for frame in Frames::new(&self.buffer[..length]) {
                if frame.sequence != sequence {
                    continue;
                }
                whole &= frame.flags & DUMP_INTERRUPTED == 0;
                match frame.kind {
                    KIND_DONE => {
                        // A dump that fails half-way says so in the number that ends it.
                        if let Some(errno @ 1..) =
                            read_u32(frame.body, 0).map(|code| code.wrapping_neg() as i32)
                        {
                            if errno == Errno::INTR.raw_os_error() {
                                return Ok(None);
                            }
                            return Err(refusal(&request.act, errno, None));
                        }
                        return Ok(whole.then_some(answers));
                    }
                    KIND_ERROR => {
                        acknowledgement(&frame, &request.act)?;
                        return Ok(whole.then_some(answers));
                    }
                    kind => answers.push(Answer { kind, body: frame.body.to_vec() }),
                }
            }
        }
    }

    fn send(&self, datagram: &[u8]) -> Result<(), NetlinkError> {
        rustix::io::retry_on_intr(|| net::send(&self.fd, datagram, SendFlags::empty()))
            .map(drop)
            .map_err(|source| NetlinkError::Transfer { source: source.into() })
    }

    fn receive(&mut self) -> Result<usize, NetlinkError> {
        let (kept, length) =
            rustix::io::retry_on_intr(|| net::recv(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC))
                .map_err(|source| NetlinkError::Transfer { source: source.into() })?;
        if length > kept {
            return Err(NetlinkError::Malformed { what: "a datagram larger than 64 KiB" });
        }
        Ok(length)
    }
}

/// What is known of a request that was sent.
enum Outcome {
    /// Nothing yet.
    Awaited,
    /// No answer was asked for.
    Silent,
    /// The answer came.
    Known(Result<(), NetlinkError>),
}

fn acknowledgement(frame: &Frame<'_>, act: &str) -> Result<(), NetlinkError> {
    const TEXT: u16 = 1;
    let code = read_u32(frame.body, 0).ok_or(NetlinkError::Malformed { what: "an acknowledgement" })?;
    let errno = code.wrapping_neg() as i32;
    if errno == 0 {
        return Ok(());
    }
    let text = (frame.flags & ACK_ATTRIBUTES != 0)
        .then(|| {
            // The refused request is quoted behind the number: its header, and all of it unless capped.
            let quoted = if frame.flags & CAPPED != 0 { 16 } else { read_u32(frame.body, 4)? as usize };
            Attributes::after(frame.body, 4 + quoted).find(TEXT).map(read_string)
        })
        .flatten();
    Err(refusal(act, errno, text))
}

fn refusal(act: &str, errno: i32, text: Option<String>) -> NetlinkError {
    NetlinkError::Refused { act: act.to_owned(), text, source: io::Error::from_raw_os_error(errno) }
}

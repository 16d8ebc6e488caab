//! Questions that go on to other servers: the host's own, or those that were named. Never to others.
//!
//! Each question has a socket and a number of its own, both random, and a second or third server has its turn when
//! one does not answer. A question that came over a connection goes on over one: it is asked when an answer was too
//! large for a datagram.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::{Deserialize, Serialize};

use super::wire::{Code, Query, STREAM_BYTES, code_of};
use crate::resolver::ResolvConf;

/// How long one server may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// The most servers that one question goes to.
const MOST_SERVERS: usize = 3;
const PORT: u16 = 53;

/// Who is asked for what is not known here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upstreams {
    /// Those that a file of the host names now (`/etc/resolv.conf`): a host that moves takes its containers along.
    Host(PathBuf),
    /// These.
    Named(Vec<IpAddr>),
    /// These, at ports of their own: for tests.
    At(Vec<SocketAddr>),
}

/// The servers, with what is remembered of the host's file.
#[derive(Debug)]
pub(super) struct Servers {
    upstreams: Upstreams,
    read: Option<(SystemTime, Vec<SocketAddr>)>,
}

impl Servers {
    pub(super) fn new(upstreams: Upstreams) -> Self {
        Self { upstreams, read: None }
    }

    /// Returns the servers that are asked now.
    pub(super) fn now(&mut self) -> Vec<SocketAddr> {
        let at_port = |servers: &[IpAddr]| -> Vec<SocketAddr> {
            servers.iter().take(MOST_SERVERS).map(|server| SocketAddr::new(*server, PORT)).collect()
        };
        match &self.upstreams {
            Upstreams::Named(servers) => at_port(servers),
            Upstreams::At(servers) => servers.iter().take(MOST_SERVERS).copied().collect(),
            Upstreams::Host(path) => {
                let Ok(changed) = fs::metadata(path).and_then(|meta| meta.modified()) else {
                    return Vec::new();
                };
                if let Some((when, servers)) = &self.read
                    && *when == changed
                {
                    return servers.clone();
                }
                let text = fs::read_to_string(path).unwrap_or_default();
                let servers = at_port(&ResolvConf::parse(&text).servers);
                self.read = Some((changed, servers.clone()));
                servers
            }
        }
    }
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Client {
    /// The sender of a datagram.
    Datagram(SocketAddr),
    /// A connection, by its token.
    Stream(u64),
}

/// How far a question has come.
#[derive(Debug)]
pub(super) enum Progress {
    /// The answer is awaited.
    Waiting,
    /// This is the answer.
    Answered(Vec<u8>),
}

/// A question that is with another server.
#[derive(Debug)]
pub(super) struct Exchange {
    /// Who waits.
    pub(super) client: Client,
    query: Query,
    message: Vec<u8>,
    id: u16,
    /// Those that have not been asked yet.
    servers: Vec<SocketAddr>,
    /// What the servers asked so far said: that they do not know.
    refused: Option<Vec<u8>>,
    /// When the next server has its turn.
    pub(super) deadline: Instant,
    /// The way to the server that is asked now.
    pub(super) link: Link,
}

/// A way to a server.
#[derive(Debug)]
pub(super) enum Link {
    /// A datagram each way.
    Datagram(UdpSocket),
    /// A connection: what is still to be written, what was read.
    Stream(TcpStream, Vec<u8>, Vec<u8>),
}

impl Exchange {
    /// Asks the first of the servers that can be asked; `None` if there is none.
    pub(super) fn begin(
        client: Client,
        query: Query,
        message: &[u8],
        mut servers: Vec<SocketAddr>,
        now: Instant,
    ) -> Option<Self> {
        servers.reverse();
        let mut message = message.to_vec();
        let id = random_id()?;
        message.get_mut(..2)?.copy_from_slice(&id.to_be_bytes());
        let link = connect(client, &message, &mut servers)?;
        Some(Self { client, query, message, id, servers, refused: None, deadline: now + PATIENCE, link })
    }

    /// Asks the next server. Without one, what the last one said is the answer, or that nobody knows.
    pub(super) fn next(&mut self, now: Instant) -> Progress {
        match connect(self.client, &self.message, &mut self.servers) {
            Some(link) => {
                self.link = link;
                self.deadline = now + PATIENCE;
                Progress::Waiting
            }
            None => Progress::Answered(
                self.refused.take().unwrap_or_else(|| self.query.answer(Code::Failed, &[], STREAM_BYTES, 0)),
            ),
        }
    }

    /// Moves on what can be moved.
    pub(super) fn advance(&mut self, now: Instant, buffer: &mut [u8]) -> Progress {
        let answer = match &mut self.link {
            Link::Datagram(socket) => loop {
                match socket.recv(buffer) {
                    // Anybody can send from that server's address; only the answer has the number.
                    Ok(length) if self.query.is_answered_by(&buffer[..length], self.id) => {
                        break Some(buffer[..length].to_vec());
                    }
                    Ok(_) => {}
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Progress::Waiting,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break None,
                }
            },
            Link::Stream(stream, out, read) => match converse(stream, out, read, buffer) {
                Ok(None) => return Progress::Waiting,
                Ok(Some(message)) if self.query.is_answered_by(&message, self.id) => Some(message),
                Ok(Some(_)) | Err(_) => None,
            },
        };
        let Some(mut answer) = answer else { return self.next(now) };
        answer[..2].copy_from_slice(&self.query.id.to_be_bytes());
        let unwilling = [Code::Malformed as u8, Code::Failed as u8, Code::NotDone as u8, 5];
        if unwilling.contains(&code_of(&answer)) {
            self.refused = Some(answer);
            return self.next(now);
        }
        Progress::Answered(answer)
    }
}

/// Sends a question to the first server that can be reached.
fn connect(client: Client, message: &[u8], servers: &mut Vec<SocketAddr>) -> Option<Link> {
    while let Some(server) = servers.pop() {
        let link = match client {
            Client::Datagram(_) => datagram(server, message).map(Link::Datagram),
            Client::Stream(_) => {
                stream(server).map(|stream| Link::Stream(stream, framed(message), Vec::new()))
            }
        };
        if let Ok(link) = link {
            return Some(link);
        }
    }
    None
}

fn datagram(server: SocketAddr, message: &[u8]) -> io::Result<UdpSocket> {
    let any = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(server)?;
    socket.send(message)?;
    Ok(socket)
}

fn stream(server: SocketAddr) -> io::Result<TcpStream> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    match rustix::net::connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(error) => Err(error.into()),
    }
}

/// Puts the length in front of a message, as connections want it.
pub(super) fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(message.len() + 2);
    framed.extend((message.len() as u16).to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

/// Takes the first whole message out of what was read.
pub(super) fn unframed(read: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*read.first()?, *read.get(1)?]));
    if read.len() < 2 + length {
        return None;
    }
    let message = read[2..2 + length].to_vec();
    read.drain(..2 + length);
    Some(message)
}

/// Writes what is to be written and reads until a message is whole.
fn converse(
    stream: &mut TcpStream,
    out: &mut Vec<u8>,
    read: &mut Vec<u8>,
    buffer: &mut [u8],
) -> io::Result<Option<Vec<u8>>> {
    while !out.is_empty() {
        match stream.write(out) {
            Ok(length) => drop(out.drain(..length)),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_later(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    loop {
        if let Some(message) = unframed(read) {
            return Ok(Some(message));
        }
        match stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            // Never more than one message and a little: the length is two bytes.
            Ok(length) => read.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if is_later(&error) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
}

fn is_later(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::NotConnected
}

fn random_id() -> Option<u16> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
        .ok()
        .filter(|count| *count == 2)?;
    Some(u16::from_ne_bytes(id))
}

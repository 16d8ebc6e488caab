//! The name service of a container: what answers at 127.0.0.11 in its network namespace.
//!
//! A program in a container may listen on port 53 itself, so the service has ports of its own, chosen by the kernel, and
//! two rules in the namespace lead there ([`Sockets::open`]). The sockets belong to that namespace, whoever reads them;
//! questions that go on to other servers leave from the namespace of the thread that calls [`NameService::turn`].
//!
//! ```text
//! question ─▶ wire (read) ─▶ view (decide, of the files of networks) ─┬▶ answer
//!                                                                    └▶ upstream (the host's servers)
//! ```
//!
//! Nothing here waits. The service is one descriptor to poll ([`NameService::poll_fd`]) and a moment at which it wants
//! its [`turn`](NameService::turn) even if nothing happens. All that it keeps is bounded: a thousand questions with other
//! servers, sixty-four connections; what comes beyond that is told that nobody knows now.

mod upstream;
mod view;
mod wire;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use self::upstream::{Client, Exchange, Link, Progress, Servers, framed, unframed};
use self::view::{Decision, View};
use self::wire::{Code, NoQuery, Query, STREAM_BYTES, refusal};
use crate::error::Error;
use crate::names::{EndpointId, Watched};
use crate::namespace;
use crate::netlink::redirect::{self, Redirect};
use crate::netlink::socket::{Family, Socket};

pub use self::upstream::Upstreams;

/// Where programs find the service.
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

const PORT: u16 = 53;
/// The table of the packet filter in a container's namespace.
const TABLE: &str = "rbuild_names";
/// Containers come and go, and few programs ask again before they must.
const TTL_S: u32 = 10;
/// Questions that are with other servers.
const MOST_EXCHANGES: usize = 1024;
/// Connections of clients.
const MOST_CONNECTIONS: usize = 64;
/// How long a connection may be silent.
const SILENCE: Duration = Duration::from_secs(10);
/// Datagrams before others have their turn.
const DATAGRAMS_A_TURN: usize = 256;

const DATAGRAMS: u64 = 0;
const LISTENER: u64 = 1;
const FIRST_TOKEN: u64 = 2;

/// The service's sockets in a namespace.
#[derive(Debug)]
pub struct Sockets {
    datagrams: UdpSocket,
    listener: TcpListener,
}

impl Sockets {
    /// Makes the sockets in a namespace, and the rules that lead to them in the place of those that may be there.
    pub fn open(namespace: BorrowedFd<'_>) -> Result<Self, Error> {
        let socket = |kind| -> io::Result<OwnedFd> {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = rustix::net::socket_with(AddressFamily::INET, kind, flags, None)?;
            rustix::net::bind(&socket, &SocketAddr::from((ADDRESS, 0)))?;
            if kind == SocketType::STREAM {
                rustix::net::listen(&socket, MOST_CONNECTIONS as i32)?;
            }
            Ok(socket)
        };
        namespace::inside(namespace, || {
            let make = || -> io::Result<(Self, u16, u16)> {
                let datagrams = UdpSocket::from(socket(SocketType::DGRAM)?);
                let listener = TcpListener::from(socket(SocketType::STREAM)?);
                let ports = (datagrams.local_addr()?.port(), listener.local_addr()?.port());
                Ok((Self { datagrams, listener }, ports.0, ports.1))
            };
            let (sockets, udp, tcp) = make().map_err(|source| Error::NameService { source })?;
            let redirect = |protocol, target| Redirect { protocol, address: ADDRESS, port: PORT, target };
            let rules = redirect::make(TABLE, &[redirect(17, udp), redirect(6, tcp)]);
            let act = || Error::kernel("lead to the name service in a network namespace");
            let mut netfilter = Socket::open(Family::Netfilter).map_err(act())?;
            netfilter.execute(rules).map_err(act())?;
            Ok(sockets)
        })
    }

    /// Wraps sockets that are not to be blocked on.
    #[cfg(test)]
    fn of(datagrams: UdpSocket, listener: TcpListener) -> Self {
        datagrams.set_nonblocking(true).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { datagrams, listener }
    }
}

/// What is asked when a name is asked for.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The runtime folder of the networks.
    pub runtime: PathBuf,
    /// Whose questions are answered.
    pub endpoint: EndpointId,
    /// Who is asked for what is not known here.
    pub upstreams: Upstreams,
}

/// The name service of one container.
#[derive(Debug)]
pub struct NameService {
    epoll: OwnedFd,
    sockets: Sockets,
    view: Watched<View>,
    servers: Servers,
    exchanges: HashMap<u64, Exchange>,
    connections: HashMap<u64, Connection>,
    next_token: u64,
    /// How many questions there were: several addresses of a name are told in turn.
    turns: usize,
    buffer: Vec<u8>,
}

/// A client's connection. It has one question at a time: the next is read when the last is answered.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    read: Vec<u8>,
    out: Vec<u8>,
    asking: bool,
    deadline: Instant,
}

impl NameService {
    /// Puts a service together.
    pub fn new(sockets: Sockets, sources: Sources) -> Result<Self, Error> {
        let failed = |errno: rustix::io::Errno| Error::NameService { source: errno.into() };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(failed)?;
        let add = |socket: BorrowedFd<'_>, token| {
            epoll::add(&epoll, socket, epoll::EventData::new_u64(token), epoll::EventFlags::IN)
        };
        add(sockets.datagrams.as_fd(), DATAGRAMS).map_err(failed)?;
        add(sockets.listener.as_fd(), LISTENER).map_err(failed)?;
        Ok(Self {
            view: Watched::new(sources.runtime, sources.endpoint),
            servers: Servers::new(sources.upstreams),
            epoll,
            sockets,
            exchanges: HashMap::new(),
            connections: HashMap::new(),
            next_token: FIRST_TOKEN,
            turns: 0,
            buffer: vec![0; STREAM_BYTES],
        })
    }

    /// The descriptor that can be read when there is something to do.
    pub fn poll_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// When something is to be done even if nothing happens.
    pub fn deadline(&self) -> Option<Instant> {
        let exchanges = self.exchanges.values().map(|exchange| exchange.deadline);
        let silent = self.connections.values().filter(|connection| !connection.asking);
        exchanges.chain(silent.map(|connection| connection.deadline)).min()
    }

    /// Does what is to be done now. Never waits.
    pub fn turn(&mut self) {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let spare = rustix::buffer::spare_capacity(&mut events);
        if epoll::wait(&self.epoll, spare, Some(&at_once)).is_err() {
            // Interrupted; the descriptor can still be read.
            return;
        }
        let now = Instant::now();
        for event in events {
            let (token, flags) = (event.data.u64(), event.flags);
            match token {
                DATAGRAMS => self.serve_datagrams(now),
                LISTENER => self.accept(now),
                token if self.exchanges.contains_key(&token) => self.advance(token, now),
                token if flags.intersects(epoll::EventFlags::ERR | epoll::EventFlags::HUP) => {
                    self.connections.remove(&token);
                }
                token => self.converse(token, now),
            }
        }
        self.expire(now);
    }

    fn serve_datagrams(&mut self, now: Instant) {
        for _ in 0..DATAGRAMS_A_TURN {
            let Ok((length, client)) = self.sockets.datagrams.recv_from(&mut self.buffer) else { return };
            let message = self.buffer[..length].to_vec();
            if let Some(answer) = self.consider(&message, Client::Datagram(client), now) {
                // A client that is gone misses its answer.
                let _ = self.sockets.datagrams.send_to(&answer, client);
            }
        }
    }

    /// Answers a message, or passes it on; then the answer comes later.
    fn consider(&mut self, message: &[u8], client: Client, now: Instant) -> Option<Vec<u8>> {
        let query = match Query::read(message) {
            Ok(query) => query,
            Err(NoQuery::Ignore) => return None,
            Err(NoQuery::Refuse { id, code }) => return Some(refusal(id, code)),
        };
        let room = match client {
            Client::Datagram(_) => query.datagram_bytes(),
            Client::Stream(_) => STREAM_BYTES,
        };
        let view = self.view.current(View::of);
        self.turns = self.turns.wrapping_add(1);
        match view.map(|view| view.decide(&query, self.turns)) {
            Ok(Decision::Answer(code, records)) => Some(query.answer(code, &records, room, TTL_S)),
            Ok(Decision::Forward) if self.exchanges.len() < MOST_EXCHANGES => {
                let servers = self.servers.now();
                let failed = query.answer(Code::Failed, &[], room, 0);
                let Some(exchange) = Exchange::begin(client, query, message, servers, now) else {
                    return Some(failed);
                };
                let token = self.token();
                if self.watch(&exchange.link, token).is_err() {
                    return Some(failed);
                }
                self.exchanges.insert(token, exchange);
                None
            }
            // Too much at once, or a file that cannot be read now.
            Ok(Decision::Forward) | Err(_) => Some(query.answer(Code::Failed, &[], room, 0)),
        }
    }

    fn token(&mut self) -> u64 {
        self.next_token += 1;
        self.next_token
    }

    fn watch(&self, link: &Link, token: u64) -> rustix::io::Result<()> {
        let data = epoll::EventData::new_u64(token);
        match link {
            Link::Datagram(socket) => epoll::add(&self.epoll, socket, data, epoll::EventFlags::IN),
            Link::Stream(stream, ..) => {
                epoll::add(&self.epoll, stream, data, epoll::EventFlags::IN | epoll::EventFlags::OUT)
            }
        }
    }

    /// Moves a question on that is with another server.
    fn advance(&mut self, token: u64, now: Instant) {
        let Some(mut exchange) = self.exchanges.remove(&token) else { return };
        let before = link_fd(&exchange.link);
        let progress = exchange.advance(now, &mut self.buffer);
        self.follow(token, exchange, before, progress, now);
    }

    fn follow(&mut self, token: u64, exchange: Exchange, before: i32, progress: Progress, now: Instant) {
        match progress {
            Progress::Answered(answer) => {
                let client = exchange.client;
                drop(exchange);
                self.tell(client, &answer, now);
            }
            Progress::Waiting => {
                let outcome = if link_fd(&exchange.link) == before {
                    // What was to be written is written: a socket that can be written is no news any more.
                    match &exchange.link {
                        Link::Stream(stream, out, _) if out.is_empty() => epoll::modify(
                            &self.epoll,
                            stream,
                            epoll::EventData::new_u64(token),
                            epoll::EventFlags::IN,
                        ),
                        _ => Ok(()),
                    }
                } else {
                    self.watch(&exchange.link, token)
                };
                match (outcome, exchange.client) {
                    (Ok(()), _) => drop(self.exchanges.insert(token, exchange)),
                    // A client of datagrams asks again by itself; a connection that gets no answer is better ended.
                    (Err(_), Client::Datagram(_)) => {}
                    (Err(_), Client::Stream(client)) => drop(self.connections.remove(&client)),
                }
            }
        }
    }

    fn tell(&mut self, client: Client, answer: &[u8], now: Instant) {
        match client {
            Client::Datagram(client) => {
                let _ = self.sockets.datagrams.send_to(answer, client);
            }
            Client::Stream(token) => {
                let Some(connection) = self.connections.get_mut(&token) else { return };
                connection.out.extend(framed(answer));
                connection.asking = false;
                self.converse(token, now);
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        while let Ok((stream, _)) = self.sockets.listener.accept() {
            if self.connections.len() >= MOST_CONNECTIONS || stream.set_nonblocking(true).is_err() {
                continue;
            }
            let token = self.token();
            let data = epoll::EventData::new_u64(token);
            if epoll::add(&self.epoll, &stream, data, epoll::EventFlags::IN).is_ok() {
                let (read, out) = (Vec::new(), Vec::new());
                let deadline = now + SILENCE;
                self.connections.insert(token, Connection { stream, read, out, asking: false, deadline });
            }
        }
    }

    /// Moves a client's connection on; it is gone afterwards if the client left or broke the form.
    fn converse(&mut self, token: u64, now: Instant) {
        let Some(mut connection) = self.connections.remove(&token) else { return };
        loop {
            if connection.write().is_err() {
                return;
            }
            if !connection.out.is_empty() || connection.asking {
                break;
            }
            if let Some(message) = unframed(&mut connection.read) {
                connection.deadline = now + SILENCE;
                connection.asking = true;
                match self.consider(&message, Client::Stream(token), now) {
                    Some(answer) => {
                        connection.out = framed(&answer);
                        connection.asking = false;
                    }
                    // Passed on; what deserves no answer ends the connection.
                    None if self
                        .exchanges
                        .values()
                        .any(|exchange| exchange.client == Client::Stream(token)) => {}
                    None => return,
                }
                continue;
            }
            match connection.stream.read(&mut self.buffer) {
                Ok(0) => return,
                Ok(length) => connection.read.extend_from_slice(&self.buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return,
            }
        }
        // While a question is asked nothing is read: the kernel holds what comes, and the client back.
        let wanted = match (connection.out.is_empty(), connection.asking) {
            (false, _) => epoll::EventFlags::OUT,
            (true, true) => epoll::EventFlags::empty(),
            (true, false) => epoll::EventFlags::IN,
        };
        let data = epoll::EventData::new_u64(token);
        if epoll::modify(&self.epoll, &connection.stream, data, wanted).is_ok() {
            self.connections.insert(token, connection);
        }
    }

    /// Gives the next server its turn where one did not answer, and ends silent connections.
    fn expire(&mut self, now: Instant) {
        let due: Vec<u64> = self
            .exchanges
            .iter()
            .filter(|(_, exchange)| exchange.deadline <= now)
            .map(|(at, _)| *at)
            .collect();
        for token in due {
            let Some(mut exchange) = self.exchanges.remove(&token) else { continue };
            let before = link_fd(&exchange.link);
            let progress = exchange.next(now);
            self.follow(token, exchange, before, progress, now);
        }
        // A connection whose question is with another server waits for that one's patience instead.
        self.connections.retain(|_, connection| connection.asking || connection.deadline > now);
    }
}

/// What tells one socket from another while both are open.
fn link_fd(link: &Link) -> i32 {
    use std::os::fd::AsRawFd;
    match link {
        Link::Datagram(socket) => socket.as_raw_fd(),
        Link::Stream(stream, ..) => stream.as_raw_fd(),
    }
}

impl Connection {
    fn write(&mut self) -> io::Result<()> {
        while !self.out.is_empty() {
            match self.stream.write(&self.out) {
                Ok(length) => drop(self.out.drain(..length)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;

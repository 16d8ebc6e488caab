//! Connections, each a pair of sockets and two buffers.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};

use super::{Destination, wait};
use crate::ports::Protocol;

/// More wait in the listener's own queue.
const MOST_CONNECTIONS: usize = 512;
const BUFFER: usize = 64 * 1024;

/// Carries connections until told to stop.
pub(super) fn run(listener: &TcpListener, protocol: Protocol, target: &mut dyn Destination, stop: &OwnedFd) {
    let mut connections: Vec<Connection> = Vec::new();
    loop {
        let accepting = connections.len() < MOST_CONNECTIONS;
        let wanted = if accepting { PollFlags::IN } else { PollFlags::empty() };
        let mut fds = vec![PollFd::new(stop, PollFlags::IN), PollFd::new(listener, wanted)];
        // A socket without an interest is left out: the kernel tells of an end whether asked or not, again and again.
        let mut places = Vec::with_capacity(connections.len());
        for connection in &connections {
            let mut place = |socket, wanted: Option<PollFlags>| {
                fds.push(PollFd::new(socket, wanted?));
                Some(fds.len() - 1)
            };
            let (client, server) = connection.wanted();
            places.push((place(&connection.client, client), place(&connection.server, server)));
        }
        let Some(events) = wait(fds) else { return };
        let seen = |place: Option<usize>| place.map_or(PollFlags::empty(), |at| events[at]);
        let mut places = places.into_iter();
        connections.retain_mut(|connection| {
            let (client, server) = places.next().expect("each connection has its places");
            let (client, server) = (seen(client), seen(server));
            client.is_empty() && server.is_empty() || connection.advance(client, server)
        });
        if accepting && !events[1].is_empty() {
            while let Ok((client, _)) = listener.accept() {
                // Without a destination the client is told by the end of its connection, as if nobody listened.
                connections
                    .extend(target.now().and_then(|target| Connection::open(client, protocol, target).ok()));
                if connections.len() >= MOST_CONNECTIONS {
                    break;
                }
            }
        }
    }
}

/// A client and the endpoint.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Whether the endpoint has not answered yet.
    connecting: bool,
    up: Flow,
    down: Flow,
}

impl Connection {
    fn open(client: TcpStream, protocol: Protocol, target: SocketAddr) -> io::Result<Self> {
        client.set_nonblocking(true)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let family = if target.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let number = (protocol == Protocol::Sctp).then_some(ipproto::SCTP);
        let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, number)?;
        match rustix::net::connect(&socket, &target) {
            Ok(()) | Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let server = TcpStream::from(socket);
        if protocol == Protocol::Tcp {
            client.set_nodelay(true)?;
            server.set_nodelay(true)?;
        }
        Ok(Self { client, server, connecting: true, up: Flow::new(), down: Flow::new() })
    }

    /// What to wait for on the two sockets; nothing on one that nothing can come of now.
    fn wanted(&self) -> (Option<PollFlags>, Option<PollFlags>) {
        if self.connecting {
            return (None, Some(PollFlags::OUT));
        }
        let client = self.up.read_interest() | self.down.write_interest();
        let server = self.down.read_interest() | self.up.write_interest();
        // One that said all it had to say may still break off, which matters once nothing is under way.
        let idle = self.up.start == self.up.end && self.down.start == self.down.end;
        let watch =
            |interest: PollFlags, ended: bool| (!interest.is_empty() || ended && idle).then_some(interest);
        (watch(client, self.up.ended), watch(server, self.down.ended))
    }

    /// Moves what can be moved; says whether the connection lives on.
    fn advance(&mut self, client: PollFlags, server: PollFlags) -> bool {
        if self.connecting {
            if !matches!(self.server.take_error(), Ok(None)) {
                return false;
            }
            self.connecting = false;
        } else if (client | server).contains(PollFlags::ERR) {
            return false;
        }
        let moved = self
            .up
            .carry(&mut &self.client, &self.server)
            .and_then(|()| self.down.carry(&mut &self.server, &self.client));
        moved.is_ok() && !(self.up.done && self.down.done)
    }
}

/// One direction of a connection.
struct Flow {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    /// The source said that nothing more comes.
    ended: bool,
    /// The destination was told so.
    done: bool,
}

impl Flow {
    fn new() -> Self {
        Self { buffer: vec![0; BUFFER].into_boxed_slice(), start: 0, end: 0, ended: false, done: false }
    }

    fn read_interest(&self) -> PollFlags {
        if self.start == self.end && !self.ended { PollFlags::IN } else { PollFlags::empty() }
    }

    fn write_interest(&self) -> PollFlags {
        if self.start < self.end { PollFlags::OUT } else { PollFlags::empty() }
    }

    /// Reads when the buffer is empty, writes when it is not, until one of the two would wait.
    fn carry(&mut self, source: &mut impl Read, destination: &TcpStream) -> io::Result<()> {
        loop {
            if self.start == self.end {
                if self.ended {
                    if !self.done {
                        self.done = true;
                        // One that is gone needs no end.
                        let _ = destination.shutdown(Shutdown::Write);
                    }
                    return Ok(());
                }
                match source.read(&mut self.buffer) {
                    Ok(0) => self.ended = true,
                    Ok(length) => (self.start, self.end) = (0, length),
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            } else {
                match (&mut &*destination).write(&self.buffer[self.start..self.end]) {
                    Ok(length) => self.start += length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

//! Connections, each a pair of sockets.
//!
//! What comes out of one is moved into the other within the kernel, through a pipe, and is not copied. A pipe is had only
//! while it holds something; so few do for many connections.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::{Destination, wait};
use crate::ports::Protocol;

/// More wait in the listener's own queue.
const MOST_CONNECTIONS: usize = 512;
/// The most that is on its way in one direction of a connection. A gibibyte costs 0.75 s of processor time when it is
/// copied, 0.3 s in steps of 64 KiB, 0.27 s in these, 0.2 s in those of a mebibyte.
const AT_ONCE: usize = 256 * 1024;
/// Empty pipes that are kept.
const IDLE_PIPES: usize = 4;

/// Carries connections until told to stop.
pub(super) fn run(listener: &TcpListener, protocol: Protocol, target: &mut dyn Destination, stop: &OwnedFd) {
    let mut connections: Vec<Connection> = Vec::new();
    let mut pipes = Pipes::default();
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
            client.is_empty() && server.is_empty() || connection.advance(client, server, &mut pipes)
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
        let flow = || Flow { between: Between::of(protocol), held: 0, ended: false, done: false };
        Ok(Self { client, server, connecting: true, up: flow(), down: flow() })
    }

    /// What to wait for on the two sockets; nothing on one that nothing can come of now.
    fn wanted(&self) -> (Option<PollFlags>, Option<PollFlags>) {
        if self.connecting {
            return (None, Some(PollFlags::OUT));
        }
        let client = self.up.read_interest() | self.down.write_interest();
        let server = self.down.read_interest() | self.up.write_interest();
        // One that said all it had to say may still break off, which matters once nothing is under way.
        let idle = self.up.held == 0 && self.down.held == 0;
        let watch =
            |interest: PollFlags, ended: bool| (!interest.is_empty() || ended && idle).then_some(interest);
        (watch(client, self.up.ended), watch(server, self.down.ended))
    }

    /// Moves what can be moved; says whether the connection lives on.
    fn advance(&mut self, client: PollFlags, server: PollFlags, pipes: &mut Pipes) -> bool {
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
            .carry(&self.client, &self.server, pipes)
            .and_then(|()| self.down.carry(&self.server, &self.client, pipes));
        moved.is_ok() && !(self.up.done && self.down.done)
    }
}

/// One direction of a connection.
struct Flow {
    between: Between,
    /// How many bytes are between the sockets.
    held: usize,
    /// The source said that nothing more comes.
    ended: bool,
    /// The destination was told so.
    done: bool,
}

impl Flow {
    fn read_interest(&self) -> PollFlags {
        if self.held == 0 && !self.ended { PollFlags::IN } else { PollFlags::empty() }
    }

    fn write_interest(&self) -> PollFlags {
        if self.held > 0 { PollFlags::OUT } else { PollFlags::empty() }
    }

    /// Takes in when nothing is held, and gives out when something is, until one of the two would wait.
    fn carry(&mut self, source: &TcpStream, destination: &TcpStream, pipes: &mut Pipes) -> io::Result<()> {
        loop {
            let moved = if self.held > 0 {
                self.between.give_out(destination, self.held, pipes).map(|went| self.held -= went)
            } else if self.ended {
                if !self.done {
                    self.done = true;
                    // One that is gone needs no end.
                    let _ = destination.shutdown(Shutdown::Write);
                }
                return Ok(());
            } else {
                self.between.take_in(source, pipes).map(|came| {
                    self.ended = came == 0;
                    self.held = came;
                })
            };
            match moved {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
        }
    }
}

/// Where bytes are between one socket and the other.
enum Between {
    /// In a pipe, while there are any.
    Pipe(Option<Pipe>),
    /// In a buffer, from a place in it on: a pipe would not keep the ends of messages.
    Buffer(Box<[u8]>, usize),
}

impl Between {
    fn of(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Sctp => Self::Buffer(vec![0; AT_ONCE].into_boxed_slice(), 0),
            Protocol::Tcp | Protocol::Udp => Self::Pipe(None),
        }
    }

    /// Takes in what is there; nothing is held. Returns how much it was.
    fn take_in(&mut self, source: &TcpStream, pipes: &mut Pipes) -> io::Result<usize> {
        match self {
            Self::Pipe(place) => {
                let pipe = pipes.take()?;
                let came = splice(source, None, &pipe.write, None, AT_ONCE, FLAGS);
                match came {
                    Ok(1..) => *place = Some(pipe),
                    Ok(0) | Err(_) => pipes.give_back(pipe),
                }
                Ok(came?)
            }
            Self::Buffer(buffer, start) => {
                *start = 0;
                (&mut &*source).read(buffer)
            }
        }
    }

    /// Gives out what is held. Returns how much went.
    fn give_out(&mut self, destination: &TcpStream, held: usize, pipes: &mut Pipes) -> io::Result<usize> {
        match self {
            Self::Pipe(place) => {
                let pipe = place.take().expect("what is held is in a pipe");
                let went = splice(&pipe.read, None, destination, None, held, FLAGS);
                if went == Ok(held) {
                    pipes.give_back(pipe);
                } else {
                    *place = Some(pipe);
                }
                Ok(went?)
            }
            Self::Buffer(buffer, start) => {
                let went = (&mut &*destination).write(&buffer[*start..*start + held])?;
                *start += went;
                Ok(went)
            }
        }
    }
}

/// Neither end of a pipe is waited for.
const FLAGS: SpliceFlags = SpliceFlags::MOVE.union(SpliceFlags::NONBLOCK);

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

/// Empty pipes.
#[derive(Default)]
struct Pipes(Vec<Pipe>);

impl Pipes {
    fn take(&mut self) -> io::Result<Pipe> {
        if let Some(pipe) = self.0.pop() {
            return Ok(pipe);
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // A smaller one does as well.
        let _ = fcntl_setpipe_size(&write, AT_ONCE);
        Ok(Pipe { read, write })
    }

    fn give_back(&mut self, pipe: Pipe) {
        if self.0.len() < IDLE_PIPES {
            self.0.push(pipe);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::thread;

    use rustix::event::poll;

    use super::*;

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (near, listener.accept().unwrap().0)
    }

    fn check(protocol: Protocol) {
        let ((mut sender, source), (destination, mut receiver)) = (pair(), pair());
        source.set_nonblocking(true).unwrap();
        destination.set_nonblocking(true).unwrap();
        // More than two sockets and what is between them hold.
        let bytes = (0..=250).collect::<Vec<u8>>().repeat(64 << 10);
        let sent = bytes.clone();
        thread::spawn(move || sender.write_all(&sent).unwrap());
        let mut flow = Flow { between: Between::of(protocol), held: 0, ended: false, done: false };
        let mut pipes = Pipes::default();
        let mut turn = |flow: &mut Flow| {
            let (read, write) = (flow.read_interest(), flow.write_interest());
            poll(&mut [PollFd::new(&source, read), PollFd::new(&destination, write)], None).unwrap();
            flow.carry(&source, &destination, &mut pipes).unwrap();
        };
        while flow.held == 0 {
            turn(&mut flow);
        }
        let reader = thread::spawn(move || {
            let mut came = Vec::new();
            receiver.read_to_end(&mut came).unwrap();
            came
        });
        while !flow.done {
            turn(&mut flow);
        }
        assert!(reader.join().unwrap() == bytes, "{protocol}");
        assert_eq!(pipes.0.len(), usize::from(protocol == Protocol::Tcp), "the pipe is there for others");
    }

    #[test]
    fn what_a_slow_reader_holds_up_comes_whole() {
        check(Protocol::Tcp);
        check(Protocol::Sctp);
    }
}

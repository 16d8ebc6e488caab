//! Connections, each a pair of sockets.
//!
//! What comes out of one is moved into the other within the kernel, through a pipe, and is not copied. A pipe is had only
//! while it holds something; so few do for many connections.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

use super::ready::{FIRST, LISTENING, Ready};
use super::{Destination, within_limits};
use crate::ports::Protocol;

/// More wait in the listener's own queue.
const MOST_CONNECTIONS: usize = 8192;
/// Connections that are accepted before the others have their turn.
const TURN: usize = 64;
/// After this it is tried again to accept a connection where there was no room for it.
const ROOM: Duration = Duration::from_millis(100);
/// The most that is on its way in one direction of a connection. A gibibyte costs 0.75 s of processor time when it is
/// copied, 0.3 s in steps of 64 KiB, 0.27 s in these, 0.2 s in those of a mebibyte.
const AT_ONCE: usize = 256 * 1024;
/// Empty pipes that are kept.
const IDLE_PIPES: usize = 4;
/// A socket is told of once, when something can go on that could not: what can is done until it cannot any more.
const CHANGES: EventFlags =
    EventFlags::IN.union(EventFlags::OUT).union(EventFlags::RDHUP).union(EventFlags::ET);

/// Carries connections until told to stop.
pub(super) fn run(listener: &TcpListener, protocol: Protocol, target: &mut dyn Destination, ready: &Ready) {
    let most = within_limits(MOST_CONNECTIONS);
    // Each has two numbers, its client's and the next one for the endpoint's.
    let mut connections: HashMap<u64, Connection> = HashMap::new();
    let mut next = FIRST;
    let mut pipes = Pipes::default();
    let mut accepting = true;
    loop {
        let Some(events) = ready.wait((!accepting && connections.len() < most).then_some(ROOM)) else {
            return;
        };
        let mut has_room = true;
        for event in events {
            let number = event.data.u64();
            if number == LISTENING {
                has_room = accept(listener, protocol, target, TURN.min(most - connections.len()), |new| {
                    if ready.add(&new.client, next, CHANGES).is_ok()
                        && ready.add(&new.server, next + 1, CHANGES).is_ok()
                    {
                        connections.insert(next, new);
                        next += 2;
                    }
                });
                continue;
            }
            let (place, end) =
                if number % 2 == 0 { (number, End::Client) } else { (number - 1, End::Server) };
            // One that ended in this turn is not there any more.
            let Some(connection) = connections.get_mut(&place) else { continue };
            if !connection.advance(end, event.flags, &mut pipes) {
                connections.remove(&place);
            }
        }
        let accepts = has_room && connections.len() < most;
        if accepts != accepting {
            accepting = accepts;
            let wanted = if accepting { EventFlags::IN } else { EventFlags::empty() };
            if ready.listen(listener, wanted).is_err() {
                return;
            }
        }
    }
}

/// Accepts connections as they wait, so many at most; says whether there was room for them.
fn accept(
    listener: &TcpListener,
    protocol: Protocol,
    target: &mut dyn Destination,
    most: usize,
    mut carry: impl FnMut(Connection),
) -> bool {
    for _ in 0..most {
        match listener.accept() {
            // Without a destination the client is told by the end of its connection, as if nobody listened.
            Ok((client, _)) => {
                let opened = target.now().and_then(|target| Connection::open(client, protocol, target).ok());
                opened.into_iter().for_each(&mut carry);
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return true,
            Err(error) if has_no_room(&error) => return false,
            // One that its client gave up.
            Err(_) => {}
        }
    }
    true
}

/// Whether a connection could not be had because there is no room for it now.
fn has_no_room(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM))
}

/// One of the two sockets of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Client,
    Server,
}

/// A client and the endpoint.
struct Connection {
    client: TcpStream,
    server: TcpStream,
    /// Whether the endpoint has not answered yet.
    connecting: bool,
    /// Which of them broke off.
    broken: Option<End>,
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
        Ok(Self { client, server, connecting: true, broken: None, up: flow(), down: flow() })
    }

    /// Moves what can be moved after a change of one end; says whether the connection lives on.
    fn advance(&mut self, end: End, change: EventFlags, pipes: &mut Pipes) -> bool {
        let mut reads = change.intersects(EventFlags::IN | EventFlags::RDHUP);
        let mut writes = change.contains(EventFlags::OUT) && self.flow_to(end).is_held_up();
        if self.connecting {
            if end == End::Client {
                // What it says waits until the endpoint is there.
                return !change.contains(EventFlags::ERR);
            }
            if !matches!(self.server.take_error(), Ok(None)) {
                return false;
            }
            if !change.contains(EventFlags::OUT) {
                return true;
            }
            self.connecting = false;
            (reads, writes) = (true, true);
        } else if change.contains(EventFlags::ERR) {
            if self.broken.is_some_and(|other| other != end) {
                return false;
            }
            self.broken = Some(end);
        }
        let Self { client, server, up, down, .. } = self;
        let (from_it, to_it, own, other) = match end {
            End::Client => (up, down, &*client, &*server),
            End::Server => (down, up, &*server, &*client),
        };
        let mut moved = Ok(());
        if reads && !from_it.is_held_up() {
            moved = from_it.carry(own, other, pipes);
        }
        if writes {
            moved = moved.and_then(|()| to_it.carry(other, own, pipes));
        }
        moved.is_ok() && !(self.up.done && self.down.done) && !self.is_broken_off()
    }

    fn flow_to(&self, end: End) -> &Flow {
        match end {
            End::Client => &self.down,
            End::Server => &self.up,
        }
    }

    /// Whether one end broke off, and all that it said is with the other.
    fn is_broken_off(&self) -> bool {
        match self.broken {
            None => false,
            Some(End::Client) => !self.up.is_held_up(),
            Some(End::Server) => !self.down.is_held_up(),
        }
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
    /// Whether the destination has to take what is held before anything more is read.
    fn is_held_up(&self) -> bool {
        self.held > 0
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

    use rustix::event::{PollFd, PollFlags, poll};

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
            let place = if flow.is_held_up() {
                PollFd::new(&destination, PollFlags::OUT)
            } else {
                PollFd::new(&source, PollFlags::IN)
            };
            poll(&mut [place], None).unwrap();
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

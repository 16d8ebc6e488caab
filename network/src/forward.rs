//! What reaches a published port from this host's loopback addresses, carried to the endpoint.
//!
//! The packet filter redirects everything else (see [`ports`](crate::ports)). A forwarder is one thread that owns the reserved
//! socket. It connects from the host's side of the bridge, so that the endpoint sees the gateway as its client and
//! never a loopback address, which services are used to trust. It ends, and closes all it carries, when its value
//! is dropped.

mod datagrams;
mod ready;
mod streams;
mod sys;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, eventfd};
use rustix::net::sockopt;
use rustix::process::{Resource, getrlimit};

use self::ready::Ready;
use crate::ports::{Protocol, Reservation};

/// What waits to be received: some two thousand small datagrams, each of which takes far more room in the kernel than it has
/// bytes. The usual room is for three hundred.
const WAITING_BYTES: usize = 1 << 20;

/// Knows where a published port leads to now: an endpoint may move to another network while its container runs.
pub trait Destination: Send + 'static {
    /// Returns the address; nothing if there is none now.
    fn now(&mut self) -> Option<SocketAddr>;
}

impl Destination for SocketAddr {
    fn now(&mut self) -> Option<SocketAddr> {
        Some(*self)
    }
}

/// A thread that carries what reaches a published port from this host.
#[derive(Debug)]
pub struct Forwarder {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

/// What a reserved socket gets.
enum Listening {
    Streams(TcpListener),
    Datagrams(UdpSocket),
}

/// A forwarder could not be started.
#[derive(Debug, thiserror::Error)]
#[error("cannot forward the published port {port}/{protocol}")]
pub struct ForwardError {
    port: SocketAddr,
    protocol: Protocol,
    source: io::Error,
}

impl Forwarder {
    /// Starts to carry what reaches a reserved port to an endpoint.
    pub fn start(reservation: Reservation, mut target: impl Destination) -> Result<Self, ForwardError> {
        let published = reservation.published();
        let protocol = published.protocol;
        let begin = || -> io::Result<Self> {
            let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
            let seen = Arc::clone(&stop);
            let socket = reservation.into_socket();
            rustix::io::ioctl_fionbio(&socket, true)?;
            let ready = Ready::new(&seen, &socket)?;
            let socket = match protocol {
                Protocol::Tcp | Protocol::Sctp => Listening::Streams(TcpListener::from(socket)),
                Protocol::Udp => {
                    let socket = UdpSocket::from(socket);
                    sys::tell_destinations(&socket)?;
                    // Who may not have more has what there is.
                    let _ = sockopt::set_socket_recv_buffer_size_force(&socket, WAITING_BYTES)
                        .or_else(|_| sockopt::set_socket_recv_buffer_size(&socket, WAITING_BYTES));
                    Listening::Datagrams(socket)
                }
            };
            let thread = std::thread::Builder::new()
                .name("forward".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || match socket {
                    Listening::Streams(socket) => streams::run(&socket, protocol, &mut target, &ready),
                    Listening::Datagrams(socket) => datagrams::run(&socket, &mut target, &ready),
                })?;
            Ok(Self { stop, thread: Some(thread) })
        };
        let port = SocketAddr::new(published.host, published.port);
        begin().map_err(|source| ForwardError { port, protocol, source })
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        // The number is never so large that a write would be refused.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was told when it happened.
            let _ = thread.join();
        }
    }
}

/// As many as are meant, or fewer where this process may not have so many open files: one port leaves most of them to the
/// others, and to what else it does.
fn within_limits(most: usize) -> usize {
    let open = getrlimit(Resource::Nofile).current.and_then(|open| usize::try_from(open).ok());
    open.map_or(most, |open| most.min(open / 4))
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;

//! What reaches a published port from this host's loopback addresses, carried to the endpoint.
//!
//! The packet filter redirects everything else (see [`ports`](crate::ports)). A forwarder is one thread that owns the reserved
//! socket. It connects from the host's side of the bridge, so that the endpoint sees the gateway as its client and
//! never a loopback address, which services are used to trust. It ends, and closes all it carries, when its value
//! is dropped.

mod datagrams;
mod streams;
mod sys;

use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;

use crate::ports::{Protocol, Reservation};

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
            let socket = match protocol {
                Protocol::Tcp | Protocol::Sctp => Listening::Streams(TcpListener::from(socket)),
                Protocol::Udp => {
                    let socket = UdpSocket::from(socket);
                    sys::tell_destinations(&socket)?;
                    Listening::Datagrams(socket)
                }
            };
            let thread = std::thread::Builder::new()
                .name("forward".to_owned())
                .stack_size(256 * 1024)
                .spawn(move || match socket {
                    Listening::Streams(socket) => streams::run(&socket, protocol, &mut target, &seen),
                    Listening::Datagrams(socket) => datagrams::run(&socket, &mut target, &seen),
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

/// Waits until something of what is carried can go on, and says what; nothing once it is over, which the first
/// descriptor tells.
fn wait(mut fds: Vec<PollFd<'_>>) -> Option<Vec<PollFlags>> {
    match poll(&mut fds, None) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(_) => return None,
    }
    let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
    events[0].is_empty().then_some(events)
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;

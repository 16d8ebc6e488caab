//! Datagrams: a socket towards the endpoint for each client and address that it sends to, so that answers find their way
//! back, from that address.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::event::{PollFd, PollFlags};

use super::sys::{self, Ends};
use super::{Destination, wait};

/// Clients beyond this push out the one that was silent longest.
const MOST_CLIENTS: usize = 256;
const LARGEST: usize = 64 * 1024;
/// Datagrams of one socket before the others have their turn.
const TURN: usize = 64;

/// Carries datagrams until told to stop.
pub(super) fn run(socket: &UdpSocket, target: &mut dyn Destination, stop: &OwnedFd) {
    // Ordered by their last datagram, the most recent last.
    let mut clients: Vec<(Ends, UdpSocket)> = Vec::new();
    let mut buffer = vec![0; LARGEST];
    loop {
        let mut fds = vec![PollFd::new(stop, PollFlags::IN), PollFd::new(socket, PollFlags::IN)];
        fds.extend(clients.iter().map(|(_, answers)| PollFd::new(answers, PollFlags::IN)));
        let Some(events) = wait(fds) else { return };
        for ((client, answers), _) in clients.iter().zip(&events[2..]).filter(|(_, event)| !event.is_empty())
        {
            for _ in 0..TURN {
                // What cannot be delivered is lost, as datagrams are.
                let Ok(length) = answers.recv(&mut buffer) else { break };
                let _ = sys::answer(socket, &buffer[..length], client);
            }
        }
        if events[1].is_empty() {
            continue;
        }
        for _ in 0..TURN {
            let Ok((length, client)) = sys::receive(socket, &mut buffer) else { break };
            let found = match clients.iter().position(|entry| entry.0 == client) {
                Some(at) => Some(clients.remove(at)),
                None => target.now().and_then(open).map(|answers| (client, answers)),
            };
            let Some(entry) = found else { continue };
            let _ = entry.1.send(&buffer[..length]);
            if clients.len() >= MOST_CLIENTS {
                clients.remove(0);
            }
            clients.push(entry);
        }
    }
}

fn open(target: SocketAddr) -> Option<UdpSocket> {
    let any = if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).ok()?;
    socket.set_nonblocking(true).ok()?;
    socket.connect(target).ok()?;
    Some(socket)
}

//! Published ports: a port of the host that leads to an endpoint.
//!
//! A published port is an element of a map of the packet filter, and it is owned by a bound socket: [`Reservation`]
//! binds it first, so that the kernel itself refuses a port that is taken, and whoever holds the reservation (the
//! process beside the container) holds the port. Packets from elsewhere are redirected before they reach the socket
//! and keep their source address. What the socket receives are connections from this host to its loopback
//! addresses, which are not redirected, because that would need `route_localnet`; the holder forwards those.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, OwnedFd};

pub use rbuild_model::network::Protocol;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType, ipproto, sockopt};
use serde::{Deserialize, Serialize};

use crate::holder;

/// A port of the host that leads to a port of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Published {
    /// Which protocol.
    pub protocol: Protocol,
    /// The host's address; `0.0.0.0` for all of its family, `::` likewise.
    pub host: IpAddr,
    /// The host's port.
    pub port: u16,
    /// The endpoint's port.
    pub target: u16,
}

/// Why a port of the host cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PortError {
    /// Someone has it.
    #[error("the port {address}/{} is already in use{}", protocol.word(), holder.as_deref().map(|who| format!(" by {who}")).unwrap_or_default())]
    Taken {
        /// What was asked for.
        address: SocketAddr,
        /// Which protocol.
        protocol: Protocol,
        /// The process that has it, if it can be seen.
        holder: Option<String>,
    },
    /// Only root may have it.
    #[error("the port {address}/{} needs the right to low ports (CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start)", protocol.word())]
    Privileged {
        /// What was asked for.
        address: SocketAddr,
        /// Which protocol.
        protocol: Protocol,
    },
    /// The address is not one of the host's.
    #[error("the address {} is not an address of this host", address.ip())]
    NotOurs {
        /// What was asked for.
        address: SocketAddr,
    },
    /// The kernel does not know the protocol or the kind of address.
    #[error("the port {address}/{} cannot be had: this kernel has no {} for it (is the module `{}` missing?)", protocol.word(), protocol.word().to_uppercase(), if *protocol == Protocol::Sctp { "sctp" } else { "ipv6" })]
    Unsupported {
        /// What was asked for.
        address: SocketAddr,
        /// Which protocol.
        protocol: Protocol,
    },
    /// It could not be bound for another reason.
    #[error("cannot bind the port {address}/{}", protocol.word())]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// Which protocol.
        protocol: Protocol,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A port of the host that is ours as long as this value lives.
#[derive(Debug)]
pub struct Reservation {
    published: Published,
    socket: OwnedFd,
}

impl Reservation {
    /// Binds a port. Port 0 stands for any free one; [`Reservation::published`] then says which.
    pub fn bind(wanted: Published) -> Result<Self, PortError> {
        let address = SocketAddr::new(wanted.host, wanted.port);
        let protocol = wanted.protocol;
        let (socket, port) = bind(address, protocol).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => {
                PortError::Taken { address, protocol, holder: holder::of(protocol, wanted.host, wanted.port) }
            }
            io::ErrorKind::PermissionDenied => PortError::Privileged { address, protocol },
            io::ErrorKind::AddrNotAvailable => PortError::NotOurs { address },
            _ if is_unknown_protocol(&source) => PortError::Unsupported { address, protocol },
            _ => PortError::Bind { address, protocol, source },
        })?;
        Ok(Self { published: Published { port, ..wanted }, socket })
    }

    /// Takes over the socket of a reservation that another process made.
    pub fn of_socket(published: Published, socket: OwnedFd) -> Self {
        Self { published, socket }
    }

    /// The port, with its number.
    pub fn published(&self) -> Published {
        self.published
    }

    /// The bound socket (a listening one for TCP and SCTP), for whoever forwards what comes from this host itself.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

/// Many wait while their container is busy with others.
const BACKLOG: i32 = 4096;

/// Makes a socket on an address, on it alone: a socket for all IPv6 addresses takes nothing from IPv4.
fn bind(address: SocketAddr, protocol: Protocol) -> io::Result<(OwnedFd, u16)> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let (kind, number) = match protocol {
        Protocol::Tcp => (SocketType::STREAM, ipproto::TCP),
        Protocol::Udp => (SocketType::DGRAM, ipproto::UDP),
        Protocol::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = net::socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if protocol != Protocol::Udp {
        // Connections of a former holder that linger do not keep the port.
        sockopt::set_socket_reuseaddr(&socket, true)?;
    }
    net::bind(&socket, &address)?;
    if protocol != Protocol::Udp {
        net::listen(&socket, BACKLOG)?;
    }
    let bound = SocketAddr::try_from(net::getsockname(socket.as_fd())?)?;
    Ok((socket, bound.port()))
}

fn is_unknown_protocol(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT | Errno::SOCKTNOSUPPORT)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let wanted = Published { protocol, host: IpAddr::from([127, 0, 0, 1]), port: 0, target: 80 };
            let held = Reservation::bind(wanted).unwrap();
            let again = Published { port: held.published().port, ..wanted };
            assert_ne!(again.port, 0);
            match Reservation::bind(again).unwrap_err() {
                PortError::Taken { holder: Some(holder), .. } => {
                    assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
                }
                other => panic!("{other:?}"),
            }
            drop(held);
            Reservation::bind(again).unwrap();
        }
    }

    #[test]
    fn both_families_have_the_same_port_side_by_side() {
        let host = |text: &str| text.parse::<IpAddr>().unwrap();
        let four = Published { protocol: Protocol::Tcp, host: host("0.0.0.0"), port: 0, target: 80 };
        let held = Reservation::bind(four).unwrap();
        let six = Published { host: host("::"), port: held.published().port, ..four };
        let six = match Reservation::bind(six) {
            // A machine without IPv6, which is said.
            Err(PortError::Unsupported { .. }) => return,
            six => six.unwrap(),
        };
        match Reservation::bind(six.published()).unwrap_err() {
            PortError::Taken { holder: Some(holder), .. } => {
                assert!(holder.contains(&format!("process {}", std::process::id())), "{holder}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_protocol_that_the_kernel_lacks_is_told() {
        let host = IpAddr::from([127, 0, 0, 1]);
        let sctp = Published { protocol: Protocol::Sctp, host, port: 0, target: 80 };
        match Reservation::bind(sctp) {
            Ok(held) => assert_ne!(held.published().port, 0),
            Err(error) => {
                assert_eq!(
                    error.to_string(),
                    "the port 127.0.0.1:0/sctp cannot be had: this kernel has no SCTP for it (is the module `sctp` missing?)"
                );
            }
        }
    }

    #[test]
    fn a_foreign_address_is_refused() {
        let wanted =
            Published { protocol: Protocol::Tcp, host: IpAddr::from([192, 0, 2, 250]), port: 0, target: 80 };
        assert!(matches!(Reservation::bind(wanted), Err(PortError::NotOurs { .. })));
    }
}

//! Published ports: a port of the host that leads to an endpoint.
//!
//! A published port is an element of a map of the packet filter, and it is owned by a bound socket: [`Reservation`]
//! binds it first, so that the kernel itself refuses a port that is taken, and whoever holds the reservation (the
//! process beside the container) holds the port. Packets from elsewhere are redirected before they reach the socket
//! and keep their source address. What the socket receives are connections from this host to its loopback
//! addresses, which are not redirected, because that would need `route_localnet`; the holder forwards those.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

use crate::holder;

/// A transport protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// Its number in the header of a packet.
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }

    /// Its name in small letters.
    pub fn word(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the host that leads to a port of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Published {
    /// Which protocol.
    pub protocol: Protocol,
    /// The host's address; `0.0.0.0` for all of them.
    pub host: Ipv4Addr,
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
        address: SocketAddrV4,
        /// Which protocol.
        protocol: Protocol,
        /// The process that has it, if it can be seen.
        holder: Option<String>,
    },
    /// Only root may have it.
    #[error("the port {address}/{} needs the right to low ports (CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start)", protocol.word())]
    Privileged {
        /// What was asked for.
        address: SocketAddrV4,
        /// Which protocol.
        protocol: Protocol,
    },
    /// The address is not one of the host's.
    #[error("the address {} is not an address of this host", address.ip())]
    NotOurs {
        /// What was asked for.
        address: SocketAddrV4,
    },
    /// It could not be bound for another reason.
    #[error("cannot bind the port {address}/{}", protocol.word())]
    Bind {
        /// What was asked for.
        address: SocketAddrV4,
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
        let address = SocketAddrV4::new(wanted.host, wanted.port);
        let bound = || -> io::Result<(OwnedFd, u16)> {
            match wanted.protocol {
                Protocol::Tcp => {
                    let listener = TcpListener::bind(address)?;
                    let port = listener.local_addr()?.port();
                    Ok((listener.into(), port))
                }
                Protocol::Udp => {
                    let socket = UdpSocket::bind(address)?;
                    let port = socket.local_addr()?.port();
                    Ok((socket.into(), port))
                }
            }
        };
        let (socket, port) = bound().map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => PortError::Taken {
                address,
                protocol: wanted.protocol,
                holder: holder::of(wanted.protocol, IpAddr::V4(wanted.host), wanted.port),
            },
            io::ErrorKind::PermissionDenied => PortError::Privileged { address, protocol: wanted.protocol },
            io::ErrorKind::AddrNotAvailable => PortError::NotOurs { address },
            _ => PortError::Bind { address, protocol: wanted.protocol, source },
        })?;
        Ok(Self { published: Published { port, ..wanted }, socket })
    }

    /// The port, with its number.
    pub fn published(&self) -> Published {
        self.published
    }

    /// The bound socket (a listening one for TCP), for whoever forwards what comes from this host itself.
    pub fn into_socket(self) -> OwnedFd {
        self.socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_names_its_holder() {
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let wanted = Published { protocol, host: Ipv4Addr::LOCALHOST, port: 0, target: 80 };
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
    fn a_foreign_address_is_refused() {
        let wanted =
            Published { protocol: Protocol::Tcp, host: Ipv4Addr::new(192, 0, 2, 250), port: 0, target: 80 };
        assert!(matches!(Reservation::bind(wanted), Err(PortError::NotOurs { .. })));
    }
}

//! Published ports.

use std::net::IpAddr;

/// A port of a container that the host offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// What people call it.
    pub name: Option<String>,
    /// The address of the host, all if `None`.
    pub host_ip: Option<IpAddr>,
    /// The port in the container.
    pub target: u16,
    /// The port of the host: `None` for any free one, a range for a free one of it.
    pub published: Option<PortRange>,
    /// The protocol.
    pub protocol: Protocol,
    /// The protocol of the application (`http`).
    pub app_protocol: Option<String>,
    /// `host` or `ingress`; one machine makes no difference between them.
    pub mode: String,
}

/// A range of ports, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PortRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP
    #[default]
    Tcp,
    /// UDP
    Udp,
    /// SCTP
    Sctp,
}

impl Protocol {
    /// Returns the name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

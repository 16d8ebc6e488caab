//! Networks of a project, and how a service is attached to one.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// A network of the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Network {
    /// The name on the machine.
    pub name: String,
    /// The driver, the engine's choice if `None`.
    pub driver: Option<String>,
    /// Options of the driver, as they were given.
    pub driver_opts: BTreeMap<String, String>,
    /// How addresses are given out.
    pub ipam: Ipam,
    /// Whether it is there already and belongs to somebody else.
    pub external: bool,
    /// Whether nothing outside can be reached.
    pub internal: bool,
    /// Whether other containers may be attached.
    pub attachable: bool,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
    /// Whether it has IPv4, the engine's choice if `None`.
    pub enable_ipv4: Option<bool>,
    /// Whether it has IPv6, the engine's choice if `None`.
    pub enable_ipv6: Option<bool>,
}

/// How a network gives out addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ipam {
    /// The driver, the engine's choice if `None`.
    pub driver: Option<String>,
    /// Where addresses are taken from.
    pub pools: Vec<IpamPool>,
}

/// A subnet of a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IpamPool {
    /// The subnet (`10.1.0.0/16`).
    pub subnet: Option<String>,
    /// The part that addresses are given from.
    pub ip_range: Option<String>,
    /// The gateway.
    pub gateway: Option<IpAddr>,
    /// Addresses that are taken, by what takes them.
    pub aux_addresses: BTreeMap<String, IpAddr>,
}

/// How a service is attached to a network.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Further names in this network.
    pub aliases: Vec<String>,
    /// Options of the driver for this endpoint.
    pub driver_opts: BTreeMap<String, String>,
    /// The highest one provides the default route.
    pub gw_priority: i64,
    /// The name of the link in the container.
    pub interface_name: Option<String>,
    /// A fixed address.
    pub ipv4_address: Option<Ipv4Addr>,
    /// A fixed address.
    pub ipv6_address: Option<Ipv6Addr>,
    /// Link-local addresses.
    pub link_local_ips: Vec<IpAddr>,
    /// A fixed hardware address.
    pub mac_address: Option<String>,
    /// The highest one is attached first.
    pub priority: i64,
}

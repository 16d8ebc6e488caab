//! The messages about links, addresses and routes, as bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{
    ACK, Attributes, CREATE, DUMP, EXCLUSIVE, Message, REPLACE, REQUEST, read_string, read_u32,
};
use crate::address::{AddressRange, Mac, Subnet};
use crate::link::LinkName;

const NEW_LINK: u16 = 16;
const DELETE_LINK: u16 = 17;
const GET_LINK: u16 = 18;
const NEW_ADDRESS: u16 = 20;
const GET_ADDRESS: u16 = 22;
const NEW_ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;

const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const UP: u32 = 1;

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_MASTER: u16 = 10;
const IFLA_LINKINFO: u16 = 18;
const IFLA_IFALIAS: u16 = 20;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_EXT_MASK: u16 = 29;
const INFO_KIND: u16 = 1;
const INFO_DATA: u16 = 2;
const INFO_SLAVE_KIND: u16 = 4;
const INFO_SLAVE_DATA: u16 = 5;
const VETH_PEER: u16 = 1;
const BRIDGE_FORWARD_DELAY: u16 = 1;
const BRIDGE_STP: u16 = 5;
const BRIDGE_MULTICAST_SNOOPING: u16 = 23;
const BRPORT_HAIRPIN: u16 = 4;
const BRPORT_ISOLATED: u16 = 33;
const FILTER_SKIP_STATISTICS: u32 = 8;

/// The number of a link in its network namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LinkIndex(pub u32);

impl LinkIndex {
    /// The loopback link, which is the first of every namespace.
    pub const LOOPBACK: Self = Self(1);
}

/// What a listing says about a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub index: LinkIndex,
    /// Its name.
    pub name: String,
    /// Whether it is up.
    pub up: bool,
    /// The text that says whose it is.
    pub alias: Option<String>,
    /// `bridge`, `veth`, …
    pub kind: Option<String>,
    /// The bridge that it is a port of.
    pub master: Option<LinkIndex>,
}

fn link_header(index: u32, flags: u32) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    header[8..12].copy_from_slice(&flags.to_ne_bytes());
    header[12..16].copy_from_slice(&flags.to_ne_bytes());
    header
}

/// Makes a bridge, already up. It learns no multicast groups and never delays a port: containers come and go.
pub fn create_bridge(name: &LinkName, mac: Mac, mtu: u32) -> Message {
    Message::new(NEW_LINK, REQUEST | ACK | CREATE | EXCLUSIVE, &link_header(0, UP))
        .string(IFLA_IFNAME, name.as_str())
        .attribute(IFLA_ADDRESS, &mac.octets())
        .attribute(IFLA_MTU, &mtu.to_ne_bytes())
        .nested(IFLA_LINKINFO, |info| {
            info.string(INFO_KIND, "bridge").nested(INFO_DATA, |data| {
                data.attribute(BRIDGE_FORWARD_DELAY, &0_u32.to_ne_bytes())
                    .attribute(BRIDGE_STP, &0_u32.to_ne_bytes())
                    .attribute(BRIDGE_MULTICAST_SNOOPING, &[0])
            })
        })
}

/// The two ends of a pair of links that is to be made.
#[derive(Clone, Copy, Debug)]
pub struct Veth<'a> {
    /// The end on the bridge.
    pub port: &'a LinkName,
    /// The bridge.
    pub bridge: LinkIndex,
    /// The end in the namespace.
    pub inner: &'a LinkName,
    /// Hardware address of the inner end.
    pub mac: Mac,
    /// Largest packet.
    pub mtu: u32,
    /// An open descriptor of the namespace.
    pub namespace: i32,
}

/// Makes a pair of links, one end a port of the bridge and up, the other born inside the namespace.
pub fn create_veth(veth: &Veth<'_>) -> Message {
    Message::new(NEW_LINK, REQUEST | ACK | CREATE | EXCLUSIVE, &link_header(0, UP))
        .string(IFLA_IFNAME, veth.port.as_str())
        .attribute(IFLA_MTU, &veth.mtu.to_ne_bytes())
        .attribute(IFLA_MASTER, &veth.bridge.0.to_ne_bytes())
        .nested(IFLA_LINKINFO, |info| {
            info.string(INFO_KIND, "veth").nested(INFO_DATA, |data| {
                data.nested_after(VETH_PEER, &link_header(0, 0), |peer| {
                    peer.string(IFLA_IFNAME, veth.inner.as_str())
                        .attribute(IFLA_ADDRESS, &veth.mac.octets())
                        .attribute(IFLA_MTU, &veth.mtu.to_ne_bytes())
                        .attribute(IFLA_NET_NS_FD, &veth.namespace.to_ne_bytes())
                })
            })
        })
}

/// Whether the ports of a bridge reach each other, or only the bridge itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortTraffic {
    /// Any port to any other.
    Free,
    /// No port to another one of this kind.
    Isolated,
}

/// Whether a bridge sends packets back out of the port that they came in by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hairpin {
    /// It does: an endpoint with published ports may call itself through the host, and where bridged packets pass
    /// the filter of routed ones (br_netfilter), the bridge itself carries them back.
    On,
    /// It does not.
    Off,
}

/// Finishes a port of a bridge: says whose it is, and sets what it lets through.
pub fn finish_port(name: &LinkName, alias: &str, traffic: PortTraffic, hairpin: Hairpin) -> Message {
    let isolated = u8::from(traffic == PortTraffic::Isolated);
    let hairpin = u8::from(hairpin == Hairpin::On);
    Message::new(NEW_LINK, REQUEST | ACK, &link_header(0, 0))
        .string(IFLA_IFNAME, name.as_str())
        .string(IFLA_IFALIAS, alias)
        .nested(IFLA_LINKINFO, |info| {
            info.string(INFO_SLAVE_KIND, "bridge").nested(INFO_SLAVE_DATA, |data| {
                data.attribute(BRPORT_HAIRPIN, &[hairpin]).attribute(BRPORT_ISOLATED, &[isolated])
            })
        })
}

/// Says whose a link is.
pub fn set_alias(name: &LinkName, alias: &str) -> Message {
    Message::new(NEW_LINK, REQUEST | ACK, &link_header(0, 0))
        .string(IFLA_IFNAME, name.as_str())
        .string(IFLA_IFALIAS, alias)
}

/// Brings a link up.
pub fn set_up(index: LinkIndex) -> Message {
    Message::new(NEW_LINK, REQUEST | ACK, &link_header(index.0, UP))
}

/// Removes a link by name, and with it the other end of a pair.
pub fn delete_link_named(name: &LinkName) -> Message {
    Message::new(DELETE_LINK, REQUEST | ACK, &link_header(0, 0)).string(IFLA_IFNAME, name.as_str())
}

/// Removes the link of a number.
pub fn delete_link(index: LinkIndex) -> Message {
    Message::new(DELETE_LINK, REQUEST | ACK, &link_header(index.0, 0))
}

/// Asks for one link.
pub fn get_link(name: &LinkName) -> Message {
    Message::new(GET_LINK, REQUEST, &link_header(0, 0))
        .string(IFLA_IFNAME, name.as_str())
        .attribute(IFLA_EXT_MASK, &FILTER_SKIP_STATISTICS.to_ne_bytes())
}

/// Asks for all links.
pub fn list_links() -> Message {
    Message::new(GET_LINK, REQUEST | DUMP, &link_header(0, 0))
        .attribute(IFLA_EXT_MASK, &FILTER_SKIP_STATISTICS.to_ne_bytes())
}

/// Gives a link an address.
pub fn add_address(index: LinkIndex, address: Ipv4Addr, subnet: Subnet) -> Message {
    const LOCAL: u16 = 2;
    const ADDRESS: u16 = 1;
    const BROADCAST: u16 = 4;
    let mut header = [AF_INET, subnet.prefix(), 0, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.0.to_ne_bytes());
    Message::new(NEW_ADDRESS, REQUEST | ACK | CREATE | EXCLUSIVE, &header)
        .attribute(LOCAL, &address.octets())
        .attribute(ADDRESS, &address.octets())
        .attribute(BROADCAST, &subnet.broadcast().octets())
}

/// Gives a link an IPv6 address, which is known to be free: nobody is asked first.
pub fn add_address6(index: LinkIndex, address: Ipv6Addr, prefix: u8) -> Message {
    const ADDRESS: u16 = 1;
    const UNCHECKED: u8 = 2;
    let mut header = [AF_INET6, prefix, UNCHECKED, 0, 0, 0, 0, 0];
    header[4..8].copy_from_slice(&index.0.to_ne_bytes());
    Message::new(NEW_ADDRESS, REQUEST | ACK | CREATE | EXCLUSIVE, &header)
        .attribute(ADDRESS, &address.octets())
}

/// Sends everything of a gateway's family that has no other route to it, whatever it was sent to before.
pub fn set_default_route(index: LinkIndex, gateway: IpAddr) -> Message {
    const OUT: u16 = 4;
    const GATEWAY: u16 = 5;
    const TABLE_MAIN: u8 = 254;
    const PROTOCOL_STATIC: u8 = 4;
    const UNICAST: u8 = 1;
    let (family, octets) = match gateway {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let header = [family, 0, 0, 0, TABLE_MAIN, PROTOCOL_STATIC, 0, UNICAST, 0, 0, 0, 0];
    Message::new(NEW_ROUTE, REQUEST | ACK | CREATE | REPLACE, &header)
        .attribute(GATEWAY, &octets)
        .attribute(OUT, &index.0.to_ne_bytes())
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpFamily {
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

impl IpFamily {
    fn number(self) -> u8 {
        match self {
            Self::Four => AF_INET,
            Self::Six => AF_INET6,
        }
    }
}

/// Asks for all routes of a family.
pub fn list_routes(family: IpFamily) -> Message {
    Message::new(GET_ROUTE, REQUEST | DUMP, &[family.number(), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Asks for all addresses of the host of a family.
pub fn list_addresses(family: IpFamily) -> Message {
    Message::new(GET_ADDRESS, REQUEST | DUMP, &[family.number(), 0, 0, 0, 0, 0, 0, 0])
}

/// Reads a link.
pub fn read_link(body: &[u8]) -> Option<Link> {
    let attributes = Attributes::after(body, 16);
    let kind = attributes.clone().find(IFLA_LINKINFO).and_then(|info| Attributes::new(info).find(INFO_KIND));
    Some(Link {
        index: LinkIndex(read_u32(body, 4)?),
        up: read_u32(body, 8)? & UP != 0,
        name: attributes.clone().find(IFLA_IFNAME).map(read_string)?,
        alias: attributes.clone().find(IFLA_IFALIAS).map(read_string),
        kind: kind.map(read_string),
        master: attributes.find(IFLA_MASTER).and_then(|value| read_u32(value, 0)).map(LinkIndex),
    })
}

/// Whether a message tells that a link is down, or gone.
pub fn tells_of_end(kind: u16, body: &[u8], index: LinkIndex) -> bool {
    let is_down = || kind == NEW_LINK && read_u32(body, 8).is_some_and(|flags| flags & UP == 0);
    read_u32(body, 4) == Some(index.0) && (kind == DELETE_LINK || is_down())
}

/// Reads the range that a route covers. The default route, which covers everything, is left out, and so are
/// routes of other kinds than to a place (a blackhole takes no addresses away).
pub fn read_route(body: &[u8]) -> Option<AddressRange> {
    const DESTINATION: u16 = 1;
    const UNICAST: u8 = 1;
    const LOCAL: u8 = 2;
    let (family, length, kind) = (*body.first()?, *body.get(1)?, *body.get(7)?);
    if length == 0 || !matches!(kind, UNICAST | LOCAL) {
        return None;
    }
    Some(AddressRange::new(read_address(family, Attributes::after(body, 12).find(DESTINATION)?)?, length))
}

/// Reads the range around an address of the host.
pub fn read_host_address(body: &[u8]) -> Option<AddressRange> {
    const ADDRESS: u16 = 1;
    let address = read_address(*body.first()?, Attributes::after(body, 8).find(ADDRESS)?)?;
    Some(AddressRange::new(address, *body.get(1)?))
}

fn read_address(family: u8, value: &[u8]) -> Option<IpAddr> {
    match family {
        AF_INET => Some(IpAddr::from(<[u8; 4]>::try_from(value.get(..4)?).ok()?)),
        AF_INET6 => Some(IpAddr::from(<[u8; 16]>::try_from(value.get(..16)?).ok()?)),
        _ => None,
    }
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;

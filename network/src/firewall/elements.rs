//! What networks, endpoints and published ports are to the packet filter: elements of sets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{Mac, Subnet};
use crate::address6::{Subnet6, link_local};
use crate::driver::{GatewayMode, GatewayModes, Guard, Masquerade, PortIsolation, Reach};
use crate::link::LinkName;
use crate::names::{EndpointRecord, NetworkState};
use crate::netlink::nftables::{Element, Set, TableFamily};
use crate::ports::Published;

const SAME: Set = Set { family: TableFamily::Inet, name: "same" };
const BRIDGES: Set = Set { family: TableFamily::Inet, name: "bridges" };
const OUTSIDE: Set = Set { family: TableFamily::Inet, name: "outside" };
const SOURCES: Set = Set { family: TableFamily::Inet, name: "sources" };
const PORTS_AT: Set = Set { family: TableFamily::Inet, name: "ports_at" };
const PORTS: Set = Set { family: TableFamily::Inet, name: "ports" };
const SOURCES6: Set = Set { family: TableFamily::Inet, name: "sources6" };
const PORTS6_AT: Set = Set { family: TableFamily::Inet, name: "ports6_at" };
const PORTS6: Set = Set { family: TableFamily::Inet, name: "ports6" };
const BACK_AT: Set = Set { family: TableFamily::Inet, name: "back_at" };
const BACK: Set = Set { family: TableFamily::Inet, name: "back" };
const BACK6_AT: Set = Set { family: TableFamily::Inet, name: "back6_at" };
const BACK6: Set = Set { family: TableFamily::Inet, name: "back6" };
const OPEN: Set = Set { family: TableFamily::Inet, name: "open" };
const OPEN6: Set = Set { family: TableFamily::Inet, name: "open6" };
const ROUTED: Set = Set { family: TableFamily::Inet, name: "routed" };
const ROUTED6: Set = Set { family: TableFamily::Inet, name: "routed6" };
const REACHED: Set = Set { family: TableFamily::Inet, name: "reached" };
const REACHED6: Set = Set { family: TableFamily::Inet, name: "reached6" };
const ENDPOINTS6: Set = Set { family: TableFamily::Bridge, name: "endpoints6" };
const TARGETS6: Set = Set { family: TableFamily::Bridge, name: "targets6" };
const ENDPOINTS: Set = Set { family: TableFamily::Bridge, name: "endpoints" };
const UNGUARDED: Set = Set { family: TableFamily::Bridge, name: "unguarded" };

/// Whether ports can be guarded here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Guarding {
    /// They are.
    On,
    /// The kernel has no packet filter on bridges.
    Missing,
}

/// A key or value made of parts, each padded to a multiple of four bytes as the kernel's registers are.
#[derive(Default)]
struct Parts(Vec<u8>);

impl Parts {
    fn add(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    fn link(self, name: &LinkName) -> Self {
        let mut bytes = [0; 16];
        bytes[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
        self.add(&bytes)
    }

    fn address(self, address: impl Into<IpAddr>) -> Self {
        match address.into() {
            IpAddr::V4(address) => self.add(&address.octets()),
            IpAddr::V6(address) => self.add(&address.octets()),
        }
    }

    fn port(self, port: u16) -> Self {
        self.add(&port.to_be_bytes())
    }

    fn element(self, set: Set) -> Element {
        Element { set, key: self.0, value: None, ends_range: false }
    }
}

/// The elements of a network itself.
pub(crate) fn of_network(state: &NetworkState) -> Vec<Element> {
    let mut elements = vec![
        Parts::default().link(&state.bridge).element(BRIDGES),
        Parts::default().link(&state.bridge).link(&state.bridge).element(SAME),
    ];
    if state.reach == Reach::Outside {
        let bridge = |set| Parts::default().link(&state.bridge).element(set);
        elements.push(bridge(OUTSIDE));
        let is_hidden = |mode| state.masquerade == Masquerade::On && mode != GatewayMode::Routed;
        let GatewayModes { four: mode, six: mode6 } = state.gateways;
        if let Some(four) = state.families.four() {
            elements.extend(reachable(mode, OPEN, ROUTED).map(&bridge));
            elements.extend(range(four.subnet).into_iter().filter(|_| is_hidden(mode)));
        }
        if let Some(six) = state.families.six() {
            elements.extend(reachable(mode6, OPEN6, ROUTED6).map(&bridge));
            elements.extend(range6(six.subnet).into_iter().filter(|_| is_hidden(mode6)));
        }
    }
    elements
}

/// The set of bridges that lets packets in which are sent to endpoints themselves, if one does.
fn reachable(mode: GatewayMode, open: Set, routed: Set) -> Option<Set> {
    match mode {
        GatewayMode::Nat | GatewayMode::Isolated => None,
        GatewayMode::NatUnprotected => Some(open),
        GatewayMode::Routed => Some(routed),
    }
}

fn range(subnet: Subnet) -> [Element; 2] {
    let behind = Ipv4Addr::from(u32::from(subnet.broadcast()) + 1);
    ends(SOURCES, subnet.base().into(), behind.into())
}

fn range6(subnet: Subnet6) -> [Element; 2] {
    let behind = Ipv6Addr::from(u128::from(subnet.last()).wrapping_add(1));
    ends(SOURCES6, subnet.base().into(), behind.into())
}

fn ends(set: Set, first: IpAddr, behind: IpAddr) -> [Element; 2] {
    let first = Parts::default().address(first).element(set);
    let end = Element { ends_range: true, ..Parts::default().address(behind).element(set) };
    [first, end]
}

/// The elements of an endpoint.
pub(crate) fn of_endpoint(
    state: &NetworkState,
    endpoint: &EndpointRecord,
    guarding: Guarding,
) -> Vec<Element> {
    let mut elements = Vec::new();
    if guarding == Guarding::On {
        match endpoint.guard {
            Guard::Strict => {
                let six = endpoint.families.six().map(|_| link_local(endpoint.mac).into());
                let own = endpoint.addresses().chain(six).chain(endpoint.link_local.iter().copied());
                elements.extend(own.flat_map(|own| {
                    let sets: &[Set] = if own.is_ipv4() { &[ENDPOINTS] } else { &[ENDPOINTS6, TARGETS6] };
                    sets.iter().map(move |set| guarded(*set, &endpoint.port, endpoint.mac, own))
                }));
            }
            Guard::Off => elements.push(Parts::default().link(&endpoint.port).element(UNGUARDED)),
        }
    }
    elements.extend(of_ports(state, endpoint));
    elements
}

/// The elements of the published ports of an endpoint: where its network is routed those of its own address, else the
/// ports of the host that lead to it. A loopback address of the host has none, nor has an IPv6 address that leads to an
/// endpoint without one: those are carried by a forwarder.
pub(crate) fn of_ports(state: &NetworkState, endpoint: &EndpointRecord) -> Vec<Element> {
    match state.reach {
        Reach::Internal => Vec::new(),
        Reach::Outside => {
            endpoint.published.iter().flat_map(|published| of_port(state, endpoint, published)).collect()
        }
    }
}

fn of_port(state: &NetworkState, endpoint: &EndpointRecord, published: &Published) -> Vec<Element> {
    let own = match published.host {
        IpAddr::V4(_) => endpoint.families.four().map(|own| IpAddr::from(*own)),
        IpAddr::V6(_) => endpoint.families.six().map(|own| IpAddr::from(*own)),
    };
    let Some(own) = own else { return Vec::new() };
    let four = own.is_ipv4();
    let protocol = published.protocol.number();
    if state.gateways.of(own) == GatewayMode::Routed {
        let reached = if four { REACHED } else { REACHED6 };
        let key = Parts::default().link(&state.bridge).address(own).add(&[protocol]);
        return vec![key.port(published.target).element(reached)];
    }
    // One without a port of the host was published in a routed network.
    if published.host.is_loopback() || published.port == 0 {
        return Vec::new();
    }
    let all = published.host.is_unspecified();
    let key = |before: Parts| {
        let key = before.add(&[protocol]);
        if all { key } else { key.address(published.host) }.port(published.port)
    };
    let (ports, back) = match (four, all) {
        (true, true) => (PORTS, BACK),
        (true, false) => (PORTS_AT, BACK_AT),
        (false, true) => (PORTS6, BACK6),
        (false, false) => (PORTS6_AT, BACK6_AT),
    };
    let value = Parts::default().address(own).port(published.target).0;
    let mut elements = vec![Element { value: Some(value), ..key(Parts::default()).element(ports) }];
    if state.isolation == PortIsolation::Isolated {
        elements.push(key(Parts::default().link(&state.bridge)).element(back));
    }
    elements
}

/// The elements of an endpoint and of its network.
pub(crate) fn of_all_of(state: &NetworkState, endpoint: &EndpointRecord, guarding: Guarding) -> Vec<Element> {
    let mut elements = of_network(state);
    elements.extend(of_endpoint(state, endpoint, guarding));
    elements
}

fn guarded(set: Set, port: &LinkName, mac: Mac, address: IpAddr) -> Element {
    Parts::default().link(port).add(&mac.octets()).address(address).element(set)
}

/// All elements of all networks.
pub(crate) fn of_all(states: &[NetworkState], guarding: Guarding) -> Vec<Element> {
    states
        .iter()
        .flat_map(|state| {
            let endpoints =
                state.endpoints.iter().flat_map(move |endpoint| of_endpoint(state, endpoint, guarding));
            of_network(state).into_iter().chain(endpoints)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::StorePrefix;

    #[test]
    fn an_endpoint_is_a_key_of_three_padded_parts() {
        let port = StorePrefix::new("deadbeef").unwrap().port("x", 0);
        let mac = "02:00:00:00:00:01".parse().unwrap();
        let element = guarded(ENDPOINTS, &port, mac, IpAddr::from([1, 2, 3, 4]));
        assert_eq!(element.key.len(), 28);
        assert_eq!(&element.key[..15], port.as_str().as_bytes());
        assert_eq!(element.key[15..], [0, 2, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_published_port_is_known_by_its_protocol() {
        use crate::families::Families;
        use crate::names::{EndpointId, FourState, NetworkId};
        use crate::ports::Protocol;

        let store = StorePrefix::new("deadbeef").unwrap();
        let mut state = NetworkState::new(
            NetworkId::new("n").unwrap(),
            store.bridge("n"),
            Families::Four(FourState::new("10.1.0.0/24".parse().unwrap(), Ipv4Addr::new(10, 1, 0, 1))),
            Reach::Outside,
            PortIsolation::Shared,
            1500,
        );
        let published =
            |protocol| Published { protocol, host: Ipv4Addr::UNSPECIFIED.into(), port: 5060, target: 80 };
        let endpoint = EndpointRecord {
            id: EndpointId::new("e").unwrap(),
            port: store.port("e", 0),
            link: LinkName::eth(0),
            families: Families::Four(Ipv4Addr::new(10, 1, 0, 2)),
            link_local: Vec::new(),
            mac: "02:00:00:00:00:01".parse().unwrap(),
            guard: Guard::Strict,
            names: Vec::new(),
            private_names: Vec::new(),
            presence: Default::default(),
            published: [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].map(published).to_vec(),
        };
        let keys: Vec<_> = of_ports(&state, &endpoint).into_iter().map(|element| element.key).collect();
        assert_eq!(keys, [6, 17, 132].map(|number| vec![number, 0, 0, 0, 0x13, 0xc4, 0, 0]));
        // Where endpoints are kept apart what comes from their own bridge goes another way.
        state.isolation = PortIsolation::Isolated;
        let apart = of_ports(&state, &endpoint);
        assert_eq!(apart.iter().filter(|element| element.set == BACK).count(), 3);
        assert_eq!(apart[1].key[16..], keys[0]);
        state.gateways.four = GatewayMode::Routed;
        let reached = of_ports(&state, &endpoint);
        assert!(reached.iter().all(|element| element.set == REACHED && element.value.is_none()));
        assert_eq!(reached[0].key[16..], [10, 1, 0, 2, 6, 0, 0, 0, 0, 80, 0, 0]);
        state.reach = Reach::Internal;
        assert!(of_ports(&state, &endpoint).is_empty());
    }

    #[test]
    fn a_subnet_is_a_range_and_the_address_behind_it() {
        let [first, end] = range("172.17.0.0/16".parse().unwrap());
        assert_eq!((first.key, first.ends_range), (vec![172, 17, 0, 0], false));
        assert_eq!((end.key, end.ends_range), (vec![172, 18, 0, 0], true));
    }
}

//! What networks, endpoints and published ports are to the packet filter: elements of sets.

use std::net::Ipv4Addr;

use crate::address::{Mac, Subnet};
use crate::driver::{Guard, Reach};
use crate::link::LinkName;
use crate::names::{EndpointRecord, NetworkState};
use crate::netlink::nftables::{Element, Set, TableFamily};

const SAME: Set = Set { family: TableFamily::Inet, name: "same" };
const OUTSIDE: Set = Set { family: TableFamily::Inet, name: "outside" };
const SOURCES: Set = Set { family: TableFamily::Inet, name: "sources" };
const PORTS_AT: Set = Set { family: TableFamily::Inet, name: "ports_at" };
const PORTS: Set = Set { family: TableFamily::Inet, name: "ports" };
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

    fn address(self, address: Ipv4Addr) -> Self {
        self.add(&address.octets())
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
    let mut elements = vec![Parts::default().link(&state.bridge).link(&state.bridge).element(SAME)];
    if state.reach == Reach::Outside {
        elements.push(Parts::default().link(&state.bridge).element(OUTSIDE));
        elements.extend(range(state.subnet));
    }
    elements
}

fn range(subnet: Subnet) -> [Element; 2] {
    let behind = Ipv4Addr::from(u32::from(subnet.broadcast()) + 1);
    let first = Parts::default().address(subnet.base()).element(SOURCES);
    let end = Element { ends_range: true, ..Parts::default().address(behind).element(SOURCES) };
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
        elements.push(match endpoint.guard {
            Guard::Strict => guarded(&endpoint.port, endpoint.mac, endpoint.address),
            Guard::Off => Parts::default().link(&endpoint.port).element(UNGUARDED),
        });
    }
    if state.reach == Reach::Outside {
        for published in endpoint.published.iter().filter(|published| !published.host.is_loopback()) {
            let key = Parts::default().add(&[published.protocol.number()]);
            let element = if published.host.is_unspecified() {
                key.port(published.port).element(PORTS)
            } else {
                key.address(published.host).port(published.port).element(PORTS_AT)
            };
            let value = Parts::default().address(endpoint.address).port(published.target).0;
            elements.push(Element { value: Some(value), ..element });
        }
    }
    elements
}

fn guarded(port: &LinkName, mac: Mac, address: Ipv4Addr) -> Element {
    Parts::default().link(port).add(&mac.octets()).address(address).element(ENDPOINTS)
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
        let element = guarded(&port, "02:00:00:00:00:01".parse().unwrap(), Ipv4Addr::new(1, 2, 3, 4));
        assert_eq!(element.key.len(), 28);
        assert_eq!(&element.key[..15], port.as_str().as_bytes());
        assert_eq!(element.key[15..], [0, 2, 0, 0, 0, 0, 1, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_subnet_is_a_range_and_the_address_behind_it() {
        let [first, end] = range("172.17.0.0/16".parse().unwrap());
        assert_eq!((first.key, first.ends_range), (vec![172, 17, 0, 0], false));
        assert_eq!((end.key, end.ends_range), (vec![172, 18, 0, 0], true));
    }
}

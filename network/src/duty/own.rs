//! Which elements of the packet filter's sets are a container's own: read of the files of networks once, and again only after
//! elements came, as those of a network that it was connected to do. So a hundred containers that stop side by side, each of
//! which hears of all the others, read the files a hundred times and not ten thousand times.

use crate::firewall::elements::{self, Guarding};
use crate::firewall::watch::{Coming, Elements};
use crate::names::{EndpointRecord, NetworkId, NetworkState};
use crate::netlink::nftables::{Element, Gone};

/// The elements of one endpoint and its networks.
#[derive(Debug, Default)]
pub(super) struct OwnElements {
    /// Those of each network; nothing if they are to be read.
    known: Option<Vec<(NetworkId, Vec<Element>)>>,
}

impl OwnElements {
    /// The networks that an endpoint has lost elements of, by what came and went. `read` returns what it has of networks; it is
    /// asked only when something went and what is known may be old.
    pub(super) fn lost<E>(
        &mut self,
        heard: &Elements,
        read: impl FnOnce() -> Result<Vec<(NetworkState, EndpointRecord)>, E>,
    ) -> Result<Vec<NetworkId>, E> {
        if heard.came == Coming::Some {
            self.known = None;
        }
        if heard.gone.is_empty() {
            return Ok(Vec::new());
        }
        let known = match self.known.take() {
            Some(known) => known,
            None => read()?.iter().map(|(state, record)| (state.id.clone(), own(state, record))).collect(),
        };
        let has_gone = |own: &Element| {
            let is_it = |gone: &Gone| gone.set == own.set.name && gone.key == own.key;
            heard.gone.iter().any(is_it)
        };
        let lost = known.iter().filter(|(_, own)| own.iter().any(has_gone));
        let lost = lost.map(|(network, _)| network.clone()).collect();
        self.known = Some(known);
        Ok(lost)
    }
}

fn own(state: &NetworkState, record: &EndpointRecord) -> Vec<Element> {
    elements::of_all_of(state, record, Guarding::On)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::convert::Infallible;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::driver::{Guard, PortIsolation, Reach};
    use crate::families::Families;
    use crate::link::{LinkName, StorePrefix};
    use crate::names::{EndpointId, FourState};

    fn network(id: &str, third: u8) -> NetworkState {
        let subnet = crate::address::Subnet::new(Ipv4Addr::new(10, 1, third, 0), 24).unwrap();
        let families = Families::Four(FourState::new(subnet, subnet.first()));
        let bridge = StorePrefix::new("deadbeef").unwrap().bridge(id);
        let id = NetworkId::new(id).unwrap();
        NetworkState::new(id, bridge, families, Reach::Outside, PortIsolation::Shared, 1500)
    }

    fn endpoint(state: &NetworkState, id: usize) -> EndpointRecord {
        let address = state.next_address().unwrap();
        EndpointRecord {
            id: EndpointId::new(&format!("e{id}")).unwrap(),
            port: StorePrefix::new("deadbeef").unwrap().port(&format!("{}/e{id}", state.id), 0),
            link: LinkName::eth(0),
            families: Families::Four(address),
            link_local: Vec::new(),
            mac: crate::address::derived_mac(state.id.as_str(), address.into()),
            guard: Guard::Strict,
            names: Vec::new(),
            private_names: Vec::new(),
            presence: Default::default(),
            published: Vec::new(),
        }
    }

    fn gone(elements: Vec<Element>) -> Elements {
        let gone = elements.into_iter().map(|one| Gone { set: one.set.name.to_owned(), key: one.key });
        Elements { gone: gone.collect(), came: Coming::None }
    }

    #[test]
    fn containers_that_stop_side_by_side_read_the_files_once_each() {
        let mut state = network("net", 0);
        for id in 0..50 {
            let record = endpoint(&state, id);
            state.endpoints.push(record);
        }
        let reads = Cell::new(0);
        let mut monitors: Vec<_> = state.endpoints.iter().map(|_| OwnElements::default()).collect();
        for stopped in &state.endpoints {
            let heard = gone(elements::of_endpoint(&state, stopped, Guarding::On));
            for (own, record) in monitors.iter_mut().zip(&state.endpoints) {
                let read = || {
                    reads.set(reads.get() + 1);
                    Ok::<_, Infallible>(vec![(state.clone(), record.clone())])
                };
                let lost = own.lost(&heard, read).unwrap();
                assert_eq!(lost.len(), usize::from(record.id == stopped.id));
            }
        }
        assert_eq!(reads.get(), monitors.len());
    }

    #[test]
    fn what_came_since_is_looked_for_when_something_goes() {
        let (one, two) = (network("one", 0), network("two", 1));
        let (in_one, in_two) = (endpoint(&one, 1), endpoint(&two, 1));
        let mut own = OwnElements::default();
        let reads = Cell::new(0);
        let mut lost = |heard: &Elements, has_two: usize| {
            let all = vec![(one.clone(), in_one.clone()), (two.clone(), in_two.clone())];
            let read = || {
                reads.set(reads.get() + 1);
                Ok::<_, Infallible>(all.into_iter().take(1 + has_two).collect())
            };
            let lost = own.lost(heard, read).unwrap();
            (lost.iter().map(NetworkId::to_string).collect::<Vec<_>>().join(" "), reads.get())
        };
        let of_one = gone(elements::of_network(&one));
        let of_two = gone(elements::of_endpoint(&two, &in_two, Guarding::On));
        let came = Elements { gone: Vec::new(), came: Coming::Some };
        assert_eq!(lost(&of_two, 0), (String::new(), 1));
        assert_eq!(lost(&of_one, 0), ("one".to_owned(), 1));
        assert_eq!(lost(&came, 1), (String::new(), 1), "nothing went");
        assert_eq!(lost(&of_two, 1), ("two".to_owned(), 2));
        assert_eq!(lost(&Elements { came: Coming::Some, ..of_two.clone() }, 0), (String::new(), 3));
    }
}

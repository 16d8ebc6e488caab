//! What one endpoint can know of the names of its networks, and what it is answered. Pure.
//!
//! A name leads to every running endpoint that has it, in any network that the asker is in too and that has names; to one that
//! shares several networks with the asker by the first of them, so that who counts the addresses of a service counts its
//! containers. What other networks know is not told, nor asked of anybody else: an address of one of the asker's own networks that has no
//! name here has none, and an asker whose networks lead nowhere is told that only these names exist.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use super::wire::{A, AAAA, Code, PTR, Query, Record, reversed};
use crate::driver::{NameScope, Reach};
use crate::names::{EndpointId, NetworkState, Presence};

/// The names that one endpoint can know.
#[derive(Clone, Debug, Default)]
pub(super) struct View {
    addresses: HashMap<String, Vec<IpAddr>>,
    names: HashMap<IpAddr, String>,
    networks: Vec<NetworkState>,
    reach: Option<Reach>,
}

/// What becomes of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is answered here.
    Answer(Code, Vec<Record>),
    /// Others are asked.
    Forward,
}

impl View {
    /// Gathers what an endpoint can know.
    pub(super) fn of(mut states: Vec<NetworkState>, endpoint: &EndpointId) -> Self {
        let mut view = Self::default();
        let mut private = Vec::new();
        // The same one is the first each time.
        states.sort_by(|one, other| one.name.cmp(&other.name));
        let mut found = HashSet::new();
        for mut state in states {
            let Some(own) = state.endpoints.iter().find(|record| record.id == *endpoint) else { continue };
            private.extend(own.private_names.clone());
            let outside = view.reach == Some(Reach::Outside) || state.reach == Reach::Outside;
            view.reach = Some(if outside { Reach::Outside } else { Reach::Internal });
            let network = state.name.to_ascii_lowercase();
            if state.names == NameScope::Nowhere {
                state.endpoints.clear();
            }
            for record in state.endpoints.drain(..).filter(|record| record.presence == Presence::Running) {
                for name in &record.names {
                    let name = name.to_ascii_lowercase();
                    for name in [format!("{name}.{network}"), name] {
                        let is_new = |address: &IpAddr| {
                            found.insert((name.clone(), record.id.clone(), address.is_ipv4()))
                        };
                        let addresses: Vec<IpAddr> = record.addresses().filter(is_new).collect();
                        view.addresses.entry(name).or_default().extend(addresses);
                    }
                }
                if let Some(name) = record.names.first() {
                    for address in record.addresses() {
                        view.names.insert(address, format!("{name}.{}", state.name));
                    }
                }
            }
            view.networks.push(state);
        }
        for name in private {
            if let Some(addresses) = view.addresses.get(&name.target.to_ascii_lowercase()) {
                view.addresses.insert(name.name.to_ascii_lowercase(), addresses.clone());
            }
        }
        view
    }

    /// Decides on a question. Several addresses begin with another one at each turn, so that each is the first as often
    /// as the others.
    pub(super) fn decide(&self, query: &Query, turn: usize) -> Decision {
        let elsewhere = match self.reach {
            Some(Reach::Outside) => Decision::Forward,
            Some(Reach::Internal) | None => Decision::Answer(Code::NoSuchName, Vec::new()),
        };
        // Whatever class is asked for: a name that is known here is nobody else's matter.
        let Some(name) = query.name.as_deref() else { return elsewhere };
        if let Some(addresses) = self.addresses.get(name) {
            let mut records: Vec<Record> = addresses
                .iter()
                .filter(|address| query.kind == if address.is_ipv4() { A } else { AAAA })
                .map(|address| Record::Address(*address))
                .collect();
            if !records.is_empty() {
                let first = turn % records.len();
                records.rotate_left(first);
            }
            return Decision::Answer(Code::Fine, records);
        }
        if query.kind == PTR
            && let Some(address) = reversed(name)
        {
            if let Some(name) = self.names.get(&address) {
                return Decision::Answer(Code::Fine, vec![Record::Name(name.clone())]);
            }
            if self.networks.iter().any(|network| network.contains(address)) {
                return Decision::Answer(Code::NoSuchName, Vec::new());
            }
        }
        elsewhere
    }
}

#[cfg(test)]
pub(super) use tests::record as tests_record;

#[cfg(test)]
#[path = "view_tests.rs"]
mod tests;

//! Which address an endpoint gets: the one that who has its name had last, else one that nobody had.
//!
//! A program looks up names once and keeps what it was told: a proxy that was not restarted goes on sending to the address of
//! a service that was. So who comes again, restarted or made anew under its name, has the address that it had.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::{EndpointId, EndpointRecord, NetworkState, written};
use crate::families::Families;

/// For so many that are not there their addresses are remembered.
const REMEMBERED: usize = 64;

/// The addresses that who has a name had last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Lasting {
    name: String,
    #[serde(flatten, with = "written::endpoint")]
    families: Families<Ipv4Addr, Ipv6Addr>,
}

impl NetworkState {
    /// Remembers the addresses of an endpoint for its name; one without any is never asked for again.
    pub(crate) fn remember(&mut self, record: &EndpointRecord) {
        let Some(name) = record.names.first() else { return };
        let is_its = |address: IpAddr| record.addresses().any(|own| own == address);
        self.lasting.retain(|one| one.name != *name && !one.families.addresses().any(is_its));
        self.lasting.push(Lasting { name: name.clone(), families: record.families });
        // The one that comes now is not among the endpoints yet.
        let present: HashSet<IpAddr> =
            self.endpoints.iter().chain([record]).flat_map(EndpointRecord::addresses).collect();
        let is_gone = |one: &Lasting| !one.families.addresses().any(|address| present.contains(&address));
        let gone = self.lasting.iter().filter(|one| is_gone(one)).count();
        let mut surplus = gone.saturating_sub(REMEMBERED);
        self.lasting.retain(|one| {
            let is_kept = surplus == 0 || !is_gone(one);
            surplus -= usize::from(!is_kept);
            is_kept
        });
    }

    /// Has other names lead to an endpoint, if it is there: its own first, under which its addresses are remembered from now
    /// on, and no more under the one of before.
    pub fn rename(&mut self, endpoint: &EndpointId, names: &[String]) {
        let Some(record) = self.endpoints.iter_mut().find(|record| record.id == *endpoint) else { return };
        names.clone_into(&mut record.names);
        let record = record.clone();
        self.remember(&record);
    }

    /// The address for who has a name: the one it had last, else the next that nobody had. What another one had comes only
    /// when nothing else is free.
    pub(crate) fn next_address(&self, name: Option<&String>) -> Option<Ipv4Addr> {
        let four = self.families.four()?;
        let (mut first, mut last) = (u32::from(four.subnet.first()), u32::from(four.subnet.last()));
        if let Some(range) = four.range {
            (first, last) = (first.max(range.base().into()), last.min(range.broadcast().into()));
        }
        let given = self.endpoints.iter().filter_map(|endpoint| endpoint.families.four().copied());
        let taken = given.chain(four.reserved.iter().copied()).chain(self.bridge_address());
        let own = self.last_of(name).and_then(Families::four).copied();
        let others = self.lasting.iter().filter_map(|one| one.families.four().copied());
        let place = Place { first: first.into(), last: last.into(), cursor: u32::from(four.cursor).into() };
        place
            .choose(own.map(wide), taken.map(wide).collect(), others.map(wide))
            .map(|address| Ipv4Addr::from(u32::try_from(address).expect("an address within its subnet")))
    }

    /// The IPv6 address for who has a name, by the same rule.
    pub(crate) fn next_address6(&self, name: Option<&String>) -> Option<Ipv6Addr> {
        let six = self.families.six()?;
        let (first, last) = match six.range {
            Some(range) => (range.base().max(six.subnet.first()), range.last()),
            None => (six.subnet.first(), six.subnet.last()),
        };
        let given = self.endpoints.iter().filter_map(|endpoint| endpoint.families.six().copied());
        let taken = given.chain(six.reserved.iter().copied()).chain(self.bridge_address6());
        let own = self.last_of(name).and_then(Families::six).copied();
        let others = self.lasting.iter().filter_map(|one| one.families.six().copied());
        let place = Place { first: first.into(), last: last.into(), cursor: six.cursor.into() };
        place
            .choose(own.map(u128::from), taken.map(u128::from).collect(), others.map(u128::from))
            .map(Ipv6Addr::from)
    }

    fn last_of(&self, name: Option<&String>) -> Option<&Families<Ipv4Addr, Ipv6Addr>> {
        let name = name?;
        self.lasting.iter().find(|one| one.name == *name).map(|one| &one.families)
    }
}

/// Widens an address to a number.
fn wide(address: Ipv4Addr) -> u128 {
    u32::from(address).into()
}

/// What addresses are given out of, as numbers, and where the last search ended.
struct Place {
    first: u128,
    last: u128,
    cursor: u128,
}

impl Place {
    fn choose(
        &self,
        own: Option<u128>,
        taken: HashSet<u128>,
        others: impl Iterator<Item = u128>,
    ) -> Option<u128> {
        let is_free = |address: &u128| (self.first..=self.last).contains(address) && !taken.contains(address);
        if let Some(own) = own.filter(is_free) {
            return Some(own);
        }
        let mut known = taken.clone();
        known.extend(others);
        self.next(&known).or_else(|| self.next(&taken))
    }

    /// The first free number behind the cursor, else from the beginning on. Among one more than are taken one is free.
    fn next(&self, taken: &HashSet<u128>) -> Option<u128> {
        let Self { first, last, cursor } = *self;
        let after = if (first..last).contains(&cursor) { cursor + 1 } else { first };
        (after..=last)
            .chain(first..after.min(last.saturating_add(1)))
            .find(|address| !taken.contains(address))
    }
}

#[cfg(test)]
mod tests;

//! What a run really got of the machine: addresses and ports. The monitor keeps it for as long as the run lives.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rbuild_model::network::Protocol;
use rbuild_network::driver::Reach;
use rbuild_network::names::{EndpointRecord, NetworkState};
use rbuild_network::ports::Published;
use serde::{Deserialize, Serialize};

use crate::networks::Joined;

/// What a run really got.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunNote {
    /// Its endpoints, the main one first.
    pub endpoints: Vec<EndpointNote>,
    /// The ports that are held for it. Those that lead to it are [`RunNote::published`].
    pub ports: Vec<PortNote>,
}

/// An endpoint of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointNote {
    /// The network's name.
    pub network: String,
    /// The network's id.
    pub network_id: String,
    /// The endpoint's id.
    pub id: String,
    /// Its address and the prefix of its network.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// Its network's gateway, if that leads out.
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 address and the prefix of its network.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// Its network's IPv6 gateway.
    pub gateway6: Option<Ipv6Addr>,
    /// Its hardware address.
    pub mac: Option<String>,
    /// The names that lead to it.
    pub dns_names: Vec<String>,
}

/// A port of the host that leads to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortNote {
    /// The host's address.
    pub host: IpAddr,
    /// The host's port; 0 if none leads to the container, which is reached by its own address.
    pub host_port: u16,
    /// The container's port.
    pub port: u16,
    /// The protocol.
    pub protocol: Protocol,
}

impl RunNote {
    /// Notes what a container has of networks now, by their records: networks and names may have come and gone since its start.
    pub(super) fn follow(&mut self, records: &[(NetworkState, EndpointRecord)]) {
        // Those without addresses, `host` and `none`, have no records, and stay.
        self.endpoints.retain(|note| {
            let has_addresses = note.ipv4.is_some() || note.ipv6.is_some();
            !has_addresses || records.iter().any(|(state, _)| state.id.as_str() == note.network_id)
        });
        for (state, record) in records {
            let now = EndpointNote::of(&Joined::now(state, record));
            match self.endpoints.iter_mut().find(|note| note.network_id == state.id.as_str()) {
                Some(note) => *note = now,
                None => self.endpoints.push(now),
            }
        }
    }
}

impl RunNote {
    /// Whether a network leads out: where none does, nobody but its neighbours reaches a port that a container listens on,
    /// and lists leave out those that are not published.
    pub fn leads_out(&self) -> bool {
        self.endpoints.iter().any(|endpoint| endpoint.gateway.is_some() || endpoint.gateway6.is_some())
    }

    /// The ports of the host that lead to the container: as long as none of its networks leads out, none does.
    pub fn published(&self) -> &[PortNote] {
        if self.leads_out() { &self.ports } else { &[] }
    }
}

impl EndpointNote {
    /// Notes what a container has of a network.
    pub(super) fn of(joined: &Joined) -> Self {
        let leads_out = joined.address.is_some_and(|address| address.reach == Reach::Outside);
        let (four, six) = joined.address.map_or((None, None), |address| address.families.parts());
        Self {
            network: joined.network.clone(),
            network_id: joined.network_id.clone(),
            id: joined.endpoint_id.clone(),
            ipv4: four.map(|four| (four.address, four.prefix)),
            gateway: four.filter(|_| leads_out).map(|four| four.gateway),
            ipv6: six.map(|six| (six.address, six.prefix)),
            gateway6: six.filter(|_| leads_out).map(|six| six.gateway),
            mac: joined.mac.map(|mac| mac.to_string()),
            dns_names: joined.dns_names.clone(),
        }
    }
}

impl PortNote {
    /// Notes a port that was taken.
    pub(super) fn of(published: &Published) -> Self {
        let Published { protocol, host, port, target } = *published;
        Self { host, host_port: port, port: target, protocol }
    }

    /// The host's port, as documents tell it.
    pub fn host_port_text(&self) -> String {
        if self.host_port == 0 { String::new() } else { self.host_port.to_string() }
    }

    /// The port that was taken.
    pub(crate) fn published(&self) -> Published {
        let Self { host, host_port, port, protocol } = *self;
        Published { protocol, host, port: host_port, target: port }
    }
}

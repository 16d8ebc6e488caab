//! A container that runs: networks that come and go.
//!
//! The process beside the container reads the files of networks by itself. What moves by hand is the default route, and the
//! ports of the host, which lead through the network that it goes through; and what programs read of names ([`super::files`]).

use std::os::fd::OwnedFd;

use rbuild_model::network::{EndpointSettings, EndpointWish, NetworkDefinition};
use rbuild_network::driver::{DefaultRoute, EndpointSpec, Guard, LinkEnd, NameScope};
use rbuild_network::names::{EndpointId, EndpointRecord, NetworkFile, NetworkId, NetworkState};
use rbuild_network::ports::Published;
use rbuild_network::site::Site;

use super::connect::{
    ByFamily, Joined, OwnNames, check_settings, default_route, dns_names, joined, network_id, open_namespace,
    outlets, private_names, through, way_out,
};
use super::document::endpoint_id;
use super::{Networks, NetworksError, bridge, find_in, links, short};

/// A container that runs, and whose networks are to change.
#[derive(Debug)]
pub struct LiveChange<'a> {
    /// Its id.
    pub container: &'a str,
    /// Its name.
    pub name: &'a str,
    /// What it is called inside.
    pub hostname: &'a str,
    /// Its namespace: `/proc/<pid>/ns/net` of its first process.
    pub namespace: &'a OwnedFd,
    /// What it wants of each network it is in after the change.
    pub endpoints: &'a [EndpointWish],
    /// The ports of the host that lead to it: to the first network that it comes back to when it was in none.
    pub ports: &'a [Published],
    /// What its packets are checked for.
    pub guard: Guard,
}

impl Networks {
    /// Connects a running container to one more network.
    pub fn connect_live(
        &self,
        change: &LiveChange<'_>,
        network: &str,
        settings: &EndpointSettings,
    ) -> Result<Joined, NetworksError> {
        let known = self.list()?;
        let definition = find_in(&known, network)?;
        check_settings(&definition, settings)?;
        let now = self.of_container(change.container)?;
        if now.iter().any(|(state, _)| state.id.as_str() == definition.id) {
            return Err(NetworksError::Connected {
                container: change.name.to_owned(),
                network: definition.name,
            });
        }
        if definition.driver != rbuild_model::network::Driver::Bridge {
            return Err(NetworksError::Conflict(
                "container sharing network namespace with another container or host cannot be connected to any other network".to_owned(),
            ));
        }
        let site = self.open_site()?;
        let made = self.ensure(&site, &known, &definition)?;
        let mut namespace = open_namespace(change.namespace)?;
        let names = dns_names(&change.own_names(), settings);
        let own_ports = through(&definition, outlets(None, &definition), change.ports);
        let others: Vec<_> = now.iter().map(|(state, record)| (&*state.name, record.link.clone())).collect();
        let spec = EndpointSpec {
            link: links::another(&definition, settings, &others)?,
            address: settings.ipv4,
            address6: settings.ipv6,
            link_local: settings.link_local.clone(),
            mac: settings.mac,
            settings: links::settings(settings).map_err(NetworksError::Config)?,
            guard: change.guard,
            default_route: DefaultRoute::Neither,
            names: names.clone(),
            private_names: private_names(settings),
            published: if now.is_empty() { own_ports } else { Vec::new() },
            ..EndpointSpec::new(EndpointId::new(change.container)?)
        };
        let endpoint = bridge()
            .attach(&site, &made, &mut namespace, &spec)
            .map_err(NetworksError::link(&definition.name))?;
        let settled = self.settle(&site, change, &known);
        if let Err(error) = settled {
            // The error that is told is the first; the endpoint is taken back as far as it goes.
            let _ = bridge().detach(&site, &made.id, &spec.id, LinkEnd::Now);
            return Err(error);
        }
        self.tell("connect", &definition, &[("container", change.container)]);
        Ok(joined(&definition, change.container, &endpoint, names))
    }

    /// Takes a running container out of a network.
    pub fn disconnect_live(&self, change: &LiveChange<'_>, network: &str) -> Result<(), NetworksError> {
        let known = self.list()?;
        let definition = find_in(&known, network)?;
        let id = network_id(&definition)?;
        let endpoint = EndpointId::new(change.container)?;
        let now = self.of_container(change.container)?;
        if !now.iter().any(|(state, _)| state.id == id) {
            return Err(NetworksError::NotConnected {
                container: short(change.container).to_owned(),
                network: definition.name,
            });
        }
        let site = self.open_site()?;
        // Wherever the ways out lead after this: the ports follow them.
        self.publish_anew(&site, change, &known, &now, Some(&id))?;
        let detached = bridge().detach(&site, &id, &endpoint, LinkEnd::Now);
        detached.map_err(NetworksError::link(&definition.name))?;
        self.settle(&site, change, &known)?;
        self.tell("disconnect", &definition, &[("container", change.container)]);
        Ok(())
    }

    /// Has the name that a container has now lead to it in the networks that it is in, and no former one.
    pub(crate) fn rename(&self, own: &OwnNames<'_>, endpoints: &[EndpointWish]) -> Result<(), NetworksError> {
        let endpoint = EndpointId::new(own.container)?;
        let known = self.list()?;
        let unspoken = EndpointSettings::default();
        for (state, _) in self.of_container(own.container)? {
            let settings = settings_in(&known, endpoints, state.id.as_str()).unwrap_or(&unspoken);
            let names = dns_names(own, settings);
            NetworkFile::new(&self.site.runtime, state.id).update(|slot| {
                slot.iter_mut().for_each(|state| state.rename(&endpoint, &names));
                Ok::<(), NetworksError>(())
            })?;
        }
        Ok(())
    }

    /// Sends what has no other way, and the ports of the host, through the network that it belongs to now.
    fn settle(
        &self,
        site: &Site,
        change: &LiveChange<'_>,
        known: &[NetworkDefinition],
    ) -> Result<(), NetworksError> {
        let now = self.of_container(change.container)?;
        self.publish_anew(site, change, known, &now, None)?;
        let Some(ways) = remaining(change, known, &now, None) else { return Ok(()) };
        let endpoint = EndpointId::new(change.container)?;
        let mut namespace = open_namespace(change.namespace)?;
        for definition in known {
            let routes = default_route(definition, Some(ways));
            if routes != DefaultRoute::Neither {
                let id = network_id(definition)?;
                let sent = bridge().route(site, &id, &mut namespace, &endpoint, routes);
                sent.map_err(NetworksError::link(&definition.name))?;
            }
        }
        Ok(())
    }

    /// Has the ports of the host lead through the networks that a container goes out by, when it has left one if that is named.
    /// Where none leads out they stay where they are.
    fn publish_anew(
        &self,
        site: &Site,
        change: &LiveChange<'_>,
        known: &[NetworkDefinition],
        now: &[(NetworkState, EndpointRecord)],
        left: Option<&NetworkId>,
    ) -> Result<(), NetworksError> {
        let ways = remaining(change, known, now, left);
        let wanted =
            |state: &NetworkState, record: &EndpointRecord| match (ways, find_in(known, state.id.as_str())) {
                _ if Some(&state.id) == left => Vec::new(),
                (Some(ways), Ok(own)) => through(&own, outlets(Some(ways), &own), change.ports),
                _ => record.published.clone(),
            };
        let endpoint = EndpointId::new(change.container)?;
        let publish = |state: &NetworkState, ports: &[Published]| {
            let published = bridge().publish(site, &state.id, &endpoint, ports);
            published.map_err(NetworksError::link(&state.name))
        };
        let plans: Vec<_> =
            now.iter().map(|(state, record)| (state, record, wanted(state, record))).collect();
        // What leads elsewhere goes first: no port leads to two places.
        for (state, record, wanted) in &plans {
            let kept: Vec<Published> =
                record.published.iter().filter(|one| wanted.contains(one)).copied().collect();
            if kept != record.published {
                publish(state, &kept)?;
            }
        }
        for (state, record, wanted) in &plans {
            if wanted.iter().any(|one| !record.published.contains(one)) {
                publish(state, wanted)?;
            }
        }
        Ok(())
    }
}

/// The networks that lead out, of those that a container is in but for one.
fn remaining<'k>(
    change: &LiveChange<'_>,
    known: &'k [NetworkDefinition],
    now: &[(NetworkState, EndpointRecord)],
    but: Option<&NetworkId>,
) -> Option<ByFamily<'k>> {
    let unspoken = EndpointSettings::default();
    let is_in = |one: &&NetworkDefinition| now.iter().any(|(state, _)| state.id.as_str() == one.id);
    let stays = |one: &&NetworkDefinition| but.is_none_or(|but| but.as_str() != one.id);
    let rest: Vec<_> = known
        .iter()
        .filter(is_in)
        .filter(stays)
        .map(|one| (one, settings_in(known, change.endpoints, &one.id).unwrap_or(&unspoken)))
        .collect();
    way_out(rest.into_iter())
}

/// What a container wants of the network with an id.
fn settings_in<'a>(
    known: &[NetworkDefinition],
    wishes: &'a [EndpointWish],
    id: &str,
) -> Option<&'a EndpointSettings> {
    let is_it = |wish: &&EndpointWish| find_in(known, &wish.network).is_ok_and(|found| found.id == id);
    wishes.iter().find(is_it).map(|wish| &wish.settings)
}

impl Joined {
    /// What a container has of a network that it is in now.
    pub(crate) fn now(state: &NetworkState, record: &EndpointRecord) -> Self {
        Self {
            network: state.name.clone(),
            network_id: state.id.to_string(),
            endpoint_id: endpoint_id(state.id.as_str(), record.id.as_str()),
            address: state.place(record),
            mac: Some(record.mac),
            dns_names: match state.names {
                NameScope::Network => record.names.clone(),
                NameScope::Nowhere => Vec::new(),
            },
        }
    }
}

impl<'a> LiveChange<'a> {
    fn own_names(&self) -> OwnNames<'a> {
        OwnNames { container: self.container, name: self.name, hostname: self.hostname }
    }
}

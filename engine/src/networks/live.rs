//! A container that runs: networks that come and go.
//!
//! The process beside the container reads the files of networks by itself. What moves by hand is the default route, and the
//! ports of the host, which lead through the network that it goes through; and what programs read of names ([`super::files`]).

use std::os::fd::OwnedFd;

use rbuild_model::network::{EndpointSettings, EndpointWish, NetworkDefinition};
use rbuild_network::driver::{
    DefaultRoute, EndpointAddress, EndpointAddress6, EndpointSpec, Guard, LinkEnd, NameScope,
};
use rbuild_network::names::{EndpointId, EndpointRecord, NetworkFile, NetworkState};
use rbuild_network::ports::Published;
use rbuild_network::site::Site;

use super::connect::{
    Joined, OwnNames, check_settings, dns_names, joined, network_id, open_namespace, private_names, way_out,
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
        let others: Vec<_> = now.iter().map(|(state, record)| (&*state.name, record.link.clone())).collect();
        let spec = EndpointSpec {
            link: links::another(&definition, settings, &others)?,
            address: settings.ipv4,
            address6: settings.ipv6,
            link_local: settings.link_local.clone(),
            mac: settings.mac,
            guard: change.guard,
            default_route: DefaultRoute::No,
            names: names.clone(),
            private_names: private_names(settings),
            published: if now.is_empty() { change.ports.to_vec() } else { Vec::new() },
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
        let Some((_, record)) = now.iter().find(|(state, _)| state.id == id) else {
            return Err(NetworksError::NotConnected {
                container: short(change.container).to_owned(),
                network: definition.name,
            });
        };
        let site = self.open_site()?;
        let named = || NetworksError::link(&definition.name);
        if !record.published.is_empty() {
            bridge().publish(&site, &id, &endpoint, &[]).map_err(named())?;
            // Wherever the way out leads after this: the ports follow it.
            let rest = self.remaining(change, &known, &now, Some(&definition))?;
            if let Some(next) = rest {
                let next_id = network_id(&next)?;
                bridge()
                    .publish(&site, &next_id, &endpoint, &record.published)
                    .map_err(NetworksError::link(&next.name))?;
            }
        }
        bridge().detach(&site, &id, &endpoint, LinkEnd::Now).map_err(named())?;
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
                let records = slot.iter_mut().flat_map(|state| &mut state.endpoints);
                for record in records.filter(|record| record.id == endpoint) {
                    record.names.clone_from(&names);
                }
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
        let Some(definition) = self.remaining(change, known, &now, None)? else { return Ok(()) };
        let (id, endpoint) = (network_id(&definition)?, EndpointId::new(change.container)?);
        let named = || NetworksError::link(&definition.name);
        let former = now.iter().find(|(state, record)| !record.published.is_empty() && state.id != id);
        if let Some((state, record)) = former {
            bridge().publish(site, &state.id, &endpoint, &[]).map_err(named())?;
            bridge().publish(site, &id, &endpoint, &record.published).map_err(named())?;
        }
        let mut namespace = open_namespace(change.namespace)?;
        bridge().route(site, &id, &mut namespace, &endpoint).map_err(named())
    }

    /// The network that leads out, of those that a container is in but for one.
    fn remaining(
        &self,
        change: &LiveChange<'_>,
        known: &[NetworkDefinition],
        now: &[(NetworkState, EndpointRecord)],
        but: Option<&NetworkDefinition>,
    ) -> Result<Option<NetworkDefinition>, NetworksError> {
        let unspoken = EndpointSettings::default();
        let settings = |definition: &NetworkDefinition| {
            settings_in(known, change.endpoints, &definition.id).unwrap_or(&unspoken)
        };
        let rest: Vec<&NetworkDefinition> = known
            .iter()
            .filter(|one| but.is_none_or(|but| but.id != one.id))
            .filter(|one| now.iter().any(|(state, _)| state.id.as_str() == one.id))
            .collect();
        Ok(way_out(rest.iter().map(|one| (*one, settings(one)))).cloned())
    }
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
        let six = state.six.as_ref().zip(record.address6);
        let six = six.map(|(six, address)| EndpointAddress6 {
            address,
            prefix: six.subnet.prefix(),
            gateway: six.gateway,
        });
        Self {
            network: state.name.clone(),
            network_id: state.id.to_string(),
            endpoint_id: endpoint_id(state.id.as_str(), record.id.as_str()),
            address: Some(EndpointAddress {
                address: record.address,
                prefix: state.subnet.prefix(),
                gateway: state.gateway,
                reach: state.reach,
                mac: record.mac,
                six,
            }),
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

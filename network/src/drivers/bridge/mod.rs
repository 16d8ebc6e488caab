//! A bridge with pairs of links, addresses from a subnet of its own, and a way out behind the host's address.
//!
//! Making a network takes `host.lock` while its subnet is chosen, until the bridge's address stands among the
//! host's, where the next one who chooses sees it. An endpoint is made under the network's lock alone: its address, the
//! rule that guards it, one message for the pair of links (the inner end is born in the namespace), one for the
//! port, and three inside. Its record is written last: a record without a link is one whose namespace is gone, so
//! nothing but the list of links is needed to find what a killed process left.
//!
//! `plan` decides on addresses and names, `links()` makes what was decided.

mod links;
mod plan;

use std::collections::HashSet;

use rbuild_model::network::Protocol;

use crate::driver::{
    Addressing, DefaultRoute, DriverKind, Endpoint, EndpointSpec, LinkEnd, NamespaceNeed, Network,
    NetworkDriver, NetworkSpec, Reach,
};
use crate::error::Error;
use crate::firewall::{self, Firewall, Found, elements};
use crate::names::{EndpointId, EndpointRecord, NetworkFile, NetworkId, NetworkState};
use crate::namespace::Namespace;
use crate::netlink::Departure;
use crate::netlink::socket::{Family, Request, Socket};
use crate::netlink::{conntrack, route};
use crate::ports::Published;
use crate::reclaim::remove_strays;
use crate::site::Site;
pub(crate) use links::{all as all_links, delete_link, links, named_bridges, named_for};

/// The driver `bridge`.
#[derive(Clone, Copy, Debug)]
pub struct Bridge;

impl NetworkDriver for Bridge {
    fn kind(&self) -> DriverKind {
        DriverKind::Bridge
    }

    fn namespace(&self) -> NamespaceNeed {
        NamespaceNeed::Private
    }

    fn ensure(&self, site: &Site, spec: &NetworkSpec) -> Result<Network, Error> {
        site.inside(|| ensure(site, spec))
    }

    fn attach(
        &self,
        site: &Site,
        network: &Network,
        namespace: &mut Namespace,
        spec: &EndpointSpec,
    ) -> Result<Endpoint, Error> {
        site.inside(|| attach(site, network, namespace, spec))
    }

    fn route(
        &self,
        site: &Site,
        network: &NetworkId,
        namespace: &mut Namespace,
        endpoint: &EndpointId,
        routes: DefaultRoute,
    ) -> Result<(), Error> {
        let file = NetworkFile::new(&site.config().runtime, network.clone());
        let state = file.read()?.ok_or_else(|| Error::NotSetUp { network: network.clone() })?;
        let record = state.endpoints.iter().find(|record| record.id == *endpoint);
        let record = record
            .ok_or_else(|| Error::NotAttached { network: network.clone(), endpoint: endpoint.clone() })?;
        links::route(&state, record, namespace, routes)
    }

    fn publish(
        &self,
        site: &Site,
        network: &NetworkId,
        endpoint: &EndpointId,
        published: &[Published],
    ) -> Result<(), Error> {
        site.inside(|| publish(site, network, endpoint, published))
    }

    fn detach(
        &self,
        site: &Site,
        network: &NetworkId,
        endpoint: &EndpointId,
        link: LinkEnd,
    ) -> Result<(), Error> {
        site.inside(|| detach(site, network, endpoint, link))
    }

    fn remove(&self, site: &Site, network: &NetworkId) -> Result<(), Error> {
        site.inside(|| remove(site, network))
    }
}

/// Takes a network away unless it is to be kept, which is asked under the lock of its file: who makes one writes it down and
/// then looks whether it is still there, so that either of both sees the other. Tells whether it is gone.
pub(crate) fn remove_unless(
    site: &Site,
    network: &NetworkId,
    keep: &(dyn Fn(&NetworkId) -> bool + Sync),
) -> Result<bool, Error> {
    remove_if(site, network, &|| !keep(network))
}

fn ensure(site: &Site, spec: &NetworkSpec) -> Result<Network, Error> {
    let file = NetworkFile::new(&site.config().runtime, spec.id.clone());
    if let Some(state) = file.read()? {
        plan::agrees(&state, spec)?;
        if links::find_link(site, &state.bridge)?.is_some_and(|link| link.up) {
            return Ok(network(&state, firewall::bring_up(site)?));
        }
    }
    let _host = site.lock_host()?;
    // Again under the lock, under which the tables may also be taken away.
    let firewall = firewall::bring_up(site)?;
    let state = file.update(|slot| -> Result<NetworkState, Error> {
        if let Some(state) = slot
            && has_lost_subnet(site, state)?
        {
            *slot = None;
        }
        let state = match slot.take() {
            Some(state) => state,
            None => {
                // What is still going of another network has its subnet, or the name of the bridge.
                remove_strays(site)?;
                plan::network(site, spec)?
            }
        };
        plan::agrees(&state, spec)?;
        if links::is_named(site, &state) {
            firewall::forget(site)?;
        }
        // The rules come first: there is no moment in which a bridge is open to all.
        let rules = elements::of_network(&state);
        firewall::add(site, &rules)?;
        let made = bring_up(site, &state);
        if let Err(error) = made {
            // The error that is told is the first; what remains of a network without a file goes with the tables.
            let _ = firewall::remove_present(site, &rules);
            return Err(error);
        }
        *slot = Some(state.clone());
        Ok(state)
    })?;
    // A bridge with a name that people chose needs a way past Docker's filter of its own.
    let firewall = if links::is_named(site, &state) { firewall::bring_up(site)? } else { firewall };
    Ok(network(&state, firewall))
}

/// Has the host forward for a network that leads out, and makes its bridge: one that is up is looked at no further by whoever
/// comes next, so it is the last thing.
fn bring_up(site: &Site, state: &NetworkState) -> Result<(), Error> {
    if state.reach == Reach::Outside {
        links::enable_forwarding(site, state)?;
    }
    match links::find_link(site, &state.bridge)? {
        Some(link) if link.up => Ok(()),
        _ => links::make_bridge(site, state),
    }
}

/// Whether a network has to get another subnet: its bridge is gone, nobody is in it, and somebody else has its subnet by
/// now. So it may be found whose store had been away, and was taken for one that is no more.
fn has_lost_subnet(site: &Site, state: &mut NetworkState) -> Result<bool, Error> {
    if links::find_link(site, &state.bridge)?.is_some() || plan::is_free(site, state)? {
        return Ok(false);
    }
    sweep(site, state, &links(site)?)?;
    let is_lost = state.endpoints.is_empty();
    if is_lost {
        firewall::remove_present(site, &elements::of_network(state))?;
    }
    Ok(is_lost)
}

fn attach(
    site: &Site,
    network: &Network,
    namespace: &mut Namespace,
    spec: &EndpointSpec,
) -> Result<Endpoint, Error> {
    let firewall = firewall::ensure(site)?;
    let file = NetworkFile::new(&site.config().runtime, network.id.clone());
    let endpoint = file.update(|slot| {
        let state = slot.as_mut().ok_or_else(|| Error::NotSetUp { network: network.id.clone() })?;
        let bridge = links::find_link(site, &state.bridge)?.ok_or_else(|| Error::BridgeGone {
            network: state.id.clone(),
            bridge: state.bridge.to_string(),
        })?;
        let record = plan::endpoint(site, state, spec)?;
        // Those of the network, too: somebody may have taken them out while nobody was in it.
        firewall::add(site, &elements::of_all_of(state, &record, firewall.guarding))?;
        let connected = links::connect(site, state, bridge.index, namespace, spec, &record);
        if let Err(error) = connected {
            // The error that is told is the first; what remains is found by `reclaim`.
            let _ = site
                .route()
                .execute(vec![Request::new("remove the link", route::delete_link_named(&record.port))]);
            let rules = elements::of_endpoint(state, &record, firewall.guarding);
            let _ = firewall::remove_present(site, &rules);
            return Err(error);
        }
        let address = state.place(&record);
        // Addresses that were asked for do not move the search for the others.
        if let (None, Some(four), Some(own)) =
            (spec.address, state.families.four_mut(), record.families.four())
        {
            four.cursor = *own;
        }
        if let (None, Some(six), Some(own)) = (spec.address6, state.families.six_mut(), record.families.six())
        {
            six.cursor = *own;
        }
        forget_flows(&record.published);
        state.remember(&record);
        state.endpoints.push(record);
        Ok::<_, Error>(Endpoint { id: spec.id.clone(), address })
    })?;
    let is_in_force = || match firewall::are_of(site, firewall.made)? {
        true => Ok(()),
        // Others made the tables anew before the file told of it.
        false => file.update(|slot| restore(site, slot.as_ref(), &spec.id)).map(drop),
    };
    if let Err(error) = is_in_force() {
        // The error that is told is the first; what remains is found by `reclaim`.
        let _ = detach(site, &network.id, &spec.id, LinkEnd::Now);
        return Err(error);
    }
    Ok(endpoint)
}

/// Puts back what is missing of an endpoint and its network in the sets of the packet filter. The caller holds the network's
/// lock: who takes an endpoint out of it takes its elements out first.
pub(crate) fn restore(
    site: &Site,
    state: Option<&NetworkState>,
    endpoint: &EndpointId,
) -> Result<Found, Error> {
    let Some(state) = state else { return Ok(Found::Whole) };
    let Some(record) = state.endpoints.iter().find(|record| record.id == *endpoint) else {
        return Ok(Found::Whole);
    };
    let guarding = firewall::ensure(site)?.guarding;
    Ok(firewall::restore(site, &elements::of_all_of(state, record, guarding))?)
}

fn publish(
    site: &Site,
    network: &NetworkId,
    endpoint: &EndpointId,
    published: &[Published],
) -> Result<(), Error> {
    firewall::ensure(site)?;
    let file = NetworkFile::new(&site.config().runtime, network.clone());
    file.update(|slot| {
        let state = slot.as_mut().ok_or_else(|| Error::NotSetUp { network: network.clone() })?;
        let Some(at) = state.endpoints.iter().position(|record| record.id == *endpoint) else {
            return Err(Error::NotAttached { network: network.clone(), endpoint: endpoint.clone() });
        };
        firewall::remove_present(site, &elements::of_ports(state, &state.endpoints[at]))?;
        state.endpoints[at].published = published.to_vec();
        firewall::add(site, &elements::of_ports(state, &state.endpoints[at]))?;
        forget_flows(published);
        links::finish_port(site, state, &state.endpoints[at])
    })
}

fn detach(site: &Site, network: &NetworkId, endpoint: &EndpointId, link: LinkEnd) -> Result<(), Error> {
    let file = NetworkFile::new(&site.config().runtime, network.clone());
    if file.read()?.is_none() {
        return Ok(());
    }
    file.update(|slot| {
        let Some(state) = slot else { return Ok(()) };
        let Some(at) = state.endpoints.iter().position(|record| record.id == *endpoint) else {
            return Ok(());
        };
        let record = state.endpoints.remove(at);
        withdraw(site, state, &record, link)
    })
}

fn remove(site: &Site, network: &NetworkId) -> Result<(), Error> {
    remove_if(site, network, &|| true).map(drop)
}

/// Takes a network away if it is to go, as is asked under the lock of its file; tells whether it is gone.
fn remove_if(site: &Site, network: &NetworkId, goes: &dyn Fn() -> bool) -> Result<bool, Error> {
    let file = NetworkFile::new(&site.config().runtime, network.clone());
    if file.read()?.is_none() {
        return Ok(true);
    }
    let removed = file.update(|slot| -> Result<Option<(Option<Departure>, bool)>, Error> {
        let Some(state) = slot else { return Ok(Some((None, false))) };
        if !goes() {
            return Ok(None);
        }
        if !state.endpoints.is_empty() {
            sweep(site, state, &links(site)?)?;
        }
        if !state.endpoints.is_empty() {
            return Err(Error::InUse {
                network: network.clone(),
                endpoints: state.endpoints.iter().map(|record| record.id.to_string()).collect(),
            });
        }
        let departure = links::departure(site, state)?;
        let is_named = links::is_named(site, state);
        if is_named {
            firewall::forget(site)?;
        }
        firewall::remove_present(site, &elements::of_network(state))?;
        *slot = None;
        Ok(Some((departure, is_named)))
    })?;
    let Some((departure, is_named)) = removed else { return Ok(false) };
    // After its file: a bridge that a killed process leaves is nobody's, and found as such; nobody comes into one that goes.
    departure
        .map_or(Ok(()), Departure::go)
        .map_err(Error::kernel(format!("remove the bridge of the network {network}")))?;
    if is_named {
        // Its way past Docker's filter goes too.
        firewall::bring_up(site)?;
    }
    Ok(true)
}

fn network(state: &NetworkState, firewall: Firewall) -> Network {
    let mut warnings = firewall.warnings;
    // What a network does not forward, nobody drops.
    warnings.retain(|warning| match warning {
        firewall::Warning::ForwardingDropped { family, .. } => {
            let has_it = match family.as_str() {
                "ip6" => state.families.six().is_some(),
                _ => state.families.four().is_some(),
            };
            state.reach == Reach::Outside && has_it
        }
        _ => true,
    });
    Network {
        id: state.id.clone(),
        driver: DriverKind::Bridge,
        addressing: Some(Addressing {
            bridge: state.bridge.clone(),
            families: state
                .families
                .as_ref()
                .map(|four| (four.subnet, four.gateway), |six| (six.subnet, six.gateway)),
        }),
        warnings,
    }
}

/// Takes the rules and the link of an endpoint back.
fn withdraw(site: &Site, state: &NetworkState, record: &EndpointRecord, link: LinkEnd) -> Result<(), Error> {
    let guarding = firewall::ensure(site)?.guarding;
    firewall::remove_present(site, &elements::of_endpoint(state, record, guarding))?;
    forget_flows(&record.published);
    match link {
        LinkEnd::WithNamespace => Ok(()),
        LinkEnd::Now => delete_link(site, &record.port),
    }
}

/// Has the kernel forget where the datagrams to ports went that have just been published, or are no more. A flow that
/// it does not forget ends by itself, some time after its last datagram: nothing fails for it.
fn forget_flows(published: &[Published]) {
    let datagrams = published.iter().filter(|published| published.protocol == Protocol::Udp);
    let ports: HashSet<u16> = datagrams.map(|published| published.port).collect();
    if ports.is_empty() {
        return;
    }
    let Ok(mut socket) = Socket::open(Family::Netfilter) else { return };
    let Ok(flows) = socket.dump(&conntrack::list()) else { return };
    let flows = flows.iter().filter_map(|answer| conntrack::read(&answer.body));
    let gone = flows.filter(|flow| ports.contains(&flow.port)).map(|flow| conntrack::forget(&flow));
    for request in gone {
        let _ = socket.execute(vec![request]);
    }
}

/// Forgets the endpoints whose links are gone: their namespaces ended without a word. The caller holds the lock.
pub(crate) fn sweep(site: &Site, state: &mut NetworkState, links: &HashSet<String>) -> Result<usize, Error> {
    let (live, gone): (Vec<_>, Vec<_>) =
        state.endpoints.drain(..).partition(|record| links.contains(record.port.as_str()));
    state.endpoints = live;
    for record in &gone {
        withdraw(site, state, record, LinkEnd::WithNamespace)?;
    }
    Ok(gone.len())
}

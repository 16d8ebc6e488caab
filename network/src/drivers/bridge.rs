//! A bridge with pairs of links, addresses from a subnet of its own, and a way out behind the host's address.
//!
//! Making a network takes `host.lock` while its subnet is chosen, until the bridge's address stands among the
//! host's, where the next one who chooses sees it. An endpoint is made under the network's lock alone: its address, the
//! rule that guards it, one message for the pair of links (the inner end is born in the namespace), one for the
//! port, and three inside. Its record is written last: a record without a link is one whose namespace is gone, so
//! nothing but the list of links is needed to find what a killed process left.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd};

use rustix::io::Errno;

use crate::address::{AddressRange, Mac, choose_subnet};
use crate::driver::{
    Addressing, DefaultRoute, DriverKind, Endpoint, EndpointAddress, EndpointSpec, LinkEnd, NamespaceNeed,
    Network, NetworkDriver, NetworkSpec, PortIsolation, Reach,
};
use crate::error::{Error, FileError};
use crate::firewall::{self, Firewall, elements};
use crate::link::LinkName;
use crate::names::{EndpointId, EndpointRecord, NetworkFile, NetworkId, NetworkState};
use crate::namespace::Namespace;
use crate::netlink::route::{self, Hairpin, Link, LinkIndex, PortTraffic, Veth};
use crate::netlink::socket::{NetlinkError, Request, Socket};
use crate::site::Site;

/// Different names to try for a port before giving up: each is one of 1.6 million.
const NAME_ATTEMPTS: u32 = 16;

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

fn ensure(site: &Site, spec: &NetworkSpec) -> Result<Network, Error> {
    let file = NetworkFile::new(&site.config().runtime, spec.id.clone());
    if let Some(state) = file.read()? {
        agrees(&state, spec)?;
        if find_link(site, &state.bridge)?.is_some_and(|link| link.up) {
            return Ok(network(&state, firewall::ensure(site)?));
        }
    }
    let _host = site.lock_host()?;
    // Again under the lock, under which the tables may also be taken away.
    let firewall = firewall::ensure(site)?;
    let state = file.update(|slot| -> Result<NetworkState, Error> {
        let state = match slot.take() {
            Some(state) => state,
            None => plan(site, spec)?,
        };
        agrees(&state, spec)?;
        if !find_link(site, &state.bridge)?.is_some_and(|link| link.up) {
            make_bridge(site, &state)?;
        }
        firewall::add(site, &elements::of_network(&state))?;
        *slot = Some(state.clone());
        Ok(state)
    })?;
    if state.reach == Reach::Outside {
        enable_forwarding(site)?;
    }
    Ok(network(&state, firewall))
}

fn attach(
    site: &Site,
    network: &Network,
    namespace: &mut Namespace,
    spec: &EndpointSpec,
) -> Result<Endpoint, Error> {
    let firewall = firewall::ensure(site)?;
    let file = NetworkFile::new(&site.config().runtime, network.id.clone());
    file.update(|slot| {
        let state = slot.as_mut().ok_or_else(|| Error::NotSetUp { network: network.id.clone() })?;
        let bridge = find_link(site, &state.bridge)?.ok_or_else(|| Error::BridgeGone {
            network: state.id.clone(),
            bridge: state.bridge.to_string(),
        })?;
        let record = reserve(site, state, spec)?;
        let rules = elements::of_endpoint(state, &record, firewall.guarding);
        firewall::add(site, &rules)?;
        let connected = connect(site, state, bridge.index, namespace, spec, &record);
        if let Err(error) = connected {
            // The error that is told is the first; what remains is found by `reclaim`.
            let _ = site
                .route()
                .execute(vec![Request::new("remove the link", route::delete_link_named(&record.port))]);
            let _ = firewall::remove_present(site, &rules);
            return Err(error);
        }
        let address = EndpointAddress {
            address: record.address,
            prefix: state.subnet.prefix(),
            gateway: state.gateway,
            mac: record.mac,
        };
        state.cursor = record.address;
        state.endpoints.push(record);
        Ok(Endpoint { id: spec.id.clone(), address: Some(address) })
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
    let file = NetworkFile::new(&site.config().runtime, network.clone());
    if file.read()?.is_none() {
        return Ok(());
    }
    file.update(|slot| {
        let Some(state) = slot else { return Ok(()) };
        sweep(site, state, &links(site)?)?;
        if !state.endpoints.is_empty() {
            return Err(Error::InUse {
                network: network.clone(),
                endpoints: state.endpoints.iter().map(|record| record.id.to_string()).collect(),
            });
        }
        delete_link(site, &state.bridge)?;
        firewall::remove_present(site, &elements::of_network(state))?;
        *slot = None;
        Ok(())
    })
}

/// Whether what is set up is what is wanted.
fn agrees(state: &NetworkState, spec: &NetworkSpec) -> Result<(), Error> {
    match spec.subnet {
        Some(asked) if asked != state.subnet => {
            Err(Error::SubnetDiffers { network: spec.id.clone(), existing: state.subnet, asked })
        }
        _ => Ok(()),
    }
}

fn network(state: &NetworkState, firewall: Firewall) -> Network {
    let mut warnings = firewall.warnings;
    if state.reach == Reach::Internal {
        warnings.retain(|warning| !matches!(warning, firewall::Warning::ForwardingDropped { .. }));
    }
    Network {
        id: state.id.clone(),
        driver: DriverKind::Bridge,
        addressing: Some(Addressing {
            bridge: state.bridge.clone(),
            subnet: state.subnet,
            gateway: state.gateway,
        }),
        warnings,
    }
}

/// Decides on a new network's addresses, after a look at the host's.
fn plan(site: &Site, spec: &NetworkSpec) -> Result<NetworkState, Error> {
    let bridge = site.store().bridge(spec.id.as_str());
    let in_use = addresses_in_use(site)?;
    let subnet = match spec.subnet {
        Some(subnet) if in_use.iter().any(|used| subnet.overlaps(*used)) => {
            return Err(Error::SubnetInUse { subnet });
        }
        Some(subnet) => subnet,
        None => choose_subnet(&spec.pools, &in_use).ok_or(Error::PoolsExhausted)?,
    };
    let gateway = spec.gateway.unwrap_or_else(|| subnet.first());
    if !(subnet.first()..=subnet.last()).contains(&gateway) {
        return Err(Error::GatewayOutside { gateway, subnet });
    }
    Ok(NetworkState::new(spec.id.clone(), bridge, subnet, gateway, spec.reach, spec.isolation, spec.mtu))
}

/// The ranges that routes and addresses of the host cover.
fn addresses_in_use(site: &Site) -> Result<Vec<AddressRange>, Error> {
    let mut socket = site.route();
    let act = || Error::kernel("choose a subnet");
    let routes = socket.dump(&Request::new("list the routes", route::list_routes())).map_err(act())?;
    let addresses =
        socket.dump(&Request::new("list the addresses", route::list_addresses())).map_err(act())?;
    let routes = routes.iter().filter_map(|answer| route::read_route(&answer.body));
    Ok(routes.chain(addresses.iter().filter_map(|answer| route::read_host_address(&answer.body))).collect())
}

fn make_bridge(site: &Site, state: &NetworkState) -> Result<(), Error> {
    let act = || Error::kernel(format!("make the bridge {} of the network {}", state.bridge, state.id));
    // One that is there but down, or without its address, is somebody's half-finished work: ours alone by its name.
    delete_link(site, &state.bridge)?;
    let mac = Mac::derived(state.id.as_str(), state.gateway);
    let mut socket = site.route();
    socket
        .execute(vec![Request::new("make a bridge", route::create_bridge(&state.bridge, mac, state.mtu))])
        .map_err(act())?;
    for (setting, value) in [("accept_ra", "0"), ("disable_ipv6", "1")] {
        set(&format!("ipv6/conf/{}/{setting}", state.bridge), value)?;
    }
    let index = link(&mut socket, &state.bridge)
        .map_err(act())?
        .map(|link| link.index)
        .ok_or_else(|| Error::BridgeGone { network: state.id.clone(), bridge: state.bridge.to_string() })?;
    socket
        .execute(vec![
            Request::new(
                "name the owner of a bridge",
                route::set_alias(index, &format!("rbuild {}", state.id)),
            ),
            Request::new(
                "give the bridge its address",
                route::add_address(index, state.gateway, state.subnet),
            ),
        ])
        .map_err(act())
}

/// Chooses the addresses of an endpoint.
fn reserve(site: &Site, state: &mut NetworkState, spec: &EndpointSpec) -> Result<EndpointRecord, Error> {
    if state.endpoints.iter().any(|record| record.id == spec.id) {
        // Left by a process that was killed? Then its link went with its namespace.
        sweep(site, state, &links(site)?)?;
        if state.endpoints.iter().any(|record| record.id == spec.id) {
            return Err(Error::EndpointExists { network: state.id.clone(), endpoint: spec.id.clone() });
        }
    }
    let address = match spec.address {
        Some(address) => claim(state, spec, address)?,
        None => match state.next_address() {
            Some(address) => address,
            None => {
                sweep(site, state, &links(site)?)?;
                state.next_address().ok_or_else(|| Error::AddressesExhausted {
                    network: state.id.clone(),
                    subnet: state.subnet,
                })?
            }
        },
    };
    Ok(EndpointRecord {
        id: spec.id.clone(),
        port: port_name(site, state, spec)?,
        address,
        mac: spec.mac.unwrap_or_else(|| Mac::derived(state.id.as_str(), address)),
        guard: spec.guard,
        names: spec.names.clone(),
        published: spec.published.clone(),
    })
}

/// A name for the port that no link has.
fn port_name(site: &Site, state: &NetworkState, spec: &EndpointSpec) -> Result<LinkName, Error> {
    let id = format!("{}/{}", state.id, spec.id);
    for attempt in 0..NAME_ATTEMPTS {
        let name = site.store().port(&id, attempt);
        let recorded = state.endpoints.iter().any(|record| record.port == name);
        if !recorded && find_link(site, &name)?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::EndpointExists { network: state.id.clone(), endpoint: spec.id.clone() })
}

fn claim(state: &NetworkState, spec: &EndpointSpec, address: Ipv4Addr) -> Result<Ipv4Addr, Error> {
    let holder = state.endpoints.iter().find(|record| record.address == address);
    let reason = if !(state.subnet.first()..=state.subnet.last()).contains(&address) {
        "it lies outside".to_owned()
    } else if address == state.gateway {
        "it is the gateway's".to_owned()
    } else if let Some(holder) = holder {
        format!("`{}` has it", holder.id)
    } else {
        return Ok(address);
    };
    Err(Error::AddressRefused { address, endpoint: spec.id.clone(), subnet: state.subnet, reason })
}

/// Makes the links of an endpoint and sets up its end in the namespace.
fn connect(
    site: &Site,
    state: &NetworkState,
    bridge: LinkIndex,
    namespace: &mut Namespace,
    spec: &EndpointSpec,
    record: &EndpointRecord,
) -> Result<(), Error> {
    let act = || Error::kernel(format!("attach `{}` to the network {}", spec.id, state.id));
    let traffic = match state.isolation {
        PortIsolation::Shared => PortTraffic::Free,
        PortIsolation::Isolated => PortTraffic::Isolated,
    };
    let hairpin = if record.published.is_empty() { Hairpin::Off } else { Hairpin::On };
    let veth = Veth {
        port: &record.port,
        bridge,
        inner: &spec.link,
        mac: record.mac,
        mtu: state.mtu,
        namespace: namespace.as_fd().as_raw_fd(),
    };
    let alias: String = format!("rbuild {} {}", state.id, spec.id).chars().take(255).collect();
    site.route()
        .execute(vec![
            Request::new("make a pair of links", route::create_veth(&veth)),
            Request::new(
                "set up the port of a bridge",
                route::finish_port(&record.port, &alias, traffic, hairpin),
            ),
        ])
        .map_err(act())?;
    let socket = namespace.route();
    let inner = link(socket, &spec.link).map_err(act())?.ok_or_else(|| Error::Kernel {
        act: format!("attach `{}` to the network {}", spec.id, state.id),
        source: NetlinkError::Malformed { what: "the new link is not in the namespace" },
    })?;
    let mut requests = vec![
        Request::new(
            "give a link its address",
            route::add_address(inner.index, record.address, state.subnet),
        ),
        Request::new("bring a link up", route::set_up(inner.index)),
    ];
    if spec.default_route == DefaultRoute::Yes && state.reach == Reach::Outside {
        requests.push(Request::new(
            "set the default route",
            route::add_default_route(inner.index, state.gateway),
        ));
    }
    socket.execute(requests).map_err(act())
}

/// Takes the rules and the link of an endpoint back.
fn withdraw(site: &Site, state: &NetworkState, record: &EndpointRecord, link: LinkEnd) -> Result<(), Error> {
    let guarding = firewall::ensure(site)?.guarding;
    firewall::remove_present(site, &elements::of_endpoint(state, record, guarding))?;
    match link {
        LinkEnd::WithNamespace => Ok(()),
        LinkEnd::Now => delete_link(site, &record.port),
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

/// The names of all links of the store.
pub(crate) fn links(site: &Site) -> Result<HashSet<String>, Error> {
    let prefix = site.store().links();
    let answers = site
        .route()
        .dump(&Request::new("list the links", route::list_links()))
        .map_err(Error::kernel("list the links of this host"))?;
    let links = answers.iter().filter_map(|answer| route::read_link(&answer.body)).map(|link| link.name);
    Ok(links.filter(|name| name.starts_with(&prefix)).collect())
}

/// Removes a link of ours that may be gone already.
pub(crate) fn delete_link(site: &Site, name: &LinkName) -> Result<(), Error> {
    let outcome = site.route().execute(vec![Request::new("remove a link", route::delete_link_named(name))]);
    match outcome {
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(()),
        outcome => outcome.map_err(Error::kernel(format!("remove the link {name}"))),
    }
}

fn find_link(site: &Site, name: &LinkName) -> Result<Option<Link>, Error> {
    link(&mut site.route(), name).map_err(Error::kernel(format!("look at the link {name}")))
}

fn link(socket: &mut Socket, name: &LinkName) -> Result<Option<Link>, NetlinkError> {
    match socket.query(Request::new("show a link", route::get_link(name))) {
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
        answer => route::read_link(&answer?.body).map(Some).ok_or(NetlinkError::Malformed { what: "a link" }),
    }
}

/// Lets the host forward packets, if it does not, and notes that it was us.
fn enable_forwarding(site: &Site) -> Result<(), Error> {
    const SETTING: &str = "/proc/sys/net/ipv4/ip_forward";
    let path = std::path::Path::new(SETTING);
    let value = fs::read_to_string(path).map_err(|source| FileError::new("read", path, source))?;
    if value.trim() != "0" {
        return Ok(());
    }
    let note = site.config().runtime.join("forwarding");
    fs::write(&note, "net.ipv4.ip_forward was 0\n")
        .map_err(|source| FileError::new("write", &note, source))?;
    fs::write(path, "1").map_err(|source| FileError::new("write", path, source))?;
    Ok(())
}

/// Changes a setting of the kernel; a kernel without it needs no change.
fn set(setting: &str, value: &str) -> Result<(), Error> {
    let path = std::path::Path::new("/proc/sys/net").join(setting);
    match fs::write(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => Ok(outcome.map_err(|source| FileError::new("write", &path, source))?),
    }
}

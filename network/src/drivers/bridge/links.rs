//! The links of a bridge, and the settings of the kernel that go with them.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use rustix::io::Errno;

use crate::address::{Subnet, derived_mac};
use crate::driver::{DefaultRoute, EndpointSpec, PortIsolation, Reach};
use crate::error::{Error, FileError};
use crate::families::Families;
use crate::link::{LinkName, StorePrefix};
use crate::names::{EndpointRecord, NetworkId, NetworkState};
use crate::namespace::Namespace;
use crate::netlink::Departure;
use crate::netlink::route::{self, Hairpin, Link, LinkIndex, PortTraffic, Veth};
use crate::netlink::socket::{NetlinkError, Request, Socket};
use crate::site::Site;

pub(super) fn make_bridge(site: &Site, state: &NetworkState) -> Result<(), Error> {
    let act = || Error::kernel(format!("make the bridge {} of the network {}", state.bridge, state.id));
    // One that is there but down, or without its address, is somebody's half-finished work: ours by its name, or, where
    // people chose that, by what it says of itself.
    if is_named(site, state) {
        free_name(site, &state.id, &state.bridge)?;
    }
    delete_link(site, &state.bridge)?;
    // Of an address that no endpoint has: the gateway's may be one's where the bridge has none.
    let base = match &state.families {
        Families::Four(four) | Families::Both(four, _) => IpAddr::from(four.subnet.base()),
        Families::Six(six) => IpAddr::from(six.subnet.base()),
    };
    let mac = derived_mac(state.id.as_str(), base);
    let mut socket = site.route();
    let alias = alias(site, &state.id, &state.bridge);
    socket
        .execute(vec![
            Request::new("make a bridge", route::create_bridge(&state.bridge, mac, state.mtu)),
            Request::new("name the owner of a bridge", route::set_alias(&state.bridge, &alias)),
        ])
        .map_err(act())?;
    let without_six = if state.families.six().is_some() { "0" } else { "1" };
    for (setting, value) in [("accept_ra", "0"), ("disable_ipv6", without_six)] {
        set(&format!("ipv6/conf/{}/{setting}", state.bridge), value)?;
    }
    let index = link(&mut socket, &state.bridge)
        .map_err(act())?
        .map(|link| link.index)
        .ok_or_else(|| Error::BridgeGone { network: state.id.clone(), bridge: state.bridge.to_string() })?;
    let four = state.families.four().zip(state.bridge_address()).map(|(four, own)| {
        Request::new("give the bridge its address", route::add_address(index, own, four.subnet))
    });
    let six = state.families.six().zip(state.bridge_address6()).map(|(six, own)| {
        let message = route::add_address6(index, own, six.subnet.prefix());
        Request::new("give the bridge its IPv6 address", message)
    });
    socket.execute(four.into_iter().chain(six).collect()).map_err(act())
}

/// Whether people chose what a bridge is called.
pub(super) fn is_named(site: &Site, state: &NetworkState) -> bool {
    !site.store().owns(state.bridge.as_str())
}

/// What a bridge says of itself. What is called by ourselves says by its name which store it belongs to.
fn alias(site: &Site, network: &NetworkId, bridge: &LinkName) -> String {
    let store = site.store();
    match store.owns(bridge.as_str()) {
        true => format!("rbuild {network}"),
        false => format!("rbuild {} {network}", store.as_str()),
    }
}

/// Checks a name that people chose: no other link may have it, nor may it look like one of ours. It gets into rules, so
/// it has no signs that mean something there.
pub(super) fn free_name(site: &Site, network: &NetworkId, name: &LinkName) -> Result<(), Error> {
    let refused = |reason: &str| {
        let (network, bridge, reason) = (network.clone(), name.to_string(), reason.to_owned());
        Err(Error::BridgeRefused { network, bridge, reason })
    };
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    let text = name.as_str();
    if !text.bytes().all(is_plain) || !text.as_bytes()[0].is_ascii_alphanumeric() {
        return refused("a name has letters, digits, `_`, `.` and `-`, and begins with a letter or digit");
    }
    if site.store().owns(text) {
        return refused("names that begin so are the program's own");
    }
    match find_link(site, name)? {
        Some(link) if !is_own(site, network, &link) => refused("an interface of this name exists"),
        _ => Ok(()),
    }
}

/// Whether a link is the bridge of a network.
fn is_own(site: &Site, network: &NetworkId, link: &Link) -> bool {
    LinkName::new(&link.name).is_ok_and(|name| link.alias == Some(alias(site, network, &name)))
}

/// The bridge of a network, to be taken away. One that somebody else made under a name that people chose stays.
pub(super) fn departure(site: &Site, state: &NetworkState) -> Result<Option<Departure>, Error> {
    let act = || Error::kernel(format!("remove the link {}", state.bridge));
    if !is_named(site, state) {
        return Departure::of(&state.bridge).map_err(act());
    }
    let own = find_link(site, &state.bridge)?.filter(|link| is_own(site, &state.id, link));
    own.map(|link| Departure::of_link(link.index)).transpose().map_err(act())
}

/// The bridges of the store whose names people chose, each with its network.
pub(crate) fn named_bridges(site: &Site) -> Result<Vec<(LinkName, String)>, Error> {
    let named = |link: &Link| {
        let (store, network) = named_for(link)?;
        (store == site.store()).then_some((LinkName::new(&link.name).ok()?, network.to_owned()))
    };
    Ok(all(site)?.iter().filter_map(named).collect())
}

/// The store and network of a bridge whose name people chose.
pub(crate) fn named_for(link: &Link) -> Option<(StorePrefix, &str)> {
    let (store, network) = link.alias.as_deref()?.strip_prefix("rbuild ")?.split_once(' ')?;
    // Ports say which network they are of, and its id may look like a store.
    (link.kind.as_deref() == Some("bridge")).then_some((StorePrefix::new(store).ok()?, network))
}

/// Makes the links of an endpoint and sets up its end in the namespace.
pub(super) fn connect(
    site: &Site,
    state: &NetworkState,
    bridge: LinkIndex,
    namespace: &mut Namespace,
    spec: &EndpointSpec,
    record: &EndpointRecord,
) -> Result<(), Error> {
    let act = || Error::kernel(format!("attach `{}` to the network {}", spec.id, state.name));
    let veth = Veth {
        port: &record.port,
        bridge,
        inner: &spec.link,
        mac: record.mac,
        mtu: state.mtu,
        namespace: namespace.as_fd().as_raw_fd(),
    };
    site.route()
        .execute(vec![
            Request::new("make a pair of links", route::create_veth(&veth)),
            port_request(state, record),
        ])
        .map_err(act())?;
    if record.families.six().is_some() {
        namespace.allow_ipv6(&spec.link)?;
    }
    namespace.set_link(&spec.link, &spec.settings)?;
    let inner = inner_link(state, record, namespace)?;
    let mut requests = Vec::new();
    if let (Some(four), Some(address)) = (state.families.four(), record.families.four()) {
        requests.push(Request::new(
            "give a link its address",
            route::add_address(inner.index, *address, four.subnet),
        ));
    }
    requests.push(Request::new("bring a link up", route::set_up(inner.index)));
    if let (Some(six), Some(address)) = (state.families.six(), record.families.six()) {
        requests.push(Request::new(
            "give a link its IPv6 address",
            route::add_address6(inner.index, *address, six.subnet.prefix()),
        ));
    }
    requests.extend(record.link_local.iter().map(|address| {
        let message = match address {
            IpAddr::V4(address) => route::add_address(inner.index, *address, link_local_range()),
            IpAddr::V6(address) => route::add_address6(inner.index, *address, LINK_LOCAL_PREFIX_6),
        };
        Request::new("give a link a link-local address", message)
    }));
    requests.extend(default_routes(state, record, inner.index, spec.default_route));
    namespace.route().execute(requests).map_err(act())
}

/// The addresses of IPv4 that hold on one link only (RFC 3927).
fn link_local_range() -> Subnet {
    Subnet::new(Ipv4Addr::new(169, 254, 0, 0), 16).expect("a range of unicast addresses")
}

const LINK_LOCAL_PREFIX_6: u8 = 64;

/// Sends whatever of some family has no other way through an endpoint's network.
pub(super) fn route(
    state: &NetworkState,
    record: &EndpointRecord,
    namespace: &mut Namespace,
    routes: DefaultRoute,
) -> Result<(), Error> {
    let inner = inner_link(state, record, namespace)?;
    namespace
        .route()
        .execute(default_routes(state, record, inner.index, routes))
        .map_err(Error::kernel(format!("send `{}` through the network {}", record.id, state.name)))
}

fn default_routes(
    state: &NetworkState,
    record: &EndpointRecord,
    inner: LinkIndex,
    routes: DefaultRoute,
) -> Vec<Request> {
    if state.reach == Reach::Internal {
        return Vec::new();
    }
    let Some(place) = state.place(record) else { return Vec::new() };
    let gateways = place.families.map(|four| four.gateway, |six| six.gateway);
    gateways
        .addresses()
        .filter(|gateway| routes.is_of(*gateway))
        .map(|gateway| Request::new("set the default route", route::set_default_route(inner, gateway)))
        .collect()
}

/// Sets the port of an endpoint to what its record says.
pub(super) fn finish_port(site: &Site, state: &NetworkState, record: &EndpointRecord) -> Result<(), Error> {
    site.route()
        .execute(vec![port_request(state, record)])
        .map_err(Error::kernel(format!("set up the port {} of the network {}", record.port, state.name)))
}

fn port_request(state: &NetworkState, record: &EndpointRecord) -> Request {
    let traffic = match state.isolation {
        PortIsolation::Shared => PortTraffic::Free,
        PortIsolation::Isolated => PortTraffic::Isolated,
    };
    let hairpin = if record.published.is_empty() { Hairpin::Off } else { Hairpin::On };
    let alias: String = format!("rbuild {} {}", state.id, record.id).chars().take(255).collect();
    Request::new("set up the port of a bridge", route::finish_port(&record.port, &alias, traffic, hairpin))
}

fn inner_link(
    state: &NetworkState,
    record: &EndpointRecord,
    namespace: &mut Namespace,
) -> Result<Link, Error> {
    let act = format!("attach `{}` to the network {}", record.id, state.name);
    link(namespace.route(), &record.link).map_err(Error::kernel(act.clone()))?.ok_or_else(|| Error::Kernel {
        act,
        source: NetlinkError::Malformed { what: "the link is not in the namespace" },
    })
}

/// The names of all links of the store.
pub(crate) fn links(site: &Site) -> Result<HashSet<String>, Error> {
    Ok(all(site)?.into_iter().map(|link| link.name).filter(|name| site.store().owns(name)).collect())
}

/// All links of the host.
pub(crate) fn all(site: &Site) -> Result<Vec<Link>, Error> {
    let answers = site
        .route()
        .dump(&Request::new("list the links", route::list_links()))
        .map_err(Error::kernel("list the links of this host"))?;
    Ok(answers.iter().filter_map(|answer| route::read_link(&answer.body)).collect())
}

/// Removes a link of ours that may be gone already.
pub(crate) fn delete_link(site: &Site, name: &LinkName) -> Result<(), Error> {
    let outcome = site.route().execute(vec![Request::new("remove a link", route::delete_link_named(name))]);
    match outcome {
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(()),
        outcome => outcome.map_err(Error::kernel(format!("remove the link {name}"))),
    }
}

pub(super) fn find_link(site: &Site, name: &LinkName) -> Result<Option<Link>, Error> {
    link(&mut site.route(), name).map_err(Error::kernel(format!("look at the link {name}")))
}

fn link(socket: &mut Socket, name: &LinkName) -> Result<Option<Link>, NetlinkError> {
    match socket.query(Request::new("show a link", route::get_link(name))) {
        Err(error) if error.errno() == Some(Errno::NODEV) => Ok(None),
        answer => route::read_link(&answer?.body).map(Some).ok_or(NetlinkError::Malformed { what: "a link" }),
    }
}

/// Lets the host forward packets, if it does not, and notes that it was us.
pub(super) fn enable_forwarding(site: &Site, state: &NetworkState) -> Result<(), Error> {
    if state.families.four().is_some() {
        enable(site, "ipv4/ip_forward")?;
    }
    if state.families.six().is_some() {
        // A host that forwards IPv6 takes no more advice from routers, and would lose its own way out, unless each link
        // is told to take it all the same.
        const LINKS: &str = "/proc/sys/net/ipv6/conf";
        let links = Path::new(LINKS);
        let entries = fs::read_dir(links).map_err(|source| FileError::new("list", links, source))?;
        for entry in entries.flatten() {
            let path = entry.path().join("accept_ra");
            // A link may go at any time, and nothing of it then needs to be set.
            if fs::read_to_string(&path).is_ok_and(|value| value.trim() == "1") {
                let _ = fs::write(&path, "2");
            }
        }
        enable(site, "ipv6/conf/all/forwarding")?;
    }
    Ok(())
}

fn enable(site: &Site, setting: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys/net").join(setting);
    let value = fs::read_to_string(&path).map_err(|source| FileError::new("read", &path, source))?;
    if value.trim() != "0" {
        return Ok(());
    }
    let note = site.config().runtime.join("forwarding");
    let before = fs::read_to_string(&note).unwrap_or_default();
    fs::write(&note, format!("{before}net.{} was 0\n", setting.replace('/', ".")))
        .map_err(|source| FileError::new("write", &note, source))?;
    Ok(fs::write(&path, "1").map_err(|source| FileError::new("write", &path, source))?)
}

/// Changes a setting of the kernel; a kernel without it needs no change.
fn set(setting: &str, value: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys/net").join(setting);
    match fs::write(&path, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => Ok(outcome.map_err(|source| FileError::new("write", &path, source))?),
    }
}

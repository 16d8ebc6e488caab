//! What a network or an endpoint is to be: addresses and names, chosen after a look at what there is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{AddressRange, Subnet, choose_subnet, derived_mac};
use crate::address6::Subnet6;
use crate::driver::{EndpointSpec, FourSpec, NetworkSpec, SixSpec};
use crate::error::Error;
use crate::families::Families;
use crate::link::LinkName;
use crate::names::{EndpointRecord, FourState, NetworkState, Presence, SixState};
use crate::netlink::route::{self, IpFamily};
use crate::netlink::socket::Request;
use crate::reclaim::reclaim_abandoned;
use crate::site::Site;

/// Different names to try for a port before giving up: each is one of 1.6 million.
const NAME_ATTEMPTS: u32 = 16;

/// Whether what is set up is what is wanted.
pub(super) fn agrees(state: &NetworkState, spec: &NetworkSpec) -> Result<(), Error> {
    let differs = |existing: String, asked: String| {
        Err(Error::SubnetDiffers { network: spec.id.clone(), existing, asked })
    };
    match (spec.families.four(), state.families.four()) {
        (Some(FourSpec { subnet: Some(asked), .. }), Some(four)) if *asked != four.subnet => {
            return differs(four.subnet.to_string(), asked.to_string());
        }
        (Some(_), None) => return differs("none of IPv4".to_owned(), "one of IPv4".to_owned()),
        _ => {}
    }
    match (spec.families.six(), state.families.six()) {
        (Some(SixSpec { subnet: Some(asked), .. }), Some(six)) if *asked != six.subnet => {
            differs(six.subnet.to_string(), asked.to_string())
        }
        (Some(_), None) => differs("none of IPv6".to_owned(), "one of IPv6".to_owned()),
        _ => Ok(()),
    }
}

/// Decides on a new network's addresses, after a look at the host's.
pub(super) fn network(site: &Site, spec: &NetworkSpec) -> Result<NetworkState, Error> {
    let bridge = match &spec.bridge {
        Some(name) => {
            super::links::free_name(site, &spec.id, name)?;
            name.clone()
        }
        None => site.store().bridge(spec.id.as_str()),
    };
    // Stores that are no more may hold its subnet, or have rules for it: those would hide its endpoints from each other behind
    // the host's address. What of theirs cannot be taken away stays in the way.
    reclaim_abandoned(site);
    let wanted = spec.families.as_ref();
    let families = wanted.try_map(|four| plan_four(site, spec, four), |six| plan_six(site, spec, six))?;
    let mut state =
        NetworkState::new(spec.id.clone(), bridge, families, spec.reach, spec.isolation, spec.mtu);
    state.name.clone_from(&spec.name);
    state.masquerade = spec.masquerade;
    state.gateways = spec.gateways;
    state.names = spec.names;
    Ok(state)
}

/// The subnet that is asked for, or else one of the pools, if nothing of the host is in its way.
fn subnet(site: &Site, spec: &NetworkSpec, four: &FourSpec) -> Result<Subnet, Error> {
    let mut in_use = in_use(site, IpFamily::Four)?;
    in_use.extend(&spec.taken);
    match four.subnet {
        Some(subnet) => free(subnet.into(), &in_use, || subnet.to_string()).map(|()| subnet),
        None => {
            let own = &site.config().pools;
            let pools = if own.is_empty() { &spec.pools } else { own };
            choose_subnet(pools, &in_use).ok_or(Error::PoolsExhausted)
        }
    }
}

/// Whether no route or address of the host is in the way of a network whose bridge is not there.
pub(super) fn is_free(site: &Site, state: &NetworkState) -> Result<bool, Error> {
    for range in state.ranges() {
        let family = if range.first().is_ipv4() { IpFamily::Four } else { IpFamily::Six };
        if free(range, &in_use(site, family)?, String::new).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn plan_four(site: &Site, spec: &NetworkSpec, four: &FourSpec) -> Result<FourState, Error> {
    let subnet = subnet(site, spec, four)?;
    let gateway = four.gateway.unwrap_or_else(|| subnet.first());
    if !(subnet.first()..=subnet.last()).contains(&gateway) {
        return Err(outside("gateway", gateway, subnet));
    }
    if let Some(range) = four.range
        && !(subnet.contains(range.base()) && subnet.contains(range.broadcast()))
    {
        return Err(outside("range", range, subnet));
    }
    if let Some(address) = four.reserved.iter().find(|address| !subnet.contains(**address)) {
        return Err(outside("auxiliary address", *address, subnet));
    }
    let reserved = four.reserved.clone();
    Ok(FourState { range: four.range, reserved, ..FourState::new(subnet, gateway) })
}

fn plan_six(site: &Site, spec: &NetworkSpec, six: &SixSpec) -> Result<SixState, Error> {
    let mut in_use = in_use(site, IpFamily::Six)?;
    in_use.extend(&spec.taken);
    let subnet = six.subnet.unwrap_or_else(|| Subnet6::derived(site.store(), spec.id.as_str()));
    free(subnet.into(), &in_use, || subnet.to_string())?;
    let gateway = six.gateway.unwrap_or_else(|| subnet.first());
    if !subnet.contains(gateway) || gateway == subnet.base() {
        return Err(outside("gateway", gateway, subnet));
    }
    if let Some(range) = six.range
        && !(subnet.contains(range.base()) && subnet.contains(range.last()))
    {
        return Err(outside("range", range, subnet));
    }
    if let Some(address) = six.reserved.iter().find(|address| !subnet.contains(**address)) {
        return Err(outside("auxiliary address", *address, subnet));
    }
    let reserved = six.reserved.clone();
    Ok(SixState { range: six.range, reserved, ..SixState::new(subnet, gateway) })
}

fn outside(what: &'static str, value: impl ToString, subnet: impl ToString) -> Error {
    Error::Outside { what, value: value.to_string(), subnet: subnet.to_string() }
}

fn free(subnet: AddressRange, in_use: &[AddressRange], text: impl FnOnce() -> String) -> Result<(), Error> {
    // The widest says most: of a network of the host its addresses stand in the list as well.
    let in_its_way = in_use.iter().filter(|used| subnet.overlaps(**used)).min_by_key(|used| used.prefix());
    match in_its_way {
        Some(used) => Err(Error::SubnetInUse { subnet: text(), used: *used }),
        None => Ok(()),
    }
}

/// The ranges that routes and addresses of the host cover.
fn in_use(site: &Site, family: IpFamily) -> Result<Vec<AddressRange>, Error> {
    let mut socket = site.route();
    let act = || Error::kernel("choose a subnet");
    let routes = socket.dump(&Request::new("list the routes", route::list_routes(family))).map_err(act())?;
    let addresses =
        socket.dump(&Request::new("list the addresses", route::list_addresses(family))).map_err(act())?;
    let routes = routes.iter().filter_map(|answer| route::read_route(&answer.body));
    Ok(routes.chain(addresses.iter().filter_map(|answer| route::read_host_address(&answer.body))).collect())
}

/// Chooses the addresses of an endpoint and the name of its port.
pub(super) fn endpoint(
    site: &Site,
    state: &mut NetworkState,
    spec: &EndpointSpec,
) -> Result<EndpointRecord, Error> {
    if state.endpoints.iter().any(|record| record.id == spec.id) {
        // Left by a process that was killed? Then its link went with its namespace.
        super::sweep(site, state, &super::links(site)?)?;
        if state.endpoints.iter().any(|record| record.id == spec.id) {
            return Err(Error::EndpointExists { network: state.id.clone(), endpoint: spec.id.clone() });
        }
    }
    let families = match state.families {
        Families::Four(_) => Families::Four(four(site, state, spec)?),
        Families::Six(_) => Families::Six(six(site, state, spec)?),
        Families::Both(..) => Families::Both(four(site, state, spec)?, six(site, state, spec)?),
    };
    let wanted = [spec.address.map(IpAddr::from), spec.address6.map(IpAddr::from)];
    if let Some(address) = wanted.into_iter().flatten().find(|address| !families.has(*address)) {
        let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
        return Err(refused(state, spec, address, format!("the network has no {family}")));
    }
    Ok(EndpointRecord {
        id: spec.id.clone(),
        port: port_name(site, state, spec)?,
        link: spec.link.clone(),
        families,
        link_local: spec.link_local.clone(),
        mac: spec.mac.unwrap_or_else(|| derived_mac(state.id.as_str(), families.first())),
        guard: spec.guard,
        names: spec.names.clone(),
        private_names: spec.private_names.clone(),
        presence: Presence::Running,
        published: spec.published.clone(),
    })
}

fn four(site: &Site, state: &mut NetworkState, spec: &EndpointSpec) -> Result<Ipv4Addr, Error> {
    if let Some(address) = spec.address {
        let is_inside = |own: &FourState| (own.subnet.first()..=own.subnet.last()).contains(&address);
        let inside = state.families.four().is_some_and(is_inside);
        claim(state, spec, address.into(), Place::of(inside, Some(address) == state.bridge_address()))?;
        return Ok(address);
    }
    if let Some(address) = state.next_address(spec.names.first()) {
        return Ok(address);
    }
    super::sweep(site, state, &super::links(site)?)?;
    state.next_address(spec.names.first()).ok_or_else(|| {
        let range = |four: &FourState| four.range.unwrap_or(four.subnet).to_string();
        exhausted(state, state.families.four().map(range))
    })
}

fn six(site: &Site, state: &mut NetworkState, spec: &EndpointSpec) -> Result<Ipv6Addr, Error> {
    if let Some(address) = spec.address6 {
        let is_inside = |own: &SixState| own.subnet.contains(address) && address != own.subnet.base();
        let inside = state.families.six().is_some_and(is_inside);
        claim(state, spec, address.into(), Place::of(inside, Some(address) == state.bridge_address6()))?;
        return Ok(address);
    }
    if let Some(address) = state.next_address6(spec.names.first()) {
        return Ok(address);
    }
    super::sweep(site, state, &super::links(site)?)?;
    state.next_address6(spec.names.first()).ok_or_else(|| {
        let range = |six: &SixState| six.range.unwrap_or(six.subnet).to_string();
        exhausted(state, state.families.six().map(range))
    })
}

fn exhausted(state: &NetworkState, range: Option<String>) -> Error {
    Error::AddressesExhausted { network: state.id.clone(), subnet: range.unwrap_or_default() }
}

fn refused(state: &NetworkState, spec: &EndpointSpec, address: IpAddr, reason: String) -> Error {
    let subnet = state.subnet_text(address);
    Error::AddressRefused { address, endpoint: spec.id.clone(), subnet, reason }
}

/// Where an address that was asked for lies.
#[derive(Clone, Copy)]
enum Place {
    Outside,
    Gateway,
    Within,
}

impl Place {
    fn of(inside: bool, is_gateway: bool) -> Self {
        match (inside, is_gateway) {
            (false, _) => Self::Outside,
            (true, true) => Self::Gateway,
            (true, false) => Self::Within,
        }
    }
}

/// Whether an address that was asked for can be had.
fn claim(state: &NetworkState, spec: &EndpointSpec, address: IpAddr, place: Place) -> Result<(), Error> {
    let holder = state.endpoints.iter().find(|record| record.addresses().any(|own| own == address));
    let reason = match (place, holder) {
        (Place::Outside, _) => "it lies outside".to_owned(),
        (Place::Gateway, _) => "it is the gateway's".to_owned(),
        (Place::Within, Some(holder)) => format!("`{}` has it", holder.id),
        (Place::Within, None) if state.is_reserved(address) => {
            "it is reserved as an auxiliary address".to_owned()
        }
        (Place::Within, None) => return Ok(()),
    };
    Err(refused(state, spec, address, reason))
}

/// A name for the port that no link has.
fn port_name(site: &Site, state: &NetworkState, spec: &EndpointSpec) -> Result<LinkName, Error> {
    let id = format!("{}/{}", state.id, spec.id);
    for attempt in 0..NAME_ATTEMPTS {
        let name = site.store().port(&id, attempt);
        let recorded = state.endpoints.iter().any(|record| record.port == name);
        if !recorded && super::links::find_link(site, &name)?.is_none() {
            return Ok(name);
        }
    }
    Err(Error::EndpointExists { network: state.id.clone(), endpoint: spec.id.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::driver::{PortIsolation, Reach};
    use crate::names::{EndpointId, NetworkId};

    #[test]
    fn reserved_addresses_are_not_given_to_who_asks_for_them() {
        let subnet: Subnet = "10.9.8.0/24".parse().unwrap();
        let bridge = LinkName::new("rbdeadbeefbtest").unwrap();
        let id = NetworkId::new("net").unwrap();
        let four = FourState {
            reserved: vec![Ipv4Addr::new(10, 9, 8, 7)],
            ..FourState::new(subnet, subnet.first())
        };
        let families = Families::Four(four);
        let state = NetworkState::new(id, bridge, families, Reach::Outside, PortIsolation::Shared, 1500);
        let spec = EndpointSpec::new(EndpointId::new("e").unwrap());
        let claimed = |last: u8| {
            let address = IpAddr::from([10, 9, 8, last]);
            claim(&state, &spec, address, Place::Within).map_err(|error| error.to_string())
        };
        assert_eq!(claimed(8), Ok(()));
        let told = claimed(7).unwrap_err();
        assert!(told.contains("10.9.8.7") && told.contains("auxiliary address"), "{told}");
    }
}

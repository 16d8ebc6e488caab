//! What a network or an endpoint is to be: addresses and names, chosen after a look at what there is.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::address::{AddressRange, Subnet, choose_subnet, derived_mac};
use crate::address6::Subnet6;
use crate::driver::{EndpointSpec, NetworkSpec, SixSpec};
use crate::error::Error;
use crate::link::LinkName;
use crate::names::{EndpointRecord, NetworkState, Presence, SixState};
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
    match spec.subnet {
        Some(asked) if asked != state.subnet => return differs(state.subnet.to_string(), asked.to_string()),
        _ => {}
    }
    match (&spec.six, &state.six) {
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
    let subnet = match subnet(site, spec) {
        Err(Error::SubnetInUse { .. } | Error::PoolsExhausted) => {
            // Stores that are no more may hold it. What of theirs cannot be taken away stays in the way.
            reclaim_abandoned(site);
            subnet(site, spec)?
        }
        found => found?,
    };
    let gateway = spec.gateway.unwrap_or_else(|| subnet.first());
    if !(subnet.first()..=subnet.last()).contains(&gateway) {
        return Err(outside("gateway", gateway, subnet));
    }
    if let Some(range) = spec.range
        && !(subnet.contains(range.base()) && subnet.contains(range.broadcast()))
    {
        return Err(outside("range", range, subnet));
    }
    if let Some(address) = spec.reserved.iter().find(|address| !subnet.contains(**address)) {
        return Err(outside("auxiliary address", *address, subnet));
    }
    let mut state =
        NetworkState::new(spec.id.clone(), bridge, subnet, gateway, spec.reach, spec.isolation, spec.mtu);
    state.name.clone_from(&spec.name);
    state.range = spec.range;
    state.reserved.clone_from(&spec.reserved);
    state.six = spec.six.as_ref().map(|six| plan_six(site, spec, six)).transpose()?;
    state.masquerade = spec.masquerade;
    state.gateways = spec.gateways;
    state.names = spec.names;
    Ok(state)
}

/// The subnet that is asked for, or else one of the pools, if nothing of the host is in its way.
fn subnet(site: &Site, spec: &NetworkSpec) -> Result<Subnet, Error> {
    let mut in_use = in_use(site, IpFamily::Four)?;
    in_use.extend(&spec.taken);
    match spec.subnet {
        Some(subnet) => free(subnet.into(), &in_use, || subnet.to_string()).map(|()| subnet),
        None => choose_subnet(&spec.pools, &in_use).ok_or(Error::PoolsExhausted),
    }
}

/// Whether no route or address of the host is in the way of a network whose bridge is not there.
pub(super) fn is_free(site: &Site, state: &NetworkState) -> Result<bool, Error> {
    Ok(free(state.subnet.into(), &in_use(site, IpFamily::Four)?, String::new).is_ok())
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
    Ok(SixState { subnet, gateway, range: six.range, reserved, cursor: subnet.base() })
}

fn outside(what: &'static str, value: impl ToString, subnet: impl ToString) -> Error {
    Error::Outside { what, value: value.to_string(), subnet: subnet.to_string() }
}

fn free(subnet: AddressRange, in_use: &[AddressRange], text: impl FnOnce() -> String) -> Result<(), Error> {
    match in_use.iter().any(|used| subnet.overlaps(*used)) {
        true => Err(Error::SubnetInUse { subnet: text() }),
        false => Ok(()),
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
    let address = four(site, state, spec)?;
    let address6 = six(site, state, spec)?;
    Ok(EndpointRecord {
        id: spec.id.clone(),
        port: port_name(site, state, spec)?,
        link: spec.link.clone(),
        address,
        address6,
        link_local: spec.link_local.clone(),
        mac: spec.mac.unwrap_or_else(|| derived_mac(state.id.as_str(), address)),
        guard: spec.guard,
        names: spec.names.clone(),
        private_names: spec.private_names.clone(),
        presence: Presence::Running,
        published: spec.published.clone(),
    })
}

fn four(site: &Site, state: &mut NetworkState, spec: &EndpointSpec) -> Result<Ipv4Addr, Error> {
    if let Some(address) = spec.address {
        let inside = (state.subnet.first()..=state.subnet.last()).contains(&address);
        claim(state, spec, address.into(), Place::of(inside, Some(address) == state.bridge_address()))?;
        return Ok(address);
    }
    if let Some(address) = state.next_address() {
        return Ok(address);
    }
    super::sweep(site, state, &super::links(site)?)?;
    state.next_address().ok_or_else(|| Error::AddressesExhausted {
        network: state.id.clone(),
        subnet: state.range.unwrap_or(state.subnet).to_string(),
    })
}

fn six(site: &Site, state: &mut NetworkState, spec: &EndpointSpec) -> Result<Option<Ipv6Addr>, Error> {
    let Some(own) = &state.six else {
        return match spec.address6 {
            Some(address) => Err(Error::AddressRefused {
                address: address.into(),
                endpoint: spec.id.clone(),
                subnet: state.subnet.to_string(),
                reason: "the network has no IPv6".to_owned(),
            }),
            None => Ok(None),
        };
    };
    if let Some(address) = spec.address6 {
        let inside = own.subnet.contains(address) && address != own.subnet.base();
        claim(state, spec, address.into(), Place::of(inside, Some(address) == state.bridge_address6()))?;
        return Ok(Some(address));
    }
    let (range, subnet) = (own.range, own.subnet);
    if let Some(address) = state.next_address6() {
        return Ok(Some(address));
    }
    super::sweep(site, state, &super::links(site)?)?;
    state.next_address6().map(Some).ok_or_else(|| Error::AddressesExhausted {
        network: state.id.clone(),
        subnet: range.unwrap_or(subnet).to_string(),
    })
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
    let subnet = match (address, &state.six) {
        (IpAddr::V6(_), Some(six)) => six.subnet.to_string(),
        _ => state.subnet.to_string(),
    };
    Err(Error::AddressRefused { address, endpoint: spec.id.clone(), subnet, reason })
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
        let (id, first) = (NetworkId::new("net").unwrap(), subnet.first());
        let mut state =
            NetworkState::new(id, bridge, subnet, first, Reach::Outside, PortIsolation::Shared, 1500);
        state.reserved = vec![Ipv4Addr::new(10, 9, 8, 7)];
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

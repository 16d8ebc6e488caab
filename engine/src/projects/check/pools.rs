//! Whether what a pool of addresses sets aside lies in its subnet.

use std::net::IpAddr;

use rbuild_model::project::{IpamPool, NetworkKey};
use rbuild_network::address::Subnet;
use rbuild_network::address6::Subnet6;

use super::NotPossible;

/// Looks at the gateways, ranges and reserved addresses of a network; its subnets can be read.
pub(super) fn pools(key: &NetworkKey, pools: &[IpamPool]) -> Result<(), NotPossible> {
    for (number, pool) in pools.iter().enumerate() {
        let Some(subnet) = &pool.subnet else { continue };
        let not = |part: &str, what: &str, value: &str, missing: &str| {
            let why = format!("invalid {what} {value}: parent subnet {subnet} doesn't contain {missing}");
            Err(NotPossible::of("networks", key.as_str(), format!("ipam.config[{number}].{part}"), why))
        };
        if let Some(gateway) = pool.gateway.filter(|gateway| !is_of_host(subnet, *gateway)) {
            return not("gateway", "gateway", &gateway.to_string(), "this address");
        }
        if let Some(range) = pool.ip_range.as_ref().filter(|range| !holds(subnet, range)) {
            return not("ip_range", "ip-range", range, "ip-range");
        }
        if let Some((name, _)) = pool.aux_addresses.iter().find(|(_, one)| !has(subnet, **one)) {
            return not("aux_addresses", "auxiliary address", name, "this address");
        }
    }
    Ok(())
}

fn has(subnet: &str, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => subnet.parse().is_ok_and(|subnet: Subnet| subnet.contains(address)),
        IpAddr::V6(address) => subnet.parse().is_ok_and(|subnet: Subnet6| subnet.contains(address)),
    }
}

/// Whether an address of a subnet can be one of a host: the first one, and the last one of IPv4, stand for all.
fn is_of_host(subnet: &str, address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            subnet.parse().is_ok_and(|subnet: Subnet| (subnet.first()..=subnet.last()).contains(&address))
        }
        IpAddr::V6(address) => {
            subnet.parse().is_ok_and(|subnet: Subnet6| subnet.contains(address) && subnet.base() != address)
        }
    }
}

/// Whether a range lies in a subnet.
fn holds(subnet: &str, range: &str) -> bool {
    match (subnet.parse::<Subnet>(), range.parse::<Subnet>()) {
        (Ok(subnet), Ok(range)) => subnet.contains(range.base()) && subnet.contains(range.broadcast()),
        _ => match (subnet.parse::<Subnet6>(), range.parse::<Subnet6>()) {
            (Ok(subnet), Ok(range)) => subnet.contains(range.base()) && subnet.contains(range.last()),
            _ => false,
        },
    }
}

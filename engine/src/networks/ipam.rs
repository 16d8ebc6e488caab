//! Addresses of networks, as people write them. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rbuild_model::network::{AddressPool, NetworkDefinition};
use rbuild_network::address::{AddressRange, Subnet};
use rbuild_network::address6::Subnet6;
use rbuild_network::driver::{FourSpec, GatewayMode, GatewayModes, SixSpec};

/// A range of addresses of either family.
fn range(text: &str) -> Option<AddressRange> {
    let (address, length) = text.split_once('/')?;
    let (address, length): (IpAddr, u8) = (address.parse().ok()?, length.parse().ok()?);
    (length <= if address.is_ipv4() { 32 } else { 128 }).then(|| AddressRange::new(address, length))
}

/// Puts together what was given in lists of its own: each range, gateway and reserved address belongs to the subnet
/// that holds it.
pub fn pools(
    subnets: &[String],
    ranges: &[String],
    gateways: &[String],
    auxiliary: &BTreeMap<String, String>,
) -> Result<Vec<AddressPool>, String> {
    if subnets.len() < ranges.len() || subnets.len() < gateways.len() {
        return Err("every ip-range or gateway must have a corresponding subnet".to_owned());
    }
    let read = |text: &str| range(text).ok_or_else(|| invalid_subnet(text));
    let mut known: Vec<(AddressRange, AddressPool)> = Vec::new();
    for text in subnets {
        let subnet = read(text)?;
        if known.iter().any(|(other, _)| other.overlaps(subnet)) {
            return Err("multiple overlapping subnet configuration is not supported".to_owned());
        }
        known.push((subnet, AddressPool { subnet: text.clone(), ..AddressPool::default() }));
    }
    let mut owner = |what: &str, text: &str, address: IpAddr| match known
        .iter_mut()
        .position(|(subnet, _)| subnet.contains(address))
    {
        Some(at) => Ok(at),
        None => Err(format!("no matching subnet for {what} {text}")),
    };
    let mut found = Vec::new();
    for text in ranges {
        let base = text.split_once('/').and_then(|(address, _)| address.parse().ok());
        let base = base.filter(|_| range(text).is_some()).ok_or_else(|| invalid_subnet(text))?;
        found.push((owner("range", text, base)?, Part::Range(text.clone())));
    }
    for text in gateways {
        let address = text.parse().map_err(|_| format!("invalid gateway {text}: not an address"))?;
        found.push((owner("gateway", text, address)?, Part::Gateway(text.clone())));
    }
    for (name, text) in auxiliary {
        let address =
            text.parse().map_err(|_| format!("invalid auxiliary address {text}: not an address"))?;
        found.push((owner("aux-address", text, address)?, Part::Auxiliary(name.clone(), address)));
    }
    for (at, part) in found {
        let pool = &mut known[at].1;
        match part {
            Part::Range(_) if !pool.range.is_empty() => {
                return Err(format!(
                    "cannot configure multiple ranges ({}) on the same subnet ({})",
                    pool.range, pool.subnet
                ));
            }
            Part::Gateway(_) if !pool.gateway.is_empty() => {
                return Err(format!(
                    "cannot configure multiple gateways ({}) for the same subnet ({})",
                    pool.gateway, pool.subnet
                ));
            }
            Part::Range(text) => pool.range = text,
            Part::Gateway(text) => pool.gateway = text,
            Part::Auxiliary(name, address) => drop(pool.auxiliary.insert(name, address)),
        }
    }
    // Those of IPv4 come first.
    known.sort_by_key(|(_, pool)| pool.subnet.contains(':'));
    Ok(known.into_iter().map(|(_, pool)| pool).collect())
}

enum Part {
    Range(String),
    Gateway(String),
    Auxiliary(String, IpAddr),
}

fn invalid_subnet(text: &str) -> String {
    format!("invalid subnet {text}: invalid CIDR block notation")
}

/// Whether an address lies in a subnet, as people write it.
pub(crate) fn has(subnet: &str, address: IpAddr) -> bool {
    range(subnet).is_some_and(|subnet| subnet.contains(address))
}

/// Why nobody may have an address of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    /// It is the bridge's.
    Gateway,
    /// It stands for the subnet itself.
    Subnet,
    /// It reaches all of the subnet.
    Broadcast,
    /// It was set aside.
    Auxiliary,
}

impl Kept {
    /// What it is, as people are told.
    pub(crate) fn what(self) -> &'static str {
        match self {
            Self::Gateway => "the gateway",
            Self::Subnet => "the address of the subnet itself",
            Self::Broadcast => "the broadcast address",
            Self::Auxiliary => "an auxiliary address",
        }
    }
}

/// Whether a network keeps an address of one of its pools for something that is no endpoint. Where the bridge has no address
/// its gateway's is free.
pub(crate) fn kept(pools: &[AddressPool], modes: GatewayModes, address: IpAddr) -> Option<Kept> {
    let pool = pools.iter().find(|pool| has(&pool.subnet, address))?;
    let by_itself = kept_by_subnet(pool, modes, address);
    by_itself.or_else(|| pool.auxiliary.values().any(|one| *one == address).then_some(Kept::Auxiliary))
}

/// As [`kept`], but for what was set aside.
fn kept_by_subnet(pool: &AddressPool, modes: GatewayModes, address: IpAddr) -> Option<Kept> {
    let (base, first, broadcast) = match address {
        IpAddr::V4(_) => {
            let subnet: Subnet = pool.subnet.parse().ok()?;
            (IpAddr::from(subnet.base()), subnet.first().into(), Some(subnet.broadcast().into()))
        }
        IpAddr::V6(_) => {
            let subnet: Subnet6 = pool.subnet.parse().ok()?;
            (subnet.base().into(), subnet.first().into(), None)
        }
    };
    let gateway = optional(&pool.gateway).map_or(Some(first), |text| text.parse().ok());
    if address == base {
        Some(Kept::Subnet)
    } else if Some(address) == broadcast {
        Some(Kept::Broadcast)
    } else if Some(address) == gateway && modes.of(address) != GatewayMode::Isolated {
        Some(Kept::Gateway)
    } else {
        None
    }
}

/// An address that is to be set aside and cannot be, in docker's words.
pub(crate) fn cannot_set_aside(pools: &[AddressPool], modes: GatewayModes) -> Option<String> {
    pools.iter().find_map(|pool| {
        let mut seen = BTreeSet::new();
        pool.auxiliary.iter().find_map(|(name, address)| {
            let kept = kept_by_subnet(pool, modes, *address);
            let kept = kept.or_else(|| (!seen.insert(address)).then_some(Kept::Auxiliary))?;
            let what = kept.what();
            Some(format!(
                "failed to allocate secondary ip address ({name}:{address}): address already in use: it is {what}"
            ))
        })
    })
}

/// Tells of a subnet that is written as another address of it than its first.
pub(super) fn unlike_its_base(pool: &AddressPool) -> Option<String> {
    let text = &pool.subnet;
    let (address, length) = text.split_once('/')?;
    let base = range(text)?.first();
    let is_base = address.parse::<IpAddr>().is_ok_and(|address| address == base);
    (!is_base).then(|| format!("invalid subnet {text}: it should be {base}/{length}"))
}

/// What the pools of a definition say.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    pub(super) four: Option<FourSpec>,
    pub(super) six: Option<SixSpec>,
}

/// Reads the pools of a definition; every mistake is told.
pub(super) fn addresses(definition: &NetworkDefinition) -> Result<Addresses, Vec<String>> {
    let mut addresses = Addresses::default();
    let mut mistakes = Vec::new();
    for pool in &definition.ipam.config {
        let is_six = pool.subnet.contains(':');
        if is_six && addresses.six.is_some() || !is_six && addresses.four.is_some() {
            // As docker's: only its other drivers have several.
            let mistake = "bridge driver doesn't support multiple subnets";
            if !mistakes.iter().any(|known| known == mistake) {
                mistakes.push(mistake.to_owned());
            }
        } else if is_six {
            match six(pool) {
                Ok(six) => addresses.six = Some(six),
                Err(mistake) => mistakes.push(mistake),
            }
        } else {
            match four(pool) {
                Ok(four) => addresses.four = Some(four),
                Err(mistake) => mistakes.push(mistake),
            }
        }
    }
    if mistakes.is_empty() { Ok(addresses) } else { Err(mistakes) }
}

fn four(pool: &AddressPool) -> Result<FourSpec, String> {
    range(&pool.subnet).ok_or_else(|| invalid_subnet(&pool.subnet))?;
    let gateway =
        optional(&pool.gateway).map(|text| text.parse().map_err(|_| outside("gateway", text, &pool.subnet)));
    let reserved = pool.auxiliary.values().map(|address| match address {
        IpAddr::V4(address) => Ok(*address),
        IpAddr::V6(_) => Err(outside("auxiliary address", &address.to_string(), &pool.subnet)),
    });
    let subnet: Subnet =
        pool.subnet.parse().map_err(|error| format!("invalid subnet {}: {error}", pool.subnet))?;
    Ok(FourSpec {
        subnet: Some(subnet),
        gateway: gateway.transpose()?,
        range: ip_range(&pool.range)?,
        reserved: reserved.collect::<Result<_, _>>()?,
    })
}

/// A range may be as small as one address, which is no subnet of its own: then the smallest around it is taken.
fn ip_range(text: &str) -> Result<Option<Subnet>, String> {
    let Some(text) = optional(text) else { return Ok(None) };
    text.parse().map(Some).map_err(|error| format!("invalid ip-range {text}: {error}"))
}

fn six(pool: &AddressPool) -> Result<SixSpec, String> {
    range(&pool.subnet).ok_or_else(|| invalid_subnet(&pool.subnet))?;
    let subnet: Subnet6 =
        pool.subnet.parse().map_err(|error| format!("invalid subnet {}: {error}", pool.subnet))?;
    let gateway =
        optional(&pool.gateway).map(|text| text.parse().map_err(|_| outside("gateway", text, &pool.subnet)));
    let ranged = optional(&pool.range)
        .map(|text| text.parse().map_err(|error| format!("invalid ip-range {text}: {error}")));
    let reserved = pool.auxiliary.values().map(|address| match address {
        IpAddr::V6(address) => Ok(*address),
        IpAddr::V4(_) => Err(outside("auxiliary address", &address.to_string(), &pool.subnet)),
    });
    Ok(SixSpec {
        subnet: Some(subnet),
        gateway: gateway.transpose()?,
        range: ranged.transpose()?,
        reserved: reserved.collect::<Result<_, _>>()?,
    })
}

fn outside(what: &str, text: &str, subnet: &str) -> String {
    format!("invalid {what} {text}: parent subnet {subnet} doesn't contain this address")
}

fn optional(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Finds a chosen subnet of a network that another one is in the way of.
pub(super) fn overlap<'a>(
    definition: &'a NetworkDefinition,
    others: &'a [NetworkDefinition],
) -> Option<(&'a str, &'a NetworkDefinition)> {
    definition.ipam.config.iter().find_map(|pool| {
        let subnet = range(&pool.subnet)?;
        let other =
            others.iter().find(|other| taken([*other]).iter().any(|taken| subnet.overlaps(*taken)))?;
        Some((&*pool.subnet, other))
    })
}

/// The ranges of all networks of the store, set up or not.
pub(super) fn taken<'a>(definitions: impl IntoIterator<Item = &'a NetworkDefinition>) -> Vec<AddressRange> {
    definitions
        .into_iter()
        .flat_map(|definition| &definition.ipam.config)
        .filter_map(|pool| range(&pool.subnet))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &[&str]) -> Vec<String> {
        list.iter().map(|text| (*text).to_owned()).collect()
    }

    fn check(subnets: &[&str], ranges: &[&str], gateways: &[&str], auxiliary: &[(&str, &str)]) -> String {
        let auxiliary =
            auxiliary.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        match pools(&texts(subnets), &texts(ranges), &texts(gateways), &auxiliary) {
            Ok(pools) => serde_json::to_string(&pools).unwrap(),
            Err(mistake) => mistake,
        }
    }

    #[test]
    fn each_part_finds_its_subnet() {
        assert_eq!(
            check(
                &["fd00:1::/64", "10.1.0.0/16"],
                &["10.1.5.0/24"],
                &["fd00:1::9", "10.1.0.9"],
                &[("printer", "10.1.0.7")]
            ),
            r#"[{"Subnet":"10.1.0.0/16","IPRange":"10.1.5.0/24","Gateway":"10.1.0.9","AuxiliaryAddresses":{"printer":"10.1.0.7"}},{"Subnet":"fd00:1::/64","Gateway":"fd00:1::9"}]"#
        );
        assert_eq!(check(&[], &[], &[], &[]), "[]");
    }

    #[test]
    fn addresses_that_a_network_keeps_are_nobodys() {
        let pool = |subnet: &str, gateway: &str| AddressPool {
            subnet: subnet.to_owned(),
            gateway: gateway.to_owned(),
            auxiliary: [("a".to_owned(), "10.9.0.7".parse().unwrap())].into(),
            ..AddressPool::default()
        };
        let told = |pools: &[AddressPool], modes, address: &str| kept(pools, modes, address.parse().unwrap());
        let nat = GatewayModes::default();
        let shut = GatewayModes { four: GatewayMode::Isolated, six: GatewayMode::Isolated };
        let pools = [pool("10.9.0.0/24", ""), pool("fd09::/64", "fd09::5")];
        for (address, by_nat, by_shut) in [
            ("10.9.0.0", Some(Kept::Subnet), Some(Kept::Subnet)),
            ("10.9.0.1", Some(Kept::Gateway), None),
            ("10.9.0.2", None, None),
            ("10.9.0.7", Some(Kept::Auxiliary), Some(Kept::Auxiliary)),
            ("10.9.0.255", Some(Kept::Broadcast), Some(Kept::Broadcast)),
            ("fd09::", Some(Kept::Subnet), Some(Kept::Subnet)),
            ("fd09::1", None, None),
            ("fd09::5", Some(Kept::Gateway), None),
            ("fd09::ffff:ffff:ffff:ffff", None, None),
            ("10.8.0.1", None, None),
        ] {
            assert_eq!(told(&pools, nat, address), by_nat, "{address}");
            assert_eq!(told(&pools, shut, address), by_shut, "{address}");
        }
        let aside = |gateway, modes| cannot_set_aside(&[pool("10.9.0.0/24", gateway)], modes);
        assert_eq!(aside("10.9.0.1", nat), None);
        assert_eq!(
            aside("10.9.0.7", nat).unwrap(),
            "failed to allocate secondary ip address (a:10.9.0.7): address already in use: it is the gateway"
        );
        assert_eq!(aside("10.9.0.7", shut), None);
        let mut twice = pool("10.9.0.0/24", "");
        twice.auxiliary.insert("b".to_owned(), "10.9.0.7".parse().unwrap());
        assert!(cannot_set_aside(&[twice], nat).unwrap().contains("(b:10.9.0.7)"));
    }

    #[test]
    fn a_subnet_is_called_by_its_first_address() {
        let told = |subnet: &str| {
            unlike_its_base(&AddressPool { subnet: subnet.to_owned(), ..AddressPool::default() })
        };
        assert_eq!(told("10.1.0.0/16"), None);
        assert_eq!(told("fd00:1:0::/64"), None);
        let why = "invalid subnet 10.1.0.5/24: it should be 10.1.0.0/24";
        assert_eq!(told("10.1.0.5/24").as_deref(), Some(why));
    }

    #[test]
    fn mistakes_are_told_as_docker_tells_them() {
        let net = &["10.1.0.0/16"][..];
        for (said, expected) in [
            (
                check(&[], &["10.1.0.0/24"], &[], &[]),
                "every ip-range or gateway must have a corresponding subnet",
            ),
            (
                check(&["10.1.300.0/24"], &[], &[], &[]),
                "invalid subnet 10.1.300.0/24: invalid CIDR block notation",
            ),
            (check(net, &[], &["10.2.0.1"], &[]), "no matching subnet for gateway 10.2.0.1"),
            (check(net, &["10.2.0.0/24"], &[], &[]), "no matching subnet for range 10.2.0.0/24"),
            (check(net, &[], &[], &[("a", "10.2.0.1")]), "no matching subnet for aux-address 10.2.0.1"),
            (
                check(&["10.1.0.0/16", "10.1.2.0/24"], &[], &[], &[]),
                "multiple overlapping subnet configuration is not supported",
            ),
        ] {
            assert_eq!(said, expected);
        }
    }
}

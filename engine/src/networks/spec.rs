//! What the crate below is asked for, made of a definition. Pure.
//!
//! | option of the driver `bridge` | what it does |
//! |---|---|
//! | `com.docker.network.driver.mtu` | the largest packet |
//! | `com.docker.network.bridge.enable_icc` | whether endpoints reach each other |
//! | `com.docker.network.bridge.enable_ip_masquerade` | whether they are hidden behind the host when they get out |
//! | `com.docker.network.bridge.gateway_mode_ipv4`, `…_ipv6` | how endpoints are reached from outside |
//! | `com.docker.network.bridge.host_binding_ipv4` | the host's address of ports that name none |
//! | `com.docker.network.bridge.name` | how the bridge is called on the host |
//! | `com.docker.network.container_iface_prefix` | how links inside are called |
//!
//! Any other option below `com.docker.network.` would change what packets do, so it is refused; the rest are kept like
//! labels, as by Docker.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use rbuild_model::network::{NetworkDefinition, Switch};
use rbuild_model::truth::parse_bool;
use rbuild_network::address::AddressRange;
use rbuild_network::driver::{
    GatewayMode, GatewayModes, Masquerade, NameScope, NetworkSpec, PortIsolation, Reach,
};
use rbuild_network::families::Families;
use rbuild_network::link::LinkName;
use rbuild_network::names::NetworkId;

use super::error::NetworksError;
use super::ipam::{self, Addresses};

const MTU: &str = "com.docker.network.driver.mtu";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const PREFIX: &str = "com.docker.network.container_iface_prefix";
pub(super) const BRIDGE: &str = "com.docker.network.bridge.name";
const GATEWAY: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const GATEWAY6: &str = "com.docker.network.bridge.gateway_mode_ipv6";

/// The smallest packet that every link has to carry.
const SMALLEST_MTU: u32 = 68;
const LARGEST_MTU: u32 = 65535;

/// Makes of a definition what the crate below is asked for; every mistake is told.
pub(super) fn network(
    definition: &NetworkDefinition,
    taken: Vec<AddressRange>,
) -> Result<NetworkSpec, NetworksError> {
    let mut mistakes = Vec::new();
    let addresses = ipam::addresses(definition).unwrap_or_else(|more| {
        mistakes.extend(more);
        Addresses::default()
    });
    let families = Families::of(
        definition.ipv4.is_on().then(|| addresses.four.clone().unwrap_or_default()),
        definition.ipv6.is_on().then(|| addresses.six.clone().unwrap_or_default()),
    );
    // As docker's.
    let Some(families) = families else {
        return Err(NetworksError::Conflict("IPv4 or IPv6 must be enabled".to_owned()));
    };
    if !matches!(definition.ipam.driver.as_str(), "" | "default") {
        return Err(NetworksError::Unsupported(format!("the IPAM driver `{}`", definition.ipam.driver)));
    }
    if addresses.four.is_some() && !definition.ipv4.is_on() {
        mistakes.push("an IPv4 subnet needs a network with IPv4 (no `--ipv4=false`)".to_owned());
    }
    if addresses.six.is_some() && !definition.ipv6.is_on() {
        mistakes.push("an IPv6 subnet needs a network with IPv6 (`--ipv6`)".to_owned());
    }
    let mut spec = NetworkSpec::new(NetworkId::new(&definition.id)?);
    spec.name.clone_from(&definition.name);
    spec.taken = taken;
    if definition.is_predefined() {
        spec.names = NameScope::Nowhere;
    }
    spec.families = families;
    if definition.internal.is_on() {
        spec.reach = Reach::Internal;
    }
    for (name, value) in &definition.options {
        let mistake = || format!("invalid value {value:?} of the option {name}");
        match name.as_str() {
            MTU => match value.parse() {
                Ok(mtu) if (SMALLEST_MTU..=LARGEST_MTU).contains(&mtu) => spec.mtu = mtu,
                _ => mistakes.push(mistake()),
            },
            ICC => match boolean(value) {
                Some(Switch::On) => spec.isolation = PortIsolation::Shared,
                Some(Switch::Off) => spec.isolation = PortIsolation::Isolated,
                None => mistakes.push(mistake()),
            },
            MASQUERADE => match boolean(value) {
                Some(Switch::On) => spec.masquerade = Masquerade::On,
                Some(Switch::Off) => spec.masquerade = Masquerade::Off,
                None => mistakes.push(mistake()),
            },
            BRIDGE => match LinkName::new(value) {
                Ok(name) => spec.bridge = Some(name),
                Err(error) => mistakes.push(format!("{}: {error}", mistake())),
            },
            HOST_BINDING if value.parse::<Ipv4Addr>().is_err() => mistakes.push(mistake()),
            PREFIX if !is_prefix(value) => mistakes.push(mistake()),
            HOST_BINDING | PREFIX => {}
            GATEWAY | GATEWAY6 => match gateway_mode(value) {
                None => mistakes
                    .push(format!("failed to parse {name} value: {value} (unknown gateway mode {value})")),
                Some(GatewayMode::Isolated) if !definition.internal.is_on() => mistakes
                    .push("gateway mode 'isolated' can only be used for an internal network".to_owned()),
                Some(mode) if name == GATEWAY => spec.gateways.four = mode,
                Some(mode) => spec.gateways.six = mode,
            },
            name if name.starts_with("com.docker.network.") => {
                return Err(NetworksError::Unsupported(format!("the network option `{name}={value}`")));
            }
            _ => {}
        }
    }
    if mistakes.is_empty() { Ok(spec) } else { Err(NetworksError::Config(mistakes)) }
}

/// How the links inside are called: `eth`, unless something else was asked for.
pub(super) fn link_prefix(definition: &NetworkDefinition) -> &str {
    definition.options.get(PREFIX).map_or("eth", String::as_str)
}

/// How the endpoints of a network are reached from outside.
pub(super) fn gateways(definition: &NetworkDefinition) -> GatewayModes {
    gateways_of(&definition.options)
}

/// How the endpoints of a network with these options are reached from outside.
pub(crate) fn gateways_of(options: &BTreeMap<String, String>) -> GatewayModes {
    let mode = |option| options.get(option).and_then(|value| gateway_mode(value));
    GatewayModes { four: mode(GATEWAY).unwrap_or_default(), six: mode(GATEWAY6).unwrap_or_default() }
}

fn gateway_mode(text: &str) -> Option<GatewayMode> {
    match text {
        "nat" => Some(GatewayMode::Nat),
        "nat-unprotected" => Some(GatewayMode::NatUnprotected),
        "routed" => Some(GatewayMode::Routed),
        "isolated" => Some(GatewayMode::Isolated),
        _ => None,
    }
}

/// The host's address of ports that name none.
pub(super) fn host_binding(definition: &NetworkDefinition) -> Option<Ipv4Addr> {
    definition.options.get(HOST_BINDING)?.parse().ok()
}

/// A link has 15 bytes, and there may be hundreds.
fn is_prefix(text: &str) -> bool {
    (1..=12).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn boolean(text: &str) -> Option<Switch> {
    parse_bool(text).map(|on| if on { Switch::On } else { Switch::Off })
}

#[cfg(test)]
mod tests {
    use rbuild_model::network::{AddressPool, Driver, Ipam};

    use super::*;

    fn definition(pools: &[&str], options: &[(&str, &str)]) -> NetworkDefinition {
        let pool = |subnet: &&str| AddressPool { subnet: (*subnet).to_owned(), ..AddressPool::default() };
        NetworkDefinition {
            id: "a".repeat(64),
            name: "app".to_owned(),
            created: String::new(),
            driver: Driver::Bridge,
            ipv4: Switch::On,
            ipv6: Switch::from(pools.iter().any(|pool| pool.contains(':'))),
            internal: Switch::Off,
            attachable: Switch::Off,
            ipam: Ipam { driver: String::new(), options: None, config: pools.iter().map(pool).collect() },
            chosen_subnets: Switch::On,
            options: options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            labels: Default::default(),
        }
    }

    #[test]
    fn options_mean_what_they_mean_elsewhere() {
        let options = [(MTU, "1400"), (ICC, "false"), (MASQUERADE, "0"), (BRIDGE, "br7"), ("mine", "kept")];
        let spec = network(&definition(&["10.1.0.0/24", "fd00:1::/64"], &options), Vec::new()).unwrap();
        assert_eq!((spec.mtu, spec.isolation), (1400, PortIsolation::Isolated));
        assert_eq!((spec.masquerade, spec.name.as_str()), (Masquerade::Off, "app"));
        assert_eq!(spec.bridge.as_ref().map(LinkName::as_str), Some("br7"));
        assert_eq!(spec.families.six().unwrap().subnet.unwrap().to_string(), "fd00:1::/64");
    }

    #[test]
    fn a_network_has_the_families_that_are_asked_for() {
        let families = |ipv4, ipv6, pools: &[&str]| {
            let asked = NetworkDefinition { ipv4, ipv6, ..definition(pools, &[]) };
            let spec = network(&asked, Vec::new()).map_err(|error| error.to_string())?;
            let (four, six) = spec.families.parts();
            let four = four.map(|four| four.subnet.map(|subnet| subnet.to_string()));
            Ok::<_, String>((four, six.map(|six| six.subnet.map(|subnet| subnet.to_string()))))
        };
        use Switch::{Off, On};
        assert_eq!(families(On, Off, &[]), Ok((Some(None), None)));
        assert_eq!(families(Off, On, &[]), Ok((None, Some(None))));
        assert_eq!(families(Off, On, &["fd00:1::/64"]), Ok((None, Some(Some("fd00:1::/64".to_owned())))));
        assert_eq!(families(On, On, &[]), Ok((Some(None), Some(None))));
        assert_eq!(families(Off, Off, &[]), Err("IPv4 or IPv6 must be enabled".to_owned()));
        let told = families(Off, On, &["10.1.0.0/24"]).unwrap_err();
        assert!(told.contains("an IPv4 subnet needs a network with IPv4"), "{told}");
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let error = network(
            &definition(&["10.1.0.0/40"], &[(MTU, "x"), (ICC, "maybe"), (BRIDGE, "a/b")]),
            Vec::new(),
        );
        assert_eq!(
            error.unwrap_err().to_string(),
            "invalid network config:\ninvalid subnet 10.1.0.0/40: invalid CIDR block notation\n\
             invalid value \"maybe\" of the option com.docker.network.bridge.enable_icc\n\
             invalid value \"a/b\" of the option com.docker.network.bridge.name: `a/b` cannot name a network interface: \
             at most 15 bytes, no space, `/` or `:`\n\
             invalid value \"x\" of the option com.docker.network.driver.mtu"
        );
        let error = network(&definition(&[], &[("com.docker.network.bridge.inhibit_ipv4", "1")]), Vec::new());
        assert!(matches!(error, Err(NetworksError::Unsupported(_))));
        let several = network(&definition(&["10.1.0.0/24", "10.2.0.0/24", "10.3.0.0/24"], &[]), Vec::new());
        assert_eq!(
            several.unwrap_err().to_string(),
            "invalid network config:\nbridge driver doesn't support multiple subnets"
        );
    }
}

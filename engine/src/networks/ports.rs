//! The ports of the host that a container publishes, held from before its program runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rbuild_model::network::{HostPort, PortBinding};
use rbuild_network::driver::GatewayMode;
use rbuild_network::families::Families;
use rbuild_network::ports::{PortError, Published, Reservation};

use super::connect::ByFamily;
use super::{NetworksError, spec};

/// How often a port of one family is tried whose twin of the other is taken.
const TWIN_ATTEMPTS: usize = 16;

/// What bindings come to.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// The ports of the host.
    pub(super) reservations: Vec<Reservation>,
    /// All ports, as the network is told. Where endpoints are reached by their own addresses none of the host leads to them.
    pub(super) published: Vec<Published>,
    /// Those that lead nowhere, told to people.
    pub(super) notes: Vec<String>,
}

impl Ports {
    /// Takes the ports of one binding, which lead through the networks of their families.
    pub(super) fn take(&mut self, binding: &PortBinding, outlets: ByFamily<'_>) -> Result<(), NetworksError> {
        let PortBinding { host, protocol, port: target, .. } = *binding;
        let (mut routed, mut bound) = (Vec::new(), Vec::new());
        for family in [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()] {
            let Some(outlet) = outlets.at(family) else { continue };
            let host = host.or(spec::host_binding(outlet).map(IpAddr::from)).unwrap_or(family);
            if host.is_ipv4() != family.is_ipv4() {
                continue;
            }
            match spec::gateways(outlet).of(family) {
                GatewayMode::Routed => routed.push(Published { protocol, host: family, port: 0, target }),
                _ => bound.push(host),
            }
        }
        if let (true, true, Families::Six(outlet)) = (routed.is_empty(), bound.is_empty(), outlets) {
            // As docker does, but for the word.
            let at = host.or(spec::host_binding(outlet).map(IpAddr::from)).map(|host| format!(" at {host}"));
            let (at, name) = (at.unwrap_or_default(), &outlet.name);
            self.notes.push(format!(
                "the port {target}/{protocol} is not published{at}: the network {name} has no IPv4"
            ));
        }
        let reservations = match *bound {
            [] => Vec::new(),
            [one] => reserve(binding, Some(one))?,
            [one, other] if one.is_unspecified() && other.is_unspecified() => reserve(binding, None)?,
            _ => {
                let each = bound.iter().map(|one| reserve(binding, Some(*one)));
                each.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect()
            }
        };
        let mut published: Vec<Published> =
            routed.into_iter().chain(reservations.iter().map(Reservation::published)).collect();
        published.sort_by_key(|one| one.host.is_ipv6());
        self.published.extend(published);
        self.reservations.extend(reservations);
        Ok(())
    }
}

/// Takes the ports of the host for one binding: of both families if no address is named and the host has both.
fn reserve(binding: &PortBinding, host: Option<IpAddr>) -> Result<Vec<Reservation>, NetworksError> {
    let (first, last) = match binding.host_port {
        HostPort::Any => (0, 0),
        HostPort::One(port) => (port, port),
        HostPort::Range(first, last) => (first, last),
    };
    let mut refused = None;
    for port in first..=last {
        match reserve_one(binding, host, port) {
            Ok(reservations) => return Ok(reservations),
            Err(error @ PortError::Taken { .. }) if first != last => refused = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    let protocol = binding.protocol.word();
    match refused {
        Some(source) => Err(NetworksError::NoPort { first, last, protocol, source }),
        None => Err(NetworksError::Config(vec![format!("invalid port range {first}-{last}/{protocol}")])),
    }
}

fn reserve_one(
    binding: &PortBinding,
    host: Option<IpAddr>,
    port: u16,
) -> Result<Vec<Reservation>, PortError> {
    let at = |host: IpAddr, port| Published { protocol: binding.protocol, host, port, target: binding.port };
    if let Some(host) = host {
        return Ok(vec![Reservation::bind(at(host, port))?]);
    }
    let mut attempts = 0;
    loop {
        let four = Reservation::bind(at(Ipv4Addr::UNSPECIFIED.into(), port))?;
        match Reservation::bind(at(Ipv6Addr::UNSPECIFIED.into(), four.published().port)) {
            Ok(six) => return Ok(vec![four, six]),
            // A host without IPv6.
            Err(PortError::Unsupported { .. } | PortError::NotOurs { .. }) => return Ok(vec![four]),
            // Any port was asked for, and the one that is free for IPv4 is not for IPv6.
            Err(PortError::Taken { .. }) if port == 0 && attempts < TWIN_ATTEMPTS => attempts += 1,
            Err(error) => return Err(error),
        }
    }
}

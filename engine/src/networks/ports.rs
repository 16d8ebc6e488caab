//! The ports of the host that a container publishes, held from before its program runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rbuild_model::network::{HostPort, PortBinding};
use rbuild_network::driver::{GatewayMode, GatewayModes};
use rbuild_network::ports::{PortError, Published, Reservation};

use super::NetworksError;

/// How often a port of one family is tried whose twin of the other is taken.
const TWIN_ATTEMPTS: usize = 16;

/// What bindings come to.
#[derive(Debug, Default)]
pub(super) struct Ports {
    /// The ports of the host.
    pub(super) reservations: Vec<Reservation>,
    /// All ports, as the network is told. Where endpoints are reached by their own addresses none of the host leads to them.
    pub(super) published: Vec<Published>,
}

impl Ports {
    /// Takes the ports of one binding.
    pub(super) fn take(
        &mut self,
        binding: &PortBinding,
        default: Option<Ipv4Addr>,
        modes: GatewayModes,
    ) -> Result<(), NetworksError> {
        let host = binding.host.or(default.map(IpAddr::from));
        let families = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let is_wanted = |family: &IpAddr| host.is_none_or(|host| host.is_ipv4() == family.is_ipv4());
        let (routed, bound): (Vec<_>, Vec<_>) = families
            .into_iter()
            .filter(is_wanted)
            .partition(|family| modes.of(*family) == GatewayMode::Routed);
        let reservations = match *bound {
            [] => Vec::new(),
            [one] => reserve(binding, Some(host.unwrap_or(one)))?,
            _ => reserve(binding, None)?,
        };
        let (protocol, target) = (binding.protocol, binding.port);
        let routed = routed.into_iter().map(|host| Published { protocol, host, port: 0, target });
        let mut published: Vec<Published> =
            routed.chain(reservations.iter().map(Reservation::published)).collect();
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

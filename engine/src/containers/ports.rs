//! Which ports of the host lead to a container, and who has one that a container wants: told by the container's name where it
//! is one of ours.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use rbuild_model::container::Definition;
use rbuild_model::network::{HostPort, PortBinding, Protocol};
use rbuild_network::ports::PortError;

use super::error::ContainerError;
use super::list::networks;
use super::observe::Observed;
use crate::engine::Engine;
use crate::networks::NetworksError;

impl Engine {
    /// Brings what is noted of a container that tells of ports up to date, if its networks came or went since its start.
    pub fn follow_networks(
        &self,
        definition: &Definition,
        observed: &mut Observed,
    ) -> Result<(), ContainerError> {
        let note = &observed.note;
        let tells_of_ports = !(definition.exposed.is_empty() && note.ports.is_empty());
        let is_as_at_start = || {
            let now = networks(definition);
            note.leads_out()
                && now.len() == note.endpoints.len()
                && note.endpoints.iter().all(|one| now.contains(&one.network))
        };
        if observed.state.run().is_some() && tells_of_ports && !is_as_at_start() {
            observed.note.follow(&self.networks().of_container(&definition.id.to_string())?);
        }
        Ok(())
    }

    /// Says of a port that a container could not have who of ours has it.
    pub(super) fn with_holder(&self, definition: &Definition, mut error: NetworksError) -> ContainerError {
        if let NetworksError::Port(source) | NetworksError::NoPort { source, .. } = &mut error {
            self.name_holder(Some(definition), source);
        }
        error.into()
    }

    /// Says of a port that cannot be had which container has it, if one does; `own` is who wants it.
    pub(crate) fn name_holder(&self, own: Option<&Definition>, error: &mut PortError) {
        let PortError::Taken { address, protocol, holder } = error else { return };
        if own.is_some_and(|own| asks_twice(&own.host.ports, *address, *protocol)) {
            *holder = Some(
                "the same container, which asks for it twice: publish each port of the host once".to_owned(),
            );
            return;
        }
        // Who cannot be looked at is not named.
        let others = self.definitions().unwrap_or_default();
        let has = |other: &&Definition| {
            let seen = self.observe(other).ok().filter(|seen| seen.state.run().is_some());
            seen.is_some_and(|seen| {
                let mut ports = seen.note.ports.iter();
                ports.any(|port| {
                    port.protocol == *protocol && meet(SocketAddr::new(port.host, port.host_port), *address)
                })
            })
        };
        if let Some(other) = others.iter().find(has) {
            *holder = Some(format!("container {}", other.name));
        }
    }
}

/// Whether two bindings of a container want one port of the host.
fn asks_twice(bindings: &[PortBinding], address: SocketAddr, protocol: Protocol) -> bool {
    let wants = |binding: &&PortBinding| {
        let host = binding.host.unwrap_or(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
        });
        let is_one = binding.host_port == HostPort::One(address.port());
        binding.protocol == protocol && is_one && meet(SocketAddr::new(host, address.port()), address)
    };
    bindings.iter().filter(wants).count() > 1
}

/// Whether nobody can have one of two addresses beside the other.
fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_port_for_two_is_known() {
        let binding = |host: Option<&str>, port, target| PortBinding {
            host: host.map(|text| text.parse().expect("an address")),
            host_port: HostPort::One(port),
            port: target,
            protocol: Protocol::Tcp,
        };
        let address: SocketAddr = "0.0.0.0:80".parse().expect("an address");
        let twice = |a, b| asks_twice(&[a, b], address, Protocol::Tcp);
        assert!(twice(binding(None, 80, 1), binding(None, 80, 2)));
        assert!(twice(binding(None, 80, 1), binding(Some("127.0.0.1"), 80, 1)));
        assert!(!twice(binding(None, 80, 1), binding(None, 81, 1)));
        assert!(!twice(binding(None, 80, 1), binding(Some("::1"), 80, 1)));
        assert!(!asks_twice(&[binding(None, 80, 1), binding(None, 80, 2)], address, Protocol::Udp));
    }
}

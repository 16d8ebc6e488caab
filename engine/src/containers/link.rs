//! Links in the default network, which has no name service.
//!
//! The other container's address is written into the file of names, and what it listens on into the environment, as Docker
//! did before networks had names. Both say what was so at the start. In networks of one's own a link is a name that one
//! container alone knows, and follows the other wherever it goes.

use std::net::IpAddr;

use rbuild_model::container::Definition;
use rbuild_model::network::NetworkDefinition;
use rbuild_model::step::ExtraHost;

use super::error::ContainerError;
use crate::engine::Engine;

/// A container that another is linked to.
#[derive(Clone, Debug)]
pub(super) struct Linked {
    /// What it is called there.
    alias: String,
    /// It.
    other: Definition,
    /// Its address.
    address: IpAddr,
}

impl Engine {
    /// Returns the containers that one is linked to, which have to run.
    pub(super) fn linked(&self, definition: &Definition) -> Result<Vec<Linked>, ContainerError> {
        let mut links = links(definition).peekable();
        if links.peek().is_none() {
            return Ok(Vec::new());
        }
        let networks = self.networks();
        let network = networks.find(NetworkDefinition::DEFAULT)?;
        let mut found = Vec::new();
        for (target, alias) in links {
            let other = self.find(target)?;
            let endpoints = networks.of_container(&other.id.to_string())?;
            let own = endpoints.into_iter().find(|(state, _)| state.id.as_str() == network.id);
            let is_active = self.observe(&other)?.state.is_active();
            let Some((_, record)) = own.filter(|_| is_active) else {
                return Err(ContainerError::State(format!(
                    "Cannot link to a non running container: /{} AS /{}/{alias}",
                    other.name, definition.name
                )));
            };
            found.push(Linked { alias: alias.to_owned(), other, address: record.families.first() });
        }
        Ok(found)
    }

    /// Checks that there is somebody to link to.
    pub(super) fn check_links(&self, definition: &Definition) -> Result<(), ContainerError> {
        for (target, _) in links(definition) {
            self.find(target).map_err(|error| match error {
                ContainerError::NotFound(_) => ContainerError::Invalid(format!(
                    "could not get container for {target}: No such container: {target}"
                )),
                error => error,
            })?;
        }
        Ok(())
    }
}

/// The links of a container in the default network: whom, and by which name.
pub(super) fn links(definition: &Definition) -> impl Iterator<Item = (&str, &str)> {
    let wishes = definition.host.endpoints.iter().filter(|wish| wish.network == NetworkDefinition::DEFAULT);
    wishes
        .flat_map(|wish| &wish.settings.links)
        .map(|link| link.split_once(':').unwrap_or((link.as_str(), link.as_str())))
}

impl Linked {
    /// The names that lead to it.
    pub(super) fn hosts(&self) -> Vec<ExtraHost> {
        let mut names = vec![self.alias.clone()];
        for name in [self.other.id.short(), self.other.name.to_string()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let address = self.address.to_string();
        names.into_iter().map(|name| ExtraHost { name, address: address.clone() }).collect()
    }

    /// What the environment says of it to a container.
    pub(super) fn variables(&self, own_name: &str) -> Vec<String> {
        let ports: Vec<&str> = self.other.exposed.iter().map(String::as_str).collect();
        variables(&self.alias, own_name, self.address, &ports, &self.other.program.env)
    }
}

fn variables(alias: &str, own_name: &str, address: IpAddr, ports: &[&str], env: &[String]) -> Vec<String> {
    let prefix = alias.to_uppercase().replace('-', "_");
    let mut ports: Vec<(u16, &str)> = ports
        .iter()
        .filter_map(|port| {
            let (number, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
            Some((number.parse().ok()?, protocol))
        })
        .collect();
    ports.sort_by_key(|(number, protocol)| (*number, *protocol != "tcp"));
    let mut lines = Vec::new();
    if let Some((number, protocol)) = ports.first() {
        lines.push(format!("{prefix}_PORT={protocol}://{address}:{number}"));
    }
    for (number, protocol) in ports {
        let port = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        lines.push(format!("{port}={protocol}://{address}:{number}"));
        lines.push(format!("{port}_ADDR={address}"));
        lines.push(format!("{port}_PORT={number}"));
        lines.push(format!("{port}_PROTO={protocol}"));
    }
    lines.push(format!("{prefix}_NAME=/{own_name}/{alias}"));
    for (name, value) in env.iter().filter_map(|entry| entry.split_once('=')) {
        if !matches!(name, "HOME" | "PATH") {
            lines.push(format!("{prefix}_ENV_{name}={value}"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_tells_of_a_link_as_dockers() {
        let env = ["PATH=/bin", "MODE=fast=1"].map(str::to_owned);
        let lines =
            variables("the-db", "web", IpAddr::from([172, 17, 0, 2]), &["80/udp", "80/tcp", "9/udp"], &env);
        assert_eq!(
            lines,
            [
                "THE_DB_PORT=udp://172.17.0.2:9",
                "THE_DB_PORT_9_UDP=udp://172.17.0.2:9",
                "THE_DB_PORT_9_UDP_ADDR=172.17.0.2",
                "THE_DB_PORT_9_UDP_PORT=9",
                "THE_DB_PORT_9_UDP_PROTO=udp",
                "THE_DB_PORT_80_TCP=tcp://172.17.0.2:80",
                "THE_DB_PORT_80_TCP_ADDR=172.17.0.2",
                "THE_DB_PORT_80_TCP_PORT=80",
                "THE_DB_PORT_80_TCP_PROTO=tcp",
                "THE_DB_PORT_80_UDP=udp://172.17.0.2:80",
                "THE_DB_PORT_80_UDP_ADDR=172.17.0.2",
                "THE_DB_PORT_80_UDP_PORT=80",
                "THE_DB_PORT_80_UDP_PROTO=udp",
                "THE_DB_NAME=/web/the-db",
                "THE_DB_ENV_MODE=fast=1",
            ]
        );
        assert_eq!(variables("a", "b", IpAddr::from([1, 2, 3, 4]), &[], &[]), ["A_NAME=/b/a"]);
    }
}

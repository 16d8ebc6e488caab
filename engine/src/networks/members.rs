//! Containers that are put into networks and taken out of them by name, whether they run or not.
//!
//! A container that does not run is only written down as wanting the network: it is connected when it starts.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rbuild_model::container::{Definition, HostOptions, State};
use rbuild_model::network::{Driver, EndpointSettings, EndpointWish, NetworkDefinition, NetworkMode};
use rbuild_network::driver::Guard;
use rbuild_network::ports::Published;
use rbuild_sandbox::capabilities::canonical;

use super::connect::check_settings;
use super::live::LiveChange;
use super::{Naming, Networks, NetworksError, short};
use crate::containers::{ContainerError, PortNote, of_init, resolver_choice};
use crate::engine::Engine;

/// Why a container was not put into a network, or taken out of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MemberError {
    /// It is because of the network.
    #[error(transparent)]
    Network(#[from] NetworksError),
    /// It is because of the container.
    #[error(transparent)]
    Container(Box<ContainerError>),
    /// Its namespace could not be opened.
    #[error(transparent)]
    Namespace(Box<crate::error::RunError>),
}

impl From<ContainerError> for MemberError {
    fn from(error: ContainerError) -> Self {
        Self::Container(Box::new(error))
    }
}

impl From<crate::error::RunError> for MemberError {
    fn from(error: crate::error::RunError) -> Self {
        Self::Namespace(Box::new(error))
    }
}

/// Whether a network that a container is not in is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leaving {
    /// It is.
    Asked,
    /// It is not (`--force`).
    Forced,
}

impl Engine {
    /// Puts a container into a network.
    pub fn connect_network(
        &self,
        network: &str,
        container: &str,
        settings: &EndpointSettings,
    ) -> Result<(), MemberError> {
        self.change_membership(network, container, |networks, found, definition, running| {
            check_settings(&found, settings)?;
            sociable(networks, definition, found.driver)?;
            if is_in(networks, definition, &found.id)? {
                let container = definition.name.to_string();
                return Err(NetworksError::Connected { container, network: found.name }.into());
            }
            let host = &mut definition.host;
            let returns = of_mode(networks, host)?.is_some_and(|main| main == found.id);
            let name = host.network.network().filter(|_| returns).unwrap_or(&found.name).to_owned();
            host.left_network &= !returns;
            host.endpoints.push(EndpointWish { network: name, settings: settings.clone() });
            if let Some(running) = running {
                networks.connect_live(&change(self, definition, running).live(), &found.id, settings)?;
            }
            Ok(())
        })
    }

    /// Takes a container out of a network.
    pub fn disconnect_network(
        &self,
        network: &str,
        container: &str,
        leaving: Leaving,
    ) -> Result<(), MemberError> {
        self.change_membership(network, container, |networks, found, definition, running| {
            let is_member = is_in(networks, definition, &found.id)?;
            if found.driver == Driver::Host || !is_member {
                if leaving == Leaving::Forced && !is_member {
                    return Ok(());
                }
                let container = short(&definition.id.to_string()).to_owned();
                return Err(NetworksError::NotConnected { container, network: found.name }.into());
            }
            let is_it =
                |wish: &EndpointWish| networks.find(&wish.network).is_ok_and(|other| other.id == found.id);
            definition.host.endpoints.retain(|wish| !is_it(wish));
            if main_network(networks, definition)?.is_some_and(|main| main == found.id) {
                // What remains leads; with nothing left there is only the loopback.
                definition.host.left_network = true;
            }
            if found.driver == Driver::Bridge
                && let Some(running) = running
            {
                networks.disconnect_live(&change(self, definition, running).live(), &found.id)?;
            }
            Ok(())
        })
    }

    /// Finds network and container, changes the container's definition under its lock, and writes it.
    fn change_membership(
        &self,
        network: &str,
        container: &str,
        act: impl FnOnce(
            &Networks,
            NetworkDefinition,
            &mut Definition,
            Option<&Running>,
        ) -> Result<(), MemberError>,
    ) -> Result<(), MemberError> {
        let scope = self.parts.store.locks().scope();
        let _held = self.hold(&scope, self.find(container)?.id)?;
        let mut definition = self.find(container)?;
        let before = definition.clone();
        let networks = self.networks();
        let found = networks.find(network)?;
        let running = self.if_running(&definition)?;
        let (id, hostname) = (definition.id.to_string(), self.hostname(&definition));
        let resolver = resolver_choice(&definition.host);
        let naming = Naming {
            hostname: &hostname,
            domainname: before.domainname.as_deref(),
            resolver: &resolver,
            extra_hosts: &[],
        };
        let known = || networks.known_to(&id, &naming);
        let known_before = running.as_ref().map(|_| known()).transpose()?;
        act(&networks, found, &mut definition, running.as_ref())?;
        if definition != before {
            self.rewrite(&definition)?;
        }
        if let Some(before) = known_before {
            self.follow_names(&definition, &networks.compare(&before, &known()?, &naming))?;
        }
        Ok(())
    }

    /// Returns what a container has to do with networks as long as it runs; nothing if it does not.
    fn if_running(&self, definition: &Definition) -> Result<Option<Running>, MemberError> {
        let observed = self.observe(definition)?;
        let (State::Running(run) | State::Paused(run)) = observed.state else {
            return Ok(None);
        };
        let open =
            |path: PathBuf| File::open(&path).map_err(crate::engine::io("open the network namespace", path));
        // One that ended meanwhile has none, whoever has its number now.
        Ok(of_init(&run, "ns/net", open)?.map(|namespace| Running {
            namespace: namespace.into(),
            ports: observed.note.ports.iter().map(PortNote::published).collect(),
        }))
    }
}

/// What a container has as long as it runs, whichever networks it is in.
struct Running {
    namespace: OwnedFd,
    /// The ports of the host that its monitor holds.
    ports: Vec<Published>,
}

fn change<'a>(engine: &Engine, definition: &'a Definition, running: &'a Running) -> Change<'a> {
    let hostname = engine.hostname(definition);
    Change { definition, running, id: definition.id.to_string(), name: definition.name.to_string(), hostname }
}

/// The texts that a change of a container's networks needs.
struct Change<'a> {
    definition: &'a Definition,
    running: &'a Running,
    id: String,
    name: String,
    hostname: String,
}

impl Change<'_> {
    fn live(&self) -> LiveChange<'_> {
        let host = &self.definition.host;
        LiveChange {
            container: &self.id,
            name: &self.name,
            hostname: &self.hostname,
            namespace: &self.running.namespace,
            ports: &self.running.ports,
            endpoints: &host.endpoints,
            guard: guard(host),
        }
    }
}

/// What a container's packets are checked for: nothing where it may administer its own addresses.
pub(crate) fn guard(host: &HostOptions) -> Guard {
    let administers = |name: &String| matches!(canonical(name).as_str(), "NET_ADMIN" | "ALL");
    if host.privileged || host.cap_add.iter().any(administers) { Guard::Off } else { Guard::Strict }
}

/// Whether a container can be in several networks at all.
fn sociable(networks: &Networks, definition: &Definition, joined: Driver) -> Result<(), NetworksError> {
    let shared = "container sharing network namespace with another container or host cannot be connected to any other network";
    let none =
        "container cannot be connected to multiple networks with one of the networks in private (none) mode";
    let driver = match definition.host.first_network() {
        NetworkMode::Container(_) => return Err(NetworksError::Conflict(shared.to_owned())),
        NetworkMode::Host => Some(Driver::Host),
        NetworkMode::None if definition.host.left_network => None,
        NetworkMode::None => Some(Driver::Null),
        NetworkMode::Named(name) => networks.find(&name).ok().map(|found| found.driver),
        NetworkMode::Default | NetworkMode::Bridge => Some(Driver::Bridge),
    };
    match (driver, joined) {
        (Some(Driver::Host), _) | (_, Driver::Host) => Err(NetworksError::Conflict(shared.to_owned())),
        (Some(Driver::Null), _) | (_, Driver::Null) => Err(NetworksError::Conflict(none.to_owned())),
        _ => Ok(()),
    }
}

/// The id of the network that a container's mode names, if it is there and was not left.
fn main_network(networks: &Networks, definition: &Definition) -> Result<Option<String>, NetworksError> {
    let host = &definition.host;
    if host.left_network { Ok(None) } else { of_mode(networks, host) }
}

/// The id of the network that a container's mode names, if it is there.
fn of_mode(networks: &Networks, host: &HostOptions) -> Result<Option<String>, NetworksError> {
    let Some(name) = host.network.network() else { return Ok(None) };
    match networks.find(name) {
        Ok(found) => Ok(Some(found.id)),
        Err(NetworksError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a container is in a network, or is to be when it starts.
fn is_in(networks: &Networks, definition: &Definition, id: &str) -> Result<bool, NetworksError> {
    if main_network(networks, definition)?.is_some_and(|main| main == id) {
        return Ok(true);
    }
    Ok(definition
        .host
        .endpoints
        .iter()
        .any(|wish| networks.find(&wish.network).is_ok_and(|found| found.id == id)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_administer_addresses_is_not_checked_for_them() {
        let of = |added: &str| guard(&HostOptions { cap_add: vec![added.to_owned()], ..Default::default() });
        for added in ["NET_ADMIN", "cap_net_admin", "all"] {
            assert_eq!(of(added), Guard::Off, "{added}");
        }
        assert_eq!(of("NET_RAW"), Guard::Strict);
        assert_eq!(guard(&HostOptions { privileged: true, ..Default::default() }), Guard::Off);
    }
}

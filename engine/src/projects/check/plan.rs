//! What a plan would find out only after it has made something: networks, volumes, and containers that others made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rbuild_model::project::{
    Condition, Namespace, NetworkKey, NetworkMode, Project, Service, ServiceName, VolumeKey, VolumesFrom,
};

use super::{NotPossible, contained};
use crate::containers::ContainerError;
use crate::engine::Engine;
use crate::networks::{NetworkRequest, ipam};
use crate::projects::operation::{Operation, Plan};
use crate::projects::requests;
use crate::volumes::VolumeRequest;

impl Engine {
    /// Looks whether the networks and volumes of a plan can be made, and whether services whose containers it makes find
    /// whom they name and can have the addresses that they want.
    pub fn check_plan(
        &self,
        project: &Project,
        plan: &Plan,
        services: &BTreeSet<ServiceName>,
    ) -> Result<(), NotPossible> {
        let mut made = BTreeSet::new();
        for planned in &plan.operations {
            match &planned.operation {
                Operation::CreateNetwork { key, .. } => self.check_network(project, key)?,
                Operation::CreateVolume { key, .. } => self.check_volume(project, key)?,
                Operation::Create(new) | Operation::Recreate { new, .. } => drop(made.insert(&*new.name)),
                _ => {}
            }
        }
        for service in contained(project, services) {
            for (key, container) in others(service).filter(|(_, container)| !made.contains(container)) {
                if let Err(error @ ContainerError::NotFound(_)) = self.find(container) {
                    return Err(NotPossible::new(service, key, error));
                }
            }
        }
        addresses(project, services, &|name| self.subnets(name))
    }

    /// Looks at each part of a network by itself: the one is told that cannot be had.
    fn check_network(&self, project: &Project, key: &NetworkKey) -> Result<(), NotPossible> {
        let whole = requests::network(project, key, "", "");
        let bare = NetworkRequest::new(&whole.name);
        let parts = [
            ("driver", NetworkRequest { driver: whole.driver.clone(), ..bare.clone() }),
            ("driver_opts", NetworkRequest { options: whole.options.clone(), ..bare.clone() }),
            ("ipam", NetworkRequest { ipam: whole.ipam.clone(), ipv6: whole.ipv6, ..bare }),
            ("enable_ipv4", whole),
        ];
        for (part, request) in parts {
            let checked = self.networks().check_new(&request);
            checked.map_err(|error| NotPossible::of("networks", key.as_str(), part, error))?;
        }
        Ok(())
    }

    fn check_volume(&self, project: &Project, key: &VolumeKey) -> Result<(), NotPossible> {
        let whole = requests::volume(project, key, "", "");
        let driver = VolumeRequest { options: BTreeMap::new(), ..whole.clone() };
        for (part, request) in [("driver", driver), ("driver_opts", whole)] {
            let checked = self.volumes().check_new(&request);
            checked.map_err(|error| NotPossible::of("volumes", key.as_str(), part, error))?;
        }
        Ok(())
    }

    /// The subnets that were chosen for a network; nothing if nobody knows it.
    fn subnets(&self, network: &str) -> Option<Vec<String>> {
        let found = self.networks().find(network).ok()?;
        let chosen = found.ipam.config.into_iter().filter(|_| found.chosen_subnets.is_on());
        Some(chosen.map(|pool| pool.subnet).collect())
    }
}

/// The containers of others that a service names, and where.
fn others(service: &Service) -> impl Iterator<Item = (String, &str)> {
    let lent = service.volumes_from.iter().enumerate().filter_map(|(number, from)| match from {
        VolumesFrom::Container { container, .. } => {
            Some((format!("volumes_from[{number}]"), container.as_str()))
        }
        VolumesFrom::Service { .. } => None,
    });
    let network = match &service.network_mode {
        Some(NetworkMode::Container(name)) => Some(("network_mode".to_owned(), name.as_str())),
        _ => None,
    };
    let namespaces = [("ipc", &service.ipc), ("pid", &service.pid)];
    let namespaces = namespaces.into_iter().filter_map(|(key, wanted)| match wanted {
        Some(Namespace::Container(name)) => Some((key.to_owned(), name.as_str())),
        _ => None,
    });
    lent.chain(network).chain(namespaces)
}

/// Looks whether services can have the addresses that they want: each in a subnet that was chosen for its network, and no
/// other's. Those of services that others wait for to end are free after that.
pub(super) fn addresses(
    project: &Project,
    services: &BTreeSet<ServiceName>,
    subnets: &dyn Fn(&str) -> Option<Vec<String>>,
) -> Result<(), NotPossible> {
    let ends = |service: &Service| {
        let waits = |other: &Service| {
            let needed = other.depends_on.get(&service.name);
            needed.is_some_and(|needed| needed.condition == Condition::CompletedSuccessfully)
        };
        project.services.values().any(waits)
    };
    let mut taken: BTreeMap<(&str, IpAddr), &ServiceName> = BTreeMap::new();
    for service in contained(project, services) {
        for (key, attachment) in &service.networks {
            let Some(network) = project.networks.get(key) else { continue };
            let chosen = match network.external {
                true => subnets(&network.name),
                false => Some(network.ipam.pools.iter().filter_map(|pool| pool.subnet.clone()).collect()),
            };
            let wanted = [
                ("ipv4_address", attachment.ipv4_address.map(IpAddr::from)),
                ("ipv6_address", attachment.ipv6_address.map(IpAddr::from)),
            ];
            for (part, address) in wanted.into_iter().filter_map(|(part, wanted)| Some((part, wanted?))) {
                let not = |why: String| Err(NotPossible::new(service, format!("networks.{key}.{part}"), why));
                if let Some(chosen) = &chosen
                    && !chosen.iter().any(|subnet| ipam::has(subnet, address))
                {
                    return not(match chosen.is_empty() {
                        true => format!("network {key} has no subnet of its own choice (`ipam.config`)"),
                        false => format!("{address} is in no subnet of network {key}: {}", chosen.join(", ")),
                    });
                }
                if !ends(service)
                    && let Some(other) = taken.insert((&network.name, address), &service.name)
                {
                    return not(format!("service {other} has {address}, too"));
                }
            }
        }
    }
    Ok(())
}

//! What a plan would find out only after it has made something: networks, volumes, and containers that others made.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use rbuild_model::network::{AddressPool, NetworkDefinition};
use rbuild_model::project::{
    Condition, Namespace, NetworkKey, NetworkMode, Project, Service, ServiceName, VolumeKey, VolumesFrom,
};

use rbuild_network::driver::GatewayModes;

use super::pools::pools;
use super::{NotPossible, contained};
use crate::containers::ContainerError;
use crate::engine::Engine;
use crate::networks::{self, NetworkRequest, ipam};
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
        self.check_networks(project, plan)?;
        self.check_names(project, plan)?;
        let mut made = BTreeSet::new();
        for planned in &plan.operations {
            match &planned.operation {
                Operation::CreateVolume { key, .. } => self.check_volume(project, key)?,
                Operation::Create(new)
                | Operation::Recreate { new, .. }
                | Operation::MakeBeside { new, .. } => drop(made.insert(&*new.name)),
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
        addresses(project, services, plan, &|name| self.chosen(name))
    }

    /// Looks whether the networks of a plan can be made, beside each other and beside those that stay.
    fn check_networks(&self, project: &Project, plan: &Plan) -> Result<(), NotPossible> {
        let mut fresh = Vec::new();
        let mut gone = BTreeSet::new();
        for planned in &plan.operations {
            match &planned.operation {
                Operation::CreateNetwork { key, name } => {
                    fresh.push(key);
                    gone.insert(name);
                }
                Operation::RemoveNetwork { name } => drop(gone.insert(name)),
                _ => {}
            }
        }
        let Some(first) = fresh.first() else { return Ok(()) };
        let listed = self.networks().list();
        let mut known = listed.map_err(|error| NotPossible::of("networks", first.as_str(), "name", error))?;
        known.retain(|network| !gone.contains(&network.name));
        for key in fresh {
            let network = check_network(project, key, &known)?;
            known.push(network);
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

    /// The addresses that were chosen for a network; nothing if nobody knows it.
    fn chosen(&self, network: &str) -> Option<Chosen> {
        let found = self.networks().find(network).ok()?;
        let gateways = networks::gateways_of(&found.options);
        let pools = if found.chosen_subnets.is_on() { found.ipam.config } else { Vec::new() };
        Some(Chosen { pools, gateways })
    }
}

/// The addresses that were chosen for a network.
pub(super) struct Chosen {
    /// All of them.
    pub(super) pools: Vec<AddressPool>,
    /// Whether the gateways' are in use.
    pub(super) gateways: GatewayModes,
}

/// Looks at each part of a network by itself: the one is told that cannot be had. Returns what it would come to.
pub(super) fn check_network(
    project: &Project,
    key: &NetworkKey,
    known: &[NetworkDefinition],
) -> Result<NetworkDefinition, NotPossible> {
    let checked = |part, request: &NetworkRequest| {
        let checked = networks::check_new(request, known);
        checked.map_err(|error| NotPossible::of("networks", key.as_str(), part, error))
    };
    let whole = requests::network(project, key, "", "");
    let bare = NetworkRequest::new(&whole.name);
    checked("driver", &NetworkRequest { driver: whole.driver.clone(), ..bare.clone() })?;
    // Some options are only for internal networks.
    let optional = NetworkRequest { options: whole.options.clone(), internal: whole.internal, ..bare };
    checked("driver_opts", &optional)?;
    for (number, pool) in whole.ipam.config.iter().enumerate() {
        let pools = std::slice::from_ref(pool);
        if let Some(why) = ipam::cannot_set_aside(pools, networks::gateways_of(&whole.options)) {
            let part = format!("ipam.config[{number}].aux_addresses");
            return Err(NotPossible::of("networks", key.as_str(), part, why));
        }
    }
    checked("ipam", &NetworkRequest { ipam: whole.ipam.clone(), ipv6: whole.ipv6, ..optional })?;
    pools(key, &project.networks[key].ipam.pools)?;
    checked("enable_ipv4", &whole)
}

/// How many containers of a service a plan leaves.
fn count(plan: &Plan, service: &Service) -> usize {
    let planned = plan.operations.iter().filter_map(|planned| match &planned.operation {
        Operation::Create(new) | Operation::Recreate { new, .. } => Some((new.service.as_str(), &*new.name)),
        Operation::Start(container) => Some((container.service(), container.name())),
        _ => None,
    });
    let kept = plan.kept.iter().map(|kept| (&*kept.service, &*kept.name));
    let own = planned.chain(kept).filter(|(of, _)| *of == service.name.as_str());
    own.collect::<BTreeSet<_>>().len()
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
    plan: &Plan,
    known: &dyn Fn(&str) -> Option<Chosen>,
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
                true => known(&network.name),
                false => {
                    let NetworkRequest { ipam, options, .. } = requests::network(project, key, "", "");
                    let pools = ipam.config.into_iter().filter(|pool| !pool.subnet.is_empty()).collect();
                    Some(Chosen { pools, gateways: networks::gateways_of(&options) })
                }
            };
            let wanted = [
                ("ipv4_address", attachment.ipv4_address.map(IpAddr::from)),
                ("ipv6_address", attachment.ipv6_address.map(IpAddr::from)),
            ];
            for (part, address) in wanted.into_iter().filter_map(|(part, wanted)| Some((part, wanted?))) {
                let not = |why: String| Err(NotPossible::new(service, format!("networks.{key}.{part}"), why));
                if let Some(Chosen { pools, gateways }) = &chosen {
                    if !pools.iter().any(|pool| ipam::has(&pool.subnet, address)) {
                        let all: Vec<&str> = pools.iter().map(|pool| &*pool.subnet).collect();
                        return not(match all.is_empty() {
                            true => format!("network {key} has no subnet of its own choice (`ipam.config`)"),
                            false => {
                                format!("{address} is in no subnet of network {key}: {}", all.join(", "))
                            }
                        });
                    }
                    if let Some(kept) = ipam::kept(pools, *gateways, address) {
                        let what = kept.what();
                        return not(format!("address already in use: {address} is {what} of network {key}"));
                    }
                }
                let count = count(plan, service);
                if count > 1 {
                    return not(format!("{count} containers of the service are to have {address}"));
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

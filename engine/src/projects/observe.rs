//! Looking up what there is of a project, once: containers by their labels, networks and volumes by their names.

use std::collections::BTreeSet;

use rbuild_model::container::{
    ContainerId, Definition, HostOptions, MountWhat, NamespaceUse, Removal, State,
};
use rbuild_model::network::NetworkMode;
use rbuild_model::project::Project;

use super::labels::key;
use super::observed::{Activity, Found, Observed, Owner, Replica, ReplicaKind};
use super::operation::{Operation, Plan};
use crate::containers::{self, ContainerError};
use crate::engine::Engine;
use crate::networks::NetworksError;
use crate::volumes::VolumesError;

/// A container of a project, with all that is known of it.
#[derive(Clone, Debug)]
pub struct Member {
    /// What plans go by.
    pub replica: Replica,
    /// What it is.
    pub definition: Definition,
    /// What has become of it.
    pub seen: containers::Observed,
}

/// What a project has made besides containers, by its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// The names of networks.
    pub networks: Vec<String>,
    /// The names of volumes.
    pub volumes: Vec<String>,
}

/// Why a project could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// A container.
    #[error(transparent)]
    Container(Box<ContainerError>),
    /// The networks.
    #[error(transparent)]
    Networks(Box<NetworksError>),
    /// The volumes.
    #[error(transparent)]
    Volumes(Box<VolumesError>),
}

impl From<ContainerError> for ObserveError {
    fn from(error: ContainerError) -> Self {
        Self::Container(Box::new(error))
    }
}

impl From<NetworksError> for ObserveError {
    fn from(error: NetworksError) -> Self {
        Self::Networks(Box::new(error))
    }
}

impl From<VolumesError> for ObserveError {
    fn from(error: VolumesError) -> Self {
        Self::Volumes(Box::new(error))
    }
}

impl Engine {
    /// Returns the containers of a project, by service and number. One that removes itself and has ended is gone already.
    pub fn members(&self, project: &str) -> Result<Vec<Member>, ContainerError> {
        let mut members = Vec::new();
        for definition in self.definitions()? {
            if definition.labels.get(key::PROJECT).is_none_or(|name| name != project) {
                continue;
            }
            let seen = self.observe(&definition)?;
            if definition.host.removal == Removal::Auto && matches!(seen.state, State::Exited(_)) {
                continue;
            }
            members.push(Member { replica: replica(&definition, &seen), definition, seen });
        }
        members.sort_by(|a, b| place(&a.replica).cmp(&place(&b.replica)));
        Ok(members)
    }

    /// Returns what plans compare a project with.
    pub fn observe_project(&self, project: &Project, members: &[Member]) -> Result<Observed, ObserveError> {
        let mut observed = Observed {
            replicas: members.iter().map(|member| member.replica.clone()).collect(),
            ..Observed::default()
        };
        if !project.networks.is_empty() {
            let known = self.networks().list()?;
            for (key, network) in &project.networks {
                // Several may have one id's beginning, but only one the name.
                if let Some(found) = known.iter().find(|found| found.name == network.name) {
                    let found = found_as(&found.labels, project.name.as_str(), key::NETWORK, key.as_str());
                    observed.networks.insert(key.clone(), found);
                } else if network.external && known.iter().any(|found| found.id == network.name) {
                    observed.networks.insert(key.clone(), Found { owner: Owner::Nobody });
                }
            }
        }
        let volumes = self.volumes();
        for (key, volume) in &project.volumes {
            match volumes.find(&volume.name) {
                Ok(found) => {
                    let found = found_as(&found.labels, project.name.as_str(), key::VOLUME, key.as_str());
                    observed.volumes.insert(key.clone(), found);
                }
                Err(VolumesError::NotFound(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(observed)
    }

    /// Returns the networks and volumes that bear a project's label.
    pub fn owned(&self, project: &str) -> Result<Owned, ObserveError> {
        let is_ours = |labels: &std::collections::BTreeMap<String, String>| {
            labels.get(key::PROJECT).is_some_and(|name| name == project)
        };
        let networks = self.networks().list()?.into_iter().filter(|one| is_ours(&one.labels));
        let volumes = self.volumes().list()?.into_iter().filter(|one| is_ours(&one.labels));
        Ok(Owned {
            networks: networks.map(|one| one.name).collect(),
            volumes: volumes.map(|one| one.name.to_string()).collect(),
        })
    }
}

impl Plan {
    /// Leaves the removal of networks and volumes out that are not there, so that nothing is told of them.
    pub fn keep_existing(&mut self, engine: &Engine) -> Result<(), ObserveError> {
        let networks: BTreeSet<String> =
            engine.networks().list()?.into_iter().map(|network| network.name).collect();
        let volumes: BTreeSet<String> =
            engine.volumes().list()?.into_iter().map(|volume| volume.name.to_string()).collect();
        // They come last and nothing waits for them, so the places of the others stay.
        self.operations.retain(|planned| match &planned.operation {
            Operation::RemoveNetwork { name } => networks.contains(name),
            Operation::RemoveVolume { name } => volumes.contains(name),
            _ => true,
        });
        Ok(())
    }
}

/// What the order of containers goes by.
fn place(replica: &Replica) -> (&str, bool, u64, &str) {
    (&replica.service, replica.kind != ReplicaKind::Numbered, replica.number, &replica.name)
}

fn found_as(
    labels: &std::collections::BTreeMap<String, String>,
    project: &str,
    kind: &str,
    name: &str,
) -> Found {
    let owner = match labels.get(key::PROJECT) {
        Some(owner) if owner == project && labels.get(kind).is_some_and(|own| own == name) => {
            Owner::Ours { hash: labels.get(key::CONFIG_HASH).cloned().unwrap_or_default() }
        }
        Some(owner) => Owner::Other { project: owner.clone() },
        None => Owner::Nobody,
    };
    Found { owner }
}

/// Reads a container's place in its project from its labels.
fn replica(definition: &Definition, seen: &containers::Observed) -> Replica {
    let label = |name: &str| definition.labels.get(name).cloned().unwrap_or_default();
    let one_off = label(key::ONE_OFF).eq_ignore_ascii_case("true");
    let kind = match definition.labels.contains_key(key::HOOK) {
        true => ReplicaKind::PreStart,
        false if one_off => ReplicaKind::OneOff,
        false => ReplicaKind::Numbered,
    };
    let volumes = definition.host.mounts.iter().filter_map(|mount| match &mount.what {
        MountWhat::Volume { name, .. } => Some(name.to_string()),
        _ => None,
    });
    let mounted = definition.host.mounts.iter().filter_map(|mount| match &mount.what {
        MountWhat::Image { id, .. } => Some((mount.target.clone(), id.to_string())),
        _ => None,
    });
    let networks: BTreeSet<String> = containers::networks(definition).into_iter().collect();
    Replica {
        id: definition.id,
        name: definition.name.to_string(),
        service: label(key::SERVICE),
        number: label(key::NUMBER).parse().unwrap_or(1),
        kind,
        activity: activity(seen),
        config_hash: label(key::CONFIG_HASH),
        config: definition.origin.clone(),
        image: label(key::IMAGE),
        mounted: mounted.collect(),
        networks,
        volumes: volumes.collect(),
        shares: shares(&definition.host),
    }
}

/// The containers that one was made to share something with.
fn shares(host: &HostOptions) -> BTreeSet<ContainerId> {
    let network = match &host.network {
        NetworkMode::Container(id) => Some(id.as_str()),
        _ => None,
    };
    let namespaces = [&host.ipc, &host.pid, &host.uts].into_iter().filter_map(|space| match space {
        NamespaceUse::Container(id) => Some(id.as_str()),
        _ => None,
    });
    let volumes = host.volumes_from.iter().filter_map(|from| from.split(':').next());
    // Others than those of services may be known by their names.
    network.into_iter().chain(namespaces).chain(volumes).filter_map(|id| id.parse().ok()).collect()
}

fn activity(seen: &containers::Observed) -> Activity {
    match &seen.state {
        State::Running(_) | State::Paused(_) if seen.is_stopping => Activity::Stopping,
        State::Created { .. } => Activity::Created,
        State::Running(_) => Activity::Running,
        State::Paused(_) => Activity::Paused,
        State::Restarting { .. } => Activity::Restarting,
        State::Exited(_) => Activity::Exited,
        State::Removing { .. } | State::Dead { .. } => Activity::Dead,
    }
}

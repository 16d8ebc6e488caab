//! What services need of each other and of the project.

use std::collections::BTreeSet;

use rbuild_model::project::{
    MountKind, Namespace, NetworkMode, Project, Service, ServiceName, VolumeKey, VolumesFrom,
};

use super::order::{Cycle, dependencies_first};
use super::wanted::Dependencies;

/// Returns all services, dependencies first.
pub(super) fn in_order(project: &Project) -> Result<Vec<ServiceName>, Cycle> {
    let graph = project
        .services
        .iter()
        .map(|(name, service)| {
            let dependencies = service.depends_on.keys().map(ToString::to_string).collect();
            (name.to_string(), dependencies)
        })
        .collect();
    let sorted = dependencies_first(&graph)?;
    Ok(sorted
        .iter()
        .filter_map(|name| Some(project.services.get_key_value(name.as_str())?.0.clone()))
        .collect())
}

/// Returns the services that are looked after: the targets (all services if there are none), and what they need.
pub fn selected(
    project: &Project,
    targets: &BTreeSet<ServiceName>,
    dependencies: Dependencies,
) -> BTreeSet<ServiceName> {
    if targets.is_empty() {
        return project.services.keys().cloned().collect();
    }
    let mut selected = targets.clone();
    if dependencies == Dependencies::LeftAlone {
        return selected;
    }
    let mut open: Vec<ServiceName> = selected.iter().cloned().collect();
    while let Some(name) = open.pop() {
        for dependency in
            project.services.get(&name).into_iter().flat_map(|service| service.depends_on.keys())
        {
            if project.services.contains_key(dependency) && selected.insert(dependency.clone()) {
                open.push(dependency.clone());
            }
        }
    }
    selected
}

/// Returns the name of a service's image: its own, or the one that it is built under.
pub fn image_name(project: &Project, service: &Service) -> String {
    match service.image.as_deref().filter(|image| !image.is_empty()) {
        Some(image) => image.to_owned(),
        None => format!("{}{}{}", project.name, project.separator, service.name),
    }
}

/// The named volumes that a service mounts.
pub(super) fn named_volumes(service: &Service) -> impl Iterator<Item = &VolumeKey> {
    service.volumes.iter().filter_map(|mount| match &mount.kind {
        MountKind::Volume { source, .. } => source.as_ref(),
        _ => None,
    })
}

/// The services whose containers have to be there to share something with them.
pub(super) fn parents(service: &Service) -> impl Iterator<Item = &ServiceName> {
    let network = match &service.network_mode {
        Some(NetworkMode::Service(parent)) => Some(parent),
        _ => None,
    };
    let namespaces =
        [&service.ipc, &service.pid, &service.uts].into_iter().filter_map(|namespace| match namespace {
            Some(Namespace::Service(parent)) => Some(parent),
            _ => None,
        });
    let volumes = service.volumes_from.iter().filter_map(|from| match from {
        VolumesFrom::Service { service, .. } => Some(service),
        VolumesFrom::Container { .. } => None,
    });
    network.into_iter().chain(namespaces).chain(volumes)
}

//! What services say and nobody can give them: found before anything is made.

mod names;
mod plan;
mod pools;

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rbuild_devices::Registry;
use rbuild_model::container::{ContainerId, Resources};
use rbuild_model::project::{MountKind, Project, Service, ServiceName};

use rbuild_sandbox::limits;

use super::container::{Making, NotPossible, container, device_requests, resources};
use super::execute::granted;
use super::labels::Place;
use super::pre_start;
use super::services::image_name;
use crate::containers::{check_limits, choose_from, health};
use crate::engine::Engine;

/// Looks whether containers can be made of what services say; nothing of the machine is looked at.
pub fn check(
    project: &Project,
    services: &BTreeSet<ServiceName>,
    profiles: &BTreeMap<String, String>,
) -> Result<(), NotPossible> {
    // Who is shared with is there when it comes to that.
    let someone = ContainerId::from_bytes([0; 32]);
    let parents = project.services.keys().map(|name| (name.clone(), someone)).collect();
    for service in contained(project, services) {
        let request = container(&Making {
            project,
            service,
            place: Place::Numbered(1),
            name: service.name.to_string(),
            image: image_name(project, service),
            image_id: String::new(),
            parents: &parents,
            inherited: &BTreeMap::new(),
            profiles,
            version: "",
        })?;
        pre_start::refuse(service)?;
        names::of_machine(service)?;
        names::of_links(project, service, &request.host.endpoints)?;
        health(request.health.as_ref(), None)
            .map_err(|error| NotPossible::new(service, "healthcheck", error))?;
    }
    Ok(())
}

impl Engine {
    /// Looks whether this machine has what new containers of services are to have of it: devices, files, variables.
    pub fn check_machine(
        &self,
        project: &Project,
        services: &BTreeSet<ServiceName>,
    ) -> Result<(), NotPossible> {
        check_machine(project, services, &self.parts.device_folders)
    }
}

fn check_machine(
    project: &Project,
    services: &BTreeSet<ServiceName>,
    device_folders: &[PathBuf],
) -> Result<(), NotPossible> {
    // Read when the first service asks for a device.
    let devices = LazyCell::new(|| Registry::load(device_folders));
    let services = || contained(project, services);
    let made: Vec<&Path> =
        services().flat_map(binds).filter(|bind| bind.is_made).map(|bind| bind.source).collect();
    for service in services() {
        for (key, request) in device_requests(service) {
            choose_from(&devices, &[request]).map_err(|error| NotPossible::new(service, key, error))?;
        }
        granted(project, service)?;
        resource_limits(service)?;
        ulimits(service)?;
        parameters(service)?;
        for bind in binds(service).filter(|bind| !bind.is_made && !bind.source.exists()) {
            // With a folder that is made come those above it.
            if !made.iter().any(|made| made.starts_with(bind.source)) {
                return Err(NotPossible::missing(service, format!("volumes[{}]", bind.number), bind.source));
            }
        }
    }
    Ok(())
}

/// Looks at each limit by itself, or with the one that it is measured by: the key is told that cannot be had.
fn resource_limits(service: &Service) -> Result<(), NotPossible> {
    let all = resources(service)?;
    let none = Resources::default();
    let memory = Resources { memory: all.memory, ..none.clone() };
    let cpus = Resources { nano_cpus: all.nano_cpus, ..none.clone() };
    let place = |is_here: bool, key, deployed| if is_here { key } else { deployed };
    let parts = [
        (place(service.mem_limit.is_some(), "mem_limit", "deploy.resources.limits.memory"), memory.clone()),
        ("memswap_limit", Resources { memory_swap: all.memory_swap, ..memory.clone() }),
        (
            place(
                service.mem_reservation.is_some(),
                "mem_reservation",
                "deploy.resources.reservations.memory",
            ),
            Resources { memory_reservation: all.memory_reservation, ..memory },
        ),
        (place(service.cpus.is_some(), "cpus", "deploy.resources.limits.cpus"), cpus.clone()),
        ("cpu_period", Resources { cpu_period: all.cpu_period, ..cpus.clone() }),
        ("cpu_quota", Resources { cpu_quota: all.cpu_quota, ..cpus }),
        ("cpuset", Resources { cpuset_cpus: all.cpuset_cpus.clone(), ..none.clone() }),
        (
            "cpu_rt_runtime",
            Resources {
                cpu_rt_period: all.cpu_rt_period,
                cpu_rt_runtime: all.cpu_rt_runtime,
                ..none.clone()
            },
        ),
        ("device_cgroup_rules", Resources { device_rules: all.device_rules.clone(), ..none }),
        // What is left.
        ("blkio_config", all),
    ];
    for (key, part) in parts {
        check_limits(&part).map_err(|error| NotPossible::new(service, key, error))?;
    }
    Ok(())
}

/// Looks whether the kernel gives the programs of a service the limits that it names.
fn ulimits(service: &Service) -> Result<(), NotPossible> {
    for limit in resources(service)?.ulimits {
        let bound = |number| u64::try_from(number).unwrap_or(u64::MAX);
        limits::possible(&limit.name, bound(limit.soft), bound(limit.hard))
            .map_err(|error| NotPossible::new(service, format!("ulimits.{}", limit.name), error))?;
    }
    Ok(())
}

/// Looks whether the kernel has the parameters that a service sets. What belongs to something that comes with the
/// container (a link, a module) is not known before that.
fn parameters(service: &Service) -> Result<(), NotPossible> {
    for name in service.sysctls.keys().filter(|name| !name.contains('/')) {
        let file = Path::new("/proc/sys").join(name.replace('.', "/"));
        if file.parent().is_some_and(Path::is_dir) && !file.exists() {
            return Err(NotPossible::new(
                service,
                "sysctls",
                format!("the kernel has no parameter `{name}`"),
            ));
        }
    }
    Ok(())
}

/// Those services that have containers.
fn contained<'a>(
    project: &'a Project,
    services: &'a BTreeSet<ServiceName>,
) -> impl Iterator<Item = &'a Service> {
    let known = services.iter().filter_map(|name| project.services.get(name));
    known.filter(|service| service.provider.is_none())
}

/// A folder or file of the host that a service is to have.
struct Bind<'a> {
    number: usize,
    source: &'a Path,
    /// Whether it is made where it is missing.
    is_made: bool,
}

fn binds(service: &Service) -> impl Iterator<Item = Bind<'_>> {
    service.volumes.iter().enumerate().filter_map(|(number, mount)| match &mount.kind {
        MountKind::Bind { source, options } => {
            Some(Bind { number, source, is_made: options.create_host_path })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;

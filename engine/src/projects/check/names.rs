//! Names that the kernel gives to what is in a container, and those of containers themselves.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::container::ContainerId;
use rbuild_model::network::EndpointWish;
use rbuild_model::project::{NetworkKey, Project, Service};
use rbuild_network::link::LinkName;

use super::NotPossible;
use crate::containers::ContainerError;
use crate::engine::Engine;
use crate::networks::{NetworksError, links};
use crate::projects::labels::key;
use crate::projects::operation::{Before, Existing, New, Operation, Plan};

/// The longest name of a machine that the kernel takes.
const LONGEST: usize = 64;

/// Looks whether the kernel takes a service's name of the machine and of its domain; of the latter it gets what it takes.
pub(super) fn of_machine(service: &Service) -> Result<(), NotPossible> {
    for (key, name) in [("hostname", &service.hostname), ("domainname", &service.domainname)] {
        let Some(name) = name else { continue };
        let length = name.len();
        if length > LONGEST && key == "hostname" {
            let why =
                format!("it has {length} bytes, the kernel takes {LONGEST} at most: choose a shorter one");
            return Err(NotPossible::new(service, key, why));
        }
        if name.contains('\0') {
            return Err(NotPossible::new(service, key, "the kernel takes no name with a zero byte in it"));
        }
    }
    Ok(())
}

/// Looks whether the kernel takes the names that a service chooses for its links, and whether they differ; and whether options
/// of its links mean anything.
pub(super) fn of_links(
    project: &Project,
    service: &Service,
    endpoints: &[EndpointWish],
) -> Result<(), NotPossible> {
    let mut taken: BTreeMap<LinkName, &NetworkKey> = BTreeMap::new();
    for (network, attachment) in &service.networks {
        let name = project.networks.get(network).map_or(network.as_str(), |network| &network.name);
        let own = endpoints.iter().find(|wish| wish.network == name);
        let Some(wish) = own else { continue };
        let wrong = match links::settings(&wish.settings) {
            Err(mistakes) => Some(mistakes.join("; ")),
            Ok(_) => links::unknown(&wish.settings).map(|option| format!("`{option}` is not supported yet")),
        };
        if let Some(why) = wrong {
            return Err(NotPossible::new(service, format!("networks.{network}.driver_opts"), why));
        }
        let key = match attachment.interface_name {
            Some(_) => format!("networks.{network}.interface_name"),
            None => format!("networks.{network}.driver_opts"),
        };
        let not = |why: String| Err(NotPossible::new(service, key, why));
        let link = match links::chosen(&wish.settings) {
            Ok(Some(link)) => link,
            Ok(None) => continue,
            Err(NetworksError::Config(mistakes)) => return not(mistakes.join("; ")),
            Err(error) => return not(error.to_string()),
        };
        if let Some(other) = taken.insert(link.clone(), network) {
            return not(format!(
                "`{link}` is the name of the link to network {other} already: choose another one"
            ));
        }
    }
    Ok(())
}

impl Engine {
    /// Looks whether nobody has the names that a plan gives to containers, or loses them before.
    pub(super) fn check_names(&self, project: &Project, plan: &Plan) -> Result<(), NotPossible> {
        let mut gone = BTreeSet::new();
        for planned in &plan.operations {
            match &planned.operation {
                Operation::Create(new) => self.check_name(project, new, &gone)?,
                // What is made beside another one has a name for the time being until it takes over.
                Operation::Recreate { old, new, .. } | Operation::TakeOver { old, new } => {
                    gone.insert(old.id);
                    self.check_name(project, new, &gone)?;
                }
                Operation::RunBefore(Before { service, at, name, .. }) => {
                    let new = New { service: service.clone(), number: *at as u64, name: name.clone() };
                    self.check_name(project, &new, &gone)?;
                }
                Operation::Remove { container: Existing { id, .. }, .. }
                | Operation::Rename { container: Existing { id, .. }, .. } => drop(gone.insert(*id)),
                _ => {}
            }
        }
        Ok(())
    }

    fn check_name(
        &self,
        project: &Project,
        new: &New,
        gone: &BTreeSet<ContainerId>,
    ) -> Result<(), NotPossible> {
        let Some(service) = project.services.get(&new.service) else { return Ok(()) };
        let holder = match self.find(&new.name) {
            Ok(holder) if holder.name.as_str() == new.name && !gone.contains(&holder.id) => holder,
            // An id may begin so.
            Ok(_) | Err(ContainerError::NotFound(_) | ContainerError::Ambiguous(_)) => return Ok(()),
            Err(error) => return Err(NotPossible::new(service, "container_name", error)),
        };
        let label = |name: &str| holder.labels.get(name).map(String::as_str).unwrap_or_default();
        let number = new.number.to_string();
        let own = [
            (key::PROJECT, project.name.as_str()),
            (key::SERVICE, new.service.as_str()),
            (key::NUMBER, &number),
        ];
        // Another command that makes the same project may be faster.
        if own.iter().all(|(name, value)| label(name) == *value) {
            return Ok(());
        }
        let error = ContainerError::NameTaken { name: new.name.clone(), holder: holder.id };
        Err(NotPossible::new(service, "container_name", error))
    }
}

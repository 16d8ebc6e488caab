//! New containers that start before the old ones stop.

use rbuild_model::project::{Namespace, NetworkMode, Order as Written, Service};

use super::names::Freed;
use super::{Planner, Replica, named_volumes};
use crate::projects::cause::Cause;
use crate::projects::observed::Activity;
use crate::projects::operation::{New, Operation, OperationId, Warning};
use crate::projects::wanted::{AnonymousVolumes, Order, Starting};

impl Planner<'_> {
    /// Whether the new container starts before the old one stops. Where that is asked for and cannot be, it is told why.
    pub(super) fn goes_beside(&mut self, service: &Service, old: &Replica) -> bool {
        let serves = old.activity == Activity::Running && !self.ground.stopped.contains_key(&old.id);
        if self.wanted.order == Order::StopFirst || self.wanted.starting == Starting::CreateOnly || !serves {
            return false;
        }
        let Some(why) = self.obstacle(service, old) else { return true };
        self.plan.warnings.push(Warning::StopFirst { container: old.name.clone(), why });
        false
    }

    /// What two containers of a service cannot have at the same time.
    fn obstacle(&self, service: &Service, old: &Replica) -> Option<String> {
        let config = service.deploy.as_ref().and_then(|deploy| deploy.update_config.as_ref());
        if config.is_some_and(|config| config.order == Some(Written::StopFirst)) {
            return Some("deploy.update_config.order is stop-first".to_owned());
        }
        let ports = service.ports.iter().filter_map(|port| port.published);
        if let Some(port) = ports.into_iter().find(|range| range.first == range.last && range.first != 0) {
            return Some(format!("both would publish port {}", port.first));
        }
        let shared = match &service.network_mode {
            Some(NetworkMode::Host) => Some("the host".to_owned()),
            Some(NetworkMode::Service(other)) => Some(format!("service {other}")),
            Some(NetworkMode::Container(other)) => Some(format!("container {other}")),
            Some(NetworkMode::None | NetworkMode::Network(_)) | None => None,
        };
        if let Some(whose) = shared {
            return Some(format!("both would have the ports of {whose}"));
        }
        if matches!(service.pid, Some(Namespace::Service(_) | Namespace::Container(_))) {
            return Some("both would be in another container's PID namespace".to_owned());
        }
        for (key, attachment) in &service.networks {
            let addresses = [
                attachment.ipv4_address.map(|address| address.to_string()),
                attachment.ipv6_address.map(|address| address.to_string()),
                attachment.mac_address.clone(),
            ];
            let own = addresses.into_iter().flatten().next();
            if let Some(address) = own.or_else(|| attachment.link_local_ips.first().map(ToString::to_string))
            {
                return Some(format!("both would have the address {address} in network {key}"));
            }
        }
        if let Some(address) = &service.mac_address {
            return Some(format!("both would have the address {address}"));
        }
        let name = |key| self.project.volumes.get(key).map(|volume| &volume.name);
        let named: Vec<&String> = named_volumes(service).filter_map(name).collect();
        let has_own = old.volumes.iter().any(|volume| !named.contains(&volume));
        (self.wanted.anonymous == AnonymousVolumes::Keep && has_own).then(|| {
            "both would write to the volumes that it has for itself (-V gives it new ones)".to_owned()
        })
    }

    /// Plans that a container that was started takes the place of the old one.
    pub(super) fn take_over(
        &mut self,
        service: &Service,
        old: &Replica,
        new: New,
        start: OperationId,
    ) -> OperationId {
        let mut after = vec![start];
        match self.freed(service, &new.name) {
            Some(Freed::By(operation)) => after.push(operation),
            // Where the new one is never ready, both old ones have the names that they had.
            Some(Freed::Later(holder)) => {
                let ready =
                    self.plan.add(Operation::AwaitBeside(new.clone()), Cause::StartFirst, vec![start]);
                after.push(self.rename_for_now(service, holder, vec![ready]));
            }
            None => {}
        }
        let operation = Operation::TakeOver { old: old.existing(), new };
        self.plan.add(operation, Cause::StartFirst, after)
    }
}

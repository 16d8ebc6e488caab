//! Ports of the host that a plan is about to take: looked at before anything is done, so that a taken one is told before
//! half of the project is there.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use rbuild_model::container::ContainerId;
use rbuild_model::network::{HostPort, PortBinding, Protocol};
use rbuild_model::project::Project;
use rbuild_network::ports::{PortError, Published, Reservation};

use super::container::port;
use super::observe::Member;
use super::operation::{Operation, Plan, Startable};
use crate::engine::Engine;

/// Why a plan cannot have its ports.
#[derive(Debug, thiserror::Error)]
pub enum PortTaken {
    /// Somebody else has it.
    #[error("service {service}")]
    Elsewhere {
        /// Who wants it.
        service: String,
        /// Which of its ports it is.
        number: usize,
        /// Who has it.
        #[source]
        source: PortError,
    },
    /// Two containers of the plan want it.
    #[error(
        "service {second}: port {port}/{protocol} of the host is given to {first} already: publish another one, or leave \
         the choice to the engine"
    )]
    Twice {
        /// The container that has it.
        first: String,
        /// The service that wants it too.
        second: String,
        /// Which of its ports it is.
        number: usize,
        /// Which.
        port: u16,
        /// Its protocol.
        protocol: &'static str,
    },
}

impl PortTaken {
    /// The keys and positions that lead to the port that cannot be had, from the top of the project.
    pub fn path(&self) -> [String; 4] {
        let (Self::Elsewhere { service, number, .. } | Self::Twice { second: service, number, .. }) = self;
        ["services".to_owned(), service.clone(), "ports".to_owned(), number.to_string()]
    }
}

/// A port of the host.
type Wanted = (u16, Protocol, IpAddr);

/// Looks whether the ports are free that a plan takes, but for those that it frees itself.
pub fn check_ports(
    engine: &Engine,
    plan: &Plan,
    project: &Project,
    members: &[Member],
) -> Result<(), PortTaken> {
    let mut freed = BTreeSet::new();
    for planned in &plan.operations {
        let Some(id) = holder(&planned.operation) else { continue };
        // One that has ended has none any more, whatever was noted of it.
        let is_meant = |member: &&Member| member.replica.id == id && member.replica.activity.is_up();
        let ports = members.iter().find(is_meant).into_iter().flat_map(|member| &member.seen.note.ports);
        freed.extend(ports.map(|port| (port.host_port, port.protocol.word())));
    }
    let mut taken: BTreeMap<(u16, &'static str), Vec<(IpAddr, String)>> = BTreeMap::new();
    for planned in &plan.operations {
        let Operation::Start(container) = &planned.operation else { continue };
        let (service, bindings) = bindings(container, project, members);
        for (number, binding) in bindings.iter().enumerate() {
            let Some((port, protocol, host)) = fixed(binding) else { continue };
            let word = protocol.word();
            let others = taken.entry((port, word)).or_default();
            if let Some((_, first)) = others.iter().find(|(other, _)| meet(*other, host)) {
                let (first, second) = (first.clone(), service);
                return Err(PortTaken::Twice { first, second, number, port, protocol: word });
            }
            others.push((host, container.name().to_owned()));
            if freed.contains(&(port, word)) {
                continue;
            }
            let wanted = Published { protocol, host, port, target: port };
            if let Err(mut source) = Reservation::bind(wanted) {
                engine.name_holder(None, &mut source);
                return Err(PortTaken::Elsewhere { service, number, source });
            }
        }
    }
    Ok(())
}

/// The container whose own ports an operation frees, or goes on with: one that is held still has them all the while.
fn holder(operation: &Operation) -> Option<ContainerId> {
    match operation {
        Operation::Stop(there)
        | Operation::Remove { container: there, .. }
        | Operation::Recreate { old: there, .. }
        | Operation::Start(Startable::Existing(there)) => Some(there.id),
        _ => None,
    }
}

/// The ports that a container is to publish, and whose it is.
fn bindings(container: &Startable, project: &Project, members: &[Member]) -> (String, Vec<PortBinding>) {
    match container {
        Startable::New(new) => {
            let service = project.services.get(&new.service);
            let ports = service.into_iter().flat_map(|service| &service.ports);
            (new.service.to_string(), ports.map(port).collect())
        }
        Startable::Existing(there) => {
            let member = members.iter().find(|member| member.replica.id == there.id);
            let ports = member.map(|member| member.definition.host.ports.clone());
            (there.service.clone(), ports.unwrap_or_default())
        }
    }
}

/// The one port that a binding takes, if it is a certain one.
fn fixed(binding: &PortBinding) -> Option<Wanted> {
    match binding.host_port {
        HostPort::One(number) if number > 0 => {
            Some((number, binding.protocol, binding.host.unwrap_or(Ipv4Addr::UNSPECIFIED.into())))
        }
        _ => None,
    }
}

/// Whether two addresses cannot have one port.
fn meet(a: IpAddr, b: IpAddr) -> bool {
    a == b || (a.is_ipv4() == b.is_ipv4() && (a.is_unspecified() || b.is_unspecified()))
}

#[cfg(test)]
mod tests {
    use super::super::operation::Existing;
    use super::*;

    #[test]
    fn one_address_among_all_is_taken_by_all() {
        let [all, one, two, six] =
            ["0.0.0.0", "127.0.0.1", "127.0.0.2", "::"].map(|text| text.parse().expect("one"));
        assert!(meet(all, one) && meet(one, one) && meet(two, all));
        assert!(!meet(one, two) && !meet(six, one));
    }

    #[test]
    fn who_goes_on_has_its_own_ports() {
        let id = ContainerId::from_bytes([1; 32]);
        let there = || Existing { id, name: "p-web-1".to_owned(), service: "web".to_owned(), number: 1 };
        assert_eq!(holder(&Operation::Start(Startable::Existing(there()))), Some(id));
        assert_eq!(holder(&Operation::Stop(there())), Some(id));
        assert_eq!(holder(&Operation::Pause(there())), None);
    }
}

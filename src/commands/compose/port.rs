//! `rbuild compose port`.

use std::net::SocketAddr;

use rbuild_engine::containers::PortNote;

use super::look::{Look, Which};
use crate::cli::compose::Project;
use crate::cli::compose::look::Port;
use crate::commands::{Context, Outcome};
use crate::report::{Mistake, Status};

pub(super) fn run(project: &Project, arguments: &Port, context: &Context) -> Outcome {
    let look = Look::at(project, "port", context)?;
    let mut member = look.one(&arguments.service, arguments.index, Which::Running)?;
    look.engine.follow_networks(&member.definition, &mut member.seen)?;
    let mut ports = member.seen.note.published().to_vec();
    ports.sort_by_key(|port| (port.host.is_ipv6(), port.port, port.protocol, port.host, port.host_port));
    let protocol = arguments.protocol.to_lowercase();
    let fits = |port: &&PortNote| port.port == arguments.port && port.protocol.word() == protocol;
    let Some(found) = ports.iter().find(fits) else {
        let mut there: Vec<_> =
            ports.iter().map(|port| format!("{}/{}", port.host_port, port.protocol)).collect();
        there.sort();
        there.dedup();
        let there = if there.is_empty() { "it publishes none".to_owned() } else { there.join(", ") };
        return Err(Mistake::new(format!(
            "no port {}/{protocol} for container {}: {there}",
            arguments.port, member.replica.name
        ))
        .into());
    };
    context.terminal.print(&format!("{}\n", SocketAddr::new(found.host, found.host_port)))?;
    Ok(Status::Done)
}

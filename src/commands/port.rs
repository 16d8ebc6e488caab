//! `rbuild port`.

use std::net::IpAddr;

use rbuild_engine::containers::PortNote;

use super::{Context, Outcome};
use crate::cli::container::Port;
use crate::report::{Mistake, Status};

pub(super) fn run(arguments: &Port, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild port")?;
    let definition = engine.find(&arguments.container)?;
    let mut observed = engine.observe(&definition)?;
    engine.follow_networks(&definition, &mut observed)?;
    let mut ports = observed.note.published().to_vec();
    ports.sort_by_key(|port| (port.port, port.protocol, port.host.is_ipv6(), port.host, port.host_port));
    let host = |port: &PortNote| match port.host {
        IpAddr::V4(host) => format!("{host}:{}", port.host_port_text()),
        IpAddr::V6(host) => format!("[{host}]:{}", port.host_port_text()),
    };
    let Some(asked) = &arguments.port else {
        let line = |port: &PortNote| format!("{}/{} -> {}\n", port.port, port.protocol, host(port));
        context.terminal.print(&ports.iter().map(line).collect::<String>())?;
        return Ok(Status::Done);
    };
    let (number, protocol) = asked.split_once('/').unwrap_or((asked, "tcp"));
    let fits = |port: &&PortNote| port.port.to_string() == number && port.protocol.word() == protocol;
    let text: String = ports.iter().filter(fits).map(|port| format!("{}\n", host(port))).collect();
    if text.is_empty() {
        return Err(Mistake::new(format!(
            "no public port '{number}/{protocol}' published for {}",
            arguments.container
        ))
        .into());
    }
    context.terminal.print(&text)?;
    Ok(Status::Done)
}

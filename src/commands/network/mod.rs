//! `rbuild network`.

mod create;
mod list;

use std::net::IpAddr;

use rbuild_engine::networks::{Leaving, NetworksError};
use rbuild_model::network::EndpointSettings;

use super::{Context, Outcome, inspect};
use crate::cli::network::{Connect, Disconnect, Inspect, Network, NetworkVerb, Remove};
use crate::report::{self, Mistake, Status};

pub(super) fn run(group: Network, context: &Context) -> Outcome {
    match group.verb {
        NetworkVerb::Create(arguments) => create::run(&arguments, context),
        NetworkVerb::Connect(arguments) => connect(&arguments, context),
        NetworkVerb::Disconnect(arguments) => disconnect(&arguments, context),
        NetworkVerb::Inspect(arguments) => show(&arguments, context),
        NetworkVerb::Ls(arguments) => list::run(&arguments, context),
        NetworkVerb::Prune(arguments) => list::prune(&arguments, context),
        NetworkVerb::Rm(arguments) => remove(&arguments, context),
    }
}

fn connect(arguments: &Connect, context: &Context) -> Outcome {
    let settings = settings(arguments)?;
    let (_home, engine) = crate::wiring::engine(context, "rbuild network connect")?;
    engine.connect_network(&arguments.network, &arguments.container, &settings)?;
    Ok(Status::Done)
}

/// What is wanted of the network. An address that is none is no mistake of the command line, as with docker, where the daemon
/// reads it.
fn settings(arguments: &Connect) -> Result<EndpointSettings, Mistake> {
    let mut mistakes = Vec::new();
    let mut tell = |kind: &str, text: &str| mistakes.push(format!("invalid {kind} address: {text}"));
    let mut read = EndpointSettings {
        aliases: arguments.alias.clone(),
        links: arguments.link.clone(),
        mac: arguments.mac_address,
        gateway_priority: arguments.gw_priority,
        driver_options: arguments.driver_opt.iter().cloned().collect(),
        ..EndpointSettings::default()
    };
    if let Some(text) = &arguments.ip {
        read.ipv4 = text.parse().map_err(|_| tell("IPv4", text)).ok();
    }
    if let Some(text) = &arguments.ip6 {
        read.ipv6 = text.parse().map_err(|_| tell("IPv6", text)).ok();
    }
    for text in &arguments.link_local_ip {
        read.link_local.extend(text.parse::<IpAddr>().map_err(|_| tell("link-local IP", text)));
    }
    match mistakes.is_empty() {
        true => Ok(read),
        false => Err(Mistake::new(format!("invalid endpoint settings:\n{}", mistakes.join("\n")))),
    }
}

fn disconnect(arguments: &Disconnect, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild network disconnect")?;
    let leaving = if arguments.force { Leaving::Forced } else { Leaving::Asked };
    engine.disconnect_network(&arguments.network, &arguments.container, leaving)?;
    Ok(Status::Done)
}

fn show(arguments: &Inspect, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild network inspect")?;
    let networks = engine.networks();
    inspect::documents(&arguments.networks, arguments.format.as_deref(), context, |text| {
        Ok(networks.inspect(&networks.find(text)?)?)
    })
}

fn remove(arguments: &Remove, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild network rm")?;
    let networks = engine.networks();
    let mut status = Status::Done;
    for name in &arguments.networks {
        match networks.find(name).and_then(|definition| networks.remove(&definition)) {
            Ok(()) => context.terminal.print(&format!("{name}\n"))?,
            Err(NetworksError::NotFound(_)) if arguments.force => {}
            Err(error) => status = report::tell(&error.into(), context.terminal),
        }
    }
    Ok(status)
}

//! The networks and ports of a service's container.

use std::collections::BTreeSet;
use std::net::IpAddr;

use rbuild_model::network as wish;
use rbuild_model::project::{self, NetworkKey, NetworkMode, Project, Service};
use rbuild_model::step::ExtraHost;

use super::{Making, NotPossible, not, parent};
use crate::networks;
use crate::projects::labels::Place;

pub(super) fn network(
    making: &Making<'_>,
    host: &mut rbuild_model::container::HostOptions,
) -> Result<(), NotPossible> {
    let service = making.service;
    let project = making.project;
    refuse_beside_lender(service)?;
    let mut attached: Vec<_> = service.networks.iter().collect();
    attached.sort_by(|(a_key, a), (b_key, b)| b.priority.cmp(&a.priority).then(a_key.cmp(b_key)));
    let name = |key: &project::NetworkKey| {
        project.networks.get(key).map_or_else(|| key.to_string(), |network| network.name.clone())
    };
    host.network = match &service.network_mode {
        Some(NetworkMode::None) => wish::NetworkMode::None,
        Some(NetworkMode::Host) => wish::NetworkMode::Host,
        Some(NetworkMode::Service(of)) => {
            wish::NetworkMode::Container(parent(making, of, "network_mode")?.to_string())
        }
        Some(NetworkMode::Container(of)) => wish::NetworkMode::Container(of.clone()),
        Some(NetworkMode::Network(name)) => {
            name.parse().unwrap_or_else(|never: std::convert::Infallible| match never {})
        }
        None => match attached.first() {
            Some((key, _)) => {
                name(key).parse().unwrap_or_else(|never: std::convert::Infallible| match never {})
            }
            None => wish::NetworkMode::None,
        },
    };
    for (key, _) in attached {
        let is_main = host.endpoints.is_empty();
        host.endpoints.push(wish(making.project, service, &making.place, &making.name, key, is_main)?);
    }
    host.ports = service.ports.iter().map(port).collect();
    host.extra_hosts = extra_hosts(service)?;
    host.dns = service.dns.clone();
    host.dns_search.clone_from(&service.dns_search);
    host.dns_options.clone_from(&service.dns_opt);
    Ok(())
}

/// Refuses what belongs to whoever's network the containers of a service are to be in.
fn refuse_beside_lender(service: &Service) -> Result<(), NotPossible> {
    let Some(NetworkMode::Service(_) | NetworkMode::Container(_)) = service.network_mode else {
        return Ok(());
    };
    let network = "the network mode";
    let container = "the container type network mode";
    let asked = [
        ("hostname", service.hostname.is_some(), "hostname", network),
        ("dns", !service.dns.is_empty(), "dns", network),
        ("extra_hosts", !service.extra_hosts.is_empty(), "custom host-to-IP mapping", network),
        ("ports", !service.ports.is_empty(), "port publishing", container),
        ("expose", !service.expose.is_empty(), "port exposing", container),
    ];
    match asked.into_iter().find(|(_, is_asked, _, _)| *is_asked) {
        Some((key, _, what, mode)) => {
            Err(not(service, key, format!("conflicting options: {what} and {mode}")))
        }
        None => Ok(()),
    }
}

/// The names that a service gives to addresses.
fn extra_hosts(service: &Service) -> Result<Vec<ExtraHost>, NotPossible> {
    let all = service.extra_hosts.iter().flat_map(|(name, all)| all.iter().map(move |one| (name, one)));
    all.map(|(name, address)| {
        if address != "host-gateway" && address.parse::<IpAddr>().is_err() {
            return Err(not(
                service,
                "extra_hosts",
                format!("invalid IP address in add-host: {address:?} for {name}"),
            ));
        }
        Ok(ExtraHost { name: name.clone(), address: address.clone() })
    })
    .collect()
}

/// Returns how a container of a service is in one of its networks.
pub(in crate::projects) fn endpoint(
    project: &Project,
    service: &Service,
    place: &Place,
    name: &str,
    key: &NetworkKey,
) -> Result<wish::EndpointWish, NotPossible> {
    wish(project, service, place, name, key, service.networks.len() == 1)
}

fn wish(
    project: &Project,
    service: &Service,
    place: &Place,
    name: &str,
    key: &NetworkKey,
    is_main: bool,
) -> Result<wish::EndpointWish, NotPossible> {
    let attachment = service.networks.get(key).cloned().unwrap_or_default();
    let mac = attachment.mac_address.as_ref().or(service.mac_address.as_ref().filter(|_| is_main));
    let mac = mac.map(|text| text.parse()).transpose();
    let mut driver_options = attachment.driver_opts;
    if let Some(link) = attachment.interface_name {
        driver_options.insert(networks::links::OPTION.to_owned(), link);
    }
    let mut aliases = vec![name.to_owned()];
    if place.has_aliases() {
        aliases.push(service.name.to_string());
        aliases.extend(attachment.aliases);
    }
    let mut seen = BTreeSet::new();
    aliases.retain(|alias| seen.insert(alias.clone()));
    let network = project.networks.get(key).map_or_else(|| key.to_string(), |network| network.name.clone());
    Ok(wish::EndpointWish {
        network,
        settings: wish::EndpointSettings {
            aliases,
            links: links(project, service),
            ipv4: attachment.ipv4_address,
            ipv6: attachment.ipv6_address,
            link_local: attachment.link_local_ips,
            mac: mac.map_err(|error| not(service, format!("networks.{key}.mac_address"), error))?,
            gateway_priority: attachment.gw_priority,
            driver_options,
        },
    })
}

/// The names that containers of other services and projects have in a service's: the first container of a service has the
/// link's, and each one its service's with its number, as Docker Compose has it.
fn links(project: &Project, service: &Service) -> Vec<String> {
    let Project { name, separator, .. } = project;
    let of = |link: &project::Link| {
        let linked = project.services.get(&link.service);
        let fixed = linked.and_then(|linked| linked.container_name.clone());
        let (own, count) = (link.service.clone(), linked.map_or(1, |linked| linked.replicas.max(1)));
        let alias = link.alias.clone().unwrap_or_else(|| own.to_string());
        let target = move |number: u64| match &fixed {
            Some(fixed) => fixed.clone(),
            None => format!("{name}{separator}{own}{separator}{number}"),
        };
        let first = format!("{}:{alias}", target(1));
        let own = link.service.clone();
        let numbered = (1..=count).map(move |number| format!("{}:{own}{separator}{number}", target(number)));
        std::iter::once(first).chain(numbered)
    };
    let external = service.external_links.iter().map(|link| match link.split_once(':') {
        Some(_) => link.clone(),
        None => format!("{link}:{link}"),
    });
    service.links.iter().flat_map(of).chain(external).collect()
}

pub(in crate::projects) fn port(port: &project::Port) -> wish::PortBinding {
    wish::PortBinding {
        host: port.host_ip,
        host_port: match port.published {
            None => wish::HostPort::Any,
            Some(range) if range.first == 0 => wish::HostPort::Any,
            Some(range) if range.first == range.last => wish::HostPort::One(range.first),
            Some(range) => wish::HostPort::Range(range.first, range.last),
        },
        port: port.target,
        protocol: match port.protocol {
            project::Protocol::Tcp => wish::Protocol::Tcp,
            project::Protocol::Udp => wish::Protocol::Udp,
            project::Protocol::Sctp => wish::Protocol::Sctp,
        },
    }
}

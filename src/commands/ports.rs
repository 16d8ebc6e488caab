//! Ports as lists of containers show them.

use std::net::IpAddr;

use rbuild_engine::containers::Listed;
use rbuild_engine::containers::Observed;
use rbuild_model::container::Definition;

/// A port of a container that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    /// The container's port.
    pub(super) port: u16,
    /// The address and port of the host that lead to it, if any do.
    pub(super) host: Option<(IpAddr, u16)>,
    /// The protocol.
    pub(super) protocol: String,
}

/// Returns the ports of a container in the order in which lists have them: those that lead to it, and those that it only
/// says it listens on. One that does not run has none.
pub(super) fn of(definition: &Definition, observed: &Observed) -> Vec<Shown> {
    if observed.state.run().is_none() {
        return Vec::new();
    }
    let mut shown: Vec<Shown> = observed
        .note
        .published()
        .iter()
        .map(|port| Shown {
            port: port.port,
            host: Some((port.host, port.host_port)),
            protocol: port.protocol.word().to_owned(),
        })
        .collect();
    for exposed in definition.exposed.iter().filter(|_| observed.note.leads_out()) {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        let Ok(port) = port.parse::<u16>() else { continue };
        if !shown.iter().any(|other| other.port == port && other.protocol == protocol) {
            shown.push(Shown { port, host: None, protocol: protocol.to_owned() });
        }
    }
    shown.sort_by_key(|one| {
        let (address, host_port) = match one.host {
            Some((address, port)) => (address.to_string(), port),
            None => (String::new(), 0),
        };
        (one.port, address, host_port, one.protocol.clone())
    });
    shown
}

/// Returns the ports of a container as people read them.
pub(super) fn text_of(one: &Listed) -> String {
    text(&of(&one.definition, &one.observed))
}

/// Returns ports as people read them, as Docker does: ports that follow each other are a range where they have the same
/// number outside, or none; all others stand alone.
pub(super) fn text(shown: &[Shown]) -> String {
    /// Ports that follow each other.
    struct Range<'a> {
        address: Option<IpAddr>,
        protocol: &'a str,
        first: u16,
        last: u16,
    }
    let mut done = Vec::new();
    let mut open: Vec<Range<'_>> = Vec::new();
    let mut alone = Vec::new();
    for one in shown {
        let address = match one.host {
            Some((address, port)) if port != one.port => {
                alone.push(format!("{}->{}/{}", socket(address, &port.to_string()), one.port, one.protocol));
                continue;
            }
            host => host.map(|(address, _)| address),
        };
        let fresh = Range { address, protocol: &one.protocol, first: one.port, last: one.port };
        match open.iter_mut().find(|range| range.address == address && range.protocol == one.protocol) {
            None => open.push(fresh),
            Some(range) if Some(one.port) == range.last.checked_add(1) => range.last = one.port,
            Some(range) => done.push(std::mem::replace(range, fresh)),
        }
    }
    let range_text = |range: &Range<'_>| {
        let ports = match range.last {
            last if last == range.first => last.to_string(),
            last => format!("{}-{last}", range.first),
        };
        match range.address {
            Some(address) => format!("{}->{ports}/{}", socket(address, &ports), range.protocol),
            None => format!("{ports}/{}", range.protocol),
        }
    };
    done.iter().chain(&open).map(range_text).chain(alone).collect::<Vec<_>>().join(", ")
}

fn socket(address: IpAddr, port: &str) -> String {
    if address.is_ipv6() { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Written<'a> = (u16, Option<(&'a str, u16)>, &'a str);

    fn shown(ports: &[Written<'_>]) -> String {
        let ports: Vec<Shown> = ports
            .iter()
            .map(|(port, host, protocol)| Shown {
                port: *port,
                host: host.map(|(address, port)| (address.parse().unwrap(), port)),
                protocol: (*protocol).to_owned(),
            })
            .collect();
        text(&ports)
    }

    #[test]
    fn ports_are_written_as_by_docker() {
        let (four, six) = ("0.0.0.0", "::");
        // As docker 28 prints them.
        assert_eq!(
            shown(&[
                (80, Some((four, 18088)), "tcp"),
                (80, Some((six, 18088)), "tcp"),
                (81, Some((four, 18089)), "tcp"),
                (81, Some((six, 18089)), "tcp"),
                (7000, None, "tcp"),
                (7001, None, "tcp"),
                (7002, None, "tcp"),
                (18095, Some((four, 18095)), "tcp"),
                (18095, Some((six, 18095)), "tcp"),
                (18096, Some((four, 18096)), "tcp"),
                (18096, Some((six, 18096)), "tcp"),
            ]),
            "7000-7002/tcp, 0.0.0.0:18095-18096->18095-18096/tcp, [::]:18095-18096->18095-18096/tcp, \
             0.0.0.0:18088->80/tcp, [::]:18088->80/tcp, 0.0.0.0:18089->81/tcp, [::]:18089->81/tcp"
        );
        assert_eq!(
            shown(&[(53, None, "udp"), (80, None, "tcp"), (82, None, "tcp")]),
            "80/tcp, 53/udp, 82/tcp"
        );
        assert_eq!(shown(&[]), "");
    }
}

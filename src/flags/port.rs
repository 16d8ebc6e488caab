//! `--publish [ADDRESS:][HOST:]CONTAINER[/PROTOCOL]`, or `target=CONTAINER,published=HOST,protocol=PROTOCOL`.

use std::net::IpAddr;

use super::{Invalid, Read, csv, unknown};

/// A published port, or a range of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Published {
    /// The address of the host to listen on; `None` for all.
    pub(crate) address: Option<IpAddr>,
    /// The host's ports; `None` for one that is free.
    pub(crate) host: Option<PortRange>,
    /// The container's ports.
    pub(crate) container: PortRange,
    /// What they speak.
    pub(crate) protocol: Protocol,
}

/// Ports that follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PortRange {
    /// The first.
    pub(crate) first: u16,
    /// The last.
    pub(crate) last: u16,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl PortRange {
    const fn length(self) -> u16 {
        self.last - self.first
    }
}

/// Reads a published port.
pub(crate) fn publish(text: &str) -> Read<Published> {
    if text.contains('=') {
        return long(text);
    }
    let (ports, word) = match text.split_once('/') {
        Some((ports, "")) => (ports, "tcp"),
        Some((ports, protocol)) => (ports, protocol),
        None => (text, "tcp"),
    };
    let protocol = protocol(word)?;
    let (address, ports) = address(ports)?;
    let (host, container) = match ports.rsplit_once(':') {
        Some(("", container)) => (None, container),
        Some((host, container)) => (Some(range(host)?), container),
        None => (None, ports),
    };
    of_ranges(address, host, range(container)?, protocol)
}

/// Reads the form with keys. There is one machine, so both modes mean its ports.
fn long(text: &str) -> Read<Published> {
    let (mut host, mut container, mut kind) = (None, None, Protocol::Tcp);
    for field in csv::fields(text)? {
        let value = field.required()?;
        match field.key.as_str() {
            "target" => container = Some(range(value)?),
            "published" => host = Some(range(value)?),
            "protocol" => kind = protocol(value)?,
            "mode" if matches!(value, "host" | "ingress") => {}
            "mode" => return Err(unknown("mode", value, &["host", "ingress"])),
            other => {
                return Err(unknown("key", other, &["target", "published", "protocol", "mode"]));
            }
        }
    }
    let container =
        container.ok_or_else(|| Invalid::new("it has no port of the container: write `target=PORT`"))?;
    of_ranges(None, host, container, kind)
}

fn protocol(word: &str) -> Read<Protocol> {
    match word.to_ascii_lowercase().as_str() {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        "sctp" => Ok(Protocol::Sctp),
        other => Err(unknown("protocol", other, &["tcp", "udp", "sctp"])),
    }
}

fn of_ranges(
    address: Option<IpAddr>,
    host: Option<PortRange>,
    container: PortRange,
    protocol: Protocol,
) -> Read<Published> {
    if container.first == 0 {
        return Err(Invalid::new("a container cannot listen on port 0"));
    }
    if let Some(host) = host
        && host.length() != container.length()
        && container.length() != 0
    {
        return Err(Invalid::new("the ranges of host and container differ in length"));
    }
    Ok(Published { address, host, container, protocol })
}

fn address(text: &str) -> Read<(Option<IpAddr>, &str)> {
    let wrong = |address: &str| Invalid::new(format!("`{address}` is not an IP address"));
    if let Some(rest) = text.strip_prefix('[') {
        let (address, ports) =
            rest.split_once("]:").ok_or_else(|| Invalid::new("write `[ADDRESS]:HOST:CONTAINER`"))?;
        return Ok((Some(address.parse().map_err(|_| wrong(address))?), ports));
    }
    if text.matches(':').count() < 2 {
        return Ok((None, text));
    }
    let ports = text.rmatch_indices(':').nth(1).map_or(0, |(at, _)| at);
    let address = &text[..ports];
    let parsed = if address.is_empty() { None } else { Some(address.parse().map_err(|_| wrong(address))?) };
    Ok((parsed, &text[ports + 1..]))
}

fn range(text: &str) -> Read<PortRange> {
    let port = |part: &str| {
        part.parse::<u16>().map_err(|_| Invalid::new(format!("`{part}` is not a port: use 1 to 65535")))
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(Invalid::new(format!("the range {first}-{last} runs backwards")));
    }
    Ok(PortRange { first, last })
}

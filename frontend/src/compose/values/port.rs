//! Ports in one line: `[[ADDRESS:][HOST]:]CONTAINER[/PROTOCOL]`.

use std::net::IpAddr;

use crate::ports;

/// One published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShortPort {
    /// The address of the host.
    pub(crate) host_ip: String,
    /// The port of the host, or a range to choose from; empty for any.
    pub(crate) published: String,
    /// The port of the container.
    pub(crate) target: u16,
    /// The protocol, in lower case.
    pub(crate) protocol: String,
}

/// Takes ports apart, ranges one by one.
pub(crate) fn parse(spec: &str) -> Result<Vec<ShortPort>, String> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (address, host, container) = match parts.as_slice() {
        [container] => (String::new(), "", *container),
        [host, container] => (String::new(), *host, *container),
        [address @ .., host, container] => (address.join(":"), *host, *container),
        [] => (String::new(), "", ""),
    };
    let (container, protocol) = match container.split_once('/') {
        Some((port, "")) => (port, "tcp"),
        Some((port, protocol)) => (port, protocol),
        None => (container, "tcp"),
    };
    let address = match address.strip_prefix('[') {
        Some(inner) => match inner.strip_suffix(']') {
            Some(inner) => inner.to_owned(),
            None => {
                return Err(format!(
                    "Invalid ip address {address}: address {address}: missing ']' in address"
                ));
            }
        },
        None if address.contains(':') => {
            return Err(format!(
                "Invalid ip address {address}: address {address}:: too many colons in address"
            ));
        }
        None => address,
    };
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("Invalid ip address: {address}"));
    }
    if container.is_empty() {
        return Err(format!("No port specified: {spec}<empty>"));
    }
    let (first, last) =
        ports::range(container).ok_or_else(|| format!("Invalid containerPort: {container}"))?;
    let published = match host {
        "" => None,
        host => Some(ports::range(host).ok_or_else(|| format!("Invalid hostPort: {host}"))?),
    };
    if let Some((from, to)) = published
        && to - from != last - first
        && first != last
    {
        return Err(format!("Invalid ranges specified for container and host Ports: {container} and {host}"));
    }
    let protocol = protocol.to_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(format!("Invalid proto: {protocol}"));
    }
    let mut ports: Vec<ShortPort> = (first..=last)
        .map(|target| {
            let published = match published {
                None => String::new(),
                Some((from, to)) if first == last && from != to => format!("{from}-{to}"),
                Some((from, _)) => (from + (target - first)).to_string(),
            };
            ShortPort { host_ip: address.clone(), published, target, protocol: protocol.clone() }
        })
        .collect();
    // The reference sorts them as texts.
    ports.sort_by_key(|port| port.target.to_string());
    Ok(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str) -> String {
        match parse(spec) {
            Ok(ports) => {
                let one =
                    |p: &ShortPort| format!("{}|{}|{}|{}", p.host_ip, p.published, p.target, p.protocol);
                ports.iter().map(one).collect::<Vec<_>>().join(" ")
            }
            Err(error) => error,
        }
    }

    #[test]
    fn ports_are_taken_apart() {
        for (spec, wanted) in [
            ("3000", "||3000|tcp"),
            ("8000:80/UDP", "|8000|80|udp"),
            ("8000-9000:80", "|8000-9000|80|tcp"),
            ("90-91:80-81", "|90|80|tcp |91|81|tcp"),
            ("127.0.0.1::5000", "127.0.0.1||5000|tcp"),
            ("[::1]:6001:6001", "::1|6001|6001|tcp"),
            ("9-10", "||10|tcp ||9|tcp"),
            ("x:80", "Invalid hostPort: x"),
            ("80:x", "Invalid containerPort: x"),
            ("70000", "Invalid containerPort: 70000"),
            ("80/x", "Invalid proto: x"),
            ("80:", "No port specified: 80:<empty>"),
            ("8000-8002:80-81", "Invalid ranges specified for container and host Ports: 80-81 and 8000-8002"),
            ("300.0.0.1:80:80", "Invalid ip address: 300.0.0.1"),
        ] {
            assert_eq!(read(spec), wanted, "{spec}");
        }
    }
}

//! Values of the flags of containers: signals, spans of time, networks, ports, keys, filters.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use rbuild_model::container::Signal;
use rbuild_model::network::{EndpointSettings, NetworkMode};

use super::{Invalid, Read, csv, unknown};

/// A network that a container is to be in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NetworkUse {
    /// Which one.
    pub(crate) mode: NetworkMode,
    /// What it wants of it.
    pub(crate) settings: EndpointSettings,
}

/// Ports that a container listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exposed(pub(crate) Vec<String>);

/// Keys that leave a container running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DetachKeys(pub(crate) Vec<u8>);

impl Default for DetachKeys {
    /// Control-P, Control-Q.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

/// Reads a signal's name or number.
pub(crate) fn signal(text: &str) -> Read<Signal> {
    text.parse().map_err(|error| Invalid::new(format!("{error}")))
}

/// Reads a span of time as Go writes it: `1m30s`, `500ms`, `1.5h`, `0`.
pub(crate) fn span(text: &str) -> Read<Duration> {
    let wrong = || Invalid::new(format!("`{text}` is not a time: write it as `30s`, `1m30s` or `500ms`"));
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(wrong)?;
        let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
        let end = rest[digits..].find(|c: char| c.is_ascii_digit() || c == '.');
        let end = end.map_or(rest.len(), |at| digits + at);
        let unit = match &rest[digits..end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return Err(wrong()),
        };
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = &rest[end..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Reads `--network`: a mode or name, or `name=…,alias=…,ip=…`.
pub(crate) fn network(text: &str) -> Read<NetworkUse> {
    let mut settings = EndpointSettings::default();
    let mode = |name: &str| {
        let Ok(mode) = name.parse();
        mode
    };
    if !text.contains('=') {
        return Ok(NetworkUse { mode: mode(text), settings });
    }
    const KEYS: &[&str] =
        &["name", "alias", "ip", "ip6", "mac-address", "link-local-ip", "driver-opt", "gw-priority"];
    let mut name = None;
    for field in csv::fields(text)? {
        let value = field.required()?;
        let wrong = |what: &str| Invalid::new(format!("`{value}` is not {what}"));
        match field.key.as_str() {
            "name" => name = Some(value.to_owned()),
            "alias" => settings.aliases.push(value.to_owned()),
            "ip" => settings.ipv4 = Some(value.parse::<Ipv4Addr>().map_err(|_| wrong("an IPv4 address"))?),
            "ip6" => settings.ipv6 = Some(value.parse::<Ipv6Addr>().map_err(|_| wrong("an IPv6 address"))?),
            "mac-address" => {
                settings.mac = Some(value.parse().map_err(|error| Invalid::new(format!("{error}")))?);
            }
            "link-local-ip" => {
                settings.link_local.push(value.parse().map_err(|_| wrong("an address"))?);
            }
            "gw-priority" => settings.gateway_priority = value.parse().map_err(|_| wrong("a number"))?,
            "driver-opt" => {
                let (option, value) = value.split_once('=').ok_or_else(|| wrong("`key=value`"))?;
                settings.driver_options.insert(option.to_owned(), value.to_owned());
            }
            other => return Err(unknown("key", other, KEYS)),
        }
    }
    let name = name.ok_or_else(|| Invalid::new("the network has no name: write `name=NETWORK`"))?;
    Ok(NetworkUse { mode: mode(&name), settings })
}

/// Reads `80`, `80/udp`, `8000-8010`.
pub(crate) fn expose(text: &str) -> Read<Exposed> {
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    if !matches!(protocol.as_str(), "tcp" | "udp" | "sctp") {
        return Err(unknown("protocol", &protocol, &["tcp", "udp", "sctp"]));
    }
    let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
    let port = |part: &str| {
        part.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| Invalid::new(format!("`{part}` is not a port: use 1 to 65535")))
    };
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(Invalid::new(format!("the range {first}-{last} runs backwards")));
    }
    Ok(Exposed((first..=last).map(|port| format!("{port}/{protocol}")).collect()))
}

/// Reads keys that leave a container running: `ctrl-p,ctrl-q`, `ctrl-@`, `a,b`; nothing for none.
pub(crate) fn detach_keys(text: &str) -> Read<DetachKeys> {
    let key = |word: &str| -> Option<u8> {
        if let [letter] = word.as_bytes() {
            return Some(*letter);
        }
        match word.strip_prefix("ctrl-")?.as_bytes() {
            [letter @ (b'a'..=b'z' | b'@' | b'[' | b'\\' | b']' | b'^' | b'_')] => {
                Some(letter.to_ascii_uppercase() & 0x1f)
            }
            _ => None,
        }
    };
    if text.is_empty() {
        return Ok(DetachKeys(Vec::new()));
    }
    let keys: Option<Vec<u8>> = text.split(',').map(key).collect();
    keys.map(DetachKeys).ok_or_else(|| {
        Invalid::new(format!(
            "`{text}` are no keys: write letters and `ctrl-` with a letter, as in `ctrl-p,ctrl-q`"
        ))
    })
}

/// A filter as it was asked for: key and value.
pub(crate) fn filter(text: &str) -> Read<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) => {
            let (key, value) = match key.strip_suffix('!') {
                Some(key) => (format!("{key}!"), value),
                None => (key.to_owned(), value),
            };
            Ok((key, value.to_owned()))
        }
        None => Err(Invalid::new(format!("`{text}` is not a filter: write `KEY=VALUE`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_gos() {
        for (text, millis) in
            [("30s", 30_000), ("1m30s", 90_000), ("500ms", 500), ("1.5h", 5_400_000), ("0", 0)]
        {
            assert_eq!(span(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for wrong in ["", "3", "s", "3x", "-1s", "1e400s"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn keys_are_letters_and_control_letters() {
        assert_eq!(detach_keys("ctrl-p,ctrl-q"), Ok(DetachKeys::default()));
        assert_eq!(detach_keys("a,ctrl-@,ctrl-["), Ok(DetachKeys(vec![b'a', 0, 27])));
        assert!(detach_keys("ctrl-").is_err() && detach_keys("control-a").is_err());
    }

    #[test]
    fn networks_have_a_name_and_settings() {
        let used = network("name=app,alias=db,alias=sql,ip=10.0.0.5").unwrap();
        assert_eq!(used.mode, NetworkMode::Named("app".into()));
        assert_eq!(used.settings.aliases, ["db", "sql"]);
        assert_eq!(network("host").unwrap().mode, NetworkMode::Host);
        assert!(network("alias=x").is_err() && network("name=x,color=red").is_err());
    }

    #[test]
    fn exposed_ports_are_spelled_out() {
        assert_eq!(expose("80-82/udp"), Ok(Exposed(vec!["80/udp".into(), "81/udp".into(), "82/udp".into()])));
        assert!(expose("0").is_err() && expose("9-8").is_err() && expose("80/x").is_err());
    }
}

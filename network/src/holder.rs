//! Who holds a port: a search through `/proc`, only for the words of an error.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::ports::Protocol;

/// The process that holds a port in this network namespace, in words, if it can be seen.
pub(crate) fn of(protocol: Protocol, address: IpAddr, port: u16) -> Option<String> {
    // A socket of IPv4 takes nothing from one that is for IPv6 alone, as ours are; the reverse happens.
    let families: &[&str] = if address.is_ipv4() { &["", "6"] } else { &["6"] };
    let inode = families.iter().find_map(|family| {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{}{family}", protocol.word())).ok()?;
        text.lines().skip(1).find_map(|line| holds(line, protocol, address, port))
    })?;
    let wanted = format!("socket:[{inode}]");
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let Some(id) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(descriptors) = fs::read_dir(process.path().join("fd")) else { continue };
        let found = descriptors.flatten().any(|entry| {
            fs::read_link(entry.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
        });
        if found {
            let name = fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(format!("process {id} ({})", name.trim_end().escape_default()));
        }
    }
    None
}

/// The inode of the socket on a line of a table, if it holds the port.
fn holds(line: &str, protocol: Protocol, address: IpAddr, port: u16) -> Option<u64> {
    const LISTENING: &str = "0A";
    let mut fields = line.split_ascii_whitespace();
    let (host, local_port) = fields.nth(1)?.split_once(':')?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    if u16::from_str_radix(local_port, 16).ok()? != port || protocol == Protocol::Tcp && state != LISTENING {
        return None;
    }
    let host = parse_host(host)?;
    // One that is bound to an IPv6 address has no IPv4 address, unless it is a mapped one.
    let is_in_the_way = match (host.to_canonical(), address) {
        (host @ IpAddr::V6(_), IpAddr::V4(_)) => host.is_unspecified(),
        (host, address) => host == address || host.is_unspecified() || address.is_unspecified(),
    };
    is_in_the_way.then_some(inode)
}

/// An address as the tables write it: words of 32 bits in the machine's order.
fn parse_host(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::V4(Ipv4Addr::from(word(0)?))),
        32 => {
            let mut bytes = [0; 16];
            for index in 0..4 {
                bytes[index * 4..][..4].copy_from_slice(&word(index * 8)?);
            }
            Some(IpAddr::V6(Ipv6Addr::from(bytes)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_table_is_understood() {
        let line = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0000 100";
        let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(holds(line, Protocol::Tcp, local, 8080), Some(12345));
        assert_eq!(holds(line, Protocol::Tcp, IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080), Some(12345));
        assert_eq!(holds(line, Protocol::Tcp, local, 8081), None);
        assert_eq!(holds(line, Protocol::Tcp, IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), 8080), None);
        assert_eq!(holds("garbage", Protocol::Tcp, local, 8080), None);
        assert_eq!(parse_host("zz"), None);
    }

    #[test]
    fn a_socket_of_the_other_family_is_in_the_way_only_where_it_has_the_address() {
        let held = |host: Ipv6Addr, wanted: &str| {
            let words = host.octets();
            let words = words.chunks(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
            let host: String = words.map(|word| format!("{word:08X}")).collect();
            let line = format!("0: {host}:1F90 {:032}:0000 0A 0:0 00:0 0 0 0 12345 1", 0);
            holds(&line, Protocol::Tcp, wanted.parse().unwrap(), 8080).is_some()
        };
        let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
        for (host, wanted, is_in_the_way) in [
            (Ipv6Addr::UNSPECIFIED, "0.0.0.0", true),
            (Ipv6Addr::LOCALHOST, "0.0.0.0", false),
            (Ipv6Addr::LOCALHOST, "::", true),
            (Ipv6Addr::UNSPECIFIED, "::1", true),
            (mapped, "127.0.0.1", true),
            (mapped, "127.0.0.2", false),
            (mapped, "0.0.0.0", true),
        ] {
            assert_eq!(held(host, wanted), is_in_the_way, "{host} for {wanted}");
        }
    }
}

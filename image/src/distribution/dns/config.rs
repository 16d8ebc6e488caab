//! The texts of `hosts` and `resolv.conf`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What `resolv.conf` says, as far as a stub needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) search: Vec<String>,
    pub(super) ndots: usize,
    pub(super) timeout: Duration,
    pub(super) attempts: u32,
}

impl Config {
    pub(super) fn parse(text: &str) -> Self {
        let mut config = Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            timeout: Duration::from_secs(5),
            attempts: 2,
        };
        for line in text.lines() {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") => {
                    // A zone (`fe80::1%eth0`) cannot be kept in an address.
                    let address = words.next().and_then(|word| word.parse::<IpAddr>().ok());
                    if config.servers.len() < 3 {
                        config.servers.extend(address.map(|address| SocketAddr::new(address, 53)));
                    }
                }
                Some("search" | "domain") => {
                    config.search =
                        words.take(32).map(|word| word.trim_end_matches('.').to_owned()).collect();
                }
                Some("options") => {
                    for option in words {
                        let number =
                            |value: &str, most| value.parse::<u32>().ok().map(|value| value.min(most));
                        match option.split_once(':') {
                            Some(("ndots", value)) => config.ndots = number(value, 15).unwrap_or(1) as usize,
                            Some(("timeout", value)) => {
                                config.timeout =
                                    Duration::from_secs(number(value, 30).unwrap_or(5).max(1).into());
                            }
                            Some(("attempts", value)) => {
                                config.attempts = number(value, 5).unwrap_or(2).max(1)
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        if config.servers.is_empty() {
            config.servers.push(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 53));
        }
        config
    }

    /// Returns the full names that a name may stand for, in the order in which they are asked for.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        if let Some(absolute) = name.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched =
            self.search.iter().filter(|domain| !domain.is_empty()).map(|domain| format!("{name}.{domain}"));
        if name.matches('.').count() >= self.ndots {
            std::iter::once(name.to_owned()).chain(searched).collect()
        } else {
            searched.chain(std::iter::once(name.to_owned())).collect()
        }
    }
}

/// Looks a name up in the text of a hosts file.
pub(super) fn hosts(text: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let mut found = Vec::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else { continue };
        if words.any(|word| word.eq_ignore_ascii_case(name)) {
            found.push(address);
        }
    }
    if found.is_empty() && name.eq_ignore_ascii_case("localhost") {
        found.push(IpAddr::from([127, 0, 0, 1]));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolv_conf_is_read() {
        let config = Config::parse(
            "# c\nnameserver 10.0.0.1\nnameserver ::1\nnameserver bad\nsearch a.b c.\noptions ndots:2 timeout:1 attempts:9 rotate\n",
        );
        assert_eq!(config.servers, ["10.0.0.1:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
        assert_eq!((config.ndots, config.timeout, config.attempts), (2, Duration::from_secs(1), 5));
        assert_eq!(config.candidates("x.y"), ["x.y.a.b", "x.y.c", "x.y"]);
        assert_eq!(config.candidates("x.y.z"), ["x.y.z", "x.y.z.a.b", "x.y.z.c"]);
        assert_eq!(config.candidates("x.y."), ["x.y"]);
        assert_eq!(Config::parse("").servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn hosts_are_found_by_any_of_their_names() {
        let text = "127.0.0.1 localhost\n10.1.2.3 registry.test Reg # other\n::1 reg\nnonsense reg\n";
        assert_eq!(hosts(text, "reg"), ["10.1.2.3".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
        assert_eq!(hosts(text, "registry.test.").len(), 1);
        assert!(hosts(text, "other").is_empty());
        assert_eq!(hosts("", "localhost").len(), 1);
    }
}

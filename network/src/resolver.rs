//! The `resolv.conf` of a container or step, made from the host's.
//!
//! Resolvers that only the host reaches (`127.0.0.53` and every other loopback address) are no use in a namespace
//! of its own. Where the host's file names only those, systemd-resolved's own list of the real ones is taken. If
//! there are none either, the file names no resolver and the caller is told: public resolvers are never put in
//! silently, because that would show every name to a stranger and break names that only the host's own know.

use std::net::{IpAddr, Ipv4Addr};

/// Where systemd-resolved writes the resolvers that it asks itself.
pub const RESOLVED_UPSTREAM: &str = "/run/systemd/resolve/resolv.conf";

/// The most resolvers that programs look at.
const MOST_SERVERS: usize = 3;
const MOST_SEARCH: usize = 32;

/// What a `resolv.conf` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    /// The resolvers, in order.
    pub servers: Vec<IpAddr>,
    /// The domains that short names are tried in.
    pub search: Vec<String>,
    /// The options, as written.
    pub options: Vec<String>,
}

impl ResolvConf {
    /// Reads a file; what is not understood is left out, as every resolver does.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        for line in text.lines() {
            let line = line.split(['#', ';']).next().unwrap_or_default();
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                // An address with a zone (`fe80::1%eth0`) means a link of the host, and does not parse.
                Some("nameserver") => {
                    conf.servers.extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()))
                }
                Some("search") => {
                    conf.search = words.filter(|word| printable(word)).map(str::to_owned).collect()
                }
                Some("domain") => {
                    conf.search =
                        words.next().filter(|word| printable(word)).map(str::to_owned).into_iter().collect()
                }
                Some("options") => {
                    conf.options.extend(words.filter(|word| printable(word)).map(str::to_owned))
                }
                _ => {}
            }
        }
        conf.search.truncate(MOST_SEARCH);
        conf
    }

    /// The text of the file.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for server in self.servers.iter().take(MOST_SERVERS) {
            text.push_str(&format!("nameserver {server}\n"));
        }
        for (word, values) in [("search", &self.search), ("options", &self.options)] {
            if !values.is_empty() {
                text.push_str(&format!("{word} {}\n", values.join(" ")));
            }
        }
        text
    }
}

fn printable(word: &str) -> bool {
    word.len() <= 255 && word.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What was asked for on the command line or in a definition; empty lists mean the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverChoice {
    /// The resolvers.
    pub servers: Vec<IpAddr>,
    /// The domains; a single `.` means none.
    pub search: Vec<String>,
    /// The options.
    pub options: Vec<String>,
}

/// Why names may not resolve.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolverWarning {
    /// The host has none.
    #[error("the host's /etc/resolv.conf names no resolver: names do not resolve; name one with `--dns`")]
    NoneOnHost,
    /// The host's are out of reach.
    #[error("the host's resolvers ({}) are out of reach of a network namespace of its own: names do not resolve; name another with `--dns`", servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    OutOfReach {
        /// The host's resolvers.
        servers: Vec<IpAddr>,
    },
}

/// A file and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolver {
    /// What the file is to say.
    pub conf: ResolvConf,
    /// Why names may not resolve.
    pub warning: Option<ResolverWarning>,
}

/// Makes the file for a namespace of its own, from the text of the host's `/etc/resolv.conf` and of
/// [`RESOLVED_UPSTREAM`], if they exist.
pub fn for_private_namespace(
    host: Option<&str>,
    upstream: Option<&str>,
    choice: &ResolverChoice,
) -> Resolver {
    let host = ResolvConf::parse(host.unwrap_or_default());
    let mut conf = host.clone();
    let mut warning = None;
    if choice.servers.is_empty() {
        conf.servers = reachable(&host.servers);
        if conf.servers.is_empty() && host.servers.iter().any(IpAddr::is_loopback) {
            conf.servers = reachable(&ResolvConf::parse(upstream.unwrap_or_default()).servers);
        }
        if conf.servers.is_empty() {
            warning = Some(match host.servers.is_empty() {
                true => ResolverWarning::NoneOnHost,
                false => ResolverWarning::OutOfReach { servers: host.servers },
            });
        }
    }
    choose(&mut conf, choice);
    Resolver { conf, warning }
}

/// Makes the file for the host's own namespace: the host's, but for what was chosen.
pub fn for_host_namespace(host: Option<&str>, choice: &ResolverChoice) -> String {
    if *choice == ResolverChoice::default() {
        return host.unwrap_or_default().to_owned();
    }
    let mut conf = ResolvConf::parse(host.unwrap_or_default());
    choose(&mut conf, choice);
    conf.render()
}

fn choose(conf: &mut ResolvConf, choice: &ResolverChoice) {
    if !choice.servers.is_empty() {
        conf.servers.clone_from(&choice.servers);
    }
    if !choice.search.is_empty() {
        conf.search = choice.search.iter().filter(|domain| *domain != ".").cloned().collect();
    }
    if !choice.options.is_empty() {
        conf.options.clone_from(&choice.options);
    }
}

/// Those that are reached over IPv4, which is what endpoints have.
fn reachable(servers: &[IpAddr]) -> Vec<IpAddr> {
    let fits = |server: &IpAddr| match server {
        IpAddr::V4(address) => !address.is_loopback() && *address != Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(_) => false,
    };
    servers.iter().copied().filter(fits).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn private(host: &str, upstream: Option<&str>) -> (String, Option<ResolverWarning>) {
        let resolver = for_private_namespace(Some(host), upstream, &ResolverChoice::default());
        (resolver.conf.render(), resolver.warning)
    }

    #[test]
    fn an_ordinary_file_is_kept() {
        let (text, warning) = private(
            "# made by hand\nnameserver 192.0.2.53 # first\nnameserver 198.51.100.1\nsearch example.org lan\noptions ndots:2 rotate\n",
            None,
        );
        assert_eq!(
            text,
            "nameserver 192.0.2.53\nnameserver 198.51.100.1\nsearch example.org lan\noptions ndots:2 rotate\n"
        );
        assert_eq!(warning, None);
    }

    #[test]
    fn a_stub_on_loopback_gives_way_to_what_it_asks_itself() {
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch lan\n";
        let (text, warning) = private(stub, Some("nameserver 192.0.2.1\nnameserver 2001:db8::1\n"));
        assert_eq!(text, "nameserver 192.0.2.1\nsearch lan\noptions edns0 trust-ad\n");
        assert_eq!(warning, None);
    }

    #[test]
    fn no_public_resolver_is_ever_put_in() {
        let loopback = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53));
        let cases = [
            ("nameserver 127.0.0.53\n", None, ResolverWarning::OutOfReach { servers: vec![loopback] }),
            (
                "nameserver 127.0.0.53\n",
                Some("nameserver ::1\n"),
                ResolverWarning::OutOfReach { servers: vec![loopback] },
            ),
            ("", Some("nameserver 192.0.2.1\n"), ResolverWarning::NoneOnHost),
            ("nameserver fe80::1%eth0\n", None, ResolverWarning::NoneOnHost),
        ];
        for (host, upstream, expected) in cases {
            let (text, warning) = private(host, upstream);
            assert!(!text.contains("nameserver"), "{text}");
            assert_eq!(warning, Some(expected));
        }
        let missing = for_private_namespace(None, None, &ResolverChoice::default());
        assert_eq!(
            (missing.conf.render(), missing.warning),
            (String::new(), Some(ResolverWarning::NoneOnHost))
        );
    }

    #[test]
    fn three_of_five_resolvers_are_kept() {
        let host: String = (1..=5).map(|last| format!("nameserver 192.0.2.{last}\n")).collect();
        assert_eq!(
            private(&host, None).0,
            "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\n"
        );
    }

    #[test]
    fn what_was_chosen_wins() {
        let choice = ResolverChoice {
            servers: vec!["203.0.113.7".parse().unwrap()],
            search: vec![".".to_owned()],
            options: vec!["ndots:0".to_owned()],
        };
        let host = "nameserver 127.0.0.53\nsearch lan\noptions ndots:5\n";
        let resolver = for_private_namespace(Some(host), None, &choice);
        assert_eq!(resolver.conf.render(), "nameserver 203.0.113.7\noptions ndots:0\n");
        assert_eq!(resolver.warning, None);
        assert_eq!(for_host_namespace(Some(host), &choice), "nameserver 203.0.113.7\noptions ndots:0\n");
        assert_eq!(for_host_namespace(Some(host), &ResolverChoice::default()), host);
    }

    proptest! {
        #[test]
        fn any_text_reads_and_its_rendering_reads_the_same(text in ".{0,200}") {
            let once = ResolvConf::parse(&text);
            let mut kept = once.clone();
            kept.servers.truncate(MOST_SERVERS);
            prop_assert_eq!(ResolvConf::parse(&once.render()), kept);
        }
    }
}

//! The same way past Docker's filter where `iptables` keeps it in tables of its own, which nf_tables does not show.
//!
//! Nobody numbers changes there. So that a host without such rules does not pay for a program at each start, the kernel is
//! asked how many entries the table has, which costs a system call; only where there is more than the
//! empty table the program `iptables-legacy` lists it. Where that is not installed, nothing is known and nothing said.

use std::collections::HashSet;
use std::path::Path;
use std::process::{Command, Stdio};

use super::passage::{
    Gate, Marked, Passage, Policy, dropped, has_links, iptables_advice, link_names, links_of, mark,
    marked_by, named, pattern,
};
use super::{Warning, sys};
use crate::link::{LinkName, StorePrefix};
use crate::site::Site;

const FOLDERS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/usr/local/sbin"];
/// Three policies and the mark of the end: a table that nobody put anything into.
const EMPTY: u32 = 4;

/// A version of IP, as the old tables know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// IPv4.
    Four,
    /// IPv6.
    Six,
}

impl Version {
    const ALL: [Self; 2] = [Self::Four, Self::Six];

    fn program(self) -> &'static str {
        match self {
            Self::Four => "iptables-legacy",
            Self::Six => "ip6tables-legacy",
        }
    }

    fn family(self) -> &'static str {
        match self {
            Self::Four => "ip",
            Self::Six => "ip6",
        }
    }

    /// The tables of this network namespace; reading it loads nothing.
    fn tables(self) -> &'static Path {
        Path::new(match self {
            Self::Four => "/proc/thread-self/net/ip_tables_names",
            Self::Six => "/proc/thread-self/net/ip6_tables_names",
        })
    }

    fn is_used(self) -> bool {
        let names = std::fs::read_to_string(self.tables()).unwrap_or_default();
        names.lines().any(|name| name == "filter") && sys::entries(self).is_ok_and(|count| count > EMPTY)
    }
}

/// Opens the way where Docker closed it, and tells where it stays closed.
pub(super) fn ensure(site: &Site) -> Vec<Warning> {
    let gates: Vec<(Version, Listing)> = gates().collect();
    if gates.is_empty() {
        return Vec::new();
    }
    let store = site.store();
    let named = named(site);
    let mut warnings = Vec::new();
    for (version, mut gate) in gates {
        // Without the list, rules of bridges in use would be taken for leftovers.
        if let Ok(named) = &named
            && apply(site, version, &gate, named, site.config().passage)
        {
            gate = look(version).unwrap_or(gate);
        }
        let named = named.as_deref().unwrap_or_default();
        let gate = gate.gate(store, named);
        warnings.extend(dropped(
            [version.family(), "filter", "FORWARD"],
            store,
            &gate.stopped(store, named),
            |links| iptables_advice(version.program(), gate.policy, links),
        ));
    }
    warnings
}

/// Takes our rules away.
pub(super) fn remove(site: &Site) {
    for (version, gate) in gates() {
        apply(site, version, &gate, &[], Passage::Never);
    }
}

fn gates() -> impl Iterator<Item = (Version, Listing)> {
    let used = Version::ALL.into_iter().filter(|version| version.is_used());
    used.filter_map(|version| Some((version, look(version)?)))
}

/// Does what is to be done; says whether something was.
fn apply(site: &Site, version: Version, listing: &Listing, named: &[LinkName], passage: Passage) -> bool {
    let store = site.store();
    let gate = listing.gate(store, named);
    let names = match gate.marked.iter().any(|marked| marked.store != store) {
        // Without the list nobody's rules are taken for leftovers.
        true => link_names(&mut site.route()).ok(),
        false => Some(HashSet::new()),
    };
    let lives = |store| names.as_ref().is_none_or(|names| has_links(names, store));
    let Some(change) = gate.plan(store, named, passage, lives) else { return false };
    for rule in change.remove {
        let rule: Vec<&str> = rule.iter().map(String::as_str).collect();
        run(version, &[&["-D"], rule.as_slice()].concat());
    }
    for bridge in &change.add {
        let mark = mark(store, bridge.as_ref());
        let links = pattern(store, bridge.as_ref(), '+');
        for direction in ["-i", "-o"] {
            let rule =
                ["-A", "FORWARD", direction, &links, "-m", "comment", "--comment", &mark, "-j", "ACCEPT"];
            run(version, &rule);
        }
    }
    true
}

/// What `iptables -S` printed.
#[derive(Clone, Debug, Default)]
struct Listing(Vec<Vec<String>>);

impl Listing {
    fn read(text: &str) -> Self {
        Self(text.lines().map(words).collect())
    }

    /// What its chain of forwarded packets is to a store's links.
    fn gate(&self, store: StorePrefix, named: &[LinkName]) -> Gate<Vec<String>> {
        let is = |line: &[String], begin: &[&str]| {
            line.len() >= begin.len() && line.iter().zip(begin).all(|(word, wanted)| word == wanted)
        };
        let comment = |line: &[String]| {
            let at = line.iter().position(|word| word == "--comment")?;
            marked_by(line.get(at + 1)?)
        };
        let names = |line: &[String], bridge: &Option<LinkName>| {
            line.windows(2).any(|words| {
                matches!(&*words[0], "-i" | "-o")
                    && match bridge {
                        None => store.owns(&words[1]),
                        Some(bridge) => words[1] == bridge.as_str(),
                    }
            })
        };
        let rules = || self.0.iter().filter(|line| is(line, &["-A"]));
        let closed = self.0.iter().any(|line| is(line, &["-P", "FORWARD", "DROP"]));
        let last = self.0.iter().rfind(|line| is(line, &["-A", "FORWARD"]) && comment(line).is_none());
        let refuses = |line: &[String]| {
            ["REJECT", "DROP"].iter().any(|target| is(line, &["-A", "FORWARD", "-j", target]))
        };
        Gate {
            policy: match last {
                Some(last) if refuses(last) => Policy::Refused,
                _ if closed => Policy::Closed,
                _ => Policy::Open,
            },
            docker: self.0.iter().any(|line| is(line, &["-N", "DOCKER-USER"])),
            spoken_for: {
                let others = || rules().filter(|line| comment(line).is_none());
                let speak = |bridge: &Option<LinkName>| others().any(|line| names(line, bridge));
                links_of(named).into_iter().filter(speak).collect()
            },
            marked: rules()
                .filter(|line| is(line, &["-A", "FORWARD"]))
                .filter_map(|line| {
                    let (store, bridge) = comment(line)?;
                    Some(Marked { store, bridge, rule: line[1..].to_vec() })
                })
                .collect(),
        }
    }
}

/// The words of a line; those in quotation marks are one.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (word, behind) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_once(' ').unwrap_or((rest, "")),
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    words
}

fn look(version: Version) -> Option<Listing> {
    run(version, &["-S"]).map(|text| Listing::read(&text))
}

/// Runs the program and returns what it printed, if it is there and did what it was asked.
fn run(version: Version, arguments: &[&str]) -> Option<String> {
    let places = FOLDERS.iter().map(|folder| Path::new(folder).join(version.program()));
    let program = places.into_iter().find(|place| place.exists())?;
    let output = Command::new(program)
        // It waits for whoever changes the table now.
        .args(["-w", "5"])
        .args(arguments)
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "-P INPUT ACCEPT
-P FORWARD DROP
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -i rbdeadbeef+ -m comment --comment \"rbuild deadbeef\" -j ACCEPT
-A FORWARD -o rblivelive+ -m comment --comment \"keep br8\" -j ACCEPT
-A FORWARD -i br7 -j ACCEPT
-A DOCKER-USER -j RETURN
";

    #[test]
    fn a_listing_says_who_closed_what_and_which_rules_are_ours() {
        let store = |text: &str| StorePrefix::new(text).unwrap();
        let gate = Listing::read(LISTING).gate(store("deadbeef"), &[]);
        assert_eq!((gate.policy, gate.docker, gate.spoken_for), (Policy::Closed, true, vec![]));
        let rule =
            ["FORWARD", "-i", "rbdeadbeef+", "-m", "comment", "--comment", "rbuild deadbeef", "-j", "ACCEPT"];
        let rule = rule.map(str::to_owned).to_vec();
        assert_eq!(gate.marked, [Marked { store: store("deadbeef"), bridge: None, rule }]);
        let bridges = ["br7", "br8"].map(|name| LinkName::new(name).unwrap());
        let other = Listing::read(LISTING).gate(store("livelive"), &bridges);
        assert_eq!(other.spoken_for, [None, Some(bridges[0].clone())]);
        // Behind a rule that refuses all, ours would be in vain; where they stand, they are no obstacle to seeing that.
        for (end, policy) in [
            ("-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n", Policy::Refused),
            ("-A FORWARD -j DROP\n", Policy::Refused),
            ("-A FORWARD -j DOCKER-USER\n", Policy::Closed),
            ("-A FORWARD -i eth0 -j DROP\n", Policy::Closed),
        ] {
            let ours = LISTING.lines().find(|line| line.contains("deadbeef")).unwrap();
            let gate = Listing::read(&format!("{LISTING}{end}{ours}\n")).gate(store("deadbeef"), &[]);
            assert_eq!(gate.policy, policy, "{end}");
        }
        let open = Listing::read("-P FORWARD ACCEPT\n").gate(store("deadbeef"), &[]);
        assert_eq!((open.policy, open.docker, open.marked.len()), (Policy::Open, false, 0));
    }
}

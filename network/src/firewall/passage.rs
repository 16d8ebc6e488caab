//! The way past Docker's own filter.
//!
//! A host with Docker drops what it forwards unless some rule accepts it: the policy of the chain `FORWARD`, for IPv4 and
//! IPv6 alike, and with `br_netfilter` also for what passes between two ports of one bridge. Two rules of ours take
//! our links out of that policy. They stand **behind** all others of the chain, so that whatever Docker or an
//! administrator decided on before stays decided: a rule in `DOCKER-USER`, which comes first, would open Docker's own networks to ours. What
//! reaches our links is still decided on by our own table alone, which every packet passes as well.
//!
//! The rules are made only where a chain `DOCKER-USER` says that it is Docker who closed the way; the policies of others are
//! somebody's will, and a [`Warning`] says what would help. Each rule carries a comment with the store it is for, and by that alone it is
//! found again: made anew when it is missed, taken away with our tables, and taken away by any other store
//! once no link of its store is left. They are written as `iptables` itself writes such rules, so that it
//! goes on to understand its table.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use super::Warning;
use crate::link::{LinkName, StorePrefix};
use crate::names::{self, NamesError};
use crate::netlink::nftables::{self, Chain, HOOK_FORWARD, Rule, TableFamily};
use crate::netlink::route;
use crate::netlink::socket::{NetlinkError, Request, Socket};
use crate::site::Site;

const MARK: &str = "rbuild ";
/// What `iptables` and Docker call their table and chains.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";
const DOCKER: &str = "DOCKER-USER";

/// Whether our links are taken out of the policy of a host's filter that Docker closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Passage {
    /// They are, by rules of ours in its chain.
    #[default]
    BesideDocker,
    /// Nothing but our own tables is changed; a note says what would help.
    Never,
}

/// Where a program of the `iptables` kind keeps the filter: in nf_tables, or in tables of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Policy {
    /// What no rule decides on passes.
    Open,
    /// It is dropped.
    Closed,
    /// The last rule drops or refuses it: no rule behind that one is asked.
    Refused,
}

/// A rule that lets the links of a store through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marked<T> {
    /// Whose links.
    pub(super) store: StorePrefix,
    /// The bridge, where people chose its name; nothing for all that are called by ourselves.
    pub(super) bridge: Option<LinkName>,
    /// What it is removed by.
    pub(super) rule: T,
}

/// A chain that forwarded packets pass in the host's filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gate<T> {
    /// What becomes of packets that nobody decides on.
    pub(super) policy: Policy,
    /// Whether Docker uses this filter.
    pub(super) docker: bool,
    /// The links of ours that somebody else's rules speak of.
    pub(super) spoken_for: Vec<Option<LinkName>>,
    /// Rules of ours and of other stores.
    pub(super) marked: Vec<Marked<T>>,
}

/// What is to be done at a gate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change<T> {
    /// Rules that go.
    pub(super) remove: Vec<T>,
    /// Which links' two rules are made: of a bridge that people named, or of all that are called by ourselves.
    pub(super) add: Vec<Option<LinkName>>,
}

impl<T: Clone> Gate<T> {
    /// Decides what is to be done here for a store, if anything. `named` are its bridges that people named, `links` is
    /// whether a store has links on this host.
    pub(super) fn plan(
        &self,
        store: StorePrefix,
        named: &[LinkName],
        passage: Passage,
        links: impl Fn(StorePrefix) -> bool,
    ) -> Option<Change<T>> {
        let (own, others): (Vec<_>, Vec<_>) = self.marked.iter().partition(|marked| marked.store == store);
        let opens = passage == Passage::BesideDocker && self.docker && self.policy == Policy::Closed;
        let mut wanted = if opens { links_of(named) } else { Vec::new() };
        wanted.retain(|bridge| !self.spoken_for.contains(bridge));
        let stays = |bridge: &Option<LinkName>| wanted.contains(bridge) && self.is_whole(store, bridge);
        let mut remove: Vec<T> =
            own.iter().filter(|marked| !stays(&marked.bridge)).map(|marked| marked.rule.clone()).collect();
        remove.extend(others.iter().filter(|marked| !links(marked.store)).map(|marked| marked.rule.clone()));
        let mut add = wanted.clone();
        add.retain(|bridge| !self.is_whole(store, bridge));
        (!add.is_empty() || !remove.is_empty()).then_some(Change { remove, add })
    }

    /// Whether both rules are there.
    fn is_whole(&self, store: StorePrefix, bridge: &Option<LinkName>) -> bool {
        let rules = self.marked.iter().filter(|marked| marked.store == store && marked.bridge == *bridge);
        rules.count() == DIRECTIONS.len()
    }

    /// Which of our links do not get past it as it is.
    pub(super) fn stopped(&self, store: StorePrefix, named: &[LinkName]) -> Vec<Option<LinkName>> {
        let mut stopped = if self.policy == Policy::Open { Vec::new() } else { links_of(named) };
        stopped.retain(|bridge| !self.spoken_for.contains(bridge) && !self.is_whole(store, bridge));
        stopped
    }
}

/// What there are two rules for each: all links that are called by ourselves, and each bridge that people named.
pub(super) fn links_of(named: &[LinkName]) -> Vec<Option<LinkName>> {
    std::iter::once(None).chain(named.iter().cloned().map(Some)).collect()
}

/// The names of such links, as a rule says it in which `rest` stands for any end of a name.
pub(super) fn pattern(store: StorePrefix, bridge: Option<&LinkName>, rest: char) -> String {
    bridge.map_or_else(|| format!("{}{rest}", store.links()), LinkName::to_string)
}

/// In by one of our links, and out by one.
pub(super) const DIRECTIONS: [&str; 2] = ["iifname", "oifname"];

/// The comment of a store's rules.
pub(super) fn mark(store: StorePrefix, bridge: Option<&LinkName>) -> String {
    let store = store.as_str();
    match bridge {
        None => format!("{MARK}{store}"),
        Some(bridge) => format!("{MARK}{store} {bridge}"),
    }
}

/// Whose rules carry a comment, and for which bridge.
pub(super) fn marked_by(comment: &str) -> Option<(StorePrefix, Option<LinkName>)> {
    let text = comment.strip_prefix(MARK)?;
    let (store, bridge) = match text.split_once(' ') {
        None => (text, None),
        Some((store, bridge)) => (store, Some(LinkName::new(bridge).ok()?)),
    };
    Some((StorePrefix::new(store).ok()?, bridge))
}

/// The bridges of a store that people named, among the networks that are set up.
pub(super) fn named(site: &Site) -> Result<Vec<LinkName>, NamesError> {
    let states = names::all(&site.config().runtime)?;
    let bridges = states.into_iter().map(|state| state.bridge);
    Ok(bridges.filter(|bridge| !site.store().owns(bridge.as_str())).collect())
}

/// The chain of a table of nf_tables that forwarded packets pass.
#[derive(Clone, Debug)]
pub(super) struct Forward {
    /// The chain.
    pub(super) chain: Chain,
    /// What was found in it.
    pub(super) gate: Gate<u64>,
    /// Whether `ufw` keeps this table.
    ufw: bool,
}

impl Forward {
    /// Whether rules of ours may stand in it: it is what `iptables` made.
    fn is_iptables(chain: &Chain) -> bool {
        matches!(chain.family, TableFamily::Ip | TableFamily::Ip6)
            && chain.table == TABLE
            && chain.name == CHAIN
    }
}

/// The chains of others that forwarded packets pass: those of other stores let through what is not theirs.
pub(super) fn foreign(chains: &[Chain]) -> Vec<&Chain> {
    let concerns = |chain: &&Chain| {
        StorePrefix::of_table(&chain.table).is_none()
            && chain.hook == Some(HOOK_FORWARD)
            && matches!(chain.family, TableFamily::Inet | TableFamily::Ip | TableFamily::Ip6)
    };
    chains.iter().filter(concerns).collect()
}

/// Looks at what some of all chains are to a store's links.
pub(super) fn look(
    socket: &mut Socket,
    store: StorePrefix,
    named: &[LinkName],
    foreign: &[&Chain],
    chains: &[Chain],
) -> Result<Vec<Forward>, NetlinkError> {
    let mut found = Vec::new();
    for &chain in foreign {
        let answers =
            socket.dump(&Request::new("list the rules", nftables::list_rules(chain.family, &chain.table)))?;
        let rules: Vec<Rule<'_>> =
            answers.iter().filter_map(|answer| nftables::read_rule(&answer.body)).collect();
        let beside = |name: &dyn Fn(&str) -> bool| {
            chains.iter().any(|other| {
                (other.family, &other.table) == (chain.family, &chain.table) && name(&other.name)
            })
        };
        let whose = |rule: &Rule<'_>| rule.comment.as_deref().and_then(marked_by);
        let marked = rules.iter().filter(|rule| rule.chain == chain.name && Forward::is_iptables(chain));
        // Rules of ours stand behind all others.
        let mut others = rules.iter().filter(|rule| rule.chain == chain.name && whose(rule).is_none());
        let policy = match others.next_back() {
            Some(last) if last.refuses_all() => Policy::Refused,
            _ if chain.drops_by_default => Policy::Closed,
            _ => Policy::Open,
        };
        if policy == Policy::Open && !Forward::is_iptables(chain) {
            continue;
        }
        let gate = Gate {
            policy,
            docker: Forward::is_iptables(chain) && beside(&|name| name == DOCKER),
            spoken_for: {
                let others = || rules.iter().filter(|rule| whose(rule).is_none());
                let speak =
                    |bridge: &Option<LinkName>| others().any(|rule| names(rule.expressions, store, bridge));
                links_of(named).into_iter().filter(speak).collect()
            },
            marked: marked
                .filter_map(|rule| {
                    let (store, bridge) = whose(rule)?;
                    Some(Marked { store, bridge, rule: rule.handle })
                })
                .collect(),
        };
        found.push(Forward { chain: chain.clone(), gate, ufw: beside(&|name| name.starts_with("ufw-")) });
    }
    Ok(found)
}

/// Whether the expressions of a rule name some links of ours.
fn names(expressions: &[u8], store: StorePrefix, bridge: &Option<LinkName>) -> bool {
    match bridge {
        None => expressions.windows(store.links().len()).any(|window| window == store.links().as_bytes()),
        // The whole of a name: it ends with a zero, and before it comes a length.
        Some(bridge) => expressions.windows(bridge.as_str().len() + 2).any(|window| {
            let [before, name @ .., 0] = window else { return false };
            name == bridge.as_str().as_bytes() && !before.is_ascii_graphic()
        }),
    }
}

/// The changes of all gates as text for `nft`; nothing if all is as it should be.
pub(super) fn script(
    site: &Site,
    forwards: &[Forward],
    named: &[LinkName],
    passage: Passage,
) -> Result<Option<String>, NetlinkError> {
    let store = site.store();
    let strangers = |forward: &Forward| forward.gate.marked.iter().any(|marked| marked.store != store);
    let names = match forwards.iter().any(strangers) {
        true => link_names(&mut site.route())?,
        false => HashSet::new(),
    };
    let mut text = String::new();
    for forward in forwards {
        let Some(change) = forward.gate.plan(store, named, passage, |store| has_links(&names, store)) else {
            continue;
        };
        // Only chains of these two names have rules of ours, so nothing foreign gets into the text.
        let place = format!("{} {TABLE} {CHAIN}", forward.chain.family.word());
        for handle in change.remove {
            text.push_str(&format!("delete rule {place} handle {handle}\n"));
        }
        for bridge in &change.add {
            let mark = mark(store, bridge.as_ref());
            // A name that people chose has only letters, digits and three signs.
            let links = pattern(store, bridge.as_ref(), '*');
            for direction in DIRECTIONS {
                let rule = format!("{direction} \"{links}\" counter accept comment \"{mark}\"");
                text.push_str(&format!("add rule {place} {rule}\n"));
            }
        }
    }
    Ok((!text.is_empty()).then_some(text))
}

/// What is still in the way.
pub(super) fn warnings(forwards: &[Forward], store: StorePrefix, named: &[LinkName]) -> Vec<Warning> {
    let warning = |Forward { chain, gate, ufw }: &Forward| {
        let place = [chain.family.word(), &chain.table, &chain.name];
        dropped(place, store, &gate.stopped(store, named), |links| advice(chain, *ufw, gate.policy, links))
    };
    forwards.iter().filter_map(warning).collect()
}

/// Says which links a chain stops, if it stops any, and what would help: the advice is asked for with a way to write links.
pub(super) fn dropped(
    [family, table, chain]: [&str; 3],
    store: StorePrefix,
    stopped: &[Option<LinkName>],
    advice: impl FnOnce(&dyn Fn(char) -> Vec<String>) -> String,
) -> Option<Warning> {
    let links =
        |rest| stopped.iter().map(|bridge| pattern(store, bridge.as_ref(), rest)).collect::<Vec<String>>();
    (!stopped.is_empty()).then(|| Warning::ForwardingDropped {
        family: family.to_owned(),
        table: table.to_owned(),
        chain: chain.to_owned(),
        links: links('*'),
        advice: Some(advice(&links)),
    })
}

fn advice(chain: &Chain, ufw: bool, policy: Policy, links: &dyn Fn(char) -> Vec<String>) -> String {
    let each = |rest, line: &dyn Fn(&str) -> String| -> Vec<String> {
        links(rest).iter().map(|links| line(links)).collect()
    };
    if ufw {
        let (file, inner) = match chain.family {
            TableFamily::Ip6 => ("before6.rules", "ufw6"),
            _ => ("before.rules", "ufw"),
        };
        let lines = each('+', &|links| {
            let rule = |way| format!("`-A {inner}-before-forward {way} {links} -j ACCEPT`");
            format!("{} and {}", rule("-i"), rule("-o"))
        });
        format!("the lines {} in /etc/ufw/{file}, then `ufw reload`", lines.join(" and "))
    } else if chain.table == "firewalld" {
        let added = each('+', &|links| format!(" --add-interface='{links}'")).concat();
        format!("firewall-cmd --permanent --zone=trusted{added}; firewall-cmd --reload")
    } else if Forward::is_iptables(chain) {
        let program = if chain.family == TableFamily::Ip6 { "ip6tables" } else { "iptables" };
        iptables_advice(program, policy, links)
    } else {
        let place = format!("{} {} {}", chain.family.word(), chain.table, chain.name);
        // Behind a rule that refuses all no other is asked.
        let how = if policy == Policy::Refused { "insert" } else { "add" };
        let rule = |way: &str, links: &str| format!("nft {how} rule {place} {way} '\"{links}\"' accept");
        let lines = each('*', &|links| DIRECTIONS.map(|way| rule(way, links)).join("; "));
        lines.join("; ")
    }
}

/// The rules as a person would make them.
pub(super) fn iptables_advice(program: &str, policy: Policy, links: &dyn Fn(char) -> Vec<String>) -> String {
    let flag = if policy == Policy::Refused { "-I" } else { "-A" };
    let rules = |links: &String| {
        ["-i", "-o"].map(|way| format!("{program} {flag} {CHAIN} {way} {links} -j ACCEPT")).join("; ")
    };
    links('+').iter().map(rules).collect::<Vec<_>>().join("; ")
}

/// The names of all links of the host.
pub(super) fn link_names(socket: &mut Socket) -> Result<HashSet<String>, NetlinkError> {
    let answers = socket.dump(&Request::new("list the links", route::list_links()))?;
    Ok(answers.iter().filter_map(|answer| route::read_link(&answer.body)).map(|link| link.name).collect())
}

/// Whether a store has links.
pub(super) fn has_links(names: &HashSet<String>, store: StorePrefix) -> bool {
    names.iter().any(|name| store.owns(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(text: &str) -> StorePrefix {
        StorePrefix::new(text).unwrap()
    }

    fn gate(marked: &[(&str, u64)]) -> Gate<u64> {
        let marked = marked.iter().map(|(name, rule)| {
            let (store, bridge) = marked_by(&format!("rbuild {name}")).unwrap();
            Marked { store, bridge, rule: *rule }
        });
        let marked = marked.collect();
        Gate { policy: Policy::Closed, docker: true, spoken_for: Vec::new(), marked }
    }

    fn plan(gate: &Gate<u64>, passage: Passage) -> Option<(Vec<u64>, bool)> {
        let change = gate.plan(store("deadbeef"), &[], passage, |other| other == store("livelive"));
        change.map(|change| (change.remove, !change.add.is_empty()))
    }

    #[test]
    fn a_gate_that_docker_closed_is_opened_once() {
        use Passage::{BesideDocker, Never};
        assert_eq!(plan(&gate(&[]), BesideDocker), Some((vec![], true)));
        assert_eq!(plan(&gate(&[("deadbeef", 1), ("deadbeef", 2)]), BesideDocker), None);
        // Half of them is none.
        assert_eq!(plan(&gate(&[("deadbeef", 1)]), BesideDocker), Some((vec![1], true)));
        assert_eq!(plan(&gate(&[("deadbeef", 1), ("deadbeef", 2)]), Never), Some((vec![1, 2], false)));
        assert_eq!(plan(&gate(&[]), Never), None);
    }

    #[test]
    fn what_others_want_stays() {
        for other in [
            Gate { policy: Policy::Open, ..gate(&[]) },
            Gate { docker: false, ..gate(&[]) },
            Gate { spoken_for: vec![None], ..gate(&[]) },
        ] {
            assert_eq!(plan(&other, Passage::BesideDocker), None, "{other:?}");
        }
        // Docker is gone, and so are our rules.
        let left = Gate { docker: false, ..gate(&[("deadbeef", 1), ("deadbeef", 2)]) };
        assert_eq!(plan(&left, Passage::BesideDocker), Some((vec![1, 2], false)));
    }

    #[test]
    fn a_bridge_with_a_chosen_name_has_rules_of_its_own() {
        let bridge = |name: &str| LinkName::new(name).unwrap();
        let there =
            [("deadbeef", 1), ("deadbeef", 2), ("deadbeef br7", 3), ("deadbeef br8", 4), ("deadbeef br8", 5)];
        let gate = gate(&there);
        let plan = |named: &[LinkName]| gate.plan(store("deadbeef"), named, Passage::BesideDocker, |_| true);
        // Half of them is none, and whose bridge is gone has none.
        let change = plan(&[bridge("br7")]).unwrap();
        assert_eq!((change.remove, change.add), (vec![3, 4, 5], vec![Some(bridge("br7"))]));
        assert_eq!(gate.stopped(store("deadbeef"), &[bridge("br8")]), []);
        assert_eq!(gate.stopped(store("deadbeef"), &[bridge("br7")]), [Some(bridge("br7"))]);
        // Rules that somebody made for the others are none for it, and the other way round.
        let both = [bridge("br7"), bridge("br9")];
        let spoken =
            |links: &[Option<LinkName>]| Gate { spoken_for: links.to_vec(), ..super::tests::gate(&[]) };
        let missing = |gate: Gate<u64>| {
            let change = gate.plan(store("deadbeef"), &both, Passage::BesideDocker, |_| true);
            assert_eq!(change.map(|change| change.add), Some(gate.stopped(store("deadbeef"), &both)));
            gate.stopped(store("deadbeef"), &both)
        };
        assert_eq!(missing(spoken(&[None])), both.clone().map(Some));
        assert_eq!(missing(spoken(&[Some(bridge("br7"))])), [None, Some(bridge("br9"))]);
    }

    #[test]
    fn the_advice_is_for_the_links_that_are_stopped() {
        let stopped = [None, Some(LinkName::new("br7").unwrap())];
        let told = |table: &str, family: TableFamily, ufw: bool, policy: Policy| {
            let chain = Chain {
                family,
                table: table.to_owned(),
                name: CHAIN.to_owned(),
                hook: Some(HOOK_FORWARD),
                drops_by_default: true,
            };
            let forward = |stopped: &[Option<LinkName>]| {
                let advised = |links: &dyn Fn(char) -> Vec<String>| advice(&chain, ufw, policy, links);
                dropped(["ip", table, CHAIN], store("deadbeef"), stopped, advised)
                    .map(|told| told.to_string())
            };
            assert_eq!(forward(&[]), None);
            forward(&stopped).unwrap()
        };
        let told_closed = |table, family, ufw| told(table, family, ufw, Policy::Closed);
        let plain = told_closed("filter", TableFamily::Ip, false);
        assert!(plain.contains("accepts the links `rbdeadbeef*`, `br7`; for example: "), "{plain}");
        for rule in ["-i rbdeadbeef+", "-o rbdeadbeef+", "-i br7", "-o br7"] {
            assert!(plain.contains(&format!("iptables -A FORWARD {rule} -j ACCEPT")), "{plain}");
        }
        let zone =
            "--zone=trusted --add-interface='rbdeadbeef+' --add-interface='br7'; firewall-cmd --reload";
        assert!(told_closed("firewalld", TableFamily::Inet, false).ends_with(zone));
        let own = told_closed("own", TableFamily::Inet, false);
        assert!(own.ends_with("nft add rule inet own FORWARD oifname '\"br7\"' accept"), "{own}");
        let ufw = told_closed("filter", TableFamily::Ip6, true);
        assert!(ufw.contains("`-A ufw6-before-forward -o br7 -j ACCEPT` in /etc/ufw/before6.rules"), "{ufw}");
        let refused = told("filter", TableFamily::Ip6, false, Policy::Refused);
        assert!(refused.contains("ip6tables -I FORWARD -i br7 -j ACCEPT"), "{refused}");
    }

    #[test]
    fn a_rule_names_whole_bridges() {
        let names = |text: &[u8], bridge: Option<&str>| {
            names(text, store("deadbeef"), &bridge.map(|bridge| LinkName::new(bridge).unwrap()))
        };
        assert!(names(b"\x01\0rbdeadbeef", None) && names(b"\x01\0br7\0\0\0", Some("br7")));
        for other in [&b"\x01\0br77\0"[..], b"\x01\0xbr7\0", b"\x01\0br7"] {
            assert!(!names(other, Some("br7")), "{other:?}");
        }
    }

    #[test]
    fn rules_of_stores_without_links_go() {
        let both = gate(&[("deadbeef", 1), ("deadbeef", 2), ("gonegone", 3), ("livelive", 4)]);
        assert_eq!(plan(&both, Passage::BesideDocker), Some((vec![3], false)));
        assert_eq!(marked_by("rbuild gonegone"), Some((store("gonegone"), None)));
        for text in [
            "rbuild",
            "rbuild short",
            "my rbuild gonegone",
            "rbuild gonegone2",
            "rbuild GONEGONE",
            "rbuild gonegone ",
        ] {
            assert_eq!(marked_by(text), None, "{text}");
        }
    }
}

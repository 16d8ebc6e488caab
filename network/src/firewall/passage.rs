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
    /// Whether somebody else's rules speak of our links.
    pub(super) spoken_for: bool,
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
        let wanted = passage == Passage::BesideDocker
            && self.docker
            && self.policy == Policy::Closed
            && !self.spoken_for;
        let links_of_ours = if wanted { links_of(named) } else { Vec::new() };
        let stays =
            |bridge: &Option<LinkName>| links_of_ours.contains(bridge) && self.is_whole(store, bridge);
        let mut remove: Vec<T> =
            own.iter().filter(|marked| !stays(&marked.bridge)).map(|marked| marked.rule.clone()).collect();
        remove.extend(others.iter().filter(|marked| !links(marked.store)).map(|marked| marked.rule.clone()));
        let add: Vec<_> =
            links_of_ours.iter().filter(|bridge| !self.is_whole(store, bridge)).cloned().collect();
        (!add.is_empty() || !remove.is_empty()).then_some(Change { remove, add })
    }

    /// Whether both rules are there.
    fn is_whole(&self, store: StorePrefix, bridge: &Option<LinkName>) -> bool {
        let rules = self.marked.iter().filter(|marked| marked.store == store && marked.bridge == *bridge);
        rules.count() == DIRECTIONS.len()
    }

    /// Whether our links get past it as it is.
    pub(super) fn lets_through(&self, store: StorePrefix, named: &[LinkName]) -> bool {
        self.policy == Policy::Open
            || self.spoken_for
            || links_of(named).iter().all(|bridge| self.is_whole(store, bridge))
    }
}

/// What there are two rules for each: all links that are called by ourselves, and each bridge that people named.
fn links_of(named: &[LinkName]) -> Vec<Option<LinkName>> {
    std::iter::once(None).chain(named.iter().cloned().map(Some)).collect()
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
    let own = site.store().links();
    let states = names::all(&site.config().runtime)?;
    let bridges = states.into_iter().map(|state| state.bridge);
    Ok(bridges.filter(|bridge| !bridge.as_str().starts_with(&own)).collect())
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

/// Looks at the chains of others that forwarded packets pass, as far as they concern us.
pub(super) fn look(
    socket: &mut Socket,
    store: StorePrefix,
    chains: &[Chain],
) -> Result<Vec<Forward>, NetlinkError> {
    let (table, links) = (store.table(), store.links());
    let mut found = Vec::new();
    let foreign = chains.iter().filter(|chain| {
        chain.table != table
            && chain.hook == Some(HOOK_FORWARD)
            && matches!(chain.family, TableFamily::Inet | TableFamily::Ip | TableFamily::Ip6)
    });
    for chain in foreign.filter(|chain| chain.drops_by_default || Forward::is_iptables(chain)) {
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
        let gate = Gate {
            policy: if chain.drops_by_default { Policy::Closed } else { Policy::Open },
            docker: Forward::is_iptables(chain) && beside(&|name| name == DOCKER),
            spoken_for: rules.iter().any(|rule| {
                let names = |window: &[u8]| window == links.as_bytes();
                whose(rule).is_none() && rule.expressions.windows(links.len()).any(names)
            }),
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
            let links = bridge.as_ref().map_or_else(|| format!("{}*", store.links()), LinkName::to_string);
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
    let closed = forwards.iter().filter(|forward| !forward.gate.lets_through(store, named));
    closed
        .map(|Forward { chain, ufw, .. }| Warning::ForwardingDropped {
            family: chain.family.word().to_owned(),
            table: chain.table.clone(),
            chain: chain.name.clone(),
            links: store.links(),
            named: named.to_vec(),
            advice: Some(advice(chain, *ufw, &store.links())),
        })
        .collect()
}

fn advice(chain: &Chain, ufw: bool, links: &str) -> String {
    let program = if chain.family == TableFamily::Ip6 { "ip6tables" } else { "iptables" };
    if ufw {
        let file = if chain.family == TableFamily::Ip6 { "before6.rules" } else { "before.rules" };
        let inner = if chain.family == TableFamily::Ip6 { "ufw6" } else { "ufw" };
        format!(
            "the lines `-A {inner}-before-forward -i {links}+ -j ACCEPT` and `-A {inner}-before-forward -o {links}+ -j ACCEPT` in /etc/ufw/{file}, then `ufw reload`"
        )
    } else if chain.table == "firewalld" {
        format!("firewall-cmd --permanent --zone=trusted --add-interface='{links}+'; firewall-cmd --reload")
    } else if Forward::is_iptables(chain) {
        iptables_advice(program, links)
    } else {
        let place = format!("{} {} {}", chain.family.word(), chain.table, chain.name);
        format!(
            "nft add rule {place} iifname '\"{links}*\"' accept; nft add rule {place} oifname '\"{links}*\"' accept"
        )
    }
}

/// The two rules as a person would make them.
pub(super) fn iptables_advice(program: &str, links: &str) -> String {
    format!("{program} -A {CHAIN} -i {links}+ -j ACCEPT; {program} -A {CHAIN} -o {links}+ -j ACCEPT")
}

/// The names of all links of the host.
pub(super) fn link_names(socket: &mut Socket) -> Result<HashSet<String>, NetlinkError> {
    let answers = socket.dump(&Request::new("list the links", route::list_links()))?;
    Ok(answers.iter().filter_map(|answer| route::read_link(&answer.body)).map(|link| link.name).collect())
}

/// Whether a store has links.
pub(super) fn has_links(names: &HashSet<String>, store: StorePrefix) -> bool {
    let links = store.links();
    names.iter().any(|name| name.starts_with(&links))
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
        Gate { policy: Policy::Closed, docker: true, spoken_for: false, marked }
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
            Gate { spoken_for: true, ..gate(&[]) },
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
        assert!(gate.lets_through(store("deadbeef"), &[bridge("br8")]));
        assert!(!gate.lets_through(store("deadbeef"), &[bridge("br7")]));
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

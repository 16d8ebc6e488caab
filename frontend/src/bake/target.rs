//! A target, and what becomes of it when it takes over another one's attributes.

use std::collections::{BTreeMap, BTreeSet};

use super::options::{Entry, Kind};

/// What is built: attributes that are not set are `None` or empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// What it is called.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// The targets whose attributes it takes over.
    pub inherits: Vec<String>,
    /// `type:key=value`
    pub annotations: Vec<String>,
    /// Attestations.
    pub attest: Vec<Entry>,
    /// The main context.
    pub context: Option<String>,
    /// Further contexts by name.
    pub contexts: BTreeMap<String, String>,
    /// The path of the Dockerfile.
    pub dockerfile: Option<String>,
    /// The text of the Dockerfile.
    pub dockerfile_inline: Option<String>,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Names of the image.
    pub tags: Vec<String>,
    /// Where cached steps come from.
    pub cache_from: Vec<Entry>,
    /// Where cached steps go to.
    pub cache_to: Vec<Entry>,
    /// The stage.
    pub target: Option<String>,
    /// Secrets of steps.
    pub secret: Vec<Entry>,
    /// Agents of steps.
    pub ssh: Vec<Entry>,
    /// Platforms.
    pub platforms: Vec<String>,
    /// What becomes of the result.
    pub output: Vec<Entry>,
    /// Whether images are asked for again.
    pub pull: Option<bool>,
    /// Whether everything is run.
    pub no_cache: Option<bool>,
    /// The network of steps.
    pub network: Option<String>,
    /// Stages to run whatever the cache holds.
    pub no_cache_filter: Vec<String>,
    /// The size of `/dev/shm` in steps.
    pub shm_size: Option<String>,
    /// Limits of processes in steps.
    pub ulimits: Vec<String>,
    /// What is done with the Dockerfile.
    pub call: Option<String>,
    /// Rights of steps.
    pub entitlements: Vec<String>,
    /// Further host names in steps.
    pub extra_hosts: BTreeMap<String, String>,
    /// Lists that are written and empty: they stand for all there is.
    pub emptied: BTreeSet<&'static str>,
    /// Whether only others want it: nothing becomes of its result.
    pub is_linked: bool,
}

impl Target {
    /// Means a target of which nothing is said.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Lets another one's attributes win over its own.
    pub fn merge(&mut self, over: &Self) {
        let Self {
            name: _,
            description,
            inherits,
            annotations,
            attest,
            context,
            contexts,
            dockerfile,
            dockerfile_inline,
            args,
            labels,
            tags,
            cache_from,
            cache_to,
            target,
            secret,
            ssh,
            platforms,
            output,
            pull,
            no_cache,
            network,
            no_cache_filter,
            shm_size,
            ulimits,
            call,
            entitlements,
            extra_hosts,
            emptied,
            is_linked: _,
        } = over;
        for (own, new) in [
            (&mut self.description, description),
            (&mut self.context, context),
            (&mut self.dockerfile, dockerfile),
            (&mut self.dockerfile_inline, dockerfile_inline),
            (&mut self.target, target),
            (&mut self.network, network),
            (&mut self.shm_size, shm_size),
            (&mut self.call, call),
        ] {
            if new.is_some() {
                own.clone_from(new);
            }
        }
        self.pull = pull.or(self.pull);
        self.no_cache = no_cache.or(self.no_cache);
        for (own, new) in [
            (&mut self.args, args),
            (&mut self.contexts, contexts),
            (&mut self.labels, labels),
            (&mut self.extra_hosts, extra_hosts),
        ] {
            own.extend(new.clone());
        }
        // These stand for all there is.
        for (key, own, new) in [("tags", &mut self.tags, tags), ("platforms", &mut self.platforms, platforms)]
        {
            if !new.is_empty() || emptied.contains(key) {
                own.clone_from(new);
            }
        }
        for (key, own, new) in
            [("output", &mut self.output, output), ("cache-to", &mut self.cache_to, cache_to)]
        {
            if !new.is_empty() || emptied.contains(key) {
                own.clone_from(new);
            }
        }
        self.emptied.extend(emptied);
        // These come together.
        for (own, new) in [
            (&mut self.annotations, annotations),
            (&mut self.no_cache_filter, no_cache_filter),
            (&mut self.ulimits, ulimits),
            (&mut self.entitlements, entitlements),
        ] {
            own.extend(new.clone());
        }
        self.inherits.extend(inherits.clone());
        for (own, new, kind) in [
            (&mut self.cache_from, cache_from, Kind::Cache),
            (&mut self.secret, secret, Kind::Secret),
            (&mut self.ssh, ssh, Kind::Ssh),
            (&mut self.attest, attest, Kind::Attest),
        ] {
            add(own, new, kind);
        }
    }

    /// Brings a target into its last form, as it is when everything has come together: nothing is said twice, and what is
    /// empty is left out.
    pub(super) fn settle(&mut self) {
        for list in [&mut self.cache_from, &mut self.cache_to, &mut self.output] {
            once(list);
        }
        if self.network.as_deref() == Some("host") {
            self.entitlements.push("network.host".to_owned());
        }
        for list in [
            &mut self.annotations,
            &mut self.tags,
            &mut self.platforms,
            &mut self.ulimits,
            &mut self.entitlements,
            &mut self.no_cache_filter,
        ] {
            let mut seen = BTreeSet::new();
            list.retain(|item| !item.is_empty() && seen.insert(item.clone()));
        }
        self.contexts.retain(|_, place| !place.is_empty());
    }

    /// The options of a kind.
    pub(super) fn options(&mut self, attribute: &str) -> Option<(&mut Vec<Entry>, Kind)> {
        Some(match attribute {
            "attest" => (&mut self.attest, Kind::Attest),
            "cache-from" => (&mut self.cache_from, Kind::Cache),
            "cache-to" => (&mut self.cache_to, Kind::Cache),
            "output" | "outputs" => (&mut self.output, Kind::Output),
            "secret" | "secrets" => (&mut self.secret, Kind::Secret),
            "ssh" => (&mut self.ssh, Kind::Ssh),
            _ => return None,
        })
    }
}

/// Adds options; one that is about the same thing takes the place of the one before.
pub(super) fn add(own: &mut Vec<Entry>, new: &[Entry], kind: Kind) {
    let by = match kind {
        Kind::Secret | Kind::Ssh => Some("id"),
        Kind::Attest => Some("type"),
        Kind::Cache | Kind::Output => None,
    };
    for entry in new {
        let same = by.and_then(|key| {
            let value = entry.get(key)?;
            own.iter().position(|known| known.get(key) == Some(value))
        });
        match same {
            Some(at) => own[at] = entry.clone(),
            None => own.push(entry.clone()),
        }
    }
}

/// Takes out options that are there twice. The last one comes into the place of one that goes, as plans of other programs
/// have them.
fn once(list: &mut Vec<Entry>) {
    let mut at = 0;
    while at < list.len() {
        if list[..at].contains(&list[at]) {
            list.swap_remove(at);
        } else {
            at += 1;
        }
    }
}

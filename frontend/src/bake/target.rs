//! A target, and what becomes of it when it takes over another one's attributes.

use std::collections::BTreeMap;

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
        for (own, new) in [(&mut self.tags, tags), (&mut self.platforms, platforms)] {
            if !new.is_empty() {
                own.clone_from(new);
            }
        }
        for (own, new) in [(&mut self.output, output), (&mut self.cache_to, cache_to)] {
            if !new.is_empty() {
                own.clone_from(new);
            }
        }
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
        add(&mut self.cache_from, cache_from, None);
        add(&mut self.secret, secret, Some("id"));
        add(&mut self.ssh, ssh, Some("id"));
        add(&mut self.attest, attest, Some("type"));
    }

    /// Takes out what is said twice, as it is when everything has come together.
    pub(super) fn settle(&mut self) {
        fn once<T: PartialEq>(list: &mut Vec<T>) {
            let mut kept: Vec<T> = Vec::with_capacity(list.len());
            for item in std::mem::take(list) {
                if !kept.contains(&item) {
                    kept.push(item);
                }
            }
            *list = kept;
        }
        once(&mut self.cache_from);
        once(&mut self.cache_to);
        once(&mut self.output);
        once(&mut self.annotations);
        once(&mut self.tags);
        once(&mut self.platforms);
        once(&mut self.ulimits);
        once(&mut self.entitlements);
        once(&mut self.no_cache_filter);
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

/// Adds options; one that says the same of the same thing takes the place of the one before.
fn add(own: &mut Vec<Entry>, new: &[Entry], by: Option<&str>) {
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

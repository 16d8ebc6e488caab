//! Config files.

use std::collections::BTreeMap;
use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rbuild_model::span::{Diagnostic, Source, Span};
use rbuild_network::address::{Pool, SubnetError};
use serde::Deserialize;

use crate::progress::Mode;
use crate::report::Findings;

/// A config file could not be read.
#[derive(Debug, thiserror::Error)]
#[error("failed to read the config file `{}`", path.display())]
pub(crate) struct FileError {
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(super) const fn new(path: PathBuf, source: io::Error) -> Self {
        Self { path, source }
    }
}

/// What a config file says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Config {
    pub(super) root: Option<PathBuf>,
    #[serde(default, deserialize_with = "mode")]
    pub(super) progress: Option<Mode>,
    pub(super) ca: Option<Authorities>,
    pub(super) offline: Option<bool>,
    #[serde(default, deserialize_with = "span")]
    pub(super) remember_tags: Option<Duration>,
    #[serde(default)]
    pub(super) steps: Steps,
    #[serde(default)]
    pub(super) networks: Networks,
    #[serde(default)]
    pub(super) registry: BTreeMap<String, Registry>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) cache: Cache,
}

/// What is known of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Registry {
    /// Registries that are asked first, as `host[:port]` or a URL.
    #[serde(default)]
    pub(crate) mirrors: Vec<String>,
    /// Whether it is spoken to in plain HTTP, if that is said.
    pub(crate) insecure: Option<bool>,
    /// A file of certificate authorities for it and its mirrors, in PEM; they vouch for no other server.
    pub(crate) ca: Option<PathBuf>,
    /// The certificate that it is shown, in PEM.
    pub(crate) cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    pub(crate) key: Option<PathBuf>,
    /// Whether nothing is fetched from it or sent to it, if that is said.
    pub(crate) blocked: Option<bool>,
}

impl Registry {
    /// Lets what a file that counts more says of it replace what is said here, and nothing else.
    fn merge(&mut self, other: Self) {
        let Self { mirrors, insecure, ca, cert, key, blocked } = other;
        if !mirrors.is_empty() {
            self.mirrors = mirrors;
        }
        self.insecure = insecure.or(self.insecure);
        self.ca = ca.or(self.ca.take());
        self.cert = cert.or(self.cert.take());
        self.key = key.or(self.key.take());
        self.blocked = blocked.or(self.blocked);
    }
}

/// Who vouches for registries.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub(crate) enum Authorities {
    /// The list in the program.
    Builtin,
    /// The machine's list; the one in the program if there is none.
    #[default]
    Host,
    /// A file, in PEM, besides the machine's.
    File(PathBuf),
}

impl From<String> for Authorities {
    fn from(text: String) -> Self {
        match text.as_str() {
            "builtin" => Self::Builtin,
            "host" => Self::Host,
            _ => Self::File(text.into()),
        }
    }
}

/// What steps of builds are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Steps {
    /// Certificate authorities besides those of their image: `host` or a PEM file.
    pub(super) ca: Option<Authorities>,
    /// Folders that say which devices `RUN --device` may mean.
    pub(super) devices: Option<Vec<PathBuf>>,
}

/// Networks of containers and steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Networks {
    /// Whether our links get rules of their own in the filter of a Docker that drops what is forwarded.
    pub(super) docker_rules: Option<bool>,
    /// What subnets are taken from where none is asked for.
    pub(super) address_pools: Option<Vec<AddressPool>>,
}

/// A range of IPv4 that networks of one size are taken from, as Docker's `default-address-pools` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "WrittenPool")]
pub(super) struct AddressPool(Pool);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPool {
    base: String,
    size: u8,
}

impl TryFrom<WrittenPool> for AddressPool {
    type Error = String;

    fn try_from(WrittenPool { base, size }: WrittenPool) -> Result<Self, String> {
        if base.contains(':') {
            return Err(format!(
                "{base}: pools are of IPv4; networks with IPv6 have a range of their own each, or `--subnet`"
            ));
        }
        let range = base.parse().map_err(|error: SubnetError| error.to_string())?;
        Pool::new(range, size).map(Self).map_err(|error| error.to_string())
    }
}

impl From<AddressPool> for Pool {
    fn from(pool: AddressPool) -> Self {
        pool.0
    }
}

/// Limits of builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Limits {
    pub(super) parallel: Option<NonZeroUsize>,
}

/// The build cache.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cache {
    /// The most it may take, in bytes.
    #[serde(default, deserialize_with = "amount")]
    pub(super) max: Option<u64>,
}

fn amount<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Amount {
        Number(u64),
        Text(String),
    }
    match Amount::deserialize(deserializer)? {
        Amount::Number(bytes) => Ok(Some(bytes)),
        Amount::Text(text) => crate::flags::bytes(&text)
            .map(Some)
            .map_err(|error| serde::de::Error::custom(format!("`{text}`: {error}"))),
    }
}

impl Config {
    /// Reads a file's text.
    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, Findings> {
        toml::from_str(text).map_err(|error| {
            let source = Source::new(path.display().to_string(), text);
            let span = error.span().map_or(Span::default(), Span::from);
            let message = error.message().lines().next().unwrap_or("not a config file").to_owned();
            Findings(vec![Diagnostic::error(&source, span, message)])
        })
    }

    /// Lets a file that counts more have its say.
    pub(super) fn merge(&mut self, other: Self) {
        let Self { root, progress, ca, offline, remember_tags, steps, networks, registry, limits, cache } =
            other;
        self.networks.docker_rules = networks.docker_rules.or(self.networks.docker_rules);
        self.networks.address_pools = networks.address_pools.or(self.networks.address_pools.take());
        self.steps.ca = steps.ca.or(self.steps.ca.take());
        self.steps.devices = steps.devices.or(self.steps.devices.take());
        self.root = root.or(self.root.take());
        self.progress = progress.or(self.progress);
        self.ca = ca.or(self.ca.take());
        self.offline = offline.or(self.offline);
        self.remember_tags = remember_tags.or(self.remember_tags);
        for (name, registry) in registry {
            self.registry.entry(name).or_default().merge(registry);
        }
        self.limits.parallel = limits.parallel.or(self.limits.parallel);
        self.cache.max = cache.max.or(self.cache.max);
    }
}

fn span<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    crate::flags::span(&text).map(Some).map_err(serde::de::Error::custom)
}

fn mode<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Mode>, D::Error> {
    let text = String::deserialize(deserializer)?;
    clap::ValueEnum::from_str(&text, false).map(Some).map_err(|_| {
        serde::de::Error::custom(format!(
            "`{text}` is no way to show progress: use auto, tty, plain, quiet, none or rawjson"
        ))
    })
}

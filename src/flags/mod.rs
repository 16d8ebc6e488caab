//! Values of flags: pure functions from text to what is meant, one file a kind of value.
//!
//! Nothing here reads the environment or a file. What depends on them (`-e NAME` without a value, a secret that is
//! a variable if there is one and a file otherwise) is kept as it was asked for and resolved by `settings`.

mod annotation;
mod attest;
mod cache;
mod container;
mod csv;
mod environment;
mod hosts;
mod limits;
mod mount;
mod output;
mod platform;
mod port;
mod secret;
mod size;
mod sources;
mod ssh;
#[cfg(test)]
mod tests;

use rbuild_model::span::nearest;
use rbuild_model::truth::parse_bool;

pub(crate) use annotation::{Annotations, annotation};
pub(crate) use attest::{Attest, attest, provenance, sbom};
pub(crate) use cache::{
    CacheFrom, CachePlace, CacheTo, GhaPlace, LocalEntry, S3Place, cache, cache_from, cache_to,
};
pub(crate) use container::{
    DetachKeys, Exposed, NetworkUse, detach_keys, expose, filter, network, signal, span,
};
pub(crate) use environment::{EnvEntry, env_entry, env_file, label};
pub(crate) use hosts::{add_host, domain};
pub(crate) use limits::{
    Cpus, Device, Sysctl, capability, cpu_shares, cpus, cpuset, device, device_rule, gpus, oom_score, sysctl,
    ulimit,
};
pub(crate) use mount::{MountKind, Propagation, RunMount, mount, tmpfs, volume};
pub(crate) use output::{Compression, Destination, Mode, Output, OutputKind, encoding, output};
pub(crate) use platform::{PlatformList, platforms};
pub(crate) use port::{Protocol, Published, publish};
pub(crate) use secret::{Secret, SecretSource, secret};
pub(crate) use size::{Swap, bytes, swap};
pub(crate) use sources::{BuildContext, ContextSource, Layout, build_context, context_source, layout};
pub(crate) use ssh::{Ssh, ssh};

/// A flag's value does not mean anything.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(crate) struct Invalid {
    why: String,
    judged: Judged,
}

/// Who finds out with Docker's commands that a value means nothing: the status depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Whoever it is for most values of the flag.
    #[default]
    AsTheFlag,
    /// The command, which cannot read it.
    Early,
    /// Who makes the container, to whom it is passed on.
    Late,
}

impl Invalid {
    /// Says what is wrong, in one lower-case fragment.
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), judged: Judged::AsTheFlag }
    }

    /// The value can be read, and who makes the container refuses it.
    pub(crate) fn late(self) -> Self {
        Self { judged: Judged::Late, ..self }
    }

    /// The value cannot be read, though others of the flag are passed on as they are.
    pub(crate) fn early(self) -> Self {
        Self { judged: Judged::Early, ..self }
    }

    /// Returns who finds it out.
    pub(crate) fn judged(&self) -> Judged {
        self.judged
    }
}

/// The result of reading a value.
pub(crate) type Read<T> = Result<T, Invalid>;

/// Says that a word is none of those allowed, with the nearest of them.
pub(crate) fn unknown(what: &str, word: &str, allowed: &[&str]) -> Invalid {
    let hint = nearest(word, allowed.iter().copied())
        .map(|near| format!(" (did you mean `{near}`?)"))
        .unwrap_or_else(|| format!(": use one of [{}]", allowed.join(", ")));
    Invalid::new(format!("unknown {what} `{word}`{hint}"))
}

/// Reads a truth value as Docker's flags do.
pub(crate) fn boolean(text: &str) -> Read<bool> {
    parse_bool(text).ok_or_else(|| Invalid::new(format!("`{text}` is neither `true` nor `false`")))
}

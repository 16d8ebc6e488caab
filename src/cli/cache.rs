//! `rbuild cache`: what the build cache of this store holds.

use std::path::PathBuf;

use crate::flags;

/// What `rbuild cache` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Cache {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: CacheVerb,
}

/// What can be done with the cache.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum CacheVerb {
    /// List what the cache holds
    Ls(List),
    /// Remove parts of the cache
    Rm(Remove),
    /// List the folders of cache mounts
    Mounts(Mounts),
    /// Compare a cache elsewhere with the last build of a project
    Diff(Diff),
}

/// What `rbuild cache diff` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Diff {
    /// The cache: a folder, a name at a registry, `s3://BUCKET/PREFIX`, or as `--cache-from` takes it
    #[arg(value_name = "CACHE", value_parser = place)]
    pub(crate) cache: flags::CacheFrom,
    /// The folder of the project (default: this one)
    #[arg(value_name = "FOLDER", default_value = ".", hide_default_value = true)]
    pub(crate) project: PathBuf,
    /// How it is shown
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(crate) format: Option<DiffForm>,
}

/// How a comparison is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum DiffForm {
    /// For programs
    Json,
}

/// Reads where a cache is: one word, or all that is to be said of it.
fn place(text: &str) -> flags::Read<flags::CacheFrom> {
    if text.contains("type=") { flags::cache_from(text) } else { flags::cache(text).map(|(from, _)| from) }
}

/// What `rbuild cache ls` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    /// Only what fits: `id`, `parents`, `type`, `description`, `inuse`, `mutable`, `immutable`, `shared`, `private`,
    /// `until` (can be repeated)
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) filter: Vec<String>,
    /// How it is shown: `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Show all that is known of each
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// List what a cache elsewhere holds: a folder, a name at a registry, `s3://BUCKET/PREFIX`, or as `--cache-from` takes it
    #[arg(long, value_name = "CACHE", value_parser = place, conflicts_with_all = ["filter", "verbose"])]
    pub(crate) from: Option<flags::CacheFrom>,
}

/// What `rbuild cache rm` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Ids as `cache ls` and `cache mounts` show them; the beginning is enough
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<String>,
}

/// What `rbuild cache mounts` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Mounts {
    /// How it is shown: `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

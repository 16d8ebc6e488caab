//! The verbs of the store and of the program itself.

use std::path::PathBuf;

use crate::flags;

/// What `rbuild du` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Usage {
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// List everything, not only sums
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// List only what fits, by the keys of `rbuild cache ls` (can be repeated)
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) filter: Vec<String>,
}

/// What `rbuild prune` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Also images that no container uses, and what was pushed here if nothing else is chosen
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only what fits: `until=`, `label=`; with a key of `rbuild cache ls` only parts of the cache (can be repeated)
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) filter: Vec<String>,
    /// Keep no more than this of the cache
    #[arg(long, value_name = "BYTES", value_parser = flags::bytes)]
    pub(crate) max_used_space: Option<u64>,
    /// Always keep this much of the cache
    #[arg(long, visible_alias = "keep-storage", value_name = "BYTES", value_parser = flags::bytes)]
    pub(crate) reserved_space: Option<u64>,
    /// Remove until this much is free on the disk
    #[arg(long, value_name = "BYTES", value_parser = flags::bytes)]
    pub(crate) min_free_space: Option<u64>,
}

impl Prune {
    /// Whether it says how much of the cache stays.
    pub(crate) fn limits_cache(&self) -> bool {
        self.max_used_space.or(self.reserved_space).or(self.min_free_space).is_some()
    }
}

/// What verbs take that show one document.
#[derive(Debug, clap::Args)]
pub(crate) struct Formatted {
    /// How it is shown: `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// What `rbuild doctor` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Doctor {
    /// How it is shown: `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// What `rbuild completion` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Completion {
    /// Shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(crate) shell: Shell,
}

/// The shells that completions are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Shell {
    /// `source <(rbuild completion bash)`
    Bash,
    /// `rbuild completion fish | source`
    Fish,
    /// `source <(rbuild completion zsh)`, behind `compinit`
    Zsh,
}

/// What `rbuild man` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// Folder
    #[arg(value_name = "DIR")]
    pub(crate) folder: PathBuf,
}

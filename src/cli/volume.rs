//! The verbs of volumes.

use crate::cli::formats;
use crate::flags;

const FILTERS: &str = "\
Filters:
  dangling=true|false, driver=DRIVER, label=KEY[=VALUE], name=NAME";

/// What `rbuild volume` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Volume {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: VolumeVerb,
}

/// What can be done with volumes.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum VolumeVerb {
    /// Make a volume
    Create(Create),
    /// Show all that is known of volumes
    Inspect(Inspect),
    /// List volumes
    #[command(visible_alias = "list")]
    Ls(List),
    /// Remove volumes that no container has
    Prune(Prune),
    /// Remove volumes
    #[command(visible_alias = "remove")]
    Rm(Remove),
}

/// What `rbuild volume create` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Name of the volume; a fresh one if nothing is said
    #[arg(value_name = "VOLUME")]
    pub(crate) name: Option<String>,
    /// The same, as Docker wrote it once
    #[arg(long = "name", value_name = "VOLUME", hide = true, conflicts_with = "name")]
    pub(crate) named: Option<String>,
    /// Who keeps it
    #[arg(short, long, value_name = "DRIVER", default_value = "local")]
    pub(crate) driver: String,
    /// Label (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::label)]
    pub(crate) label: Vec<(String, String)>,
    /// Option of the driver: `type`, `device` and `o`, as for `mount` (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = flags::label)]
    pub(crate) opt: Vec<(String, String)>,
}

/// What `rbuild volume inspect` takes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = formats::of_inspect("{{.Mountpoint}}"))]
pub(crate) struct Inspect {
    /// Volumes, by name
    #[arg(value_name = "VOLUME", required = true)]
    pub(crate) volumes: Vec<String>,
    /// How it is shown: `json`, or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

/// What `rbuild volume ls` takes.
#[derive(Debug, clap::Args)]
#[command(after_help = FILTERS, after_long_help = filters_and_formats())]
pub(crate) struct List {
    /// Only volumes that fit (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = flags::filter)]
    pub(crate) filter: Vec<(String, String)>,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Only names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

fn filters_and_formats() -> String {
    format!("{FILTERS}\n\n{}", formats::of_list(r"{{.Name}}\t{{.Driver}}", "{{.Mountpoint}}"))
}

/// What `rbuild volume prune` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Also volumes that were given a name
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only volumes that fit: `label=`, `label!=` (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::filter)]
    pub(crate) filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What `rbuild volume rm` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Volumes, by name
    #[arg(value_name = "VOLUME", required = true)]
    pub(crate) volumes: Vec<String>,
    /// Say nothing of those that are not there
    #[arg(short, long)]
    pub(crate) force: bool,
}

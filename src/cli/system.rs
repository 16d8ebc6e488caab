//! The verbs of the whole: what it takes, what can go, what comes back after a reboot.

use crate::cli::container::Events;
use crate::cli::formats;
use crate::cli::prune::Formatted;

/// What `rbuild system` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct System {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: SystemVerb,
}

/// What can be done with the whole.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum SystemVerb {
    /// Start the containers that come back after a reboot, as their restart policies say
    Boot,
    /// Show what images, containers, volumes and the build cache take
    Df(Usage),
    /// Let containers come back after a reboot by themselves: install a unit of systemd
    Enable(Enable),
    /// Remove what `enable` installed
    Disable,
    /// Show what happens
    Events(Events),
    /// Show what is known of the machine and the store
    Info(Formatted),
    /// Remove what is not used
    Prune(Prune),
}

/// What `rbuild system df` takes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = formats::of_list(r"{{.Type}}\t{{.Size}}", "{{.Type}}: {{.Reclaimable}}"))]
pub(crate) struct Usage {
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// List everything, not only sums
    #[arg(short, long)]
    pub(crate) verbose: bool,
}

/// What `rbuild system enable` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Enable {
    /// Show the unit and where it would be, and install nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// What `rbuild system prune` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Also images that have a name and no container
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Also anonymous volumes
    #[arg(long)]
    pub(crate) volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Only what fits: `until=`, `label=`, `label!=` (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
}

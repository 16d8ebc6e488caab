//! The verbs of `rbuild compose` that make no containers; here the flags of those that only look.

use clap::{Subcommand, ValueEnum};

use super::carry::{Publish, Pull, Push};
use super::reach::{Attach, Commit, Copy, Exec, Export, Wait, Watch};
use crate::cli::container::LogLines;
use crate::cli::formats;
use crate::flags;

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Attach a container of a service
    Attach(Attach),
    /// Make an image of a container of a service
    Commit(Commit),
    /// Copy files into containers of a service and out of one
    Cp(Copy),
    /// Show what happens to the containers of services
    Events(Events),
    /// Run a program in a container of a service
    Exec(Exec),
    /// Write all files of a container of a service as a tar
    Export(Export),
    /// List the images of the containers of services
    Images(Images),
    /// Show what services wrote
    Logs(Logs),
    /// List projects
    Ls(List),
    /// Show which port of this machine leads to a port of a service
    Port(Port),
    /// List the containers of services
    Ps(Containers),
    /// Write a project to a registry
    Publish(Publish),
    /// Download the images of services
    Pull(Pull),
    /// Upload the images of services
    Push(Push),
    /// Show what the containers of services use of the machine
    Stats(Stats),
    /// Show the processes of services
    Top(Services),
    /// Show the version
    Version(Version),
    /// List the volumes of services
    Volumes(Volumes),
    /// Wait until the containers of services end, and return the status of the last one
    Wait(Wait),
    /// Bring changes of files into services while they run
    Watch(Watch),
}

/// What verbs take that only name services.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Services {
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `rbuild compose ps` takes.
#[derive(Debug, Default, clap::Args)]
#[command(after_long_help = formats::of_list(r"{{.Service}}\t{{.Ports}}", "{{.Name}}: {{.Status}}"))]
pub(crate) struct Containers {
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Also containers that do not run, and those of `run`
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only containers that fit: `status=`
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Option<String>,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Show everything in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Containers of services that the project no longer has
    #[arg(long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true)]
    pub(crate) orphans: bool,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Only the names of services
    #[arg(long = "services")]
    pub(crate) only_services: bool,
    /// Only containers in this state (can be repeated)
    #[arg(long, value_name = "STATE")]
    pub(crate) status: Vec<String>,
}

/// What `rbuild compose logs` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Logs {
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Which lines.
    #[command(flatten)]
    pub(crate) lines: LogLines,
    /// Only the container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u64>,
    /// No colours
    #[arg(long)]
    pub(crate) no_color: bool,
    /// Do not say whose the lines are
    #[arg(long)]
    pub(crate) no_log_prefix: bool,
}

/// What `rbuild compose stats` takes.
#[derive(Debug, Default, clap::Args)]
#[command(after_long_help = formats::of_list(r"{{.Name}}\t{{.CPUPerc}}", "{{.Name}}: {{.MemUsage}}"))]
pub(crate) struct Stats {
    /// Service; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) service: Option<String>,
    /// Also containers that do not run
    #[arg(short, long)]
    pub(crate) all: bool,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Show one look, and end
    #[arg(long)]
    pub(crate) no_stream: bool,
    /// Show everything in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// What `rbuild compose events` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Events {
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// From this moment on: RFC 3339, seconds since 1970, or an age like `42m`
    #[arg(long, value_name = "MOMENT")]
    pub(crate) since: Option<String>,
    /// Until this moment
    #[arg(long, value_name = "MOMENT")]
    pub(crate) until: Option<String>,
}

/// What `rbuild compose images` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Images {
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// How it is shown: `table` or `json`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild compose port` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Port {
    /// Service
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,
    /// Port of the service
    #[arg(value_name = "PORT")]
    pub(crate) port: u16,
    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u64>,
    /// Protocol
    #[arg(long, value_name = "PROTOCOL", default_value = "tcp")]
    pub(crate) protocol: String,
}

/// What `rbuild compose ls` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct List {
    /// Also projects of which nothing runs
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only projects that fit: `name=` (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// How it is shown: `table` or `json`
    #[arg(long, value_name = "FORMAT", default_value = "table", hide_default_value = true)]
    pub(crate) format: String,
    /// Only names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild compose volumes` takes.
#[derive(Debug, Default, clap::Args)]
#[command(after_long_help = formats::of_list(r"{{.Name}}\t{{.Driver}}", "{{.Mountpoint}}"))]
pub(crate) struct Volumes {
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Only names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild compose version` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Version {
    /// How it is shown
    #[arg(short, long, value_name = "FORMAT", value_enum)]
    pub(crate) format: Option<VersionFormat>,
    /// Only the number
    #[arg(long)]
    pub(crate) short: bool,
}

/// The formats of a version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum VersionFormat {
    /// A line
    #[default]
    Pretty,
    /// JSON
    Json,
}

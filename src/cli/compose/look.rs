//! The verbs of `rbuild compose` that look at services, reach into their containers, or carry images.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};

use crate::flags;

const FORMAT: &str = "\
Formats:
  table              A table (the default)
  table TEMPLATE     A table of your own columns
  json               JSON
  TEMPLATE           A Go template: '{{.Name}}: {{.Status}}'";

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
#[command(after_long_help = FORMAT)]
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
    /// Show also what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Only the container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u64>,
    /// No colours
    #[arg(long)]
    pub(crate) no_color: bool,
    /// Do not say whose the lines are
    #[arg(long)]
    pub(crate) no_log_prefix: bool,
    /// Only lines from this moment on: RFC 3339, seconds since 1970, or an age like `42m`
    #[arg(long, value_name = "MOMENT")]
    pub(crate) since: Option<String>,
    /// Only lines before this moment
    #[arg(long, value_name = "MOMENT")]
    pub(crate) until: Option<String>,
    /// So many of the last lines of each container
    #[arg(
        short = 'n',
        long,
        value_name = "NUMBER",
        default_value = "all",
        hide_default_value = true,
        allow_hyphen_values = true
    )]
    pub(crate) tail: String,
    /// Show the time of each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
}

/// What `rbuild compose attach` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Attach {
    /// Service
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS", value_parser = flags::detach_keys)]
    pub(crate) detach_keys: Option<flags::DetachKeys>,
    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u64>,
    /// Keep your input
    #[arg(long)]
    pub(crate) no_stdin: bool,
    /// Pass signals on to the program
    #[arg(long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true)]
    pub(crate) sig_proxy: bool,
}

/// What `rbuild compose exec` takes.
#[derive(Debug, clap::Args)]
#[command(override_usage = "rbuild compose exec [OPTIONS] SERVICE COMMAND [ARG]...")]
pub(crate) struct Exec {
    /// Service, and the program with its arguments
    #[arg(value_names = ["SERVICE", "COMMAND"], required = true, num_args = 2.., trailing_var_arg = true)]
    pub(crate) service_and_command: Vec<String>,
    /// Leave it running in the background
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Environment variable; only a name passes yours on (can be repeated)
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = flags::env_entry)]
    pub(crate) env: Vec<flags::EnvEntry>,
    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u64>,
    /// Keep standard input open, as always
    #[arg(short, long, hide = true)]
    pub(crate) interactive: bool,
    /// Give the program no terminal; it gets one where there is one
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY")]
    pub(crate) no_tty: bool,
    /// Give all capabilities
    #[arg(long)]
    pub(crate) privileged: bool,
    /// Give the program a terminal, as always where there is one
    #[arg(short, long, hide = true)]
    pub(crate) tty: bool,
    /// User and group: names or numbers
    #[arg(short, long, value_name = "USER[:GROUP]")]
    pub(crate) user: Option<String>,
    /// Working folder
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
}

/// What `rbuild compose stats` takes.
#[derive(Debug, Default, clap::Args)]
#[command(after_long_help = FORMAT)]
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

/// What `rbuild compose wait` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Wait {
    /// Services
    #[arg(value_name = "SERVICE", required = true)]
    pub(crate) services: Vec<String>,
    /// Then stop and remove the project
    #[arg(long)]
    pub(crate) down_project: bool,
}

/// What `rbuild compose cp` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// `SERVICE:PATH`, a path of yours, or `-` for a tar on standard input
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// `SERVICE:PATH`, a path of yours, or `-` for a tar on standard output
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// Containers of `run` too
    #[arg(long)]
    pub(crate) all: bool,
    /// Keep owners
    #[arg(short, long)]
    pub(crate) archive: bool,
    /// Copy what a link leads to
    #[arg(short = 'L', long)]
    pub(crate) follow_link: bool,
    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u64>,
}

/// What `rbuild compose commit` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Commit {
    /// Service
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Who answers for it
    #[arg(short, long, value_name = "NAME")]
    pub(crate) author: Option<String>,
    /// Dockerfile instruction for the image's config (can be repeated)
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u64>,
    /// Remark for the image's history
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Hold the container still meanwhile
    #[arg(short, long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true)]
    pub(crate) pause: bool,
}

/// What `rbuild compose export` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Export {
    /// Service
    #[arg(value_name = "SERVICE")]
    pub(crate) service: String,
    /// The container of the service with this number
    #[arg(long, value_name = "NUMBER")]
    pub(crate) index: Option<u64>,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// What `rbuild compose volumes` takes.
#[derive(Debug, Default, clap::Args)]
#[command(after_long_help = FORMAT)]
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

/// What `rbuild compose pull` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Pull {
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Leave out services that are built
    #[arg(long)]
    pub(crate) ignore_buildable: bool,
    /// Go on past images that cannot be downloaded
    #[arg(long)]
    pub(crate) ignore_pull_failures: bool,
    /// Also what the services depend on
    #[arg(long)]
    pub(crate) include_deps: bool,
    /// Which images are asked for
    #[arg(long, value_name = "POLICY", value_enum)]
    pub(crate) policy: Option<PullPolicy>,
    /// Say nothing
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Which images are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    /// Those that are not there
    Missing,
    /// All
    Always,
}

/// What `rbuild compose push` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Push {
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Go on past images that cannot be uploaded
    #[arg(long)]
    pub(crate) ignore_push_failures: bool,
    /// Also what the services depend on
    #[arg(long)]
    pub(crate) include_deps: bool,
    /// Say nothing
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild compose watch` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Watch {
    /// Services; all that have rules if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// Do not build and start the services first
    #[arg(long)]
    pub(crate) no_up: bool,
    /// Remove images that a rebuild left without a name
    #[arg(long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true)]
    pub(crate) prune: bool,
    /// Do not show builds
    #[arg(long)]
    pub(crate) quiet: bool,
}

/// What `rbuild compose publish` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Publish {
    /// Where to
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) target: String,
    /// With the images
    #[arg(long)]
    pub(crate) app: bool,
    /// Version of the OCI artifact
    #[arg(long, value_name = "VERSION")]
    pub(crate) oci_version: Option<String>,
    /// Pin images to their digests
    #[arg(long)]
    pub(crate) resolve_image_digests: bool,
    /// Put values of variables into it
    #[arg(long)]
    pub(crate) with_env: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

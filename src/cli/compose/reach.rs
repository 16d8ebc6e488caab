//! The verbs of `rbuild compose` that reach into containers, or wait for them.

use std::path::PathBuf;

use crate::flags;

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
    /// Let the program read standard input (yes, if nothing is said)
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = crate::flags::boolean)]
    pub(crate) interactive: Option<bool>,
    /// Give the program no terminal; it gets one where there is one, with `=false` always
    #[arg(short = 'T', long = "no-tty", visible_alias = "no-TTY", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = crate::flags::boolean)]
    pub(crate) no_tty: Option<bool>,
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
    /// Agree to all that a project from elsewhere asks for
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
}

//! `rbuild compose run`.

use std::ffi::OsString;

use super::up::{Pull, pull_policy};

/// What `rbuild compose run` takes.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(override_usage = "rbuild compose run [OPTIONS] SERVICE [COMMAND] [ARG]...")]
pub(crate) struct Run {
    /// Build the image first
    #[arg(long)]
    pub(crate) build: bool,
    /// Add a capability (can be repeated)
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Take a capability away (can be repeated)
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// Leave the container running and print its id
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Run this instead of the image's program
    #[arg(long, value_name = "PROGRAM")]
    pub(crate) entrypoint: Option<String>,
    /// Set a variable (can be repeated)
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// Set the variables of a file (can be repeated)
    #[arg(long, value_name = "FILE")]
    pub(crate) env_from_file: Vec<String>,
    /// Keep standard input attached (yes, if nothing is said)
    #[arg(short, long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = crate::flags::boolean)]
    pub(crate) interactive: Option<bool>,
    /// Add a label (can be repeated)
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub(crate) label: Vec<String>,
    /// Name of the container
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// No terminal; with `=false` one in any case
    #[arg(short = 'T', long = "no-TTY", visible_alias = "no-tty", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL", value_parser = crate::flags::boolean)]
    pub(crate) no_tty: Option<bool>,
    /// Leave what the service depends on as it is
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// Publish a port (can be repeated)
    #[arg(short, long, value_name = "PORT")]
    pub(crate) publish: Vec<String>,
    /// When images are pulled: `always`, `missing`, `never`
    #[arg(long, value_name = "POLICY", value_parser = pull_policy)]
    pub(crate) pull: Option<Pull>,
    /// Say nothing of the project
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Say nothing of what is built
    #[arg(long)]
    pub(crate) quiet_build: bool,
    /// Say nothing of what is pulled
    #[arg(long)]
    pub(crate) quiet_pull: bool,
    /// Remove containers of services that are gone from the project
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Remove the container when it ends
    #[arg(long)]
    pub(crate) rm: bool,
    /// Publish the service's own ports
    #[arg(short = 'P', long)]
    pub(crate) service_ports: bool,
    /// Give it a terminal although standard input is none
    #[arg(short, long)]
    pub(crate) tty: bool,
    /// Let the service's names lead to it too
    #[arg(long)]
    pub(crate) use_aliases: bool,
    /// Run as this user
    #[arg(short, long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// Mount something (can be repeated)
    #[arg(short, long, value_name = "MOUNT")]
    pub(crate) volume: Vec<String>,
    /// Start in this folder
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// Agree to all that a project from elsewhere asks for
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
    /// The service, and what to run instead of its command
    #[arg(value_name = "SERVICE", required = true, num_args = 1.., trailing_var_arg = true)]
    pub(crate) command: Vec<OsString>,
}

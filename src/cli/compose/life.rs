//! `rbuild compose start`, `stop`, `restart`, `kill`, `rm`, `pause`, `unpause`, `scale`.

use rbuild_model::container::Signal;

/// What verbs take that only name services.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Services {
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `rbuild compose start` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Start {
    /// Return when all services run, and are healthy where they are asked
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long services and what they need have to become ready, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) wait_timeout: Option<i64>,
    /// Services, with what they depend on; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `rbuild compose stop` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Stop {
    /// How long containers are waited for, in seconds
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) timeout: Option<i64>,
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `rbuild compose restart` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Restart {
    /// Leave services alone that restart with those that are named
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// How long containers are waited for, in seconds
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) timeout: Option<i64>,
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `rbuild compose kill` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Kill {
    /// The signal
    #[arg(short, long, value_name = "SIGNAL", default_value = "SIGKILL")]
    pub(crate) signal: Signal,
    /// Remove containers of services that are gone from the project
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `rbuild compose rm` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Remove {
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Stop containers first
    #[arg(short, long)]
    pub(crate) stop: bool,
    /// Remove volumes without a name too
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `rbuild compose scale` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Scale {
    /// Leave what services depend on as it is
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// Agree to all that a project from elsewhere asks for
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
    /// How many containers each service has
    #[arg(value_name = "SERVICE=NUMBER", required = true)]
    pub(crate) services: Vec<String>,
}

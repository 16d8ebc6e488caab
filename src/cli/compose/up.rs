//! `rbuild compose up`, `create` and `down`; and their short names.

use super::Project;

/// What `rbuild up` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ShortUp {
    /// Which project.
    #[command(flatten)]
    pub(crate) project: Project,
    /// What is asked for.
    #[command(flatten)]
    pub(crate) up: Up,
    /// Start new containers, and wait until they are ready, before the old ones are stopped, where both can be up at once
    #[arg(long)]
    pub(crate) start_first: bool,
}

/// What `rbuild down` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ShortDown {
    /// Which project.
    #[command(flatten)]
    pub(crate) project: Project,
    /// What is asked for.
    #[command(flatten)]
    pub(crate) down: Down,
}

/// What makes containers come, for all verbs that make some.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Making {
    /// Build the images of services that say how, first
    #[arg(long)]
    pub(crate) build: bool,
    /// Build nothing: images have to be there, or to be had from a registry
    #[arg(long)]
    pub(crate) no_build: bool,
    /// When images are pulled: `always`, `missing`, `never`, `build`
    #[arg(long, value_name = "POLICY", value_parser = pull_policy)]
    pub(crate) pull: Option<Pull>,
    /// Say nothing of what is pulled
    #[arg(long)]
    pub(crate) quiet_pull: bool,
    /// Make containers anew although nothing has changed
    #[arg(long)]
    pub(crate) force_recreate: bool,
    /// Make no container anew, whatever has changed
    #[arg(long)]
    pub(crate) no_recreate: bool,
    /// Remove containers of services that are gone from the project
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Give a service so many containers (can be repeated)
    #[arg(long, value_name = "SERVICE=NUMBER")]
    pub(crate) scale: Vec<String>,
    /// Ask containers for their health no earlier than their checks say
    #[arg(long)]
    pub(crate) strict_health: bool,
    /// Answer every question with yes
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
}

/// When images are pulled, whatever services say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pull {
    /// Every time.
    Always,
    /// Where they are missing.
    Missing,
    /// Never.
    Never,
    /// They are built where that can be.
    Build,
}

/// Reads a pull policy.
pub(crate) fn pull_policy(text: &str) -> Result<Pull, String> {
    match text {
        "always" => Ok(Pull::Always),
        "missing" | "if_not_present" => Ok(Pull::Missing),
        "never" => Ok(Pull::Never),
        "build" => Ok(Pull::Build),
        _ => Err("there are always, missing, never and build".to_owned()),
    }
}

/// What `rbuild compose create` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// What makes containers come.
    #[command(flatten)]
    pub(crate) making: Making,
    /// Services, with what they depend on; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `rbuild compose up` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Up {
    /// What makes containers come.
    #[command(flatten)]
    pub(crate) making: Making,
    /// Leave the containers running and return
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Stop everything when a container ends
    #[arg(long)]
    pub(crate) abort_on_container_exit: bool,
    /// Stop everything when a container ends with a status other than 0
    #[arg(long)]
    pub(crate) abort_on_container_failure: bool,
    /// Make containers of dependencies anew although nothing has changed
    #[arg(long)]
    pub(crate) always_recreate_deps: bool,
    /// Show only the output of this service (can be repeated)
    #[arg(long, value_name = "SERVICE")]
    pub(crate) attach: Vec<String>,
    /// Show the output of dependencies too
    #[arg(long)]
    pub(crate) attach_dependencies: bool,
    /// Return the status of this service's container; everything stops when a container ends
    #[arg(long, value_name = "SERVICE")]
    pub(crate) exit_code_from: Option<String>,
    /// Offer keys while output is shown
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = crate::flags::boolean
    )]
    pub(crate) menu: Option<bool>,
    /// Do not show the output of this service (can be repeated)
    #[arg(long, value_name = "SERVICE")]
    pub(crate) no_attach: Vec<String>,
    /// No colours
    #[arg(long)]
    pub(crate) no_color: bool,
    /// Leave what services depend on as it is
    #[arg(long)]
    pub(crate) no_deps: bool,
    /// No names in front of lines
    #[arg(long)]
    pub(crate) no_log_prefix: bool,
    /// Make containers and start none
    #[arg(long)]
    pub(crate) no_start: bool,
    /// Say nothing of what is built
    #[arg(long)]
    pub(crate) quiet_build: bool,
    /// Give containers that come anew new volumes where these have no name
    #[arg(short = 'V', long)]
    pub(crate) renew_anon_volumes: bool,
    /// How long containers are waited for when they are stopped, in seconds
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) timeout: Option<i64>,
    /// Show when each line was written
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Return when all services run, and are healthy where they are asked
    #[arg(long)]
    pub(crate) wait: bool,
    /// How long services and what they need have to become ready, in seconds
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) wait_timeout: Option<i64>,
    /// Follow changes of files
    #[arg(short, long)]
    pub(crate) watch: bool,
    /// Show at the end who waited for whom, and how long
    #[arg(long)]
    pub(crate) trace: bool,
    /// Services, with what they depend on; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

/// What `rbuild compose down` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Down {
    /// Remove containers of services that are gone from the project, and those of `run`
    #[arg(long)]
    pub(crate) remove_orphans: bool,
    /// Remove images: `local` those that were built here, `all` every one of a service
    #[arg(long, value_name = "WHICH", value_parser = ["local", "all"])]
    pub(crate) rmi: Option<String>,
    /// How long containers are waited for, in seconds
    #[arg(short, long, value_name = "SECONDS", allow_negative_numbers = true)]
    pub(crate) timeout: Option<i64>,
    /// Remove the project's volumes, and those without a name
    #[arg(short, long)]
    pub(crate) volumes: bool,
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

//! The verbs of `rbuild compose` that carry images, and projects, from and to registries.

use clap::ValueEnum;

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

//! `rbuild compose build`.

use super::Progress;

/// What `rbuild compose build` takes.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Build {
    /// Set a build argument for all services (can be repeated)
    #[arg(long = "build-arg", value_name = "NAME[=VALUE]")]
    pub(crate) build_args: Vec<String>,
    /// Only check the Dockerfiles
    #[arg(long)]
    pub(crate) check: bool,
    /// Limit the memory of steps
    #[arg(short, long, value_name = "BYTES")]
    pub(crate) memory: Option<String>,
    /// Run everything although the cache has it
    #[arg(long)]
    pub(crate) no_cache: bool,
    /// Show what would be built, as JSON
    #[arg(long)]
    pub(crate) print: bool,
    /// Attach a provenance
    #[arg(long, value_name = "HOW")]
    pub(crate) provenance: Option<String>,
    /// What `--progress` before the verb was called at first
    #[arg(long, hide = true, value_name = "KIND")]
    pub(crate) progress: Option<Progress>,
    /// Ask registries for newer base images
    #[arg(long)]
    pub(crate) pull: bool,
    /// Push the images
    #[arg(long)]
    pub(crate) push: bool,
    /// Say nothing
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Attach a bill of materials
    #[arg(long, value_name = "HOW")]
    pub(crate) sbom: Option<String>,
    /// SSH agent or keys for steps (can be repeated)
    #[arg(long, value_name = "ID[=PATH]")]
    pub(crate) ssh: Vec<String>,
    /// Build what the services depend on too
    #[arg(long)]
    pub(crate) with_dependencies: bool,
    /// Answer every question with yes
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
    /// Services; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
}

//! `rbuild compose config`.

use std::path::PathBuf;

use clap::ValueEnum;

/// What `rbuild compose config` takes.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Config {
    /// Services to show, with what they depend on; all if none
    #[arg(value_name = "SERVICE")]
    pub(crate) services: Vec<String>,
    /// How it is shown: `yaml` or `json`
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// File to write to
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Only check
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// List the services, each behind what it depends on
    #[arg(long = "services")]
    pub(crate) list_services: bool,
    /// List the volumes
    #[arg(long)]
    pub(crate) volumes: bool,
    /// List the networks
    #[arg(long)]
    pub(crate) networks: bool,
    /// List the models
    #[arg(long)]
    pub(crate) models: bool,
    /// List the profiles
    #[arg(long)]
    pub(crate) profiles: bool,
    /// List the images
    #[arg(long)]
    pub(crate) images: bool,
    /// Show what each service's containers are recognised by: `*`, or services separated by commas
    #[arg(long, value_name = "SERVICES")]
    pub(crate) hash: Option<String>,
    /// List the variables that the files mention
    #[arg(long)]
    pub(crate) variables: bool,
    /// List the variables that the files are read with
    #[arg(long)]
    pub(crate) environment: bool,
    /// Tell where a variable's value comes from and what it does
    #[arg(long, value_name = "VAR")]
    pub(crate) explain: Option<String>,
    /// Leave variables as they are written
    #[arg(long)]
    pub(crate) no_interpolate: bool,
    /// Do not spell out what the format implies
    #[arg(long)]
    pub(crate) no_normalize: bool,
    /// Leave relative paths as they are written
    #[arg(long)]
    pub(crate) no_path_resolution: bool,
    /// Do not check references
    #[arg(long)]
    pub(crate) no_consistency: bool,
    /// Do not read env files and label files of services
    #[arg(long)]
    pub(crate) no_env_resolution: bool,
    /// Pin images to their digests
    #[arg(long)]
    pub(crate) resolve_image_digests: bool,
    /// Show a file that pins images to their digests
    #[arg(long)]
    pub(crate) lock_image_digests: bool,
}

impl Config {
    /// Whether registries are asked what images are.
    pub(crate) const fn pins(&self) -> bool {
        self.resolve_image_digests || self.lock_image_digests
    }
}

/// The formats of `rbuild compose config`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// YAML
    #[default]
    Yaml,
    /// JSON
    Json,
}

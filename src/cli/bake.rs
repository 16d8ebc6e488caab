//! `rbuild bake`.

use std::path::PathBuf;

use crate::progress::Mode;

const EXAMPLES: &str = "\
Examples:
  rbuild bake                                Build the group or target `default`
  rbuild bake -f docker-bake.hcl app db      Build two targets
  rbuild bake --print 'app-*'                Show what would be built, as JSON
  rbuild bake --set '*.platform=linux/arm64' --set app.args.VERSION=2
  TAG=v2 rbuild bake                         Give a variable another value
  rbuild bake --list variables               List the variables of the files
  rbuild bake https://HOST/NAME.git#v1 app   Build what the files of a repository define

Files:
  compose.yaml, docker-compose.yml, docker-bake.json, docker-bake.hcl, docker-bake.override.json,
  docker-bake.override.hcl: all that are there, later ones over earlier ones";

/// What `rbuild bake` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = EXAMPLES,
    long_about = "Build many targets from one file\n\nTargets stand in bake files (HCL, JSON) and compose files. They are one \
                  build: what is equal in them is done once."
)]
pub(crate) struct Bake {
    /// Targets and groups to build, also with `*` (default: `default`); first, where the files are, if they are not here: a git URL, or that of a tar or a file
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<String>,
    /// File with targets (can be repeated); `-` for standard input, `cwd://FILE` for one here where the others are not
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// Attribute over those of the files (can be repeated); `+=` adds to a list
    #[arg(long, value_name = "TARGET.KEY=VALUE")]
    pub(crate) set: Vec<String>,
    /// Show what would be built, as JSON, and build nothing
    #[arg(long)]
    pub(crate) print: bool,
    /// List targets or variables, and build nothing
    #[arg(long, conflicts_with = "print", value_name = "targets|variables[,format=json]")]
    pub(crate) list: Option<String>,
    /// Only check the Dockerfiles (same as `--call check`)
    #[arg(long)]
    pub(crate) check: bool,
    /// What to do with the Dockerfiles: build, check, outline, targets
    #[arg(long, value_name = "METHOD")]
    pub(crate) call: Option<String>,

    /// Push the images (same as `--set=*.push=true`)
    #[arg(long, help_heading = "Result")]
    pub(crate) push: bool,
    /// Keep the images in the store, which happens anyway where no output is named
    #[arg(long, help_heading = "Result")]
    pub(crate) load: bool,
    /// Write what is known of the results to a file, as JSON by target
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(crate) metadata_file: Option<PathBuf>,
    /// Attach a bill of materials (same as `--set=*.attest=type=sbom`)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Result")]
    pub(crate) sbom: Option<String>,
    /// Attach how images were made (same as `--set=*.attest=type=provenance`)
    #[arg(long, value_name = "BOOL|mode=min|max", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Result")]
    pub(crate) provenance: Option<String>,

    /// Run every step, whatever the cache holds
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Cache")]
    pub(crate) no_cache: Option<bool>,
    /// Look for newer versions of all images
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", help_heading = "Cache")]
    pub(crate) pull: Option<bool>,

    /// Right that targets may use (can be repeated): network.host, security.insecure, fs=PATH, fs.read=PATH,
    /// fs.write=PATH, ssh
    #[arg(long, value_name = "RIGHT", help_heading = "Steps")]
    pub(crate) allow: Vec<String>,
    /// How progress is shown
    #[arg(long, value_name = "MODE", value_enum, help_heading = "Display")]
    pub(crate) progress: Option<Mode>,
}

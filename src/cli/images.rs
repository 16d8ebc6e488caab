//! The verbs of images.

use std::path::PathBuf;

use crate::cli::formats;
use crate::flags;
use crate::progress::Mode;

/// What `rbuild images` takes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = formats::of_list(r"{{.ID}}\t{{.Size}}", "{{.Repository}}:{{.Tag}}"))]
pub(crate) struct List {
    /// Only images of this name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Also intermediate images, of which rbuild has none
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show digests of manifests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only images that fit: `dangling=`, `label=`, `reference=`, `before=`, `since=`, `until=` (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Show ids in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild inspect` takes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = formats::of_inspect("{{json .Config.Env}}"))]
pub(crate) struct Inspect {
    /// Containers, images, networks or volumes, by name or id
    #[arg(value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// How it is shown
    #[arg(short, long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Count what containers take
    #[arg(short, long)]
    pub(crate) size: bool,
    /// Only objects of this type
    #[arg(long = "type", value_name = "TYPE", value_enum)]
    pub(crate) kind: Option<InspectType>,
    /// Show the image for this platform where a name means several
    #[arg(long, value_name = "PLATFORM", value_parser = flags::platforms)]
    pub(crate) platform: Option<flags::PlatformList>,
}

/// What has documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum InspectType {
    /// Containers
    Container,
    /// Images
    Image,
    /// Networks
    Network,
    /// Volumes
    Volume,
}

impl InspectType {
    /// All, in the order in which a name is looked for.
    pub(crate) const ALL: [Self; 4] = [Self::Container, Self::Image, Self::Network, Self::Volume];
}

/// What `rbuild image` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Group {
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: GroupVerb,
}

/// The verbs of images that have no short name.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum GroupVerb {
    /// Remove images that nobody needs
    Prune(Prune),
}

/// What `rbuild image prune` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Prune {
    /// Also images that have a name and no container
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only images that fit: `dangling=`, `label=`, `label!=`, `until=` (can be repeated)
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What `rbuild history` takes.
#[derive(Debug, clap::Args)]
#[command(after_long_help = formats::of_list(r"{{.CreatedBy}}\t{{.Size}}", "{{.Size}}: {{.CreatedBy}}"))]
pub(crate) struct History {
    /// Image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) image: String,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Sizes and times for people
    #[arg(short = 'H', long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true)]
    pub(crate) human: bool,
    /// Show everything in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild tag` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Tag {
    /// Image, by name or id
    #[arg(value_name = "IMAGE")]
    pub(crate) source: String,
    /// Its further name
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) target: String,
}

/// What `rbuild rmi` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Remove {
    /// Images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// Remove images that have several names, and ignore those that are not there
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// What `rbuild pull` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Pull {
    /// Images, by name
    #[arg(value_name = "NAME[:TAG|@DIGEST]", required = true)]
    pub(crate) names: Vec<String>,
    /// Pull all tags of the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Platform, as in `linux/arm64`
    #[arg(long, value_name = "PLATFORM", value_parser = flags::platforms)]
    pub(crate) platform: Option<flags::PlatformList>,
    /// How progress is shown
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) progress: Option<Mode>,
    /// Say nothing but the name
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild save` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Save {
    /// Images, by name or id
    #[arg(value_name = "IMAGE", required = true)]
    pub(crate) images: Vec<String>,
    /// File to write instead of standard output
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Save only the image for this platform where a name means several
    #[arg(long, value_name = "PLATFORM", value_parser = flags::platforms)]
    pub(crate) platform: Option<flags::PlatformList>,
}

/// What `rbuild load` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Load {
    /// File to read instead of standard input
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// Say nothing but the names
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild import` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// Tar or folder, or `-` for a tar on standard input
    #[arg(value_name = "FILE|FOLDER|-")]
    pub(crate) source: String,
    /// Name of the image
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: Option<String>,
    /// Dockerfile instruction for the image's config (can be repeated)
    #[arg(short, long, value_name = "INSTRUCTION")]
    pub(crate) change: Vec<String>,
    /// Remark for the image's history
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// Platform, as in `linux/arm64`
    #[arg(long, value_name = "PLATFORM", value_parser = flags::platforms)]
    pub(crate) platform: Option<flags::PlatformList>,
}

//! The verbs of registries.

use crate::flags;
use crate::progress::Mode;

/// What `rbuild push` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Push {
    /// Image, by the name that it gets at its registry
    #[arg(value_name = "NAME[:TAG]")]
    pub(crate) name: String,
    /// Push all tags of the repository
    #[arg(short, long)]
    pub(crate) all_tags: bool,
    /// Push only the image for this platform where a name means several
    #[arg(long, value_name = "PLATFORM", value_parser = flags::platforms)]
    pub(crate) platform: Option<flags::PlatformList>,
    /// How layers that were made here are packed
    #[arg(long, value_name = "FORM", value_enum, default_value = "gzip")]
    pub(crate) compression: flags::Compression,
    /// How hard they are packed: 0 to 9 for gzip, 0 to 22 for zstd
    #[arg(long, value_name = "LEVEL")]
    pub(crate) compression_level: Option<u8>,
    /// Pack layers that came from elsewhere anew as well
    #[arg(long)]
    pub(crate) force_compression: bool,
    /// How progress is shown
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) progress: Option<Mode>,
    /// Say nothing but the name
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild login` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Login {
    /// Registry; Docker Hub if none is named
    #[arg(value_name = "REGISTRY")]
    pub(crate) server: Option<String>,
    /// User
    #[arg(short, long, value_name = "USER")]
    pub(crate) username: Option<String>,
    /// Password; better read from standard input
    #[arg(short, long, value_name = "PASSWORD")]
    pub(crate) password: Option<String>,
    /// Read the password from standard input
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// What `rbuild logout` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Logout {
    /// Registry; Docker Hub if none is named
    #[arg(value_name = "REGISTRY")]
    pub(crate) server: Option<String>,
}

/// What `rbuild imagetools` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Imagetools {
    /// What is done.
    #[command(subcommand)]
    pub(crate) verb: ImagetoolsVerb,
}

/// The verbs of images at registries.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ImagetoolsVerb {
    /// Show an image as its registry has it
    Inspect(ImagetoolsInspect),
    /// Make an image of several platforms from images at registries
    Create(ImagetoolsCreate),
}

/// What `rbuild imagetools inspect` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagetoolsInspect {
    /// Image, by name
    #[arg(value_name = "NAME")]
    pub(crate) name: String,
    /// How it is shown: a template of `.Name`, `.Manifest`, `.Image`, `.SBOM` and `.Provenance`
    #[arg(long, value_name = "FORMAT", conflicts_with = "raw")]
    pub(crate) format: Option<String>,
    /// Show the manifest as it came
    #[arg(long)]
    pub(crate) raw: bool,
}

/// What `rbuild imagetools create` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ImagetoolsCreate {
    /// Images that it is made of, by name
    #[arg(value_name = "SOURCE")]
    pub(crate) sources: Vec<String>,
    /// Name that it gets (can be repeated)
    #[arg(short, long, value_name = "NAME")]
    pub(crate) tag: Vec<String>,
    /// Add to what the name means by now
    #[arg(long)]
    pub(crate) append: bool,
    /// Annotation, as in `index:KEY=VALUE` or `manifest-descriptor[PLATFORM]:KEY=VALUE` (can be repeated)
    #[arg(long, value_name = "[TYPE:]KEY=VALUE", value_parser = flags::annotation)]
    pub(crate) annotation: Vec<flags::Annotations>,
    /// Show the result, and push nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Read a source's descriptor from a file (can be repeated)
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<std::path::PathBuf>,
    /// Platforms to take (can be repeated)
    #[arg(short, long, value_name = "PLATFORM", value_parser = flags::platforms)]
    pub(crate) platform: Vec<flags::PlatformList>,
    /// Make an index of a single image as well
    #[arg(long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true)]
    pub(crate) prefer_index: bool,
    /// How progress is shown
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) progress: Option<Mode>,
}

/// What `rbuild copy` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Copy {
    /// Image at a registry, by name
    #[arg(value_name = "SOURCE")]
    pub(crate) source: String,
    /// Name that it gets, at the same registry or another
    #[arg(value_name = "TARGET")]
    pub(crate) target: String,
    /// Platforms to copy; all if none is named (can be repeated)
    #[arg(long, value_name = "PLATFORM", value_parser = flags::platforms)]
    pub(crate) platform: Vec<flags::PlatformList>,
    /// How progress is shown
    #[arg(long, value_name = "MODE", value_enum)]
    pub(crate) progress: Option<Mode>,
    /// Say nothing but the digest
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// What `rbuild manifest` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Manifest {
    /// What is done.
    #[command(subcommand)]
    pub(crate) verb: ManifestVerb,
}

/// The verbs of lists of manifests.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ManifestVerb {
    /// Show a manifest at a registry, or a list of ours
    Inspect(ManifestInspect),
    /// Begin a list
    Create(ManifestCreate),
    /// Say what an entry of a list is for
    Annotate(ManifestAnnotate),
    /// Push a list
    Push(ManifestPush),
    /// Forget lists
    Rm(ManifestRemove),
}

/// What `rbuild manifest inspect` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestInspect {
    /// List and manifest, or manifest alone
    #[arg(value_name = "[LIST] MANIFEST", num_args = 1..=2, required = true)]
    pub(crate) names: Vec<String>,
    /// Show what is known of each manifest
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// Speak plain HTTP to a registry that is not reached otherwise
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// What `rbuild manifest create` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestCreate {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub(crate) list: String,
    /// Images that go into it, by name
    #[arg(value_name = "MANIFEST", required = true)]
    pub(crate) manifests: Vec<String>,
    /// Add to a list that is there
    #[arg(short, long)]
    pub(crate) amend: bool,
    /// Speak plain HTTP to a registry that is not reached otherwise
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// What `rbuild manifest annotate` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestAnnotate {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub(crate) list: String,
    /// Image in it, by name
    #[arg(value_name = "MANIFEST")]
    pub(crate) manifest: String,
    /// Operating system
    #[arg(long, value_name = "OS")]
    pub(crate) os: Option<String>,
    /// Architecture
    #[arg(long, value_name = "ARCH")]
    pub(crate) arch: Option<String>,
    /// Variant of the architecture
    #[arg(long, value_name = "VARIANT")]
    pub(crate) variant: Option<String>,
    /// Version of the operating system
    #[arg(long, value_name = "VERSION")]
    pub(crate) os_version: Option<String>,
    /// Features of the operating system
    #[arg(long, value_name = "FEATURE", value_delimiter = ',')]
    pub(crate) os_features: Vec<String>,
}

/// What `rbuild manifest push` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestPush {
    /// Name of the list
    #[arg(value_name = "LIST")]
    pub(crate) list: String,
    /// Forget the list when it is pushed
    #[arg(short, long)]
    pub(crate) purge: bool,
    /// Speak plain HTTP to a registry that is not reached otherwise
    #[arg(long)]
    pub(crate) insecure: bool,
}

/// What `rbuild manifest rm` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ManifestRemove {
    /// Names of lists
    #[arg(value_name = "LIST", required = true)]
    pub(crate) lists: Vec<String>,
}

/// What `rbuild search` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Search {
    /// What is looked for: at Docker Hub, or at a registry (`REGISTRY/TERM`)
    #[arg(value_name = "TERM")]
    pub(crate) term: String,
    /// Only repositories that fit: `is-official=`, `stars=` (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub(crate) filter: Vec<String>,
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// The most results: 1 to 100
    #[arg(long, value_name = "COUNT", default_value_t = 25, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) limit: u32,
    /// Show descriptions in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// What `rbuild registry` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Registry {
    /// What is done.
    #[command(subcommand)]
    pub(crate) verb: RegistryVerb,
}

/// The verbs of our own registry.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum RegistryVerb {
    /// Serve the store as a registry
    Serve(Serve),
    /// List what others pushed here
    Ls(ListPushed),
    /// Remove what others pushed here
    Rm(RemovePushed),
}

/// What `rbuild registry ls` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ListPushed {
    /// How it is shown
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
    /// Show digests in full
    #[arg(long)]
    pub(crate) no_trunc: bool,
}

/// What `rbuild registry rm` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct RemovePushed {
    /// Repositories with all in them, or single images (`NAME:TAG`, `NAME@DIGEST`)
    #[arg(value_name = "NAME", required_unless_present = "all")]
    pub(crate) names: Vec<String>,
    /// Remove everything
    #[arg(short, long)]
    pub(crate) all: bool,
}

/// What `rbuild registry serve` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct Serve {
    /// Address to listen on: `127.0.0.1:5000` if none is named, `:PORT` for every address
    #[arg(value_name = "ADDRESS")]
    pub(crate) address: Option<String>,
    /// Let others push
    #[arg(long)]
    pub(crate) allow_push: bool,
    /// Let others push and delete
    #[arg(long)]
    pub(crate) allow_delete: bool,
    /// Certificate to show, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_cert: Option<std::path::PathBuf>,
    /// Key of the certificate, in PEM
    #[arg(long, value_name = "FILE")]
    pub(crate) tls_key: Option<std::path::PathBuf>,
    /// Users that are let in, as `htpasswd -B` writes them
    #[arg(long, value_name = "FILE")]
    pub(crate) htpasswd: Option<std::path::PathBuf>,
    /// Tell nothing of requests
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

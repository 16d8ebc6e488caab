//! `rbuild build`.

use std::path::PathBuf;

use rbuild_model::step::{ExtraHost, Ulimit};

use crate::flags;
use crate::progress::Mode;

const EXAMPLES: &str = "\
Examples:
  rbuild build .                                    Build the Dockerfile in this folder
  rbuild build -t app -f docker/Dockerfile .        Name the image, use another Dockerfile
  rbuild build --build-arg VERSION=1.2 --target test .
  rbuild build --secret id=token,src=token.txt .    Hand in a secret for RUN --mount=type=secret
  rbuild build -o out .                             Write the result's files to the folder `out`
  rbuild build - < Dockerfile                       Build without a context";

/// What `rbuild build` takes.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "rbuild build [OPTIONS] PATH|URL|-",
    after_long_help = EXAMPLES,
    long_about = "Build an image from a Dockerfile\n\nThe context is a folder, a git repository, the URL of a tar, or `-` \
                  for a tar or a Dockerfile on standard input. `rbuild PATH` is the same as `rbuild build PATH`."
)]
pub(crate) struct Arguments {
    /// What is built.
    #[command(flatten)]
    pub(crate) what: What,
    /// Only check the Dockerfile (same as `--call check`)
    #[arg(long, help_heading = "What is built")]
    pub(crate) check: bool,
    /// What to do with the Dockerfile
    #[arg(long, value_name = "METHOD", default_value = "build", value_parser = call, help_heading = "What is built")]
    pub(crate) call: Call,

    /// Name of the image (can be repeated)
    #[arg(short, long, value_name = "NAME[:TAG]", help_heading = "Result")]
    pub(crate) tag: Vec<String>,
    /// Where the result goes, as in `out`, `-` or `type=oci,dest=FILE` (can be repeated)
    #[arg(short, long, value_name = "SPEC", value_parser = flags::output, help_heading = "Result")]
    pub(crate) output: Vec<flags::Output>,
    /// Keep the result as an image in the store, beside other outputs
    #[arg(long, help_heading = "Result")]
    pub(crate) load: bool,
    /// Push the result to the registry that its name says (same as `--output type=registry`)
    #[arg(long, help_heading = "Result")]
    pub(crate) push: bool,
    /// Label of the image (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::label, help_heading = "Result")]
    pub(crate) label: Vec<(String, String)>,
    /// Annotation of what leaves, as in `KEY=VALUE` or `index:KEY=VALUE` (can be repeated)
    #[arg(long, value_name = "[TYPE:]KEY=VALUE", value_parser = flags::annotation, help_heading = "Result")]
    pub(crate) annotation: Vec<flags::Annotations>,
    /// Attach a bill of materials to what is built (same as `--attest type=sbom`)
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flags::sbom, help_heading = "Result")]
    pub(crate) sbom: Option<flags::Attest>,
    /// Attach how it was made to what is built, as in `mode=max` (same as `--attest type=provenance`)
    #[arg(long, value_name = "SPEC", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = flags::provenance, help_heading = "Result")]
    pub(crate) provenance: Option<flags::Attest>,
    /// Attach a fact to what is built, as in `type=sbom` or `type=provenance,mode=max` (can be repeated)
    #[arg(long, value_name = "SPEC", value_parser = flags::attest, help_heading = "Result")]
    pub(crate) attest: Vec<flags::Attest>,
    /// Write the image's id to a file
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(crate) iidfile: Option<PathBuf>,
    /// Write what is known of the result to a file, as JSON
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(crate) metadata_file: Option<PathBuf>,

    /// Run every step, whatever the cache holds
    #[arg(long, help_heading = "Cache")]
    pub(crate) no_cache: bool,
    /// Stages to run whatever the cache holds (can be repeated)
    #[arg(long, value_name = "STAGE", value_delimiter = ',', help_heading = "Cache")]
    pub(crate) no_cache_filter: Vec<String>,
    /// Look for newer versions of all images
    #[arg(long, help_heading = "Cache")]
    pub(crate) pull: bool,
    /// Cache elsewhere, read and written: a folder, a name at a registry, or `s3://BUCKET/PREFIX` (can be repeated)
    #[arg(long, value_name = "PLACE", value_parser = flags::cache, help_heading = "Cache")]
    pub(crate) cache: Vec<(flags::CacheFrom, flags::CacheTo)>,
    /// Cache that results are taken from, as in `type=local,src=FOLDER` (can be repeated)
    #[arg(long, value_name = "SPEC", value_parser = flags::cache_from, help_heading = "Cache")]
    pub(crate) cache_from: Vec<flags::CacheFrom>,
    /// Cache that results are brought to, as in `type=registry,ref=NAME,mode=max` (can be repeated)
    #[arg(long, value_name = "SPEC", value_parser = flags::cache_to, help_heading = "Cache")]
    pub(crate) cache_to: Vec<flags::CacheTo>,

    /// Secret for RUN --mount=type=secret (can be repeated)
    #[arg(long, value_name = "id=ID[,src=FILE|,env=NAME]", value_parser = flags::secret, help_heading = "Steps")]
    pub(crate) secret: Vec<flags::Secret>,
    /// Agent or keys for RUN --mount=type=ssh (can be repeated)
    #[arg(long, value_name = "default|ID[=SOCKET|KEY]", value_parser = flags::ssh, help_heading = "Steps")]
    pub(crate) ssh: Vec<flags::Ssh>,
    /// Network of RUN steps
    #[arg(long, value_name = "MODE", default_value = "default", value_parser = network, help_heading = "Steps")]
    pub(crate) network: rbuild_model::step::NetworkMode,
    /// Further host name for RUN steps (can be repeated)
    #[arg(long, value_name = "HOST:ADDRESS", value_parser = flags::add_host, help_heading = "Steps")]
    pub(crate) add_host: Vec<ExtraHost>,
    /// Size of /dev/shm in RUN steps
    #[arg(long, value_name = "BYTES", value_parser = flags::bytes, help_heading = "Steps")]
    pub(crate) shm_size: Option<u64>,
    /// Limit of processes in RUN steps (can be repeated)
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = flags::ulimit, help_heading = "Steps")]
    pub(crate) ulimit: Vec<Ulimit>,
    /// What RUN steps may use.
    #[command(flatten)]
    pub(crate) limits: StepLimits,
    /// Certificate authorities that steps trust besides their image's: `host` or a PEM file
    ///
    /// They are given to the programs of steps by variables (SSL_CERT_FILE and the like) and leave no trace in the
    /// image or in cache keys. For machines behind a proxy that inspects TLS.
    #[arg(long, value_name = "host|FILE", help_heading = "Steps")]
    pub(crate) ca: Option<String>,
    /// Right that steps may use (can be repeated)
    #[arg(long, value_name = "RIGHT", value_parser = entitlement, help_heading = "Steps")]
    pub(crate) allow: Vec<Entitlement>,

    /// How progress is shown
    #[arg(long, value_name = "MODE", value_enum, help_heading = "Display")]
    pub(crate) progress: Option<Mode>,
    /// Show nothing but the image's id
    #[arg(short, long, help_heading = "Display")]
    pub(crate) quiet: bool,
}

/// What each RUN step may use of the machine; never in a cache key.
#[derive(Debug, clap::Args)]
pub(crate) struct StepLimits {
    /// Most memory of a RUN step
    #[arg(short, long, value_name = "BYTES", value_parser = flags::bytes, help_heading = "Steps")]
    pub(crate) memory: Option<u64>,
    /// Most memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = flags::swap, allow_hyphen_values = true, help_heading = "Steps")]
    pub(crate) memory_swap: Option<flags::Swap>,
    /// Relative share of processor time (default: 1024)
    #[arg(short, long, value_name = "NUMBER", help_heading = "Steps")]
    pub(crate) cpu_shares: Option<u64>,
    /// Length of a period for `--cpu-quota`
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Steps")]
    pub(crate) cpu_period: Option<u64>,
    /// Processor time of a RUN step in each period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true, help_heading = "Steps")]
    pub(crate) cpu_quota: Option<i64>,
    /// Processors that may be used, as in `0-3`
    #[arg(long, value_name = "LIST", value_parser = flags::cpuset, help_heading = "Steps")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes that may be used, as in `0,1`
    #[arg(long, value_name = "LIST", value_parser = flags::cpuset, help_heading = "Steps")]
    pub(crate) cpuset_mems: Option<String>,
}

/// A Dockerfile, its contexts and what is chosen of it.
#[derive(Debug, clap::Args)]
pub(crate) struct What {
    /// Build context: a folder, a git URL, the URL of a tar, or `-` for standard input
    #[arg(value_name = "PATH|URL|-", default_value = ".", hide_default_value = true)]
    pub(crate) context: String,

    /// Dockerfile (default: `Dockerfile` in the context; `-` for standard input)
    #[arg(short, long, value_name = "FILE", help_heading = "What is built")]
    pub(crate) file: Option<String>,
    /// Stage to build (default: the last)
    #[arg(long, value_name = "STAGE", help_heading = "What is built")]
    pub(crate) target: Option<String>,
    /// Platform to build for, as in `linux/arm64` (can be repeated)
    #[arg(long, value_name = "PLATFORM", value_parser = flags::platforms, help_heading = "What is built")]
    pub(crate) platform: Vec<flags::PlatformList>,
    /// Value for an ARG; only a name takes the value from your environment (can be repeated)
    #[arg(long, value_name = "NAME[=VALUE]", value_parser = flags::env_entry, help_heading = "What is built")]
    pub(crate) build_arg: Vec<flags::EnvEntry>,
    /// Further context for FROM and COPY --from (can be repeated)
    #[arg(long, value_name = "NAME=PLACE", value_parser = flags::build_context, help_heading = "What is built")]
    pub(crate) build_context: Vec<flags::BuildContext>,
}

/// What is done with a Dockerfile (`--call METHOD[,format=json][,ignorestatus]`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call {
    /// What is done.
    pub(crate) method: Method,
    /// How the answer is written.
    pub(crate) form: CallForm,
    /// Whether the status is 0 although something was found.
    pub(crate) ignore_status: bool,
}

/// What is done with a Dockerfile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// It is built.
    Build,
    /// It is checked.
    Check,
    /// What its target takes from outside is listed.
    Outline,
    /// Its targets are listed.
    Targets,
}

impl Method {
    /// What its answer is called.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Build => "build",
            Self::Check => "check",
            Self::Outline => "outline",
            Self::Targets => "targets",
        }
    }
}

/// How an answer about a Dockerfile is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum CallForm {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Call {
    /// Means a method with its answer as text.
    pub(crate) const fn of(method: Method) -> Self {
        Self { method, form: CallForm::Text, ignore_status: false }
    }
}

/// A right that steps only have if it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Entitlement {
    /// `RUN --network=host`
    NetworkHost,
    /// `RUN --security=insecure`
    SecurityInsecure,
    /// `RUN --device` with any device.
    Devices,
    /// `RUN --device` with what is asked for by this name.
    Device(String),
    /// `RUN --device` with this name, which stands for another.
    DeviceAlias {
        /// What steps ask for.
        alias: String,
        /// What they get.
        name: String,
    },
}

fn call(text: &str) -> flags::Read<Call> {
    let (name, options) = text.split_once(',').unwrap_or((text, ""));
    let (name, options) = if name.contains('=') { ("build", text) } else { (name, options) };
    let method = match name {
        "build" | "" => Method::Build,
        "check" | "lint" => Method::Check,
        "outline" => Method::Outline,
        "targets" => Method::Targets,
        other => return Err(flags::unknown("method", other, &["build", "check", "outline", "targets"])),
    };
    let mut call = Call::of(method);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=').unwrap_or((option, "true")) {
            ("format", "json") => call.form = CallForm::Json,
            ("format", "text") => call.form = CallForm::Text,
            ("format", other) => return Err(flags::unknown("format", other, &["text", "json"])),
            ("ignorestatus", value) => call.ignore_status = flags::boolean(value)?,
            (other, _) => return Err(flags::unknown("option", other, &["format", "ignorestatus"])),
        }
    }
    Ok(call)
}

fn network(text: &str) -> flags::Read<rbuild_model::step::NetworkMode> {
    use rbuild_model::step::NetworkMode;
    match text {
        "default" | "bridge" => Ok(NetworkMode::Default),
        "none" => Ok(NetworkMode::None),
        "host" => Ok(NetworkMode::Host),
        other => Err(flags::unknown("network", other, &["default", "none", "host"])),
    }
}

/// Reads a right that steps may use.
pub(crate) fn entitlement(text: &str) -> flags::Read<Entitlement> {
    match text {
        "network.host" => Ok(Entitlement::NetworkHost),
        "security.insecure" => Ok(Entitlement::SecurityInsecure),
        "device" => Ok(Entitlement::Devices),
        "buildx.local.delete" => Err(flags::Invalid::new("`buildx.local.delete` is not supported yet")),
        other => match other.strip_prefix("device=") {
            Some(device) => device_entitlement(device),
            None => Err(flags::unknown("right", other, &["network.host", "security.insecure", "device"])),
        },
    }
}

fn device_entitlement(text: &str) -> flags::Read<Entitlement> {
    let mut fields = text.split(',');
    let name = fields.next().unwrap_or_default().to_owned();
    let mut alias = None;
    for field in fields {
        match field.split_once('=') {
            Some(("alias", value)) => alias = Some(value.to_owned()),
            _ => return Err(flags::unknown("key of a device", field, &["alias=NAME"])),
        }
    }
    Ok(match alias {
        _ if name.is_empty() => Entitlement::Devices,
        Some(alias) => Entitlement::DeviceAlias { alias, name },
        None => Entitlement::Device(name),
    })
}

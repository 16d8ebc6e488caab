//! `rbuild run`.

use std::path::PathBuf;

use clap::ValueEnum;
use rbuild_model::step::{ExtraHost, Ulimit};

use crate::flags;
use crate::progress::Mode;

const EXAMPLES: &str = "\
Examples:
  rbuild run --rm busybox echo hello           Run a program
  rbuild run --rm -it debian bash              Work in a shell
  rbuild run --rm -v .:/src -w /src rust cargo test
  rbuild run --rm -p 8080:80 nginx             Listen on a port of this machine
  rbuild run --rm --memory 512m --cpus 1.5 app";

const STATUS: &str = "\
Exit status:
  The program's own; 125 if it was not started, 126 if it cannot be executed, 127 if it is not there.";

/// What `rbuild run` takes.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "rbuild run [OPTIONS] IMAGE [COMMAND] [ARG]...",
    disable_help_flag = true,
    after_help = "`-h` is `--hostname` here, as in Docker.",
    after_long_help = format!("{EXAMPLES}\n\n{STATUS}")
)]
pub(crate) struct Arguments {
    /// Image to run, and the program with its arguments
    #[arg(value_names = ["IMAGE", "COMMAND"], required = true, num_args = 1.., trailing_var_arg = true)]
    pub(crate) image_and_command: Vec<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,

    /// Name of the container
    #[arg(long, value_name = "NAME", value_parser = container_name, help_heading = "Container")]
    pub(crate) name: Option<String>,
    /// Remove the container when it ends; as yet, this is always done
    #[arg(long, help_heading = "Container")]
    pub(crate) rm: bool,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE", help_heading = "Container")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Label of the container (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = flags::label, help_heading = "Container")]
    pub(crate) label: Vec<(String, String)>,
    /// Platform of the image, as in `linux/arm64`
    #[arg(long, value_name = "PLATFORM", value_parser = flags::platforms, help_heading = "Container")]
    pub(crate) platform: Option<flags::PlatformList>,
    /// When the image is pulled
    #[arg(long, value_name = "WHEN", value_enum, default_value_t, help_heading = "Container")]
    pub(crate) pull: PullPolicy,
    /// Say nothing while the image is pulled
    #[arg(short, long, help_heading = "Container")]
    pub(crate) quiet: bool,
    /// How progress of a pull is shown
    #[arg(long, value_name = "MODE", value_enum, help_heading = "Container")]
    pub(crate) progress: Option<Mode>,

    /// Keep standard input open
    #[arg(short, long, help_heading = "Program")]
    pub(crate) interactive: bool,
    /// Give the program a terminal
    #[arg(short, long, help_heading = "Program")]
    pub(crate) tty: bool,
    /// Program instead of the image's ENTRYPOINT; empty for none
    #[arg(long, value_name = "PROGRAM", help_heading = "Program")]
    pub(crate) entrypoint: Option<String>,
    /// Environment variable; only a name passes yours on (can be repeated)
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = flags::env_entry, help_heading = "Program")]
    pub(crate) env: Vec<flags::EnvEntry>,
    /// File of environment variables, one a line (can be repeated)
    #[arg(long, value_name = "FILE", help_heading = "Program")]
    pub(crate) env_file: Vec<PathBuf>,
    /// User and group: names or numbers
    #[arg(short, long, value_name = "USER[:GROUP]", help_heading = "Program")]
    pub(crate) user: Option<String>,
    /// Further group (can be repeated)
    #[arg(long, value_name = "GROUP", help_heading = "Program")]
    pub(crate) group_add: Vec<String>,
    /// Working folder
    #[arg(short, long, value_name = "DIR", value_parser = absolute, help_heading = "Program")]
    pub(crate) workdir: Option<String>,
    /// Run a small init that passes signals on and collects processes
    #[arg(long, help_heading = "Program")]
    pub(crate) init: bool,
    /// Signal that asks the program to end
    #[arg(long, value_name = "SIGNAL", help_heading = "Program")]
    pub(crate) stop_signal: Option<String>,

    /// Folder or volume in the container (can be repeated)
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]", value_parser = flags::volume, help_heading = "Files")]
    pub(crate) volume: Vec<flags::RunMount>,
    /// The same in words: `type=bind,source=.,target=/src` (can be repeated)
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = flags::mount, help_heading = "Files")]
    pub(crate) mount: Vec<flags::RunMount>,
    /// Folder in memory (can be repeated)
    #[arg(long, value_name = "TARGET[:OPTIONS]", value_parser = flags::tmpfs, help_heading = "Files")]
    pub(crate) tmpfs: Vec<flags::RunMount>,
    /// Refuse writing to the image's files
    #[arg(long, help_heading = "Files")]
    pub(crate) read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = flags::bytes, help_heading = "Files")]
    pub(crate) shm_size: Option<u64>,
    /// Device of the machine (can be repeated)
    #[arg(long, value_name = "HOST[:CONTAINER][:rwm]", value_parser = flags::device, help_heading = "Files")]
    pub(crate) device: Vec<flags::Device>,

    /// Network of the container
    #[arg(long, visible_alias = "net", value_name = "MODE", default_value = "bridge", value_parser = network, help_heading = "Network")]
    pub(crate) network: Network,
    /// Port of the machine that leads into the container (can be repeated)
    #[arg(short, long, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]", value_parser = flags::publish, help_heading = "Network")]
    pub(crate) publish: Vec<flags::Published>,
    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Network")]
    pub(crate) hostname: Option<String>,
    /// Further host name (can be repeated)
    #[arg(long, value_name = "HOST:ADDRESS", value_parser = flags::add_host, help_heading = "Network")]
    pub(crate) add_host: Vec<ExtraHost>,
    /// Name server (can be repeated)
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(crate) dns: Vec<std::net::IpAddr>,
    /// Domain that names are looked for in (can be repeated)
    #[arg(long, value_name = "DOMAIN", help_heading = "Network")]
    pub(crate) dns_search: Vec<String>,
    /// Option of the resolver (can be repeated)
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", help_heading = "Network")]
    pub(crate) dns_option: Vec<String>,

    /// Most memory
    #[arg(short, long, value_name = "BYTES", value_parser = flags::bytes, help_heading = "Limits")]
    pub(crate) memory: Option<u64>,
    /// Most memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = flags::swap, allow_hyphen_values = true, help_heading = "Limits")]
    pub(crate) memory_swap: Option<flags::Swap>,
    /// Share of processors
    #[arg(long, value_name = "NUMBER", value_parser = flags::cpus, help_heading = "Limits")]
    pub(crate) cpus: Option<flags::Cpus>,
    /// Processors that may be used, as in `0-3`
    #[arg(long, value_name = "LIST", value_parser = flags::cpuset, help_heading = "Limits")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Most processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Limits")]
    pub(crate) pids_limit: Option<i64>,
    /// Limit of processes (can be repeated)
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = flags::ulimit, help_heading = "Limits")]
    pub(crate) ulimit: Vec<Ulimit>,
    /// How soon the kernel kills it when memory is short (-1000 to 1000)
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, value_parser = clap::value_parser!(i16).range(-1000..=1000), help_heading = "Limits")]
    pub(crate) oom_score_adj: Option<i16>,

    /// Capability to give (can be repeated)
    #[arg(long, value_name = "CAPABILITY", value_parser = flags::capability, help_heading = "Rights")]
    pub(crate) cap_add: Vec<String>,
    /// Capability to take (can be repeated)
    #[arg(long, value_name = "CAPABILITY", value_parser = flags::capability, help_heading = "Rights")]
    pub(crate) cap_drop: Vec<String>,
    /// Give all capabilities and devices
    #[arg(long, help_heading = "Rights")]
    pub(crate) privileged: bool,
    /// Way of confinement: `no-new-privileges`, `seccomp=FILE|unconfined`, `systempaths=unconfined` (can be repeated)
    #[arg(long, value_name = "OPTION", value_parser = security, help_heading = "Rights")]
    pub(crate) security_opt: Vec<SecurityOption>,
    /// Kernel parameter of the container's namespaces (can be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = flags::sysctl, help_heading = "Rights")]
    pub(crate) sysctl: Vec<flags::Sysctl>,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum PullPolicy {
    /// Whatever is here
    Always,
    /// If it is not here
    #[default]
    Missing,
    /// Never
    Never,
}

/// Which network a container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// The bridge that containers share.
    Bridge,
    /// The host's.
    Host,
    /// Only a loopback of its own.
    None,
}

/// A way of confinement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecurityOption {
    /// Whether programs can gain rights by being executed.
    NoNewPrivileges(flags::Mode),
    /// No system call filter.
    SeccompUnconfined,
    /// A system call filter from a file.
    SeccompFile(PathBuf),
    /// No paths of the kernel are hidden or read-only.
    SystemPathsUnconfined,
}

impl Arguments {
    /// Returns the image.
    pub(crate) fn image(&self) -> &str {
        self.image_and_command.first().map_or("", String::as_str)
    }

    /// Returns the program with its arguments, empty for the image's own.
    pub(crate) fn command(&self) -> &[String] {
        self.image_and_command.get(1..).unwrap_or_default()
    }
}

fn network(text: &str) -> flags::Read<Network> {
    match text {
        "bridge" | "default" => Ok(Network::Bridge),
        "host" => Ok(Network::Host),
        "none" => Ok(Network::None),
        _ if text.starts_with("container:") => Err(flags::Invalid::new(
            "sharing another container's network is not supported yet: use `host` or `bridge`",
        )),
        other => Err(flags::Invalid::new(format!(
            "networks of your own (`{other}`) are not supported yet: use `bridge`, `host` or `none`"
        ))),
    }
}

fn security(text: &str) -> flags::Read<SecurityOption> {
    let (name, value) = text.split_once('=').or_else(|| text.split_once(':')).unwrap_or((text, ""));
    match (name, value) {
        ("no-new-privileges", "") => Ok(SecurityOption::NoNewPrivileges(flags::Mode::On)),
        ("no-new-privileges", value) => {
            flags::boolean(value).map(|on| SecurityOption::NoNewPrivileges(on.into()))
        }
        ("seccomp", "unconfined") => Ok(SecurityOption::SeccompUnconfined),
        ("seccomp", "") => Err(flags::Invalid::new("write `seccomp=FILE` or `seccomp=unconfined`")),
        ("seccomp", file) => Ok(SecurityOption::SeccompFile(file.into())),
        ("systempaths", "unconfined") => Ok(SecurityOption::SystemPathsUnconfined),
        ("apparmor" | "label" | "writable-cgroups", _) => {
            Err(flags::Invalid::new(format!("`{name}` is not supported yet")))
        }
        _ => Err(flags::unknown("option", name, &["no-new-privileges", "seccomp", "systempaths"])),
    }
}

fn absolute(text: &str) -> flags::Read<String> {
    if text.starts_with('/') {
        Ok(text.to_owned())
    } else {
        Err(flags::Invalid::new(format!("`{text}` is not an absolute path in the container")))
    }
}

fn container_name(text: &str) -> flags::Read<String> {
    let good = text.len() > 1
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    if good {
        Ok(text.to_owned())
    } else {
        Err(flags::Invalid::new(
            "a name has two or more letters, digits, `_`, `.` and `-`, and begins with a letter or digit",
        ))
    }
}

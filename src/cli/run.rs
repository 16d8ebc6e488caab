//! `rbuild run` and `rbuild create`.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use rbuild_model::container::{
    BlkioRate, BlkioWeight, ContainerName, DeviceRequest, NamespaceUse, ParseRestartPolicyError,
    RestartPolicy, Signal,
};
use rbuild_model::network::Mac;
use rbuild_model::step::{ExtraHost, Ulimit};

use crate::flags;
use crate::progress::Mode;

const EXAMPLES: &str = "\
Examples:
  rbuild run --rm busybox echo hello           Run a program
  rbuild run --rm -it debian bash              Work in a shell
  rbuild run --rm -v .:/src -w /src rust cargo test
  rbuild run -d --name web -p 8080:80 nginx    Leave a service running
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
    /// What the container is asked to be.
    #[command(flatten)]
    pub(crate) options: Options,
    /// Leave it running in the background and print its id
    #[arg(short, long, help_heading = "Container")]
    pub(crate) detach: bool,
    /// Stream to attach: `stdin`, `stdout`, `stderr` (can be repeated)
    #[arg(short, long, value_name = "STREAM", value_parser = stream, help_heading = "Program")]
    pub(crate) attach: Vec<Stream>,
    /// Pass signals on to the program
    #[arg(long, value_name = "YES", action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true, default_value = "true", default_missing_value = "true", value_parser = flags::boolean, hide_default_value = true, help_heading = "Program")]
    pub(crate) sig_proxy: bool,
    /// Keys that leave the container running
    #[arg(long, value_name = "KEYS", value_parser = flags::detach_keys, help_heading = "Program")]
    pub(crate) detach_keys: Option<flags::DetachKeys>,
}

/// What `rbuild create` takes.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "rbuild create [OPTIONS] IMAGE [COMMAND] [ARG]...",
    disable_help_flag = true,
    after_help = "`-h` is `--hostname` here, as in Docker."
)]
pub(crate) struct Create {
    /// What the container is asked to be.
    #[command(flatten)]
    pub(crate) options: Options,
    /// Stream to attach when it is started: `stdin`, `stdout`, `stderr` (can be repeated)
    #[arg(short, long, value_name = "STREAM", value_parser = stream, help_heading = "Program")]
    pub(crate) attach: Vec<Stream>,
}

/// A standard stream of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard input.
    Input,
    /// Standard output.
    Output,
    /// Error output.
    Error,
}

/// What a container is asked to be.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Image to run, and the program with its arguments
    #[arg(value_names = ["IMAGE", "COMMAND"], required = true, num_args = 1.., trailing_var_arg = true)]
    pub(crate) image_and_command: Vec<String>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,

    /// Name of the container
    #[arg(long, value_name = "NAME", value_parser = container_name, help_heading = "Container")]
    pub(crate) name: Option<String>,
    /// Remove the container and its anonymous volumes when it ends
    #[arg(long, help_heading = "Container")]
    pub(crate) rm: bool,
    /// Write the container's id to a file
    #[arg(long, value_name = "FILE", help_heading = "Container")]
    pub(crate) cidfile: Option<PathBuf>,
    /// Label of the container (can be repeated)
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = flags::label, help_heading = "Container")]
    pub(crate) label: Vec<(String, String)>,
    /// File of labels, one a line (can be repeated)
    #[arg(long, value_name = "FILE", help_heading = "Container")]
    pub(crate) label_file: Vec<PathBuf>,
    /// Annotation of the runtime spec (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::label, help_heading = "Container")]
    pub(crate) annotation: Vec<(String, String)>,
    /// When it is started again: `no`, `always`, `unless-stopped`, `on-failure[:MOST]`
    #[arg(long, value_name = "POLICY", default_value = "no", hide_default_value = true, value_parser = restart, help_heading = "Container")]
    pub(crate) restart: RestartPolicy,
    /// Where its output is kept: `json-file`, `local`, `none`
    #[arg(long, value_name = "DRIVER", help_heading = "Container")]
    pub(crate) log_driver: Option<String>,
    /// Option of the log driver (can be repeated)
    #[arg(long, value_name = "KEY=VALUE", value_parser = flags::label, help_heading = "Container")]
    pub(crate) log_opt: Vec<(String, String)>,
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
    #[arg(long, value_name = "SIGNAL", value_parser = flags::signal, help_heading = "Program")]
    pub(crate) stop_signal: Option<Signal>,
    /// Seconds that it has to end when it is stopped; -1 for any time
    #[arg(long, value_name = "SECONDS", allow_hyphen_values = true, help_heading = "Program")]
    pub(crate) stop_timeout: Option<i64>,
    /// Command that tells whether it does its work
    #[arg(long, value_name = "COMMAND", help_heading = "Health")]
    pub(crate) health_cmd: Option<String>,
    /// Time between two checks
    #[arg(long, value_name = "TIME", value_parser = flags::span, help_heading = "Health")]
    pub(crate) health_interval: Option<Duration>,
    /// Failures in a row that make it unhealthy
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Health")]
    pub(crate) health_retries: Option<i64>,
    /// Time after the start in which failures do not count
    #[arg(long, value_name = "TIME", value_parser = flags::span, help_heading = "Health")]
    pub(crate) health_start_period: Option<Duration>,
    /// Time between two checks in that time
    #[arg(long, value_name = "TIME", value_parser = flags::span, help_heading = "Health")]
    pub(crate) health_start_interval: Option<Duration>,
    /// Time after which a check has failed
    #[arg(long, value_name = "TIME", value_parser = flags::span, help_heading = "Health")]
    pub(crate) health_timeout: Option<Duration>,
    /// Leave the image's health check out
    #[arg(long, help_heading = "Health")]
    pub(crate) no_healthcheck: bool,

    /// Folder or volume in the container (can be repeated)
    #[arg(short, long, value_name = "[SOURCE:]TARGET[:OPTIONS]", value_parser = flags::volume, help_heading = "Files")]
    pub(crate) volume: Vec<flags::RunMount>,
    /// The same in words: `type=bind,source=.,target=/src` (can be repeated)
    #[arg(long, value_name = "KEY=VALUE,...", value_parser = flags::mount, help_heading = "Files")]
    pub(crate) mount: Vec<flags::RunMount>,
    /// Folder in memory (can be repeated)
    #[arg(long, value_name = "TARGET[:OPTIONS]", value_parser = flags::tmpfs, help_heading = "Files")]
    pub(crate) tmpfs: Vec<flags::RunMount>,
    /// Container whose mounts it has too (can be repeated)
    #[arg(long, value_name = "CONTAINER[:ro]", help_heading = "Files")]
    pub(crate) volumes_from: Vec<String>,
    /// Refuse writing to the image's files
    #[arg(long, help_heading = "Files")]
    pub(crate) read_only: bool,
    /// Size of /dev/shm
    #[arg(long, value_name = "BYTES", value_parser = flags::bytes, help_heading = "Files")]
    pub(crate) shm_size: Option<u64>,
    /// Device of the machine, by its path or as `VENDOR/CLASS=DEVICE` (can be repeated)
    #[arg(long, value_name = "HOST[:CONTAINER][:rwm]", value_parser = flags::device, help_heading = "Files")]
    pub(crate) device: Vec<flags::Device>,
    /// Graphics processors: `all`, a number, or `device=0` (can be repeated)
    #[arg(long, value_name = "GPUS", value_parser = flags::gpus, help_heading = "Files")]
    pub(crate) gpus: Vec<DeviceRequest>,
    /// Rule for devices, as in `c 1:3 rwm` (can be repeated)
    #[arg(long, value_name = "RULE", value_parser = flags::device_rule, help_heading = "Files")]
    pub(crate) device_cgroup_rule: Vec<String>,

    /// Network: `bridge`, `host`, `none`, `container:NAME`, or a name (can be repeated)
    #[arg(long, visible_alias = "net", value_name = "NETWORK", value_parser = flags::network, help_heading = "Network")]
    pub(crate) network: Vec<flags::NetworkUse>,
    /// Further name of it in its networks (can be repeated)
    #[arg(long, visible_alias = "net-alias", value_name = "NAME", help_heading = "Network")]
    pub(crate) network_alias: Vec<String>,
    /// Its address
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(crate) ip: Option<Ipv4Addr>,
    /// Its IPv6 address
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(crate) ip6: Option<Ipv6Addr>,
    /// Further address of its link, in 169.254.0.0/16 (can be repeated)
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(crate) link_local_ip: Vec<std::net::IpAddr>,
    /// Container of the same network that it knows by a name of its own (can be repeated)
    #[arg(long, value_name = "CONTAINER[:NAME]", value_parser = link, help_heading = "Network")]
    pub(crate) link: Vec<String>,
    /// Its hardware address
    #[arg(long, value_name = "ADDRESS", value_parser = mac, help_heading = "Network")]
    pub(crate) mac_address: Option<Mac>,
    /// Port that it listens on (can be repeated)
    #[arg(long, value_name = "PORT[/PROTOCOL]", value_parser = flags::expose, help_heading = "Network")]
    pub(crate) expose: Vec<flags::Exposed>,
    /// Publish all ports that it listens on at free ports
    #[arg(short = 'P', long, help_heading = "Network")]
    pub(crate) publish_all: bool,
    /// Port of the machine that leads into the container (can be repeated)
    #[arg(short, long, value_name = "[[ADDRESS:]PORT:]PORT[/PROTOCOL]", value_parser = flags::publish, help_heading = "Network")]
    pub(crate) publish: Vec<flags::Published>,
    /// Host name of the container
    #[arg(short = 'h', long, value_name = "NAME", help_heading = "Network")]
    pub(crate) hostname: Option<String>,
    /// NIS domain name
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub(crate) domainname: Option<String>,
    /// Further host name (can be repeated)
    #[arg(long, value_name = "HOST:ADDRESS", value_parser = flags::add_host, help_heading = "Network")]
    pub(crate) add_host: Vec<ExtraHost>,
    /// Name server (can be repeated)
    #[arg(long, value_name = "ADDRESS", help_heading = "Network")]
    pub(crate) dns: Vec<std::net::IpAddr>,
    /// Domain that names are looked for in (can be repeated)
    #[arg(long, value_name = "DOMAIN", value_parser = flags::domain, help_heading = "Network")]
    pub(crate) dns_search: Vec<String>,
    /// Option of the resolver (can be repeated)
    #[arg(long, visible_alias = "dns-opt", value_name = "OPTION", help_heading = "Network")]
    pub(crate) dns_option: Vec<String>,

    /// What it may use at most.
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Limit of processes (can be repeated)
    #[arg(long, value_name = "NAME=SOFT[:HARD]", value_parser = flags::ulimit, help_heading = "Limits")]
    pub(crate) ulimit: Vec<Ulimit>,
    /// Most bytes a second that are read from a device, as in `/dev/sda:1mb` (can be repeated)
    #[arg(long, value_name = "DEVICE:BYTES", value_parser = byte_rate, help_heading = "Limits")]
    pub(crate) device_read_bps: Vec<BlkioRate>,
    /// Most bytes a second that are written to a device (can be repeated)
    #[arg(long, value_name = "DEVICE:BYTES", value_parser = byte_rate, help_heading = "Limits")]
    pub(crate) device_write_bps: Vec<BlkioRate>,
    /// Most reads a second from a device (can be repeated)
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = operation_rate, help_heading = "Limits")]
    pub(crate) device_read_iops: Vec<BlkioRate>,
    /// Most writes a second to a device (can be repeated)
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = operation_rate, help_heading = "Limits")]
    pub(crate) device_write_iops: Vec<BlkioRate>,
    /// The same of one device, as in `/dev/sda:200` (can be repeated)
    #[arg(long, value_name = "DEVICE:NUMBER", value_parser = device_weight, help_heading = "Limits")]
    pub(crate) blkio_weight_device: Vec<BlkioWeight>,
    /// How readily its memory is swapped out (0 to 100); -1 for the ordinary way
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, value_parser = clap::value_parser!(i8).range(-1..=100), help_heading = "Limits")]
    pub(crate) memory_swappiness: Option<i8>,
    /// Have its processes wait instead of being killed when its memory is used up
    #[arg(long, help_heading = "Limits")]
    pub(crate) oom_kill_disable: bool,
    /// Control group that its own is made below
    #[arg(long, value_name = "GROUP", help_heading = "Limits")]
    pub(crate) cgroup_parent: Option<String>,
    /// How soon the kernel kills it when memory is short (-1000 to 1000)
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, value_parser = flags::oom_score, help_heading = "Limits")]
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
    /// Processes that it sees: its own, `host`, or those of `container:NAME`
    #[arg(long, value_name = "MODE", value_parser = pid, help_heading = "Rights")]
    pub(crate) pid: Option<NamespaceUse>,
    /// Shared memory that it sees: `private`, `shareable`, `none`, `host`, or that of `container:NAME`
    #[arg(long, value_name = "MODE", value_parser = ipc, help_heading = "Rights")]
    pub(crate) ipc: Option<NamespaceUse>,
    /// Host name that it has: its own, or `host`
    #[arg(long, value_name = "MODE", value_parser = uts, help_heading = "Rights")]
    pub(crate) uts: Option<NamespaceUse>,
    /// View of cgroups that it has: `private`, `host`
    #[arg(long, value_name = "MODE", value_parser = cgroup, help_heading = "Rights")]
    pub(crate) cgroupns: Option<NamespaceUse>,
}

/// What a container may use at most, which can also be changed of one that is there.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub(crate) struct Limits {
    /// Most memory
    #[arg(short, long, value_name = "BYTES", value_parser = flags::bytes, help_heading = "Limits")]
    pub(crate) memory: Option<u64>,
    /// Most memory and swap together; -1 for no limit
    #[arg(long, value_name = "BYTES", value_parser = flags::swap, allow_hyphen_values = true, help_heading = "Limits")]
    pub(crate) memory_swap: Option<flags::Swap>,
    /// Most memory of the kernel: no kernel keeps to it any more
    #[arg(long, value_name = "BYTES", value_parser = flags::bytes, hide = true, help_heading = "Limits")]
    pub(crate) kernel_memory: Option<u64>,
    /// Memory that is left to it when memory is short
    #[arg(long, value_name = "BYTES", value_parser = flags::bytes, help_heading = "Limits")]
    pub(crate) memory_reservation: Option<u64>,
    /// Share of processors
    #[arg(long, value_name = "NUMBER", value_parser = flags::cpus, allow_hyphen_values = true, help_heading = "Limits")]
    pub(crate) cpus: Option<flags::Cpus>,
    /// Processors that may be used, as in `0-3`
    #[arg(long, value_name = "LIST", value_parser = flags::cpuset, help_heading = "Limits")]
    pub(crate) cpuset_cpus: Option<String>,
    /// Memory nodes that may be used, as in `0,1`
    #[arg(long, value_name = "LIST", value_parser = flags::cpuset, help_heading = "Limits")]
    pub(crate) cpuset_mems: Option<String>,
    /// Weight against others when processors are short; 1024 is ordinary
    #[arg(short = 'c', long, value_name = "NUMBER", value_parser = flags::cpu_shares, allow_hyphen_values = true, help_heading = "Limits")]
    pub(crate) cpu_shares: Option<u64>,
    /// Microseconds in which the quota counts
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Limits")]
    pub(crate) cpu_period: Option<u64>,
    /// Microseconds of processor time in a period
    #[arg(long, value_name = "MICROSECONDS", allow_hyphen_values = true, help_heading = "Limits")]
    pub(crate) cpu_quota: Option<i64>,
    /// Microseconds of a period of real-time scheduling
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Limits")]
    pub(crate) cpu_rt_period: Option<u64>,
    /// Microseconds of it that real-time programs may use
    #[arg(long, value_name = "MICROSECONDS", help_heading = "Limits")]
    pub(crate) cpu_rt_runtime: Option<u64>,
    /// Most processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", allow_hyphen_values = true, help_heading = "Limits")]
    pub(crate) pids_limit: Option<i64>,
    /// Share of input and output of devices when there is not enough (10 to 1000); 0 for the ordinary one
    #[arg(long, value_name = "NUMBER", help_heading = "Limits")]
    pub(crate) blkio_weight: Option<u16>,
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

/// A way of confinement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SecurityOption {
    /// Whether programs can gain rights by being executed.
    NoNewPrivileges(flags::Mode),
    /// The default system call filter.
    SeccompBuiltin,
    /// No system call filter.
    SeccompUnconfined,
    /// A system call filter from a file.
    SeccompFile(PathBuf),
    /// No paths of the kernel are hidden or read-only.
    SystemPathsUnconfined,
    /// No profile or label of a security module, which no container has anyway.
    Unlabelled,
}

impl Options {
    /// Returns the image.
    pub(crate) fn image(&self) -> &str {
        self.image_and_command.first().map_or("", String::as_str)
    }

    /// Returns the program with its arguments, empty for the image's own.
    pub(crate) fn command(&self) -> &[String] {
        self.image_and_command.get(1..).unwrap_or_default()
    }
}

fn restart(text: &str) -> flags::Read<RestartPolicy> {
    text.parse().map_err(|error| {
        let invalid = flags::Invalid::new(format!("{error}"));
        // Which policies there are is not for who reads the flag to say, its form is.
        match error {
            ParseRestartPolicyError::Count | ParseRestartPolicyError::Format(_) => invalid.early(),
            _ => invalid,
        }
    })
}

fn stream(text: &str) -> flags::Read<Stream> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" => Ok(Stream::Input),
        "stdout" => Ok(Stream::Output),
        "stderr" => Ok(Stream::Error),
        _ => Err(flags::unknown("stream", text, &["stdin", "stdout", "stderr"])),
    }
}

fn mac(text: &str) -> flags::Read<Mac> {
    text.parse().map_err(|error| flags::Invalid::new(format!("{error}")))
}

/// Reads `/dev/NAME:1mb`.
fn byte_rate(text: &str) -> flags::Read<BlkioRate> {
    let (path, rate) = device_rate(text)?;
    Ok(BlkioRate { path, rate: flags::bytes(rate)? })
}

/// Reads `/dev/NAME:100`.
fn operation_rate(text: &str) -> flags::Read<BlkioRate> {
    let (path, rate) = device_rate(text)?;
    let rate =
        rate.parse().map_err(|_| flags::Invalid::new("the rate is no number: write `/dev/NAME:100`"))?;
    Ok(BlkioRate { path, rate })
}

/// Reads `/dev/NAME:200`.
fn device_weight(text: &str) -> flags::Read<BlkioWeight> {
    let (path, weight) = device_rate(text)?;
    let weight = weight.parse().ok().filter(|weight| (10..=1000).contains(weight));
    let weight = weight.ok_or_else(|| flags::Invalid::new("a weight is a number from 10 to 1000"))?;
    Ok(BlkioWeight { path, weight })
}

/// Reads `CONTAINER[:NAME]`.
fn link(text: &str) -> flags::Read<String> {
    let (container, name) = text.split_once(':').unwrap_or((text, text));
    if container.is_empty() || name.is_empty() || name.contains(':') {
        return Err(flags::Invalid::new(format!("bad format for links: {text}")));
    }
    Ok(text.to_owned())
}

fn device_rate(text: &str) -> flags::Read<(String, &str)> {
    match text.split_once(':') {
        Some((path, rate)) if path.starts_with("/dev/") => Ok((path.to_owned(), rate)),
        _ => Err(flags::Invalid::new("not a device and its rate: write `/dev/NAME:RATE`")),
    }
}

fn pid(text: &str) -> flags::Read<NamespaceUse> {
    namespace(text, &["host", CONTAINER])
}

fn ipc(text: &str) -> flags::Read<NamespaceUse> {
    namespace(text, &["private", "shareable", "none", "host", CONTAINER])
}

fn uts(text: &str) -> flags::Read<NamespaceUse> {
    namespace(text, &["host"])
}

fn cgroup(text: &str) -> flags::Read<NamespaceUse> {
    namespace(text, &["private", "host"])
}

/// The mode that names a container.
const CONTAINER: &str = "container:NAME";

/// Reads one of the modes that a namespace has; nothing is the usual one.
fn namespace(text: &str, modes: &[&str]) -> flags::Read<NamespaceUse> {
    let of_container = text.strip_prefix("container:").filter(|name| !name.is_empty());
    match (text, of_container) {
        ("", _) => Ok(NamespaceUse::Own),
        (_, Some(name)) if modes.contains(&CONTAINER) => Ok(NamespaceUse::Container(name.to_owned())),
        (mode, _) if !modes.contains(&mode) || mode == CONTAINER => Err(flags::unknown("mode", mode, modes)),
        ("shareable", _) => Ok(NamespaceUse::Shareable),
        ("none", _) => Ok(NamespaceUse::Bare),
        ("host", _) => Ok(NamespaceUse::Host),
        _ => Ok(NamespaceUse::Own),
    }
}

fn security(text: &str) -> flags::Read<SecurityOption> {
    let (name, value) = text.split_once('=').or_else(|| text.split_once(':')).unwrap_or((text, ""));
    match (name, value) {
        ("no-new-privileges", "") => Ok(SecurityOption::NoNewPrivileges(flags::Mode::On)),
        ("no-new-privileges", value) => {
            flags::boolean(value).map(|on| SecurityOption::NoNewPrivileges(on.into()))
        }
        ("seccomp", "builtin") => Ok(SecurityOption::SeccompBuiltin),
        ("seccomp", "unconfined") => Ok(SecurityOption::SeccompUnconfined),
        ("seccomp", "") => Err(flags::Invalid::new("write `seccomp=FILE` or `seccomp=unconfined`").early()),
        ("seccomp", file) => Ok(SecurityOption::SeccompFile(file.into())),
        ("systempaths", "unconfined") => Ok(SecurityOption::SystemPathsUnconfined),
        ("apparmor", "unconfined") | ("label", "disable") => Ok(SecurityOption::Unlabelled),
        ("apparmor" | "label" | "writable-cgroups", _) => {
            Err(flags::Invalid::new(format!("`{name}` is not supported yet")))
        }
        _ => {
            let unknown = flags::unknown("option", name, &["no-new-privileges", "seccomp", "systempaths"]);
            Err(if name == text { unknown.early() } else { unknown })
        }
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
    // As from a variable that is empty: one is chosen.
    if text.is_empty() {
        return Ok(String::new());
    }
    match ContainerName::new(text) {
        Ok(name) => Ok(name.to_string()),
        Err(_) => Err(flags::Invalid::new(
            "a name has two or more letters, digits, `_`, `.` and `-`, and begins with a letter or digit",
        )),
    }
}

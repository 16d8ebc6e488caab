//! `rbuild create`, and what `create` and `run` have in common: flags and settings to a [`CreateRequest`].

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use rbuild_engine::containers::{CreateRequest, MountKind as EngineMount, MountRequest};
use rbuild_images::PullPolicy as EnginePull;
use rbuild_model::container::{
    Begins, DeviceRequest, DeviceUse, HostOptions, LogConfig, MissingSource, MountAsked,
    Propagation as Spreading, Removal, Resources, RestartPolicy, SeccompUse, Streams,
};
use rbuild_model::image_config::Healthcheck;
use rbuild_model::network::{EndpointWish, HostPort, NetworkMode, PortBinding, Protocol};
use rbuild_model::platform::Platform;
use rbuild_model::reference::Reference;
use rbuild_sandbox::Access;

use super::{Context, Outcome};
use crate::cli::run::{Create, Limits, Options, PullPolicy, SecurityOption, Stream};
use crate::flags::{self, Mode, MountKind, Propagation, RunMount};
use crate::progress;
use crate::report::{Mistake, Status};
use crate::settings::Settings;

/// The size of `/dev/shm` where nothing else is asked for: zero means it too.
const NOTHING: u64 = 0;

pub(super) fn run(arguments: Create, context: &Context) -> Outcome {
    let here = std::env::current_dir().context("failed to find the current folder")?;
    let progress = shown(&arguments.options, &context.settings);
    let cidfile = arguments.options.cidfile.clone();
    tell_of_lost(&arguments.options.limits, context);
    let mut request = request(arguments.options, &context.settings, &here)?;
    request.streams.attached = attached(&arguments.attach, request.streams, Mode::On);
    // Whoever brings it input later ends it, too.
    request.streams.stdin_once = request.streams.open_stdin;
    let id_file = IdFile::make(cidfile.as_deref())?;
    let made = crate::wiring::create(&request, progress, context)?;
    for warning in &made.warnings {
        context.terminal.tell(&format!("WARNING: {}\n", crate::text::one_line(warning)));
    }
    if let Some(file) = id_file {
        file.write(&made.definition.id.to_string())?;
    }
    context.terminal.print(&format!("{}\n", made.definition.id))?;
    Ok(Status::Done)
}

/// Says which of the limits nobody keeps to.
pub(super) fn tell_of_lost(limits: &Limits, context: &Context) {
    if limits.kernel_memory.is_some_and(|bytes| bytes != NOTHING) {
        context.terminal.tell("WARNING: `--kernel-memory` is deprecated and has no effect: use `--memory`\n");
    }
}

/// Returns how a pull is shown.
pub(super) fn shown(options: &Options, settings: &Settings) -> progress::Mode {
    if options.quiet { progress::Mode::Quiet } else { options.progress.unwrap_or(settings.progress) }
}

/// The file that a container's id is written to: made before the container is, and gone again if there is none.
#[derive(Debug)]
pub(crate) struct IdFile {
    path: PathBuf,
    /// Until the id is in it.
    file: Option<File>,
}

impl IdFile {
    /// Makes the file that was asked for, which must not be there.
    pub(crate) fn make(path: Option<&Path>) -> anyhow::Result<Option<Self>> {
        let Some(path) = path else { return Ok(None) };
        let file = File::create_new(path)
            .with_context(|| format!("failed to create the container ID file `{}`", path.display()))?;
        Ok(Some(Self { path: path.to_owned(), file: Some(file) }))
    }

    /// Writes the id.
    pub(crate) fn write(mut self, id: &str) -> anyhow::Result<()> {
        if let Some(file) = &mut self.file {
            file.write_all(id.as_bytes()).with_context(|| {
                format!("failed to write the container ID file `{}`", self.path.display())
            })?;
        }
        self.file = None;
        Ok(())
    }
}

impl Drop for IdFile {
    fn drop(&mut self) {
        if self.file.is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Returns which streams a container is made to be attached by; `others` says whether the outputs are where nothing is
/// said.
pub(super) fn attached(asked: &[Stream], streams: Streams, others: Mode) -> [bool; 3] {
    let has = |stream| asked.contains(&stream);
    if asked.is_empty() {
        let outputs = others == Mode::On;
        return [outputs && streams.open_stdin, outputs, outputs];
    }
    // Input that is kept open is meant to come from somebody, whichever outputs are asked for.
    [has(Stream::Input) || streams.open_stdin, has(Stream::Output), has(Stream::Error)]
}

/// Puts flags and settings together.
pub(crate) fn request(options: Options, settings: &Settings, here: &Path) -> anyhow::Result<CreateRequest> {
    let image = options.image().to_owned();
    let is_id = (4..=64).contains(&image.len()) && image.bytes().all(|b| b.is_ascii_hexdigit());
    if !is_id && !image.starts_with("sha256:") {
        image.parse::<Reference>().map_err(|error| Mistake::new(error.to_string()))?;
    }
    if let Some(cidfile) = &options.cidfile
        && cidfile.exists()
    {
        return Err(Mistake::new(format!("the container id file `{}` exists", cidfile.display()))
            .hint("make sure that the other container is not running, or delete the file")
            .into());
    }
    if options.rm && options.restart != RestartPolicy::No {
        return Err(Mistake::usage("conflicting options: cannot specify both --restart and --rm").into());
    }
    let mut request = CreateRequest::new(&image);
    request.platform = platform(&options, settings)?.unwrap_or_else(Platform::host);
    request.pull = match options.pull {
        PullPolicy::Missing => EnginePull::Missing,
        PullPolicy::Always => EnginePull::Always,
        PullPolicy::Never => EnginePull::Never,
    };
    request.command = options.command().to_vec();
    request.entrypoint =
        options.entrypoint.clone().map(|program| if program.is_empty() { Vec::new() } else { vec![program] });
    request.name = options.name.clone().filter(|name| !name.is_empty());
    request.workdir.clone_from(&options.workdir);
    request.user.clone_from(&options.user);
    request.hostname.clone_from(&options.hostname);
    request.domainname.clone_from(&options.domainname);
    request.stop_signal = options.stop_signal;
    request.stop_timeout = options.stop_timeout;
    request.health = health(&options)?;
    request.labels = labels(&options.label_file, &options.label).map_err(given_wrongly)?;
    request.streams = Streams {
        tty: options.tty,
        size: None,
        open_stdin: options.interactive,
        stdin_once: false,
        attached: [false; 3],
    };
    for exposed in &options.expose {
        request.exposed.extend(exposed.0.iter().cloned());
    }
    request.host = host(&options, &mut request.exposed)?;
    request.env = environment(&options.env_file, options.env, settings).map_err(given_wrongly)?;
    proxies(&mut request.env, settings)?;
    let mounts = named_once(options.volume, |one, other| one == other).into_iter().chain(options.mount);
    let mounts = mounts.chain(named_once(options.tmpfs, |one, other| one.target == other.target));
    let mut mounts = mounts.map(|mount| anchored(mount, here)).collect::<anyhow::Result<Vec<_>>>()?;
    // A volume that was asked for by its target alone gives way, as one of the image does.
    let named: Vec<String> =
        mounts.iter().filter(|mount| has_more(mount)).map(|mount| mount.target.clone()).collect();
    mounts.retain(|mount| has_more(mount) || !named.iter().any(|other| same_target(other, &mount.target)));
    request.mounts = mounts.iter().map(mount_request).collect();
    request.volumes_from = options.volumes_from.clone();
    request.host.volumes_from = options.volumes_from;
    Ok(request)
}

/// A file that a flag names and that cannot be read is the flag's mistake.
fn given_wrongly(error: anyhow::Error) -> Mistake {
    Mistake::usage(format!("{error:#}"))
}

fn platform(options: &Options, settings: &Settings) -> anyhow::Result<Option<Platform>> {
    match &options.platform {
        None => Ok(settings.platform.clone()),
        Some(list) => match <[Platform; 1]>::try_from(list.0.clone()) {
            Ok([platform]) => Ok(Some(platform)),
            Err(_) => Err(Mistake::usage("a container has one platform").into()),
        },
    }
}

fn health(options: &Options) -> anyhow::Result<Option<Healthcheck>> {
    let nanos =
        |time: Option<Duration>| time.map_or(0, |time| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX));
    let health = Healthcheck {
        test: options
            .health_cmd
            .iter()
            .flat_map(|command| ["CMD-SHELL".to_owned(), command.clone()])
            .collect(),
        interval: nanos(options.health_interval),
        timeout: nanos(options.health_timeout),
        start_period: nanos(options.health_start_period),
        start_interval: nanos(options.health_start_interval),
        retries: options.health_retries.unwrap_or(0),
    };
    let is_asked = health != Healthcheck::default();
    if options.no_healthcheck {
        if is_asked {
            return Err(Mistake::usage("--no-healthcheck conflicts with --health-* options").into());
        }
        return Ok(Some(Healthcheck { test: vec!["NONE".to_owned()], ..Healthcheck::default() }));
    }
    if health.retries < 0 {
        return Err(Mistake::usage("--health-retries cannot be negative").into());
    }
    Ok(is_asked.then_some(health))
}

/// Returns the labels of the files, then those of the flags.
fn labels(files: &[PathBuf], flags: &[(String, String)]) -> anyhow::Result<BTreeMap<String, String>> {
    let mut labels = BTreeMap::new();
    for file in files {
        let failed = || format!("failed to read `--label-file {}`", file.display());
        let text = std::fs::read_to_string(file).with_context(failed)?;
        for line in
            text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            // As Docker has it, a line without a value says nothing.
            if !line.contains('=') {
                continue;
            }
            let (key, value) =
                flags::label(line).map_err(|error| Mistake::new(format!("{}: {error}", failed())))?;
            labels.insert(key, value);
        }
    }
    labels.extend(flags.iter().cloned());
    Ok(labels)
}

fn host(options: &Options, exposed: &mut BTreeSet<String>) -> anyhow::Result<HostOptions> {
    let (network, endpoints) = networks(options)?;
    let mut ports = Vec::new();
    for published in &options.publish {
        bindings(published, &mut ports);
    }
    exposed.extend(ports.iter().map(|port| format!("{}/{}", port.port, port.protocol)));
    let mut seccomp = SeccompUse::Default;
    let (mut no_new_privileges, mut unmasked) = (false, false);
    for option in &options.security_opt {
        match option {
            SecurityOption::NoNewPrivileges(mode) => no_new_privileges = *mode == Mode::On,
            SecurityOption::SeccompUnconfined => seccomp = SeccompUse::Unconfined,
            SecurityOption::SeccompBuiltin => seccomp = SeccompUse::Default,
            SecurityOption::SeccompFile(path) => {
                seccomp = SeccompUse::Profile(profile(path).map_err(given_wrongly)?)
            }
            SecurityOption::SystemPathsUnconfined => unmasked = true,
            SecurityOption::Unlabelled => {}
        }
    }
    let driver = options.log_driver.as_deref().unwrap_or_default();
    let log = LogConfig {
        driver: driver.parse().map_err(|error| Mistake::new(format!("{error}")))?,
        options: options.log_opt.iter().cloned().collect(),
    };
    Ok(HostOptions {
        mounts: Vec::new(),
        volumes_from: Vec::new(),
        network,
        left_network: false,
        endpoints,
        ports,
        publish_all: options.publish_all,
        extra_hosts: options.add_host.clone(),
        dns: options.dns.clone(),
        dns_search: options.dns_search.clone(),
        dns_options: options.dns_option.clone(),
        log,
        restart: options.restart,
        removal: if options.rm { Removal::Auto } else { Removal::Keep },
        resources: resources(options)?,
        privileged: options.privileged,
        read_only: options.read_only,
        cap_add: options.cap_add.clone(),
        cap_drop: options.cap_drop.clone(),
        seccomp,
        no_new_privileges,
        unmasked,
        groups: options.group_add.clone(),
        devices: options.device.iter().filter_map(node).cloned().collect(),
        device_requests: device_requests(options),
        sysctls: options.sysctl.iter().map(|sysctl| (sysctl.name.clone(), sysctl.value.clone())).collect(),
        shm_size: options.shm_size.filter(|size| *size != NOTHING),
        oom_score_adj: options.oom_score_adj.map(Into::into),
        init: options.init,
        ipc: options.ipc.clone().unwrap_or_default(),
        pid: options.pid.clone().unwrap_or_default(),
        uts: options.uts.clone().unwrap_or_default(),
        cgroup: options.cgroupns.clone().unwrap_or_default(),
        cgroup_parent: options.cgroup_parent.clone().filter(|parent| !parent.is_empty()),
        annotations: options.annotation.iter().cloned().collect(),
        cidfile: options.cidfile.clone(),
    })
}

fn node(device: &flags::Device) -> Option<&DeviceUse> {
    match device {
        flags::Device::Node(node) => Some(node),
        flags::Device::Named(_) => None,
    }
}

/// Returns what is asked for by what it does, then what is asked for by name.
fn device_requests(options: &Options) -> Vec<DeviceRequest> {
    let mut requests = options.gpus.clone();
    let named = options.device.iter().filter_map(|device| match device {
        flags::Device::Named(name) => Some(name.clone()),
        flags::Device::Node(_) => None,
    });
    let ids: Vec<String> = named.collect();
    if !ids.is_empty() {
        let driver = DeviceRequest::CDI.to_owned();
        requests.push(DeviceRequest { driver, ids, ..DeviceRequest::default() });
    }
    requests
}

/// Reads a profile of system calls; what it says is looked at where the container is made.
fn profile(path: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read the seccomp profile `{}`", path.display()))?;
    let value: serde_json::Value = serde_json::from_str(&text)
        .with_context(|| format!("the seccomp profile `{}` is no JSON", path.display()))?;
    Ok(value.to_string())
}

/// Returns the main network and what is wanted of each; flags without a network's name mean the first.
fn networks(options: &Options) -> anyhow::Result<(NetworkMode, Vec<EndpointWish>)> {
    let mut wishes = options.network.iter();
    let mut first = wishes
        .next()
        .cloned()
        .unwrap_or(flags::NetworkUse { mode: NetworkMode::Default, settings: Default::default() });
    first.settings.aliases.extend(options.network_alias.iter().cloned());
    first.settings.ipv4 = first.settings.ipv4.or(options.ip);
    first.settings.ipv6 = first.settings.ipv6.or(options.ip6);
    first.settings.mac = first.settings.mac.or(options.mac_address);
    first.settings.link_local.extend(&options.link_local_ip);
    first.settings.links.extend(options.link.iter().cloned());
    let mode = first.mode.clone();
    let is_plain = !matches!(mode, NetworkMode::Named(_));
    if is_plain && !first.settings.aliases.is_empty() {
        let why = "network-scoped aliases are only supported for user-defined networks";
        return Err(Mistake::usage(why).hint("make a network with `rbuild network create`").into());
    }
    if is_plain && options.network.len() > 1 {
        return Err(Mistake::usage(format!(
            "conflicting options: cannot attach both user-defined and non-user-defined network-modes (`{mode}`)"
        ))
        .into());
    }
    let mut all = Vec::new();
    if !is_plain || first.settings != Default::default() {
        let network = mode.network().map(str::to_owned);
        let network = network.ok_or_else(|| {
            Mistake::usage("conflicting options: aliases and addresses, and another container's network")
        })?;
        all.push(EndpointWish { network, settings: first.settings });
    }
    for wish in wishes {
        let NetworkMode::Named(network) = &wish.mode else {
            return Err(Mistake::usage(format!(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes (`{}`)",
                wish.mode
            ))
            .into());
        };
        if all.iter().any(|other| other.network == *network) {
            return Err(Mistake::usage(format!("network \"{network}\" is specified multiple times")).into());
        }
        all.push(EndpointWish { network: network.clone(), settings: wish.settings.clone() });
    }
    Ok((mode, all))
}

pub(super) fn bindings(published: &flags::Published, all: &mut Vec<PortBinding>) {
    let protocol = match published.protocol {
        flags::Protocol::Tcp => Protocol::Tcp,
        flags::Protocol::Udp => Protocol::Udp,
        flags::Protocol::Sctp => Protocol::Sctp,
    };
    let ports = published.container.first..=published.container.last;
    let single = published.container.first == published.container.last;
    for (at, port) in ports.enumerate() {
        let host_port = match published.host {
            None => HostPort::Any,
            // Several ports of the host for one of the container: the first that is free.
            Some(range) if single && range.first != range.last => HostPort::Range(range.first, range.last),
            Some(range) if range.first == 0 => HostPort::Any,
            Some(range) => HostPort::One(range.first + at as u16),
        };
        all.push(PortBinding { host: published.address, host_port, port, protocol });
    }
}

/// Returns all limits.
fn resources(options: &Options) -> anyhow::Result<Resources> {
    let resources = limited(&options.limits);
    if let (Some(memory), Some(total)) = (resources.memory, resources.memory_swap)
        && total >= 0
        && total.unsigned_abs() < memory
    {
        return Err(Mistake::new("`--memory-swap` is below `--memory`")
            .hint("it is the sum of memory and swap; -1 for no limit")
            .into());
    }
    if resources.memory.is_none() && resources.memory_swap.is_some_and(|total| total > 0) {
        return Err(Mistake::new("`--memory-swap` needs `--memory`").into());
    }
    Ok(Resources {
        device_rules: options.device_cgroup_rule.clone(),
        device_read_bps: options.device_read_bps.clone(),
        device_write_bps: options.device_write_bps.clone(),
        device_read_iops: options.device_read_iops.clone(),
        device_write_iops: options.device_write_iops.clone(),
        ulimits: options.ulimit.clone(),
        memory_swappiness: options.memory_swappiness.and_then(|swappiness| u8::try_from(swappiness).ok()),
        oom_kill_disable: options.oom_kill_disable,
        blkio_weight_device: options.blkio_weight_device.clone(),
        ..resources
    })
}

/// Returns the limits that can be changed later; a zero is none, as scripts and compose files write it.
pub(super) fn limited(limits: &Limits) -> Resources {
    let some = |value: Option<u64>| value.filter(|value| *value != NOTHING);
    Resources {
        memory: some(limits.memory),
        memory_swap: match limits.memory_swap {
            Some(flags::Swap::Unlimited) => Some(-1),
            Some(flags::Swap::Total(total)) if total != NOTHING => {
                Some(i64::try_from(total).unwrap_or(i64::MAX))
            }
            _ => None,
        },
        memory_reservation: some(limits.memory_reservation),
        nano_cpus: some(limits.cpus.map(|cpus| cpus.0)),
        cpu_shares: some(limits.cpu_shares),
        cpu_period: some(limits.cpu_period),
        cpu_quota: limits.cpu_quota.filter(|quota| *quota != 0),
        cpu_rt_period: some(limits.cpu_rt_period),
        cpu_rt_runtime: some(limits.cpu_rt_runtime),
        cpuset_cpus: limits.cpuset_cpus.clone(),
        cpuset_mems: limits.cpuset_mems.clone(),
        pids: limits.pids_limit.and_then(|limit| u64::try_from(limit).ok()).filter(|limit| *limit > 0),
        blkio_weight: limits.blkio_weight.filter(|weight| *weight != 0),
        ..Resources::default()
    }
}

/// Returns the variables of the files, then those of the flags, with the caller's values where they are asked for.
pub(super) fn environment(
    files: &[PathBuf],
    entries: Vec<flags::EnvEntry>,
    settings: &Settings,
) -> anyhow::Result<Vec<String>> {
    let mut all = Vec::new();
    for file in files {
        let failed = || format!("failed to read `--env-file {}`", file.display());
        let text = std::fs::read_to_string(file).with_context(failed)?;
        all.extend(flags::env_file(&text).map_err(|error| Mistake::new(format!("{}: {error}", failed())))?);
    }
    all.extend(entries);
    let mut env: Vec<(String, String)> = Vec::new();
    for entry in all {
        let Some(value) = entry.value.or_else(|| settings.environment.text(&entry.name)) else { continue };
        match env.iter_mut().find(|(name, _)| *name == entry.name) {
            Some((_, old)) => *old = value,
            None => env.push((entry.name, value)),
        }
    }
    Ok(env.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
}

/// Adds the proxies of Docker's `config.json` that nothing is said about.
fn proxies(env: &mut Vec<String>, settings: &Settings) -> anyhow::Result<()> {
    for proxy in settings.docker_proxies()? {
        let is_said =
            |entry: &String| entry.split_once('=').map_or(entry.as_str(), |(name, _)| name) == proxy.name;
        if !env.iter().any(is_said) {
            env.push(format!("{}={}", proxy.name, proxy.value));
        }
    }
    Ok(())
}

/// Makes the source of a bind mount absolute; one of `--mount` must be there.
pub(super) fn anchored(mut mount: RunMount, here: &Path) -> anyhow::Result<RunMount> {
    if let MountKind::Bind { source, create, .. } = &mut mount.kind {
        *source = here.join(&*source);
        if *create == Mode::Off && !source.exists() {
            return Err(Mistake::new(format!("bind source path does not exist: `{}`", source.display()))
                .hint("make the folder, or use `-v`, which makes it")
                .into());
        }
    }
    Ok(mount)
}

/// What was named several times is meant once, as the last one says: a set to Docker.
fn named_once(mounts: Vec<RunMount>, is_same: impl Fn(&RunMount, &RunMount) -> bool) -> Vec<RunMount> {
    let mut kept: Vec<RunMount> = Vec::new();
    for mount in mounts {
        match kept.iter_mut().find(|known| is_same(known, &mount)) {
            Some(known) => *known = mount,
            None => kept.push(mount),
        }
    }
    kept
}

fn has_more(mount: &RunMount) -> bool {
    mount.asked != MountAsked::Target
}

fn same_target(a: &str, b: &str) -> bool {
    let parts = |text: &str| {
        text.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect::<Vec<_>>()
    };
    parts(a) == parts(b)
}

pub(super) fn mount_request(mount: &RunMount) -> MountRequest {
    let kind = match &mount.kind {
        MountKind::Bind { source, propagation, recursion, create } => EngineMount::Bind {
            source: source.clone(),
            missing: if *create == Mode::On { MissingSource::Make } else { MissingSource::Refuse },
            recursion: *recursion,
            propagation: match propagation {
                Propagation::RecursivePrivate => Spreading::RPrivate,
                Propagation::Private => Spreading::Private,
                Propagation::RecursiveShared => Spreading::RShared,
                Propagation::Shared => Spreading::Shared,
                Propagation::RecursiveSlave => Spreading::RSlave,
                Propagation::Slave => Spreading::Slave,
            },
        },
        MountKind::Volume { name, copy, subpath, made } => EngineMount::Volume {
            name: name.clone(),
            begins: if *copy == Mode::On { Begins::WithImage } else { Begins::Empty },
            subpath: subpath.clone(),
            driver: made.driver.clone(),
            options: made.options.clone(),
            labels: made.labels.clone(),
        },
        MountKind::Tmpfs(folder) => EngineMount::Tmpfs(folder.clone()),
        MountKind::Image { reference, subpath } => {
            EngineMount::Image { reference: reference.clone(), subpath: subpath.clone() }
        }
    };
    let access = if mount.read_only == Mode::On { Access::ReadOnly } else { Access::ReadWrite };
    MountRequest { target: mount.target.clone(), access, kind, asked: mount.asked.clone() }
}

#[cfg(test)]
mod tests;

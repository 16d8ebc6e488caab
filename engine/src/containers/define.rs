//! What a request and an image come to: the words of a definition. Pure.

use std::path::{Component, Path, PathBuf};

use rbuild_model::container::{
    Definition, MountWhat, NamespaceUse, Program, Removal, Resources, RestartPolicy, SeccompUse,
};
use rbuild_model::image_config::{Healthcheck, RunConfig};
use rbuild_model::network::{HostPort, NetworkMode, PortBinding, Protocol};

use rbuild_sandbox::cgroup::Layout;
use rbuild_sandbox::profile::ProfileError;

use super::error::ContainerError;
use super::request::CreateRequest;
use crate::error::RunError;

/// The path in which programs are looked for when nobody says.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The least memory that a container can be limited to.
pub const LEAST_MEMORY: u64 = 6 << 20;

/// What labels begin with that say which project something belongs to.
const PROJECT_LABELS: &str = "com.docker.compose.";

/// Returns the labels that a container has from its image. To a project it belongs only if whoever made it says so:
/// an image could otherwise have the containers of another project's name removed with that project.
pub(super) fn inherited_labels(image: &RunConfig) -> impl Iterator<Item = (&String, &String)> {
    image.labels.iter().filter(|(key, _)| !key.starts_with(PROJECT_LABELS))
}

/// The program that an image and a request come to.
///
/// | | no command given | command given |
/// |---|---|---|
/// | entrypoint not replaced | image's Entrypoint, image's Cmd | image's Entrypoint, command |
/// | entrypoint replaced | new entrypoint | new entrypoint, command |
pub(super) fn program(request: &CreateRequest, image: &RunConfig) -> Result<Program, ContainerError> {
    let given = |words: &Vec<String>| Some(words.clone()).filter(|words| !words.is_empty());
    let (entrypoint, default) = match &request.entrypoint {
        Some(entrypoint) => (given(entrypoint), None),
        None => (image.entrypoint.clone(), image.cmd.clone()),
    };
    let program = Program {
        entrypoint,
        command: given(&request.command).or(default),
        env: variables(&request.env, &image.env)?,
        user: request.user.clone().unwrap_or_else(|| image.user.clone()),
        workdir: workdir(request, image)?,
        shell: image.shell.clone(),
        stop_signal: match (&request.stop_signal, &image.stop_signal) {
            (Some(signal), _) => Some(*signal),
            // An image may name a signal that is none: its containers are asked to end with the usual one.
            (None, Some(text)) => text.parse().ok(),
            (None, None) => None,
        },
        stop_timeout: request.stop_timeout,
    };
    match program.argv().first() {
        // One without a name is looked for, and not found, at the start.
        Some(_) => Ok(program),
        None => Err(crate::error::RunError::NoCommand.into()),
    }
}

/// The variables that were asked for, then those of the image that they leave.
fn variables(asked: &[String], image: &[String]) -> Result<Vec<String>, ContainerError> {
    fn name(entry: &str) -> &str {
        entry.split_once('=').map_or(entry, |(name, _)| name)
    }
    if let Some(entry) = asked.iter().find(|entry| name(entry).is_empty()) {
        return Err(ContainerError::Invalid(format!("invalid environment variable: {entry}")));
    }
    let rest = image.iter().filter(|entry| !asked.iter().any(|own| name(own) == name(entry)));
    Ok(asked.iter().chain(rest).cloned().collect())
}

/// Whether a program can be asked to begin in a folder.
pub(crate) fn check_workdir(path: &str) -> Result<(), String> {
    match path.starts_with('/') {
        true => Ok(()),
        false => Err(format!("the working directory '{path}' is invalid, it needs to be an absolute path")),
    }
}

fn workdir(request: &CreateRequest, image: &RunConfig) -> Result<String, ContainerError> {
    match &request.workdir {
        Some(path) => {
            check_workdir(path).map_err(ContainerError::Invalid)?;
            Ok(plain(path).to_string_lossy().into_owned())
        }
        None if image.working_dir.is_empty() || image.working_dir.starts_with('/') => {
            Ok(image.working_dir.clone())
        }
        None => Ok(format!("/{}", image.working_dir)),
    }
}

/// How health is found out: what was asked for, with the image's words where it says nothing.
pub(crate) fn health(
    asked: Option<&Healthcheck>,
    image: Option<&Healthcheck>,
) -> Result<Option<Healthcheck>, ContainerError> {
    let Some(asked) = asked else { return Ok(image.cloned()) };
    let mut health = asked.clone();
    if let Some(image) = image {
        if health.test.is_empty() {
            health.test.clone_from(&image.test);
        }
        for (own, inherited) in [
            (&mut health.interval, image.interval),
            (&mut health.timeout, image.timeout),
            (&mut health.start_period, image.start_period),
            (&mut health.start_interval, image.start_interval),
            (&mut health.retries, image.retries),
        ] {
            if *own == 0 {
                *own = inherited;
            }
        }
    }
    const LEAST: i64 = 1_000_000;
    for (what, time) in [
        ("Interval", health.interval),
        ("Timeout", health.timeout),
        ("StartPeriod", health.start_period),
        ("StartInterval", health.start_interval),
    ] {
        if time != 0 && time < LEAST {
            return Err(ContainerError::Invalid(format!("{what} in Healthcheck cannot be less than 1ms")));
        }
    }
    if health.retries < 0 {
        return Err(ContainerError::Invalid("Retries in Healthcheck cannot be negative".to_owned()));
    }
    Ok(Some(health))
}

/// Checks a container that is to be made. One that is there may have what is refused to a new one: it was made before that
/// was, and its other settings can be changed all the same.
pub(super) fn check_new(definition: &Definition) -> Result<(), ContainerError> {
    let host = &definition.host;
    if let SeccompUse::Profile(text) = &host.seccomp {
        rbuild_sandbox::seccomp::check(text)
            .map_err(|source| RunError::Profile(ProfileError::Seccomp(source)))?;
    }
    check_processors(&host.resources)?;
    check_real_time(&host.resources, Layout::shared())?;
    check(definition)
}

/// Checks limits that are given now against the processors that there are for whoever gives them.
pub(super) fn check_processors(given: &Resources) -> Result<(), ContainerError> {
    if let Some(wanted) = &given.cpuset_cpus {
        check_list("CPUs", wanted, &online("cpu"))?;
    }
    if let Some(wanted) = &given.cpuset_mems {
        check_list("memory nodes", wanted, &online("node"))?;
    }
    let Some(cpus) = given.nano_cpus else { return Ok(()) };
    let available = rustix::thread::sched_getaffinity(None).map_or(u32::MAX, |set| set.count());
    if (10_000_000..=u64::from(available) * 1_000_000_000).contains(&cpus) {
        return Ok(());
    }
    Err(ContainerError::Invalid(format!(
        "range of CPUs is from 0.01 to {available}.00, as there are only {available} CPUs available"
    )))
}

/// Returns the processors (`cpu`) or memory nodes (`node`) of the machine, as the kernel lists them; nothing if it does not.
fn online(kind: &str) -> String {
    let list = std::fs::read_to_string(format!("/sys/devices/system/{kind}/online"));
    list.unwrap_or_default().trim().to_owned()
}

/// Checks that everything in a list (`0-2,4`) is there.
fn check_list(what: &str, wanted: &str, online: &str) -> Result<(), ContainerError> {
    let ranges = |list: &str| -> Option<Vec<(u32, u32)>> {
        let range = |part: &str| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
        };
        list.split(',').map(range).collect()
    };
    // What is no list is told by whoever writes it to the group.
    let (Some(asked), Some(there)) = (ranges(wanted), ranges(online)) else { return Ok(()) };
    let has = |number: u32| there.iter().any(|(first, last)| (*first..=*last).contains(&number));
    if asked.iter().all(|(first, last)| has(*first) && has(*last)) {
        return Ok(());
    }
    Err(ContainerError::Invalid(format!(
        "Requested {what} are not available - requested {wanted}, available: {online}"
    )))
}

/// Checks that the kernel has what is given now to real-time programs.
pub(super) fn check_real_time(given: &Resources, kernel: &Layout) -> Result<(), ContainerError> {
    if (given.cpu_rt_period.is_none() && given.cpu_rt_runtime.is_none()) || kernel.has_real_time() {
        return Ok(());
    }
    Err(ContainerError::Invalid("kernel does not support CPU real-time scheduler".to_owned()))
}

/// Checks that nothing is asked for that belongs to whoever's network the container is to be in.
pub(super) fn check_lent_network(request: &CreateRequest) -> Result<(), ContainerError> {
    let host = &request.host;
    if !matches!(host.network, NetworkMode::Container(_)) {
        return Ok(());
    }
    let network = "the network mode";
    let container = "the container type network mode";
    let asked = [
        (request.hostname.is_some(), "hostname", network),
        (!host.dns.is_empty(), "dns", network),
        (!host.extra_hosts.is_empty(), "custom host-to-IP mapping", network),
        (host.publish_all, "port publishing", container),
        // Of ports that are published, and so exposed, is told with the networks.
        (!request.exposed.is_empty() && host.ports.is_empty(), "port exposing", container),
    ];
    match asked.into_iter().find(|(is_asked, _, _)| *is_asked) {
        Some((_, what, mode)) => {
            Err(ContainerError::Invalid(format!("conflicting options: {what} and {mode}")))
        }
        None => Ok(()),
    }
}

/// Checks what can be told without looking at the machine.
pub(super) fn check(definition: &Definition) -> Result<(), ContainerError> {
    let invalid = |text: &str| Err(ContainerError::Invalid(text.to_owned()));
    let host = &definition.host;
    if host.removal == Removal::Auto && host.restart != RestartPolicy::No {
        return invalid("can't create 'AutoRemove' container with restart policy");
    }
    check_resources(&host.resources)?;
    if host.uts == NamespaceUse::Host {
        if definition.hostname.is_some() {
            return invalid("conflicting options: hostname and the UTS mode");
        }
        if definition.domainname.as_ref().is_some_and(|name| !name.is_empty()) {
            return invalid("conflicting options: domainname and the UTS mode");
        }
    }
    for (at, mount) in host.mounts.iter().enumerate() {
        let target = plain(&mount.target);
        if target == Path::new("/") {
            return Err(ContainerError::Invalid(format!(
                "invalid mount config: invalid specification: destination can't be '/': {}",
                mount.target
            )));
        }
        check_subpath(&mount.what)?;
        if host.mounts[..at].iter().any(|other| plain(&other.target) == target) {
            return Err(ContainerError::Invalid(format!("Duplicate mount point: {}", mount.target)));
        }
    }
    Ok(())
}

/// Checks limits that a new container is to have.
pub(crate) fn check_limits(resources: &Resources) -> Result<(), ContainerError> {
    check_processors(resources)?;
    check_real_time(resources, Layout::shared())?;
    check_resources(resources)
}

fn check_resources(resources: &Resources) -> Result<(), ContainerError> {
    let invalid = |text: &str| Err(ContainerError::Invalid(text.to_owned()));
    if resources.memory.is_some_and(|memory| memory < LEAST_MEMORY) {
        return invalid("Minimum memory limit allowed is 6MB");
    }
    if resources.memory_reservation.is_some_and(|memory| memory < LEAST_MEMORY) {
        return invalid("Minimum memory reservation allowed is 6MB");
    }
    match (resources.memory, resources.memory_swap) {
        (None, Some(swap)) if swap > 0 => {
            return invalid("You should always set the Memory limit when using Memoryswap limit, see usage");
        }
        (Some(memory), Some(swap)) if swap >= 0 && swap.unsigned_abs() < memory => {
            return invalid("Minimum memoryswap limit should be larger than memory limit, see usage");
        }
        _ => {}
    }
    if let (Some(memory), Some(reservation)) = (resources.memory, resources.memory_reservation)
        && memory < reservation
    {
        return invalid("Minimum memory limit can not be less than memory reservation limit, see usage");
    }
    let has_quota = resources.cpu_quota.is_some_and(|quota| quota > 0);
    if resources.nano_cpus.is_some() && (resources.cpu_period.is_some() || has_quota) {
        return invalid("Conflicting options: Nano CPUs and CPU Period cannot both be set");
    }
    if resources.cpu_period.is_some_and(|period| !(1_000..=1_000_000).contains(&period)) {
        return invalid(
            "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
        );
    }
    if resources.cpu_quota.is_some_and(|quota| (1..1_000).contains(&quota)) {
        return invalid("CPU cfs quota can not be less than 1ms (i.e. 1000)");
    }
    if let (Some(period), Some(runtime)) = (resources.cpu_rt_period, resources.cpu_rt_runtime)
        && runtime > period
    {
        return invalid("cpu real-time runtime cannot be higher than cpu real-time period");
    }
    let is_weight = |weight: u16| (10..=1000).contains(&weight);
    if resources.blkio_weight.is_some_and(|weight| !is_weight(weight)) {
        return invalid("range of blkio weight is from 10 to 1000");
    }
    if let Some(device) = resources.blkio_weight_device.iter().find(|device| !is_weight(device.weight)) {
        return Err(ContainerError::Invalid(format!("invalid weight for device: {}", device.path)));
    }
    if let Some(swappiness) = resources.memory_swappiness.filter(|swappiness| *swappiness > 100) {
        let range = "valid memory swappiness range is 0-100";
        return Err(ContainerError::Invalid(format!("invalid value: {swappiness}. {range}")));
    }
    super::launch::check(resources)
}

/// Checks that what is seen of a volume or an image lies in it.
fn check_subpath(what: &MountWhat) -> Result<(), ContainerError> {
    let (kind, subpath) = match what {
        MountWhat::Volume { subpath: Some(_), anonymous: true, .. } => {
            let why = "must not set Subpath when using anonymous volumes";
            return Err(ContainerError::Invalid(format!("invalid mount config for type \"volume\": {why}")));
        }
        MountWhat::Volume { subpath: Some(subpath), .. } => ("volume", subpath),
        MountWhat::Image { subpath: Some(subpath), .. } => ("image", subpath),
        _ => return Ok(()),
    };
    let path = Path::new(subpath);
    if path.is_absolute() || path.components().any(|part| part == Component::ParentDir) {
        let why = "subpath must be a relative path within the volume";
        return Err(ContainerError::Invalid(format!("invalid mount config for type \"{kind}\": {why}")));
    }
    Ok(())
}

/// Returns a path in a tree free of dots, by its text; one that leads out of the tree stays as it is.
pub(super) fn within(subpath: String) -> String {
    let mut parts = Vec::new();
    for part in Path::new(&subpath).components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::CurDir => {}
            Component::ParentDir if parts.pop().is_some() => {}
            _ => return subpath,
        }
    }
    parts.iter().collect::<PathBuf>().to_string_lossy().into_owned()
}

/// Takes out what the kernel does not have and what nothing depends on, and returns what people should know of the
/// container that is made so.
pub(super) fn settle(definition: &mut Definition, kernel: &Layout) -> Vec<String> {
    let host = &mut definition.host;
    let mut warnings = left_out(&mut host.resources, kernel);
    if host.network == NetworkMode::Host && (host.publish_all || !host.ports.is_empty()) {
        warnings.push("Published ports are discarded when using host network mode".to_owned());
    }
    warnings
}

/// Takes limits out that the kernel does not have; says which, as docker does.
fn left_out(resources: &mut Resources, kernel: &Layout) -> Vec<String> {
    let mut warnings = Vec::new();
    let Resources { memory, memory_swappiness, oom_kill_disable, blkio_weight, blkio_weight_device, .. } =
        resources;
    let mut discard = |what: &str| warnings.push(format!("this kernel has no {what}: it is left out"));
    if (blkio_weight.is_some() || !blkio_weight_device.is_empty()) && !kernel.weighs_devices() {
        discard("weight of block input and output");
        *blkio_weight = None;
        blkio_weight_device.clear();
    }
    if memory_swappiness.is_some() && !kernel.has_swappiness() {
        discard("swappiness of control groups");
        *memory_swappiness = None;
    }
    if *oom_kill_disable && !kernel.can_wait_for_memory() {
        discard("way to keep it from killing when memory is used up");
        *oom_kill_disable = false;
    } else if *oom_kill_disable && memory.is_none() {
        warnings.push("OOM killer is disabled for the container, but no memory limit is set, this can result in the system running out of resources.".to_owned());
    }
    warnings
}

/// Returns a path of the container, absolute and without detours.
pub(super) fn plain(target: &str) -> PathBuf {
    let mut path = PathBuf::from("/");
    for part in Path::new(target).components() {
        match part {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                path.pop();
            }
            _ => {}
        }
    }
    path
}

/// Returns bindings of the exposed ports that no binding is asked for, at any free ports of the host.
pub(super) fn unpublished(definition: &Definition) -> Vec<PortBinding> {
    let asked = &definition.host.ports;
    let binding = |exposed: &String| {
        let (port, protocol) = exposed.split_once('/').unwrap_or((exposed, "tcp"));
        let protocol =
            [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().find(|p| p.word() == protocol)?;
        let port = port.parse().ok()?;
        let is_asked = asked.iter().any(|other| (other.port, other.protocol) == (port, protocol));
        (!is_asked).then_some(PortBinding { host: None, host_port: HostPort::Any, port, protocol })
    };
    definition.exposed.iter().filter_map(binding).collect()
}

/// The environment of the first process: defaults, what is said of links, then what the definition says; of a name listed
/// twice the later counts. An entry without a value takes nothing from anywhere.
pub(super) fn environment(
    definition: &Definition,
    hostname: &str,
    home: &str,
    links: impl Iterator<Item = String>,
) -> Vec<String> {
    let mut env: Vec<(String, String)> = Vec::new();
    let mut set = |name: &str, value: &str| match env.iter_mut().find(|(known, _)| known == name) {
        Some((_, old)) => value.clone_into(old),
        None => env.push((name.to_owned(), value.to_owned())),
    };
    set("PATH", DEFAULT_PATH);
    set("HOSTNAME", hostname);
    if definition.streams.tty {
        set("TERM", "xterm");
    }
    for entry in links.chain(definition.program.env.iter().cloned()) {
        if let Some((name, value)) = entry.split_once('=') {
            set(name, value);
        }
    }
    // A bare name takes a default away.
    env.retain(|(name, _)| !definition.program.env.iter().any(|entry| entry == name));
    if !env.iter().any(|(name, _)| name == "HOME") {
        env.push(("HOME".to_owned(), home.to_owned()));
    }
    env.into_iter().map(|(name, value)| format!("{name}={value}")).collect()
}

#[cfg(test)]
mod tests;

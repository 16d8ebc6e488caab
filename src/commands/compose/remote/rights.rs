//! What of this machine a project from elsewhere asks for, beyond its own folder and what every container has.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rbuild_frontend::compose::Loaded;
use rbuild_model::project::{
    AdditionalContext, Build, CgroupNamespace, Deploy, Dockerfile, FileSource, Mount, MountKind, Namespace,
    NetworkMode, Project, Reservations, Service, ServiceName, VolumeKey, VolumesFrom,
};

use super::super::build::{known, with_contexts};
use crate::flags::{self, CachePlace, ContextSource};

/// Who asks, and for what.
pub(super) type Right = (String, String);

/// Lists what those parts of a project ask for that others had a hand in: a service is asked about as a whole, as what
/// the caller gave to it is given to them.
pub(super) fn rights(loaded: &Loaded, model: &Project) -> Vec<Right> {
    let own = Own::brought(loaded.elsewhere.brought.values());
    let mut rights: Vec<Right> = Vec::new();
    let read = loaded.elsewhere.files().filter(|path| !own.has(path));
    rights.extend(read.map(|path| ("project".to_owned(), format!("reads {}", path.display()))));
    // A service that is off may be what the image of another one is built from.
    let names = with_contexts(model, &model.services.keys().cloned().collect());
    let named = names.iter().filter_map(|name| known(model, name.as_str()));
    let theirs: Vec<&Service> = named.filter(|service| is_theirs(loaded, &service.name)).collect();
    for service in &theirs {
        let asked = of_service(service, loaded, model, &own);
        rights.extend(asked.into_iter().map(|what| (service.name.to_string(), what)));
    }
    let mounts = |service: &Service, key: &VolumeKey| {
        let source = |mount: &Mount| match &mount.kind {
            MountKind::Volume { source, .. } => source.as_ref() == Some(key),
            _ => false,
        };
        service.volumes.iter().any(source)
    };
    for (key, volume) in &model.volumes {
        if !(loaded.is_theirs("volumes", key.as_str()) || theirs.iter().any(|service| mounts(service, key))) {
            continue;
        }
        let device = volume.driver_opts.get("device").filter(|device| device.starts_with('/'));
        if let Some(device) = device.filter(|device| !own.has(Path::new(device))) {
            rights.push((format!("volume {key}"), format!("mounts {device}")));
        }
        if volume.external {
            rights.push((format!("volume {key}"), format!("uses the volume {}", volume.name)));
        }
    }
    for (key, network) in model.networks.iter().filter(|(_, network)| network.external) {
        let joins = |service: &&Service| service.networks.contains_key(key);
        if loaded.is_theirs("networks", key.as_str()) || theirs.iter().any(joins) {
            rights.push((format!("network {key}"), format!("joins the network {}", network.name)));
        }
    }
    rights
}

/// Whether others had a hand in a service.
fn is_theirs(loaded: &Loaded, service: &ServiceName) -> bool {
    loaded.is_theirs("services", service.as_str())
}

/// The folders that were brought with the project.
struct Own(Vec<PathBuf>);

impl Own {
    /// Everything that was brought with files: these may lie in folders of it.
    fn brought<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Self {
        let kept = ["rbuild/projects/git", "rbuild/projects/oci"];
        let is_whole = |at: &&Path| at.parent().is_some_and(|at| kept.iter().any(|kept| at.ends_with(kept)));
        let around = |file: &PathBuf| {
            let folder = file.parent().unwrap_or(file);
            real(folder.ancestors().find(is_whole).unwrap_or(folder))
        };
        Self(files.map(around).collect())
    }

    /// Whether a path leads into one of them, through whatever links.
    fn has(&self, path: &Path) -> bool {
        let path = real(path);
        self.0.iter().any(|own| path.starts_with(own))
    }
}

/// Follows links, also those on the way to what is not there yet: it may be made.
fn real(path: &Path) -> PathBuf {
    let error = match std::fs::canonicalize(path) {
        Ok(real) => return real,
        Err(error) => error,
    };
    let Some(parent) = path.parent() else { return path.to_owned() };
    // A link to what is not there. One that leads to itself fails in another way: this comes to an end.
    if let (ErrorKind::NotFound, Ok(target)) = (error.kind(), std::fs::read_link(path)) {
        return real(&parent.join(target));
    }
    let mut real = real(parent);
    match path.file_name() {
        Some(name) => real.push(name),
        // It ends in `..`.
        None => drop(real.pop()),
    }
    real
}

/// What a service asks for.
struct Asks<'a> {
    own: &'a Own,
    loaded: &'a Loaded,
    what: Vec<String>,
}

impl Asks<'_> {
    /// It asks for what a key says, if that is anything.
    fn words(&mut self, key: &str, words: &[String]) {
        if !words.is_empty() {
            self.what.push(format!("{key}: {}", words.join(", ")));
        }
    }

    /// It does something with a path, which may be its own.
    fn path(&mut self, verb: &str, path: &Path) {
        if !self.own.has(path) {
            self.what.push(format!("{verb} {}", path.display()));
        }
    }

    /// It is given a secret or a config.
    fn content(&mut self, source: &FileSource) {
        match source {
            FileSource::File(path) => self.path("reads", path),
            FileSource::Environment(name) => self.what.push(format!("reads the variable {name}")),
            FileSource::Content(_) | FileSource::External | FileSource::Driver => {}
        }
    }

    /// Whose network a service has, if it is neither one of theirs nor the usual one.
    fn network(&self, mode: Option<&NetworkMode>) -> Vec<String> {
        match mode {
            Some(NetworkMode::Host) => vec!["host".to_owned()],
            Some(NetworkMode::Container(name)) => vec![format!("container:{name}")],
            Some(NetworkMode::Service(service)) => self.of_caller(service),
            Some(NetworkMode::Network(name)) if !matches!(&**name, "bridge" | "default") => {
                vec![name.clone()]
            }
            Some(NetworkMode::None | NetworkMode::Network(_)) | None => Vec::new(),
        }
    }

    /// Whose namespace a service has, if it is not one of theirs.
    fn namespace(&self, namespace: Option<&Namespace>) -> Vec<String> {
        match namespace {
            Some(Namespace::Host) => vec!["host".to_owned()],
            Some(Namespace::Container(name)) => vec![format!("container:{name}")],
            Some(Namespace::Service(service)) => self.of_caller(service),
            Some(Namespace::Other(_)) | None => Vec::new(),
        }
    }

    /// Whose volumes a service has that are not one of theirs.
    fn volumes_of_others(&self, sources: &[VolumesFrom]) -> Vec<String> {
        let others = sources.iter().flat_map(|source| match source {
            VolumesFrom::Container { container, .. } => vec![format!("container:{container}")],
            VolumesFrom::Service { service, .. } => self.of_caller(service),
        });
        others.collect()
    }

    /// Names a service that is the caller's alone.
    fn of_caller(&self, service: &ServiceName) -> Vec<String> {
        match is_theirs(self.loaded, service) {
            true => Vec::new(),
            false => vec![format!("service:{service}")],
        }
    }
}

/// Lists what a service asks for. A new key does not compile until somebody has decided whether it is to be asked about.
fn of_service(service: &Service, loaded: &Loaded, model: &Project, own: &Own) -> Vec<String> {
    #[rustfmt::skip]
    let Service {
        privileged, cap_add, security_opt, devices, device_cgroup_rules, gpus, deploy, cgroup_parent, use_api_socket,
        network_mode, pid, ipc, uts, cgroup, userns_mode, volumes, volumes_from, configs, secrets, build, provider,
        watch, pre_start, post_start, pre_stop, models,
        // What it is, and how it is run: its image, its program, what people read.
        name: _, config_hash: _, profiles: _, image: _, replicas: _, container_name: _, command: _, entrypoint: _,
        environment: _, labels: _, annotations: _, attach: _, depends_on: _, healthcheck: _, pull_policy: _, platform: _,
        restart: _, stop_grace_period: _, stop_signal: _, user: _, group_add: _, working_dir: _, init: _, tty: _,
        stdin_open: _, logging: _,
        // What is in its own namespaces, or less than others have.
        networks: _, ports: _, expose: _, links: _, external_links: _, extra_hosts: _, dns: _, dns_opt: _, dns_search: _,
        hostname: _, domainname: _, mac_address: _, tmpfs: _, read_only: _, shm_size: _, cap_drop: _, sysctls: _,
        // How much of what all containers have.
        storage_opt: _, ulimits: _, blkio_config: _, cpus: _, cpuset: _, cpu_shares: _, cpu_period: _, cpu_quota: _,
        cpu_rt_period: _, cpu_rt_runtime: _, cpu_count: _, cpu_percent: _, mem_limit: _, mem_reservation: _,
        memswap_limit: _, mem_swappiness: _, oom_kill_disable: _, oom_score_adj: _, pids_limit: _,
        // Refused wherever they say anything.
        runtime: _, isolation: _, credential_spec: _,
    } = service;
    let mut asks = Asks { own, loaded, what: Vec::new() };
    let reserved = |deploy: &Deploy| deploy.reservations.as_ref().is_some_and(reserves_devices);
    // What has an image of its own has no more rights in it than the service's containers.
    let mut hooks = pre_start
        .iter()
        .map(|step| &step.hook)
        .chain(post_start)
        .chain(pre_stop)
        .chain(watch.iter().filter_map(|rule| rule.exec.as_ref()));
    for (asked, what) in [
        (*privileged, "privileged"),
        (*use_api_socket, "use_api_socket"),
        (*cgroup == Some(CgroupNamespace::Host), "cgroup: host"),
        (userns_mode.as_deref() == Some("host"), "userns_mode: host"),
        (!gpus.is_empty(), "gpus"),
        (deploy.as_ref().is_some_and(reserved), "deploy.resources.reservations.devices"),
        (hooks.any(|hook| hook.privileged), "privileged hooks"),
    ] {
        if asked {
            asks.what.push(what.to_owned());
        }
    }
    if let Some(provider) = provider {
        asks.what.push(format!("runs the program docker-{0} or {0}", provider.kind));
    }
    if !models.is_empty() {
        asks.what.push("runs the program docker-model".to_owned());
    }
    let devices: Vec<String> = devices.iter().map(|device| device.source.clone()).collect();
    let tightens = |option: &&String| option.starts_with("no-new-privileges");
    let security: Vec<String> = security_opt.iter().filter(|option| !tightens(option)).cloned().collect();
    let parent = cgroup_parent.iter().filter(|parent| !parent.is_empty()).cloned().collect::<Vec<_>>();
    for (key, words) in [
        ("network_mode", &asks.network(network_mode.as_ref())[..]),
        ("pid", &asks.namespace(pid.as_ref())),
        ("ipc", &asks.namespace(ipc.as_ref())),
        ("uts", &asks.namespace(uts.as_ref())),
        ("cap_add", cap_add),
        ("security_opt", &security),
        ("devices", &devices),
        ("device_cgroup_rules", device_cgroup_rules),
        ("cgroup_parent", &parent),
        ("volumes_from", &asks.volumes_of_others(volumes_from)),
    ] {
        asks.words(key, words);
    }
    for mount in volumes {
        if let MountKind::Bind { source, .. } = &mount.kind {
            asks.path(if mount.read_only { "reads" } else { "writes" }, source);
        }
    }
    let secrets = secrets.iter().filter_map(|grant| model.secrets.get(&grant.source));
    let configs = configs.iter().filter_map(|grant| model.configs.get(&grant.source));
    secrets.chain(configs).for_each(|object| asks.content(&object.source));
    watch.iter().for_each(|rule| asks.path("watches", &rule.path));
    if let Some(build) = build {
        of_build(build, model, &mut asks);
    }
    asks.what
}

fn reserves_devices(reservations: &Reservations) -> bool {
    !reservations.devices.is_empty()
}

/// Adds what a build asks for, as decided for each key as [`of_service`].
fn of_build(build: &Build, model: &Project, asks: &mut Asks<'_>) {
    #[rustfmt::skip]
    let Build {
        context, dockerfile, additional_contexts, cache_from, cache_to, network, ssh, secrets, privileged, entitlements,
        // What is built, and what is said of it.
        args: _, target: _, no_cache: _, no_cache_filter: _, pull: _, labels: _, tags: _, platforms: _, provenance: _,
        sbom: _,
        // What steps have of their own.
        shm_size: _, ulimits: _, extra_hosts: _,
        // Refused wherever it says anything.
        isolation: _,
    } = build;
    if *privileged {
        asks.what.push("build.privileged".to_owned());
    }
    if network.as_deref() == Some("host") {
        asks.what.push("build.network: host".to_owned());
    }
    asks.words("build.entitlements", entitlements);
    for agent in ssh {
        match &agent.path {
            Some(path) => asks.path("build.ssh: reads", Path::new(path)),
            None => asks.what.push("build.ssh: uses the agent".to_owned()),
        }
    }
    let secrets = secrets.iter().filter_map(|grant| model.secrets.get(&grant.source));
    secrets.for_each(|object| asks.content(&object.source));
    let further = additional_contexts.values().filter_map(|context| match context {
        AdditionalContext::Place(place) => Some(place),
        AdditionalContext::Service(_) => None,
    });
    for place in std::iter::once(context).chain(further) {
        match flags::context_source(place) {
            ContextSource::Local(folder) => asks.path("builds from", &folder),
            ContextSource::Layout(layout) => {
                // What cannot be read is refused by the build.
                flags::layout(&layout)
                    .into_iter()
                    .for_each(|layout| asks.path("builds from", &layout.folder));
            }
            _ => {}
        }
    }
    match (dockerfile, flags::context_source(context)) {
        (Dockerfile::Path(path), ContextSource::Local(folder)) => asks.path("reads", &folder.join(path)),
        // Beside a context that is elsewhere, only a path in full is one here.
        (Dockerfile::Path(path), _) if path.starts_with('/') => asks.path("reads", Path::new(path)),
        _ => {}
    }
    let from = cache_from.iter().filter_map(|text| Some(("reads", flags::cache_from(text).ok()?.place)));
    let to = cache_to.iter().filter_map(|text| Some(("writes", flags::cache_to(text).ok()?.place)));
    for (verb, place) in from.chain(to) {
        match place {
            CachePlace::Local { folder, .. } => asks.path(verb, &folder),
            CachePlace::S3(_) | CachePlace::Gha(_) => {
                asks.what.push(format!("{verb} a cache with the credentials of the environment"));
            }
            CachePlace::Inline | CachePlace::Registry { .. } => {}
        }
    }
}

#[cfg(test)]
mod tests;

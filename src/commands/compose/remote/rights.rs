//! What of this machine a project from elsewhere asks for, beyond its own folder and what every container has.

use std::path::{Path, PathBuf};

use rbuild_frontend::compose::Loaded;
use rbuild_model::project::{
    AdditionalContext, CgroupNamespace, FileSource, MountKind, Namespace, NetworkMode, Project, Service,
};

use crate::flags::{ContextSource, context_source};

/// Who asks, and for what.
pub(super) type Right = (String, String);

/// Lists what a project asks for.
pub(super) fn rights(loaded: &Loaded, model: &Project) -> Vec<Right> {
    let own = Own::around(&loaded.directory);
    let mut rights: Vec<Right> = Vec::new();
    // What the command line and the caller's folder add to it is the caller's own.
    let given = |path: &Path| {
        loaded.files.iter().chain(&model.env_files).any(|given| given == path) || path.ends_with(".env")
    };
    let read = loaded.read.iter().filter(|path| !given(path) && !own.has(path));
    rights.extend(read.map(|path| ("project".to_owned(), format!("reads {}", path.display()))));
    for (name, service) in &model.services {
        rights.extend(of_service(service, model, &own).into_iter().map(|what| (name.to_string(), what)));
    }
    for (key, volume) in &model.volumes {
        let device = volume.driver_opts.get("device").filter(|device| device.starts_with('/'));
        if let Some(device) = device.filter(|device| !own.has(Path::new(device))) {
            rights.push((format!("volume {key}"), format!("mounts {device}")));
        }
    }
    rights
}

/// The folder that was brought with the project.
struct Own(PathBuf);

impl Own {
    /// The whole of what was brought: the project may lie in a folder of it.
    fn around(directory: &Path) -> Self {
        let kept = ["rbuild/projects/git", "rbuild/projects/oci"];
        let is_whole = |at: &&Path| at.parent().is_some_and(|at| kept.iter().any(|kept| at.ends_with(kept)));
        Self(real(directory.ancestors().find(is_whole).unwrap_or(directory)))
    }

    /// Whether a path leads into it, through whatever links.
    fn has(&self, path: &Path) -> bool {
        real(path).starts_with(&self.0)
    }
}

/// Follows links; what is not there yet stays as it is written.
fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

fn of_service(service: &Service, model: &Project, own: &Own) -> Vec<String> {
    let mut asks = Vec::new();
    let is_host = |namespace: &Option<Namespace>| matches!(namespace, Some(Namespace::Host));
    let hooks = || service.post_start.iter().chain(&service.pre_stop);
    for (asked, what) in [
        (service.privileged, "privileged"),
        (matches!(service.network_mode, Some(NetworkMode::Host)), "network_mode: host"),
        (is_host(&service.pid), "pid: host"),
        (is_host(&service.ipc), "ipc: host"),
        (is_host(&service.uts), "uts: host"),
        (service.cgroup == Some(CgroupNamespace::Host), "cgroup: host"),
        (service.userns_mode.as_deref() == Some("host"), "userns_mode: host"),
        (!service.gpus.is_empty(), "gpus"),
        (hooks().any(|hook| hook.privileged), "privileged hooks"),
        (service.build.as_ref().is_some_and(|build| build.privileged), "build.privileged"),
    ] {
        if asked {
            asks.push(what.to_owned());
        }
    }
    if let Some(provider) = &service.provider {
        asks.push(format!("runs the program docker-{0} or {0}", provider.kind));
    }
    let entitlements = service.build.as_ref().map(|build| build.entitlements.clone()).unwrap_or_default();
    let devices = service.devices.iter().map(|device| device.source.clone()).collect();
    let tightens = |option: &&String| option.starts_with("no-new-privileges");
    let security = service.security_opt.iter().filter(|option| !tightens(option)).cloned().collect();
    for (key, words) in [
        ("cap_add", service.cap_add.clone()),
        ("security_opt", security),
        ("devices", devices),
        ("device_cgroup_rules", service.device_cgroup_rules.clone()),
        ("build.entitlements", entitlements),
    ] {
        if !words.is_empty() {
            asks.push(format!("{key}: {}", words.join(", ")));
        }
    }
    let outside = paths(service, model).into_iter().filter(|(_, path)| !own.has(path));
    asks.extend(outside.map(|(verb, path)| format!("{verb} {}", path.display())));
    asks
}

/// The paths of the machine that a service names, and what it does with them.
fn paths(service: &Service, model: &Project) -> Vec<(&'static str, PathBuf)> {
    let mut paths = Vec::new();
    for mount in &service.volumes {
        if let MountKind::Bind { source, .. } = &mount.kind {
            paths.push((if mount.read_only { "reads" } else { "writes" }, source.clone()));
        }
    }
    let build = service.build.as_ref();
    let granted = service.secrets.iter().chain(build.into_iter().flat_map(|build| &build.secrets));
    let secrets = granted.filter_map(|grant| model.secrets.get(&grant.source));
    let configs = service.configs.iter().filter_map(|grant| model.configs.get(&grant.source));
    for object in secrets.chain(configs) {
        if let FileSource::File(path) = &object.source {
            paths.push(("reads", path.clone()));
        }
    }
    let further = build.into_iter().flat_map(|build| build.additional_contexts.values());
    let further = further.filter_map(|context| match context {
        AdditionalContext::Place(place) => Some(place),
        AdditionalContext::Service(_) => None,
    });
    for place in build.map(|build| &build.context).into_iter().chain(further) {
        if let ContextSource::Local(folder) = context_source(place) {
            paths.push(("builds from", folder));
        }
    }
    paths
}

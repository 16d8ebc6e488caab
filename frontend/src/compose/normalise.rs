//! One way of saying each thing: the implicit network, dependencies that other keys imply, names of resources.

use rbuild_model::span::Location;

use super::environment::Environment;
use super::interpolate::Use;
use super::path::Path;
use super::yaml::{Map, Node, Value};
use crate::path::clean;

/// Brings a tree into its normal form; notes where variables of the project stood.
pub(crate) fn normalise(root: &mut Node, name: &str, environment: &Environment, uses: &mut Vec<Use>) {
    let Some(top) = root.as_map_mut() else { return };
    top.put("name", Node::new(Value::String(name.to_owned()), None));
    let mut uses_default = false;
    if let Some(services) = top.get_mut("services").and_then(Node::as_map_mut) {
        for (name, service) in services.iter_mut() {
            let Some(service) = service.as_map_mut() else { continue };
            uses_default |= default_network(service);
            let path = Path::default().key("services").key(name);
            resolve_bare(service, &path, environment, uses);
            normalise_service(service);
        }
    }
    if uses_default {
        if !top.contains("networks") {
            top.put("networks", Node::new(Value::Map(Map::default()), None));
        }
        if let Some(networks) = top.get_mut("networks").and_then(Node::as_map_mut)
            && !networks.contains("default")
        {
            networks.put("default", Node::new(Value::Null, None));
        }
    }
    spell_out_nothing(top);
    for section in RESOURCES {
        let Some(resources) = top.get_mut(section).and_then(Node::as_map_mut) else { continue };
        for (key, resource) in resources.iter_mut() {
            let Some(map) = resource.as_map_mut() else { continue };
            let is_external = map
                .get("external")
                .is_some_and(|external| matches!(external.scalar().as_deref(), Some("true")));
            if map.get("name").is_none_or(Node::is_null) {
                let name = if is_external { key.to_owned() } else { format!("{name}_{key}") };
                map.put("name", Node::new(Value::String(name), None));
            }
        }
    }
}

/// The sections of what services use.
const RESOURCES: [&str; 4] = ["networks", "volumes", "configs", "secrets"];

/// Makes a mapping of each resource of which only the key is written.
pub(crate) fn spell_out_nothing(top: &mut Map) {
    for section in RESOURCES {
        let Some(resources) = top.get_mut(section).and_then(Node::as_map_mut) else { continue };
        for (_, resource) in resources.iter_mut().filter(|(_, resource)| resource.is_null()) {
            resource.value = Value::Map(Map::default());
        }
    }
}

/// Attaches a service that says nothing of networks to the default one, and tells whether it is attached to it.
fn default_network(service: &mut Map) -> bool {
    if service.contains("provider") || service.contains("network_mode") {
        return false;
    }
    let is_empty = match service.get("networks").map(|node| &node.value) {
        None | Some(Value::Null) => true,
        Some(Value::Map(map)) => map.is_empty(),
        Some(_) => false,
    };
    if is_empty {
        let default = Map::from_iter([("default".to_owned(), Node::new(Value::Null, None))]);
        service.put("networks", Node::new(Value::Map(default), None));
        return true;
    }
    service.get("networks").and_then(|networks| networks.get("default")).is_some()
}

/// Gives the variables of a service and of its build that have no value those of the project.
fn resolve_bare(service: &mut Map, path: &Path, environment: &Environment, uses: &mut Vec<Use>) {
    let build = service.get_mut("build").and_then(Node::as_map_mut);
    if let Some(args) = build.and_then(|build| build.get_mut("args")) {
        resolve(args, &path.key("build").key("args"), environment, Unresolved::Drop, uses);
    }
    if let Some(variables) = service.get_mut("environment") {
        resolve(variables, &path.key("environment"), environment, Unresolved::Keep, uses);
    }
}

fn normalise_service(service: &mut Map) {
    if let Some(policy) = service.get_mut("pull_policy")
        && policy.as_str() == Some("if_not_present")
    {
        policy.value = Value::String("missing".to_owned());
    }
    if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut)
        && !build.contains("dockerfile")
        && !build.contains("dockerfile_inline")
    {
        build.put("dockerfile", Node::new(Value::String("Dockerfile".to_owned()), None));
    }
    let mounts = service.get_mut("volumes").map(|node| &mut node.value);
    if let Some(Value::List(mounts)) = mounts {
        for mount in mounts.iter_mut().filter_map(Node::as_map_mut) {
            if let Some(Value::String(target)) = mount.get_mut("target").map(|node| &mut node.value) {
                *target = clean(target);
            }
        }
    }
    for (name, restart) in implied(service) {
        if !service.contains("depends_on") {
            service.put("depends_on", Node::new(Value::Map(Map::default()), None));
        }
        let Some(dependencies) = service.get_mut("depends_on").and_then(Node::as_map_mut) else { return };
        if !dependencies.contains(&name) {
            let mut dependency = Map::default();
            dependency.put("condition", Node::new(Value::String("service_started".to_owned()), None));
            dependency.put("required", Node::new(Value::Bool(true), None));
            dependency.put("restart", Node::new(Value::Bool(restart == Restart::With), None));
            dependencies.put(&name, Node::new(Value::Map(dependency), None));
        }
    }
}

/// Whether a dependent restarts with what it depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Restart {
    With,
    Without,
}

/// Returns the services that other keys make a service depend on.
fn implied(service: &Map) -> Vec<(String, Restart)> {
    let mut names = Vec::new();
    let texts = |key: &str| -> Vec<String> {
        service.get(key).and_then(Node::as_list).unwrap_or_default().iter().filter_map(Node::scalar).collect()
    };
    for link in texts("links") {
        // One colon stands before an alias; with more of them, the whole is a name, which no service has.
        let name =
            link.split_once(':').filter(|(_, alias)| !alias.contains(':')).map(|(name, _)| name.to_owned());
        names.push((name.unwrap_or(link), Restart::With));
    }
    for key in ["network_mode", "ipc", "pid", "uts", "cgroup"] {
        let namespace = service.get(key).and_then(Node::as_str);
        if let Some(name) = namespace.and_then(|text| text.strip_prefix("service:")) {
            names.push((name.to_owned(), Restart::With));
        }
    }
    for from in texts("volumes_from") {
        if !from.starts_with("container:") {
            names.push((from.split(':').next().unwrap_or_default().to_owned(), Restart::Without));
        }
    }
    names
}

/// What becomes of a variable that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// It stays, without a value.
    Keep,
    /// It goes.
    Drop,
}

/// Gives variables without a value the project's, and notes which these are.
pub(crate) fn resolve(
    node: &mut Node,
    path: &Path,
    environment: &Environment,
    unresolved: Unresolved,
    uses: &mut Vec<Use>,
) {
    let mut note = |name: &str, value: &str, at: &Option<Location>| {
        let (path, value) = (path.key(name).pattern(), value.to_owned());
        uses.push(Use {
            name: name.to_owned(),
            path,
            at: at.clone(),
            value: Some(value.clone()),
            result: value.into(),
        });
    };
    match &mut node.value {
        Value::Map(map) => {
            for (key, value) in map.iter_mut() {
                if value.is_null()
                    && let Some(found) = environment.get(key)
                {
                    note(key, found, &value.at);
                    value.value = Value::String(found.to_owned());
                }
            }
            if unresolved == Unresolved::Drop {
                map.retain(|_, value| !value.is_null());
            }
        }
        Value::List(list) => {
            for item in list.iter_mut() {
                if let Some(name) = item.as_str().filter(|text| !text.contains('='))
                    && let Some(found) = environment.get(name)
                {
                    note(name, found, &item.at);
                    item.value = Value::String(format!("{name}={found}"));
                }
            }
            if unresolved == Unresolved::Drop {
                list.retain(|item| item.as_str().is_some_and(|text| text.contains('=')));
            }
        }
        _ => {}
    }
}

//! Which services are enabled and asked for, and which resources they use.

use std::collections::BTreeSet;

use super::fault::{Checked, hinted};
use super::yaml::{Map, Node, Value};

/// Services, parted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parted {
    /// Those that count.
    pub(crate) services: Map,
    /// The others.
    pub(crate) disabled: Map,
}

fn texts(node: Option<&Node>) -> Vec<String> {
    node.and_then(Node::as_list).unwrap_or_default().iter().filter_map(Node::scalar).collect()
}

/// Parts services by the profiles that are on; naming a service turns its own profiles on.
pub(crate) fn by_profiles(services: Map, profiles: &[String], named: &[String]) -> Parted {
    let mut on: BTreeSet<String> = profiles.iter().cloned().collect();
    let all = on.contains("*");
    for name in named {
        if let Some(service) = services.get(name)
            && !is_enabled(service, &on)
        {
            on.extend(texts(service.get("profiles")));
        }
    }
    let mut parted = Parted::default();
    for (name, at, service) in services.into_entries() {
        let side = if all || is_enabled(&service, &on) { &mut parted.services } else { &mut parted.disabled };
        side.insert(name, at, service);
    }
    parted
}

fn is_enabled(service: &Node, on: &BTreeSet<String>) -> bool {
    let own = texts(service.get("profiles"));
    own.is_empty() || own.iter().any(|profile| on.contains(profile))
}

/// Leaves the services that were asked for and what they depend on.
pub(crate) fn by_names(parted: &mut Parted, named: &[String]) -> Checked<()> {
    if named.is_empty() {
        return Ok(());
    }
    let mut wanted: BTreeSet<String> = BTreeSet::new();
    let mut open: Vec<String> = named.to_vec();
    for name in named {
        if !parted.services.contains(name) {
            let help = match rbuild_model::span::nearest(name, parted.services.keys()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "`rbuild compose config --services` lists them".to_owned(),
            };
            return Err(hinted(None, format!("no such service: {name}"), help));
        }
    }
    while let Some(name) = open.pop() {
        if let Some(service) = parted.services.get(&name)
            && wanted.insert(name)
        {
            open.extend(dependencies(service));
        }
    }
    let services = std::mem::take(&mut parted.services);
    for (name, at, mut service) in services.into_entries() {
        if !wanted.contains(&name) {
            parted.disabled.insert(name, at, service);
            continue;
        }
        // What it may do without, and is not there, is not spoken of any more.
        let dependencies = service.as_map_mut().and_then(|service| service.get_mut("depends_on"));
        if let Some(dependencies) = dependencies.and_then(Node::as_map_mut) {
            dependencies.retain(|name, _| wanted.contains(name));
        }
        parted.services.insert(name, at, service);
    }
    Ok(())
}

/// Returns the services that a service depends on.
pub(crate) fn dependencies(service: &Node) -> Vec<String> {
    let dependencies = service.get("depends_on").and_then(Node::as_map);
    dependencies.map(|map| map.keys().map(str::to_owned).collect()).unwrap_or_default()
}

/// Takes out the resources that no service uses.
pub(crate) fn prune(top: &mut Map, services: &Map) {
    let mut used: [BTreeSet<String>; 5] = Default::default();
    let [networks, volumes, secrets, configs, models] = &mut used;
    for (_, service) in services.iter() {
        let keys = |key: &str| -> Vec<String> {
            service
                .get(key)
                .and_then(Node::as_map)
                .map(|map| map.keys().map(str::to_owned).collect())
                .unwrap_or_default()
        };
        let sources = |list: Option<&Node>| -> Vec<String> {
            let list = list.and_then(Node::as_list).unwrap_or_default();
            list.iter().filter_map(|item| item.get("source").unwrap_or(item).scalar()).collect()
        };
        networks.extend(keys("networks"));
        models.extend(keys("models"));
        secrets.extend(sources(service.get("secrets")));
        secrets.extend(sources(service.get("build").and_then(|build| build.get("secrets"))));
        configs.extend(sources(service.get("configs")));
        for mount in service.get("volumes").and_then(Node::as_list).unwrap_or_default() {
            if mount.get("type").and_then(Node::as_str) == Some("volume") {
                volumes.extend(mount.get("source").and_then(Node::scalar));
            }
        }
    }
    for (section, used) in ["networks", "volumes", "secrets", "configs", "models"].into_iter().zip(&used) {
        if let Some(Value::Map(map)) = top.get_mut(section).map(|node| &mut node.value) {
            map.retain(|key, _| used.contains(key));
        }
    }
}

/// Returns the services, each behind what it depends on, else by name.
pub(crate) fn in_order(services: &Map) -> Vec<String> {
    fn visit(name: &str, services: &Map, seen: &mut BTreeSet<String>, order: &mut Vec<String>) {
        let Some(service) = services.get(name) else { return };
        if !seen.insert(name.to_owned()) {
            return;
        }
        for dependency in dependencies(service) {
            visit(&dependency, services, seen, order);
        }
        order.push(name.to_owned());
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    services.keys().for_each(|name| visit(name, services, &mut seen, &mut order));
    order
}

//! What the format means by saying nothing, and the checks of single values that need no other.

use super::fault::{Checked, hinted};
use super::yaml::{Map, Node, Value};

/// Puts in what is not said.
pub(crate) fn fill(root: &mut Node) {
    for service in entries(root, "services") {
        if let Some(Value::Map(build)) = service.get_mut("build").map(|node| &mut node.value)
            && !build.contains("context")
        {
            build.put("context", Node::new(Value::String(".".to_owned()), None));
        }
        for secret in items(service, &["secrets"]) {
            if let Some(source) = secret.get("source").filter(|_| !secret.contains("target")).cloned() {
                let target = format!("/run/secrets/{}", source.scalar().unwrap_or_default());
                secret.put("target", Node::text(target, &source));
            }
        }
        for port in items(service, &["ports"]) {
            for (key, value) in [("protocol", "tcp"), ("mode", "ingress")] {
                if !port.contains(key) {
                    port.put(key, Node::new(Value::String(value.to_owned()), None));
                }
            }
        }
        for path in [&["gpus"][..], &["deploy", "resources", "reservations", "devices"]] {
            for request in items(service, path) {
                if !request.contains("count") && !request.contains("device_ids") {
                    request.put("count", Node::new(Value::Int(-1), None));
                }
            }
        }
    }
}

/// Returns the mappings of a top-level section.
pub(crate) fn entries<'a>(root: &'a mut Node, section: &str) -> Vec<&'a mut Map> {
    let Some(map) = root.as_map_mut().and_then(|map| map.get_mut(section)).and_then(Node::as_map_mut) else {
        return Vec::new();
    };
    map.iter_mut().filter_map(|(_, node)| node.as_map_mut()).collect()
}

/// Returns the mappings of a list below a mapping.
fn items<'a>(map: &'a mut Map, path: &[&str]) -> Vec<&'a mut Map> {
    let Some((last, before)) = path.split_last() else { return Vec::new() };
    let mut map = map;
    for key in before {
        match map.get_mut(key).and_then(Node::as_map_mut) {
            Some(next) => map = next,
            None => return Vec::new(),
        }
    }
    match map.get_mut(last).map(|node| &mut node.value) {
        Some(Value::List(list)) => list.iter_mut().filter_map(Node::as_map_mut).collect(),
        _ => Vec::new(),
    }
}

/// Checks single resources.
pub(crate) fn check(root: &Node) -> Checked<()> {
    each(root, "volumes", |key, node, volume| {
        let is_external = volume.get("external").is_some_and(|node| node.value == Value::Bool(true));
        for (other, value) in volume.iter().filter(|_| is_external) {
            if !matches!(other, "name" | "external") && !other.starts_with("x-") {
                let message =
                    format!("volumes.{key}: conflicting parameters \"external\" and {other:?} specified");
                let help = "what exists already is only named: leave the rest out";
                return Err(hinted(value.at.as_ref().or(node.at.as_ref()), message, help));
            }
        }
        Ok(())
    })?;
    each(root, "configs", |key, node, map| {
        one_source(&format!("configs.{key}"), node, map, &["file", "environment", "content"])
    })?;
    each(root, "secrets", |key, node, map| {
        one_source(&format!("secrets.{key}"), node, map, &["file", "environment"])
    })?;
    each(root, "services", |key, _, service| {
        check_requests(&format!("services.{key}.gpus"), service.get("gpus"))?;
        let devices = ["resources", "reservations", "devices"]
            .iter()
            .try_fold(service.get("deploy"), |node, key| node.map(|node| node.get(key)))
            .flatten();
        check_requests(&format!("services.{key}.deploy.resources.reservations.devices"), devices)?;
        let rules = service.get("develop").and_then(|develop| develop.get("watch")).and_then(Node::as_list);
        for rule in rules.unwrap_or_default() {
            if let Some(path) = rule.get("path").filter(|path| path.as_str() == Some("")) {
                let message = format!("services.{key}.develop.watch.[].path: value can't be blank");
                return Err(hinted(path.at.as_ref(), message, "say which folder or file is watched"));
            }
        }
        for port in service.get("ports").and_then(Node::as_list).unwrap_or_default() {
            if let Some(ip) = port.get("host_ip").filter(|ip| is_no_address(ip)) {
                let text = ip.as_str().unwrap_or_default();
                let message = format!("services.{key}.ports.[].host_ip: invalid ip address: {text}");
                return Err(hinted(ip.at.as_ref(), message, "write an address of this machine: `127.0.0.1`"));
            }
        }
        Ok(())
    })
}

fn is_no_address(node: &Node) -> bool {
    let text = node.as_str().unwrap_or_default();
    !text.contains('$') && text.parse::<std::net::IpAddr>().is_err()
}

fn check_requests(path: &str, list: Option<&Node>) -> Checked<()> {
    for request in list.and_then(Node::as_list).unwrap_or_default() {
        if request.get("count").is_some() && request.get("device_ids").is_some() {
            let message = format!("{path}.[]: \"count\" and \"device_ids\" attributes are exclusive");
            return Err(hinted(request.at.as_ref(), message, "leave one of them out"));
        }
    }
    Ok(())
}

fn each(root: &Node, section: &str, mut check: impl FnMut(&str, &Node, &Map) -> Checked<()>) -> Checked<()> {
    let Some(map) = root.get(section).and_then(Node::as_map) else { return Ok(()) };
    map.iter().try_for_each(|(key, node)| node.as_map().map_or(Ok(()), |entry| check(key, node, entry)))
}

fn one_source(path: &str, node: &Node, map: &Map, keys: &[&str]) -> Checked<()> {
    let set = keys.iter().filter(|key| map.contains(key)).count();
    let list = keys.join("|");
    if set > 1 {
        let message = format!("{path}: {list} attributes are mutually exclusive");
        return Err(hinted(node.at.as_ref(), message, "leave all but one out"));
    }
    if set == 0 && !map.contains("driver") && !map.contains("external") {
        let message = format!("{path}: one of {list} must be set");
        return Err(hinted(node.at.as_ref(), message, "say where its content comes from: `file: PATH`"));
    }
    Ok(())
}

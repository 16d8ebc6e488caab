//! The plan as JSON, as it is read by other programs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::options::Entry;
use super::target::Target;
use super::{Group, Plan};

/// Returns the plan as a text in JSON, in which what means something in a page is escaped.
pub fn json(plan: &Plan) -> String {
    let text = serde_json::to_string_pretty(&document(plan)).unwrap_or_default();
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// Returns the plan as JSON.
pub fn document(plan: &Plan) -> Value {
    let groups: Map<String, Value> =
        plan.groups.iter().map(|(name, group)| (name.clone(), of_group(group))).collect();
    let targets: Map<String, Value> =
        plan.targets.iter().map(|(name, target)| (name.clone(), of_target(target))).collect();
    json!({ "group": groups, "target": targets })
}

fn of_group(group: &Group) -> Value {
    let mut map = Map::new();
    if let Some(description) = &group.description {
        map.insert("description".to_owned(), json!(description));
    }
    map.insert("targets".to_owned(), json!(group.targets));
    Value::Object(map)
}

/// What is printed can be read again: what looks like an interpolation is none.
fn escaped(text: &str) -> String {
    text.replace("${", "$${").replace("%{", "%%{")
}

fn options(entries: &[Entry], order: &[&str]) -> Value {
    let one = |entry: &Entry| {
        let first = order.iter().filter_map(|key| entry.get_key_value(*key));
        let rest = entry.iter().filter(|(key, _)| !order.contains(&&***key));
        let value = |(key, value): (&String, &String)| {
            let value = match (&**key, &**value) {
                ("disabled", "true") => json!(true),
                ("paths", paths) => json!(paths.split(',').collect::<Vec<_>>()),
                (_, value) => json!(value),
            };
            (key.clone(), value)
        };
        first.chain(rest).map(value).collect::<Map<String, Value>>()
    };
    entries.iter().map(one).collect()
}

fn of_target(target: &Target) -> Value {
    let mut map = Map::new();
    let mut put = |name: &str, value: Value| {
        let empty = match &value {
            Value::Null => true,
            Value::Array(items) => items.is_empty(),
            Value::Object(entries) => entries.is_empty(),
            _ => false,
        };
        if !empty {
            map.insert(name.to_owned(), value);
        }
    };
    let escaped_map = |map: &BTreeMap<String, String>| {
        json!(map.iter().map(|(key, value)| (key, escaped(value))).collect::<BTreeMap<_, _>>())
    };
    put("description", json!(target.description));
    put("annotations", json!(target.annotations.iter().map(|text| escaped(text)).collect::<Vec<_>>()));
    put("attest", options(&target.attest, &[]));
    put("context", json!(target.context));
    put("contexts", json!(target.contexts));
    put("dockerfile", json!(target.dockerfile));
    put("dockerfile-inline", json!(target.dockerfile_inline.as_deref().map(escaped)));
    put("args", escaped_map(&target.args));
    put("labels", escaped_map(&target.labels));
    put("tags", json!(target.tags));
    put("cache-from", options(&target.cache_from, &[]));
    put("cache-to", options(&target.cache_to, &[]));
    put("target", json!(target.target));
    put("secret", options(&target.secret, &["id", "src", "env"]));
    put("ssh", options(&target.ssh, &["id", "paths"]));
    put("platforms", json!(target.platforms));
    put("output", options(&target.output, &[]));
    put("pull", json!(target.pull));
    put("no-cache", json!(target.no_cache));
    put("network", json!(target.network));
    put("no-cache-filter", json!(target.no_cache_filter));
    put("shm-size", json!(target.shm_size));
    put("ulimits", json!(target.ulimits));
    put("call", json!(target.call));
    put("entitlements", json!(target.entitlements));
    put("extra-hosts", escaped_map(&target.extra_hosts));
    Value::Object(map)
}

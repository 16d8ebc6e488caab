//! Services of a compose project as targets.

use rbuild_model::span::Diagnostic;
use serde_json::{Map, Value};

use super::options::{self, Kind};
use super::select::clean;
use super::target::Target;
use super::{Config, Group};
use crate::compose::Loaded;

/// Writes a project as JSON, with what build sections say for bake alone (`x-bake`).
pub fn project(loaded: &Loaded) -> Result<Value, Box<Diagnostic>> {
    let mut project: Value = serde_json::from_str(&loaded.json()?).unwrap_or_default();
    let raw: Value = serde_json::from_str(&loaded.raw_json()).unwrap_or_default();
    let services = raw.get("services").and_then(Value::as_object);
    for (name, service) in services.into_iter().flatten() {
        let extension = service.pointer("/build/x-bake");
        let build = project
            .get_mut("services")
            .and_then(|all| all.get_mut(name))
            .and_then(|one| one.get_mut("build"));
        if let (Some(extension), Some(Value::Object(build))) = (extension, build) {
            build.insert("x-bake".to_owned(), extension.clone());
        }
    }
    Ok(project)
}

/// Reads the services with a `build` section of a project, as JSON of its written form.
pub(super) fn read(project: &Value) -> Result<Config, String> {
    let mut config = Config::default();
    let mut names = Vec::new();
    let services = project.get("services").and_then(Value::as_object);
    for (service, section) in services.into_iter().flatten() {
        let Some(build) = section.get("build").and_then(Value::as_object) else { continue };
        let name = service.replace('.', "_");
        let target =
            target(&name, section, build, project).map_err(|error| format!("service {service}: {error}"))?;
        config.add(target);
        names.push(name);
    }
    if !names.is_empty() {
        names.sort();
        config.groups.push(("default".to_owned(), Group { targets: names, description: None }));
    }
    Ok(config)
}

fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn texts(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::Array(items)) => items.iter().filter_map(|item| text(Some(item))).collect(),
        Some(single) => text(Some(single)).into_iter().collect(),
        None => Vec::new(),
    }
}

fn map(value: Option<&Value>) -> Vec<(String, String)> {
    match value {
        Some(Value::Object(entries)) => {
            entries.iter().filter_map(|(key, value)| Some((key.clone(), text(Some(value))?))).collect()
        }
        Some(Value::Array(items)) => items
            .iter()
            .filter_map(|item| text(Some(item)))
            .filter_map(|item| item.split_once('=').map(|(key, value)| (key.to_owned(), value.to_owned())))
            .collect(),
        _ => Vec::new(),
    }
}

fn entries(kind: Kind, values: Option<&Value>, out: &mut Vec<options::Entry>) -> Result<(), String> {
    let one = |value: &Value, out: &mut Vec<options::Entry>| -> Result<(), String> {
        out.extend(options::entries(kind, &crate::hcl::Value::from_json(value))?);
        Ok(())
    };
    match values {
        Some(Value::Array(items)) => items.iter().try_for_each(|item| one(item, out)),
        Some(Value::Null) | None => Ok(()),
        Some(single) => one(single, out),
    }
}

fn target(
    name: &str,
    service: &Value,
    build: &Map<String, Value>,
    project: &Value,
) -> Result<Target, String> {
    let mut target = Target::new(name);
    target.context =
        text(build.get("context")).map(|context| clean(&context)).or_else(|| Some(".".to_owned()));
    target.dockerfile = text(build.get("dockerfile"));
    target.dockerfile_inline = text(build.get("dockerfile_inline"));
    target.contexts = map(build.get("additional_contexts"))
        .into_iter()
        .map(|(name, place)| {
            let place = match place.strip_prefix("service:") {
                Some(service) => format!("target:{}", service.replace('.', "_")),
                None => clean(&place),
            };
            (name, place)
        })
        .collect();
    target.args = map(build.get("args")).into_iter().collect();
    target.labels = map(build.get("labels")).into_iter().collect();
    target.tags = texts(build.get("tags"));
    if target.tags.is_empty() {
        target.tags = texts(service.get("image"));
    }
    target.target = text(build.get("target"));
    target.platforms = texts(build.get("platforms"));
    entries(Kind::Cache, build.get("cache_from"), &mut target.cache_from)?;
    entries(Kind::Cache, build.get("cache_to"), &mut target.cache_to)?;
    target.network = text(build.get("network"));
    target.no_cache = build.get("no_cache").and_then(Value::as_bool).filter(|on| *on);
    target.no_cache_filter = texts(build.get("no_cache_filter"));
    target.pull = build.get("pull").and_then(Value::as_bool).filter(|on| *on);
    target.shm_size = text(build.get("shm_size")).map(|size| binary_size(&size));
    for host in texts(build.get("extra_hosts")) {
        let (name, address) =
            host.split_once(['=', ':']).ok_or_else(|| format!("{host:?} is no host:address"))?;
        let addresses = target.extra_hosts.entry(name.to_owned()).or_default();
        if !addresses.is_empty() {
            addresses.push(',');
        }
        addresses.push_str(address);
    }
    if let Some(Value::Object(hosts)) = build.get("extra_hosts") {
        for (name, addresses) in hosts {
            target.extra_hosts.insert(name.clone(), texts(Some(addresses)).join(","));
        }
    }
    for (limit, value) in build.get("ulimits").and_then(Value::as_object).into_iter().flatten() {
        target.ulimits.push(match value {
            Value::Object(both) => {
                let of = |key| text(both.get(key)).unwrap_or_default();
                format!("{limit}={}:{}", of("soft"), of("hard"))
            }
            single => format!("{limit}={}", text(Some(single)).unwrap_or_default()),
        });
    }
    target.entitlements = texts(build.get("entitlements"));
    if target.network.as_deref() == Some("host")
        && !target.entitlements.iter().any(|right| right == "network.host")
    {
        target.entitlements.push("network.host".to_owned());
    }
    if build.get("privileged").and_then(Value::as_bool) == Some(true) {
        target.entitlements.push("security.insecure".to_owned());
    }
    for kind in ["sbom", "provenance"] {
        if let Some(said) = text(build.get(kind)) {
            entries(Kind::Attest, Some(&Value::String(options::attest(kind, &said))), &mut target.attest)?;
        }
    }
    secrets(build, project, &mut target)?;
    match build.get("ssh") {
        Some(Value::Object(agents)) => {
            for (id, path) in agents {
                let mut entry: options::Entry = [("id".to_owned(), id.clone())].into();
                entry.extend(
                    text(Some(path)).filter(|path| !path.is_empty()).map(|path| ("paths".to_owned(), path)),
                );
                target.ssh.push(entry);
            }
        }
        other => entries(Kind::Ssh, other, &mut target.ssh)?,
    }
    if let Some(extension) = build.get("x-bake").and_then(Value::as_object) {
        extended(&mut target, build, extension)?;
    }
    Ok(target)
}

fn secrets(build: &Map<String, Value>, project: &Value, target: &mut Target) -> Result<(), String> {
    for grant in build.get("secrets").and_then(Value::as_array).into_iter().flatten() {
        let source =
            text(grant.get("source")).or_else(|| grant.as_str().map(str::to_owned)).unwrap_or_default();
        let definition = project.get("secrets").and_then(|all| all.get(&source));
        let id = text(grant.get("target")).filter(|id| !id.is_empty()).unwrap_or_else(|| source.clone());
        let mut entry: options::Entry = [("id".to_owned(), id)].into();
        let from = |key: &str| definition.and_then(|definition| text(definition.get(key)));
        if let Some(file) = from("file") {
            entry.insert("src".to_owned(), clean(&file));
        } else if let Some(variable) = from("environment") {
            entry.insert("env".to_owned(), variable);
        } else {
            return Err(format!("secret {source} is neither a file nor a variable"));
        }
        target.secret.push(entry);
    }
    Ok(())
}

/// Takes in what a build section says for bake alone.
fn extended(
    target: &mut Target,
    build: &Map<String, Value>,
    extension: &Map<String, Value>,
) -> Result<(), String> {
    let mut over = Target::default();
    for (key, value) in extension {
        let value = Some(value);
        match &**key {
            // What the section itself says stays; the name of the image was only there for want of tags.
            "tags" => over.tags = and_then(build.get("tags"), value),
            "platforms" => over.platforms = and_then(build.get("platforms"), value),
            "no-cache-filter" => over.no_cache_filter = texts(value),
            "contexts" => over.contexts = map(value).into_iter().collect(),
            "extra-hosts" => over.extra_hosts = map(value).into_iter().collect(),
            "pull" => over.pull = truth(key, value)?,
            "no-cache" => over.no_cache = truth(key, value)?,
            "cache-from" | "cache-to" | "output" | "secret" | "ssh" | "attest" => {
                let (list, kind) = over.options(key).expect("these are options");
                entries(kind, value, list)?;
            }
            // Newer programs may know it.
            _ => {}
        }
    }
    target.merge(&over);
    Ok(())
}

/// Returns the texts of one list and those of another that are new; none where the other has none.
fn and_then(first: Option<&Value>, other: Option<&Value>) -> Vec<String> {
    let other = texts(other);
    if other.is_empty() {
        return other;
    }
    let mut all = Vec::new();
    for text in texts(first).into_iter().chain(other) {
        if !all.contains(&text) {
            all.push(text);
        }
    }
    all
}

fn truth(key: &str, value: Option<&Value>) -> Result<Option<bool>, String> {
    match value {
        Some(Value::Bool(said)) => Ok(Some(*said)),
        Some(Value::Null) | None => Ok(None),
        Some(other) => Err(format!("x-bake: {key} is {other}, neither true nor false")),
    }
}

/// Writes a size with four digits and the largest unit that leaves something before the point.
fn binary_size(size: &str) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let Ok(mut amount) = size.parse::<f64>() else { return size.to_owned() };
    let mut unit = 0;
    while amount >= 1024.0 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let digits = amount.log10().floor().max(0.0) as usize;
    let text = format!("{amount:.*}", 3_usize.saturating_sub(digits));
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{}", UNITS[unit])
}

//! `--set TARGETPATTERN.KEY[.NAME]=VALUE`: attributes from the command line, over those of the files.

use rbuild_model::glob::Glob;
use rbuild_model::span::nearest;
use rbuild_model::truth::parse_bool;

use super::options::{self, Entry, Kind};
use super::target::{self, Target};

/// One override.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Override {
    /// The targets, with `*` and `?`.
    pub pattern: String,
    key: String,
    /// The name in a map.
    name: Option<String>,
    value: Option<String>,
    appends: bool,
}

/// What may be set.
const KEYS: &[&str] = &[
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "dockerfile",
    "entitlements",
    "extra-hosts",
    "labels",
    "load",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platform",
    "pull",
    "push",
    "secrets",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

impl Override {
    /// Reads an override.
    pub fn read(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').map_or((text, None), |(path, value)| (path, Some(value)));
        let (path, appends) = path.strip_suffix('+').map_or((path, false), |path| (path, true));
        let mut parts = path.splitn(3, '.');
        let (Some(pattern), Some(key)) = (parts.next(), parts.next()) else {
            return Err(format!("invalid override key {path}, expected target.name"));
        };
        Glob::new(pattern.as_bytes()).map_err(|error| format!("{pattern}: {error}"))?;
        let name = parts.next().map(str::to_owned);
        if !KEYS.contains(&key) {
            let near = nearest(key, KEYS.iter().copied());
            let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            return Err(format!("unknown key: {key}{hint}"));
        }
        if matches!(key, "args" | "contexts" | "extra-hosts" | "labels") != name.is_some() {
            return Err(format!(
                "invalid override key {path}: {}",
                if name.is_some() {
                    "it has no names in it"
                } else {
                    "a name is missing, as in target.args.NAME"
                }
            ));
        }
        // The value of an argument may be the environment's.
        if value.is_none() && key != "args" {
            return Err(format!("invalid override {text}, expected target.name=value"));
        }
        Ok(Self {
            pattern: pattern.to_owned(),
            key: key.to_owned(),
            name,
            value: value.map(str::to_owned),
            appends,
        })
    }

    /// Returns whether a target is meant.
    pub(super) fn is_for(&self, target: &str) -> bool {
        matches(&self.pattern, target)
    }
}

/// Says whether a name fits a pattern; nothing fits one that is malformed.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    Glob::new(pattern.as_bytes()).is_ok_and(|glob| glob.matches(name.as_bytes()))
}

/// What the overrides of one attribute come to.
struct Setting<'o> {
    key: &'o str,
    /// The name in a map.
    name: Option<&'o str>,
    values: Vec<String>,
    /// Whether the values are added: as the last one says.
    appends: bool,
}

/// Applies the overrides of one target.
pub(super) fn apply(
    target: &mut Target,
    overrides: &[&Override],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let mut settings: Vec<Setting<'_>> = Vec::new();
    for Override { key, name, value, appends, .. } in overrides.iter().copied() {
        let value = value.clone().or_else(|| environment(name.as_deref()?));
        let Some(value) = value else { continue };
        let name = name.as_deref();
        match settings.iter_mut().find(|setting| setting.key == key && setting.name == name) {
            Some(setting) => {
                setting.values.push(value);
                setting.appends = *appends;
            }
            None => settings.push(Setting { key, name, values: vec![value], appends: *appends }),
        }
    }
    // These two change outputs, whatever set them.
    settings.sort_by_key(|setting| match setting.key {
        "push" => 1,
        "load" => 2,
        _ => 0,
    });
    settings.into_iter().try_for_each(|setting| setting.apply(target))
}

impl Setting<'_> {
    fn apply(self, target: &mut Target) -> Result<(), String> {
        let Self { key, name, values, appends } = self;
        if let Some((list, kind)) = target.options(key) {
            let mut entries = Vec::new();
            for value in &values {
                entries.extend(options::written(kind, value)?);
            }
            if !appends && kind != Kind::Attest {
                list.clear();
            }
            target::add(list, &entries, kind);
            return Ok(());
        }
        let list = match key {
            "annotations" => Some(&mut target.annotations),
            "entitlements" => Some(&mut target.entitlements),
            "no-cache-filter" => Some(&mut target.no_cache_filter),
            "platform" => Some(&mut target.platforms),
            "tags" => Some(&mut target.tags),
            "ulimits" => Some(&mut target.ulimits),
            _ => None,
        };
        if let Some(list) = list {
            if !appends && !matches!(key, "annotations" | "entitlements") {
                list.clear();
            }
            list.extend(values);
            return Ok(());
        }
        let value = values.into_iter().next_back().unwrap_or_default();
        let truth =
            || parse_bool(&value).ok_or_else(|| format!("invalid value {value:?} for boolean key {key}"));
        match key {
            "push" => push(&mut target.output, truth()?),
            "load" if truth()? => load(&mut target.output),
            "load" => {}
            "pull" => target.pull = Some(truth()?),
            "no-cache" => target.no_cache = Some(truth()?),
            "args" | "contexts" | "extra-hosts" | "labels" => {
                let map = match key {
                    "args" => &mut target.args,
                    "contexts" => &mut target.contexts,
                    "extra-hosts" => &mut target.extra_hosts,
                    _ => &mut target.labels,
                };
                map.insert(name.unwrap_or_default().to_owned(), value);
            }
            "call" => target.call = Some(value),
            "context" => target.context = Some(value),
            "dockerfile" => target.dockerfile = Some(value),
            "network" => target.network = Some(value),
            "shm-size" => target.shm_size = Some(value),
            "target" => target.target = Some(value),
            other => unreachable!("{other} stands in the list of keys"),
        }
        Ok(())
    }
}

fn output(pairs: &[(&str, &str)]) -> Entry {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Pushes images that come out, or pushes none. Where only an engine gets the result, or nothing is said of it, an image
/// comes out too.
fn push(outputs: &mut Vec<Entry>, wanted: bool) {
    let is = |entry: &Entry, kind: &str| entry.get("type").is_some_and(|own| own == kind);
    if !wanted {
        while let Some(at) = outputs.iter().position(|entry| is(entry, "registry")) {
            outputs.swap_remove(at);
        }
    }
    for entry in outputs.iter_mut().filter(|entry| is(entry, "image")) {
        entry.insert("push".to_owned(), wanted.to_string());
    }
    if wanted && outputs.iter().all(|entry| is(entry, "docker")) {
        outputs.push(output(&[("type", "image"), ("push", "true")]));
    }
}

/// Keeps an image in the store too, unless that is said already or files come out.
fn load(outputs: &mut Vec<Entry>) {
    for entry in &*outputs {
        match entry.get("type").map(String::as_str) {
            Some("docker") if entry.contains_key("dest") => {}
            Some("image" | "registry" | "oci") => {}
            _ => return,
        }
    }
    outputs.push(output(&[("type", "docker")]));
}

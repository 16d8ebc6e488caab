//! `--set TARGETPATTERN.KEY[.NAME]=VALUE`: attributes from the command line, over those of the files.

use rbuild_model::glob::Glob;
use rbuild_model::span::nearest;

use super::options::{self, Kind};
use super::target::Target;

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
        let key = match key {
            "platforms" => "platform",
            "secret" => "secrets",
            key => key,
        };
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

/// Applies the overrides of one target, in order.
pub(super) fn apply(
    target: &mut Target,
    overrides: &[&Override],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<(), String> {
    let mut replaced: Vec<&str> = Vec::new();
    for over in overrides {
        let Override { key, name, value, appends, .. } = over;
        // Several of one key come together, over what the files say.
        let first = !appends && !replaced.contains(&&**key);
        replaced.push(key);
        let value = match (value, name) {
            (Some(value), _) => value.clone(),
            (None, Some(name)) => match environment(name) {
                Some(value) => value,
                None => continue,
            },
            (None, None) => continue,
        };
        if let Some((list, kind)) = target.options(key) {
            if first && kind != Kind::Attest {
                list.clear();
            }
            if let Some(mut entry) = options::written(kind, &value)? {
                options::settle(kind, &mut entry)?;
                if kind == Kind::Attest {
                    list.retain(|known| known.get("type") != entry.get("type"));
                }
                list.push(entry);
            }
            continue;
        }
        let boolean = || match &*value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
            other => Err(format!("invalid value {other:?} for boolean key {key}")),
        };
        match &**key {
            "push" => {
                if boolean()? {
                    push(target);
                }
            }
            "load" => {
                if boolean()? && target.output.is_empty() {
                    target.output.push([("type".to_owned(), "docker".to_owned())].into());
                }
            }
            "pull" => target.pull = Some(boolean()?),
            "no-cache" => target.no_cache = Some(boolean()?),
            "args" | "contexts" | "extra-hosts" | "labels" => {
                let map = match &**key {
                    "args" => &mut target.args,
                    "contexts" => &mut target.contexts,
                    "extra-hosts" => &mut target.extra_hosts,
                    _ => &mut target.labels,
                };
                map.insert(name.clone().unwrap_or_default(), value);
            }
            "call" => target.call = Some(value),
            "context" => target.context = Some(value),
            "dockerfile" => target.dockerfile = Some(value),
            "network" => target.network = Some(value),
            "shm-size" => target.shm_size = Some(value),
            "target" => target.target = Some(value),
            other => {
                let list = match other {
                    "annotations" => &mut target.annotations,
                    "entitlements" => &mut target.entitlements,
                    "no-cache-filter" => &mut target.no_cache_filter,
                    "platform" => &mut target.platforms,
                    "tags" => &mut target.tags,
                    "ulimits" => &mut target.ulimits,
                    other => unreachable!("{other} stands in the list of keys"),
                };
                if first && !matches!(other, "annotations" | "entitlements") {
                    list.clear();
                }
                if !value.is_empty() {
                    list.push(value);
                }
            }
        }
    }
    Ok(())
}

/// Pushes images that come out; where nothing is said of what comes out, one does.
fn push(target: &mut Target) {
    let yes = ("push".to_owned(), "true".to_owned());
    if target.output.is_empty() {
        target.output.push([("type".to_owned(), "image".to_owned()), yes].into());
        return;
    }
    for output in &mut target.output {
        if output.get("type").is_some_and(|kind| kind == "image" || kind == "registry") {
            output.insert(yes.0.clone(), yes.1.clone());
        }
    }
}

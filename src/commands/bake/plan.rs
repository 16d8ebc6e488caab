//! A target as a build: its attributes are written as the flags of `rbuild build`, which read them.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use rbuild_frontend::bake::options::Entry;
use rbuild_frontend::bake::{HERE, Target};

use crate::cli::build::Arguments;
use crate::commands::build::{self, BuildPlan};
use crate::flags::{self, ContextSource};
use crate::report::Mistake;
use crate::settings::Settings;

/// Flags of a build without the verb before them.
#[derive(Debug, Parser)]
#[command(no_binary_name = true)]
pub(super) struct Flags {
    #[command(flatten)]
    pub(super) arguments: Arguments,
}

/// A folder for Dockerfiles that stand in bake files, and for definitions from elsewhere; it is made when it is needed, and
/// goes with this value.
#[derive(Default)]
pub(super) struct Scratch(std::cell::OnceCell<PathBuf>);

impl Scratch {
    /// Returns the folder.
    pub(super) fn folder(&self) -> anyhow::Result<&Path> {
        if let Some(folder) = self.0.get() {
            return Ok(folder);
        }
        let id = rbuild_store::UniqueId::random().context("failed to name a folder")?;
        let folder = std::env::temp_dir().join(format!("rbuild-bake-{id}"));
        std::fs::create_dir(&folder).with_context(|| format!("failed to make `{}`", folder.display()))?;
        Ok(self.0.get_or_init(|| folder))
    }

    /// Writes a Dockerfile.
    pub(super) fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder()?.join(format!("{name}.Dockerfile"));
        std::fs::write(&path, text).with_context(|| format!("failed to write `{}`", path.display()))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Some(folder) = self.0.get() {
            // What is left of it is in a folder for such.
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// Makes of a target what a build goes by.
pub(super) fn of(target: &Target, scratch: &Scratch, settings: &Settings) -> anyhow::Result<BuildPlan> {
    let flags = flags(target, scratch)?;
    let read = Flags::try_parse_from(&flags).map_err(|error| {
        let text = error.render().to_string();
        let first = text.lines().next().unwrap_or_default();
        Mistake::new(first.strip_prefix("error: ").unwrap_or(first).to_owned())
    })?;
    build::plan(read.arguments, settings)
}

/// Checks attributes that mean something to other programs too, for those who only look at a plan.
pub(super) fn check(target: &Target) -> anyhow::Result<()> {
    let each = |key: &str, values: &[String], read: &dyn Fn(&str) -> Result<(), flags::Invalid>| {
        values.iter().try_for_each(|value| {
            read(value).map_err(|error| Mistake::new(format!("target {}: `{key}`: {error}", target.name)))
        })
    };
    each("annotations", &target.annotations, &|text| flags::annotation(text).map(drop))?;
    each("platforms", &target.platforms, &|text| flags::platforms(text).map(drop))?;
    each("shm-size", target.shm_size.as_slice(), &|text| flags::bytes(text).map(drop))?;
    each("ulimits", &target.ulimits, &|text| flags::ulimit(text).map(drop))?;
    Ok(())
}

/// Whether a context is a folder here.
pub(super) fn folder(place: &str) -> Option<PathBuf> {
    let place = place.strip_prefix(HERE).map_or(place, |rest| if rest.is_empty() { "." } else { rest });
    match flags::context_source(place) {
        ContextSource::Local(folder) => Some(folder),
        _ => None,
    }
}

/// The folder here that a context is read from: the context itself, or the OCI layout that it is in.
pub(super) fn read_from(place: &str) -> Option<PathBuf> {
    match flags::context_source(place) {
        // What cannot be read as a layout is refused later; until then, all of it counts as the path.
        ContextSource::Layout(text) => {
            Some(flags::layout(&text).map_or_else(|_| text.into(), |layout| layout.folder))
        }
        _ => folder(place),
    }
}

/// The path of a target's Dockerfile, where it is a file here that is named.
pub(super) fn dockerfile(target: &Target) -> Option<PathBuf> {
    let path = target.dockerfile.as_deref()?;
    if let Some(path) = path.strip_prefix(HERE) {
        // In full, as it is not in a context elsewhere.
        return Some(std::path::absolute(path).unwrap_or_else(|_| path.into()));
    }
    let folder = folder(target.context.as_deref().unwrap_or("."))?;
    if path == "Dockerfile" || path.contains("://") {
        return None;
    }
    Some(if Path::new(path).is_absolute() { path.into() } else { folder.join(path) })
}

/// Writes the flags of a target.
fn flags(target: &Target, scratch: &Scratch) -> anyhow::Result<Vec<String>> {
    let Target {
        name,
        description: _,
        inherits: _,
        annotations,
        attest,
        context,
        contexts,
        dockerfile: _,
        dockerfile_inline,
        args,
        labels,
        tags,
        cache_from,
        cache_to,
        target: stage,
        secret,
        ssh,
        platforms,
        output,
        pull,
        no_cache,
        network,
        no_cache_filter,
        shm_size,
        ulimits,
        call,
        entitlements,
        extra_hosts,
        emptied: _,
        is_linked: _,
    } = target;
    let mut flags = Vec::new();
    let mut add = |flag: &str, value: &str| flags.push(format!("--{flag}={value}"));
    let shown = |path: &Path| path.display().to_string();
    match (dockerfile_inline, dockerfile(target), &target.dockerfile) {
        (Some(text), ..) => add("file", &shown(&scratch.write(name, text)?)),
        (None, Some(path), _) => add("file", &shown(&path)),
        (None, None, Some(path)) if path != "Dockerfile" => add("file", path),
        (None, None, _) => {}
    }
    for (name, place) in contexts {
        let place = place.strip_prefix(HERE).unwrap_or(place);
        add("build-context", &format!("{name}={}", if place.is_empty() { "." } else { place }));
    }
    for (flag, map, between) in
        [("build-arg", args, "="), ("label", labels, "="), ("add-host", extra_hosts, ":")]
    {
        for (name, value) in map {
            for value in if flag == "add-host" { value.split(',').collect() } else { vec![&**value] } {
                add(flag, &format!("{name}{between}{value}"));
            }
        }
    }
    let listed = [
        ("annotation", annotations),
        ("tag", tags),
        ("platform", platforms),
        ("no-cache-filter", no_cache_filter),
        ("ulimit", ulimits),
        ("allow", entitlements),
    ];
    for (flag, values) in listed {
        values.iter().for_each(|value| add(flag, value));
    }
    for (flag, entries) in [
        ("attest", attest),
        ("cache-from", cache_from),
        ("cache-to", cache_to),
        ("output", output),
        ("secret", secret),
    ] {
        entries.iter().for_each(|entry| add(flag, &record(entry)));
    }
    for agent in ssh {
        let id = agent.get("id").map_or("default", String::as_str);
        let paths = agent.get("paths").map(|paths| format!("={paths}")).unwrap_or_default();
        add("ssh", &format!("{id}{paths}"));
    }
    let single = [("target", stage), ("network", network), ("shm-size", shm_size), ("call", call)];
    for (flag, value) in single {
        if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
            add(flag, value);
        }
    }
    for (flag, asked) in [("pull", pull), ("no-cache", no_cache)] {
        if *asked == Some(true) {
            flags.push(format!("--{flag}"));
        }
    }
    let place = context.as_deref().unwrap_or(".");
    flags.push("--".to_owned());
    flags.push(folder(place).map_or_else(|| place.to_owned(), |folder| shown(&folder)));
    Ok(flags)
}

/// Writes an option as a record of CSV, its type first.
fn record(entry: &Entry) -> String {
    let (first, rest): (Vec<_>, Vec<_>) = entry.iter().partition(|(key, _)| *key == "type");
    let field = |(key, value): &(&String, &String)| {
        let field = format!("{key}={value}");
        if field.contains([',', '"', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field }
    };
    first.iter().chain(&rest).map(field).collect::<Vec<_>>().join(",")
}

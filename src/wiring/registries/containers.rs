//! What `registries.conf` of podman, skopeo and buildah says.
//!
//! Whole registries are read, with their mirrors and where they lie. What is said of a single repository, or leads to a
//! folder of another registry, is not what a registry is asked by here: mirrors of that kind are left, as the registry
//! itself has what they have; what lies there *instead* is not asked for at all, as others may answer by its name.

use std::path::{Path, PathBuf};

use rbuild_image::distribution::registry_name;
use serde::Deserialize;

use super::others_file;
use crate::report::Mistake;
use crate::settings::Settings;

/// A file: of the second version, or of the first one.
#[derive(Debug, Default, Deserialize)]
struct File {
    registry: Option<Vec<Entry>>,
    registries: Option<First>,
}

#[derive(Debug, Default, Deserialize)]
struct Entry {
    prefix: Option<String>,
    location: Option<String>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror: Vec<Mirror>,
}

#[derive(Debug, Deserialize)]
struct Mirror {
    location: String,
    #[serde(default)]
    insecure: bool,
}

/// What a file of the first version says.
#[derive(Debug, Default, Deserialize)]
struct First {
    #[serde(default)]
    insecure: Names,
    #[serde(default)]
    block: Names,
}

#[derive(Debug, Default, Deserialize)]
struct Names {
    #[serde(default)]
    registries: Vec<String>,
}

/// What a file says of a registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    /// The registry; of what is blocked or lies elsewhere, also a repository, or `*.` and a domain.
    pub(super) name: String,
    /// Whether it is spoken to in plain HTTP.
    pub(super) insecure: bool,
    /// Whether nothing comes from there.
    pub(super) blocked: bool,
    /// Who is asked first, as endpoints.
    pub(super) mirrors: Vec<String>,
    /// Where its repositories are.
    pub(super) lies: Lies,
}

/// Where the repositories of a registry are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Lies {
    /// Where its name says.
    #[default]
    Here,
    /// At another server, and nowhere else: an endpoint.
    At(String),
    /// In a folder of another registry, or only some of them somewhere else: that is not followed.
    NotFollowed,
}

/// Reads the text of a file; one that says nothing that can be understood may block something, and is refused.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Said>, Mistake> {
    const WAY_OUT: &str = "mend the file, or name another one in CONTAINERS_REGISTRIES_CONF";
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Mistake::new(format!("`{}`, line {line}: {}", path.display(), error.message())).hint(WAY_OUT)
    })?;
    match file {
        File { registry: Some(_), registries: Some(_) } => {
            let told = format!(
                "`{}` mixes `[registries...]` of version 1 and `[[registry]]` of version 2",
                path.display()
            );
            Err(Mistake::new(told).hint(WAY_OUT))
        }
        File { registries: Some(first), .. } => Ok(first.said()),
        File { registry, .. } => {
            Ok(registry.unwrap_or_default().into_iter().filter_map(Entry::said).collect())
        }
    }
}

impl First {
    fn said(self) -> Vec<Said> {
        let insecure =
            self.insecure.registries.into_iter().map(|name| Said { name, insecure: true, ..Said::default() });
        let blocked =
            self.block.registries.into_iter().map(|name| Said { name, blocked: true, ..Said::default() });
        insecure.chain(blocked).collect()
    }
}

impl Entry {
    fn said(self) -> Option<Said> {
        let Self { prefix, location, insecure, blocked, mirror } = self;
        let named = [&prefix, &location].into_iter().flatten().find(|name| !name.is_empty());
        let name = named.cloned()?;
        let location = location.filter(|location| !location.is_empty());
        let location = location.filter(|location| !same(location, &name));
        let endpoint = |location: &str, insecure: bool| {
            let scheme = if insecure { "http" } else { "https" };
            (!location.contains('/')).then(|| format!("{scheme}://{location}"))
        };
        let whole = !name.contains('/') && !name.starts_with("*.");
        let lies = match location {
            None => Lies::Here,
            Some(location) if whole => endpoint(&location, insecure).map_or(Lies::NotFollowed, Lies::At),
            Some(_) => Lies::NotFollowed,
        };
        let mirrors = mirror.iter().filter(|_| whole);
        let mirrors = mirrors.filter_map(|mirror| endpoint(&mirror.location, mirror.insecure)).collect();
        let insecure = insecure && !name.contains('/');
        (whole || insecure || blocked || lies != Lies::Here).then_some(Said {
            name,
            insecure,
            blocked,
            mirrors,
            lies,
        })
    }
}

/// Whether two names are those of one place.
fn same(one: &str, other: &str) -> bool {
    let place = |name: &str| match name.split_once('/') {
        Some((registry, path)) => (registry_name(registry), path.to_owned()),
        None => (registry_name(name), String::new()),
    };
    place(one) == place(other)
}

/// Reads the files of the machine and of the user; what comes later counts more.
pub(super) fn read(settings: &Settings) -> anyhow::Result<Vec<Said>> {
    let own = settings
        .environment
        .path("XDG_CONFIG_HOME")
        .or_else(|| settings.environment.path("HOME").map(|home| home.join(".config")))
        .map(|folder| folder.join("containers"));
    let own_file = own.as_ref().map(|folder| folder.join("registries.conf")).filter(|path| path.is_file());
    let main = settings
        .environment
        .path("CONTAINERS_REGISTRIES_CONF")
        .or(own_file)
        .unwrap_or_else(|| PathBuf::from("/etc/containers/registries.conf"));
    let mut files = vec![main];
    for folder in [Some(PathBuf::from("/etc/containers")), own].into_iter().flatten() {
        let entries = std::fs::read_dir(folder.join("registries.conf.d")).into_iter().flatten().flatten();
        let mut more: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        more.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        more.sort();
        files.extend(more);
    }
    let mut said = Vec::new();
    for path in files {
        if let Some(text) = others_file(&path)? {
            said.extend(parse(&path, &text)?);
        }
    }
    Ok(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_registries_and_what_is_blocked_are_read() {
        let text = r#"
            unqualified-search-registries = ["docker.io"]
            [[registry]]
            location = "docker.io"
            [[registry.mirror]]
            location = "mirror.corp:5000"
            insecure = true
            [[registry.mirror]]
            location = "proxy.corp/hub"
            [[registry]]
            prefix = "old.corp"
            location = "new.corp"
            [[registry]]
            prefix = "quay.io/evil"
            blocked = true
            [[registry]]
            location = "plain.corp"
            insecure = true
            [[registry]]
            prefix = "quay.io/some"
            location = "other.io/some"
            [[registry]]
            prefix = "whole.corp"
            location = "other.io/whole"
            [[registry]]
            prefix = "*.lab.corp"
            insecure = true
        "#;
        let said = |name: &str, insecure, blocked, mirrors: &[&str], lies| Said {
            name: name.into(),
            insecure,
            blocked,
            mirrors: mirrors.iter().map(|mirror| (*mirror).to_owned()).collect(),
            lies,
        };
        let at = |endpoint: &str| Lies::At(endpoint.to_owned());
        assert_eq!(
            parse(Path::new("r.conf"), text).unwrap(),
            [
                said("docker.io", false, false, &["http://mirror.corp:5000"], Lies::Here),
                said("old.corp", false, false, &[], at("https://new.corp")),
                said("quay.io/evil", false, true, &[], Lies::Here),
                said("plain.corp", true, false, &[], Lies::Here),
                said("quay.io/some", false, false, &[], Lies::NotFollowed),
                said("whole.corp", false, false, &[], Lies::NotFollowed),
                said("*.lab.corp", true, false, &[], Lies::Here),
            ]
        );
        let unnamed = "[[registry]]\nprefix = ''\nlocation = 'evil.io'\nblocked = true\n";
        assert_eq!(
            parse(Path::new("r.conf"), unnamed).unwrap(),
            [said("evil.io", false, true, &[], Lies::Here)]
        );
    }

    #[test]
    fn a_file_of_the_first_version_blocks_what_it_says() {
        let text = r#"
            [registries.search]
            registries = ["docker.io"]
            [registries.insecure]
            registries = ["plain.corp:5000"]
            [registries.block]
            registries = ["evil.io"]
        "#;
        let said = |name: &str, insecure| Said {
            name: name.into(),
            insecure,
            blocked: !insecure,
            ..Said::default()
        };
        let read = parse(Path::new("r.conf"), text).unwrap();
        assert_eq!(read, [said("plain.corp:5000", true), said("evil.io", false)]);
        let mixed = format!("{text}[[registry]]\nlocation = 'a.io'\n");
        let refused = parse(Path::new("r.conf"), &mixed).unwrap_err().to_string();
        assert!(refused.contains("mixes"), "{refused}");
    }

    #[test]
    fn a_file_that_is_none_blocks_the_work_and_not_nothing() {
        let text = "[[registry]]\nlocation = 'evil.io'\nblocked = 'yes'\n";
        for (text, place) in [(text, "`r.conf`, line 3: "), ("registry = 1", "`r.conf`, line 1: ")] {
            let refused = parse(Path::new("r.conf"), text).unwrap_err().to_string();
            assert!(refused.starts_with(place), "{refused}");
        }
    }
}

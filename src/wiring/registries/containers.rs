//! What `registries.conf` of podman, skopeo and buildah says.
//!
//! Whole registries are read, with their mirrors; what is said of a single repository, or leads to a folder of another
//! registry, is not what a registry is asked by here, and left.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::others_file;
use crate::report::Mistake;
use crate::settings::Settings;

/// A file.
#[derive(Debug, Default, Deserialize)]
struct File {
    #[serde(default)]
    registry: Vec<Entry>,
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

/// What a file says of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    /// The registry; of what is blocked, also a repository, or `*.` and a domain.
    pub(super) name: String,
    /// Whether it is spoken to in plain HTTP.
    pub(super) insecure: bool,
    /// Whether nothing comes from there.
    pub(super) blocked: bool,
    /// Who is asked first, as endpoints.
    pub(super) mirrors: Vec<String>,
}

/// Reads the text of a file; one that says nothing that can be understood may block something, and is refused.
pub(super) fn parse(path: &Path, text: &str) -> Result<Vec<Said>, Mistake> {
    let file: File = toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        Mistake::new(format!("`{}`, line {line}: {}", path.display(), error.message()))
            .hint("mend the file, or name another one in CONTAINERS_REGISTRIES_CONF")
    })?;
    let mut said = Vec::new();
    for entry in file.registry {
        let named = [&entry.prefix, &entry.location].into_iter().flatten().find(|name| !name.is_empty());
        let Some(name) = named.cloned() else {
            continue;
        };
        let whole = !name.contains('/') && !name.starts_with("*.");
        let mut mirrors: Vec<String> = Vec::new();
        if whole {
            // Where the registry lies elsewhere, that place is asked first.
            let elsewhere = entry.location.filter(|location| *location != name);
            let elsewhere = elsewhere.map(|location| Mirror { location, insecure: entry.insecure });
            let all = entry.mirror.into_iter().chain(elsewhere);
            mirrors.extend(all.filter(|mirror| !mirror.location.contains('/')).map(|mirror| {
                let scheme = if mirror.insecure { "http" } else { "https" };
                format!("{scheme}://{}", mirror.location)
            }));
        }
        if whole || entry.blocked {
            said.push(Said { name, insecure: entry.insecure, blocked: entry.blocked, mirrors });
        }
    }
    Ok(said)
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
        "#;
        let said = |name: &str, insecure, blocked, mirrors: &[&str]| Said {
            name: name.into(),
            insecure,
            blocked,
            mirrors: mirrors.iter().map(|mirror| (*mirror).to_owned()).collect(),
        };
        assert_eq!(
            parse(Path::new("r.conf"), text).unwrap(),
            [
                said("docker.io", false, false, &["http://mirror.corp:5000"]),
                said("old.corp", false, false, &["https://new.corp"]),
                said("quay.io/evil", false, true, &[]),
                said("plain.corp", true, false, &[]),
            ]
        );
        let unnamed = "[[registry]]\nprefix = ''\nlocation = 'evil.io'\nblocked = true\n";
        assert_eq!(parse(Path::new("r.conf"), unnamed).unwrap(), [said("evil.io", false, true, &[])]);
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

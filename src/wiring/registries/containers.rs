//! What `registries.conf` of podman, skopeo and buildah says.
//!
//! Whole registries are read, with their mirrors; what is said of a single repository, or leads to a folder of another
//! registry, is not what a registry is asked by here, and left.

use std::path::PathBuf;

use serde::Deserialize;

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

/// Reads the text of a file.
pub(super) fn parse(text: &str) -> Vec<Said> {
    let file: File = toml::from_str(text).unwrap_or_default();
    let mut said = Vec::new();
    for entry in file.registry {
        let Some(name) =
            entry.prefix.clone().or_else(|| entry.location.clone()).filter(|name| !name.is_empty())
        else {
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
    said
}

/// Reads the files of the machine and of the user; what comes later counts more.
pub(super) fn read(settings: &Settings) -> Vec<Said> {
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
    files.iter().filter_map(|path| std::fs::read_to_string(path).ok()).flat_map(|text| parse(&text)).collect()
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
            parse(text),
            [
                said("docker.io", false, false, &["http://mirror.corp:5000"]),
                said("old.corp", false, false, &["https://new.corp"]),
                said("quay.io/evil", false, true, &[]),
                said("plain.corp", true, false, &[]),
            ]
        );
        assert_eq!(parse("registry = 1"), []);
    }
}

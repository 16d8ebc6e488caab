//! What Docker's `daemon.json` says of registries.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use super::others_file;
use crate::settings::Settings;

/// The part of the file that is about registries.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Daemon {
    /// Mirrors of Docker Hub.
    #[serde(default, rename = "registry-mirrors")]
    pub(super) mirrors: Vec<String>,
    /// Hosts and ranges of addresses that are spoken to in plain HTTP.
    #[serde(default, rename = "insecure-registries")]
    pub(super) insecure: Vec<String>,
}

impl Daemon {
    /// Reads the text of the file: an empty one says nothing, and one that is not what Docker reads is refused, as Docker
    /// does.
    pub(super) fn parse(text: &str) -> serde_json::Result<Self> {
        if text.trim().is_empty() { Ok(Self::default()) } else { serde_json::from_str(text) }
    }

    /// Reads the file of the machine, or of the user.
    pub(super) fn read(settings: &Settings) -> anyhow::Result<Self> {
        let own = settings.environment.path("HOME").map(|home| home.join(".config/docker/daemon.json"));
        let machine = PathBuf::from("/etc/docker/daemon.json");
        let place = if rustix::process::geteuid().is_root() { Some(machine) } else { own };
        place.map_or_else(|| Ok(Self::default()), |path| Self::at(&path))
    }

    fn at(path: &Path) -> anyhow::Result<Self> {
        let text = others_file(path)?.unwrap_or_default();
        Self::parse(&text).with_context(|| format!("failed to read `{}`", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_and_insecure_hosts_are_read_and_the_rest_is_left() {
        let daemon = Daemon::parse(
            r#"{"registry-mirrors":["https://mirror.gcr.io"],"insecure-registries":["10.0.0.0/8","r:5000"],"debug":true}"#,
        )
        .unwrap();
        assert_eq!(daemon.mirrors, ["https://mirror.gcr.io"]);
        assert_eq!(daemon.insecure, ["10.0.0.0/8", "r:5000"]);
        assert_eq!(Daemon::parse("\n").unwrap(), Daemon::default());
    }

    #[test]
    fn a_file_that_is_none_is_refused_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("daemon.json");
        assert_eq!(Daemon::at(&path).unwrap(), Daemon::default());
        std::fs::write(&path, "{").unwrap();
        let refused = Daemon::at(&path).unwrap_err().to_string();
        assert!(refused.contains("daemon.json"), "{refused}");
    }
}

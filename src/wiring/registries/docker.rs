//! What Docker's `daemon.json` says of registries.

use std::path::PathBuf;

use serde::Deserialize;

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
    /// Reads the text of the file; one that is not what Docker reads says nothing.
    pub(super) fn parse(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_default()
    }

    /// Reads the file of the machine, or of the user.
    pub(super) fn read(settings: &Settings) -> Self {
        let own = settings.environment.path("HOME").map(|home| home.join(".config/docker/daemon.json"));
        let machine = PathBuf::from("/etc/docker/daemon.json");
        let places =
            if rustix::process::geteuid().is_root() { vec![machine] } else { own.into_iter().collect() };
        let text = places.iter().find_map(|path| std::fs::read_to_string(path).ok());
        text.map(|text| Self::parse(&text)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mirrors_and_insecure_hosts_are_read_and_the_rest_is_left() {
        let daemon = Daemon::parse(
            r#"{"registry-mirrors":["https://mirror.gcr.io"],"insecure-registries":["10.0.0.0/8","r:5000"],"debug":true}"#,
        );
        assert_eq!(daemon.mirrors, ["https://mirror.gcr.io"]);
        assert_eq!(daemon.insecure, ["10.0.0.0/8", "r:5000"]);
        assert_eq!(Daemon::parse("{"), Daemon::default());
    }
}

//! Configs and secrets: where their content comes from, and where it is put.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A config or a secret of the project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileObject {
    /// The name on the machine.
    pub name: String,
    /// Where the content comes from.
    pub source: FileSource,
    /// Labels of the user.
    pub labels: BTreeMap<String, String>,
    /// The driver that provides it.
    pub driver: Option<String>,
    /// Options of the driver, as they were given.
    pub driver_opts: BTreeMap<String, String>,
    /// The driver that fills in its templates.
    pub template_driver: Option<String>,
}

/// Where the content of a config or a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSource {
    /// A file of the host.
    File(PathBuf),
    /// A variable of the project's environment.
    Environment(String),
    /// What stands in the compose file.
    Content(String),
    /// Somebody else.
    External,
    /// A driver.
    Driver,
}

/// A config or a secret that a service is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileGrant<Key> {
    /// Which one.
    pub source: Key,
    /// Where it is put; the place that the kind has by default if `None`.
    pub target: Option<String>,
    /// Whom it belongs to.
    pub uid: Option<String>,
    /// Whose group it belongs to.
    pub gid: Option<String>,
    /// The mode of the file.
    pub mode: Option<u32>,
}

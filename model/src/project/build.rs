//! How a service's image is built.

use std::collections::BTreeMap;

use super::files::FileGrant;
use super::names::{SecretKey, ServiceName};
use super::resources::{Bytes, Ulimit};

/// The `build` section of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Build {
    /// The folder or address of the context.
    pub context: String,
    /// The Dockerfile.
    pub dockerfile: Dockerfile,
    /// Build arguments.
    pub args: BTreeMap<String, String>,
    /// Further contexts by name.
    pub additional_contexts: BTreeMap<String, AdditionalContext>,
    /// The stage, the last if `None`.
    pub target: Option<String>,
    /// Where cached steps come from.
    pub cache_from: Vec<String>,
    /// Where cached steps go to.
    pub cache_to: Vec<String>,
    /// Whether earlier results are left out.
    pub no_cache: bool,
    /// The stages for which they are.
    pub no_cache_filter: Vec<String>,
    /// Whether base images are fetched again.
    pub pull: bool,
    /// The network of its steps.
    pub network: Option<String>,
    /// SSH agents and keys.
    pub ssh: Vec<BuildSsh>,
    /// Secrets for its steps.
    pub secrets: Vec<FileGrant<SecretKey>>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Further names of the image.
    pub tags: Vec<String>,
    /// The platforms to build for.
    pub platforms: Vec<String>,
    /// Whether steps have all rights.
    pub privileged: bool,
    /// What steps may be allowed.
    pub entitlements: Vec<String>,
    /// The size of `/dev/shm` in steps.
    pub shm_size: Option<Bytes>,
    /// Limits of steps.
    pub ulimits: BTreeMap<String, Ulimit>,
    /// Lines of `/etc/hosts` in steps: a name and its addresses.
    pub extra_hosts: BTreeMap<String, Vec<String>>,
    /// The isolation on Windows.
    pub isolation: Option<String>,
    /// The provenance that is attached (`true`, `mode=max`).
    pub provenance: Option<String>,
    /// The bill of materials that is attached.
    pub sbom: Option<String>,
}

/// A Dockerfile: a file or a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dockerfile {
    /// A path below the context, or an absolute one.
    Path(String),
    /// What stands in the compose file.
    Inline(String),
}

impl Default for Dockerfile {
    fn default() -> Self {
        Self::Path("Dockerfile".to_owned())
    }
}

/// A further context.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdditionalContext {
    /// The image of another service.
    Service(ServiceName),
    /// A folder or an address.
    Place(String),
}

/// An SSH agent or keys for a build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BuildSsh {
    /// What mounts call it.
    pub id: String,
    /// A socket or keys; the caller's agent if `None`.
    pub path: Option<String>,
}

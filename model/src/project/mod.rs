//! A compose project, loaded: what a planner compares with what runs.
//!
//! Everything short is spelled out here, every path is absolute, every default that the format has is filled in, and
//! what a file could say in two ways is said in one. What the format leaves to the engine stays `None`.
//!
//! ```text
//! Project ── services ── Service ── build, deploy, health check, hooks, watch rules
//!    │                      └─ refers by key to ─┐
//!    ├── networks, volumes, configs, secrets, models
//!    └── disabled: services whose profiles are off
//! ```

mod build;
mod deploy;
mod develop;
mod files;
mod named;
mod names;
mod network;
mod ports;
mod resources;
mod service;
mod volume;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use build::{AdditionalContext, Build, BuildSsh, Dockerfile};
pub use deploy::{
    Deploy, DeviceCount, DeviceRequest, GenericResource, Order, Placement, Reservations, ResourceLimits,
    RestartPolicy, UpdateConfig,
};
pub use develop::{WatchAction, WatchRule};
pub use files::{FileGrant, FileObject, FileSource};
pub use names::{ConfigKey, ModelKey, NameError, NetworkKey, ProjectName, SecretKey, ServiceName, VolumeKey};
pub use network::{Attachment, Ipam, IpamPool, Network};
pub use ports::{Port, PortRange, Protocol};
pub use resources::{BlockIo, Bytes, Cpus, DeviceRate, DeviceWeight, Limit, Ulimit};
pub use service::{
    CgroupNamespace, Condition, CredentialSpec, Dependency, Device, HealthCheck, HealthTest, Hook, Link,
    Logging, ModelUse, Namespace, NetworkMode, PreStart, Provider, PullPolicy, Restart, Service, VolumesFrom,
};
pub use volume::{Bind, Mount, MountKind, Propagation, Recursive, SeLinux, Volume};

/// A project: services and what they use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Project {
    /// The name that everything of the project bears.
    pub name: ProjectName,
    /// What stands between the parts of the names of its containers and images.
    pub separator: char,
    /// The folder that relative paths began at.
    pub directory: PathBuf,
    /// The files it was read from, the first file first; standard input is `-`.
    pub files: Vec<PathBuf>,
    /// The env files named on the command line.
    pub env_files: Vec<PathBuf>,
    /// The services that are enabled and selected.
    pub services: BTreeMap<ServiceName, Service>,
    /// The services that are there and not enabled, or not selected.
    pub disabled: BTreeMap<ServiceName, Service>,
    /// The networks in use.
    pub networks: BTreeMap<NetworkKey, Network>,
    /// The named volumes in use.
    pub volumes: BTreeMap<VolumeKey, Volume>,
    /// The configs in use.
    pub configs: BTreeMap<ConfigKey, FileObject>,
    /// The secrets in use.
    pub secrets: BTreeMap<SecretKey, FileObject>,
    /// The models in use.
    pub models: BTreeMap<ModelKey, Model>,
    /// The variables that the files were read with.
    pub environment: BTreeMap<String, String>,
}

impl Project {
    /// What stands between the parts of names, but for those who are used to the first compose.
    pub const SEPARATOR: char = '-';

    /// Means a project of which nothing is known but its name.
    pub fn named(name: ProjectName) -> Self {
        Self {
            name,
            separator: Self::SEPARATOR,
            directory: PathBuf::new(),
            files: Vec::new(),
            env_files: Vec::new(),
            services: BTreeMap::new(),
            disabled: BTreeMap::new(),
            networks: BTreeMap::new(),
            volumes: BTreeMap::new(),
            configs: BTreeMap::new(),
            secrets: BTreeMap::new(),
            models: BTreeMap::new(),
            environment: BTreeMap::new(),
        }
    }
}

/// A language model that services are given the address of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// Its name for the runner, if it was given one.
    pub name: Option<String>,
    /// Which model it is.
    pub model: String,
    /// The size of its context in tokens.
    pub context_size: Option<u64>,
    /// Flags for the runner.
    pub runtime_flags: Vec<String>,
}

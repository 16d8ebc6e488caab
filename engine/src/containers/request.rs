//! What a new container is asked to be.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_images::PullPolicy;
use rbuild_model::container::{
    Begins, BindRecursion, FirstProbe, HostOptions, MissingSource, MountAsked, Propagation, Signal, Streams,
    TmpfsUse,
};
use rbuild_model::image_config::Healthcheck;
use rbuild_model::platform::Platform;

use super::given::GivenFile;

/// A container to make.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    /// The image: a name, an id or the beginning of one.
    pub image: String,
    /// When a registry is asked for it.
    pub pull: PullPolicy,
    /// The platform that the image should be for.
    pub platform: Platform,
    /// The container's name; a fresh one if nothing is said.
    pub name: Option<String>,
    /// What replaces the image's `Entrypoint`; `Some` of nothing takes it away.
    pub entrypoint: Option<Vec<String>>,
    /// What replaces the image's `Cmd`; empty for nothing.
    pub command: Vec<String>,
    /// Variables besides the image's, `NAME=value`; only a name takes the image's away.
    pub env: Vec<String>,
    /// What replaces the image's working folder.
    pub workdir: Option<String>,
    /// What replaces the image's user.
    pub user: Option<String>,
    /// The host name; the beginning of the container's id if nothing is said.
    pub hostname: Option<String>,
    /// The NIS domain name.
    pub domainname: Option<String>,
    /// Labels besides the image's.
    pub labels: BTreeMap<String, String>,
    /// Ports that it listens on besides the image's.
    pub exposed: BTreeSet<String>,
    /// What replaces the image's health check; a test of `NONE` turns it off, what is zero in it is inherited.
    pub health: Option<Healthcheck>,
    /// What replaces the image's stop signal.
    pub stop_signal: Option<Signal>,
    /// How long it is waited for when it is stopped, in seconds; -1 for ever.
    pub stop_timeout: Option<i64>,
    /// How its standard streams are kept.
    pub streams: Streams,
    /// What it sees besides its root, in order.
    pub mounts: Vec<MountRequest>,
    /// Containers whose mounts it has too: `NAME[:ro|rw]`.
    pub volumes_from: Vec<String>,
    /// Files that it has from its beginning: nobody starts it without them.
    pub files: Vec<GivenFile>,
    /// When its health is asked for the first time.
    pub first_probe: FirstProbe,
    /// What a person wrote that it is made of; kept as it is.
    pub origin: Option<serde_json::Value>,
    /// What it has of the machine; its mounts are filled in.
    pub host: HostOptions,
}

/// Something that a container is to see besides its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountRequest {
    /// Where: an absolute path.
    pub target: String,
    /// Whether nothing in it can be changed.
    pub access: rbuild_sandbox::Access,
    /// What.
    pub kind: MountKind,
    /// How it is asked for, for those who look at the container.
    pub asked: MountAsked,
}

/// What a container is to see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A file or folder of the host.
    Bind {
        /// Its absolute path.
        source: std::path::PathBuf,
        /// What happens if there is nothing.
        missing: MissingSource,
        /// Which of the mounts below it come along.
        recursion: BindRecursion,
        /// How mounts made later spread.
        propagation: Propagation,
    },
    /// A volume, made at need.
    Volume {
        /// Its name; `None` for one that goes with the container.
        name: Option<String>,
        /// What a new one begins with.
        begins: Begins,
        /// The folder of it that is seen.
        subpath: Option<String>,
        /// Who keeps it; `None` for the default.
        driver: Option<String>,
        /// Options of its driver.
        options: BTreeMap<String, String>,
        /// Its labels.
        labels: BTreeMap<String, String>,
    },
    /// A folder in memory.
    Tmpfs(TmpfsUse),
    /// The root of an image, read-only.
    Image {
        /// Its name or id.
        reference: String,
        /// The folder of it that is seen.
        subpath: Option<String>,
    },
}

impl CreateRequest {
    /// Means the image's own program with defaults for all else.
    pub fn new(image: impl Into<String>) -> Self {
        Self {
            image: image.into(),
            pull: PullPolicy::Missing,
            platform: Platform::host(),
            name: None,
            entrypoint: None,
            command: Vec::new(),
            env: Vec::new(),
            workdir: None,
            user: None,
            hostname: None,
            domainname: None,
            labels: BTreeMap::new(),
            exposed: BTreeSet::new(),
            health: None,
            stop_signal: None,
            stop_timeout: None,
            streams: Streams::default(),
            mounts: Vec::new(),
            volumes_from: Vec::new(),
            files: Vec::new(),
            first_probe: FirstProbe::default(),
            origin: None,
            host: HostOptions::default(),
        }
    }
}

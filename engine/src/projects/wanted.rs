//! What a person asks of a project, besides the project itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rbuild_model::container::FirstProbe;
use rbuild_model::project::{NetworkKey, ServiceName, VolumeKey};

use super::content::Contents;

/// What `up`, `create`, `scale` and `run` are asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// The services that were named; all of them if empty.
    pub targets: BTreeSet<ServiceName>,
    /// Whether what they depend on is looked after too.
    pub dependencies: Dependencies,
    /// What makes a container of a target come anew.
    pub recreate: Recreate,
    /// What makes a container of a dependency come anew.
    pub recreate_dependencies: Recreate,
    /// The service of which one container more is about to be run: what it needs is looked after, and its own containers
    /// are left as they are.
    pub one_off: Option<ServiceName>,
    /// How many containers, where the command line says.
    pub scale: BTreeMap<ServiceName, u64>,
    /// Whether containers are started.
    pub starting: Starting,
    /// What becomes of containers whose services are gone.
    pub orphans: Orphans,
    /// What a container that comes anew keeps of the old one.
    pub anonymous: AnonymousVolumes,
    /// Which of the two goes first where a container comes anew.
    pub order: Order,
    /// What becomes of volumes that are defined otherwise now.
    pub changed_volumes: ChangedVolumes,
    /// Whether containers come anew when the files that they were given hold something else.
    pub changed_contents: ChangedContents,
    /// How long containers are waited for when they are stopped; their own time if `None`.
    pub timeout: Option<Duration>,
    /// When containers that are made are asked for their health for the first time.
    pub first_probe: FirstProbe,
    /// What the services come to at this moment.
    pub desired: BTreeMap<ServiceName, Desired>,
    /// The hashes of the networks' definitions.
    pub network_hashes: BTreeMap<NetworkKey, String>,
    /// The hashes of the volumes' definitions.
    pub volume_hashes: BTreeMap<VolumeKey, String>,
}

impl Wanted {
    /// What is left to be wanted of what another command has made meanwhile: that it is there and runs, as it is.
    #[must_use]
    pub fn as_it_is(&self) -> Self {
        Self {
            recreate: Recreate::Never,
            recreate_dependencies: Recreate::Never,
            orphans: Orphans::Ignore,
            anonymous: AnonymousVolumes::Keep,
            order: Order::StopFirst,
            changed_volumes: ChangedVolumes::Keep,
            changed_contents: ChangedContents::Keep,
            network_hashes: BTreeMap::new(),
            volume_hashes: BTreeMap::new(),
            ..self.clone()
        }
    }
}

/// What a service comes to at this moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// The image that its name stands for now.
    pub image: String,
    /// The images that it mounts, by target; nothing where they are not all known.
    pub mounted: Option<BTreeMap<String, String>>,
    /// The service in canonical form.
    pub config: serde_json::Value,
    /// What is in the files that its containers are given, where it is asked whether that has changed.
    pub contents: Option<Contents>,
}

/// Whether what targets depend on is looked after too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dependencies {
    /// It is.
    #[default]
    Included,
    /// It is left as it is (`--no-deps`).
    LeftAlone,
}

/// What makes a container come anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recreate {
    /// It is no longer what the project says.
    #[default]
    Diverged,
    /// Nothing has to be different.
    Always,
    /// Nothing does.
    Never,
}

/// Whether containers are started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Starting {
    /// They are.
    #[default]
    Start,
    /// They are made only (`create`, `up --no-start`).
    CreateOnly,
}

/// What becomes of containers whose services are gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Orphans {
    /// A warning names them.
    #[default]
    Warn,
    /// Nothing, not even that.
    Ignore,
    /// They are removed.
    Remove,
}

/// Which of the two goes first where a container comes anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// The old one is stopped before the new one starts.
    #[default]
    StopFirst,
    /// The new one is ready before the old one is stopped, where both can be up at the same time.
    StartFirst,
}

/// What a container that comes anew keeps of the old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AnonymousVolumes {
    /// The volumes without a name in the project.
    #[default]
    Keep,
    /// Nothing (`--renew-anon-volumes`).
    Renew,
}

/// What becomes of volumes that are defined otherwise now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangedVolumes {
    /// They stay as they are: what is in them is worth more.
    #[default]
    Keep,
    /// They are made anew, and what is in them is lost.
    Replace,
}

/// Whether containers come anew when the files that they were given hold something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangedContents {
    /// They stay as they are.
    #[default]
    Keep,
    /// They do.
    Recreate,
}

//! What there is of a project, looked up once before anything is planned.

use std::collections::{BTreeMap, BTreeSet};

use rbuild_model::container::ContainerId;
use rbuild_model::project::{NetworkKey, VolumeKey};

/// Everything that bears the project's label, or a name that the project wants.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// The project's containers, those of services it no longer has among them.
    pub replicas: Vec<Replica>,
    /// The networks that exist under the names of the project's networks.
    pub networks: BTreeMap<NetworkKey, Found>,
    /// The volumes that exist under the names of the project's volumes.
    pub volumes: BTreeMap<VolumeKey, Found>,
}

/// A container of the project.
#[derive(Clone, Debug, PartialEq)]
pub struct Replica {
    /// Its id.
    pub id: ContainerId,
    /// Its name on the machine.
    pub name: String,
    /// The service that its label names; the project need not have it any more.
    pub service: String,
    /// Its number in the service, from 1.
    pub number: u64,
    /// Whether `up` counts it.
    pub kind: ReplicaKind,
    /// What it does.
    pub activity: Activity,
    /// The hash of the service that it was made from.
    pub config_hash: String,
    /// The service that it was made from, in canonical form, where that is known: it tells what changed.
    pub config: Option<serde_json::Value>,
    /// The image that it was made from, as its label has it.
    pub image: String,
    /// The images that it mounts, by target.
    pub mounted: BTreeMap<String, String>,
    /// The names of the networks that it is attached to.
    pub networks: BTreeSet<String>,
    /// The names of the volumes that it mounts.
    pub volumes: BTreeSet<String>,
    /// The containers that it shares namespaces or mounts with.
    pub shares: BTreeSet<ContainerId>,
}

/// Whether `up` counts a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaKind {
    /// One of the service's containers.
    Numbered,
    /// Made by `run`.
    OneOff,
    /// Runs before the service starts; its number is where it stands among those.
    PreStart,
}

/// What a container does, as far as planning goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It was never started.
    Created,
    /// It runs.
    Running,
    /// It runs, and somebody told it to stop: its program has time to end.
    Stopping,
    /// It is frozen.
    Paused,
    /// It has ended and is about to be started again by its policy.
    Restarting,
    /// It has ended.
    Exited,
    /// It can be neither started nor used.
    Dead,
}

impl Activity {
    /// Whether there is a process that nobody asked to end, or soon is.
    pub(super) const fn goes_on(self) -> bool {
        matches!(self, Self::Running | Self::Paused | Self::Restarting)
    }

    /// Whether there is a process, or soon is.
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Running | Self::Stopping | Self::Paused | Self::Restarting)
    }
}

/// A network or volume that exists under a name the project wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a network or volume is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This project's, made from a definition with this hash.
    Ours {
        /// The hash.
        hash: String,
    },
    /// Another project's.
    Other {
        /// Its name.
        project: String,
    },
    /// Nobody's: no project made it.
    Nobody,
}

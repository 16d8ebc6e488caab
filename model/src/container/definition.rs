//! Everything that makes a container again.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{ContainerId, ContainerName, HealthCheck, HostOptions, Signal};
use crate::digest::ImageId;
use crate::image_config::Healthcheck;
use crate::platform::Platform;
use crate::snapshot::{Chain, SnapshotId};

/// The version of the form of a [`Definition`].
pub const DEFINITION_VERSION: u32 = 1;

/// What a container was asked to be, with what its image says filled in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Definition {
    /// The version of this form.
    pub version: u32,
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: ContainerName,
    /// When it was made.
    pub created: Timestamp,
    /// What it is made of.
    pub image: ImageUse,
    /// The snapshot that holds what it writes.
    pub writes: SnapshotId,
    /// What it runs.
    pub program: Program,
    /// How its standard streams are kept.
    pub streams: Streams,
    /// Its host name; `None` for the beginning of its id, or the host's own where it shares that.
    pub hostname: Option<String>,
    /// Its NIS domain name.
    pub domainname: Option<String>,
    /// Its labels, those of the image among them.
    pub labels: BTreeMap<String, String>,
    /// Ports that it listens on (`80/tcp`), those of the image among them.
    pub exposed: BTreeSet<String>,
    /// Paths whose content outlives it, those of the image among them.
    pub volumes: BTreeSet<String>,
    /// How its health is found out, in the words that it was asked for with, the image's where nothing was said.
    pub health: Option<Healthcheck>,
    /// When its health is asked for the first time.
    #[serde(default)]
    pub first_probe: super::FirstProbe,
    /// What a person wrote that it was made of, where that is kept: the service of a project. It tells what changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<serde_json::Value>,
    /// What it has of the machine.
    pub host: HostOptions,
}

/// What a container is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// Its name or id, as it was asked for.
    pub reference: String,
    /// The image.
    pub id: ImageId,
    /// The stack of snapshots below what the container writes.
    pub chain: Chain,
    /// The platform of the image.
    pub platform: Platform,
}

/// What a container runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Program {
    /// What always runs.
    pub entrypoint: Option<Vec<String>>,
    /// Its arguments, or what runs.
    pub command: Option<Vec<String>>,
    /// Variables, `NAME=value`: the image's, then those that were asked for.
    pub env: Vec<String>,
    /// User and group, as written; empty for root.
    pub user: String,
    /// The working folder; empty for the root.
    pub workdir: String,
    /// The shell of health checks in shell form.
    pub shell: Option<Vec<String>>,
    /// The signal that asks it to end; `None` for SIGTERM.
    pub stop_signal: Option<Signal>,
    /// How long it is waited for after that, in seconds; -1 for ever; `None` for the default.
    pub stop_timeout: Option<i64>,
}

impl Program {
    /// How long a program is waited for after it was asked to end, in seconds, unless another time is asked for.
    pub const STOP_TIMEOUT: i64 = 10;

    /// Returns the program and its arguments.
    pub fn argv(&self) -> Vec<String> {
        self.entrypoint.iter().flatten().chain(self.command.iter().flatten()).cloned().collect()
    }

    /// Returns the signal that asks it to end.
    pub fn stop_signal(&self) -> Signal {
        self.stop_signal.unwrap_or(Signal::TERM)
    }
}

/// How the standard streams of a container are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Streams {
    /// Whether it has a terminal.
    pub tty: bool,
    /// The terminal's first size: columns and rows.
    pub size: Option<(u16, u16)>,
    /// Whether its standard input stays open while nobody is attached.
    pub open_stdin: bool,
    /// Whether its standard input ends with the first who attached it.
    pub stdin_once: bool,
    /// Whether it was made to be attached: standard input, output, error output.
    pub attached: [bool; 3],
}

impl Definition {
    /// Returns its host name.
    pub fn hostname(&self) -> String {
        self.hostname.clone().unwrap_or_else(|| self.id.short())
    }

    /// Returns how its health is found out, with the defaults filled in; `None` if it is not asked.
    pub fn health_check(&self) -> Option<HealthCheck> {
        HealthCheck::of_config(self.health.as_ref()?, self.program.shell.as_deref())
    }
}

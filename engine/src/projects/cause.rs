//! Why an operation is in a plan.

use std::fmt;

use rbuild_model::project::{Condition, NetworkKey, ServiceName, VolumeKey};

use super::change::Change;

/// Why an operation is in a plan: shown to people beside it.
#[derive(Clone, Debug, PartialEq)]
pub enum Cause {
    /// There is none yet.
    Missing,
    /// A flag asks for it.
    Forced,
    /// The service is defined otherwise now; empty if nobody knows how it was.
    ConfigChanged(Vec<Change>),
    /// These files that it was given hold something else now.
    ContentChanged(Vec<String>),
    /// Its image's name stands for another image now.
    ImageChanged {
        /// What it was made from.
        from: String,
        /// What it would be made from.
        to: String,
    },
    /// The names of the images that it mounts at these targets stand for others now.
    MountedImageChanged(Vec<String>),
    /// It runs and is not attached to a network that it should be in.
    Detached(NetworkKey),
    /// It does not mount a volume that it should have.
    WithoutVolume(VolumeKey),
    /// It shares something with a container of this service, which comes anew.
    ParentRecreated(ServiceName),
    /// The container of this service that it shares something with is gone.
    ParentGone(ServiceName),
    /// The network is defined otherwise now.
    NetworkChanged(NetworkKey),
    /// The volume is defined otherwise now.
    VolumeChanged(VolumeKey),
    /// There are more than are wanted.
    Surplus {
        /// How many are wanted.
        wanted: u64,
    },
    /// It does not run.
    NotRunning,
    /// It is frozen.
    Paused,
    /// Somebody told it to stop, and it has not ended yet.
    Stopping,
    /// It has just been made.
    New,
    /// A service waits for it.
    NeededBy {
        /// The service.
        service: ServiceName,
        /// How far it has to be.
        condition: Condition,
    },
    /// It runs before this service starts.
    Before {
        /// The service.
        service: ServiceName,
        /// Why now.
        why: BeforeWhy,
    },
    /// An earlier run of it left it behind.
    Left,
    /// A container of this service is to have its name.
    NameWanted(ServiceName),
    /// The new one starts first.
    StartFirst,
    /// It restarts with this service.
    RestartsWith(ServiceName),
    /// Its service is gone from the project.
    Orphan,
    /// Whoever made it was killed before it had its name.
    Unfinished,
    /// Another command asks for it.
    Asked,
    /// The project is taken down.
    Down,
}

/// Why something runs before a service starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeforeWhy {
    /// None of its containers runs.
    NoneRuns,
    /// A container of it comes anew.
    Recreated,
    /// The last time it was not done.
    NotDone,
    /// It is under way already, as an earlier command was cut off, or another one is at it.
    UnderWay,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is none"),
            Self::Forced => f.write_str("asked for"),
            Self::ConfigChanged(changes) if changes.is_empty() => f.write_str("its definition changed"),
            Self::ConfigChanged(changes) => {
                for (number, change) in changes.iter().enumerate() {
                    write!(f, "{}{change}", if number == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Self::ContentChanged(files) => write!(f, "content of {} changed", files.join(", ")),
            Self::ImageChanged { from, to } => write!(f, "image {} -> {}", short(from), short(to)),
            Self::MountedImageChanged(targets) => write!(f, "image at {} changed", targets.join(", ")),
            Self::Detached(network) => write!(f, "not attached to network {network}"),
            Self::WithoutVolume(volume) => write!(f, "does not mount volume {volume}"),
            Self::ParentRecreated(service) => write!(f, "shares with {service}, which is recreated"),
            Self::ParentGone(service) => write!(f, "shares with a container of {service} that is gone"),
            Self::NetworkChanged(network) => write!(f, "definition of network {network} changed"),
            Self::VolumeChanged(volume) => write!(f, "definition of volume {volume} changed"),
            Self::Surplus { wanted } => write!(f, "only {wanted} wanted"),
            Self::NotRunning => f.write_str("not running"),
            Self::Paused => f.write_str("paused"),
            Self::Stopping => f.write_str("it was told to stop"),
            Self::New => f.write_str("new"),
            Self::NeededBy { service, condition } => write!(f, "{service} needs {}", condition.as_str()),
            Self::Before { service, why } => match why {
                BeforeWhy::NoneRuns => write!(f, "no container of {service} runs"),
                BeforeWhy::Recreated => write!(f, "{service} comes anew"),
                BeforeWhy::NotDone => f.write_str("it was not done the last time"),
                BeforeWhy::UnderWay => f.write_str("it is under way already"),
            },
            Self::Left => f.write_str("left by an earlier run"),
            Self::NameWanted(service) => write!(f, "{service} is to have its name"),
            Self::StartFirst => f.write_str("the new one starts first"),
            Self::RestartsWith(service) => write!(f, "restarts with {service}"),
            Self::Orphan => f.write_str("its service is gone"),
            Self::Unfinished => f.write_str("an earlier command was cut off"),
            Self::Asked => f.write_str("asked for"),
            Self::Down => f.write_str("the project is taken down"),
        }
    }
}

/// The beginning of a digest, without its algorithm.
fn short(image: &str) -> &str {
    let digest = image.strip_prefix("sha256:").unwrap_or(image);
    digest.get(..12).unwrap_or(digest)
}

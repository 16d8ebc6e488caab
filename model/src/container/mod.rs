//! Containers: what they are asked to be, and what has become of them.
//!
//! A [`Definition`] is everything that makes the container again: a row, mirrored in `containers/<id>/config.json`. It
//! changes only by `rename`, `update` and by connecting networks. A [`State`] changes all the time and never touches
//! the definition: the container's monitor alone writes it, or whoever holds the container's lock.

mod definition;
mod health;
mod id;
mod log;
mod options;
mod process;
mod resources;
mod restart;
mod signal;
mod state;
mod tmpfs;

pub use definition::{DEFINITION_VERSION, Definition, ImageUse, Program, Streams};
pub use health::{FirstProbe, Health, HealthCheck, HealthStatus, HealthTest, Probe};
pub use id::{ContainerId, ContainerName, InvalidName, ParseContainerIdError};
pub use log::{LogConfig, LogDriver, UnknownLogDriver};
pub use options::{
    Begins, BindRecursion, DeviceRequest, DeviceUse, HostOptions, MissingSource, MountAsked, MountUse,
    MountWhat, NamespaceUse, Propagation, Removal, SeccompUse, TmpfsUse,
};
pub use process::ProcessIdentity;
pub use resources::{BlkioRate, BlkioWeight, Resources};
pub use restart::{ParseRestartPolicyError, RestartPolicy};
pub use signal::{ParseSignalError, Signal};
pub use state::{Ended, Run, StartFailure, State, Status, Stopped};
pub use tmpfs::{ParseTmpfsError, TmpfsMount};

#[cfg(test)]
mod tests;

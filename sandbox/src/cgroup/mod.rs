//! Control groups: bounds and counts of what runs, on version 1, version 2 and both at once (hybrid).
//!
//! Limits go where the controllers are. Where version 2 is mounted at all, it also holds the process even without
//! controllers: to be born there costs nothing (`CLONE_INTO_CGROUP`), killing is atomic (`cgroup.kill`), emptiness is
//! an event, processor time is counted, and devices are controlled by a BPF program. Version 1 hierarchies
//! are entered by a process of one thread itself (`tasks`), which waits for nobody; of those only the ones with something to
//! do are used: `memory`, and what limits ask for.
//!
//! Version 1 groups are made below the caller's own group of each hierarchy (they differ), version 2 groups below the
//! top, or below the highest group that is the user's without root. Each is `<prefix>/<name>`; an empty prefix folder goes with the
//! last group in it. A group is held by a lock on its folders for as long as its maker lives: those of killed makers
//! are found by that and taken away ([`Cgroup::reclaim`]). Limits that cannot be had are an error that names the controller, never a note; a group that
//! nobody set limits for is left out where there are no rights to make one.

mod devices;
mod find;
mod folder;
mod group;
mod limits;
mod oom;
mod residence;
mod stats;
#[cfg(test)]
mod tests;
mod victim;

use std::io;
use std::path::{Path, PathBuf};

pub use self::devices::{DeviceAccess, DeviceKind, DeviceRule, Devices};
pub use self::find::{Layout, Mode};
pub use self::group::{Cgroup, CgroupRequest, Freeze, Reclaimed};
pub use self::limits::{Counted, DeviceRate, DeviceWeight, Limits, OutOfMemory};
pub use self::oom::OomWatch;
pub use self::residence::{Copied, Residence, copy_into};
pub use self::stats::{BlockTransfer, Stats, Throttling};
pub use self::victim::victim;
use crate::script::ScriptSource;

/// A control group that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// A file or folder of a hierarchy refused.
    #[error("cannot {act} `{}`", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A limit needs a controller that is not there, or not ours.
    #[error(
        "cannot limit {what}: the cgroup controller `{controller}` is not available here; leave the limit out, or see what \
         `rbuild doctor` says of cgroups"
    )]
    NoController {
        /// What was to be limited.
        what: &'static str,
        /// The controller for it.
        controller: &'static str,
    },
    /// A limit needs a controller whose groups this process may not make.
    #[error(
        "cannot limit {what}: no right to use the cgroup controller `{controller}`; leave the limit out, run as root, or \
         have a group delegated to this user"
    )]
    Denied {
        /// What was to be limited.
        what: &'static str,
        /// The controller for it.
        controller: &'static str,
        /// What was refused.
        #[source]
        source: Box<CgroupError>,
    },
    /// A limit contradicts another.
    #[error("{limit}: {why}")]
    Limit {
        /// The limit.
        limit: &'static str,
        /// What is wrong.
        why: String,
    },
    /// A name would lead elsewhere.
    #[error("`{name}` is no name of a cgroup")]
    Name {
        /// The name.
        name: String,
    },
    /// The group still has processes after all attempts to end them.
    #[error("processes in `{}` do not end", path.display())]
    Busy {
        /// The group's folder.
        path: PathBuf,
    },
}

impl CgroupError {
    fn file(act: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::File { act, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// Tells whether what was wanted is not there.
    fn is_absence(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }

    /// Tells whether it is for want of rights, or of a hierarchy that can be written.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::File { source, .. } if matches!(
            source.raw_os_error(), Some(libc::EACCES | libc::EPERM | libc::EROFS | libc::ENOENT | libc::EBUSY)
        ))
    }
}

/// Tries whether device programs can be loaded.
pub(crate) fn try_device_program() -> io::Result<()> {
    crate::sys::load_device_program(&devices::program(&devices::default_rules())).map(drop)
}

/// Returns what a cgroup namespace of this machine shows.
pub(crate) fn visible() -> ScriptSource {
    Layout::shared().visible()
}

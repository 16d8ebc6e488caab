//! How a stack of snapshots becomes a root file system: a description, made by the snapshotter and carried out
//! by the sandbox.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Which extended attributes an overlay keeps its own marks in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OverlayXattr {
    /// `trusted.overlay.*`: needs `CAP_SYS_ADMIN` in the initial user namespace.
    Trusted,
    /// `user.overlay.*` (mount option `userxattr`): what a user namespace may use.
    User,
}

/// The place that writes to an overlay go to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OverlayUpper {
    /// The folder that becomes the new layer.
    pub upper: PathBuf,
    /// Overlay's own work folder: empty, on the same file system as `upper`.
    pub work: PathBuf,
    /// Whether writes need not survive a crash (`volatile`): so for every step, whose upper is thrown away if
    /// the step does not end well.
    pub volatile: bool,
}

/// A root file system to be mounted.
///
/// All paths are absolute paths of the store, made of hex names: never text that a user gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RootPlan {
    /// An overlay of committed layers, writable if it has an `upper`.
    Overlay {
        /// The layers, the topmost first, as overlayfs wants them. May be empty when there is an upper.
        lowers: Vec<PathBuf>,
        /// Where writes go; without it the overlay is read-only.
        upper: Option<OverlayUpper>,
        /// Where overlayfs keeps its marks.
        xattr: OverlayXattr,
    },
    /// A plain folder, bound as it is.
    Directory {
        /// The folder.
        path: PathBuf,
        /// Whether it must not be written.
        readonly: bool,
    },
}

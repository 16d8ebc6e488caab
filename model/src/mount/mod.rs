//! What a RUN step sees besides its root: one file a kind, listed in [`Mount`].
//!
//! Inputs of the step are referred to by [`InputIndex`]; the step's own list says which step's result that is.

mod bind;
mod cache;
mod secret;
mod ssh;
mod tmpfs;

use serde::{Deserialize, Serialize};

use crate::key::{Keyed, PreImage};

pub use bind::BindMount;
pub use cache::{CacheMount, Sharing};
pub use secret::{SecretMount, SecretTarget};
pub use ssh::SshMount;
pub use tmpfs::TmpfsMount;

/// The position of an input in a step's list of inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct InputIndex(pub u32);

impl InputIndex {
    /// The input that a step works on: the root of a RUN, the tree that a COPY writes to.
    pub const BASE: Self = Self(0);
}

/// A mount of a RUN step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "type")]
pub enum Mount {
    /// A file or folder of another tree.
    Bind(BindMount),
    /// A folder that lives on between builds.
    Cache(CacheMount),
    /// A folder in memory.
    Tmpfs(TmpfsMount),
    /// A secret, as a file, an environment variable, or both.
    Secret(SecretMount),
    /// A socket to the client's ssh agent.
    Ssh(SshMount),
}

impl Mount {
    /// Returns the absolute path of the mount point in the step's root, if the mount has one.
    pub fn target(&self) -> Option<&str> {
        match self {
            Self::Bind(mount) => Some(&mount.target),
            Self::Cache(mount) => Some(&mount.target),
            Self::Tmpfs(mount) => Some(&mount.target),
            Self::Secret(mount) => mount.target.as_ref().map(|target| target.path.as_str()),
            Self::Ssh(mount) => Some(&mount.target),
        }
    }
}

impl Keyed for Mount {
    fn pre_image(&self) -> PreImage {
        match self {
            Self::Bind(mount) => mount.pre_image(),
            Self::Cache(mount) => mount.pre_image(),
            Self::Tmpfs(mount) => mount.pre_image(),
            Self::Secret(mount) => mount.pre_image(),
            Self::Ssh(mount) => mount.pre_image(),
        }
    }
}

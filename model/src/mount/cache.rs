//! `RUN --mount=type=cache`: a folder that lives on between builds.

use serde::{Deserialize, Serialize};

use super::InputIndex;
use crate::key::{Keyed, PreImage};

/// What happens when two steps want the same cache folder at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    /// Both use it.
    #[default]
    Shared,
    /// The second gets a folder of its own.
    Private,
    /// The second waits.
    Locked,
}

/// A folder that lives on between builds; what it holds never enters a layer or a key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CacheMount {
    /// Where it is seen: an absolute path in the step's root.
    pub target: String,
    /// The name it is found by: as written, or the cleaned target text as written (not joined with WORKDIR).
    pub id: String,
    /// What happens when two steps want it at once.
    pub sharing: Sharing,
    /// The tree that a new folder starts with.
    pub from: Option<InputIndex>,
    /// The path in `from`, or below the cache folder.
    pub source: String,
    /// Whether the step must not write.
    pub readonly: bool,
    /// The permission bits of a new folder.
    pub mode: u32,
    /// The owner of a new folder.
    pub uid: u32,
    /// The group of a new folder.
    pub gid: u32,
}

impl Keyed for CacheMount {
    fn pre_image(&self) -> PreImage {
        // The id, the sharing and all content are outside the key: a cache must not change a result.
        let Self { target, id: _, sharing: _, from: _, source: _, readonly, mode: _, uid: _, gid: _ } = self;
        PreImage::fields([
            ("type", PreImage::text("cache")),
            ("target", PreImage::text(target)),
            ("readonly", PreImage::Flag(*readonly)),
        ])
    }
}

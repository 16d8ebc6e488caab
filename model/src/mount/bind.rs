//! `RUN --mount=type=bind`: a file or folder of another tree.

use serde::{Deserialize, Serialize};

use super::InputIndex;
use crate::key::{Keyed, PreImage};

/// A file or folder of another tree, seen read-only or with writes that are thrown away after the step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BindMount {
    /// Where it is seen: an absolute path in the step's root.
    pub target: String,
    /// Which tree it is taken from.
    pub from: InputIndex,
    /// The path in that tree, links resolved inside that tree.
    pub source: String,
    /// Whether the step may write; the writes are discarded.
    pub writable: bool,
}

impl Keyed for BindMount {
    fn pre_image(&self) -> PreImage {
        // What `source` selects enters the key as content, so its path does not need to.
        let Self { target, from, source: _, writable } = self;
        PreImage::fields([
            ("type", PreImage::text("bind")),
            ("target", PreImage::text(target)),
            ("from", PreImage::Number(from.0.into())),
            ("writable", PreImage::Flag(*writable)),
        ])
    }
}

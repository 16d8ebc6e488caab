//! `RUN --mount=type=tmpfs`: a folder in memory.

use serde::{Deserialize, Serialize};

use crate::key::{Keyed, PreImage};

/// A folder in memory, mode 1777, gone after the step.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TmpfsMount {
    /// Where it is seen: an absolute path in the step's root.
    pub target: String,
    /// The most it may hold, in bytes; `None` for what the kernel allows.
    pub size: Option<u64>,
}

impl Keyed for TmpfsMount {
    fn pre_image(&self) -> PreImage {
        let Self { target, size } = self;
        PreImage::fields([
            ("type", PreImage::text("tmpfs")),
            ("target", PreImage::text(target)),
            ("size", PreImage::optional(*size, |size| PreImage::text(size.to_string()))),
        ])
    }
}

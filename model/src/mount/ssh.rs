//! `RUN --mount=type=ssh`: a socket to the client's ssh agent.

use serde::{Deserialize, Serialize};

use crate::key::{Keyed, PreImage};

/// A socket through which the step asks the client's ssh agent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SshMount {
    /// The name the client knows the agent by.
    pub id: String,
    /// Where the socket is: an absolute path in the step's root.
    pub target: String,
    /// Whether the step fails when the client offers no such agent.
    pub required: bool,
    /// The socket's permission bits.
    pub mode: u32,
    /// The socket's owner.
    pub uid: u32,
    /// The socket's group.
    pub gid: u32,
}

impl Keyed for SshMount {
    fn pre_image(&self) -> PreImage {
        let Self { id, target, required, mode, uid, gid } = self;
        PreImage::fields([
            ("type", PreImage::text("ssh")),
            ("id", PreImage::text(id)),
            ("target", PreImage::text(target)),
            ("required", PreImage::Flag(*required)),
            ("mode", PreImage::Number((*mode).into())),
            ("uid", PreImage::Number((*uid).into())),
            ("gid", PreImage::Number((*gid).into())),
        ])
    }
}

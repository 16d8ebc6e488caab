//! `RUN --mount=type=secret`: a secret as a file, an environment variable, or both.

use serde::{Deserialize, Serialize};

use crate::key::{Keyed, PreImage};

/// A secret that the client holds. Its value is never in a key, a layer, a history or a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretMount {
    /// The name the client knows it by.
    pub id: String,
    /// The file it is seen as.
    pub target: Option<SecretTarget>,
    /// The environment variable it is seen as.
    pub env: Option<String>,
    /// Whether the step fails when the client has no such secret.
    pub required: bool,
}

/// The file that a secret is seen as.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SecretTarget {
    /// Its absolute path in the step's root.
    pub path: String,
    /// Its permission bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

impl Keyed for SecretMount {
    fn pre_image(&self) -> PreImage {
        let Self { id, target, env, required } = self;
        PreImage::fields([
            ("type", PreImage::text("secret")),
            ("id", PreImage::text(id)),
            ("target", PreImage::optional(target.as_ref(), Keyed::pre_image)),
            ("env", PreImage::optional(env.as_ref(), PreImage::text)),
            ("required", PreImage::Flag(*required)),
        ])
    }
}

impl Keyed for SecretTarget {
    fn pre_image(&self) -> PreImage {
        let Self { path, mode, uid, gid } = self;
        PreImage::fields([
            ("path", PreImage::text(path)),
            ("mode", PreImage::Number((*mode).into())),
            ("uid", PreImage::Number((*uid).into())),
            ("gid", PreImage::Number((*gid).into())),
        ])
    }
}

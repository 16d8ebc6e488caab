//! Which making of our tables it was: who makes them knows only what files tell of, and who writes a file has to see that they
//! were made anew meanwhile.

use std::path::Path;

use rustix::rand::GetRandomFlags;
use serde::{Deserialize, Serialize};

use super::FirewallError;
use crate::error::FileError;

/// One making of our tables, as told from all others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Made(u64);

impl Made {
    pub(super) fn now() -> Result<Self, FirewallError> {
        let mut bytes = [0; 8];
        // So few bytes come at once, or not at all.
        rustix::io::retry_on_intr(|| rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())).map_err(
            |source| FileError::new("draw random bytes for", Path::new("the packet filter"), source.into()),
        )?;
        Ok(Self(u64::from_ne_bytes(bytes)))
    }
}

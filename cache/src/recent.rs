//! What a policy of a sweep keeps although nothing needs it.

use rbuild_store::collect::{Mark, Policy};
use rbuild_store::{DatabaseError, ObjectKind};

/// An object as policies see it.
pub(crate) struct Used {
    pub(crate) object: Vec<u8>,
    /// In seconds since 1970.
    pub(crate) used_at: i64,
    pub(crate) bytes: u64,
}

/// Marks what is kept of objects that come in the order of their last uses, the latest first.
pub(crate) fn keep(
    objects: impl Iterator<Item = rusqlite::Result<Used>>,
    kind: ObjectKind,
    policy: &Policy,
    mark: &mut Mark,
) -> Result<(), DatabaseError> {
    let mut room = policy.keep_bytes.unwrap_or(0);
    for used in objects {
        let Used { object, used_at, bytes } = used?;
        let is_recent = policy.used_since.is_some_and(|since| used_at >= since);
        let fits = policy.keep_bytes.is_some() && bytes <= room;
        // From the first that does not fit on nothing smaller slips in behind.
        room = if fits { room - bytes } else { 0 };
        if is_recent || fits {
            mark.keep(kind, &object);
        }
    }
    Ok(())
}

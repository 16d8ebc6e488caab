//! A snapshot that is being written.

use rbuild_model::snapshot::{Chain, SnapshotId};

/// A snapshot that is being written.
///
/// This is a value, not a guard: the active snapshot of a container outlives the process that made it, and its row
/// names it by [`Active::id`] and [`Active::parents`]. Whoever prepares one commits or discards it.
#[derive(Debug, PartialEq, Eq)]
pub struct Active {
    id: SnapshotId,
    parents: Chain,
}

impl Active {
    /// Names an active snapshot that was prepared before, as its row says.
    pub fn new(id: SnapshotId, parents: Chain) -> Self {
        Self { id, parents }
    }

    /// Returns the name that it will also have when it is committed.
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// Returns the stack below it.
    pub fn parents(&self) -> &Chain {
        &self.parents
    }
}

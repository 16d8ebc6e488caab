//! What every way of keeping snapshots can do.

use std::fs::File;
use std::io::Read;

use rbuild_confined::Root;
use rbuild_image::tar::Limits;
use rbuild_model::rootfs::RootPlan;
use rbuild_model::snapshot::{Chain, SnapshotId};

use crate::active::Active;
use crate::diff::Change;
use crate::error::Result;
use crate::extract::Extracted;
use crate::folders::{Condemned, Place};
use crate::usage::{Usage, usage_of};

/// How long what is written into an active snapshot has to last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Until the step ends: after a crash the snapshot is thrown away.
    Volatile,
    /// As long as the snapshot: it is a container's.
    Durable,
}

/// A tree that has a difference to the stack below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tree<'a> {
    /// The topmost snapshot of a stack.
    Committed(&'a Chain),
    /// An active snapshot; nobody may be writing it.
    Active(&'a Active),
}

/// Keeps snapshots.
///
/// # Life of a snapshot
/// [`prepare`](Self::prepare) makes an [`Active`]; it is written through the mounted [`root`](Self::root), or through
/// [`open_active`](Self::open_active) where [`writes_in_place`](Self::writes_in_place) says so; [`commit`](Self::commit)
/// makes it immutable under the same id, [`discard`](Self::discard) throws it away. A committed snapshot goes by
/// [`condemn`](Self::condemn), which hides it at once, and [`Condemned::reclaim`], which takes as long as there are files;
/// that nothing stands on it is for the caller to know.
///
/// Every method may be called by many threads and processes at a time, for different snapshots. All formats keep a snapshot
/// in a folder of its own, and differ in what that holds.
pub trait Snapshotter: Send + Sync {
    /// Returns where its snapshots are; nobody outside of this crate can say so of another kind.
    #[doc(hidden)]
    fn place(&self) -> &Place;

    /// Returns the name of the folder of its snapshots: format and version.
    fn format(&self) -> &'static str;

    /// Begins a snapshot on top of `parents`.
    fn prepare(&self, parents: &Chain) -> Result<Active>;

    /// Describes how the active snapshot is mounted to be written.
    fn root(&self, active: &Active, writes: Writes) -> Result<RootPlan>;

    /// Describes how a stack is mounted to be read.
    fn view(&self, chain: &Chain) -> Result<RootPlan>;

    /// Makes an active snapshot immutable. Nothing may be mounted on it any more.
    fn commit(&self, active: Active) -> Result<SnapshotId> {
        self.place().commit(active.id())?;
        Ok(active.id())
    }

    /// Throws an active snapshot away; one that is gone is success.
    fn discard(&self, active: Active) -> Result<()> {
        self.place().discard(active.id())?.map_or(Ok(()), Condemned::reclaim)
    }

    /// Takes a committed snapshot out of sight; `None` if it is not there.
    fn condemn(&self, id: SnapshotId) -> Result<Option<Condemned>> {
        self.place().condemn(id)
    }

    /// Says whether a committed snapshot is there.
    fn contains(&self, id: SnapshotId) -> bool {
        self.place().tree(id).is_dir()
    }

    /// Counts the disk space of a committed snapshot.
    fn usage(&self, id: SnapshotId) -> Result<Usage> {
        usage_of(&self.place().open_tree(id)?)
    }

    /// Opens the folder of a committed snapshot: the layer in its own format.
    fn open(&self, id: SnapshotId) -> Result<Root> {
        self.place().open_tree(id)
    }

    /// Opens the folder of an active snapshot: in overlay form, only what differs from the parents.
    fn open_active(&self, active: &Active) -> Result<Root> {
        self.place().open_active(active.id())
    }

    /// Whether [`open_active`](Self::open_active) is the whole tree, so that it can be written without a mount.
    fn writes_in_place(&self, active: &Active) -> bool;

    /// Visits what a tree changes, in the order of the layer's tar; see [`crate::diff`].
    ///
    /// A new or changed file comes opened for reading.
    fn changes(
        &self,
        tree: Tree<'_>,
        visit: &mut dyn FnMut(Change, Option<File>) -> Result<()>,
    ) -> Result<()>;

    /// Extracts a layer's uncompressed tar on top of `parents`; see [`crate::extract`].
    ///
    /// The stream is read to its end. After an error nothing is left.
    fn apply(&self, parents: &Chain, tar: &mut dyn Read, limits: Limits) -> Result<(Active, Extracted)>;

    /// Removes a committed snapshot with its files; one that is gone is success.
    fn remove(&self, id: SnapshotId) -> Result<()> {
        self.condemn(id)?.map_or(Ok(()), Condemned::reclaim)
    }
}

/// Keeps an active snapshot that was filled; one where that failed is thrown away.
pub(crate) fn filled<T>(
    snapshotter: &dyn Snapshotter,
    active: Active,
    result: Result<T>,
) -> Result<(Active, T)> {
    match result {
        Ok(filled) => Ok((active, filled)),
        Err(error) => {
            // The first error is the one to tell; what is left lies in `tmp` and goes with it.
            let _ = snapshotter.discard(active);
            Err(error)
        }
    }
}

//! Room for trees that come as streams, where images and the cache may not take more than so much.
//!
//! What a stream unpacks to is known when it is over. So room is reserved for its bytes as they come, before they are
//! written, and for what the tree really takes before it is committed.

use std::cell::RefCell;
use std::io::{self, Read};

use rbuild_cache::records::remember_snapshots;
use rbuild_model::snapshot::SnapshotId;
use rbuild_snapshotter::{Active, usage_of};
use rbuild_store::{Lease, ObjectKind, Room, RoomError};
use rusqlite::Transaction;

use crate::error::ImagesError;
use crate::images::Images;

/// Room for a tree that is being written. Without a limit it is nothing.
pub struct TreeRoom<'a> {
    images: &'a Images,
    what: String,
    room: Room,
    refused: RefCell<Option<RoomError>>,
}

/// A stream for whose bytes room is reserved.
pub struct Reserving<'a, R> {
    stream: R,
    come: u64,
    of: &'a TreeRoom<'a>,
}

impl Images {
    /// Begins to reserve room for a tree; `what` is said of it where that fails.
    pub fn room(&self, what: impl Into<String>) -> Result<TreeRoom<'_>, ImagesError> {
        let what = what.into();
        match self.store.reserve_room(0) {
            Ok(room) => Ok(TreeRoom { images: self, what, room, refused: RefCell::new(None) }),
            Err(error) => Err(ImagesError::Room { what, source: Box::new(error) }),
        }
    }
}

impl TreeRoom<'_> {
    /// Reserves room for so many bytes altogether.
    pub fn reserve(&self, bytes: u64) -> Result<(), ImagesError> {
        self.room.grow_to(bytes).map_err(|error| self.refused_by(error))
    }

    /// Reserves room for what is read of a stream.
    pub fn reader<R: Read>(&self, stream: R) -> Reserving<'_, R> {
        Reserving { stream, come: 0, of: self }
    }

    /// Returns why a stream that was read ended early, if that was for want of room.
    pub fn refusal(&self) -> Option<ImagesError> {
        Some(self.refused_by(self.refused.take()?))
    }

    fn refused_by(&self, error: RoomError) -> ImagesError {
        ImagesError::Room { what: self.what.clone(), source: Box::new(error) }
    }

    /// Commits a tree that was written; from its row on it counts itself. `also` writes what else is known by then.
    pub fn commit(
        self,
        active: Active,
        lease: &Lease,
        also: &dyn Fn(&Transaction<'_>, SnapshotId) -> Result<(), ImagesError>,
    ) -> Result<SnapshotId, ImagesError> {
        let Images { store, snapshotter, .. } = self.images;
        let bytes = match self.measure(&active) {
            Ok(bytes) => bytes,
            Err(error) => {
                self.images.discard(active);
                return Err(error);
            }
        };
        // Leased before it is there, so that no sweep takes it in between.
        let id = active.id();
        store.write(|tx| lease.protect(tx, &[(ObjectKind::SNAPSHOT, id.as_bytes())]))?;
        let snapshot =
            snapshotter.commit(active).map_err(|error| ImagesError::Tree(self.what.clone(), error))?;
        store.write(|tx| {
            self.room.settle(tx)?;
            remember_snapshots(tx, &[snapshot], snapshotter.format(), bytes, store.stamp())?;
            also(tx, snapshot)
        })?;
        Ok(snapshot)
    }

    /// Counts what a tree takes and reserves that; where nothing is limited it is counted when somebody wants to know.
    fn measure(&self, active: &Active) -> Result<Option<u64>, ImagesError> {
        if !self.images.store.has_budget() {
            return Ok(None);
        }
        let tree = |error| ImagesError::Tree(self.what.clone(), error);
        let root = self.images.snapshotter.open_active(active).map_err(tree)?;
        let bytes = usage_of(&root).map_err(tree)?.bytes;
        self.reserve(bytes)?;
        Ok(Some(bytes))
    }
}

impl<R: Read> Read for Reserving<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.stream.read(buffer)?;
        self.come += count as u64;
        self.of.room.grow_with(self.come).map_err(|error| {
            let told = io::Error::other(error.to_string());
            self.of.refused.replace(Some(error));
            told
        })?;
        Ok(count)
    }
}

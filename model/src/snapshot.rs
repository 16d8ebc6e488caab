//! Names of committed trees and stacks of them.
//!
//! A committed snapshot is immutable and holds only the difference to the snapshots below it; a [`Chain`] is
//! the whole stack. The empty chain is the empty root (`FROM scratch`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The name of one committed snapshot in one store: 128 random bits as 32 lower-case hex digits.
///
/// It is a name, not a content hash: equal trees made twice have two ids.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SnapshotId([u8; 16]);

impl SnapshotId {
    /// Makes an id from random bits that the caller drew.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Returns the bits of the id.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&crate::hex::Hex(&self.0), f)
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotId({self})")
    }
}

/// The text is not 32 lower-case hex digits.
#[derive(Debug, thiserror::Error)]
#[error("not a snapshot id: {0:?}")]
pub struct ParseSnapshotIdError(String);

impl FromStr for SnapshotId {
    type Err = ParseSnapshotIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 16];
        crate::hex::parse(text, &mut bytes).ok_or_else(|| ParseSnapshotIdError(text.to_owned()))?;
        Ok(Self(bytes))
    }
}

impl Serialize for SnapshotId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SnapshotId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// A stack of committed snapshots, the lowest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain(Vec<SnapshotId>);

impl Chain {
    /// Returns the empty chain: the empty root.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// Makes a chain of snapshots given lowest first.
    pub fn new(layers: Vec<SnapshotId>) -> Self {
        Self(layers)
    }

    /// Returns the snapshots, lowest first.
    pub fn layers(&self) -> &[SnapshotId] {
        &self.0
    }

    /// Returns the snapshot on top, if there is one.
    pub fn top(&self) -> Option<SnapshotId> {
        self.0.last().copied()
    }

    /// Returns the chain below the top one, if there is a top one.
    pub fn parent(&self) -> Option<Self> {
        self.0.split_last().map(|(_, below)| Self(below.to_vec()))
    }

    /// Returns this chain with one more snapshot on top.
    pub fn with(&self, top: SnapshotId) -> Self {
        let mut layers = self.0.clone();
        layers.push(top);
        Self(layers)
    }

    /// Returns the number of snapshots in the stack.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns whether this is the empty root.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

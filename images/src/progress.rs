//! How far a transfer is.

use rbuild_model::digest::BlobDigest;

/// The state of one layer of a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerState {
    /// It is here already.
    AlreadyExists,
    /// It waits for its turn.
    Waiting,
    /// It is on its way.
    Transferring {
        /// The bytes that came or went.
        current: u64,
        /// The bytes that there are.
        total: u64,
    },
    /// It came or went.
    Transferred,
    /// Its tree is being written.
    Unpacking,
    /// It is done.
    Complete,
    /// The registry took it over from another repository.
    Mounted,
}

/// Hears how far a transfer is. Called from several threads; must not block for long.
pub trait Progress: Send + Sync {
    /// The transfer of a layer got on.
    fn layer(&self, layer: BlobDigest, state: LayerState);

    /// A remark for people.
    fn note(&self, text: &str) {
        let _ = text;
    }
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Quiet;

impl Progress for Quiet {
    fn layer(&self, _layer: BlobDigest, _state: LayerState) {}
}

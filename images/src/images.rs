//! The handle of all images of a store.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rbuild_cache::blobs::Blobs;
use rbuild_image::compress::{DecodeLimits, Threads};
use rbuild_image::distribution::Registries;
use rbuild_image::tar::Limits;
use rbuild_snapshotter::Snapshotter;
use rbuild_store::{Cancel, Stoppable, Store};

use crate::error::ImagesError;
use crate::remote::Remote;

/// What images are made and fetched with.
#[derive(Clone)]
pub struct Options {
    /// Where images come from.
    pub registries: Registries,
    /// The bounds of a layer's tar.
    pub tar: Limits,
    /// The bounds of a layer's compression.
    pub compression: DecodeLimits,
    /// How many threads compress.
    pub threads: Threads,
    /// For how long what a registry said of a tag is taken for true; it is always asked if there is none.
    pub remember_tags: Option<Duration>,
    /// The wish to stop.
    pub cancel: Cancel,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            registries: Registries::default(),
            tar: Limits::default(),
            compression: DecodeLimits::default(),
            threads: Threads::available(),
            remember_tags: None,
            cancel: Cancel::never(),
        }
    }
}

/// The images of one store. May be shared by threads.
pub struct Images {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    pub(crate) snapshotter: Arc<dyn Snapshotter>,
    pub(crate) options: Options,
    /// Made at first use: most commands never speak to a registry.
    network: OnceLock<Remote>,
}

impl Images {
    /// Opens the images of a store; costs nothing.
    pub fn new(store: &Store, snapshotter: Arc<dyn Snapshotter>, options: Options) -> Self {
        Self {
            store: store.clone(),
            blobs: Blobs::new(store),
            snapshotter,
            options,
            network: OnceLock::new(),
        }
    }

    /// Returns the blobs that layers are kept in.
    pub fn blobs(&self) -> &Blobs {
        &self.blobs
    }

    /// Returns how servers are spoken to.
    pub fn registries(&self) -> &Registries {
        &self.options.registries
    }

    /// Ends a stream where the caller gives up.
    pub(crate) fn stoppable<T>(&self, stream: T) -> Stoppable<T, impl Fn() -> bool> {
        Stoppable::new(stream, || self.options.cancel.is_cancelled())
    }

    pub(crate) fn network(&self) -> Result<&Remote, ImagesError> {
        if let Some(network) = self.network.get() {
            return Ok(network);
        }
        let network = Remote::new(&self.options.registries)?;
        // Another thread may have been faster; its network is then the one.
        Ok(self.network.get_or_init(|| network))
    }
}

//! Caches elsewhere: what a build takes from them, and what of it goes there.
//!
//! Catalogs are read while the Dockerfile is; what of them is needed is fetched by `import`. When the result is delivered,
//! [`Worker::export_caches`] brings what the build consisted of to where the next one may be.

mod export;
mod import;
mod mounts;

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use rbuild_cache::backends::{Backend, BackendError};
use rbuild_images::{Packing, StackError};
use rbuild_solver::RecordId;

pub use export::{CacheFailure, Exportable};
pub(crate) use export::{Ended, exportable};
pub(crate) use import::{fetch, open, told};
pub(crate) use mounts::restore;

#[expect(unused_imports, reason = "for the documentation")]
use crate::worker::Worker;

/// The caches of a build.
#[derive(Clone, Default)]
pub struct Caches {
    /// Those that results are taken from, the one that is asked first at the front.
    pub from: Vec<Arc<dyn Backend>>,
    /// Those that results are brought to.
    pub to: Vec<CacheTarget>,
    /// Whether the image has a cache in its config.
    pub inline: Inline,
}

/// Whether an image has a cache in its config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Inline {
    /// It has not.
    #[default]
    No,
    /// It has.
    Yes,
}

impl std::fmt::Debug for Caches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let from: Vec<&str> = self.from.iter().map(|cache| cache.name()).collect();
        let to: Vec<&str> = self.to.iter().map(|cache| cache.backend.name()).collect();
        let Self { inline, .. } = self;
        f.debug_struct("Caches").field("from", &from).field("to", &to).field("inline", inline).finish()
    }
}

/// A cache that results are brought to.
#[derive(Clone)]
pub struct CacheTarget {
    /// Where it is.
    pub backend: Arc<dyn Backend>,
    /// Which layers go there.
    pub mode: Mode,
    /// How they are packed.
    pub packing: Packing,
    /// Whether cache mounts go there too.
    pub mounts: MountsTravel,
    /// What a failure comes to.
    pub failure: OnFailure,
    /// How long it may take; what is not there by then stays out.
    pub budget: Duration,
    /// How many blobs go up at a time.
    pub parallel: NonZeroUsize,
}

/// Which layers go to a cache. Keys go in any case: they cost next to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those of the result.
    #[default]
    Min,
    /// Those of every step.
    Max,
}

/// Whether cache mounts travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MountsTravel {
    /// They do.
    Yes,
    /// They stay.
    No,
}

/// What it comes to that a cache cannot be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// A remark.
    #[default]
    Note,
    /// An error of the build (`ignore-error=false`).
    Fail,
}

/// A cache turned out to be of no use while something was fetched from it.
#[derive(Debug, thiserror::Error)]
#[error("failed to use the cache {name}")]
pub struct Unusable {
    /// Its number among those of the build.
    pub(crate) source_number: usize,
    /// The record whose result was to be fetched.
    pub(crate) record: RecordId,
    /// What it is called.
    pub name: String,
    /// Why.
    #[source]
    pub error: Box<StackError<BackendError>>,
}

impl Unusable {
    pub(crate) fn new(
        source_number: usize,
        record: RecordId,
        backend: &dyn Backend,
        error: StackError<BackendError>,
    ) -> Self {
        Self { source_number, record, name: backend.name().to_owned(), error: Box::new(error) }
    }

    /// Returns whether only this result is of no use: it stands on layers that are left to an image's registry, and are not
    /// here.
    pub(crate) fn is_of_one_result(&self) -> bool {
        matches!(*self.error, StackError::NotHere(_))
    }
}

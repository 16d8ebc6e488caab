//! Caches that travel: what a store has computed, kept where other stores find it.
//!
//! A *backend* is a place for one [`Catalog`] and the blobs that it names. Whoever imports reads the catalog and nothing
//! else; a blob is fetched when a step needs it, and is compared with its digest before anything is made of it. Whoever
//! exports brings the blobs that are not there yet, and puts the catalog up last: a catalog never names what is missing.
//!
//! # The catalog
//! One JSON document ([`catalog`] has its form and its bounds):
//!
//! ```text
//! records ──▶ keys: definition and content keys, the canonical key
//!    │        costs: when it began, how long it took
//!    └──────▶ layers: a stack, lowest first ──▶ DiffId, blob (an OCI layer), how it was packed
//! builds  ──▶ records, in the order of the steps (what `rbuild cache ls --from` and `cache diff` show)
//! mounts  ──▶ the list of the chunks of a cache mount, itself a blob
//! ```
//!
//! Records carry every key of theirs and no pre-images: neither values of ARG and ENV nor hashes of them leave the store.
//! A record whose layers are left out (`mode=min`) still resolves the chain of keys. Layers of a base image have no blob:
//! a record matches only on the very same image, which its own registry has. Records do not point at each other, so there
//! is nothing that could form a cycle.
//!
//! # How a result from elsewhere enters the solver
//! [`Imports`] is the [`CacheIndex`](rbuild_solver::CacheIndex) of a build that names caches to import. What this store
//! knows comes first; a key that it does not know is looked up in the catalogs. A hit there becomes a record here that
//! says which cache it came from and has no tree, and the solver is told that the tree is
//! [elsewhere](rbuild_solver::Place::Elsewhere). Only when somebody has to read it, the worker fetches and unpacks the
//! layers that are not here. If that fails, the cache is left out from then on, what was adopted of it is forgotten, and the
//! build solves once more without it.
//!
//! # Cache mounts
//! A cache mount travels as a tar that is cut into [chunks] by content: equal stretches are equal chunks, wherever they
//! stand. A chunk is a blob; only those that the backend has not got go up, and all of them are fetched when a step wants
//! a mount of that name that is not here.
//!
//! # Backends
//! Each is one file, listed in [`BACKENDS`], and passes [`conformance`].

pub mod buildkit;
pub mod catalog;
pub mod chunks;
mod compare;
pub mod conformance;
mod error;
pub mod gha;
mod imports;
pub mod inline;
mod layout;
pub mod local;
mod network;
pub mod registry;
pub mod s3;
mod transfer;

pub use catalog::Catalog;
pub use compare::{Compared, Side, compare};
pub use error::BackendError;
pub use imports::{Imports, Wanted, described};
pub use layout::{DocumentForm, Form};
pub use network::Network;
pub use transfer::{Fetched, Sent, Stopped, StoredBlob, fetch, read, send_missing};

use std::sync::Arc;
use std::time::Instant;

use rbuild_image::distribution::{Receiver, Sender};
use rbuild_image::manifest::Descriptor;

/// The types of caches, as users write them.
pub const BACKENDS: &[&str] = &["inline", "registry", "local", "gha", "s3"];

/// What was found where a catalog should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// A catalog of ours, as bytes that nobody has looked at.
    Catalog(Vec<u8>),
    /// The config of an image, which may have a catalog in it, and the layers of its manifest.
    Image {
        /// The config.
        config: Vec<u8>,
        /// The layers.
        layers: Vec<Descriptor>,
    },
    /// A cache that BuildKit wrote.
    BuildKit(Vec<u8>),
}

/// What a cache is.
#[derive(Debug)]
pub enum Contents {
    /// A catalog of ours.
    Ours(Box<Catalog>),
    /// A cache that BuildKit wrote.
    BuildKit(buildkit::Foreign),
}

impl Held {
    /// Reads what was found, and checks it; an image need not have a cache in it.
    pub fn contents(&self) -> Result<Option<Contents>, BackendError> {
        Ok(match self {
            Self::Catalog(bytes) => Some(Contents::Ours(Box::new(Catalog::parse(bytes)?))),
            Self::BuildKit(bytes) => Some(Contents::BuildKit(buildkit::Foreign::parse(bytes)?)),
            Self::Image { config, layers } => inline::read(config, layers)?,
        })
    }
}

/// How a blob came to be where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// It was there.
    Present,
    /// It was sent.
    Sent,
}

/// A place for one catalog and its blobs.
///
/// # Life
/// [`put`](Self::put) brings blobs; [`publish`](Self::publish) then replaces the catalog by one that names only what is
/// there. A reader that has the catalog asks for blobs with [`get`](Self::get). Blobs are never changed; those that no
/// catalog names may go at any time, and whoever misses one does without.
///
/// Every method blocks, and may be called by several threads at a time. What has only so much time is done by
/// [`until`](Self::until), which stops it wherever it stands. What comes is not believed: the caller bounds a catalog by
/// [`catalog::MAX_BYTES`] and compares a blob with its digest, so a backend need not.
pub trait Backend: Send + Sync {
    /// Returns what it is called in messages (`registry example.com/app:cache`), without credentials.
    fn name(&self) -> &str;

    /// Returns the same place, where all that is done ends at a time with [`BackendError::OutOfTime`], also a transfer that
    /// is under way. What is put there by this value and by the other is for one and the same catalog.
    fn until(&self, deadline: Instant) -> Arc<dyn Backend>;

    /// Reads what stands for the catalog: of several platforms several, and nothing where nothing is.
    fn catalog(&self) -> Result<Vec<Held>, BackendError>;

    /// Puts a catalog in the place of the former. All `blobs` that it names are there.
    fn publish(&self, catalog: &[u8], blobs: &[Descriptor]) -> Result<(), BackendError>;

    /// Says whether a blob is there, with the size that its descriptor says. Only writers ask, for what their catalog is
    /// to name: it must not go before that is published.
    fn has(&self, blob: &Descriptor) -> Result<bool, BackendError>;

    /// Reads a blob.
    fn get(&self, blob: &Descriptor, into: &mut dyn Receiver) -> Result<(), BackendError>;

    /// Brings a blob, unless it is there.
    fn put(&self, blob: &Descriptor, sender: &dyn Sender) -> Result<Put, BackendError>;
}

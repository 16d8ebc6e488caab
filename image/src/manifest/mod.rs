//! Manifests, indexes and descriptors: OCI's and Docker's second schema.
//!
//! A document is identified by the digest of its bytes as they came, so [`Document`] is always parsed from bytes
//! and never written again; what rbuild makes itself is written once by [`Manifest::to_bytes`] and
//! [`Index::to_bytes`]. Parsing is strict where two programs could read two things: doubled keys, keys that
//! differ only in case from one that has a meaning, both `manifests` and `layers`, a `mediaType` that
//! contradicts the header of the response.

mod document;
mod json;
mod media;
mod select;

#[cfg(test)]
mod tests;

pub use document::{Descriptor, Document, DocumentError, Index, Manifest};
pub use json::{JsonError, parse_strict};
pub use media::{Family, LayerFormat, MediaType};
pub use select::NoPlatform;

/// The most bytes a manifest, an index or a config may have.
pub const MAX_DOCUMENT: u64 = 4 << 20;

/// The most objects within objects that a document may have.
pub const MAX_JSON_DEPTH: usize = 64;

/// The most entries an index, and layers a manifest, may have.
pub const MAX_CHILDREN: usize = 10_000;

/// The most layers of an image that is unpacked: more are not mounted over one another.
pub const MAX_LAYERS: usize = 500;

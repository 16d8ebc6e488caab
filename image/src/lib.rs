//! OCI documents, the layer tar codec, archives of images, and the registry client.
//!
//! - [`tar`]: layers and archives as entries, read strictly and written canonically;
//! - [`compress`]: bounded decoding and parallel encoding of layers;
//! - [`manifest`]: manifests, indexes, descriptors;
//! - [`distribution`]: the client of registries;
//! - [`archive`]: archives of images, read and written;
//! - [`attest`]: what is said about an image beside it: bills of materials, statements;
//! - [`hash`]: readers and writers that take a sha256 of what passes.
//!
//! Everything but `distribution` is synchronous and works on values, readers and writers that the caller
//! brings; nothing here opens a path.

pub mod archive;
pub mod attest;
pub mod compress;
pub mod distribution;
pub mod hash;
pub mod manifest;
pub mod tar;

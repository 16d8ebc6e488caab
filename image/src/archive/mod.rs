//! Archives of images: OCI layouts, as folders or tars, and what `docker save` writes.
//!
//! [`read_archive`] reads a tar in one pass: every file in it goes to a [`BlobSink`], and the documents among them
//! say afterwards which images there are. [`read_layout`] reads a folder by what its index names. Names within
//! never leave the archive: a link is followed to another member or not at all, a blob that is named by a digest
//! must have it.
//!
//! [`Plan`] lists what an archive of given images consists of: an OCI layout that Docker's `manifest.json` makes
//! readable for `docker load` as well. [`Plan::write_tar`] writes it in one canonical order.

mod read;
mod write;

#[cfg(test)]
mod tests;

use std::io::{self, Read};

use rbuild_model::digest::BlobDigest;

use crate::manifest::{Descriptor, DocumentError, JsonError, Manifest};
use crate::tar::TarError;

pub use read::{Folder, LayoutImage, read_archive, read_layout, read_layout_image};
pub use write::{OutgoingImage, OutgoingIndex, Plan};

/// An archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The tar is not acceptable.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A member could not be stored or read.
    #[error("cannot transfer `{0}`")]
    Member(String, #[source] io::Error),
    /// A manifest or an index within is not acceptable.
    #[error("`{0}` is not acceptable")]
    Document(String, #[source] DocumentError),
    /// Another document within is not acceptable.
    #[error("`{0}` is not acceptable")]
    Json(String, #[source] JsonError),
    /// It names something that is not in it.
    #[error("`{0}` is missing")]
    Missing(String),
    /// It is no archive of images.
    #[error("there is neither an `index.json` nor a `manifest.json`")]
    NoImages,
    /// Something in it is wrong.
    #[error("{0}")]
    Wrong(String),
}

/// A file that was stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its digest.
    pub digest: BlobDigest,
    /// How many bytes it has.
    pub size: u64,
}

/// Takes in files of archives.
pub trait BlobSink {
    /// Stores all of a reader and says what it was; refuses what has not the expected digest.
    fn store(&mut self, expected: Option<BlobDigest>, contents: &mut dyn Read) -> io::Result<Stored>;
}

/// Gives out blobs.
pub trait BlobSource {
    /// Opens a blob.
    fn open(&self, digest: BlobDigest) -> io::Result<Box<dyn Read + '_>>;
}

/// An image in an archive; its layers have gone to the sink.
#[derive(Clone, Debug)]
pub struct ArchivedImage {
    /// What it consists of; made up for an archive that has no manifest of its own.
    pub manifest: Manifest,
    /// The manifest as it stood in the archive, if it did.
    pub manifest_bytes: Option<Vec<u8>>,
    /// The config as it stood there.
    pub config: Vec<u8>,
    /// The names by which the archive calls it, not checked in any way.
    pub names: Vec<String>,
    /// The images for other platforms that the same names mean, as far as they are in the archive.
    pub others: Vec<Self>,
    /// The place of this image among those, in the order of the index.
    pub place: usize,
    /// The statements that the index has about it and that are in the archive: blobs, not read by now.
    pub statements: Vec<Descriptor>,
}

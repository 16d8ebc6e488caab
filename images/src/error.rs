//! What can go wrong with images.

use std::io;

use rbuild_cache::blobs::BlobError;
use rbuild_image::distribution::ClientError;
use rbuild_image::manifest::{DocumentError, JsonError, NoPlatform};
use rbuild_model::digest::{BlobDigest, DiffId, ImageId};
use rbuild_store::{DatabaseError, FileError, LockError, RoomError};

/// An image could not be found, brought, taken out or removed.
#[derive(Debug, thiserror::Error)]
pub enum ImagesError {
    /// There is no such image here.
    #[error("no such image: {0}")]
    NotFound(String),
    /// More than one image has an id that begins so.
    #[error("the id {0} is ambiguous: several images begin with it")]
    AmbiguousId(String),
    /// The image is not here and must not be pulled.
    #[error("{0} is not here and pulling is off")]
    PullIsOff(String),
    /// The registry could not be talked to or said no.
    #[error("cannot get {what}")]
    Registry {
        /// What was wanted.
        what: String,
        /// Why not.
        #[source]
        source: ClientError,
    },
    /// The registry did not take an image.
    #[error("cannot push {what}")]
    Push {
        /// The name that it was pushed under.
        what: String,
        /// Why not.
        #[source]
        source: ClientError,
    },
    /// The registry client could not be set up.
    #[error(transparent)]
    Client(ClientError),
    /// There is no variant for the platform.
    #[error("{what}: {source}")]
    Platform {
        /// The image.
        what: String,
        /// What is wanted and what there is.
        source: NoPlatform,
    },
    /// None of the images is for a platform that is wanted.
    #[error("{what}: none of the manifests match the provided platforms [{wanted}]")]
    NoneFits {
        /// The images.
        what: String,
        /// The platforms.
        wanted: String,
    },
    /// A document of the image is not acceptable.
    #[error("a manifest of {0} is not acceptable")]
    Document(String, #[source] DocumentError),
    /// The image's config is not acceptable.
    #[error("the config of {0} is not acceptable")]
    Config(String, #[source] JsonError),
    /// The image contradicts itself.
    #[error("{what} contradicts itself: {why}")]
    Inconsistent {
        /// The image.
        what: String,
        /// In what.
        why: String,
    },
    /// A layer is not what the config says.
    #[error("layer {layer} unpacks to {found}, and the config says {expected}")]
    WrongDiffId {
        /// The layer's blob.
        layer: BlobDigest,
        /// The DiffId of the config.
        expected: DiffId,
        /// What came out.
        found: DiffId,
    },
    /// A layer could not be read.
    #[error("cannot unpack layer {0}")]
    Layer(String, #[source] io::Error),
    /// A layer could not be written.
    #[error("cannot write the tree of {0}")]
    Tree(String, #[source] rbuild_snapshotter::Error),
    /// The layers of an image are gone and it is not known where from to fetch them.
    #[error("layers of image {0} are missing and cannot be fetched again: pull, load or build it anew")]
    Incomplete(ImageId),
    /// The image is named by several repositories.
    #[error("conflict: unable to delete {0} (must be forced) - image is referenced in multiple repositories")]
    SeveralNames(String),
    /// A container uses the image.
    #[error("conflict: unable to {what}")]
    InUse {
        /// What was to be done, and why it cannot, in Docker's words.
        what: String,
    },
    /// An instruction changes nothing of how an image runs, or cannot be read.
    #[error("invalid change: {0}")]
    Change(String),
    /// A folder could not be copied.
    #[error("failed to copy `{}`", path.display())]
    Copy {
        /// The folder.
        path: std::path::PathBuf,
        /// Why not.
        #[source]
        source: Box<rbuild_snapshotter::copier::CopyError>,
    },
    /// An archive is not one of images.
    #[error("not an archive of images: {0}")]
    Archive(String),
    /// An archive or a folder could not be read or written.
    #[error("cannot {act}")]
    Io {
        /// What was tried.
        act: String,
        /// What happened.
        #[source]
        source: io::Error,
    },
    /// Images and the cache may not take more, or what they take cannot be counted.
    #[error("cannot reserve room for {what}")]
    Room {
        /// What was to be written.
        what: String,
        /// What holds the room, or what failed.
        #[source]
        source: Box<RoomError>,
    },
    /// A blob could not be stored or read.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A file of the store failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A lock could not be had.
    #[error(transparent)]
    Lock(#[from] LockError),
}

impl From<rusqlite::Error> for ImagesError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error.into())
    }
}

impl ImagesError {
    pub(crate) fn io(act: impl Into<String>, source: io::Error) -> Self {
        Self::Io { act: act.into(), source }
    }
}

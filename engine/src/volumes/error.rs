//! Why something could not be done with a volume.

use std::path::PathBuf;

use rbuild_model::volume::{VolumeName, VolumeNameError};
use rbuild_store::{DatabaseError, FileError, LockError};

/// Why something could not be done with a volume.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum VolumesError {
    /// There is none of that name.
    #[error("get {0}: no such volume")]
    NotFound(String),
    /// The name is no name of a volume.
    #[error("create {text}: {source}")]
    Name {
        /// What was given.
        text: String,
        /// What is wrong with it.
        source: VolumeNameError,
    },
    /// Nobody keeps volumes of that kind.
    #[error("create {volume}: error looking up volume plugin {driver}: plugin \"{driver}\" not found")]
    Driver {
        /// Which volume.
        volume: VolumeName,
        /// The kind.
        driver: String,
    },
    /// There is one of that name, kept by somebody else.
    #[error(
        "a volume named {volume} already exists with the {driver} driver. Choose a different volume name"
    )]
    Exists {
        /// Its name.
        volume: VolumeName,
        /// Who keeps it.
        driver: String,
    },
    /// An option makes no sense.
    #[error("create {volume}: {mistake}")]
    Option {
        /// Which volume.
        volume: VolumeName,
        /// What is wrong.
        mistake: String,
    },
    /// It is in use.
    #[error("remove {volume}: volume is in use - [{}]", users.join(", "))]
    InUse {
        /// Its name.
        volume: VolumeName,
        /// The containers that have it.
        users: Vec<String>,
    },
    /// It cannot be filled from a file.
    #[error("the volume {volume} cannot begin with what the image has at {target}: it is not a folder")]
    NotAFolder {
        /// Which volume.
        volume: VolumeName,
        /// Where.
        target: String,
    },
    /// There is nothing where a part of it is to be seen.
    #[error("cannot access path {0}: lstat {0}: no such file or directory", path.display())]
    NoSubpath {
        /// Where that would be.
        path: PathBuf,
    },
    /// It could not be filled.
    #[error("failed to fill the volume {volume}")]
    Fill {
        /// Which volume.
        volume: VolumeName,
        /// Why not.
        #[source]
        source: rbuild_snapshotter::copier::CopyError,
    },
    /// It could not be mounted, or given back.
    #[error("failed to {act} the volume {volume}{what}")]
    Mount {
        /// Which volume.
        volume: VolumeName,
        /// What was tried.
        act: &'static str,
        /// What was to be mounted, in brackets.
        what: String,
        /// Why not.
        #[source]
        source: Box<rbuild_sandbox::mounts::MountError>,
    },
    /// The server that has it is not known by its name.
    #[error("failed to mount the volume {volume}: the name of the server {server} leads to no address")]
    Server {
        /// Which volume.
        volume: VolumeName,
        /// The name.
        server: String,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A tree could not be read or written.
    #[error(transparent)]
    Tree(#[from] rbuild_confined::Error),
    /// A file of the store failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// A lock failed.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The rows.
    #[error(transparent)]
    Database(#[from] DatabaseError),
}

impl VolumesError {
    /// Whether a file or folder that was asked for is not there.
    pub fn is_absence(&self) -> bool {
        match self {
            Self::NoSubpath { .. } => true,
            Self::Mount { source, .. } => std::error::Error::source(&**source)
                .and_then(|source| source.downcast_ref::<std::io::Error>())
                .is_some_and(|source| source.kind() == std::io::ErrorKind::NotFound),
            _ => false,
        }
    }
}

/// Names what was tried on a file.
pub(super) fn io<E: Into<std::io::Error>>(
    act: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> VolumesError {
    let path = path.into();
    move |source| FileError::new(act, path, source).into()
}

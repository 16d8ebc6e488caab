//! Why a cache elsewhere did not do what was asked.

use std::io;
use std::path::{Path, PathBuf};

use rbuild_image::distribution::ClientError;
use rbuild_image::manifest::DocumentError;

use super::catalog::CatalogError;
use crate::blobs::BlobError;

/// Why a cache elsewhere did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// A blob is not there.
    #[error("it has not got {0}")]
    Missing(String),
    /// A file could not be read or written.
    #[error("failed to {act} `{}`", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Its server failed, or is not acceptable.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A server refused.
    #[error("{what}: the server answered with status {status}{}", reason(message))]
    Refused {
        /// What was asked for.
        what: String,
        /// The status.
        status: u16,
        /// What it said, bounded.
        message: String,
    },
    /// A manifest is not acceptable.
    #[error("its manifest is not acceptable")]
    Document(#[from] DocumentError),
    /// The catalog is not acceptable.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// What it holds is not what it should be.
    #[error("{0}")]
    Unusable(String),
    /// A blob could not be kept, or is not what its digest says.
    #[error(transparent)]
    Blob(#[from] BlobError),
    /// Somebody began a blob there and never finished it, and it cannot be begun once more.
    #[error("somebody began {0} there and has not finished it")]
    Unfinished(String),
    /// There is no time left.
    #[error("the time for it is over")]
    OutOfTime,
    /// Something here failed.
    #[error("failed to {act}")]
    Here {
        /// What was tried.
        act: &'static str,
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

fn reason(message: &str) -> String {
    if message.is_empty() { String::new() } else { format!(" ({message})") }
}

impl BackendError {
    /// Names the file that failed.
    pub(super) fn io(act: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::Io { act, path: path.as_ref().to_owned(), source: source.into() }
    }
}

//! File errors: the act, the place, the cause, and for a full disk the way out.
//!
//! Every file operation of this crate reports through [`FileError`], so a full or failing disk looks the same
//! everywhere: callers branch on [`ErrorKind`], people read the text.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// What a caller can do about a failed operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The file system is full, or the user's quota is used up: pruning helps.
    NoSpace,
    /// The file system is mounted read-only, or turned read-only after an error.
    ReadOnly,
    /// The user lacks the permission.
    Permission,
    /// The object is not there: a miss, to be made again.
    NotFound,
    /// The device failed; nothing written by the failed call is to be trusted.
    Device,
    /// Anything else.
    Other,
}

impl ErrorKind {
    /// Sorts an I/O error into its kind.
    pub fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly,
            io::ErrorKind::PermissionDenied => Self::Permission,
            io::ErrorKind::NotFound => Self::NotFound,
            _ if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => Self::Device,
            _ => Self::Other,
        }
    }
}

/// A failed file operation.
#[derive(Debug, Error)]
#[error("failed to {act} `{}`{}", path.display(), Hint { kind: *kind, path })]
pub struct FileError {
    /// What was tried, as an infinitive: "write", "rename".
    pub act: &'static str,
    /// The file concerned.
    pub path: PathBuf,
    /// What a caller can do about it.
    pub kind: ErrorKind,
    /// The error of the system.
    pub source: io::Error,
}

impl FileError {
    /// Names the act and the place of an I/O error.
    pub fn new(act: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        let source = source.into();
        Self { act, path: path.into(), kind: ErrorKind::of(&source), source }
    }
}

/// The part of the text that tells what would help; it is computed only when the error is shown.
struct Hint<'a> {
    kind: ErrorKind,
    path: &'a Path,
}

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ErrorKind::NoSpace => match crate::space::free_near(self.path) {
                Some(free) => {
                    write!(
                        f,
                        " ({} free there; `rbuild prune` frees what no image or container needs)",
                        crate::space::Bytes(free)
                    )
                }
                None => write!(f, " (`rbuild prune` frees what no image or container needs)"),
            },
            ErrorKind::ReadOnly => write!(f, " (the file system is read-only)"),
            _ => Ok(()),
        }
    }
}

/// Adds act and place to results of the system.
pub(crate) trait Context<T> {
    /// Names what was tried and where.
    fn at(self, act: &'static str, path: impl AsRef<Path>) -> Result<T, FileError>;
}

impl<T, E: Into<io::Error>> Context<T> for Result<T, E> {
    fn at(self, act: &'static str, path: impl AsRef<Path>) -> Result<T, FileError> {
        self.map_err(|error| FileError::new(act, path.as_ref(), error))
    }
}

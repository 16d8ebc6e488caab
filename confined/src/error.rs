//! What can go wrong inside a tree; every error names the path.

use std::io;
use std::path::{Path, PathBuf};

/// The result of work inside a tree.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed act inside a tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// The verb, as in "open" or "make directory".
        act: &'static str,
        /// The path inside the tree.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Only a regular file will do.
    #[error("`{}` is not a regular file", path.display())]
    NotRegular {
        /// The path inside the tree.
        path: PathBuf,
    },
    /// The file is larger than the caller accepts.
    #[error("`{}` is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The path inside the tree.
        path: PathBuf,
        /// The most that is accepted.
        limit: u64,
    },
    /// The path names no entry of a directory: it is empty, the root, or ends in `..`.
    #[error("`{}` does not name an entry of a directory", path.display())]
    NoName {
        /// The path inside the tree.
        path: PathBuf,
    },
    /// Someone moved a directory while it was being walked.
    #[error("`{}` changed while it was being walked", path.display())]
    Moved {
        /// The path inside the tree.
        path: PathBuf,
    },
}

impl Error {
    /// Wraps a system call's error.
    pub fn io(act: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::Io { act, path: path.as_ref().to_owned(), source: source.into() }
    }

    /// Returns the path that the error is about.
    pub fn path(&self) -> &Path {
        match self {
            Self::Io { path, .. }
            | Self::NotRegular { path }
            | Self::TooLarge { path, .. }
            | Self::NoName { path }
            | Self::Moved { path } => path,
        }
    }

    /// Returns the system's error number, if a system call failed.
    pub fn errno(&self) -> Option<rustix::io::Errno> {
        match self {
            Self::Io { source, .. } => rustix::io::Errno::from_io_error(source),
            _ => None,
        }
    }

    /// Whether the path, or a directory on the way to it, does not exist.
    pub fn is_not_found(&self) -> bool {
        self.errno() == Some(rustix::io::Errno::NOENT)
    }

    /// Whether something on the way that must be a directory is none.
    pub fn is_not_a_directory(&self) -> bool {
        self.errno() == Some(rustix::io::Errno::NOTDIR)
    }
}

//! What can go wrong while a tree is looked at; every error names the path inside the tree.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// The result of looking at a tree.
pub type Result<T> = std::result::Result<T, Error>;

/// A selection that cannot be hashed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A path without wildcards is not there.
    #[error("\"{}\": not found", path.display())]
    NotFound {
        /// The path, from the root of the tree.
        path: PathBuf,
        /// Whether the file exists and only the ignore file hides it.
        ignored: bool,
    },
    /// The directory in front of the first wildcard is not there.
    #[error("lstat {}: no such file or directory", path.display())]
    NoDirectory {
        /// The path, from the root of the tree.
        path: PathBuf,
    },
    /// A pattern that means nothing.
    #[error("invalid pattern `{pattern}`: {reason}")]
    Pattern {
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The path passes through too many links, perhaps in a circle.
    #[error("too many symbolic links in `{}`", path.display())]
    TooManyLinks {
        /// The path, from the root of the tree.
        path: PathBuf,
    },
    /// The tree is deeper than a path can say.
    #[error("path is longer than {limit} bytes: `{}...`", start.display())]
    PathTooLong {
        /// The beginning of the path.
        start: PathBuf,
        /// The most that is accepted.
        limit: usize,
    },
    /// The file did not stay the same while it was read.
    #[error("`{}` changed while it was read", path.display())]
    Changed {
        /// The path, from the root of the tree.
        path: PathBuf,
    },
    /// The one who asked wants to know no more.
    #[error("stopped")]
    Stopped,
    /// A system call failed.
    #[error("cannot {act} `{}`", path.display())]
    Io {
        /// The verb, as in "open" or "read".
        act: &'static str,
        /// The path, from the root of the tree.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl Error {
    pub(crate) fn io(act: &'static str, path: &[u8], source: impl Into<io::Error>) -> Self {
        Self::Io { act, path: absolute(path), source: source.into() }
    }

    pub(crate) fn changed(path: &[u8]) -> Self {
        Self::Changed { path: absolute(path) }
    }
}

/// Writes a path inside the tree the way that people know it: with a slash in front.
pub(crate) fn absolute(path: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(path.len() + 1);
    bytes.push(b'/');
    bytes.extend_from_slice(path.strip_prefix(b"/").unwrap_or(path));
    PathBuf::from(OsStr::from_bytes(&bytes))
}

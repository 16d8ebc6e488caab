//! What can go wrong with snapshots.

use std::path::PathBuf;

use rbuild_image::tar::{PathProblem, TarError};
use rbuild_model::snapshot::SnapshotId;

use crate::extract::ExtractError;

/// The result of work on snapshots.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed act on snapshots.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Work on files failed.
    #[error(transparent)]
    Tree(#[from] rbuild_confined::Error),
    /// A snapshot is not in the store.
    #[error("snapshot {id} is not in the store")]
    Missing {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The empty stack has no snapshot on top.
    #[error("the empty root has no layer")]
    NoLayer,
    /// A folder of the store was not given by an absolute path.
    #[error("`{}` is not an absolute path", path.display())]
    Relative {
        /// The path.
        path: PathBuf,
    },
    /// An overlay left a mark that it must not leave with the options that we mount with.
    #[error("`{}` holds the attribute {name}, which a layer cannot express", path.display())]
    Redirected {
        /// The path inside the layer.
        path: PathBuf,
        /// The attribute.
        name: String,
    },
    /// A name cannot be written into a layer.
    #[error("`{}` cannot be put into a layer{}", path.display(), whiteout(source.as_ref()))]
    Unrepresentable {
        /// The path inside the layer.
        path: PathBuf,
        /// What is wrong with it; without it, the name begins as a whiteout does.
        source: Option<PathProblem>,
    },
    /// A layer could not be written.
    #[error("cannot write the layer")]
    Tar(#[from] TarError),
    /// A layer could not be extracted.
    #[error("cannot extract the layer")]
    Extract(#[from] ExtractError),
    /// No random bits for a name.
    #[error("cannot draw random bits")]
    Random(#[source] std::io::Error),
}

fn whiteout(problem: Option<&PathProblem>) -> &'static str {
    match problem {
        Some(_) => "",
        None => ": in a layer a name that begins with `.wh.` says that a file is gone",
    }
}

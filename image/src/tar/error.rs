//! What can be wrong with an archive.

use std::io;

use super::path::{PathProblem, ShownName};

/// An archive could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// The stream below failed.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// The stream below failed.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// The contents of an entry to be written could not be read.
    #[error("cannot read the contents of `{0}`")]
    Content(ShownName, #[source] io::Error),
    /// The stream ended inside an entry.
    #[error("the archive ends in the middle of an entry, at byte {0}")]
    Truncated(u64),
    /// An entry is not acceptable.
    #[error("bad entry {name:?} at byte {offset}")]
    Entry {
        /// Where its header stands.
        offset: u64,
        /// Its name, as far as it is known.
        name: ShownName,
        /// What is wrong.
        #[source]
        problem: EntryProblem,
    },
    /// There are more entries than allowed.
    #[error("the archive has more than {0} entries")]
    TooManyEntries(u64),
    /// The contents have more bytes than allowed.
    #[error("the contents of the archive have more than {0} bytes")]
    TooLarge(u64),
    /// The contents of an entry to be written are shorter or longer than its size.
    #[error("the contents of `{name}` changed: {expected} bytes were expected")]
    SizeMismatch {
        /// The entry.
        name: ShownName,
        /// The size in its header.
        expected: u64,
    },
}

/// What is wrong with one entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryProblem {
    /// The header's checksum does not fit.
    #[error("the header's checksum is wrong")]
    Checksum,
    /// The header is of no known kind.
    #[error("the header is of no known kind")]
    Magic,
    /// One zero block, and then something else.
    #[error("a lone block of zeros")]
    LoneZeroBlock,
    /// A number of the header is not one.
    #[error("the {0} is not an acceptable number")]
    Number(&'static str),
    /// The type is none that has a meaning here.
    #[error("entries of type {0:?} are not supported")]
    Type(char),
    /// The name is not acceptable.
    #[error("the name {0}")]
    Path(PathProblem),
    /// The target of a link is not acceptable.
    #[error("the link's target {0}")]
    Target(PathProblem),
    /// A link without a target.
    #[error("the link has no target")]
    EmptyTarget,
    /// Something without contents has a size.
    #[error("it has a size though its type has no contents")]
    UnexpectedSize,
    /// The root is something else than a folder.
    #[error("the root is not a folder")]
    RootNotDirectory,
    /// A character device that would be an overlay's whiteout.
    #[error("a character device 0:0")]
    WhiteoutDevice,
    /// A block of PAX records or a long name is too large.
    #[error("an extended header of more than {0} bytes")]
    ExtensionTooLarge(u64),
    /// Two extended headers of one kind before one entry, or none behind.
    #[error("extended headers that do not belong to one entry")]
    ExtensionOrder,
    /// A PAX record does not follow the form.
    #[error("a malformed PAX record")]
    PaxRecord,
    /// A PAX record that decides on the entry stands there twice or without a value.
    #[error("a doubled or empty PAX record `{0}`")]
    PaxKey(String),
    /// An extended attribute is too large or has an impossible name.
    #[error("an extended attribute that is too large or has an impossible name")]
    Xattr,
    /// The map of a sparse file is not acceptable.
    #[error("a bad map of a sparse file")]
    SparseMap,
    /// A name that begins as a whiteout and is none.
    #[error("a malformed whiteout")]
    Whiteout,
}

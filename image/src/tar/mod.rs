//! Layers and archives as entries: read strictly, written in one canonical form.
//!
//! [`Reader`] turns the bytes of a tar into [`Entry`] values and their contents. It has *one* reading of every
//! archive and refuses what other programs read in different ways: a size on something that has no contents, two
//! extended headers in a row, numbers with garbage, names that climb with `..`. A name becomes an [`EntryPath`],
//! which cannot leave its root, so that who extracts never sees another kind. It reads V7, ustar, PAX and GNU
//! headers, long names of both kinds, and sparse files of all four forms; it never allocates by a declared size,
//! and each quantity has a bound in [`Limits`].
//!
//! [`Writer`] makes the same bytes of the same entries on any machine: ustar headers, PAX records only for what
//! does not fit, no names of owners, whole seconds no later than the epoch asked for, two zero blocks at the
//! end. The form has a number, [`TAR_VERSION`]; golden digests in the tests hold it in place.
//!
//! [`Whiteout`] reads the names by which a layer takes things away (OCI image-spec, "Representing changes").
//! Only layers have those; an archive that an ADD unpacks does not.
//!
//! Nothing here touches a file system: both halves work on any `Read` and `Write`.

mod entry;
mod error;
mod header;
mod limits;
mod number;
mod path;
mod pax;
mod reader;
mod sparse;
mod whiteout;
mod writer;

#[cfg(test)]
mod hostile;
#[cfg(test)]
mod tests;

pub use entry::{Device, Entry, EntryKind, Timestamp, Xattr};
pub use error::{EntryProblem, TarError};
pub use limits::Limits;
pub use path::{EntryPath, PathProblem};
pub use reader::{Chunk, End, Reader};
pub use whiteout::Whiteout;
pub use writer::{Options, Writer};

/// The version of the form that [`Writer`] writes; changes whenever equal entries would give other bytes.
pub const TAR_VERSION: u32 = 1;

const BLOCK: usize = 512;

/// Returns how many bytes fill up a content of `size` bytes to whole blocks.
const fn padding(size: u64) -> u64 {
    (BLOCK as u64 - size % BLOCK as u64) % BLOCK as u64
}

//! Content hashes: what a selection of paths of a tree holds, so that a step is done again only if that changed.
//!
//! A [`ContextScan`] looks at one tree on behalf of one build and answers [`PathSource`]s with [`SelectionHash`]es.
//! It walks only what is selected, in parallel, and once; for a client's folder it reads only the files that the stat
//! index of the last build does not vouch for.
//!
//! | Module | What it knows |
//! |---|---|
//! | `source` | where a tree comes from: a client's folder with its ignore file and index, or a snapshot |
//! | `scan` | the lazy copy of names and stats, and the walk that fills it |
//! | `resolve` | links, `..` and wildcards inside a scan |
//! | `select` | what a selection means and what of it is hashed |
//! | `node`, `view` | the Merkle tree: what of an entry is hashed |
//! | `hashed` | what was hashed, read back |
//! | `file`, `large` | hashing one file, and when a stat says enough |
//! | `index`, `save` | the stat index on disk |
//! | `check` | whether what a copier copied is what was hashed |
//! | `pattern`, `filter` | lists of patterns ([`rbuild_model::glob`]), and ignore files |
//! | `pool` | the threads |
//!
//! # Trust
//! A client's folder may change at any moment, under the hand of its owner or with intent. Nothing here follows a link
//! by the kernel's hand: directories are opened beneath the root without links, entries by name in an open
//! directory, and links are resolved as text inside the listings. A race can thus make a hash be of the wrong moment,
//! never of the wrong tree; and that is found out when the copier's bytes are compared ([`FileCheck`]).
//!
//! [`PathSource`]: rbuild_model::step::PathSource

mod check;
mod error;
mod file;
mod filter;
mod hashed;
mod index;
mod large;
mod node;
mod pattern;
mod pool;
mod resolve;
mod save;
mod scan;
mod select;
mod source;
mod view;

pub use check::{FileCheck, find};
pub use error::{Error, Result};
pub use filter::{Decision, Filter};
pub use hashed::{HashedContent, HashedEntry, HashedNode};
pub use index::IndexError;
pub use node::{Content, FileDigest, FileFacts, TREE_VERSION, TreeEntry, TreeNode};
pub use save::IndexSaved;
pub use scan::{ContextScan, ScanEffort, Stop};
pub use select::{Matched, SelectionHash};
pub use source::TreeSource;

#[cfg(test)]
mod tests;

//! Snapshots: immutable trees in stacks, and active ones that are being written.
//!
//! A [`Snapshotter`] keeps trees in the store. `prepare` begins an [`Active`] snapshot over a stack of committed ones
//! (a [`Chain`](rbuild_model::snapshot::Chain)), `commit` makes it immutable, and what a stack looks like mounted is a
//! value ([`RootPlan`](rbuild_model::rootfs::RootPlan)) that the sandbox carries out: nothing here mounts, and nothing
//! here knows the database. An active snapshot can be discarded, and it can never be a parent: `commit` takes it away.
//!
//! ```text
//! snapshots/overlay1/<id>/fs      a committed layer, in the form of overlayfs (marks in trusted.overlay.*)
//! snapshots/overlay1-user/<id>/fs the same with marks in user.overlay.*, for user namespaces
//! snapshots/copy1/<id>/fs         a whole tree: the parent's copied, then changed
//! snapshots/<format>/empty        the empty tree
//! tmp/<id>/fs, tmp/<id>/work      an active snapshot; one rename commits it
//! trash/<id>                      a removed one, until its files are gone
//! ```
//!
//! # What is here
//! * [`overlay`], [`copy`]: the two implementations. The second is slow and simple: it is
//!   the oracle of the first, and the fallback where no overlay can be mounted.
//! * [`diff`]: what a snapshot changed, and [`layer`]: the same as an OCI layer tar.
//! * [`write_tree`]: a whole tree, or a part of one, as a tar.
//! * [`extract`]: layers and archives onto trees.
//! * [`copier`]: trees into trees, as COPY does.
//!
//! Commits are renames without sync: snapshots are derived data, made durable by whoever keeps their rows.

mod active;
pub mod copier;
pub mod copy;
pub mod diff;
mod error;
pub mod extract;
mod folders;
pub mod layer;
mod merged;
pub mod overlay;
mod snapshotter;
mod tree_tar;
mod usage;
mod xattr;

pub use active::Active;
pub use copy::CopySnapshotter;
pub use error::{Error, Result};
pub use folders::{Condemned, Folders};
pub use layer::{write_layer, write_layer_without};
pub use overlay::OverlaySnapshotter;
pub use snapshotter::{Snapshotter, Tree, Writes};
pub use tree_tar::{write_tree, write_tree_without};
pub use usage::{Usage, size_of, usage_of};
pub use xattr::{copy_xattrs, xattrs_of};

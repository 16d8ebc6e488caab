//! The only door to untrusted trees: path work that cannot leave its root.
//!
//! A tree that came from outside (an image, a build context, a volume, an archive) is never touched by path strings of
//! the host. It is opened once as a [`Root`]; every path is then resolved *inside* it, as if the root were `/`:
//! absolute links start again at the root and `..` stops there. What comes out is a [`Handle`], a descriptor that
//! names one object and keeps naming it whatever happens to the path afterwards. Work on the object goes through the
//! descriptor, work on a name goes through a parent's descriptor and the `*at` calls of [`rustix`] without following.
//!
//! # Two resolvers, one meaning
//! The kernel does the walk with `openat2(RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)` where it can; a rename anywhere on the
//! machine that races with a `..` makes it return `EAGAIN`, which is retried at most 128 times. Where that does not help,
//! or the call is missing (Linux before 5.6, some seccomp filters), the walk is done here, component by component with `O_PATH | O_NOFOLLOW`, and `..` returns to
//! the descriptor the walk came from instead of asking the kernel for the parent. The same test bodies run on both. The
//! one difference: the kernel refuses the magic links of procfs (`ELOOP`) while the walk reads their text and resolves it
//! inside the root; neither leaves it.
//!
//! # What is here
//! * [`Root`], [`Handle`]: resolve, read, make directories ([`Root::mkdir_all`]).
//! * [`Walk`], [`DirStack`]: walks that need neither recursion nor a descriptor per level, so depth costs nothing.
//! * [`remove_tree`]: deletes by descriptor, over any depth, never into another mount.
//! * [`chmod_nofollow`]: the mode of an entry that others may put a link in the place of.
//! * [`Users`]: bounded look-ups in the tree's own `etc/passwd` and `etc/group`.
//!
//! This crate holds no unsafe code and knows no other crate of the workspace.

mod dirs;
mod error;
mod handle;
mod metadata;
mod mode;
mod remove;
mod resolve;
mod root;
pub mod users;
mod walk;

pub use dirs::{Created, Made, NewDir};
pub use error::{Error, Result};
pub use handle::Handle;
pub use metadata::{Kind, Metadata, Owner, Time};
pub use mode::chmod_nofollow;
pub use remove::{remove_contents, remove_tree};
pub use root::{Mounts, Resolver, Root};
pub use users::{Id, Identity, UserError, UserSpec, Users};
pub use walk::{DirEntry, DirStack, Step, Walk, open_subdir, read_dir};

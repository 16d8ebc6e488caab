//! Work without root: a user namespace in which this process is root, and nothing outside.
//!
//! With subordinate ids (`/etc/subuid`, `/etc/subgid`) and the set-user-id helpers `newuidmap` and `newgidmap` a whole
//! range of users exists inside; without, a single one: files of all owners are then stored as the caller's, and what
//! wants to become another user fails. The mapping needs a process that stayed outside; it is made before, waits, runs
//! the helpers, and is gone.
//!
//! ```text
//! command ── lock ── keeper there? ── yes: join its user namespace
//!    |                     └──────── no: make one, and fork a keeper in it
//!    └─ a mount namespace of its own; the host's network for itself (registries, proxies, published ports)
//! keeper ── holds the user namespace, and from the first wish on a network namespace with a way out
//! ```
//!
//! The **keeper** is one process a user, and leaves with the last command that is connected to it and the last process in
//! its namespace. It is what several commands at the same time share: bridges, and the one way out. Commands that need no
//! network join it if it is there and do without if not: ids line up either way, as the maps are the same.
//!
//! All of this happens in a process with one thread, which therefore need not be executed again: it simply goes on
//! inside. The caller's network is not left, so only what works for containers enters the keeper's.

mod ids;
mod keeper;
mod user;
mod way_out;

use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

pub use keeper::{Keeper, KeeperError};
pub use way_out::{NAME_SERVER, WayOut};

use crate::wire::WireError;

/// A user namespace that could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum RootlessError {
    /// The process has more than one thread.
    #[error("user namespaces can only be entered before the first thread is made")]
    Threads,
    /// The kernel forbids user namespaces.
    #[error("cannot make a user namespace: {cause}")]
    Forbidden {
        /// Which setting it is, as far as it can be told, with what would change it.
        cause: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
    /// A helper refused the mapping.
    #[error("`{}` refused to map the subordinate ids: {message}", helper.display())]
    Helper {
        /// The helper.
        helper: PathBuf,
        /// What it said.
        message: String,
    },
    /// An act within the new namespace failed.
    #[error("cannot {act}")]
    Act {
        /// What was tried.
        act: &'static str,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The runtime folder cannot be used.
    #[error("cannot {act} `{}`", path.display())]
    Folder {
        /// What was tried.
        act: &'static str,
        /// Which file or folder.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others could reach into the runtime folder.
    #[error("the runtime folder `{}` belongs to user {owner} with mode {mode:o}: it has to be yours alone (mode 700)", path.display())]
    Exposed {
        /// Which folder.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Its mode.
        mode: u32,
    },
    /// The keeper does not answer as it should.
    #[error("the keeper of your namespaces does not answer at `{}`; if it hangs, end the process `rbuild-keeper`", path.display())]
    Keeper {
        /// Its socket.
        path: PathBuf,
        /// What happened.
        #[source]
        source: WireError,
    },
    /// What answers is another user's.
    #[error("the keeper at `{}` belongs to user {owner}", path.display())]
    Foreign {
        /// Its socket.
        path: PathBuf,
        /// Whose it is.
        owner: u32,
    },
}

/// How a user namespace is entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootlessConfig {
    /// The user's runtime folder, in which the keeper is found; it is made if its parent is there.
    pub runtime: PathBuf,
    /// Whether a keeper is needed.
    pub keeper: KeeperNeed,
}

/// Whether a command needs a keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeeperNeed {
    /// It does: it may want networks.
    Started,
    /// It does not, and only joins one that is there.
    Joined,
}

/// Which users exist in the namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// The caller as root, and ranges of subordinate ids from 1 on.
    Ranges {
        /// How many users there are besides root.
        users: u32,
        /// How many groups.
        groups: u32,
    },
    /// Only the caller, as root.
    Single {
        /// Why there are no more, with what would change it.
        reason: String,
    },
}

/// What was entered.
#[derive(Debug)]
pub struct Entered {
    /// Which users exist.
    pub mapping: Mapping,
    /// What holds the namespaces, for as long as this value lives.
    pub keeper: Option<Keeper>,
}

/// Tells whether this process has to enter a user namespace before it can isolate anything.
pub fn is_needed() -> bool {
    !rustix::process::geteuid().is_root()
}

/// Enters a user namespace as its root: the keeper's if there is one, else a new one.
///
/// Must be called before the first thread is made. Returns within, with what the mapping came to.
pub fn enter(config: &RootlessConfig) -> Result<Entered, RootlessError> {
    private_folder(&config.runtime)?;
    let lock = keeper::lock(&config.runtime)?;
    let entered = match keeper::join(&config.runtime)? {
        Some((keeper, mapping)) => Entered { mapping, keeper: Some(keeper) },
        None => {
            let mapping = user::make()?;
            let keeper = match config.keeper {
                KeeperNeed::Started => Some(keeper::start(&config.runtime, &mapping)?),
                KeeperNeed::Joined => None,
            };
            Entered { mapping, keeper }
        }
    };
    drop(lock);
    user::become_root()?;
    Ok(entered)
}

/// Makes the runtime folder if it is missing, and makes sure that it is nobody else's.
fn private_folder(path: &Path) -> Result<(), RootlessError> {
    let failed = |act| move |source| RootlessError::Folder { act, path: path.to_owned(), source };
    match std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed("make")(error)),
        _ => {}
    }
    // What lies in somebody else's folder, they can exchange.
    if let Some(parent) = path.parent() {
        let stat = std::fs::symlink_metadata(parent).map_err(failed("look at the parent of"))?;
        if stat.uid() != rustix::process::geteuid().as_raw() && stat.uid() != 0 {
            let (owner, mode) = (stat.uid(), stat.mode() & 0o7777);
            return Err(RootlessError::Exposed { path: parent.to_owned(), owner, mode });
        }
    }
    // Not through a link: whoever made that could point it elsewhere later.
    let stat = std::fs::symlink_metadata(path).map_err(failed("look at"))?;
    let (owner, mode) = (stat.uid(), stat.mode() & 0o7777);
    if !stat.is_dir() || owner != rustix::process::geteuid().as_raw() || mode & 0o077 != 0 {
        return Err(RootlessError::Exposed { path: path.to_owned(), owner, mode });
    }
    Ok(())
}

/// Tells whether this process may make device nodes: root of the initial user namespace may.
pub(crate) fn may_make_devices() -> bool {
    in_initial_user_namespace() && crate::capabilities::CapabilityMask::held().contains("MKNOD")
}

/// Tells whether a group of this user namespace exists outside of it.
pub(crate) fn is_group_mapped(gid: u32) -> bool {
    let map = ids::read("/proc/self/gid_map");
    map.is_empty()
        || map.lines().any(|line| {
            let mut fields = line.split_whitespace().map(|field| field.parse::<u64>().unwrap_or(0));
            let (first, _, count) = (fields.next().unwrap_or(0), fields.next(), fields.next().unwrap_or(0));
            (first..first + count).contains(&u64::from(gid))
        })
}

/// Tells whether this process is in the initial user namespace, by the fixed inode number of that one.
pub fn in_initial_user_namespace() -> bool {
    const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
    rustix::fs::stat("/proc/self/ns/user").is_ok_and(|stat| stat.st_ino == INITIAL_USER_NAMESPACE)
}

//! Named locks between processes, and between the tasks of one process.
//!
//! # The primitive
//! A lock is a `flock` on a file of its own, so the kernel frees it when its holder dies, however it dies. Record
//! locks of `fcntl` are not used: any `close` in the process would drop them. Each acquisition opens its own
//! description, so two tasks of one process exclude each other as two processes do. Descriptors are close-on-exec.
//!
//! Acquiring is: open, `flock`, then compare the inode with the one under the name. A holder of an exclusive lock
//! removes the file before it lets go (the folder stays empty however many steps are built), so whoever was granted
//! the lock of a removed file starts again.
//!
//! # Classes and their order
//! A task that holds a lock may only acquire locks of later classes ([`LockClass`], in order of declaration); of one
//! class it may hold several only where the class says so, acquired by ascending name. Debug builds check this for
//! each [`LockScope`], which is what a task acquires through.
//!
//! # Waiting
//! Uncontended, a lock is taken without blocking. Otherwise a helper thread blocks in `flock`: the kernel then wakes
//! exactly one waiter at the moment the lock falls free, in order of arrival. The alternative, watching the file with
//! inotify, was dropped because the close event is sent before the kernel releases the lock, so a waiter that tries
//! on that event can lose the race and sleep for ever. A cancelled waiter leaves its thread behind; should it still
//! be granted the lock, it lets go at once.
//!
//! After one second of waiting the caller is told who holds the lock: exclusive holders write their process and
//! purpose into the file. That text is information only; nothing is decided by it. Text that is still there when
//! the lock is acquired tells that the last holder died inside ([`Lock::abandoned`]).

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::fd::OwnedFd;
use rustix::fs::FlockOperation;
use thiserror::Error;

use crate::cancel::Cancel;
use crate::error::{Context, FileError};

mod file;

pub(crate) use file::{Grant, acquire_file, try_file};

#[cfg(test)]
mod tests;

/// How long a waiter waits before the caller is told who holds the lock.
const NOTICE_AFTER: Duration = Duration::from_secs(1);

/// What a lock protects; declared in the order in which a task may acquire them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LockClass {
    /// A project that is being made what its files say, named by its name.
    Project,
    /// One sweep, recovery or emptying of the trash at a time.
    Upkeep,
    /// An image or tag that is being changed.
    Image,
    /// The making of a step's result; a task holds at most one.
    Step,
    /// The unpacking of a stack of layers, named by its chain.
    Unpack,
    /// The download or making of a blob, named by its digest.
    Blob,
    /// The name of an object that can come back under it: held from publishing until the row is written, and while a
    /// condemned one is moved away.
    Publish,
    /// A container; several only in ascending order of name.
    Container,
    /// A volume that is being made or filled.
    Volume,
    /// A network, or the choice of addresses and ports; several only in ascending order of name.
    Network,
    /// A cache mount with locked sharing; several only in ascending order of name.
    CacheMount,
    /// A log or event file.
    Log,
}

impl LockClass {
    fn label(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Upkeep => "upkeep",
            Self::Image => "image",
            Self::Step => "step",
            Self::Unpack => "unpack",
            Self::Blob => "blob",
            Self::Publish => "publish",
            Self::Container => "container",
            Self::Volume => "volume",
            Self::Network => "network",
            Self::CacheMount => "cache-mount",
            Self::Log => "log",
        }
    }

    fn allows_several(self) -> bool {
        matches!(self, Self::Container | Self::Network | Self::CacheMount)
    }
}

/// The name of a lock: its class, and what of that class.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LockName {
    class: LockClass,
    subject: String,
}

impl LockName {
    /// Names the lock of one subject; the subject may be any text.
    pub fn new(class: LockClass, subject: impl fmt::Display) -> Self {
        Self { class, subject: subject.to_string() }
    }

    /// Returns the file name: short, and safe whatever the subject is.
    fn file_name(&self) -> String {
        let hash = blake3::hash(self.subject.as_bytes()).to_hex();
        format!("{}-{}", self.class.label(), &hash[..32])
    }
}

impl fmt::Display for LockName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.class.label(), self.subject)
    }
}

/// Who else may hold the lock meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockMode {
    /// Others who ask for the same.
    Shared,
    /// Nobody.
    Exclusive,
}

impl LockMode {
    fn blocking(self) -> FlockOperation {
        match self {
            Self::Shared => FlockOperation::LockShared,
            Self::Exclusive => FlockOperation::LockExclusive,
        }
    }

    fn immediate(self) -> FlockOperation {
        match self {
            Self::Shared => FlockOperation::NonBlockingLockShared,
            Self::Exclusive => FlockOperation::NonBlockingLockExclusive,
        }
    }
}

/// Who holds a lock, as the holder wrote it: information only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The process id, in the holder's pid namespace.
    pub pid: u32,
    /// The command and what it does under the lock.
    pub purpose: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "process {} ({})", self.pid, self.purpose)
    }
}

/// Why a lock was not acquired.
#[derive(Debug, Error)]
pub enum LockError {
    /// The lock file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The caller no longer wants it.
    #[error("cancelled while waiting for the lock of {name}")]
    Cancelled {
        /// What the lock protects.
        name: String,
    },
    /// The time that the caller allows is over.
    #[error("the lock of {name} was not free within {waited:?}{}", held_by(holder))]
    TimedOut {
        /// What the lock protects.
        name: String,
        /// How long it was waited for.
        waited: Duration,
        /// Who holds it, if it says so.
        holder: Option<Holder>,
    },
    /// The helper thread could not be started.
    #[error("failed to start a thread that waits for the lock of {name}")]
    Thread {
        /// What the lock protects.
        name: String,
        /// The error of the system.
        source: std::io::Error,
    },
}

fn held_by(holder: &Option<Holder>) -> String {
    holder.as_ref().map_or_else(String::new, |holder| format!(": {holder} holds it"))
}

/// What is called when a wait gets long: with the lock, and its holder if it is known.
pub type Notice<'a> = dyn Fn(&LockName, Option<&Holder>) + Sync + 'a;

/// How to wait for a lock.
pub struct Wait<'a> {
    /// The wish to stop.
    pub cancel: Cancel,
    /// The longest time to wait, if there is one.
    pub timeout: Option<Duration>,
    /// Called once when a second has passed, with the holder if it is known.
    pub notice: Option<&'a Notice<'a>>,
}

impl Wait<'_> {
    /// Waits until the lock is free, silently.
    pub fn forever() -> Self {
        Self { cancel: Cancel::never(), timeout: None, notice: None }
    }

    /// Waits until the lock is free or the wish to stop is made, silently.
    pub fn until(cancel: &Cancel) -> Self {
        Self { cancel: cancel.clone(), timeout: None, notice: None }
    }
}

/// The locks of one store.
#[derive(Clone, Debug)]
pub struct Locks {
    folder: Arc<PathBuf>,
    purpose: Arc<str>,
}

impl Locks {
    pub(crate) fn new(folder: PathBuf, purpose: &str) -> Self {
        Self { folder: Arc::new(folder), purpose: Arc::from(purpose) }
    }

    /// Begins a task: what it acquires is checked for order in debug builds.
    pub fn scope(&self) -> LockScope {
        LockScope { locks: self.clone(), held: Arc::default() }
    }

    /// Removes the files of locks that nobody holds: killed processes left them.
    pub fn remove_left(&self) -> Result<(), LockError> {
        let folder = self.folder.as_path();
        let entries = match std::fs::read_dir(folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            entries => entries.at("list", folder)?,
        };
        for entry in entries {
            let path = entry.at("list", folder)?.path();
            if let Some(grant) = try_file(&path, LockMode::Exclusive)? {
                file::unsign_and_remove(&grant.fd, &path);
            }
        }
        Ok(())
    }
}

/// What one task acquires locks through.
///
/// Clones belong to the same task, which may move between threads.
#[derive(Clone, Debug)]
pub struct LockScope {
    locks: Locks,
    held: Arc<Mutex<Vec<LockName>>>,
}

impl LockScope {
    /// Acquires a lock if that needs no waiting.
    pub fn try_acquire(&self, name: &LockName, mode: LockMode) -> Result<Option<Lock>, LockError> {
        self.check_order(name);
        let path = self.locks.folder.join(name.file_name());
        Ok(try_file(&path, mode)?.map(|grant| self.hold(name, mode, path, grant)))
    }

    /// Acquires a lock, waiting as told.
    pub fn acquire(&self, name: &LockName, mode: LockMode, wait: &Wait<'_>) -> Result<Lock, LockError> {
        self.check_order(name);
        let path = self.locks.folder.join(name.file_name());
        let notice = |holder: Option<&Holder>| {
            if let Some(notice) = wait.notice {
                notice(name, holder);
            }
        };
        let grant = acquire_file(&path, name, mode, wait, &notice)?;
        Ok(self.hold(name, mode, path, grant))
    }

    /// Does work once however many ask for it: looks, locks, looks again, works.
    ///
    /// `look` answers from what is there already; `work` runs under the lock. The lock is returned with fresh
    /// work, so that the caller may publish before letting go.
    pub fn single_flight<T, E: From<LockError>>(
        &self,
        name: &LockName,
        wait: &Wait<'_>,
        mut look: impl FnMut() -> Result<Option<T>, E>,
        work: impl FnOnce(&Lock) -> Result<T, E>,
    ) -> Result<Flight<T>, E> {
        if let Some(found) = look()? {
            return Ok(Flight::Found(found));
        }
        let lock = self.acquire(name, LockMode::Exclusive, wait)?;
        if let Some(found) = look()? {
            return Ok(Flight::Found(found));
        }
        work(&lock).map(Flight::Made)
    }

    fn hold(&self, name: &LockName, mode: LockMode, path: PathBuf, grant: Grant) -> Lock {
        if cfg!(debug_assertions) {
            self.lock_held().push(name.clone());
        }
        if mode == LockMode::Exclusive {
            file::sign(&grant.fd, &self.locks.purpose);
        }
        Lock {
            name: name.clone(),
            mode,
            path,
            fd: grant.fd,
            abandoned: grant.left_behind,
            scope: self.clone(),
        }
    }

    fn lock_held(&self) -> std::sync::MutexGuard<'_, Vec<LockName>> {
        self.held.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn check_order(&self, wanted: &LockName) {
        if !cfg!(debug_assertions) {
            return;
        }
        let held = self.lock_held();
        if let Some(last) = held.iter().max() {
            let fits = last.class < wanted.class
                || (last.class == wanted.class
                    && wanted.class.allows_several()
                    && last.subject < wanted.subject);
            assert!(fits, "lock order: the lock of {wanted} was asked for while that of {last} is held");
        }
    }
}

/// What [`LockScope::single_flight`] did.
#[derive(Debug)]
pub enum Flight<T> {
    /// It was there, perhaps made by somebody while we waited.
    Found(T),
    /// We made it.
    Made(T),
}

impl<T> Flight<T> {
    /// Returns the thing, whoever made it.
    pub fn into_inner(self) -> T {
        match self {
            Self::Found(thing) | Self::Made(thing) => thing,
        }
    }
}

/// A held lock; dropping it lets go.
#[derive(Debug)]
pub struct Lock {
    name: LockName,
    mode: LockMode,
    path: PathBuf,
    fd: OwnedFd,
    abandoned: Option<Holder>,
    scope: LockScope,
}

impl Lock {
    /// Returns what the lock protects.
    pub fn name(&self) -> &LockName {
        &self.name
    }

    /// Returns the last exclusive holder if it died while it held the lock: what it was changing may be half done.
    pub fn abandoned(&self) -> Option<&Holder> {
        self.abandoned.as_ref()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if cfg!(debug_assertions) {
            let mut held = self.scope.lock_held();
            if let Some(place) = held.iter().position(|held| *held == self.name) {
                held.swap_remove(place);
            }
        }
        if self.mode == LockMode::Exclusive {
            // Removal is tidiness: a file that stays is found free by the next who asks, though signed.
            file::unsign_and_remove(&self.fd, &self.path);
        }
        // Closing the descriptor releases the lock.
    }
}

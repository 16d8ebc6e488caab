//! Where a container lies, and what can be learnt there without its monitor.
//!
//! ```text
//! <root>/containers/<id>/        <run>/containers/<id>/
//!   lock       held for life       state.json     the record, now
//!   last.json  the record          settings.json  what the monitor was told
//!   ...        logs                plan.json      how it is run
//!                                  control        the monitor's socket
//!                                  stdin stdout stderr   the container's pipes
//! ```
//!
//! The lock says who may write: the monitor holds it for life, and without a monitor the command that takes it.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rbuild_model::container::{ContainerId, State};
use rbuild_sandbox::cgroup::{Cgroup, Layout};
use rbuild_store::BootId;
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::document::{self, DocumentError, Promise};
use crate::record::Record;

/// What the folders of one container are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    id: ContainerId,
    folder: PathBuf,
    run: PathBuf,
}

/// A place that could not be used.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// A file of it.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// A file operation failed.
    #[error("cannot {act} `{}`", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The boot could not be told.
    #[error("cannot tell the boot of this machine")]
    Boot(#[source] rbuild_store::FileError),
}

/// What is known of a container without asking its monitor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// The record is true: a monitor keeps it, or nothing runs.
    Settled(Record),
    /// It runs, or is to be started again, and has no monitor: it wants to be [adopted](crate::Client::adopt).
    Orphan(Record),
    /// It waits for its next start without a monitor, and its networks went with that: it wants to be started anew.
    Interrupted(Record),
    /// It was running and is not any more, and nobody wrote that down: it wants to be [settled](Place::settle).
    Lost(Record),
}

impl Observed {
    /// Returns the record, whatever it is worth.
    pub fn record(&self) -> &Record {
        match self {
            Self::Settled(record) | Self::Orphan(record) | Self::Interrupted(record) | Self::Lost(record) => {
                record
            }
        }
    }
}

/// The lock of a container, held.
#[derive(Debug)]
pub struct Lock(OwnedFd);

impl Lock {
    /// Takes over a descriptor that holds the lock.
    pub(crate) fn of_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Gives it back at once. Closing would leave it held by every process that has a copy of the descriptor, as those have
    /// that were made by a fork and are still ending.
    pub(crate) fn release(self) {
        // What fails here is undone by the end of the last of them.
        let _ = rustix::fs::flock(&self.0, FlockOperation::Unlock);
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Place {
    /// Names the place of a container in the two folders of containers.
    pub fn new(containers: &Path, run_containers: &Path, id: &ContainerId) -> Self {
        let name = id.to_string();
        Self { id: *id, folder: containers.join(&name), run: run_containers.join(&name) }
    }

    /// Names the place by its two folders.
    pub(crate) fn of_folders(id: ContainerId, folder: PathBuf, run: PathBuf) -> Self {
        Self { id, folder, run }
    }

    /// Names the place of another container of the same store.
    pub(crate) fn neighbour(&self, id: &ContainerId) -> Self {
        let beside = |folder: &Path| folder.with_file_name(id.to_string());
        Self { id: *id, folder: beside(&self.folder), run: beside(&self.run) }
    }

    /// Which container.
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Its folder of this boot.
    pub fn run(&self) -> &Path {
        &self.run
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.run.join("state.json")
    }

    pub(crate) fn settings(&self) -> PathBuf {
        self.run.join("settings.json")
    }

    pub(crate) fn plan(&self) -> PathBuf {
        self.run.join("plan.json")
    }

    pub(crate) fn last(&self) -> PathBuf {
        self.folder.join("last.json")
    }

    /// Makes the folder of this boot.
    pub(crate) fn prepare(&self) -> Result<(), PlaceError> {
        match rustix::fs::mkdir(&self.run, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(errno) => Err(self.failed("make", &self.run, errno)),
        }
    }

    /// Opens the folder of this boot; paths through its descriptor are short enough for sockets.
    pub(crate) fn open_run(&self) -> Result<OwnedFd, PlaceError> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        rustix::fs::open(&self.run, flags, Mode::empty())
            .map_err(|errno| self.failed("open", &self.run, errno))
    }

    pub(crate) fn failed(&self, act: &'static str, path: &Path, errno: Errno) -> PlaceError {
        PlaceError::File { act, path: path.to_owned(), source: errno.into() }
    }

    /// Takes the lock if nobody has it.
    pub fn try_lock(&self) -> Result<Option<Lock>, PlaceError> {
        let path = self.folder.join("lock");
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(CWD, &path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| self.failed("open", &path, errno))?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(None),
            Err(errno) => return Err(self.failed("lock", &path, errno)),
        }
        // The folder may have been removed between the two.
        let same = rustix::fs::stat(&path)
            .and_then(|named| Ok(named.st_ino == rustix::fs::fstat(&file)?.st_ino))
            .unwrap_or(false);
        if same { Ok(Some(Lock(file))) } else { Err(self.failed("lock", &path, Errno::NOENT)) }
    }

    /// Looks at what is written down, and whether it can still be true.
    pub fn observe(&self) -> Result<Observed, PlaceError> {
        let boot = BootId::current().map_err(PlaceError::Boot)?.to_string();
        let Some(record) = self.read_record()? else { return Ok(Observed::Settled(Record::new(boot))) };
        if !record.state.is_active() {
            return Ok(Observed::Settled(record));
        }
        if record.boot != boot {
            return Ok(Observed::Lost(record));
        }
        // Its process is looked at, not the lock: looking at a lock is taking it for a moment.
        if record.monitor.is_some_and(rbuild_sandbox::process::is_alive) {
            return Ok(Observed::Settled(record));
        }
        let lives = match &record.state {
            State::Running(run) | State::Paused(run) => rbuild_sandbox::process::is_alive(run.init),
            State::Restarting { .. } => true,
            _ => false,
        };
        // What it takes to adopt it lies in the run folder.
        let adoptable = lives && self.plan().exists() && self.settings().exists();
        Ok(match record.state {
            _ if !adoptable => Observed::Lost(record),
            State::Restarting { .. } if self.has_duties() => Observed::Interrupted(record),
            _ => Observed::Orphan(record),
        })
    }

    /// Whether its monitor serves networks of it, which live no longer than the monitor and the program.
    pub(crate) fn has_duties(&self) -> bool {
        document::read::<crate::Plan>(&self.plan(), PLAN)
            .is_ok_and(|plan| plan.is_some_and(|plan| plan.duties.is_some()))
    }

    /// Whether a record is of this boot: of another, nothing lives any more.
    pub fn is_of_this_boot(record: &Record) -> Result<bool, PlaceError> {
        Ok(record.boot == BootId::current().map_err(PlaceError::Boot)?.to_string())
    }

    /// Writes down that a container has ended whose end nobody saw; returns what is true then.
    ///
    /// Whoever calls this holds the lock, so that no monitor can be at work.
    pub fn settle(&self, _lock: &Lock) -> Result<Record, PlaceError> {
        match self.read_record()? {
            Some(mut record) if record.state.is_active() => {
                let boot = BootId::current().map_err(PlaceError::Boot)?.to_string();
                record.lose(if record.boot == boot { "monitor lost" } else { MACHINE_RESTARTED });
                record.boot = boot;
                self.end_group();
                self.write_last(&record, Promise::Synced)?;
                if self.run.is_dir() {
                    self.write_state(&record)?;
                }
                Ok(record)
            }
            Some(record) => Ok(record),
            None => Ok(Record::new(BootId::current().map_err(PlaceError::Boot)?.to_string())),
        }
    }

    /// Takes away the control group of a container that has ended, with what may be left in it.
    fn end_group(&self) {
        let Ok(Some(plan)) = document::read::<crate::Plan>(&self.plan(), PLAN) else { return };
        if let Some(group) = Cgroup::open(Layout::shared(), &plan.cgroup.prefix, &plan.cgroup.name) {
            // What cannot be taken away is met again by the next start.
            let _ = group.remove();
        }
    }

    /// Writes down another state: for commands that mark a container as being removed or dead.
    pub fn mark(&self, _lock: &Lock, state: State) -> Result<(), PlaceError> {
        let boot = BootId::current().map_err(PlaceError::Boot)?.to_string();
        let mut record = self.read_record()?.unwrap_or_else(|| Record::new(boot));
        record.state = state;
        self.write_last(&record, Promise::Synced)?;
        if self.run.is_dir() { self.write_state(&record) } else { Ok(()) }
    }

    /// Removes the folder of this boot with all that is in it. Repeatable.
    pub fn clear(&self) -> Result<(), PlaceError> {
        match std::fs::remove_dir_all(&self.run) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(PlaceError::File { act: "remove", path: self.run.clone(), source: error })
            }
            _ => Ok(()),
        }
    }

    /// Reads the newer of the two records.
    pub(crate) fn read_record(&self) -> Result<Option<Record>, PlaceError> {
        match document::read(&self.state(), STATE) {
            Ok(Some(record)) => Ok(Some(record)),
            // A damaged one is as none: the other one stays.
            Ok(None) | Err(DocumentError::Damaged { .. }) => match document::read(&self.last(), LAST) {
                Err(DocumentError::Damaged { .. }) => Ok(None),
                result => Ok(result?),
            },
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn write_state(&self, record: &Record) -> Result<(), PlaceError> {
        Ok(document::write(&self.state(), STATE, record, Promise::Volatile)?)
    }

    pub(crate) fn write_last(&self, record: &Record, promise: Promise) -> Result<(), PlaceError> {
        Ok(document::write(&self.last(), LAST, record, promise)?)
    }

    /// A path to a name in the folder of this boot, by descriptor.
    pub(crate) fn short(run: &OwnedFd, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", run.as_raw_fd()))
    }
}

/// What is said of the end of a program that ran when the machine was restarted.
pub const MACHINE_RESTARTED: &str = "the machine was restarted";

/// The kinds of documents.
const STATE: &str = "state";
const LAST: &str = "last";
pub(crate) const SETTINGS: &str = "settings";
pub(crate) const PLAN: &str = "plan";
/// The name of the monitor's socket.
pub(crate) const CONTROL: &str = "control";

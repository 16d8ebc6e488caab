//! The threads that copy files while the walk goes on.
//!
//! The one who walks makes directories and decides; regular files are work that is handed over in batches. Small copies
//! never start a thread, and when everybody is busy the one who walks lends a hand, so what waits is bounded in number
//! and in descriptors.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, Scope};

use rbuild_confined::{Metadata, Root};

use super::hand::{Hand, Place};
use super::{CopyError, Result};

/// Files in a batch.
const BATCH: usize = 64;

/// Folders in a batch, each of which is two descriptors.
const BATCH_FOLDERS: usize = 16;

/// Batches that wait, for each thread.
const WAITING: usize = 2;

/// More threads than this wait for the file system.
const MOST_THREADS: usize = 4;

/// A folder whose files are being copied: its attributes are set when the last is there.
#[derive(Debug)]
pub(super) struct Folder {
    /// Relative to the destination.
    pub(super) path: PathBuf,
    /// The attributes it gets; none for the destination itself.
    meta: Option<Metadata>,
    state: Mutex<FolderState>,
}

#[derive(Debug, Default)]
struct FolderState {
    pending: usize,
    left: bool,
}

impl Folder {
    pub(super) fn new(path: PathBuf, meta: Option<Metadata>) -> Arc<Self> {
        Arc::new(Self { path, meta, state: Mutex::default() })
    }

    /// Says that the walk has left it; returns whether nothing is under way in it any more.
    pub(super) fn leave(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.left = true;
        state.pending == 0
    }

    fn add(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).pending += 1;
    }

    /// Says that a file is there; returns whether it was the last.
    fn done(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pending -= 1;
        state.left && state.pending == 0
    }
}

/// The directory that the walk is in, at both ends.
#[derive(Debug)]
pub(super) struct Ends {
    pub(super) source: OwnedFd,
    pub(super) dest: OwnedFd,
    /// Whether new files get the group of `dest`.
    pub(super) inherits: bool,
    pub(super) folder: Arc<Folder>,
}

/// A regular file to copy.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) ends: Arc<Ends>,
    pub(super) name: OsString,
}

/// Those who copy.
pub(super) struct Crew<'a> {
    hand: &'a Hand<'a>,
    /// The destination, in which other names of files are found.
    tree: &'a Root,
    threads: usize,
    queue: Mutex<Queue>,
    changed: Condvar,
    stopped: AtomicBool,
    failed: Mutex<Option<(usize, CopyError)>>,
}

#[derive(Default)]
struct Queue {
    batches: VecDeque<Batch>,
    closed: bool,
    started: bool,
}

/// Some files, and the number of the batch: of several errors the first in the order of the walk is told.
#[derive(Default)]
pub(super) struct Batch {
    number: usize,
    jobs: Vec<Job>,
    folders: usize,
}

impl<'a> Crew<'a> {
    pub(super) fn new(hand: &'a Hand<'a>, tree: &'a Root) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Self {
            hand,
            tree,
            threads: cores.min(MOST_THREADS) - 1,
            queue: Mutex::default(),
            changed: Condvar::new(),
            stopped: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// Whether something failed: there is no use in going on.
    pub(super) fn has_failed(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Adds a file to a batch, which is handed over when it is full.
    pub(super) fn add<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        batch: &mut Batch,
        job: Job,
        buffer: &mut Vec<u8>,
    ) {
        job.ends.folder.add();
        let is_other = batch.jobs.last().is_none_or(|last| !Arc::ptr_eq(&last.ends, &job.ends));
        batch.folders += usize::from(is_other);
        batch.jobs.push(job);
        if batch.jobs.len() < BATCH && batch.folders < BATCH_FOLDERS {
            return;
        }
        let number = batch.number + 1;
        let full = std::mem::replace(batch, Batch { number, ..Batch::default() });
        if let Some(mine) = self.hand_over(scope, full) {
            self.copy(mine, buffer);
        }
    }

    /// Gives a batch to the threads, or back if they have enough to do.
    fn hand_over<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, batch: Batch) -> Option<Batch> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if self.threads == 0 || queue.batches.len() >= self.threads * WAITING {
            return Some(batch);
        }
        queue.batches.push_back(batch);
        if !queue.started {
            queue.started = true;
            for _ in 0..self.threads {
                // One that cannot be had is no loss: what waits is taken by the one who walks, at the end.
                let _ = thread::Builder::new().name("copy".to_owned()).spawn_scoped(scope, || self.work());
            }
        }
        drop(queue);
        self.changed.notify_one();
        None
    }

    fn work(&self) {
        let mut buffer = Vec::new();
        while let Some(batch) = self.next() {
            self.copy(batch, &mut buffer);
        }
    }

    /// Waits for a batch; `None` when there will be no more.
    fn next(&self) -> Option<Batch> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(batch) = queue.batches.pop_front() {
                return Some(batch);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that no more will come, and takes part in what is left.
    pub(super) fn finish(&self, last: Batch, buffer: &mut Vec<u8>) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
        self.copy(last, buffer);
        while let Some(batch) = self.next() {
            self.copy(batch, buffer);
        }
    }

    /// Returns the first error, once all threads have ended.
    pub(super) fn result(self) -> Result<()> {
        match self.failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }

    fn copy(&self, batch: Batch, buffer: &mut Vec<u8>) {
        for job in batch.jobs {
            if self.has_failed() {
                return;
            }
            if let Err(error) = self.one(&job, buffer) {
                self.stopped.store(true, Ordering::Relaxed);
                let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(number, _)| *number > batch.number) {
                    *failed = Some((batch.number, error));
                }
                return;
            }
        }
    }

    fn one(&self, Job { ends, name }: &Job, buffer: &mut Vec<u8>) -> Result<()> {
        let path = ends.folder.path.join(name);
        let place = Place { dir: ends.dest.as_fd(), name, path: &path, inherits: ends.inherits };
        self.hand.file_at(&ends.source, place, self.tree, buffer)?;
        let is_last = ends.folder.done();
        match &ends.folder.meta {
            Some(meta) if is_last => self.hand.finish_dir(&ends.dest, meta, &ends.folder.path),
            _ => Ok(()),
        }
    }
}

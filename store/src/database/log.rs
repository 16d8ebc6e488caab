//! Syncing the write-ahead log, once for all who wait for it.
//!
//! A commit is in the log when its transaction ends, and on the disk when the log was synced by anybody after that. So the sync
//! comes when others may write again, and whoever asks while one is under way shares the next one with all who ask until it
//! begins.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

/// The log of a database.
pub(super) struct Log {
    path: PathBuf,
    syncs: Syncs,
}

impl Log {
    pub(super) fn of(database: &Path) -> Self {
        let mut path = database.as_os_str().to_owned();
        path.push("-wal");
        Self { path: path.into(), syncs: Syncs::default() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Has all on the disk that was committed before.
    pub(super) fn sync(&self) -> Result<(), Errno> {
        self.syncs.join(|file| {
            // One descriptor for all syncs: each error of the file since it was opened is told to it.
            if !file.as_ref().is_some_and(is_there) {
                *file = match rustix::fs::open(&self.path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()) {
                    Ok(opened) => Some(opened),
                    // Without a log SQLite has synced the commit itself.
                    Err(Errno::NOENT) => return Ok(()),
                    Err(errno) => return Err(errno),
                };
            }
            file.as_ref().map_or(Ok(()), rustix::fs::fdatasync)
        })
    }

    /// How many syncs there were.
    #[cfg(test)]
    pub(super) fn syncs(&self) -> u64 {
        self.syncs.state().ended
    }
}

/// Whether a file still has a name.
fn is_there(file: &OwnedFd) -> bool {
    rustix::fs::fstat(file).is_ok_and(|stat| stat.st_nlink > 0)
}

/// Syncs, numbered from 1 on in the order in which they begin; one at a time.
#[derive(Default)]
struct Syncs {
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Default)]
struct State {
    begun: u64,
    ended: u64,
    /// Those that failed. What one covered may be lost, whatever later ones say.
    failed: Vec<(u64, Errno)>,
    file: Option<OwnedFd>,
}

impl Syncs {
    /// Waits for the end of a sync that begins from now on; makes it, if nobody else does.
    fn join(&self, sync: impl FnOnce(&mut Option<OwnedFd>) -> Result<(), Errno>) -> Result<(), Errno> {
        let mut state = self.state();
        let ours = state.begun + 1;
        while state.ended < ours {
            if state.begun > state.ended {
                // Another one is under way.
                state = self.ended.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.begun += 1;
            let mut file = state.file.take();
            drop(state);
            let done = sync(&mut file);
            state = self.state();
            state.ended += 1;
            state.file = file;
            let number = state.ended;
            if let Err(errno) = done {
                state.failed.push((number, errno));
            }
            self.ended.notify_all();
            break;
        }
        match state.failed.iter().find(|(number, _)| *number == ours) {
            Some((_, errno)) => Err(*errno),
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names the failure of a sync.
pub(super) fn failed(log: &Log, errno: Errno) -> crate::error::FileError {
    crate::error::FileError::new("sync", log.path(), io::Error::from(errno))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn whoever_asks_gets_a_sync_that_began_afterwards() {
        let (syncs, written, synced) = (Syncs::default(), AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..50 {
                        let mine = written.fetch_add(1, Ordering::SeqCst) + 1;
                        let done = syncs.join(|_| {
                            let seen = written.load(Ordering::SeqCst);
                            std::thread::yield_now();
                            synced.store(seen, Ordering::SeqCst);
                            Ok(())
                        });
                        done.unwrap();
                        assert!(synced.load(Ordering::SeqCst) >= mine);
                    }
                });
            }
        });
        let state = syncs.state();
        assert!(state.begun == state.ended && state.ended <= 400);
    }

    #[test]
    fn all_who_share_a_sync_share_its_failure() {
        let syncs = Syncs::default();
        let begun = std::sync::Barrier::new(2);
        let asked = |number: u64| {
            // The first one is under way until the others have asked for the second.
            while syncs.state().begun < number {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            let first = scope.spawn(|| {
                syncs.join(|_| {
                    begun.wait();
                    Ok(())
                })
            });
            asked(1);
            let second = scope.spawn(|| syncs.join(|_| Err(Errno::IO)));
            let third = scope.spawn(|| syncs.join(|_| Err(Errno::IO)));
            begun.wait();
            assert_eq!(first.join().unwrap(), Ok(()));
            assert_eq!(second.join().unwrap(), Err(Errno::IO));
            assert_eq!(third.join().unwrap(), Err(Errno::IO));
        });
        assert_eq!(syncs.join(|_| Ok(())), Ok(()), "the next one is another matter");
    }
}

//! Room for what a step writes, where images and the cache may not take more than so much.
//!
//! What a program will write is known by nobody: while it runs, what it has written is counted now and then, and room
//! is reserved for that. Where there is none left, the program is killed. What a step has written is counted once more
//! before it is committed, so nothing is committed that no room was reserved for. What a step that failed has written to
//! cache mounts stays and counts; a mount that there is no room for then is thrown away.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rbuild_cache::mounts::Mounts;
use rbuild_confined::Root;
use rbuild_snapshotter::{Active, Snapshotter, usage_of};
use rbuild_store::usage::bytes_of;
use rbuild_store::{Room, RoomError, Store};

use crate::error::StepError;
use crate::runner::Runner;

/// How often a running program's writes are counted, at most.
const PERIOD: Duration = Duration::from_secs(1);
/// Counting takes no more than this share of the time.
const SHARE: u32 = 20;

/// Room for what a running program writes: to its tree, and to caches.
pub(crate) struct Guard {
    room: Room,
    tree: Root,
    /// Folders of cache mounts, with the bytes that are counted already.
    caches: Vec<(String, u64)>,
    mounts: Mounts,
}

impl Guard {
    /// Looks at what a program is about to write; `None` where nothing is counted.
    pub(crate) fn begin(
        runner: &Runner<'_>,
        active: &Active,
        caches: &[String],
    ) -> Result<Option<Self>, StepError> {
        if !runner.store().has_budget() {
            return Ok(None);
        }
        let mounts = Mounts::new(runner.store());
        let known = mounts.list()?;
        let counted = |name: &String| {
            known.iter().find(|mount| mount.is_for.name == *name).map_or(0, |mount| mount.bytes)
        };
        let caches = caches.iter().map(|name| (name.clone(), counted(name))).collect();
        let tree = runner.snapshotter().open_active(active).map_err(StepError::Snapshot)?;
        let room = runner.store().reserve_room(0).map_err(StepError::Room)?;
        Ok(Some(Self { room, tree, caches, mounts }))
    }

    /// Counts what was written so far.
    fn count(&self) -> Result<u64, StepError> {
        let mut bytes = usage_of(&self.tree).map_err(StepError::Snapshot)?.bytes;
        for (name, counted) in &self.caches {
            bytes += bytes_of(&self.mounts.path(name))?.saturating_sub(*counted);
        }
        Ok(bytes)
    }

    /// Does something while what is written is counted. `stop` ends it where no room is left; that is then the error.
    pub(crate) fn watch<T>(
        &self,
        stop: impl Fn() + Send,
        body: impl FnOnce() -> T,
    ) -> (T, Option<RoomError>) {
        // What cannot be counted now is counted next time, and before the commit at last.
        let look = || self.count().map_or(Ok(()), |bytes| self.room.hold_with(bytes));
        watch(look, stop, body)
    }

    /// Reserves room for all that was written in the end, and lets the caches be counted for themselves.
    pub(crate) fn end(self) -> Result<Room, StepError> {
        if let Err(error) = self.room.grow_to(self.count()?) {
            self.abandon()?;
            return Err(StepError::Room(error));
        }
        self.close_caches()?;
        Ok(self.room)
    }

    /// Lets the caches be counted for themselves where the tree goes: those that there is no room for go with it.
    pub(crate) fn abandon(&self) -> Result<(), StepError> {
        let mut grown = Vec::new();
        let mut bytes = 0;
        for (name, counted) in &self.caches {
            let more = bytes_of(&self.mounts.path(name))?.saturating_sub(*counted);
            bytes += more;
            grown.extend((more > 0).then_some(name.as_str()));
        }
        if let Err(RoomError::Full { .. }) = self.room.grow_to(bytes) {
            self.mounts.forget(&grown)?;
        }
        self.close_caches()
    }

    fn close_caches(&self) -> Result<(), StepError> {
        let names: Vec<&str> = self.caches.iter().map(|(name, _)| name.as_str()).collect();
        Ok(self.mounts.close(&names)?)
    }
}

/// Does something while somebody looks now and then whether there is room for it. `stop` ends it where there is none; that is
/// then the error.
pub(crate) fn watch<T>(
    look: impl Fn() -> Result<(), RoomError> + Send,
    stop: impl Fn() + Send,
    body: impl FnOnce() -> T,
) -> (T, Option<RoomError>) {
    std::thread::scope(|scope| {
        let (alive, end) = mpsc::channel::<std::convert::Infallible>();
        let watcher = scope.spawn(move || {
            let mut pause = PERIOD;
            while end.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                let began = Instant::now();
                if let Err(error) = look() {
                    stop();
                    return Some(error);
                }
                pause = PERIOD.max(began.elapsed() * SHARE);
            }
            None
        });
        let done = body();
        drop(alive);
        (done, watcher.join().unwrap_or(None))
    })
}

/// Reserves room for a tree that was written and is about to be committed, and says how much it takes; `None` where
/// nothing is counted.
pub(crate) fn settle(
    store: &Store,
    snapshotter: &dyn Snapshotter,
    active: &Active,
    room: &Room,
) -> Result<Option<u64>, StepError> {
    if !store.has_budget() {
        return Ok(None);
    }
    let tree = snapshotter.open_active(active).map_err(StepError::Snapshot)?;
    let bytes = usage_of(&tree).map_err(StepError::Snapshot)?.bytes;
    room.grow_to(bytes).map_err(StepError::Room)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use rbuild_cache::mounts::{MountFolders, MountUse, SCHEMA};
    use rbuild_store::{Budget, StoreOptions};

    use super::*;

    const MAX: u64 = 1 << 20;

    /// A step that mounts the cache `c`, in a store that takes a MiB, and has written so much to it.
    fn wrote(bytes: usize) -> (tempfile::TempDir, Mounts, Guard) {
        let folder = tempfile::tempdir().unwrap();
        let options = StoreOptions::new(folder.path().join("root"), folder.path().join("run"), "rbuild test");
        let store = Store::open(StoreOptions { schemas: &[&SCHEMA], reserve: 0, ..options }).unwrap();
        store.set_budget(Budget { max: MAX, owners: &[&MountFolders] });
        let mounts = Mounts::new(&store);
        let wanted = MountUse { name: "c".to_owned(), id: "c".to_owned(), target: "/c".to_owned() };
        mounts.open(&[wanted], &store.lease("test").unwrap()).unwrap();
        std::fs::create_dir_all(mounts.path("c")).unwrap();
        std::fs::create_dir(folder.path().join("tree")).unwrap();
        let guard = Guard {
            room: store.reserve_room(0).unwrap(),
            tree: Root::open(folder.path().join("tree")).unwrap(),
            caches: vec![("c".to_owned(), 0)],
            mounts: mounts.clone(),
        };
        std::fs::write(mounts.path("c").join("file"), vec![7; bytes]).unwrap();
        (folder, mounts, guard)
    }

    #[test]
    fn what_a_failed_step_left_in_a_cache_counts() {
        let (_folder, mounts, guard) = wrote(300_000);
        guard.abandon().unwrap();
        assert!(mounts.list().unwrap()[0].bytes >= 300_000);
        assert!(mounts.path("c").join("file").exists());
    }

    #[test]
    fn a_cache_that_there_is_no_room_for_goes() {
        let (_folder, mounts, guard) = wrote(2 << 20);
        guard.abandon().unwrap();
        assert_eq!(mounts.list().unwrap(), []);
        assert!(!mounts.path("c").exists());
        let (_folder, mounts, guard) = wrote(2 << 20);
        assert!(matches!(guard.end(), Err(StepError::Room(RoomError::Full { .. }))));
        assert!(!mounts.path("c").exists(), "nor does one stay of a step that did what it should");
    }
}

//! Room for what a step writes, where the cache may not take more than so much.
//!
//! What a program will write is known by nobody: while it runs, what it has written is counted now and then, and room
//! is reserved for that. Where there is none left, the program is killed. What a step has written is counted once more
//! before it is committed, so nothing is committed that no room was reserved for.

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
/// Reserved beyond what is written, so that not each count has to reserve.
const AHEAD: u64 = 4 << 20;

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
        std::thread::scope(|scope| {
            let (alive, end) = mpsc::channel::<std::convert::Infallible>();
            let watcher = scope.spawn(move || {
                let mut pause = PERIOD;
                while end.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                    let began = Instant::now();
                    // What cannot be counted now is counted next time, and before the commit at last.
                    if let Ok(bytes) = self.count() {
                        let ahead = self.room.grow_to(bytes.saturating_add(AHEAD));
                        if let Err(error) = ahead.or_else(|_| self.room.grow_to(bytes)) {
                            stop();
                            return Some(error);
                        }
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

    /// Reserves room for all that was written in the end, and lets the caches be counted for themselves.
    pub(crate) fn end(self) -> Result<Room, StepError> {
        self.room.grow_to(self.count()?).map_err(StepError::Room)?;
        let names: Vec<&str> = self.caches.iter().map(|(name, _)| name.as_str()).collect();
        self.mounts.count(&names)?;
        Ok(self.room)
    }
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

//! Named places at which a test may kill the process.
//!
//! A crash point is a place between two effects on the disk. Built without the feature `crash-points`, [`point`]
//! is empty. Built with it, `arm` chooses a point and how many times it is to be passed; the next pass kills the
//! process with `SIGKILL`, as a power user with `kill -9` would. Tests walk [`POINTS`], kill at each, open the store
//! again and check it. What is armed is a value given by the caller: nothing here reads the environment.

/// Every crash point of this crate, for tests that walk them all.
pub const POINTS: &[&str] = &[
    "open.root-created",
    "open.meta-written",
    "open.migrated",
    "open.recovered",
    "process.locked",
    "publish.linked",
    "replace.renamed",
    "promote.listed",
    "promote.synced",
    "promote.marked",
    "tree.renamed",
    "trash.renamed",
    "trash.removed",
    "sweep.marked",
    "sweep.condemned",
    "sweep.reclaimed",
    "events.appended",
    "events.rotated",
];

/// Dies here if a test armed this point.
#[inline]
pub fn point(name: &'static str) {
    #[cfg(feature = "crash-points")]
    armed::pass(name);
    #[cfg(not(feature = "crash-points"))]
    let _ = name;
}

#[cfg(feature = "crash-points")]
pub use armed::arm;

#[cfg(feature = "crash-points")]
mod armed {
    use std::sync::Mutex;

    static ARMED: Mutex<Option<(String, u32)>> = Mutex::new(None);

    /// Kills the process when the point `name` is passed for the `nth` time (counted from 1).
    pub fn arm(name: &str, nth: u32) {
        *ARMED.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Some((name.to_owned(), nth));
    }

    pub(super) fn pass(name: &str) {
        let mut armed = ARMED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let Some((wanted, left)) = armed.as_mut() else { return };
        if wanted != name {
            return;
        }
        *left = left.saturating_sub(1);
        if *left == 0 {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        }
    }
}

//! Making what was done last, while nobody waits for it.
//!
//! Results are delivered unsynced. Whatever verb leaves rows behind that a power loss would drop (or finds such rows of
//! others) has them promoted by `rbuild promote`, a process of its own: at its end, and every 30 seconds while it runs.
//! The same process shortens the database's log, which whoever opens the database next would have to read.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use rbuild_store::Store;

use super::signals;
use crate::settings::{self, Settings};

/// How much work a power loss takes at most from a command that runs for long.
const PERIOD: Duration = Duration::from_secs(30);

/// Promotes now and then, and when it is dropped.
pub(super) struct Promotion {
    starter: Starter,
    /// Nothing is ever sent: that this goes is the sign.
    alive: Option<mpsc::Sender<std::convert::Infallible>>,
    clock: Option<JoinHandle<()>>,
}

impl Promotion {
    /// Begins. That promotion cannot be begun only costs work after a power loss.
    pub(super) fn begin(store: &Store, settings: &Settings) -> Self {
        let starter =
            Starter { store: store.clone(), root: settings.root.clone(), runtime: settings.runtime.clone() };
        let (alive, end) = mpsc::channel();
        let own = starter.clone();
        let clock = signals::thread("promotion", move || {
            let mut running: Option<Child> = None;
            while end.recv_timeout(PERIOD) == Err(RecvTimeoutError::Timeout) {
                let busy = running.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
                if !busy {
                    running = own.start();
                }
            }
        });
        Self { starter, alive: Some(alive), clock: clock.ok() }
    }
}

impl Drop for Promotion {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(clock) = self.clock.take() {
            // A panic there was told where it happened.
            let _ = clock.join();
        }
        self.starter.start();
    }
}

/// Starts `rbuild promote` if there is something for it to do.
#[derive(Clone)]
struct Starter {
    store: Store,
    root: PathBuf,
    runtime: PathBuf,
}

impl Starter {
    fn start(&self) -> Option<Child> {
        let due = self.store.unpromoted().is_ok_and(|rows| rows > 0)
            || self.store.has_trash().is_ok_and(|trash| trash)
            || self.store.database().is_log_long();
        if !due {
            return None;
        }
        Command::new("/proc/self/exe")
            .arg("promote")
            .env("RBUILD_ROOT", &self.root)
            .env(settings::RUNTIME, &self.runtime)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()
    }
}

//! One command at a time changes a project.
//!
//! Who makes a project what its files say, or starts what is there of it, holds the project from the look at what there
//! is to the last thing that it makes or starts. Another one waits for that, looks then, and finds less to do, or nothing.
//! What only takes down (`down`, `stop`, `kill`, `rm`, `pause`) asks nobody: it has to work while something hangs.
//!
//! ```text
//! up   take ─ look, plan ─ make ── let go ─ wait for health ── take ─ pre_start, start ─ let go
//! up                        (waits)  take ─ look, plan ─ let go ─ wait for health ─ ...
//! ```
//!
//! While a plan only waits for containers, others may go on: a wait takes as long as it takes. It holds on while a
//! container runs to its end before a service starts, and while a new container stands beside the old one: another command
//! would take either for something that was left behind. So what a plan does after a wait is looked at again when its turn
//! comes: what was started meanwhile is not started again, and nothing runs before it again
//! ([`super::Operation::RunBefore`]).
//!
//! A container that is waited for may be made anew by another command then. The wait ends with that
//! ([`super::OperationError::Overtaken`]), and it is planned what is left to do with what is there ([`super::Wanted::as_it_is`]):
//! two that want something else do not take turns for ever.
//!
//! The hold is a lock of the store ([`rbuild_store::LockClass::Project`]), which the kernel frees with the process. Who is
//! killed leaves at most what any killed command leaves, and the next one goes on from there.

use std::sync::{Mutex, MutexGuard, PoisonError};

use rbuild_model::project::ProjectName;
use rbuild_store::{Lock, LockClass, LockError, LockMode, LockName, LockScope, Wait};

use super::halt::Halt;
use crate::engine::Engine;

/// The right to change a project, whether it is held at the moment or not.
#[derive(Debug)]
pub struct Hold {
    scope: LockScope,
    name: LockName,
    lock: Mutex<Option<Lock>>,
}

impl Engine {
    /// Returns the right to change a project; it is not held yet.
    pub fn hold_of_project(&self, project: &ProjectName) -> Hold {
        Hold {
            scope: self.parts.store.locks().scope(),
            name: LockName::new(LockClass::Project, project),
            lock: Mutex::default(),
        }
    }
}

impl Hold {
    /// Takes it if that needs no waiting; returns whether it is held.
    pub fn try_take(&self) -> Result<bool, LockError> {
        let mut lock = self.lock();
        if lock.is_none() {
            *lock = self.scope.try_acquire(&self.name, LockMode::Exclusive)?;
        }
        Ok(lock.is_some())
    }

    /// Takes it, and waits for that until it is wished to stop; returns whether it is held. `tell` gets to know who
    /// has it, if that takes long.
    pub fn take(&self, halt: &Halt, tell: &(dyn Fn(String) + Sync)) -> Result<bool, LockError> {
        let mut lock = self.lock();
        if lock.is_some() {
            return Ok(true);
        }
        let notice = |_: &LockName, holder: Option<&rbuild_store::Holder>| {
            let who = holder.map_or_else(|| "another command".to_owned(), ToString::to_string);
            tell(format!("waits for {who}, which is at work on this project"));
        };
        let wait = Wait { cancel: halt.cancel().clone(), timeout: None, notice: Some(&notice) };
        match self.scope.acquire(&self.name, LockMode::Exclusive, &wait) {
            Ok(taken) => *lock = Some(taken),
            Err(LockError::Cancelled { .. }) => return Ok(false),
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    /// Whether it is held.
    pub fn is_held(&self) -> bool {
        self.lock().is_some()
    }

    /// Lets others have it.
    pub fn let_go(&self) {
        drop(self.lock().take());
    }

    fn lock(&self) -> MutexGuard<'_, Option<Lock>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

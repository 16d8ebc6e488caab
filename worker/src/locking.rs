//! The locks of one step: what other processes, and other steps of this one, may be busy with.

use rbuild_solver::Turn;
use rbuild_store::{Lock, LockError, LockMode, LockName, LockScope, Wait};

/// Takes locks for one step. Nobody keeps others from running while he waits for one.
pub(crate) struct StepLocks<'a> {
    scope: LockScope,
    turn: &'a dyn Turn,
}

impl<'a> StepLocks<'a> {
    /// Begins a step that holds no lock yet.
    pub(crate) fn new(scope: LockScope, turn: &'a dyn Turn) -> Self {
        Self { scope, turn }
    }

    /// Takes a lock for this step alone; where that needs waiting, without a turn.
    pub(crate) fn acquire(&self, name: &LockName, wait: &Wait<'_>) -> Result<Lock, LockError> {
        match self.try_acquire(name)? {
            Some(lock) => Ok(lock),
            None => self.turn.aside(|| self.scope.acquire(name, LockMode::Exclusive, wait)),
        }
    }

    /// Takes a lock for this step alone if it is free.
    pub(crate) fn try_acquire(&self, name: &LockName) -> Result<Option<Lock>, LockError> {
        self.scope.try_acquire(name, LockMode::Exclusive)
    }
}

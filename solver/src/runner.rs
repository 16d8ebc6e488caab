//! What the solver's driver needs of whoever does the work.

use rbuild_model::key::ContentHash;

use crate::machine::{FetchAsk, HashAsk, RunAsk, StepResult, Tree};

/// Does what the solver asks for. Called from many threads at once.
pub trait StepRunner: Sync {
    /// Why something could not be done.
    type Error: Send;

    /// Hashes what a step selects, in order.
    fn hash(&self, ask: &HashAsk) -> Result<Vec<ContentHash>, Self::Error>;

    /// Runs a step and remembers its result.
    ///
    /// Another process may be doing the same: the runner holds the step's lock, looks again once it has it, and may
    /// return a result that it found then. It waits for the lock, and for whatever else others hold, [aside](Turn).
    fn run(&self, ask: &RunAsk, turn: &dyn Turn) -> Result<StepResult, Self::Error>;

    /// Fetches the tree of a result that is [elsewhere](crate::Place::Elsewhere), and remembers that it is here.
    fn fetch(&self, ask: &FetchAsk) -> Result<Tree, Self::Error>;
}

/// A running step's place among those that run at once. It has one when it begins.
pub trait Turn {
    /// Gives the place to another step.
    fn pass(&self);

    /// Waits for a place again.
    fn regain(&self);
}

impl dyn Turn + '_ {
    /// Waits for somebody else without keeping other steps from running.
    pub fn aside<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.pass();
        let result = wait();
        self.regain();
        result
    }
}

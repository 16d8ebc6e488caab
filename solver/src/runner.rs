//! What the solver's driver needs of whoever does the work.

use rbuild_model::key::ContentHash;

use crate::machine::{HashAsk, RunAsk, StepResult};

/// Does what the solver asks for. Called from many threads at once.
pub trait StepRunner: Sync {
    /// Why something could not be done.
    type Error: Send;

    /// Hashes what a step selects, in order.
    fn hash(&self, ask: &HashAsk) -> Result<Vec<ContentHash>, Self::Error>;

    /// Runs a step and remembers its result.
    ///
    /// Another process may be doing the same: the runner holds the step's lock, looks again once it has it, and may
    /// return a result that it found then.
    fn run(&self, ask: &RunAsk) -> Result<StepResult, Self::Error>;
}

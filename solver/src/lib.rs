//! Graph to results: a pure state machine.
//!
//! The solver decides what must be looked up, hashed and run, and in which order; it never does any of it. Its
//! driver asks [`Solver::due`] what is to be done, does it (in parallel, as it likes), and gives each answer to
//! [`Solver::answer`]. There is no clock, no thread and no I/O here, so every schedule can be tested as a list of
//! values.
//!
//! # How a step comes to its result
//!
//! ```text
//! Waiting ──all inputs matched──▶ LookUp(definition) ──hit──▶ Matched
//!    │                                   │miss
//!    │ no definition key                 ▼
//!    └────────────▶ Hash selections ──▶ LookUp(content) ──hit──▶ Matched (and the definition becomes an alias)
//!                   (their trees made)   │miss
//!                                        ▼
//!                                       Run (all inputs made) ──▶ Made
//! ```
//!
//! *Matched* means that the canonical key of the result is known; *made* means that its tree is here too. A record
//! whose tree is gone, or was never here because only the keys were imported, still matches: a whole chain resolves
//! without bytes, and only what somebody has to read is made again, or fetched where a cache elsewhere has it. What is
//! fetched needs no trees of its inputs. A missed step always runs: nobody can know its
//! canonical key before.
//!
//! # Keys
//!
//! The *definition key* hashes the operation with the canonical keys of its inputs' matched results. The *content
//! key* hashes the operation, the content of what it selects of its selecting inputs, and the canonical keys of the
//! others. The canonical key of a result is its content key if it has one, else its definition key; a result that
//! was made because earlier ones were to be ignored gets a fresh one unless it has a content key, so that what
//! depends on it is found by content only. A client's folder has no key: steps that select of it have only a content
//! key.

pub mod index;
mod keys;
mod machine;
pub mod memory;
mod runner;

pub use index::{CacheIndex, Found, IndexError, KeyKind, LookUp, NewRecord, Place, RecordId, Usage};
pub use keys::StepKeys;
pub use machine::{Answer, Ask, FetchAsk, HashAsk, Miss, Origin, RunAsk, Solver, StepResult, Tree};
pub use runner::{StepRunner, Turn};

#[cfg(test)]
mod tests;

//! Drives builds: questions, pins, solve, commit, export.
//!
//! [`Worker`] is put together once a process; [`Worker::build`] takes one [`BuildRequest`] from text to result, asking a
//! [`Client`] for what only the caller has. What happens on the way is told as events.
//!
//! | Module | What it does |
//! |---|---|
//! | [`build`] | one build, of one target or several, in order |
//! | `wanted` | which target wants which step |
//! | [`check`] | the Dockerfile read, checked and lowered |
//! | `answer` | answers the front end's questions |
//! | [`caches`] | caches elsewhere: what comes from them, what goes there |
//! | [`drive`] | the loop around the solver, and its threads |
//! | `runner`, `locking`, `ops`, `mounts`, `network` | one step: lock, look again, do, commit, remember |
//! | [`cdi`] | devices that steps are given, by their names |
//! | `context` | what is built from: the client's folders, repositories, archives |
//! | `sources` | trees from outside |
//! | `exporters` | what becomes of the result |

mod agent;
mod answer;
mod attest;
mod authorities;
mod berths;
pub mod build;
pub mod caches;
pub mod cancel;
pub mod cdi;
pub mod check;
mod context;
mod describe;
pub mod drive;
pub mod error;
pub mod exporters;
mod locking;
mod mounts;
pub mod network;
mod ops;
mod output;
pub mod request;
mod room;
mod runner;
mod sources;
mod tasks;
mod wanted;
mod worker;

pub use authorities::AUTHORITY_BUNDLES;
pub use build::{Built, BuiltPlatform, TargetError};
pub use cancel::Cancel;
pub use check::Checked;
pub use context::MAX_DOCKERFILE;
pub use error::{BuildError, MemoryShortage, StepError};
pub use request::{BuildRequest, Client, ClientError, Export, LocalTree, TargetRequest};
pub use sources::git::{Access as GitAccess, check_out};
pub use worker::{Parts, Worker};

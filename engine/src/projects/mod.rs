//! Compose projects: observe, plan, execute.
//!
//! [`Observed`] is what there is, looked up once. [`up()`] and [`down()`] compare it with the project and return a [`Plan`]:
//! operations in an order in which each comes after what it waits for, each with its [`Cause`]. They do no I/O, so the
//! plan can be printed instead of carried out, and a test is an equality of printed plans. Whoever carries it out
//! decides nothing: it does what is there, as much at once as the edges allow.
//!
//! ```text
//! Project ──┐
//! Observed ─┼── up / down ── Plan: Planned { operation, cause, after } ...
//! Wanted ───┘
//! ```
//!
//! The rules are those of spec "Reconciliation": observed containers sorted with the obsolete and the high numbers last,
//! surplus ones removed from the end, diverged ones recreated under the policy in force, missing ones created, all that
//! does not run started once its dependencies are as far as they have to be.

mod builds;
mod cause;
mod change;
mod check;
mod container;
mod content;
mod down;
mod execute;
mod halt;
mod happening;
mod hold;
pub mod labels;
mod network;
mod observe;
mod observed;
mod operation;
mod order;
mod plan_error;
mod ports;
mod pre_start;
mod requests;
mod services;
mod turn;
mod unfinished;
mod up;
mod wanted;

pub use builds::{BuildNotes, SCHEMA};
pub use cause::{BeforeWhy, Cause};
pub use change::{Change, changes};
pub use check::check;
pub use container::{Making, NotPossible, container};
pub use content::{Contents, contents};
pub use down::{Down, VolumesToo, down};
pub use execute::{AfterFailure, Carried, Failure, Haste, OneOff, OperationError, Reason, Work, subject};
pub use halt::Halt;
pub use happening::{Act, Happening, HookAt, HookPlace, Phase, Subject, Unwatched, Watcher};
pub use hold::Hold;
pub use observe::{Member, ObserveError, Owned};
pub use observed::{Activity, Found, Observed, Owner, Replica, ReplicaKind};
pub use operation::{Before, Existing, New, Operation, OperationId, Plan, Planned, Startable, Warning};
pub use order::{Cycle, dependencies_first};
pub use plan_error::PlanError;
pub use ports::{PortTaken, check_ports};
pub use services::{image_name, selected};
pub use turn::{Turn, TurnError, ready, turn};
pub use up::up;
pub use wanted::{
    AnonymousVolumes, ChangedContents, ChangedVolumes, Dependencies, Desired, Order, Orphans, Recreate,
    Starting, Wanted,
};

#[cfg(test)]
mod tests;

//! Processes in isolation: for build steps and containers alike.
//!
//! A [`Launcher`] makes [`Slot`]s (inits parked in their cgroups and namespaces), a slot takes an [`Order`] (an OCI
//! spec, a root, mounts) and becomes a [`Running`] program. [`profile`] turns options into specs, [`cgroup`] bounds
//! and counts, [`seccomp`] compiles filters, [`rootless`] enters user namespaces, [`probe`] tries what works here.
//! How the isolation is built, act by act, is told in [`stage`].
//!
//! The crate is synchronous, and prints nothing. A program that uses it calls [`stage::dispatch`] first of all.

pub mod capabilities;
pub mod cgroup;
mod compile;
mod exec;
mod foreign;
pub mod helper;
mod launcher;
pub mod limits;
pub mod mounts;
mod options;
mod order;
pub mod probe;
pub mod process;
pub mod profile;
pub mod rootless;
mod running;
mod script;
mod sealed;
pub mod seccomp;
mod slot;
pub mod stage;
mod stubs;
mod sys;
pub mod volume;
mod wire;

pub use compile::OrderError;
pub use exec::{EnterRequest, Entered};
pub use foreign::{EntryState, Foreign};
pub use launcher::{LaunchError, Launcher, LauncherConfig};
pub use order::{
    Access, FileContent, HostBind, Mount, MountSource, Order, Restrictions, RootSource, Stdio, Stubs, Tmpfs,
};
pub use running::{Created, Exit, Running, Usage, WaitError};
pub use script::{Cause, ProgramFailure, StageFailure};
pub use sealed::{SealError, SealedProgram};
pub use slot::{Lifetime, Namespaces, Network, Sharing, Slot, SlotRequest};
pub use wire::WireError;

//! Containers, volumes, networks and projects: observe, plan, execute.
//!
//! - [`containers`]: containers, from being made to being removed;
//! - [`networks`]: what connects them;
//! - [`volumes`]: trees that outlive them;
//! - [`projects`]: several services at once, as one plan.
//!
//! The [`Engine`] does it all with what its [`Parts`] are; nothing here prints or asks.

pub mod containers;
mod engine;
pub mod error;
mod event;
pub mod networks;
pub mod projects;
pub mod volumes;

pub use engine::{Engine, OpenSnapshots, Parts};
pub use error::{GroupPlace, RunError};

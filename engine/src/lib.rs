//! Containers, volumes, networks and projects: observe, plan, execute.
//!
//! So far: one container in the foreground. [`request`] is what is asked for, [`plan`] makes of it and of the image what
//! the sandbox is told (pure), [`run`] does it. The container's writes go to a snapshot that is thrown away at the end.

pub mod error;
pub mod plan;
pub mod projects;
pub mod request;
pub mod run;
pub mod volumes;

pub use error::RunError;
pub use request::RunRequest;
pub use run::{Attendant, Engine, Finished, Parts, Streams};

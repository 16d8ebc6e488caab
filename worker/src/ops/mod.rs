//! The operations: one file each for what a step does.

pub(crate) mod copy;
pub(crate) mod exec;
pub(crate) mod mkdir;

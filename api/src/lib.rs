//! What is offered over HTTP: the store as a registry. The Docker Engine API is a milestone of its own.

pub mod registry;

//! Tests on real trees; those that resolve paths run on both resolvers.

mod mode;
mod remove;
mod resolve;
mod users;
mod walk;

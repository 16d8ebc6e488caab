//! Tests on real trees; those that resolve paths run on both resolvers.

mod remove;
mod resolve;
mod users;
mod walk;

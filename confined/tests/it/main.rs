//! Tests on real trees; those that resolve paths run on both resolvers.

#![allow(clippy::print_stderr, reason = "a privileged test that cannot run says so")]

mod mode;
mod remove;
mod resolve;
mod users;
mod walk;

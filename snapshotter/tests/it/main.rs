//! Tests of snapshots on real trees and real mounts.
#![allow(clippy::print_stderr, reason = "a test says what it is at, and what it could not take away")]

mod conformance;
mod copier;
mod extract;
mod fixture;

//! Tests of snapshots on real trees and real mounts.
#![allow(clippy::print_stderr, reason = "a privileged test that cannot run says so")]

mod conformance;
mod copier;
mod extract;
mod fixture;

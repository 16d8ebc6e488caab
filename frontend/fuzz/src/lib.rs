//! The targets of the fuzzer, which are those of the ordinary tests (`tests/it/targets.rs`).
//!
//! ```text
//! cargo +nightly fuzz run dockerfile -- ../../testdata/corpus/web
//! cargo run --manifest-path frontend/fuzz/Cargo.toml --bin dockerfile -- FILE...
//! ```
//!
//! Without a fuzzer a target is an ordinary program that reads files: a finding is looked at with it.

use std::io;

#[path = "../../tests/it/targets.rs"]
mod targets;

/// A Dockerfile.
pub fn dockerfile(bytes: &[u8]) {
    targets::dockerfile(bytes);
}

/// A word with variables.
pub fn word(bytes: &[u8]) {
    targets::word(bytes);
}

/// The value of `RUN --mount`.
pub fn mount_value(bytes: &[u8]) {
    targets::mount_value(bytes);
}

/// An ignore file with paths.
pub fn ignore_file(bytes: &[u8]) {
    targets::ignore_file(bytes);
}

/// A bake file, in HCL and in JSON.
pub fn bake_file(bytes: &[u8]) {
    targets::bake_file(bytes);
}

/// Runs a target on the files that the command line names.
pub fn replay(target: fn(&[u8])) -> io::Result<()> {
    for path in std::env::args_os().skip(1) {
        target(&std::fs::read(path)?);
    }
    Ok(())
}

//! How the program is linked: what `cargo build --release` makes keeps functions that came out alike once.
//!
//! Generic code of many crates becomes the same instructions many times over. Only the linker sees all of it, and only
//! LLVM's, which Rust brings along for this target, can fold it.

#![allow(clippy::print_stdout, reason = "this is how Cargo is told")]

use std::env::var;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let target = ["CARGO_CFG_TARGET_ARCH", "CARGO_CFG_TARGET_OS", "CARGO_CFG_TARGET_ENV"].map(var);
    let folds = target == ["x86_64", "linux", "gnu"].map(|part| Ok(part.to_owned()));
    if folds && var("PROFILE").as_deref() == Ok("release") {
        println!("cargo::rustc-link-arg-bins=-Wl,--icf=all");
    }
}

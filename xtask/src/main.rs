//! Developer commands: `cargo xtask tidy`, `cargo xtask bench`.

fn main() {}

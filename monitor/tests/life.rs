//! The life of containers under a monitor, with real processes.

fn main() {}

//! Tests that need root.

/// Whether a test that needs root can run. If not, it says so where everybody sees it.
#[must_use]
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        skipped(test, "it needs root");
    }
    root
}

/// Says loudly that a test did not run.
pub fn skipped(test: &str, reason: &str) {
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprintln!("SKIPPED: {test}: {reason}");
    }
}

//! Tests that cannot run everywhere.
//!
//! A test that passes shows nothing of what it printed, so one that did not run is also written to the file that
//! `RBUILD_TEST_SKIPS` names: `cargo xtask ci` lists them, and fails for what could be had ([`missing`]).

use std::io::Write as _;

/// The variable that names the file of tests that did not run.
pub const SKIPS: &str = "RBUILD_TEST_SKIPS";

/// Whether a test that needs root can run. If not, it says so where everybody sees it.
#[must_use]
pub fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        missing(test, "it needs root");
    }
    root
}

/// Says loudly that a test did not run, because of something that this machine cannot do.
pub fn skipped(test: &str, reason: &str) {
    tell("SKIPPED", test, reason);
}

/// Says loudly that a test did not run for want of something that can be had: a package of `scripts/packages`, what `make
/// bases` makes, or root.
pub fn missing(test: &str, what: &str) {
    tell("MISSING", test, what);
}

fn tell(word: &str, test: &str, reason: &str) {
    let line = format!("{word}: {test}: {}\n", reason.trim_end().replace('\n', " "));
    #[expect(clippy::print_stderr, reason = "a skipped test says so")]
    {
        eprint!("{line}");
    }
    let Some(path) = std::env::var_os(SKIPS) else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    let written = file.and_then(|mut file| file.write_all(line.as_bytes()));
    assert!(written.is_ok(), "cannot write to {}: {written:?}", path.display());
}

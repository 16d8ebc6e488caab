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

/// Whether a test that mounts can run; if not, it says so.
#[must_use]
pub fn can_mount(test: &str) -> bool {
    let can = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SYS_ADMIN));
    if !can {
        not_permitted(test, "mounts need CAP_SYS_ADMIN");
    }
    can
}

/// Says loudly that a test did not run, because it may not: root can be had, more than root has here cannot.
pub fn not_permitted(test: &str, what: &str) {
    if is_root(test) {
        skipped(test, what);
    }
}

/// The name of the calling test: of its thread.
pub fn this_test() -> String {
    std::thread::current().name().unwrap_or("a test").to_owned()
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

//! All checks as one command, each tried even when one before it failed.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::tidy;

/// Prints what is against the house rules; fails if anything is.
pub(crate) fn tidy(root: &Path) -> Result<()> {
    let report = tidy::check(root)?;
    for finding in &report.hints {
        println!("hint: {finding}");
    }
    for finding in &report.findings {
        println!("{finding}");
    }
    match report.findings.len() {
        0 => Ok(()),
        1 => bail!("1 thing is against the house rules"),
        count => bail!("{count} things are against the house rules"),
    }
}

/// Whether everything is formatted.
pub(crate) fn format(root: &Path) -> Result<()> {
    if !component_exists(root, "fmt") {
        println!("SKIPPED: rustfmt is not installed (`rustup component add rustfmt`)");
        return Ok(());
    }
    cargo(root, &["fmt", "--all", "--check"], &[])
}

/// A check and its name.
type Check = (&'static str, fn(&Path) -> Result<()>);

/// Every check that has to pass.
pub(crate) fn all(root: &Path) -> Result<()> {
    let checks: [Check; 5] =
        [("format", format), ("tidy", tidy), ("clippy", clippy), ("docs", docs), ("tests", tests)];
    let mut failed = Vec::new();
    let mut summary = String::new();
    for (name, check) in checks {
        println!("== {name}");
        let start = Instant::now();
        let outcome = check(root);
        let word = if outcome.is_ok() { "passed" } else { "FAILED" };
        summary.push_str(&format!("{name:8} {word} in {} s\n", start.elapsed().as_secs()));
        if let Err(error) = outcome {
            println!("{name}: {error:#}");
            failed.push(name);
        }
    }
    print!("{summary}");
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

fn clippy(root: &Path) -> Result<()> {
    if !component_exists(root, "clippy") {
        println!("SKIPPED: clippy is not installed (`rustup component add clippy`)");
        return Ok(());
    }
    // With the crash points, which only a feature compiles; what there is without them, the tests compile.
    let workspace =
        ["clippy", "--workspace", "--all-targets", "--quiet", "--features", "rbuild/crash-points"];
    cargo(root, &[&workspace[..], &["--", "--deny", "warnings"]].concat(), &[])?;
    // What a fuzzer runs is a workspace of its own; without the fuzzer's own switch it needs no compiler of its own.
    let fuzz = ["--manifest-path", "frontend/fuzz/Cargo.toml", "--target-dir", "target"];
    cargo(root, &[&["check", "--quiet", "--locked"][..], &fuzz].concat(), &[])
}

fn docs(root: &Path) -> Result<()> {
    cargo(
        root,
        &["doc", "--workspace", "--no-deps", "--document-private-items", "--quiet"],
        &[("RUSTDOCFLAGS", "--deny warnings")],
    )
}

/// How many times a command is killed at a random moment among all checks; `cargo xtask crashes` has the time for more.
const KILLS: &str = "25";

/// All tests, in a program with crash points: unarmed they do nothing, and a second build of everything above the store
/// would only be for their sake. What ships is compiled by `docs`, without them.
fn tests(root: &Path) -> Result<()> {
    let arguments = ["test", "--workspace", "--features", "rbuild/crash-points", "--no-fail-fast"];
    let told = root.join("target").join("skipped-tests");
    std::fs::create_dir_all(root.join("target")).context("cannot make the folder `target`")?;
    std::fs::write(&told, "").with_context(|| format!("cannot write to `{}`", told.display()))?;
    let file = told.to_string_lossy();
    let passed = cargo(root, &arguments, &[("RBUILD_TEST_KILLS", KILLS), (SKIPS, &file)]);
    let skips = std::fs::read_to_string(&told).unwrap_or_default();
    print!("{skips}");
    passed?;
    let permission = std::env::var_os(ALLOW_SKIPS);
    match unexcused(&skips) {
        0 => Ok(()),
        _ if permission.is_some_and(|value| !value.is_empty()) => Ok(()),
        count => bail!(
            "{count} tests did not run, and could: install what `scripts/packages` lists, call `make bases`, and run this as root; or set {ALLOW_SKIPS}=1"
        ),
    }
}

/// The program is killed at all named points and as many times at a random moment as is asked for, 100 times by default.
pub(crate) fn crashes(root: &Path, arguments: &[String]) -> Result<()> {
    let kills = match arguments {
        [] => "100",
        [number] if number.parse::<u32>().is_ok() => number.as_str(),
        _ => bail!("usage: cargo xtask crashes [KILLS]"),
    };
    let test = ["test", "--package", "rbuild", "--features", "crash-points", "--test", "it", "--"];
    cargo(root, &[&test[..], &["crash", "--nocapture"]].concat(), &[("RBUILD_TEST_KILLS", kills)])
}

/// The variable by which tests name themselves that did not run: what `rbuild_testkit::privilege` writes.
const SKIPS: &str = "RBUILD_TEST_SKIPS";

/// The variable that allows tests not to run.
const ALLOW_SKIPS: &str = "RBUILD_ALLOW_SKIPS";

/// Counts the tests that did not run for want of something that can be had. What a machine cannot do at all is only told.
fn unexcused(skips: &str) -> usize {
    skips.lines().filter(|line| line.starts_with("MISSING: ")).count()
}

fn component_exists(root: &Path, name: &str) -> bool {
    let outcome = Command::new("cargo")
        .args([name, "--version"])
        .current_dir(root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    outcome.is_ok_and(|status| status.success())
}

fn cargo(root: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    let status = Command::new("cargo")
        .args(arguments)
        .envs(environment.iter().copied())
        .current_dir(root)
        .status()
        .with_context(|| format!("cannot run cargo {}", arguments[0]))?;
    if status.success() { Ok(()) } else { bail!("cargo {} failed", arguments.join(" ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_could_be_had_is_held_against_a_machine() {
        assert_eq!(unexcused(""), 0);
        assert_eq!(unexcused("SKIPPED: a: no such kernel\nMISSING: b: git is not installed\n"), 1);
    }
}

//! Real isolation of real programs.
//!
//! The test program is its own stage and, executed within a root, its own guest; so it brings its own small harness.
//! Everything here needs root: without it each scenario is told to be skipped.

#![expect(clippy::print_stdout, reason = "a harness of its own reports by printing")]

mod isolation {
    pub(crate) mod attacks;
    pub(crate) mod beside;
    pub(crate) mod guest;
    pub(crate) mod house;
    pub(crate) mod reaper;
    pub(crate) mod resources;
    pub(crate) mod rootless;
    pub(crate) mod running;
    pub(crate) mod timing;
    pub(crate) mod tree;
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use isolation::house::{House, Traces};
use isolation::{attacks, beside, guest, reaper, resources, rootless, running, timing, tree};
use rbuild_testkit::privilege;

/// A scenario: its name says what must hold.
type Scenario = (&'static str, fn(&House));

fn main() -> ExitCode {
    if let Some(status) = rbuild_sandbox::stage::dispatch(std::env::args_os()) {
        return status;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("guest") => return guest::run(&arguments[1..]),
        Some("hold") => return running::hold(),
        Some("time") => return timing::run(),
        Some("rootless") => return rootless::run(std::path::Path::new(&arguments[1])),
        Some("rootless-stay") => return rootless::stay(&arguments[1], &arguments[2]),
        _ => {}
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let all: Vec<Scenario> =
        [running::ALL, reaper::ALL, tree::ALL, attacks::ALL, resources::ALL, rootless::ALL, beside::ALL]
            .concat();
    let chosen: Vec<&Scenario> =
        all.iter().filter(|(name, _)| filter.is_none_or(|part| name.contains(part.as_str()))).collect();
    if !privilege::is_root(&format!("{} scenarios of the sandbox", chosen.len())) {
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} scenarios", chosen.len());
    let mut failed = Vec::new();
    for (name, scenario) in &chosen {
        let before = Traces::take();
        let house = House::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&house)));
        drop(house);
        let leaked = before.compare(&Traces::take());
        let ok = outcome.is_ok() && leaked.is_empty();
        println!("scenario {name} ... {}", if ok { "ok" } else { "FAILED" });
        if !leaked.is_empty() {
            println!("    left behind: {leaked}");
        }
        if !ok {
            failed.push(*name);
        }
    }
    println!("\nresult: {} passed; {} failed\n", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

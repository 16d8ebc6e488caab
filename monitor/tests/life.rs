//! The life of containers under a monitor, with real processes.
//!
//! The test program is its own monitor, its own stage and its own remover, so it brings a small harness. Everything here
//! needs root: without it each scenario is told to be skipped.

#![expect(clippy::print_stdout, reason = "a harness of its own reports by printing")]

mod life {
    pub(crate) mod basics;
    pub(crate) mod house;
    pub(crate) mod losses;
    pub(crate) mod policies;
    pub(crate) mod streams;
}

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use life::house::House;
use life::{basics, losses, policies, streams};
use rbuild_testkit::privilege;

/// A scenario: its name says what must hold.
type Scenario = (&'static str, fn(&House));

fn main() -> ExitCode {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    if let Some(status) = rbuild_sandbox::stage::dispatch(arguments.clone()) {
        return status;
    }
    if let Some(status) = rbuild_monitor::dispatch(arguments) {
        return status;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|word| word == "reap") {
        return policies::reap(&arguments[1..]);
    }
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let all: Vec<Scenario> = [basics::ALL, streams::ALL, policies::ALL, losses::ALL].concat();
    let chosen: Vec<&Scenario> =
        all.iter().filter(|(name, _)| filter.is_none_or(|part| name.contains(part.as_str()))).collect();
    if !privilege::is_root(&format!("{} scenarios of the monitor", chosen.len())) {
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} scenarios", chosen.len());
    let mut failed = Vec::new();
    for (name, scenario) in &chosen {
        let house = House::new();
        let outcome = catch_unwind(AssertUnwindSafe(|| scenario(&house)));
        let left = house.leftovers();
        let ok = outcome.is_ok() && left.is_empty();
        println!("scenario {name} ... {}", if ok { "ok" } else { "FAILED" });
        if !left.is_empty() {
            println!("    left behind: {left}");
        }
        if !ok {
            failed.push(*name);
        }
    }
    println!("\nresult: {} passed; {} failed\n", chosen.len() - failed.len(), failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

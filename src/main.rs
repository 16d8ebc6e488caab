//! The `rbuild` program: the composition root of all crates, and the only place that prints, reads the environment
//! and decides the exit status.
//!
//! ```text
//! main ── stage? ──> wiring::stage                   this program, executed again in a container's namespaces
//!   └─ cli ──> settings ──> commands/<verb> ──> wiring ──> worker, engine, images, store
//!                               │                              └─ events ──> progress
//!                               └─ error ──> report ──> message, exit status
//! ```
//!
//! Standard streams that are closed are opened to `/dev/null` by the standard library before `main` begins, so no
//! file of the store ever becomes descriptor 1. SIGPIPE stays ignored: a reader that goes away is an error of a
//! write, which ends the command quietly (status 141) after it has cleaned up, and never kills it half-way.

mod cli;
mod commands;
mod flags;
mod human;
mod notices;
mod progress;
mod report;
mod settings;
mod table;
mod template;
mod terminal;
mod text;
mod wiring;

use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::process::ExitCode;

use report::Status;
use settings::Environment;
use terminal::Terminal;

fn main() -> ExitCode {
    if let Some(status) = wiring::stage(std::env::args_os().collect::<Vec<_>>()) {
        return status;
    }
    rbuild_sandbox::limits::raise_open_files();
    #[cfg(feature = "crash-points")]
    arm_crash_point();
    let environment: Environment = std::env::vars_os().collect();
    let terminal = Terminal::new(settings::colour(&environment), settings::ability(&environment));
    panic::set_hook(Box::new(move |info| tell_panic(info, terminal)));
    let run = AssertUnwindSafe(|| commands::main(std::env::args_os().collect(), environment, terminal));
    panic::catch_unwind(run).unwrap_or(Status::Bug).into()
}

/// Chooses the place at which this process kills itself, for tests: `RBUILD_CRASH_POINT=NAME:NTH`.
#[cfg(feature = "crash-points")]
fn arm_crash_point() {
    let chosen = std::env::var("RBUILD_CRASH_POINT").unwrap_or_default();
    if let Some((name, Ok(nth))) = chosen.split_once(':').map(|(name, nth)| (name, nth.parse())) {
        rbuild_store::crash::arm(name, nth);
    }
}

/// Says that there is a mistake in rbuild, and where.
fn tell_panic(info: &PanicHookInfo<'_>, terminal: Terminal) {
    let message = info
        .payload()
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| info.payload().downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "something failed that cannot fail".to_owned());
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    terminal.tell(&report::panicked(&message, &place, terminal.err().colour));
}

//! Developer commands: `cargo xtask tidy`, `cargo xtask ci`, `cargo xtask bench`, `cargo xtask differential`.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a developer's command talks to the developer")]

mod bench;
mod ci;
mod compose;
mod differential;
mod million;
mod peers;
mod rootless;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;

const HELP: &str = "\
usage: cargo xtask <command>

  tidy       the house rules: floors, unsafe, tokio, printing, docs, lengths, forgotten files
  fmt-check  formatting
  ci         every check that has to pass: fmt-check, tidy, clippy, docs, tests
  crashes [KILLS]
             kill -9 at every named place and at KILLS random moments (100)
  bench      the budgets, measured beside other engines
  bench-asker NAME COUNT
             what asks for names in a container of row `lookups`
  bench-frontend [--rounds N]
             how long Dockerfiles and ignore files take to be read
  differential --peer COMMAND [--jobs N] [--results FILE] FOLDER...
             the same Dockerfiles built by rbuild and by another builder, compared
  compose-differential --peer COMMAND [--write] [CASE...]
             the compose projects of testdata/compose shown by another engine: recorded, or compared
  peers --peer COMMAND [--mirror HOST:PORT] [EXAMPLE...]
             the examples built and run by rbuild and by another engine, and each other's images run
  million    a layer of a million entries, unpacked and packed by the release program within a bound of memory
  rootless [--user NAME] -- PROGRAM [ARG]...
             root and an ordinary user of another machine build the same image; PROGRAM [ARG]... FOLDER COMMAND runs there
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let outcome = match arguments.first().map(String::as_str) {
        Some("tidy") => ci::tidy(&root()),
        Some("fmt-check") => ci::format(&root()),
        Some("ci") => ci::all(&root()),
        Some("crashes") => ci::crashes(&root(), &arguments[1..]),
        Some("bench") => bench::bench(&arguments[1..]).map(|table| print!("{table}")),
        Some("bench-asker") => bench::lookups::ask(&arguments[1..]).map(|took| println!("{took}")),
        Some("bench-frontend") => bench::frontend(&root(), &arguments[1..]),
        Some("compose-differential") => compose::differential(&root(), &arguments[1..]),
        Some("differential") => differential::differential(&root(), &arguments[1..]),
        Some("million") => million::run().map(|told| print!("{told}")),
        Some("peers") => peers::peers(&root(), &arguments[1..]),
        Some("rootless") => rootless::rootless(&root(), &arguments[1..]),
        Some("help" | "--help" | "-h") => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The program that a profile of cargo made, beside this one.
fn program(profile: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let profiles = own.ancestors().nth(2).context("this program is in no folder of cargo's")?;
    Ok(profiles.join(profile).join("rbuild"))
}

/// The project's own folder.
fn root() -> PathBuf {
    let manifest = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map_or(manifest.clone(), PathBuf::from)
}

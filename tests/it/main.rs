//! The program as its users meet it: texts, streams and exit statuses.

mod attacks;
mod attest;
mod bake;
mod caches;
mod caching;
mod checks;
mod compose_config;
mod compose_given;
mod compose_pre_start;
mod compose_remote;
mod compose_start_first;
mod compose_together;
mod compose_up;
mod compose_verbs;
mod containers;
mod containers_life;
mod containers_lost;
mod contexts;
mod crashes;
mod durable;
mod endings;
mod examples;
mod exhaustion;
mod full_disk;
mod generated;
mod help;
mod keeping;
mod manifests;
mod mistakes;
mod networks;
mod others;
mod outputs;
mod platforms;
mod proxies;
mod pulls;
mod registries;
mod rootless;
mod scene;
mod sources;
mod stages;
mod streams;
mod system;
mod together;
mod volumes;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// Returns a command of the program with nothing of the caller's environment.
fn rbuild() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rbuild"));
    command.env_clear().stdin(Stdio::null());
    command
}

/// Runs the program and returns status, standard output and standard error, as one text.
fn told<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>, folder: &Path) -> String {
    let output = rbuild().args(arguments).current_dir(folder).output().expect("the program can be run");
    text_of(&output)
}

fn text_of(output: &Output) -> String {
    format!(
        "status: {}\n--- out\n{}--- err\n{}",
        output.status.code().map_or_else(|| "none".to_owned(), |code| code.to_string()),
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

//! Rows of projects: `project`, `many`, `stops`, `chain`.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::{Options, time};

/// The services of row `project`.
const SERVICES: usize = 5;

/// The services of row `stops`.
const STOPPED: usize = 8;

/// The services of row `chain`.
const LINKS: usize = 5;

/// Ends at once when it is asked to: how long a program takes for that is not ours to measure.
const OBEYS: &str = "[sh, -c, 'trap \"exit 0\" TERM; sleep 1000 & wait']";

/// What is done with a project, and the row that its time stands in.
type Verbs = &'static [(&'static str, &'static [&'static str])];

/// Rows with the times of every tool.
pub(super) type Rows = Vec<(&'static str, Vec<Vec<Duration>>)>;

/// Five services up, unchanged again, and down.
pub(super) fn project(options: &Options, work: &Path) -> Result<Rows> {
    let verbs: Verbs = &[("up", &["up", "-d"]), ("up-again", &["up", "-d"]), ("down", &["down"])];
    measure(options, &work.join("project"), &alike(&options.base, SERVICES, OBEYS), verbs)
}

/// Many services up and down.
pub(super) fn many(options: &Options, work: &Path) -> Result<Rows> {
    let verbs: Verbs = &[("many-up", &["up", "-d"]), ("many-down", &["down"])];
    measure(options, &work.join("many"), &alike(&options.base, options.services, OBEYS), verbs)
}

/// Services that take no notice of the wish that they end, as `sleep` does as the first process, down.
pub(super) fn stops(options: &Options, work: &Path) -> Result<Rows> {
    let verbs: Verbs = &[("stops-up", &["up", "-d"]), ("stops", &["down"])];
    let rows =
        measure(options, &work.join("stops"), &alike(&options.base, STOPPED, "[sleep, '1000']"), verbs)?;
    Ok(rows.into_iter().filter(|(row, _)| *row == "stops").collect())
}

/// Services that are ready after 50 ms, each begun when the one before it is healthy.
pub(super) fn chain(options: &Options, work: &Path) -> Result<Rows> {
    let mut text = "name: rbuild-bench\nservices:\n".to_owned();
    for service in 0..LINKS {
        write!(
            text,
            "  s{service}:\n    image: '{}'\n    \
             command: [sh, -c, 'trap \"exit 0\" TERM; sleep 0.05; touch /ready; sleep 1000 & wait']\n    \
             healthcheck: {{test: [CMD, test, -f, /ready], interval: 50ms, timeout: 5s, retries: 200}}\n",
            options.base
        )?;
        if let Some(before) = service.checked_sub(1) {
            writeln!(text, "    depends_on: {{s{before}: {{condition: service_healthy}}}}")?;
        }
    }
    let verbs: Verbs = &[("chain-up", &["up", "-d", "--wait"]), ("chain-down", &["down"])];
    measure(options, &work.join("chain"), &text, verbs)
}

/// A project of services that are alike.
fn alike(base: &str, services: usize, command: &str) -> String {
    let mut text = "name: rbuild-bench\nservices:\n".to_owned();
    for service in 0..services {
        text.push_str(&format!("  s{service}: {{image: '{base}', command: {command}}}\n"));
    }
    text
}

fn measure(options: &Options, folder: &Path, text: &str, verbs: Verbs) -> Result<Rows> {
    std::fs::create_dir(folder)?;
    std::fs::write(folder.join("compose.yaml"), text)?;
    let none = vec![Vec::new(); options.tools.len()];
    let mut rows: Rows = verbs.iter().map(|(row, _)| (*row, none.clone())).collect();
    for _ in 0..options.rounds {
        for (number, tool) in options.tools.iter().enumerate() {
            if !tool.is_engine() || tool.name.contains("podman") {
                continue;
            }
            for ((_, times), (_, verb)) in rows.iter_mut().zip(verbs) {
                // `rbuild compose` keeps the peer's timers; `rbuild up` and `down` are what people type.
                let mut command = if tool.ours { Vec::new() } else { vec!["compose"] };
                command.extend(*verb);
                times[number].push(time(tool, Some(folder), &command)?);
            }
        }
    }
    Ok(rows)
}

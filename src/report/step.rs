//! A step that failed: its last lines, where it was written, how its program ended, where all of its log is.

use std::path::PathBuf;
use std::time::Duration;

use rbuild_model::event::{ExitStatus, Outcome};
use rbuild_model::span::Location;

use super::{Target, excerpt};
use crate::terminal::{Colour, Paint};
use crate::text;

/// A step that failed.
#[derive(Debug)]
pub(crate) struct StepFailure {
    /// Its display name (`[build 2/4] RUN make`).
    pub(crate) name: String,
    /// The command that ran, as one text, if it was its own program that failed.
    pub(crate) command: Option<String>,
    /// Where it was written.
    pub(crate) location: Option<Location>,
    /// How it ended.
    pub(crate) outcome: Outcome,
    /// Its last lines, made harmless, with their times since its start.
    pub(crate) tail: Vec<(Duration, String)>,
    /// Where all of its log is.
    pub(crate) log: Option<PathBuf>,
    /// What kept it from being done, if it was not its own program.
    pub(crate) reason: Option<anyhow::Error>,
}

impl std::error::Error for StepFailure {}

impl std::fmt::Display for StepFailure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.command {
            // What people search for: these are the words of other builders.
            Some(command) => write!(f, "process {command:?} {}", ending(self.outcome))?,
            None => write!(f, "`{}` {}", self.instruction(), ending(self.outcome))?,
        }
        if let Some(reason) = &self.reason {
            write!(f, ": {}", super::chain(reason))?;
        }
        Ok(())
    }
}

/// Returns how something ended, to read on behind its name.
pub(crate) fn ending(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done | Outcome::Cached(_) => "was done".to_owned(),
        Outcome::Exited(ExitStatus::Code(code)) => {
            format!("did not complete successfully: exit code: {code}")
        }
        Outcome::Exited(ExitStatus::Signal(signal)) => {
            format!(
                "was killed by {} (exit code: {})",
                signal_name(signal),
                ExitStatus::Signal(signal).code()
            )
        }
        Outcome::Exited(ExitStatus::OutOfMemory) => {
            "was killed because it used more memory than it may (exit code: 137)".to_owned()
        }
        Outcome::TimedOut => "took longer than it may".to_owned(),
        Outcome::Cancelled => "was cancelled".to_owned(),
        Outcome::Failed => "could not be done".to_owned(),
    }
}

fn signal_name(signal: u8) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        _ => return format!("signal {signal}"),
    };
    name.to_owned()
}

impl StepFailure {
    /// Returns the name without what stands in brackets before it.
    fn instruction(&self) -> String {
        let name = match self.name.split_once("] ") {
            Some((bracket, command)) if bracket.starts_with('[') => command,
            _ => &self.name,
        };
        text::one_line(name)
    }

    /// Returns the whole message; it names the target, where there are several.
    pub(super) fn render(&self, target: Option<&Target>, colour: Colour) -> String {
        let mut message = String::new();
        if !self.tail.is_empty() {
            message.push_str(&format!("------\n > {}:\n", text::one_line(&self.name)));
            for (at, line) in &self.tail {
                message.push_str(&format!("{:.3} {line}\n", at.as_secs_f64()));
            }
            message.push_str("------\n");
        }
        if let Some(location) = &self.location {
            message.push_str(&excerpt::of_location(location, colour));
        }
        message.push_str(&format!(
            "{} {}{}\n",
            colour.paint(Paint::Red, "error:"),
            target.map(|target| format!("{}: ", text::one_line(&target.to_string()))).unwrap_or_default(),
            text::escape(&self.to_string())
        ));
        if let Some(log) = &self.log {
            let log = text::one_line(&log.display().to_string());
            message.push_str(&format!("{} the full log is in {log}\n", colour.paint(Paint::Cyan, "note:")));
        }
        message
    }
}

//! `rbuild completion`: generated from the definition of the command line.

use super::Outcome;
use crate::cli;
use crate::cli::prune::Completion;
use crate::report::Status;
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Completion, terminal: Terminal) -> Outcome {
    let mut text = Vec::new();
    clap_complete::generate(arguments.shell, &mut cli::offered(), "rbuild", &mut text);
    terminal.write(&text)?;
    Ok(Status::Done)
}

//! `rbuild completion`: scripts that ask `rbuild complete`.

use super::Outcome;
use crate::cli::prune::{Completion, Shell};
use crate::report::Status;
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Completion, terminal: Terminal) -> Outcome {
    terminal.print(match arguments.shell {
        Shell::Bash => include_str!("completion/rbuild.bash"),
        Shell::Fish => include_str!("completion/rbuild.fish"),
        Shell::Zsh => include_str!("completion/rbuild.zsh"),
    })?;
    Ok(Status::Done)
}

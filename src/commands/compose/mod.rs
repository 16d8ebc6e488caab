//! `rbuild compose`: one file a verb.

mod config;
pub(crate) mod project;

use super::Outcome;
use crate::cli::compose::{Arguments, Verb};
use crate::settings::Environment;
use crate::terminal::Terminal;

/// Runs a verb.
pub(super) fn run(arguments: &Arguments, environment: &Environment, terminal: Terminal) -> Outcome {
    match &arguments.verb {
        Verb::Config(config) => config::run(&arguments.project, config, environment, terminal),
    }
}

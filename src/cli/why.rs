//! `rbuild why`.

use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  rbuild why                        Say what made the steps of the last build run
  rbuild why 'COPY . .'             Say it of one step
  rbuild why 'build 2/4'            The same, by its place
  rbuild why --context ../app       Ask about the last build of another folder";

/// What `rbuild why` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = EXAMPLES,
    long_about = "Say why steps of the last build ran\n\nWhat a step's result is found by is compared with what it was \
                  in the latest earlier build that has the step: its instruction, variables, files, and the \
                  steps it stands on."
)]
pub(crate) struct Why {
    /// Steps: their place (`build 2/4`), or a part of their text; all that ran without
    #[arg(value_name = "STEP")]
    pub(crate) steps: Vec<String>,
    /// All steps of the last build, also those that did not run
    #[arg(long, conflicts_with = "steps")]
    pub(crate) last: bool,
    /// Build context that was built from: a folder, or the address as it was given
    #[arg(long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub(crate) context: PathBuf,
    /// How it is shown: `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

//! `rbuild why`.

const EXAMPLES: &str = "\
Examples:
  rbuild why                        Say what made the steps of the last build run
  rbuild why 'COPY . .'             Say it of one step
  rbuild why 'build 2/4'            The same, by its place
  rbuild why ../app 'COPY . .'      Ask about the last build of another folder
  rbuild why app                    Ask about the build that made an image";

/// What `rbuild why` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = EXAMPLES,
    override_usage = "rbuild why [OPTIONS] [FOLDER|IMAGE] [STEP]...",
    long_about = "Say why steps of the last build ran\n\nWhat a step's result is found by is compared with what it was \
                  in the latest earlier build that has the step: its instruction, variables, files, and the \
                  steps it stands on."
)]
pub(crate) struct Why {
    /// What was built, this folder without; then steps, by place (`build 2/4`) or a part of their text, all that ran without
    #[arg(value_name = "FOLDER|IMAGE|STEP")]
    pub(crate) words: Vec<String>,
    /// All steps of the last build, also those that did not run
    #[arg(long)]
    pub(crate) last: bool,
    /// What was built: a folder, the address as it was given, or an image
    #[arg(long, value_name = "DIR")]
    pub(crate) context: Option<String>,
    /// How it is shown: `json`, or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<String>,
}

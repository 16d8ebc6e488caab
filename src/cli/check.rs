//! `rbuild check` and `rbuild context`.

use std::path::PathBuf;

use super::build::{CallForm, What};

const EXAMPLES: &str = "\
Examples:
  rbuild check .                               Check the Dockerfile in this folder
  rbuild check --target dev .                  Check what one target needs
  rbuild check --explain StageNameCasing       Say what a rule is about
  rbuild check --explain all                   List all rules";

/// What `rbuild check` takes.
#[derive(Debug, clap::Args)]
#[command(
    after_long_help = EXAMPLES,
    long_about = "Check a Dockerfile, and build nothing\n\nThe status is 1 if something is found. Rules are left out with \
                  `# check=skip=RULE` at the top of the Dockerfile or directly above an instruction."
)]
pub(crate) struct Check {
    /// What is checked.
    #[command(flatten)]
    pub(crate) what: What,
    /// Say what a rule is about, or `all` for a list
    #[arg(long, value_name = "RULE")]
    pub(crate) explain: Option<String>,
    /// How findings are written
    #[arg(long, value_enum, default_value = "text")]
    pub(crate) format: CallForm,
}

/// What `rbuild context` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ContextVerb {
    /// What is asked.
    #[command(subcommand)]
    pub(crate) question: ContextQuestion,
}

/// Questions about a build context.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum ContextQuestion {
    /// List what builds can copy from the context
    Ls(ContextList),
    /// Say which rule decides whether a path is part of the context
    Why(ContextWhy),
}

/// What `rbuild context ls` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ContextList {
    /// Build context: a folder, a git URL, the URL of a tar, or `-` for standard input
    #[arg(value_name = "PATH|URL|-", default_value = ".", hide_default_value = true)]
    pub(crate) context: PathBuf,
    /// Dockerfile, whose own ignore file counts if there is one
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Show sizes, largest first, and what is left out
    #[arg(long)]
    pub(crate) sizes: bool,
}

/// What `rbuild context why` takes.
#[derive(Debug, clap::Args)]
pub(crate) struct ContextWhy {
    /// Paths, from the folder of the context
    #[arg(value_name = "PATH", required = true)]
    pub(crate) paths: Vec<String>,
    /// Build context: a folder, a git URL, the URL of a tar, or `-` for standard input
    #[arg(long, value_name = "PATH|URL|-", default_value = ".", hide_default_value = true)]
    pub(crate) context: PathBuf,
    /// Dockerfile, whose own ignore file counts if there is one
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
}

//! `rbuild compose publish`.

use crate::cli::compose::Project;
use crate::cli::compose::look::Publish;
use crate::commands::{Context, Outcome};
use crate::report::NotYet;

pub(super) fn run(_project: &Project, _arguments: &Publish, _context: &Context) -> Outcome {
    let instead = "hand on the files, or what `rbuild compose config` prints";
    Err(NotYet::available("`rbuild compose publish`", instead).into())
}

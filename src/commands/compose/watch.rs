//! `rbuild compose watch`.

use crate::cli::compose::Project;
use crate::cli::compose::look::Watch;
use crate::commands::{Context, Outcome};
use crate::report::NotYet;

pub(super) fn run(_project: &Project, _arguments: &Watch, _context: &Context) -> Outcome {
    let instead = "run `rbuild compose up --build` after a change";
    Err(NotYet::available("`rbuild compose watch`", instead).into())
}

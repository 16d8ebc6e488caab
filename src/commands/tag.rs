//! `rbuild tag`.

use rbuild_model::reference::Reference;

use super::{Context, Outcome};
use crate::cli::images::Tag;
use crate::report::{Mistake, Status};
use crate::wiring::Home;

pub(super) fn run(arguments: &Tag, context: &Context) -> Outcome {
    let target: Reference = arguments.target.parse().map_err(|error| {
        Mistake::new(format!("`{}` is not a valid repository/tag: {error}", arguments.target))
    })?;
    if target.digest().is_some() {
        return Err(Mistake::new("a name cannot state a digest")
            .hint("give it a tag, as in `app:1.0`")
            .into());
    }
    let home = Home::open(&context.settings, "rbuild tag")?;
    home.images.tag_as(&arguments.source, &target)?;
    Ok(Status::Done)
}

//! `rbuild inspect`.

use rbuild_images::ImagesError;

use super::{Context, Outcome};
use crate::cli::images::Inspect;
use crate::flags::PlatformList;
use crate::report::{self, Findings, Status};
use crate::template;
use crate::wiring::Home;

pub(super) fn run(arguments: &Inspect, context: &Context) -> Outcome {
    let home = Home::open(&context.settings, "rbuild inspect")?;
    let platform = PlatformList::only(arguments.platform.as_ref())?;
    let mut documents = Vec::new();
    let mut missing = Vec::new();
    for text in &arguments.images {
        match home.images.find_for(text, platform) {
            Ok(id) => documents.push(home.images.inspect(id)?),
            Err(error @ ImagesError::NotFound(_)) => missing.push(anyhow::Error::from(error)),
            Err(error) => return Err(error.into()),
        }
    }
    let text = template::documents(arguments.format.as_deref(), &documents).map_err(Findings::from)?;
    context.terminal.print(&text)?;
    Ok(missing.iter().map(|error| report::tell(error, context.terminal)).next_back().unwrap_or(Status::Done))
}

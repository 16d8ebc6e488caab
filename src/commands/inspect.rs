//! `rbuild inspect`, for everything that has a document.

use rbuild_engine::containers::ContainerError;
use rbuild_images::ImagesError;
use serde_json::Value;

use super::{Context, Outcome};
use crate::cli::container::Inspect as InspectContainers;
use crate::cli::images::{Inspect, InspectType};
use crate::flags::PlatformList;
use crate::report::{self, Findings, Mistake, Status};
use crate::template;

pub(super) fn run(arguments: &Inspect, context: &Context) -> Outcome {
    let platform = PlatformList::only(arguments.platform.as_ref())?;
    let (home, engine) = crate::wiring::engine(context, "rbuild inspect")?;
    let container = |text: &str| -> anyhow::Result<Option<Value>> {
        match engine.find(text) {
            Ok(definition) => Ok(Some(engine.inspect(&definition, arguments.size)?)),
            Err(ContainerError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    let image = |text: &str| -> anyhow::Result<Option<Value>> {
        match home.images.find_for(text, platform) {
            Ok(id) => Ok(Some(home.images.inspect(id)?)),
            Err(ImagesError::NotFound(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    };
    documents(&arguments.images, arguments.format.as_deref(), context, |text| {
        let (found, missing) = match arguments.kind {
            Some(InspectType::Container) => (container(text)?, format!("No such container: {text}")),
            Some(InspectType::Image) => (image(text)?, format!("No such image: {text}")),
            None => {
                let found = match container(text)? {
                    Some(document) => Some(document),
                    None => image(text)?,
                };
                (found, format!("No such object: {text}"))
            }
        };
        found.ok_or_else(|| Mistake::new(missing).into())
    })
}

pub(super) fn containers(arguments: &InspectContainers, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild container inspect")?;
    documents(&arguments.containers, arguments.format.as_deref(), context, |text| {
        Ok(engine.inspect(&engine.find(text)?, arguments.size)?)
    })
}

/// Prints the documents of what there is, and tells what there is not.
pub(super) fn documents(
    names: &[String],
    format: Option<&str>,
    context: &Context,
    find: impl Fn(&str) -> anyhow::Result<Value>,
) -> Outcome {
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match find(name) {
            Ok(document) => found.push(document),
            Err(error) => failures.push(error),
        }
    }
    let text = template::documents(format, &found).map_err(Findings::from)?;
    context.terminal.print(&text)?;
    Ok(failures.iter().map(|error| report::tell(error, context.terminal)).next_back().unwrap_or(Status::Done))
}

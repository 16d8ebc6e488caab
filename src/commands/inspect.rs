//! `rbuild inspect`, for everything that has a document.

use rbuild_engine::containers::{ContainerError, Sizes};
use rbuild_engine::networks::NetworksError;
use rbuild_engine::volumes::VolumesError;
use rbuild_images::ImagesError;
use serde_json::Value;

use super::{Context, Outcome};
use crate::cli::container::Inspect as InspectContainers;
use crate::cli::images::{Inspect, InspectType};
use crate::flags::PlatformList;
use crate::report::{self, Mistake};
use crate::template::{self, Document};

pub(super) fn run(arguments: &Inspect, context: &Context) -> Outcome {
    let platform = PlatformList::only(arguments.platform.as_ref())?;
    let (home, engine) = crate::wiring::engine(context, "rbuild inspect")?;
    let (networks, volumes) = (engine.networks(), engine.volumes());
    let sizes = sizes(arguments.size);
    let document = |kind: InspectType, text: &str| -> anyhow::Result<Document> {
        Ok(match kind {
            InspectType::Container => of_container(engine.inspect(&engine.find(text)?, sizes)?),
            InspectType::Image => home.images.inspect(home.images.find_for(text, platform)?)?.into(),
            InspectType::Network => networks.inspect(&networks.find(text)?)?.into(),
            InspectType::Volume => volumes.inspect(&volumes.find(text)?)?.into(),
        })
    };
    documents(&arguments.names, arguments.format.as_deref(), context, |text| {
        if let Some(kind) = arguments.kind {
            return document(kind, text);
        }
        for kind in InspectType::ALL {
            match document(kind, text) {
                Err(error) if is_absence(&error) => {}
                found => return found,
            }
        }
        Err(Mistake::new(format!("No such object: {text}")).into())
    })
}

/// Tells whether an error says that there is no such object: objects of another kind may have the name.
fn is_absence(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(ContainerError::NotFound(_)))
        || matches!(error.downcast_ref(), Some(ImagesError::NotFound(_)))
        || matches!(error.downcast_ref(), Some(NetworksError::NotFound(_)))
        || matches!(error.downcast_ref(), Some(VolumesError::NotFound(_) | VolumesError::Name { .. }))
}

pub(super) fn containers(arguments: &InspectContainers, context: &Context) -> Outcome {
    let (_home, engine) = crate::wiring::engine(context, "rbuild container inspect")?;
    documents(&arguments.containers, arguments.format.as_deref(), context, |text| {
        Ok(of_container(engine.inspect(&engine.find(text)?, sizes(arguments.size))?))
    })
}

fn of_container(value: Value) -> Document {
    Document { value, shape: Some(&template::container::CONTAINER) }
}

fn sizes(asked: bool) -> Sizes {
    if asked { Sizes::Counted } else { Sizes::Omitted }
}

/// Prints the documents of what there is, and tells what there is not.
pub(super) fn documents<D: Into<Document>>(
    names: &[String],
    format: Option<&str>,
    context: &Context,
    find: impl Fn(&str) -> anyhow::Result<D>,
) -> Outcome {
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match find(name) {
            Ok(document) => found.push(document.into()),
            Err(error) => failures.push(error),
        }
    }
    let text = template::inspected(format, &found)?;
    context.terminal.print(&text)?;
    Ok(report::tell_all(failures, context.terminal))
}

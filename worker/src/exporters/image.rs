//! `type=image`: an image in the store.

use rbuild_images::BuiltImage;
use rbuild_model::digest::ImageId;

use super::{ExportError, only};
use crate::build::{BuiltPlatform, Finished};
use crate::cancel::Cancel;
use crate::request::{BuildRequest, Export};
use crate::tasks::Tasks;
use crate::worker::Worker;

/// Adds an image a platform and points the names to the first of them.
pub(super) fn export(
    worker: &Worker,
    request: &BuildRequest,
    export: &Export,
    results: &[Finished],
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<Vec<BuiltPlatform>, ExportError> {
    let named = !request.tags.is_empty() || !export.names.is_empty();
    if named {
        // A name means one image: until there are indexes in the store, it would mean the first platform's.
        only("a name", results)?;
    }
    let mut built = Vec::new();
    for result in results {
        let id = add(worker, result)?;
        built.push(BuiltPlatform { platform: result.platform.clone(), id });
    }
    // A name is the last thing that is given: whoever cancels before keeps what it meant.
    if cancel.is_cancelled() {
        return Err(ExportError::Cancelled);
    }
    if let Some(first) = built.first() {
        for name in request.tags.iter().chain(&export.names) {
            let task = tasks.begin(format!("naming to {}", name.clone().with_default_tag()));
            worker.images.tag(first.id, name)?;
            task.finish(rbuild_model::event::Outcome::Done);
        }
    }
    Ok(built)
}

/// Adds a result to the store's images, without a name.
fn add(worker: &Worker, result: &Finished) -> Result<ImageId, ExportError> {
    Ok(worker.images.add(described(result), worker.lease()?)?)
}

/// Describes a result as an image that was built here.
pub(super) fn described(result: &Finished) -> BuiltImage<'_> {
    BuiltImage {
        config: result.config.clone(),
        chain: &result.chain,
        epoch: result.epoch,
        base: result.base,
        parent: None,
    }
}

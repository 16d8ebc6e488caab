//! `type=image`: an image in the store, and what is said about it.

use rbuild_images::BuiltImage;
use rbuild_model::digest::ImageId;

use super::{ExportError, index};
use crate::attest;
use crate::build::BuiltPlatform;
use crate::cancel::Cancel;
use crate::describe::Finished;
use crate::request::{BuildRequest, Export};
use crate::tasks::Tasks;
use crate::worker::Worker;

/// Adds an image a platform and points the names to all of them.
pub(super) fn export(
    worker: &Worker,
    request: &BuildRequest,
    export: &Export,
    results: &[Finished],
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<Vec<BuiltPlatform>, ExportError> {
    let mut built = Vec::new();
    for result in results {
        let id = add(worker, result)?;
        worker.images.state(id, &attest::of_image(&result.facts, index::indexed(export, results)))?;
        built.push(BuiltPlatform { platform: result.platform.clone(), id });
    }
    // A name is the last thing that is given: whoever cancels before keeps what it meant.
    if cancel.is_cancelled() {
        return Err(ExportError::Cancelled);
    }
    let names: Vec<_> = request.tags.iter().chain(&export.names).collect();
    index::name(worker, &built, &names, tasks)?;
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
        epoch: result.layer_epoch,
        base: result.base,
        parent: None,
    }
}

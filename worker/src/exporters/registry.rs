//! `type=registry`, and `type=image,push=true`: images at a registry.

use std::sync::Arc;

use rbuild_images::{Departures, ImagesError, Member, Naming, Outgoing, PushedImage};
use rbuild_model::digest::ImageId;
use rbuild_model::event::Outcome;
use rbuild_model::reference::Reference;

use super::{ExportError, image, index};
use crate::answer::LayerProgress;
use crate::attest;
use crate::build::{Built, BuiltPlatform};
use crate::cancel::Cancel;
use crate::describe::Finished;
use crate::request::{BuildRequest, Export, Kept, Split};
use crate::tasks::Tasks;
use crate::worker::Worker;

/// What was pushed.
pub(super) struct Registered {
    pushed: Option<PushedImage>,
    images: Vec<BuiltPlatform>,
    kept: Kept,
}

impl Registered {
    /// Tells of it in a build's result; images that are kept in the store count before those that left.
    pub(super) fn tell(self, built: &mut Built) {
        built.digest = self.pushed.map(|pushed| pushed.digest).or(built.digest);
        if built.images.is_empty() || self.kept == Kept::InStore {
            built.images = self.images;
        }
    }
}

/// Lists beside packed images what is said about them, and has a single one stand in an index if that is asked for.
fn attested(
    worker: &Worker,
    export: &Export,
    results: &[Finished],
    name: &Reference,
    outgoing: Outgoing,
    departures: &dyn Departures,
) -> Result<Outgoing, ImagesError> {
    let mut attestations = Vec::new();
    for (image, result) in outgoing.images.iter().zip(results) {
        let lease = worker.lease()?;
        let predicates = attest::of_image(&result.facts, index::indexed(export, results));
        let (names, form) = (std::slice::from_ref(name), export.attached.form);
        let Some(made) = worker.images.attest(image, names, &predicates, form, lease)? else { continue };
        made.manifest.layers.iter().try_for_each(|layer| departures.packed(layer))?;
        attestations.push(made);
    }
    let outgoing = outgoing.with(attestations, &export.annotations);
    Ok(match export.split {
        Split::Always => outgoing.listed(&export.annotations),
        Split::Several | Split::Never => outgoing,
    })
}

/// Pushes the images under each of their names; layers are packed once for all of them.
pub(super) fn export(
    worker: &Worker,
    request: &BuildRequest,
    export: &Export,
    results: &[Finished],
    (naming, kept): (Naming, Kept),
    tasks: &Tasks,
    cancel: &Cancel,
) -> Result<Registered, ExportError> {
    let mut names: Vec<Reference> = Vec::new();
    for name in request.tags.iter().chain(&export.names) {
        let name = name.clone().with_default_tag();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() {
        return Err(ExportError::NoName);
    }
    let mut images = match kept {
        Kept::InStore => image::export(worker, request, export, results, tasks, cancel)?,
        Kept::Nowhere => Vec::new(),
    };
    let mut pushed = None;
    for name in &names {
        if cancel.is_cancelled() {
            return Err(ExportError::Cancelled);
        }
        let task = tasks.begin(format!("pushing {name}"));
        let progress = LayerProgress::new(&task, tasks);
        let (store, lease) = (Arc::clone(&worker.images), worker.lease()?);
        let ids: Vec<ImageId> = images.iter().map(|built| built.id).collect();
        let done = match kept {
            Kept::InStore => store.push_packed(name, naming, lease, &progress, |departures| {
                let outgoing =
                    store.pack_for_registry(&ids, export.packing, &export.annotations, lease, departures)?;
                attested(worker, export, results, name, outgoing, departures)
            })?,
            Kept::Nowhere => {
                let mut made = Vec::new();
                let done = store.push_packed(name, naming, lease, &progress, |departures| {
                    let built = results.iter().map(image::described).collect();
                    let (packing, annotations) = (export.packing, &export.annotations);
                    let (ids, outgoing) =
                        store.pack_built_for_registry(built, packing, annotations, lease, departures)?;
                    made = ids;
                    attested(worker, export, results, name, outgoing, departures)
                })?;
                let with_ids = results.iter().zip(made);
                images = with_ids
                    .map(|(result, id)| BuiltPlatform { platform: result.platform.clone(), id })
                    .collect();
                done
            }
        };
        if kept == Kept::InStore {
            let members: Vec<_> = images
                .iter()
                .map(|built| Member { platform: built.platform.clone(), image: built.id })
                .collect();
            store.record_pushed(name, &members, done.digest)?;
        }
        pushed = Some(done);
        task.finish(Outcome::Done);
    }
    Ok(Registered { pushed, images, kept })
}

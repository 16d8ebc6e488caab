//! Takes results from caches elsewhere.

use std::sync::{Arc, Mutex, PoisonError};

use rbuild_cache::backends::catalog::{Catalog, Layer, Standing};
use rbuild_cache::backends::{self, Backend, BackendError, Contents, Imports};
use rbuild_images::{Alone, LayerState, Progress, StackLayer};
use rbuild_model::digest::BlobDigest;
use rbuild_model::event::{Event, Outcome, Unit};
use rbuild_model::snapshot::Chain;
use rbuild_solver::RecordId;
use rbuild_store::Wait;

use super::Unusable;
use crate::cancel::Cancel;
use crate::error::StepError;
use crate::tasks::{Task, Tasks};
use crate::worker::Worker;

/// Reads the catalogs of caches, all at once; one that cannot be read is told of and left out.
pub(crate) fn open(worker: &Worker, caches: &[Arc<dyn Backend>], tasks: &Tasks) -> Imports {
    let found: Mutex<Vec<(usize, Catalog)>> = Mutex::default();
    std::thread::scope(|scope| {
        for (at, cache) in caches.iter().enumerate() {
            let found = &found;
            scope.spawn(move || {
                let task = tasks.begin(format!("importing cache manifest from {}", cache.name()));
                let read = catalogs(&**cache);
                task.finish(if read.is_ok() { Outcome::Done } else { Outcome::Failed });
                let note = |text: String| tasks.events().event(Event::Note(text));
                match read {
                    Ok(Read { catalogs, remarks }) => {
                        for remark in remarks {
                            note(format!("cache {}: {remark}", cache.name()));
                        }
                        let mut found = found.lock().unwrap_or_else(PoisonError::into_inner);
                        found.extend(catalogs.into_iter().map(|catalog| (at, catalog)));
                    }
                    Err(error) => note(format!("cache {} is not used: {}", cache.name(), told(&error))),
                }
            });
        }
    });
    let mut found = found.into_inner().unwrap_or_else(PoisonError::into_inner);
    found.sort_by_key(|(at, _)| *at);
    let sources = found.into_iter().map(|(at, catalog)| (Arc::clone(&caches[at]), catalog)).collect();
    Imports::new(Arc::clone(&worker.records), sources)
}

/// What was read of a cache.
struct Read {
    catalogs: Vec<Catalog>,
    remarks: Vec<String>,
}

fn catalogs(cache: &dyn Backend) -> Result<Read, BackendError> {
    let held = cache.catalog()?;
    let mut read = Read { catalogs: Vec::new(), remarks: Vec::new() };
    if held.is_empty() {
        read.remarks.push("there is none yet".to_owned());
    }
    for held in held {
        match held.contents()? {
            Some(Contents::Ours(catalog)) => read.catalogs.push(*catalog),
            Some(Contents::BuildKit(foreign)) => read.remarks.push(format!(
                "BuildKit wrote it, with {} results in {} layers: their keys are BuildKit's own, so steps do not find them",
                foreign.records, foreign.layers.len()
            )),
            None => read.remarks.push("the image holds no cache".to_owned()),
        }
    }
    Ok(read)
}

/// Says an error with its causes.
pub(crate) fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Fetches the tree of a result that is in a cache.
pub(crate) fn fetch(
    worker: &Worker,
    imports: &Imports,
    record: RecordId,
    task: &Task,
    cancel: &Cancel,
) -> Result<Chain, StepError> {
    let wanted = imports.wanted(record).expect("only what was found elsewhere is fetched");
    let layers: Vec<StackLayer> = wanted.layers.iter().map(stack_layer).collect();
    let lease = worker.lease()?;
    let stop = cancel.for_locks();
    let fetch = |blob: &rbuild_image::manifest::Descriptor| -> Result<(), BackendError> {
        if cancel.is_cancelled() {
            return Err(BackendError::OutOfTime);
        }
        backends::fetch(&*wanted.backend, blob, &worker.store, lease, &Wait::until(&stop.wish)).map(drop)
    };
    let progress = FetchProgress { task };
    match worker.images.stack(&layers, &fetch, lease, &progress) {
        Ok(chain) => {
            imports
                .came(record, &chain)
                .map_err(|error| StepError::Index(rbuild_solver::IndexError(error.into())))?;
            Ok(chain)
        }
        Err(_) if cancel.is_cancelled() => Err(StepError::Cancelled),
        Err(error) => {
            Err(StepError::Cache(Box::new(Unusable::new(wanted.source, record, &*wanted.backend, error))))
        }
    }
}

fn stack_layer(layer: &Layer) -> StackLayer {
    let Layer { diff_id, blob, encoding, standing } = layer;
    StackLayer {
        diff_id: *diff_id,
        descriptor: blob.as_ref().map(|blob| blob.descriptor()),
        encoding: encoding.clone(),
        alone: match standing {
            Standing::Alone => Alone::Yes,
            Standing::OnOthers => Alone::No,
        },
    }
}

/// Tells how far the layers are.
struct FetchProgress<'a> {
    task: &'a Task,
}

impl Progress for FetchProgress<'_> {
    fn layer(&self, layer: BlobDigest, state: LayerState) {
        if let LayerState::Transferring { current, total } = state {
            self.task.progress(&format!("sha256:{}", &layer.hex()[..12]), current, Some(total), Unit::Bytes);
        }
    }

    fn note(&self, _: &str) {}
}

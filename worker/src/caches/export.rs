//! Brings what a build consisted of to caches elsewhere.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rbuild_cache::backends::catalog::{Blob, Build, Catalog, Layer, Record, Standing, Step};
use rbuild_cache::backends::{
    self, Backend, BackendError, Held, Imports, Put, Sent, Stopped, StoredBlob, described, inline,
    send_missing,
};
use rbuild_cache::records::Travelling;
use rbuild_model::digest::DiffId;
use rbuild_model::event::{Event, Outcome, Stream};
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_model::step::Operation;
use rbuild_solver::RecordId;
use rbuild_store::Wait;

use super::mounts::{self, UsedMount};
use super::{CacheTarget, Caches, Inline, Mode, MountsTravel, OnFailure};
use crate::cancel::Cancel;
use crate::describe::{Finished, base_images};
use crate::drive::Reached;
use crate::tasks::Tasks;
use crate::worker::Worker;

/// What steps are called in a cache that everybody may read who has the image.
const UNNAMED: &str = "a step of an image";

/// What a build consisted of, for the caches that it goes to.
pub struct Exportable {
    to: Vec<CacheTarget>,
    target: String,
    started_ns: i64,
    steps: Vec<BuiltStep>,
    /// The stacks of the results.
    results: Vec<Chain>,
    /// Their layers.
    diff_ids: HashSet<DiffId>,
    epoch: Option<i64>,
    mounts: Vec<UsedMount>,
    imports: Arc<Imports>,
    tasks: Tasks,
}

impl std::fmt::Debug for Exportable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exportable").field("target", &self.target).finish_non_exhaustive()
    }
}

/// A step of the build.
struct BuiltStep {
    stage: String,
    name: String,
    record: Option<RecordId>,
    /// The layers of the image that it stands on.
    base: Arc<[DiffId]>,
}

/// A cache could not be written, and that was to be an error.
#[derive(Debug, thiserror::Error)]
#[error("failed to export the cache to {name}")]
pub struct CacheFailure {
    /// The cache.
    pub name: String,
    /// Why.
    #[source]
    pub source: Box<BackendError>,
}

/// Where the bytes of a layer are.
#[derive(Clone)]
enum Origin {
    /// In the tree on top of a stack of this store.
    Tree(Chain),
    /// In a cache that was imported.
    Cache(Arc<dyn Backend>, Layer),
}

/// What tells layers from each other before their digests are known.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum LayerKey {
    Snapshot(SnapshotId),
    Layer(DiffId, Standing),
}

/// A layer to be brought.
struct Outgoing {
    key: LayerKey,
    origin: Origin,
    standing: Standing,
}

/// A layer of a result: one that has to be brought, or one of an image that its own registry has.
enum Part {
    Base(DiffId),
    Own(LayerKey),
}

/// What has to be brought, each layer once.
#[derive(Default)]
struct Load {
    layers: Vec<Outgoing>,
    known: HashSet<LayerKey>,
}

impl Load {
    /// Adds a layer, which is described only if it is new: every result names all the layers that it stands on.
    fn add(&mut self, key: LayerKey, standing: Standing, origin: impl FnOnce() -> Origin) {
        if self.known.insert(key) {
            self.layers.push(Outgoing { key, origin: origin(), standing });
        }
    }
}

/// What is known of a target when it is built.
pub(crate) struct Ended<'a> {
    /// Its name in the Dockerfile.
    pub(crate) target: &'a str,
    /// When the build began, in nanoseconds since the Unix epoch.
    pub(crate) started_ns: i64,
    pub(crate) graph: &'a Graph,
    pub(crate) reached: &'a [Reached],
    pub(crate) finished: &'a [Finished],
    pub(crate) imports: &'a Arc<Imports>,
    /// Where it is told of.
    pub(crate) tasks: Tasks,
}

/// Gathers what a build leaves for caches, of the steps that are wanted; nothing if it goes to none.
pub(crate) fn exportable(
    worker: &Worker,
    caches: &Caches,
    ended: Ended<'_>,
    wanted: impl Fn(StepId) -> bool,
) -> Option<Arc<Exportable>> {
    if caches.to.is_empty() && caches.inline == Inline::No {
        return None;
    }
    let Ended { target, started_ns, graph, reached, finished, imports, tasks } = ended;
    let images = base_images(graph);
    let mut bases: HashMap<rbuild_model::digest::ImageId, Arc<[DiffId]>> = HashMap::new();
    let mut steps = Vec::new();
    let mut used = Vec::new();
    for (id, step) in graph.steps().filter(|(id, _)| wanted(*id)) {
        if !matches!(step.operation, Operation::Exec(_) | Operation::File(_)) {
            continue;
        }
        mounts::used(&step.operation, &mut used);
        let base = match images[id.index()] {
            None => Arc::default(),
            Some(image) => match bases.get(&image) {
                Some(known) => Arc::clone(known),
                None => {
                    // An image that was removed meanwhile has no layers to leave out; its steps only lose their layers.
                    let Ok(config) = worker.images.config(image) else { continue };
                    let diff_ids: Arc<[DiffId]> = config.rootfs.diff_ids.into();
                    bases.insert(image, Arc::clone(&diff_ids));
                    diff_ids
                }
            },
        };
        let note = graph.note(id);
        steps.push(BuiltStep {
            stage: note.stage.clone().unwrap_or_default(),
            name: note.name.clone(),
            record: reached[id.index()].record,
            base,
        });
    }
    Some(Arc::new(Exportable {
        to: caches.to.clone(),
        target: target.to_owned(),
        started_ns,
        steps,
        results: finished.iter().map(|result| result.chain.clone()).collect(),
        diff_ids: finished.iter().flat_map(|result| result.config.rootfs.diff_ids.iter().copied()).collect(),
        epoch: finished.first().and_then(|result| result.epoch),
        mounts: used,
        imports: Arc::clone(imports),
        tasks,
    }))
}

impl Worker {
    /// Brings what builds consisted of to the caches that they name. A cache that cannot be written is told of; only one
    /// of which that was asked is an error. It is told to those who heard of the build.
    pub fn export_caches(
        &self,
        exportables: &[Arc<Exportable>],
        cancel: &Cancel,
    ) -> Result<(), CacheFailure> {
        let mut failure = None;
        for exportable in exportables {
            let tasks = &exportable.tasks;
            for target in &exportable.to {
                let name = target.backend.name();
                let task = tasks.begin(format!("exporting cache to {name}"));
                let deadline = Instant::now().checked_add(target.budget);
                let in_time = deadline
                    .map_or_else(|| Arc::clone(&target.backend), |deadline| target.backend.until(deadline));
                let export = Export { worker: self, of: exportable, target, deadline, in_time, cancel };
                match export.run() {
                    Ok(done) => {
                        for line in done.lines() {
                            task.log(Stream::Stdout, format!("{line}\n").into_bytes());
                        }
                        task.finish(Outcome::Done);
                    }
                    Err(error) => {
                        task.finish(if cancel.is_cancelled() { Outcome::Cancelled } else { Outcome::Failed });
                        match target.failure {
                            OnFailure::Fail => {
                                let failed = CacheFailure { name: name.to_owned(), source: Box::new(error) };
                                failure.get_or_insert(failed);
                            }
                            OnFailure::Note => tasks.events().event(Event::Note(format!(
                                "the cache was not exported to {name}: {}",
                                super::import::told(&error)
                            ))),
                        }
                    }
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }

    /// Puts a catalog into the config of a result: all keys, and the result's own layers.
    pub(crate) fn embed_cache(
        &self,
        result: &mut Finished,
        exportable: &Exportable,
    ) -> Result<(), BackendError> {
        let diff_ids = result.config.rootfs.diff_ids.clone();
        let layers = diff_ids.iter().map(|diff_id| Layer {
            diff_id: *diff_id,
            blob: None,
            encoding: None,
            standing: Standing::OnOthers,
        });
        let mut catalog = Catalog { layers: layers.collect(), ..Catalog::default() };
        let alone = self.records.standing_alone(&result.chain)?;
        for (at, layer) in catalog.layers.iter_mut().enumerate().skip(1) {
            if alone.get(at) == Some(&true) {
                layer.standing = Standing::Alone;
            }
        }
        let own = |chain: Option<Chain>| -> Option<Vec<u32>> {
            let chain = chain?;
            let all = result.chain.layers();
            if all.starts_with(chain.layers()) {
                return Some((0..chain.len() as u32).collect());
            }
            let [only] = chain.layers() else { return None };
            let at = all.iter().position(|layer| layer == only)?;
            (catalog.layers[at].standing == Standing::Alone).then(|| vec![at as u32])
        };
        let mut records = Vec::new();
        for (_, _, travelling) in exportable.travelling(self)? {
            let chain = travelling.chain.clone();
            // Whoever has the image reads its config: what steps of other stages say is not for them.
            records.push(Record { layers: own(chain), name: UNNAMED.to_owned(), ..described(&travelling) });
        }
        catalog.records = records;
        inline::embed(&mut result.config, &catalog);
        Ok(())
    }
}

impl Exportable {
    /// Reads the records of the steps, each once, with the step that it belongs to; without those that nothing leads to.
    fn travelling(&self, worker: &Worker) -> Result<Vec<(&BuiltStep, RecordId, Travelling)>, BackendError> {
        let mut known = HashSet::new();
        let steps = self.steps.iter().filter_map(|step| Some((step, step.record?)));
        let steps: Vec<(&BuiltStep, RecordId)> = steps.filter(|(_, id)| known.insert(*id)).collect();
        let ids: Vec<RecordId> = steps.iter().map(|(_, id)| *id).collect();
        let found = worker.records.travelling(&ids)?;
        let found = steps.into_iter().zip(found).filter_map(|((step, id), found)| Some((step, id, found?)));
        Ok(found.filter(|(_, _, found)| !found.keys.is_empty()).collect())
    }

    fn build(&self, numbers: &HashMap<RecordId, u32>) -> Build {
        let step = |step: &BuiltStep| Step {
            stage: step.stage.clone(),
            name: step.name.clone(),
            record: step.record.and_then(|record| numbers.get(&record)).copied(),
        };
        let steps = self.steps.iter().map(step).collect();
        Build { target: self.target.clone(), started_ns: self.started_ns, steps }
    }
}

/// What came of an export.
struct Exported {
    sent: Sent,
    records: usize,
    complete: Complete,
    remarks: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Complete {
    Yes,
    No,
}

impl Exported {
    fn lines(&self) -> Vec<String> {
        let Sent { blobs, bytes, present } = self.sent;
        let mut lines = vec![format!(
            "{} results; {blobs} blobs with {bytes} bytes went up, {present} were there",
            self.records
        )];
        if self.complete == Complete::No {
            lines.push("the time for it is over: some layers stayed out".to_owned());
        }
        lines.extend(self.remarks.iter().cloned());
        lines
    }
}

/// One export to one cache.
struct Export<'a> {
    worker: &'a Worker,
    of: &'a Exportable,
    target: &'a CacheTarget,
    deadline: Option<Instant>,
    /// The cache, for what its time is given to. The catalog goes up when that is over, too.
    in_time: Arc<dyn Backend>,
    cancel: &'a Cancel,
}

impl Export<'_> {
    fn run(&self) -> Result<Exported, BackendError> {
        let mut load = Load::default();
        let mut records: Vec<(Record, Option<Vec<Part>>)> = Vec::new();
        let mut numbers = HashMap::new();
        for (step, id, travelling) in self.of.travelling(self.worker)? {
            let parts = self.parts(id, travelling.chain.as_ref(), &step.base, &mut load)?;
            numbers.insert(id, records.len() as u32);
            records.push((described(&travelling), parts));
        }
        let made: Mutex<HashMap<LayerKey, Layer>> = Mutex::default();
        let withheld: Mutex<Vec<String>> = Mutex::default();
        let sent = send_missing(&load.layers, self.target.parallel.get(), self.deadline, |layer| {
            let (described, put) = match self.send(layer) {
                Ok(sent) => sent,
                // Only this layer cannot be named; the results that it is a part of travel without theirs.
                Err(error @ BackendError::Unfinished(_)) => {
                    let told = format!("a layer stayed out: {}", super::import::told(&error));
                    withheld.lock().unwrap_or_else(PoisonError::into_inner).push(told);
                    return Ok((Put::Present, 0));
                }
                Err(error) => return Err(error),
            };
            let size = described.blob.as_ref().map_or(0, |blob| blob.size);
            made.lock().unwrap_or_else(PoisonError::into_inner).insert(layer.key, described);
            Ok((put, size))
        });
        let (mut sent, complete) = match sent {
            Ok(sent) => (sent, Complete::Yes),
            Err(Stopped { error, sent })
                if matches!(*error, BackendError::OutOfTime) && !self.cancel.is_cancelled() =>
            {
                (sent, Complete::No)
            }
            Err(stopped) => return Err(stopped.into()),
        };
        let made = made.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut catalog = Catalog::default();
        let mut places: HashMap<Layer, u32> = HashMap::new();
        for (mut record, parts) in records {
            record.layers = parts.and_then(|parts| {
                let layers: Option<Vec<Layer>> = parts.iter().map(|part| part.layer(&made)).collect();
                let mut place = |layer: Layer| {
                    *places.entry(layer).or_insert_with_key(|layer| {
                        catalog.layers.push(layer.clone());
                        catalog.layers.len() as u32 - 1
                    })
                };
                layers.map(|layers| layers.into_iter().map(&mut place).collect())
            });
            catalog.records.push(record);
        }
        catalog.builds.push(self.of.build(&numbers));
        let mut remarks = withheld.into_inner().unwrap_or_else(PoisonError::into_inner);
        if self.target.mounts == MountsTravel::Yes {
            let former = self.former_mounts();
            let brought = if complete == Complete::Yes { &self.of.mounts[..] } else { &[] };
            for mount in brought {
                let bring = mounts::Bring {
                    worker: self.worker,
                    mount,
                    backend: &*self.in_time,
                    former: &former,
                    imports: &self.of.imports,
                    parallel: self.target.parallel.get(),
                    deadline: self.deadline,
                };
                match bring.run() {
                    Ok(Some((described, mount_sent))) => {
                        sent.blobs += mount_sent.blobs;
                        sent.bytes += mount_sent.bytes;
                        sent.present += mount_sent.present;
                        catalog.mounts.push(described);
                    }
                    Ok(None) => {}
                    // A mount is a help, never a condition.
                    Err(error) => {
                        remarks.push(format!(
                            "the cache mount `{}` was not brought: {}",
                            mount.id,
                            super::import::told(&error)
                        ));
                    }
                }
            }
            mounts::keep_former(&mut catalog.mounts, former, &self.of.mounts);
        }
        catalog.check()?;
        self.target.backend.publish(&catalog.to_bytes(), &catalog.blobs())?;
        Ok(Exported { sent, records: catalog.records.len(), complete, remarks })
    }

    /// Says what the result of a record is made of, if that is to travel, and adds what of it has to be brought.
    fn parts(
        &self,
        id: RecordId,
        chain: Option<&Chain>,
        base: &[DiffId],
        load: &mut Load,
    ) -> Result<Option<Vec<Part>>, BackendError> {
        let Some(chain) = chain else { return Ok(self.parts_elsewhere(id, load)) };
        if chain.len() < base.len() {
            return Ok(None);
        }
        let own = &chain.layers()[base.len()..];
        let of_result =
            |layer: &SnapshotId| self.of.results.iter().any(|result| result.layers().contains(layer));
        if self.target.mode == Mode::Min && !own.iter().all(of_result) {
            return Ok(None);
        }
        let alone = self.worker.records.standing_alone(chain)?;
        let mut parts: Vec<Part> = base.iter().map(|diff_id| Part::Base(*diff_id)).collect();
        for (at, layer) in chain.layers().iter().enumerate().skip(base.len()) {
            let is_alone = at > 0 && alone[at];
            let standing = if is_alone { Standing::Alone } else { Standing::OnOthers };
            let from = if is_alone { at } else { 0 };
            let key = LayerKey::Snapshot(*layer);
            load.add(key, standing, || Origin::Tree(Chain::new(chain.layers()[from..=at].to_vec())));
            parts.push(Part::Own(key));
        }
        Ok(Some(parts))
    }

    /// The same for a result that was never fetched from the cache that has it.
    fn parts_elsewhere(&self, id: RecordId, load: &mut Load) -> Option<Vec<Part>> {
        let wanted = self.of.imports.wanted(id)?;
        let is_of_result = |layer: &Layer| layer.blob.is_none() || self.of.diff_ids.contains(&layer.diff_id);
        if self.target.mode == Mode::Min && !wanted.layers.iter().all(is_of_result) {
            return None;
        }
        let part = |layer: &Layer| {
            if layer.blob.is_none() {
                return Part::Base(layer.diff_id);
            }
            let key = LayerKey::Layer(layer.diff_id, layer.standing);
            load.add(key, layer.standing, || Origin::Cache(Arc::clone(&wanted.backend), layer.clone()));
            Part::Own(key)
        };
        Some(wanted.layers.iter().map(part).collect())
    }

    /// Brings a layer, unless it is there.
    fn send(&self, layer: &Outgoing) -> Result<(Layer, Put), BackendError> {
        if self.cancel.is_cancelled() {
            return Err(BackendError::OutOfTime);
        }
        let here =
            |act| move |error: rbuild_images::ImagesError| BackendError::Here { act, source: error.into() };
        let lease = self
            .worker
            .lease()
            .map_err(|error| BackendError::Here { act: "begin a lease", source: error.into() })?;
        let blobs = self.worker.images.blobs();
        let backend = &self.in_time;
        match &layer.origin {
            Origin::Tree(stack) => {
                let tar = self.worker.images.diff_id(stack, self.of.epoch).map_err(here("read a layer"))?;
                let Some(tar) = tar else {
                    return Err(BackendError::Missing("a layer without a tree".to_owned()));
                };
                let (images, packing) = (&self.worker.images, self.target.packing);
                let packed = images.pack_for_cache(stack, tar.diff_id, packing, lease, self.deadline);
                let packed = packed.map_err(|error| match self.deadline {
                    Some(deadline) if Instant::now() >= deadline => BackendError::OutOfTime,
                    _ => here("pack a layer")(error),
                })?;
                let put = backend
                    .put(&packed.descriptor, &StoredBlob { blobs, digest: packed.descriptor.digest })?;
                let described = Layer {
                    diff_id: tar.diff_id,
                    blob: Some(Blob::from(&packed.descriptor)),
                    encoding: packed.encoding,
                    standing: layer.standing,
                };
                Ok((described, put))
            }
            Origin::Cache(from, described) => {
                let Some(blob) = &described.blob else { return Ok((described.clone(), Put::Present)) };
                let descriptor = blob.descriptor();
                if backend.has(&descriptor)? {
                    return Ok((described.clone(), Put::Present));
                }
                let from = self.deadline.map_or_else(|| Arc::clone(from), |deadline| from.until(deadline));
                backends::fetch(&*from, &descriptor, &self.worker.store, lease, &Wait::forever())?;
                let put = backend.put(&descriptor, &StoredBlob { blobs, digest: descriptor.digest })?;
                Ok((described.clone(), put))
            }
        }
    }

    /// Reads the mounts that the cache has by now; what cannot be read has none.
    fn former_mounts(&self) -> Vec<backends::catalog::Mount> {
        if self.of.mounts.is_empty() {
            return Vec::new();
        }
        let held = self.target.backend.catalog().unwrap_or_default();
        let catalogs = held.iter().filter_map(|held| match held {
            Held::Catalog(bytes) => Catalog::parse(bytes).ok(),
            Held::Image { .. } | Held::BuildKit(_) => None,
        });
        catalogs.flat_map(|catalog| catalog.mounts).collect()
    }
}

impl Part {
    fn layer(&self, made: &HashMap<LayerKey, Layer>) -> Option<Layer> {
        match self {
            Self::Base(diff_id) => {
                Some(Layer { diff_id: *diff_id, blob: None, encoding: None, standing: Standing::OnOthers })
            }
            Self::Own(key) => made.get(key).cloned(),
        }
    }
}

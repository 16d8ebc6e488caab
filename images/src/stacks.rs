//! Stacks of layers that come from a cache and go to one: without an image around them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rbuild_image::manifest::Descriptor;
use rbuild_model::digest::{ChainId, DiffId};
use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_store::{Lease, ObjectKind};

use crate::arrivals::Arrivals;
use crate::departures::Unheard;
use crate::error::ImagesError;
use crate::images::Images;
use crate::packing::Packing;
use crate::progress::Progress;
use crate::rows::{self, PackedRow};
use crate::unpack::PendingLayer;

/// How many blobs are fetched at a time.
const PARALLEL: usize = 4;

/// A layer of a stack that is wanted.
#[derive(Clone, Debug)]
pub struct StackLayer {
    /// The digest of its tar.
    pub diff_id: DiffId,
    /// Its blob; none where it has to be here.
    pub descriptor: Option<Descriptor>,
    /// The form that it was packed in by this program, if it was: `gzip:6`.
    pub encoding: Option<String>,
    /// Whether it was made on nothing, and only then put on those below it.
    pub alone: Alone,
}

/// Whether a layer was made on nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Alone {
    /// It was made on those below it.
    #[default]
    No,
    /// It was.
    Yes,
}

/// Why a stack could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StackError<E: std::error::Error + 'static> {
    /// A blob could not be fetched.
    #[error(transparent)]
    Fetch(E),
    /// A layer has to be here, and is not.
    #[error("the layer {0} is not here, and the cache leaves it to the registry of its image")]
    NotHere(DiffId),
    /// A layer is of an unknown type.
    #[error("the layer {0} is of the unknown type `{1}`")]
    UnknownType(DiffId, String),
    /// The images failed, or what came is not what it should be.
    #[error(transparent)]
    Images(#[from] ImagesError),
}

/// A layer that leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedLayer {
    /// Its blob.
    pub descriptor: Descriptor,
    /// The form that it was packed in by this program, if it was.
    pub encoding: Option<String>,
}

/// A run of layers that are unpacked one after another.
struct Run {
    first: usize,
    pending: Vec<PendingLayer>,
    arrivals: Arrivals,
}

impl Images {
    /// Makes the trees of a stack of layers, lowest first; the blobs of those that are not here are asked of `fetch`,
    /// several at a time, and are unpacked in order as they come.
    pub fn stack<E: std::error::Error + Send + 'static>(
        &self,
        layers: &[StackLayer],
        fetch: &(dyn Fn(&Descriptor) -> Result<(), E> + Sync),
        lease: &Lease,
        progress: &dyn Progress,
    ) -> Result<Chain, StackError<E>> {
        let here = self.layers_here(layers, lease)?;
        let runs = runs(layers, &here)?;
        let queue: Vec<(usize, usize)> = runs
            .iter()
            .enumerate()
            .flat_map(|(run, layers)| (0..layers.pending.len()).map(move |at| (run, at)))
            .collect();
        let failure: Mutex<Option<E>> = Mutex::new(None);
        let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
        let mut chain = Chain::empty();
        let complete = std::thread::scope(|scope| {
            // With the last of those who fetch it is known that nothing more comes.
            let sources: Arc<Vec<_>> = Arc::new(runs.iter().map(|run| run.arrivals.source()).collect());
            for _ in 0..PARALLEL.min(queue.len()) {
                let sources = Arc::clone(&sources);
                let (runs, queue, failure, next, stop) = (&runs, &queue, &failure, &next, &stop);
                scope.spawn(move || {
                    let _sources = sources;
                    while !stop.load(Ordering::Relaxed)
                        && let Some((run, at)) = queue.get(next.fetch_add(1, Ordering::Relaxed))
                    {
                        if runs[*run].arrivals.is_refused() {
                            break;
                        }
                        match fetch(&runs[*run].pending[*at].descriptor) {
                            Ok(()) => runs[*run].arrivals.get(*at).complete(),
                            Err(error) => {
                                stop.store(true, Ordering::Relaxed);
                                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                            }
                        }
                    }
                });
            }
            drop(sources);
            let mut runs = runs.iter().peekable();
            let unpacked = (|| {
                let mut at = 0;
                while at < layers.len() {
                    let Some(run) = runs.next_if(|run| run.first == at) else {
                        chain = chain.with(here[at].expect("what is in no run is here"));
                        at += 1;
                        continue;
                    };
                    let (base, base_id) = match layers[at].alone {
                        Alone::Yes => (Chain::empty(), None),
                        Alone::No => (chain.clone(), chain_id(&layers[..at])),
                    };
                    let below = base.len();
                    let stack = self.unpack(base, base_id, &run.pending, &run.arrivals, lease, progress)?;
                    let Some(stack) = stack else { return Ok(false) };
                    for snapshot in &stack.layers()[below..] {
                        chain = chain.with(*snapshot);
                    }
                    at += run.pending.len();
                }
                Ok(true)
            })();
            stop.store(true, Ordering::Relaxed);
            unpacked
        });
        if let Some(error) = failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            return Err(StackError::Fetch(error));
        }
        if !complete.map_err(StackError::Images)? {
            return Err(ImagesError::Archive("layers are missing".to_owned()).into());
        }
        self.remember_encodings(layers)?;
        Ok(chain)
    }

    /// Finds the snapshots of layers that are here, and leases them.
    fn layers_here(
        &self,
        layers: &[StackLayer],
        lease: &Lease,
    ) -> Result<Vec<Option<SnapshotId>>, ImagesError> {
        let found = self.store.write(|tx| -> Result<Vec<_>, ImagesError> {
            let mut found = Vec::with_capacity(layers.len());
            for at in 0..layers.len() {
                let identity = identity(layers, at);
                let row = rows::layer(tx, identity)?;
                if let Some(row) = row {
                    lease.protect(tx, &[(ObjectKind::SNAPSHOT, row.snapshot.as_bytes())])?;
                }
                found.push(row.map(|row| row.snapshot));
            }
            Ok(found)
        })?;
        Ok(found
            .into_iter()
            .map(|found| found.filter(|snapshot| self.snapshotter.contains(*snapshot)))
            .collect())
    }

    /// Remembers in which form layers were packed, so that they leave again as they came. What was unpacked was hashed.
    fn remember_encodings(&self, layers: &[StackLayer]) -> Result<(), ImagesError> {
        for layer in layers {
            let (Some(descriptor), Some(encoding)) = (&layer.descriptor, &layer.encoding) else { continue };
            let Some(format) = descriptor.media_type.layer_format() else { continue };
            if encoding.split(':').next() != Some(rows::packed_name(format)) {
                continue;
            }
            let row = PackedRow {
                media_type: descriptor.media_type.as_str().to_owned(),
                digest: descriptor.digest,
                size: descriptor.size,
                origin: None,
                encoding: Some(encoding.clone()),
            };
            self.store.write(|tx| -> Result<(), ImagesError> {
                if rows::is_packed(tx, layer.diff_id, descriptor.digest)? {
                    rows::add_packed(tx, layer.diff_id, format, &row)?;
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Packs the layer on top of a stack, or finds it packed. What is not packed by the deadline fails.
    pub fn pack_for_cache(
        &self,
        stack: &Chain,
        diff_id: DiffId,
        packing: Packing,
        lease: &Lease,
        deadline: Option<Instant>,
    ) -> Result<PackedLayer, ImagesError> {
        let descriptor = self.packed_layer(stack, diff_id, packing, lease, deadline, &Unheard)?;
        let forms = self.store.read(|tx| rows::packed(tx, diff_id))?;
        let encoding =
            forms.into_iter().find(|form| form.digest == descriptor.digest).and_then(|form| form.encoding);
        Ok(PackedLayer { descriptor, encoding })
    }
}

/// What a layer is known by: itself where it was made on nothing, else the stack up to it.
fn identity(layers: &[StackLayer], at: usize) -> ChainId {
    let own = ChainId::from_bytes(*layers[at].diff_id.as_bytes());
    match layers[at].alone {
        Alone::Yes => own,
        Alone::No => chain_id(&layers[..=at]).unwrap_or(own),
    }
}

fn chain_id(layers: &[StackLayer]) -> Option<ChainId> {
    let diff_ids: Vec<DiffId> = layers.iter().map(|layer| layer.diff_id).collect();
    ChainId::of(&diff_ids)
}

/// Puts what is not here into runs: a layer that stands alone is a run of its own.
fn runs<E: std::error::Error + 'static>(
    layers: &[StackLayer],
    here: &[Option<SnapshotId>],
) -> Result<Vec<Run>, StackError<E>> {
    let mut open: Vec<(usize, Vec<PendingLayer>)> = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        if here[at].is_some() {
            continue;
        }
        let descriptor = layer.descriptor.clone().ok_or(StackError::NotHere(layer.diff_id))?;
        let Some(format) = descriptor.media_type.layer_format() else {
            return Err(StackError::UnknownType(layer.diff_id, descriptor.media_type.to_string()));
        };
        let pending = PendingLayer { descriptor, format, diff_id: layer.diff_id, origin: None };
        match open.last_mut() {
            Some((first, run))
                if layer.alone == Alone::No
                    && layers[*first].alone == Alone::No
                    && *first + run.len() == at =>
            {
                run.push(pending);
            }
            _ => open.push((at, vec![pending])),
        }
    }
    let run = |(first, pending): (usize, Vec<PendingLayer>)| {
        let arrivals = Arrivals::of(pending.len());
        Run { first, pending, arrivals }
    };
    Ok(open.into_iter().map(run).collect())
}

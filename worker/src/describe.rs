//! What came out of a target: its layers, its config, its history with times.

use std::collections::HashMap;
use std::ops::Range;

use rbuild_frontend::lower::Target;
use rbuild_model::digest::ImageId;
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::image_config::{History, ImageConfig};
use rbuild_model::platform::Platform;
use rbuild_model::snapshot::Chain;
use rbuild_model::step::{Operation, Source};
use rbuild_solver::{RecordId, Tree};

use crate::attest::Fact;
use crate::drive::Reached;
use crate::error::BuildError;
use crate::worker::Worker;

/// The root and the config of one platform, complete.
pub(crate) struct Finished {
    pub(crate) platform: Platform,
    /// The image that it stands on.
    pub(crate) base: Option<ImageId>,
    pub(crate) chain: Chain,
    pub(crate) config: ImageConfig,
    pub(crate) epoch: Option<i64>,
    /// The latest time that files in its layers have.
    pub(crate) layer_epoch: Option<i64>,
    /// The steps whose trees are layers of it, with those layers.
    pub(crate) parts: HashMap<StepId, Range<usize>>,
    /// What is said about it.
    pub(crate) facts: Vec<Fact>,
}

/// What a solved graph comes to, all of it or a part.
#[derive(Clone, Copy)]
pub(crate) struct Solved<'a> {
    pub(crate) graph: &'a Graph,
    /// For every step, its tree if it was made.
    pub(crate) made: &'a [Option<Tree>],
    pub(crate) reached: &'a [Reached],
}

impl Worker {
    /// Describes what came out of a target, a value a platform.
    pub(crate) fn described(
        &self,
        targets: &[Target],
        solved: &Solved<'_>,
    ) -> Result<Vec<Finished>, BuildError> {
        let bases = base_images(solved.graph);
        let base = |target: &Target| bases[target.root.index()];
        targets.iter().map(|target| self.describe(target, base(target), solved)).collect()
    }

    /// Completes the config of one platform: its layers, its history with times.
    fn describe(
        &self,
        target: &Target,
        base: Option<ImageId>,
        solved: &Solved<'_>,
    ) -> Result<Finished, BuildError> {
        let Solved { graph, made: trees, .. } = *solved;
        let Some(Tree::Chain(chain)) = &trees[target.root.index()] else {
            return Err(BuildError::Unsupported { what: "a folder of the client as the result".to_owned() });
        };
        if let Some(lost) = chain.layers().iter().find(|layer| !self.snapshotter.contains(**layer)) {
            return Err(BuildError::LostSnapshot(*lost));
        }
        let mut config = target.config.clone();
        let below = config.rootfs.diff_ids.len();
        let new = chain.len().checked_sub(below).ok_or_else(|| {
            store_error(format!("the base image has {below} layers, but its tree has only {}", chain.len()))
        })?;
        let steps: Vec<StepId> = target.history.iter().filter_map(|item| item.layer).collect();
        if steps.len() != new {
            return Err(store_error(format!("{new} layers were made, but the history has {}", steps.len())));
        }
        let made = self.ends(target, solved)?;
        let parts = parts(graph, target.root, below, &steps);
        let stacks = steps.into_iter().enumerate().map(|(at, step)| {
            // A linked layer is described by itself: what is below it is not its business.
            match (&graph.step(step).operation, &trees[layer_step(graph, step).index()]) {
                (Operation::Merge, Some(Tree::Chain(own))) => own.clone(),
                // It came as a part of a whole stack.
                (Operation::Merge, _) => Chain::new(vec![chain.layers()[below + at]]),
                _ => Chain::new(chain.layers()[..=below + at].to_vec()),
            }
        });
        let diff_ids = self.images.top_diff_ids(&stacks.collect::<Vec<_>>(), target.layer_epoch);
        let diff_ids = diff_ids.map_err(|error| BuildError::Store(error.into()))?;
        config.rootfs.diff_ids.extend(diff_ids);
        let epoch = target.epoch.map(rfc3339);
        // Acts without a layer have the time of the layer before them, or of the first one.
        let first = made.iter().flatten().next().cloned().or_else(|| config.created.clone());
        let mut last = first;
        for (item, made) in target.history.iter().zip(made) {
            if made.is_some() {
                last = made;
            }
            let created = epoch.clone().or_else(|| last.clone());
            config.history.push(History { created, ..item.entry.clone() });
        }
        config.created = epoch.or(last);
        Ok(Finished {
            platform: target.requested.clone(),
            base,
            chain: chain.clone(),
            config,
            epoch: target.epoch,
            layer_epoch: target.layer_epoch,
            parts,
            facts: Vec::new(),
        })
    }

    /// Returns when the steps of a history ended that made a layer and are recorded.
    fn ends(&self, target: &Target, solved: &Solved<'_>) -> Result<Vec<Option<String>>, BuildError> {
        let record = |step| solved.reached[layer_step(solved.graph, step).index()].record;
        let records: Vec<Option<RecordId>> =
            target.history.iter().map(|item| item.layer.and_then(record)).collect();
        let known: Vec<RecordId> = records.iter().flatten().copied().collect();
        let ends = self.records.ends(&known).map_err(store_failure)?;
        let end = |record: Option<RecordId>| record.and_then(|record| ends.get(&record).copied());
        Ok(records.into_iter().map(|record| end(record).map(rfc3339_nanos)).collect())
    }
}

fn store_error(message: String) -> BuildError {
    BuildError::Store(message.into())
}

pub(crate) fn store_failure(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> BuildError {
    BuildError::Store(error.into())
}

/// The step whose own result a layer is: of a merge, what is merged on top.
pub(crate) fn layer_step(graph: &Graph, step: StepId) -> StepId {
    let node = graph.step(step);
    match node.operation {
        Operation::Merge => node.inputs.last().copied().unwrap_or(step),
        _ => step,
    }
}

/// Says which layers the trees of steps are: those of the base image, and one more with each of `steps`.
fn parts(graph: &Graph, root: StepId, base: usize, steps: &[StepId]) -> HashMap<StepId, Range<usize>> {
    let mut parts = HashMap::new();
    if base > 0 {
        // What a step stands on is its first input.
        let below = |step: &StepId| graph.step(*step).inputs.first().copied();
        parts.extend(std::iter::successors(Some(root), below).last().map(|bottom| (bottom, 0..base)));
    }
    for (at, step) in (base..).zip(steps) {
        let own = layer_step(graph, *step);
        if own != *step {
            parts.insert(own, at..at + 1);
        }
        parts.insert(*step, 0..at + 1);
    }
    parts
}

/// For every step the image at the bottom of its tree.
pub(crate) fn base_images(graph: &Graph) -> Vec<Option<ImageId>> {
    let mut bases: Vec<Option<ImageId>> = Vec::with_capacity(graph.len());
    for (_, step) in graph.steps() {
        bases.push(match &step.operation {
            Operation::Source(Source::Image(image)) => Some(image.pin.image),
            // What a step stands on comes before it.
            _ => step.inputs.first().and_then(|below| bases[below.index()]),
        });
    }
    bases
}

pub(crate) fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

pub(crate) fn rfc3339_nanos(nanos: i128) -> String {
    jiff::Timestamp::from_nanosecond(nanos)
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

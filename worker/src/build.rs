//! One build from text to result: parse, ask, lower, solve, describe, export.

use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rbuild_cache::records::builds::{BuildResult, LineageLine, NewBuild};
use rbuild_frontend::lower::{Lowered, Target};
use rbuild_model::digest::{BlobDigest, DiffId, ImageId};
use rbuild_model::event::{Event, Events, Outcome};
use rbuild_model::graph::StepId;
use rbuild_model::image_config::{History, ImageConfig};
use rbuild_model::platform::Platform;
use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_model::step::{Operation, Source};
use rbuild_solver::{Origin, RecordId, Tree};

use crate::berths::Berths;
use crate::cancel::Cancel;
use crate::check::Checked;
use crate::context::Contexts;
use crate::drive::{DriveError, Driven, Reached, Solved, drive};
use crate::error::{BuildError, StepError};
use crate::exporters;
use crate::request::{BuildRequest, Client};
use crate::runner::Runner;
use crate::tasks::Tasks;
use crate::worker::Worker;

/// What came out of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The images, one a platform, in the order asked for; none when only files were exported.
    pub images: Vec<BuiltPlatform>,
    /// The digest of the manifest or index that an export wrote, if one did.
    pub digest: Option<BlobDigest>,
}

/// The image for one platform.
#[derive(Clone, Debug)]
pub struct BuiltPlatform {
    /// The platform that was asked for.
    pub platform: Platform,
    /// The image.
    pub id: ImageId,
}

/// The root and the config of one platform, complete.
pub(crate) struct Finished {
    pub(crate) platform: Platform,
    /// The image that it stands on.
    pub(crate) base: Option<ImageId>,
    pub(crate) chain: Chain,
    pub(crate) config: ImageConfig,
    pub(crate) epoch: Option<i64>,
}

impl Worker {
    /// Builds.
    pub fn build(
        &self,
        mut request: BuildRequest,
        client: &dyn Client,
        events: Events,
        cancel: &Cancel,
    ) -> Result<Built, BuildError> {
        let started = Instant::now();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let tasks = Tasks::new(events);
        let contexts = Contexts::new(client, self.store.layout().index());
        let Checked { findings, lowered, error, dockerfile: _ } =
            self.checked(&mut request, client, &tasks, cancel);
        for finding in findings.warnings {
            tasks.events().event(Event::Warning(finding));
        }
        let lowered = match (error, lowered) {
            (None, Some(lowered)) => *lowered,
            (error, _) => return Err(error.unwrap_or(BuildError::Cancelled)),
        };
        let mut history = Remembered { reached: vec![Reached::default(); lowered.graph.len()] };
        let mut losses = 0;
        let built = loop {
            let built = self.solve_and_export(&request, &lowered, &contexts, &tasks, cancel, &mut history);
            match built.as_ref().err().and_then(lost_snapshot) {
                // A record whose tree is gone (a power loss, a foreign hand): forgotten, and what is needed made again.
                Some(lost) if losses < MAX_LOSSES => {
                    losses += 1;
                    self.records.forget_snapshot(lost).map_err(|error| BuildError::Store(error.into()))?;
                    tasks.events().event(Event::Note(format!(
                        "the files of snapshot {lost} are gone: making them again"
                    )));
                }
                _ => break built,
            }
        };
        for warning in self.networks.warnings() {
            tasks.events().event(Event::Note(warning));
        }
        for problem in contexts.save() {
            tasks.events().event(Event::Note(format!("failed to keep the index of the context: {problem}")));
        }
        let result = match &built {
            Ok(_) => BuildResult::Succeeded,
            Err(BuildError::Cancelled) => BuildResult::Cancelled,
            Err(_) => BuildResult::Failed,
        };
        self.remember(&request, &lowered, &history, wall, started.elapsed(), result, &tasks);
        built
    }

    fn solve_and_export(
        &self,
        request: &BuildRequest,
        lowered: &Lowered,
        contexts: &Contexts<'_>,
        tasks: &Tasks,
        cancel: &Cancel,
        history: &mut Remembered,
    ) -> Result<Built, BuildError> {
        let goals: Vec<StepId> = lowered.targets.iter().map(|target| target.root).collect();
        let ids = tasks.declare_steps(&lowered.graph, &goals);
        let epochs = layer_epochs(lowered);
        let (send, receive) = mpsc::channel::<Made>();
        let send = Mutex::new(Some(send));
        let execs = lowered
            .graph
            .steps()
            .filter(|(id, step)| ids[id.index()].is_some() && matches!(step.operation, Operation::Exec(_)));
        let berths = Berths::new(self, execs.count());
        // A failure stops this attempt; the caller's switch stays as the caller left it.
        let (cancel, _link) = cancel.child();
        let cancel = &cancel;
        contexts.look_for(cancel);
        let Driven { result, reached } = std::thread::scope(|scope| {
            // Whatever happens here, the threads of the scope must come to their ends.
            let _closing = Closing { berths: &berths, send: &send };
            // Layers are digested and measured while later steps run: by the end of the build the image has an id.
            scope.spawn(move || {
                for Made { chain, record, epoch } in receive {
                    if let Some(epoch) = epoch
                        && !cancel.is_cancelled()
                    {
                        // What fails here fails again, and is told, where the digest is needed.
                        let _ = self.images.diff_id(&chain, epoch);
                    }
                    // A layer that was not measured only counts for nothing where room is made.
                    if let Some(top) = chain.top()
                        && let Ok(usage) = self.snapshotter.usage(top)
                    {
                        let _ = self.records.measured(record, top, usage.bytes);
                    }
                }
            });
            scope.spawn(|| berths.keep_ready());
            let committed = |step: StepId, chain: &Chain, record: RecordId| {
                if let Some(send) = &*send.lock().unwrap_or_else(PoisonError::into_inner) {
                    let _ = send.send(Made { chain: chain.clone(), record, epoch: epochs[step.index()] });
                }
            };
            let runner = Runner::new(
                self,
                &lowered.graph,
                contexts,
                tasks,
                ids,
                cancel,
                request.extra_ca.clone(),
                &berths,
                Box::new(committed),
            );
            let parallel = request.parallel.unwrap_or_else(|| {
                std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN).saturating_add(2)
            });
            drive(&lowered.graph, &goals, &*self.records, &runner, &runner, cancel, parallel)
        });
        history.add(&reached);
        let solved = result.map_err(|error| match error {
            DriveError::Step { error: StepError::Cancelled, .. } | DriveError::Cancelled => {
                BuildError::Cancelled
            }
            DriveError::Step { step, error } => {
                let note = lowered.graph.note(step);
                BuildError::Step {
                    name: note.name.clone(),
                    location: note.location.clone(),
                    source: Box::new(error),
                }
            }
            DriveError::Index(error) => error.into(),
        })?;
        let mut outcomes = Vec::new();
        for (target, tree) in lowered.targets.iter().zip(&solved.trees) {
            outcomes.push(self.describe(lowered, target, tree, &solved, &reached)?);
        }
        exporters::run(self, request, outcomes, contexts.client(), tasks, cancel)
    }

    /// Completes the config of one platform: its layers, its history with times.
    fn describe(
        &self,
        lowered: &Lowered,
        target: &Target,
        tree: &Tree,
        solved: &Solved,
        reached: &[Reached],
    ) -> Result<Finished, BuildError> {
        let Tree::Chain(chain) = tree else {
            return Err(BuildError::Unsupported { what: "a folder of the client as the result".to_owned() });
        };
        if let Some(lost) = chain.layers().iter().find(|layer| !self.snapshotter.contains(**layer)) {
            return Err(BuildError::LostSnapshot(*lost));
        }
        let mut config = target.config.clone();
        let below = config.rootfs.diff_ids.len();
        let mut made: Vec<Option<String>> = Vec::new();
        for item in &target.history {
            let Some(step) = item.layer else {
                made.push(None);
                continue;
            };
            made.push(self.finished(reached[layer_step(lowered, step).index()].record)?);
        }
        let new = chain.len().checked_sub(below).ok_or_else(|| {
            store_error(format!("the base image has {below} layers, but its tree has only {}", chain.len()))
        })?;
        let steps: Vec<StepId> = target.history.iter().filter_map(|item| item.layer).collect();
        if steps.len() != new {
            return Err(store_error(format!("{new} layers were made, but the history has {}", steps.len())));
        }
        let mut diff_ids: Vec<DiffId> = Vec::with_capacity(new);
        for (at, step) in steps.into_iter().enumerate() {
            // A linked layer is described by itself: what is below it is not its business.
            let own = match &lowered.graph.step(step).operation {
                Operation::Merge => solved.made[layer_step(lowered, step).index()].clone(),
                _ => None,
            };
            let stack = match own {
                Some(Tree::Chain(own)) => own,
                _ => Chain::new(chain.layers()[..=below + at].to_vec()),
            };
            let tar =
                self.images.diff_id(&stack, target.epoch).map_err(|error| BuildError::Store(error.into()))?;
            diff_ids.extend(tar.map(|tar| tar.diff_id));
        }
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
            base: base_image(lowered, target.root),
            chain: chain.clone(),
            config,
            epoch: target.epoch,
        })
    }

    /// Returns when a recorded step ended.
    fn finished(&self, record: Option<RecordId>) -> Result<Option<String>, BuildError> {
        let Some(record) = record else { return Ok(None) };
        let details = self.records.details(record).map_err(|error| BuildError::Store(error.into()))?;
        Ok(details.map(|details| {
            let nanos = details.started.saturating_add(i128::try_from(details.took.as_nanos()).unwrap_or(0));
            rfc3339_nanos(nanos)
        }))
    }

    /// Writes the build into the history of its project; that this fails only costs the history.
    #[expect(clippy::too_many_arguments, reason = "what is known at the end of a build")]
    fn remember(
        &self,
        request: &BuildRequest,
        lowered: &Lowered,
        history: &Remembered,
        wall: Duration,
        took: Duration,
        result: BuildResult,
        tasks: &Tasks,
    ) {
        let lineage = lowered
            .graph
            .steps()
            .map(|(id, _)| {
                let note = lowered.graph.note(id);
                let Reached { origin, record } = history.reached[id.index()];
                LineageLine {
                    stage: note.stage.clone().unwrap_or_default(),
                    note: note.name.clone(),
                    record,
                    origin,
                }
            })
            .collect();
        let build = NewBuild {
            project: request.project.clone(),
            target: request.options.target.clone().unwrap_or_default(),
            started: i128::try_from(wall.as_nanos()).unwrap_or(i128::MAX),
            took,
            result,
            lineage,
        };
        if let Err(error) = self.records.remember_build(&build) {
            tasks.events().event(Event::Note(format!("failed to remember the build: {error}")));
        }
    }
}

/// A layer that a step made.
struct Made {
    chain: Chain,
    record: RecordId,
    /// With which epoch it is a layer of the result; `None` if it is none.
    epoch: Option<Option<i64>>,
}

/// Ends what the threads around a solved graph wait for.
struct Closing<'a, 'w, T> {
    berths: &'a Berths<'w>,
    send: &'a Mutex<Option<mpsc::Sender<T>>>,
}

impl<T> Drop for Closing<'_, '_, T> {
    fn drop(&mut self) {
        self.berths.close();
        drop(self.send.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// What a build leaves for its history: for every step, how far it came.
struct Remembered {
    reached: Vec<Reached>,
}

impl Remembered {
    /// Adds what came of one attempt. A step that an earlier attempt ran did run, though it was then found.
    fn add(&mut self, reached: &[Reached]) {
        for (known, new) in self.reached.iter_mut().zip(reached) {
            let ran = matches!((known.origin, new.origin), (Some(Origin::Ran(_)), Some(Origin::Found(_))));
            let origin = if ran { known.origin } else { new.origin.or(known.origin) };
            *known = Reached { origin, record: new.record.or(known.record) };
        }
    }
}

/// How many lost trees one build makes again before it gives up.
const MAX_LOSSES: usize = 100;

/// The snapshot whose files are gone, if that is why a build failed.
fn lost_snapshot(error: &BuildError) -> Option<SnapshotId> {
    match error {
        BuildError::Step { source, .. } => match &**source {
            StepError::Snapshot(rbuild_snapshotter::Error::Missing { id }) => Some(*id),
            _ => None,
        },
        BuildError::LostSnapshot(id) => Some(*id),
        _ => None,
    }
}

fn store_error(message: String) -> BuildError {
    BuildError::Store(message.into())
}

/// The step whose own result a layer is: of a merge, what is merged on top.
fn layer_step(lowered: &Lowered, step: StepId) -> StepId {
    let node = lowered.graph.step(step);
    match node.operation {
        Operation::Merge => node.inputs.last().copied().unwrap_or(step),
        _ => step,
    }
}

/// The image at the bottom of a step's tree.
fn base_image(lowered: &Lowered, mut step: StepId) -> Option<ImageId> {
    loop {
        let node = lowered.graph.step(step);
        if let Operation::Source(Source::Image(image)) = &node.operation {
            return Some(image.pin.image);
        }
        step = *node.inputs.first()?;
    }
}

/// For each step whether it makes a layer of a result, and with which epoch.
fn layer_epochs(lowered: &Lowered) -> Vec<Option<Option<i64>>> {
    let mut epochs = vec![None; lowered.graph.len()];
    for target in &lowered.targets {
        for step in target.history.iter().filter_map(|item| item.layer) {
            epochs[layer_step(lowered, step).index()] = Some(target.epoch);
        }
    }
    epochs
}

fn rfc3339(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

fn rfc3339_nanos(nanos: i128) -> String {
    jiff::Timestamp::from_nanosecond(nanos)
        .map_or_else(|_| "1970-01-01T00:00:00Z".to_owned(), |time| time.to_string())
}

/// Finishes a task by how something went.
pub(crate) fn finish<T, E>(task: crate::tasks::Task, result: &Result<T, E>) {
    task.finish(if result.is_ok() { Outcome::Done } else { Outcome::Failed });
}

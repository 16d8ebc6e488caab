//! A build from text to result: parse, ask, lower, solve, describe, export.
//!
//! Several targets are one graph: each is read and lowered in turn, what is equal in them is one step, and one solve makes all.
//! They differ again only where something comes out.

mod aim;
mod history;
mod solve;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use rbuild_cache::backends::{Backend, Imports};
use rbuild_cache::records::builds::BuildResult;
use rbuild_frontend::lower::Aims;
use rbuild_model::digest::{BlobDigest, ImageId};
use rbuild_model::event::{Event, Events, Outcome};
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::platform::Platform;
use rbuild_model::snapshot::SnapshotId;

use crate::attest;
use crate::caches::{self, Exportable, Inline, Unusable};
use crate::cancel::Cancel;
use crate::cdi::StepDevices;
use crate::context::Contexts;
use crate::describe::{Finished, Solved, store_failure};
use crate::drive::{DriveError, Driven, Reached};
use crate::error::{BuildError, StepError};
use crate::exporters;
use crate::request::{BuildRequest, Client, TargetRequest};
use crate::tasks::Tasks;
use crate::wanted::Wanted;
use crate::worker::Worker;

use history::Remembered;

/// What came out of a build.
#[derive(Clone, Debug)]
pub struct Built {
    /// The images, one a platform, in the order asked for; none when only files were exported.
    pub images: Vec<BuiltPlatform>,
    /// The digest of the manifest or index that an export wrote, if one did.
    pub digest: Option<BlobDigest>,
    /// What goes to the caches that were asked for, once the result is delivered: see [`Worker::export_caches`].
    pub cache: Option<Arc<Exportable>>,
}

/// The image for one platform.
#[derive(Clone, Debug)]
pub struct BuiltPlatform {
    /// The platform that was asked for.
    pub platform: Platform,
    /// The image.
    pub id: ImageId,
}

/// Why targets could not be built.
#[derive(Debug, thiserror::Error)]
#[error("{}{error}", .target.as_ref().map(|target| format!("target {target}: ")).unwrap_or_default())]
pub struct TargetError {
    /// The target that is at fault, where there are several.
    pub target: Option<String>,
    /// Why.
    #[source]
    pub error: BuildError,
}

/// A target that was read and lowered.
struct Aimed {
    /// Its name, where there are several.
    name: Option<String>,
    request: BuildRequest,
    aims: Aims,
}

impl Aimed {
    fn roots(&self) -> impl Iterator<Item = StepId> + '_ {
        self.aims.targets.iter().map(|target| target.root)
    }

    fn failed(&self, error: impl Into<BuildError>) -> TargetError {
        TargetError { target: self.name.clone(), error: error.into() }
    }
}

/// All targets of a build.
struct Whole<'a> {
    graph: &'a Graph,
    targets: &'a [Aimed],
    wanted: &'a Wanted<'a>,
    contexts: &'a Contexts<'a>,
    tasks: &'a Tasks,
    imports: &'a Arc<Imports>,
    devices: &'a StepDevices,
    /// When the build began, since the Unix epoch.
    wall: Duration,
}

impl Worker {
    /// Builds one target.
    pub fn build(
        &self,
        request: BuildRequest,
        client: &dyn Client,
        events: Events,
        cancel: &Cancel,
    ) -> Result<Built, BuildError> {
        let target = TargetRequest { name: String::new(), request, client };
        let mut built = self.build_all(vec![target], events, cancel).map_err(|failed| failed.error)?;
        Ok(built.pop().expect("what was built has a result"))
    }

    /// Builds targets together: what is equal in them is done once. Results come in the order of the targets.
    ///
    /// The first failure stops what still runs; targets that were complete by then are exported all the same. The names
    /// of targets are told from each other by the caller.
    pub fn build_all(
        &self,
        targets: Vec<TargetRequest<'_>>,
        events: Events,
        cancel: &Cancel,
    ) -> Result<Vec<Built>, TargetError> {
        let started = Instant::now();
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let tasks = Tasks::new(events);
        let clients = targets.iter().map(|target| target.client).collect();
        let contexts = Contexts::new(clients, self.store.layout().index());
        let mut from: Vec<Arc<dyn Backend>> = Vec::new();
        for cache in targets.iter().flat_map(|target| &target.request.caches.from) {
            // Targets share caches.
            if !from.iter().any(|known| known.name() == cache.name()) {
                from.push(Arc::clone(cache));
            }
        }
        let (imports, aimed) = std::thread::scope(|scope| {
            // Catalogs are read while Dockerfiles and images are.
            let reading = (!from.is_empty()).then(|| scope.spawn(|| caches::open(self, &from, &tasks)));
            let aimed = self.aim(targets, &contexts, &tasks, cancel);
            let imports = match reading {
                Some(thread) => thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
                None => caches::open(self, &[], &tasks),
            };
            (imports, aimed)
        });
        let (imports, (graph, first, targets)) = (Arc::new(imports), aimed?);
        let wanted = Wanted::new(
            &graph,
            first,
            targets.iter().map(|target| (target.name.as_deref(), target.roots().collect())),
        );
        let devices = self.step_devices(&graph, &wanted, &targets)?;
        for note in &devices.notes {
            tasks.events().event(Event::Note(note.clone()));
        }
        let whole = Whole {
            graph: &graph,
            targets: &targets,
            wanted: &wanted,
            contexts: &contexts,
            tasks: &tasks,
            imports: &imports,
            devices: &devices,
            wall,
        };
        let mut history = Remembered::new(&graph);
        let built = self.until_nothing_is_lost(&whole, cancel, &mut history);
        for warning in self.networks.warnings() {
            tasks.events().event(Event::Note(warning));
        }
        for problem in contexts.save() {
            tasks.events().event(Event::Note(format!("failed to keep the index of the context: {problem}")));
        }
        contexts.let_go();
        for (at, target) in targets.iter().enumerate() {
            let result = match &built {
                Ok(_) => BuildResult::Succeeded,
                Err(failed) if failed.target.is_none() || failed.target == target.name => {
                    match failed.error {
                        BuildError::Cancelled => BuildResult::Cancelled,
                        _ => BuildResult::Failed,
                    }
                }
                Err(_) => BuildResult::Cancelled,
            };
            self.remember(&whole, at, &history, wall, started.elapsed(), result);
        }
        built
    }

    /// Solves and exports, and begins again without what turned out to be lost: a cache elsewhere, or a tree of ours.
    fn until_nothing_is_lost(
        &self,
        whole: &Whole<'_>,
        cancel: &Cancel,
        history: &mut Remembered,
    ) -> Result<Vec<Built>, TargetError> {
        let (imports, tasks) = (whole.imports, whole.tasks);
        let mut losses = 0;
        loop {
            let built = self.solve_and_export(whole, cancel, history);
            if let Some(unusable) = built.as_ref().err().and_then(|failed| lost_cache(&failed.error)) {
                if unusable.is_of_one_result() {
                    imports.give_up(unusable.record);
                    continue;
                }
                // What was made of it so far is here, and stays; the rest is found or made without it.
                let name = imports.drop_source(unusable.source_number);
                let name = name.map_err(|error| nobodys(store_failure(error)))?;
                tasks.events().event(Event::Note(format!(
                    "cache {name} is not used any more: {}",
                    caches::told(&*unusable.error)
                )));
                continue;
            }
            match built.as_ref().err().and_then(|failed| lost_snapshot(&failed.error)) {
                // A record whose tree is gone (a power loss, a foreign hand): forgotten, and what is needed made again.
                Some(lost) if losses < MAX_LOSSES => {
                    losses += 1;
                    self.records.forget_snapshot(lost).map_err(|error| nobodys(store_failure(error)))?;
                    tasks.events().event(Event::Note(format!(
                        "the files of snapshot {lost} are gone: making them again"
                    )));
                }
                _ => return built,
            }
        }
    }

    fn solve_and_export(
        &self,
        whole: &Whole<'_>,
        cancel: &Cancel,
        history: &mut Remembered,
    ) -> Result<Vec<Built>, TargetError> {
        let Whole { graph, targets, contexts, tasks, .. } = *whole;
        let caller = cancel;
        // A failure stops this attempt; the caller's switch stays as the caller left it.
        let (cancel, _link) = caller.child();
        contexts.look_for(&cancel);
        let Driven { result, made, reached } = self.solve(whole, &cancel);
        let tried = match &result {
            Err(DriveError::Step { step, keys, .. }) => Some((*step, keys.clone())),
            _ => None,
        };
        history.add(&reached, tried);
        let solved = Solved { graph, made: &made, reached: &reached };
        let failed = result.err().map(|error| match error {
            DriveError::Step { error: StepError::Cancelled, .. } | DriveError::Cancelled => {
                nobodys(BuildError::Cancelled)
            }
            DriveError::Step { step, error, .. } => {
                let target = whole.wanted.owner(step).and_then(|at| targets[at].name.clone());
                let location = graph.note(step).location.clone();
                let name = whole.wanted.name(graph, step);
                TargetError { target, error: BuildError::Step { name, location, source: Box::new(error) } }
            }
            DriveError::Index(error) => nobodys(error.into()),
        });
        let Some(failed) = failed else {
            let outcomes: Vec<Vec<Finished>> = targets
                .iter()
                .map(|target| {
                    self.described(&target.aims.targets, &solved).map_err(|error| target.failed(error))
                })
                .collect::<Result<_, _>>()?;
            let export = |(at, outcomes)| self.leave(whole, at, outcomes, &reached, &cancel);
            return outcomes.into_iter().enumerate().map(export).collect();
        };
        // What was complete before another target failed is there for its user.
        let (cancel, _link) = caller.child();
        for (at, target) in targets.iter().enumerate() {
            let complete = target.roots().all(|root| made[root.index()].is_some());
            if complete && !caller.is_cancelled() && lost_snapshot(&failed.error).is_none() {
                let exported = self
                    .described(&target.aims.targets, &solved)
                    .map_err(|error| target.failed(error))
                    .and_then(|outcomes| self.export(whole, at, outcomes, &cancel));
                if let Err(error) = exported {
                    tasks.events().event(Event::Note(error.to_string()));
                }
            }
        }
        Err(failed)
    }

    fn export(
        &self,
        whole: &Whole<'_>,
        at: usize,
        mut outcomes: Vec<Finished>,
        cancel: &Cancel,
    ) -> Result<Built, TargetError> {
        let target = &whole.targets[at];
        self.attest(whole, at, &mut outcomes).map_err(|error| target.failed(error))?;
        let named = target.name.as_deref().map(|name| whole.tasks.of_target(name));
        let tasks = named.as_ref().unwrap_or(whole.tasks);
        let client = whole.contexts.seat(at).client();
        exporters::run(self, &target.request, outcomes, client, tasks, cancel)
            .map_err(|error| target.failed(error))
    }

    /// Makes what is to be said about the results of a target.
    fn attest(&self, whole: &Whole<'_>, at: usize, outcomes: &mut [Finished]) -> Result<(), BuildError> {
        let request = &whole.targets[at].request;
        if request.attestations.is_empty() {
            return Ok(());
        }
        let steps = whole.graph.steps().map(|(id, _)| id).filter(|id| whole.wanted.is_wanted_by(*id, at));
        let known = attest::Known {
            request,
            graph: whole.graph,
            steps: steps.collect(),
            began: whole.wall,
            ended: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default(),
        };
        let task = whole.tasks.begin("describing the result".to_owned());
        for outcome in outcomes {
            let made = attest::facts(self, &known, outcome);
            outcome.facts = made.map_err(|source| BuildError::Export {
                what: "attestations".to_owned(),
                source: source.into(),
            })?;
        }
        task.finish(Outcome::Done);
        Ok(())
    }

    /// Does what is to be done with the result of a target, and gathers what of it goes to caches.
    fn leave(
        &self,
        whole: &Whole<'_>,
        at: usize,
        mut outcomes: Vec<Finished>,
        reached: &[Reached],
        cancel: &Cancel,
    ) -> Result<Built, TargetError> {
        let target = &whole.targets[at];
        let named = target.name.as_deref().map(|name| whole.tasks.of_target(name));
        let ended = caches::Ended {
            target: target.request.options.target.as_deref().unwrap_or_default(),
            started_ns: i64::try_from(whole.wall.as_nanos()).unwrap_or(i64::MAX),
            graph: whole.graph,
            reached,
            finished: &outcomes,
            imports: whole.imports,
            tasks: named.unwrap_or_else(|| whole.tasks.clone()),
        };
        let wanted = |step| whole.wanted.is_wanted_by(step, at);
        let exportable = caches::exportable(self, &target.request.caches, ended, wanted);
        if let Some(exportable) = &exportable
            && target.request.caches.inline == Inline::Yes
        {
            for outcome in &mut outcomes {
                self.embed_cache(outcome, exportable).map_err(|error| target.failed(store_failure(error)))?;
            }
        }
        let built = self.export(whole, at, outcomes, cancel)?;
        Ok(Built { cache: exportable, ..built })
    }
}

/// How many lost trees one build makes again before it gives up.
const MAX_LOSSES: usize = 100;

/// The cache that is of no use, if that is why a build failed.
fn lost_cache(error: &BuildError) -> Option<&Unusable> {
    match error {
        BuildError::Step { source, .. } => match &**source {
            StepError::Cache(unusable) => Some(unusable),
            _ => None,
        },
        _ => None,
    }
}

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

/// An error that no target is to blame for.
fn nobodys(error: BuildError) -> TargetError {
    TargetError { target: None, error }
}

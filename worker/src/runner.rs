//! Runs the steps of one build: locks, looks again, does the operation, commits, remembers.

mod cache_mounts;
mod files;
mod looks;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::SystemTime;

use rbuild_cache::backends::Imports;
use rbuild_cache::content::{ContextScan, SelectionHash};
use rbuild_cache::records::nodes::Selected;
use rbuild_model::event::{Event, ExitStatus, Hit, Outcome, TaskId};
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::key::{CacheKey, ContentHash};
use rbuild_model::snapshot::Chain;
use rbuild_model::step::{Operation, PathSource, Source};
use rbuild_snapshotter::{Active, Snapshotter};
use rbuild_solver::{
    FetchAsk, HashAsk, IndexError, KeyKind, LookUp, Miss, NewRecord, RecordId, RunAsk, StepResult,
    StepRunner, Tree, Turn, Usage,
};
use rbuild_store::{LockClass, LockName, ObjectKind, Room, Store, TempTree, Wait};

use crate::berths::Berths;
use crate::caches;
use crate::cancel::{Cancel, LockCancel};
use crate::context::{AnyOf, Contexts};
use crate::drive::Observer;
use crate::error::StepError;
use crate::locking::StepLocks;
use crate::network::StepNetworks;
use crate::ops;
use crate::room;
use crate::sources::{self, Fetcher};
use crate::tasks::{Task, Tasks};
use crate::wanted::Wanted;
use crate::worker::Worker;

use looks::TreeName;

/// How often a step is done again because its context changed between the hashing and the copying.
const MAX_REPEATS: usize = 5;

/// Told of each step whose tree is there for good.
pub(crate) type Committed<'a> = Box<dyn Fn(StepId, &Chain, RecordId) + Sync + 'a>;

/// What the steps of one build are done with.
pub(crate) struct Parts<'a> {
    pub(crate) worker: &'a Worker,
    pub(crate) graph: &'a Graph,
    pub(crate) contexts: &'a Contexts<'a>,
    pub(crate) tasks: &'a Tasks,
    /// The tasks of the steps that are shown.
    pub(crate) ids: Vec<Option<TaskId>>,
    pub(crate) cancel: &'a Cancel,
    pub(crate) wanted: &'a Wanted<'a>,
    /// The further certificate authorities of each target.
    pub(crate) extra_ca: Vec<Option<&'a [u8]>>,
    pub(crate) berths: &'a Berths<'a>,
    /// Called before a tree is made or fetched: begins what goes on beside that.
    pub(crate) begin: Box<dyn Fn() + Sync + 'a>,
    pub(crate) committed: Committed<'a>,
    pub(crate) imports: &'a Imports,
}

/// Everything that the steps of one build share.
pub(crate) struct Runner<'a> {
    parts: Parts<'a>,
    /// Merged trees that are looked at, by their chains.
    views: Mutex<HashMap<Chain, Arc<OnceLock<Arc<ContextScan>>>>>,
    selections: Mutex<HashMap<(TreeName, PathSource), Arc<SelectionHash>>>,
    counter: AtomicU64,
}

/// What an operation made.
pub(crate) struct Made {
    pub(crate) active: Active,
    pub(crate) usage: Usage,
    pub(crate) log: Option<String>,
    /// What is reserved for it.
    pub(crate) room: Room,
}

impl<'a> Runner<'a> {
    /// Prepares to run the steps of a graph.
    pub(crate) fn new(parts: Parts<'a>) -> Self {
        Self { parts, views: Mutex::default(), selections: Mutex::default(), counter: AtomicU64::new(0) }
    }

    pub(crate) fn graph(&self) -> &Graph {
        self.parts.graph
    }

    pub(crate) fn store(&self) -> &Store {
        &self.parts.worker.store
    }

    pub(crate) fn snapshotter(&self) -> &dyn Snapshotter {
        &*self.parts.worker.snapshotter
    }

    /// Returns the clients of all targets that want a step.
    pub(crate) fn client(&self, step: StepId) -> AnyOf<'a> {
        AnyOf(
            self.parts.wanted.targets(step).map(|target| self.parts.contexts.seat(target).client()).collect(),
        )
    }

    /// Returns what the client calls a folder.
    pub(crate) fn folder_name(&self, name: &str) -> String {
        self.parts.contexts.written_name(name)
    }

    pub(crate) fn networks(&self) -> &StepNetworks {
        &self.parts.worker.networks
    }

    pub(crate) fn cancel(&self) -> &Cancel {
        self.parts.cancel
    }

    /// Returns the further certificate authorities that a step trusts.
    pub(crate) fn extra_ca(&self, step: StepId) -> Option<&[u8]> {
        self.parts.wanted.targets(step).find_map(|target| self.parts.extra_ca[target])
    }

    /// Returns the wish to stop in the form that waits for locks take.
    pub(crate) fn lock_cancel(&self) -> LockCancel {
        self.parts.cancel.for_locks()
    }

    /// Tells people something that stops nothing.
    pub(crate) fn note(&self, note: &str) {
        self.parts.tasks.events().event(Event::Note(note.to_owned()));
    }

    /// Returns the places that steps run in.
    pub(crate) fn berths(&self) -> &Berths<'a> {
        self.parts.berths
    }

    /// Names a fresh log file: its name in the store's folder of logs, and its path.
    pub(crate) fn log_file(&self) -> (String, PathBuf) {
        let name = format!("{}-{}.log", self.parts.worker.build_name(), self.number());
        let path = self.parts.worker.store.layout().logs().join(&name);
        (name, path)
    }

    fn number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// Names a path in the folder of this command's unfinished work.
    pub(crate) fn temp_path(&self) -> PathBuf {
        self.parts.worker.work().join(format!("step-{}", self.number()))
    }

    /// Names a fresh socket in the run folder: the paths of sockets are short.
    pub(crate) fn socket_path(&self) -> PathBuf {
        let name = format!("{}-{}", std::process::id(), self.number());
        self.parts.worker.store.layout().run_sockets().join(name)
    }

    /// Makes a folder that goes away with the value.
    pub(crate) fn temp_folder(&self) -> Result<TempTree, StepError> {
        Ok(self.parts.worker.store.temp_tree()?)
    }

    /// Throws a snapshot away because of an error, which is the one to tell.
    pub(crate) fn give_up(&self, active: Active, error: StepError) -> StepError {
        if let Err(left) = self.snapshotter().discard(active) {
            self.note(&format!("failed to remove what a failed step wrote: {left}"));
        }
        error
    }

    /// Does what a step says, over its base, and returns the snapshot that it wrote. Where what was copied is not what
    /// the key was made of, both are made again.
    fn operate(
        &self,
        task: &Task,
        ask: &mut RunAsk,
        locks: &StepLocks<'_>,
    ) -> Result<(Made, Chain), StepError> {
        let base = match ask.inputs.first() {
            Some(Tree::Chain(chain)) => chain.clone(),
            _ => Chain::empty(),
        };
        let operation = &self.parts.graph.step(ask.step).operation;
        for repeat in 0.. {
            let made = match operation {
                Operation::Exec(exec) => ops::exec::run(self, task, exec, ask, locks),
                Operation::File(actions) => self.file(ask, actions, &base),
                Operation::Source(_) | Operation::Merge => {
                    unreachable!("sources are fetched and merges stacked, neither is operated")
                }
            };
            match made {
                Err(StepError::Changing { .. }) if repeat < MAX_REPEATS => {
                    self.look_again();
                    ask.hashes = self.hashes(ask.step, &ask.inputs)?;
                    ask.keys = ask.keys.with_hashes(&ask.hashes);
                }
                made => return Ok((made?, base)),
            }
        }
        unreachable!("repeats are bounded")
    }

    /// Brings a tree in from outside.
    fn fetch(&self, ask: &RunAsk, source: &Source, task: &Task) -> Result<StepResult, StepError> {
        let client = self.client(ask.step);
        match source {
            Source::Image(image) => {
                let chain = self.parts.worker.image_chain(image, task, self.parts.cancel)?;
                Ok(StepResult { tree: Tree::Chain(chain), canonical: None, record: None, found: None })
            }
            Source::Git(git) => Ok(sources::git::fetch(&self.fetcher(ask.step, task, &client), git)?.into()),
            Source::Http(http) => {
                Ok(sources::http::fetch(&self.fetcher(ask.step, task, &client), http)?.into())
            }
            Source::Archive(archive) => {
                Ok(sources::archive::find(&self.fetcher(ask.step, task, &client), archive)?.into())
            }
            Source::Scratch | Source::Local(_) => unreachable!("{:?} needs no fetching", ask.step),
        }
    }

    fn fetcher<'f>(&'f self, step: StepId, task: &'f Task, client: &'f AnyOf<'a>) -> Fetcher<'f> {
        let note = self.parts.graph.note(step);
        let (name, kept_name) = (&note.name, note.kept_name());
        Fetcher { worker: self.parts.worker, client, cancel: self.parts.cancel, task, name, kept_name }
    }

    /// Looks up a step's result by its keys: somebody else may have made it meanwhile.
    fn look_up(&self, ask: &RunAsk) -> Result<Option<StepResult>, StepError> {
        if ask.miss == Miss::Ignored {
            return Ok(None);
        }
        let keys = [(&ask.keys.definition, KeyKind::Definition), (&ask.keys.content, KeyKind::Content)];
        let wave: Vec<LookUp> = keys
            .iter()
            .filter_map(|(image, kind)| Some(LookUp { key: image.as_ref()?.key(), kind: *kind }))
            .collect();
        let found = self.parts.worker.records.find(&wave).map_err(IndexError::from)?.into_iter().flatten();
        Ok(found
            .filter_map(|found| {
                let tree = Tree::Chain(found.chain()?.clone());
                Some(StepResult {
                    tree,
                    canonical: Some(found.canonical),
                    record: Some(found.record),
                    found: Some(Hit::InFlight),
                })
            })
            .next())
    }

    /// Does a step under its lock and remembers the result.
    fn make(&self, ask: &RunAsk, task: &Task, locks: &StepLocks<'_>) -> Result<StepResult, StepError> {
        (self.parts.begin)();
        let mut ask = ask.clone();
        let started =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let (Made { active, mut usage, log, room }, base) = self.operate(task, &mut ask, locks)?;
        match self.settle(&active, &room) {
            Ok(bytes) => usage.bytes = bytes.or(usage.bytes),
            Err(error) => return Err(self.give_up(active, error)),
        }
        let id = active.id();
        if let Err(error) = self.snapshotter().commit(active) {
            return Err(self.give_up(Active::new(id, base), StepError::Snapshot(error)));
        }
        rbuild_store::crash::point("step.committed");
        let chain = base.with(id);
        let canonical = match (ask.miss, &ask.keys.content) {
            (Miss::Ignored, None) => self.fresh_key()?,
            // What stands on it was found by this key.
            (Miss::TreeGone, _) => {
                ask.canonical.or_else(|| ask.keys.canonical()).expect("a step that runs has a key")
            }
            _ => ask.keys.canonical().expect("a step that runs has a key"),
        };
        let new = NewRecord {
            name: self.parts.graph.note(ask.step).kept_name().to_owned(),
            definition: ask.keys.definition.clone(),
            content: ask.keys.content.clone(),
            canonical,
            chain: chain.clone(),
            started: i128::try_from(started).unwrap_or(i128::MAX),
            took: task.elapsed(),
            usage,
            log,
        };
        let selected = self.selected(&ask)?;
        let selected: Vec<_> = selected.iter().map(|(path, content)| Selected { path, content }).collect();
        let record =
            self.parts.worker.records.remember_in(&new, &selected, &room).map_err(IndexError::from)?;
        rbuild_store::crash::point("step.recorded");
        (self.parts.committed)(ask.step, &chain, record);
        Ok(StepResult {
            tree: Tree::Chain(chain),
            canonical: Some(canonical),
            record: Some(record),
            found: None,
        })
    }

    /// Does what has to be done of a snapshot before it is committed; returns how large it is, if that was measured.
    fn settle(&self, active: &Active, room: &Room) -> Result<Option<u64>, StepError> {
        if self.parts.cancel.is_cancelled() {
            return Err(StepError::Cancelled);
        }
        let bytes = room::settle(self.store(), self.snapshotter(), active, room)?;
        rbuild_store::crash::point("step.done");
        // Leased before it is there, so that no sweep takes it before it has its record.
        let (lease, id) = (self.parts.worker.lease()?, active.id());
        self.store()
            .write(|transaction| lease.protect(transaction, &[(ObjectKind::SNAPSHOT, id.as_bytes())]))?;
        Ok(bytes)
    }

    /// Makes a key that nothing has had.
    fn fresh_key(&self) -> Result<CacheKey, StepError> {
        let mut bytes = [0; 32];
        for half in bytes.chunks_exact_mut(16) {
            half.copy_from_slice(rbuild_store::UniqueId::random()?.as_bytes());
        }
        Ok(CacheKey::from_bytes(bytes))
    }

    fn run_step(&self, ask: &RunAsk, task: &Task, turn: &dyn Turn) -> Result<StepResult, StepError> {
        if let Operation::Source(source) = &self.parts.graph.step(ask.step).operation {
            return self.fetch(ask, source, task);
        }
        let Some(key) = ask.keys.canonical() else {
            return Err(StepError::Unsupported {
                what: "a folder of the client as a base (FROM)".to_owned(),
            });
        };
        let locks = StepLocks::new(self.parts.worker.store.locks().scope(), turn);
        let cancel = self.lock_cancel();
        let waits = |_: &LockName, holder: Option<&rbuild_store::Holder>| {
            let who = holder.map_or_else(|| "another process".to_owned(), ToString::to_string);
            self.note(&format!("waiting for {who}, which is doing the same step"));
        };
        let wait = Wait { cancel: cancel.wish.clone(), timeout: None, notice: Some(&waits) };
        let lock = locks.acquire(&LockName::new(LockClass::Step, key), &wait)?;
        if let Some(found) = self.look_up(ask)? {
            return Ok(found);
        }
        let made = self.make(ask, task, &locks)?;
        drop(lock);
        Ok(made)
    }

    fn task(&self, step: StepId) -> Task {
        match self.parts.ids[step.index()] {
            Some(id) => self.parts.tasks.start(id),
            None => self.parts.tasks.begin(self.parts.wanted.name(self.parts.graph, step)),
        }
    }
}

impl StepRunner for Runner<'_> {
    type Error = StepError;

    fn hash(&self, ask: &HashAsk) -> Result<Vec<ContentHash>, StepError> {
        ask.selections
            .iter()
            .map(|(selection, tree)| Ok(self.selection(tree, &selection.path)?.hash()))
            .collect()
    }

    fn run(&self, ask: &RunAsk, turn: &dyn Turn) -> Result<StepResult, StepError> {
        let task = self.task(ask.step);
        match self.run_step(ask, &task, turn) {
            Ok(result) => {
                task.finish(result.found.map_or(Outcome::Done, Outcome::Cached));
                Ok(result)
            }
            Err(error) => {
                task.finish(match &error {
                    StepError::Exited { status, .. } => Outcome::Exited(*status),
                    StepError::Cancelled => Outcome::Cancelled,
                    _ if self.parts.cancel.is_cancelled() => Outcome::Cancelled,
                    StepError::Launch { source, .. } if source.exit_status() != 125 => {
                        Outcome::Exited(ExitStatus::Code(source.exit_status()))
                    }
                    _ => Outcome::Failed,
                });
                Err(error)
            }
        }
    }

    fn fetch(&self, ask: &FetchAsk) -> Result<Tree, StepError> {
        (self.parts.begin)();
        let task = self
            .parts
            .tasks
            .begin(format!("fetching the result of {}", self.parts.wanted.name(self.parts.graph, ask.step)));
        let fetched =
            caches::fetch(self.parts.worker, self.parts.imports, ask.record, &task, self.parts.cancel);
        task.finish(match &fetched {
            Ok(_) => Outcome::Done,
            Err(_) if self.parts.cancel.is_cancelled() => Outcome::Cancelled,
            Err(_) => Outcome::Failed,
        });
        let chain = fetched?;
        (self.parts.committed)(ask.step, &chain, ask.record);
        Ok(Tree::Chain(chain))
    }
}

impl Observer for Runner<'_> {
    fn matched(&self, step: StepId, hit: Hit) {
        if matches!(self.parts.graph.step(step).operation, Operation::Exec(_)) {
            self.parts.berths.forgo();
        }
        if let Some(id) = self.parts.ids[step.index()] {
            self.parts.tasks.skip(id, Outcome::Cached(hit));
        }
    }
}

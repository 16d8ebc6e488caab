//! Runs the steps of one build: locks, looks again, does the operation, commits, remembers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use rbuild_cache::backends::Imports;
use rbuild_cache::content::{ContextScan, SelectionHash, TreeSource};
use rbuild_cache::mounts::{MountUse, Mounts};
use rbuild_cache::records::nodes::Selected;
use rbuild_confined::Root;
use rbuild_model::event::{Event, ExitStatus, Hit, Outcome, TaskId};
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::key::{CacheKey, ContentHash};
use rbuild_model::snapshot::Chain;
use rbuild_model::step::{FileAction, Operation, PathSource, Source};
use rbuild_sandbox::mounts::mount_detached;
use rbuild_snapshotter::{Active, Snapshotter, Writes};
use rbuild_solver::{
    FetchAsk, HashAsk, IndexError, KeyKind, LookUp, Miss, NewRecord, RecordId, RunAsk, StepResult,
    StepRunner, Tree, Turn, Usage,
};
use rbuild_store::{FileError, LockClass, LockName, ObjectKind, Room, Store, TempTree, Wait};

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

/// How often a step is done again because its context changed between the hashing and the copying.
const MAX_REPEATS: usize = 5;

/// Told of each step whose tree is there for good.
pub(crate) type Committed<'a> = Box<dyn Fn(StepId, &Chain, RecordId) + Sync + 'a>;

/// Everything that the steps of one build share.
pub(crate) struct Runner<'a> {
    worker: &'a Worker,
    graph: &'a Graph,
    contexts: &'a Contexts<'a>,
    tasks: &'a Tasks,
    ids: Vec<Option<TaskId>>,
    cancel: &'a Cancel,
    wanted: &'a Wanted<'a>,
    /// One a target.
    extra_ca: Vec<Option<&'a [u8]>>,
    berths: &'a Berths<'a>,
    /// Merged trees that are looked at, by their chains.
    views: Mutex<HashMap<Chain, Arc<OnceLock<Arc<ContextScan>>>>>,
    selections: Mutex<HashMap<(TreeName, PathSource), Arc<SelectionHash>>>,
    committed: Committed<'a>,
    imports: &'a Imports,
    counter: AtomicU64,
}

/// A tree as a key of what is known about it.
#[derive(Clone, PartialEq, Eq, Hash)]
enum TreeName {
    Chain(Chain),
    Local(String),
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
    /// Prepares to run the steps of a graph. `committed` is told of each new snapshot.
    #[expect(clippy::too_many_arguments, reason = "the parts of one build, put together in one place")]
    pub(crate) fn new(
        worker: &'a Worker,
        graph: &'a Graph,
        contexts: &'a Contexts<'a>,
        tasks: &'a Tasks,
        ids: Vec<Option<TaskId>>,
        cancel: &'a Cancel,
        wanted: &'a Wanted<'a>,
        extra_ca: Vec<Option<&'a [u8]>>,
        berths: &'a Berths<'a>,
        committed: Committed<'a>,
        imports: &'a Imports,
    ) -> Self {
        Self {
            worker,
            graph,
            contexts,
            tasks,
            ids,
            cancel,
            wanted,
            extra_ca,
            berths,
            views: Mutex::default(),
            selections: Mutex::default(),
            committed,
            imports,
            counter: AtomicU64::new(0),
        }
    }

    pub(crate) fn graph(&self) -> &Graph {
        self.graph
    }

    pub(crate) fn store(&self) -> &Store {
        &self.worker.store
    }

    pub(crate) fn snapshotter(&self) -> &dyn Snapshotter {
        &*self.worker.snapshotter
    }

    /// Returns the clients of all targets that want a step.
    pub(crate) fn client(&self, step: StepId) -> AnyOf<'a> {
        AnyOf(self.wanted.targets(step).map(|target| self.contexts.seat(target).client()).collect())
    }

    /// Returns what the client calls a folder.
    pub(crate) fn folder_name(&self, name: &str) -> String {
        self.contexts.written_name(name)
    }

    pub(crate) fn networks(&self) -> &StepNetworks {
        &self.worker.networks
    }

    pub(crate) fn cancel(&self) -> &Cancel {
        self.cancel
    }

    /// Returns the further certificate authorities that a step trusts.
    pub(crate) fn extra_ca(&self, step: StepId) -> Option<&[u8]> {
        self.wanted.targets(step).find_map(|target| self.extra_ca[target])
    }

    /// Returns the wish to stop in the form that waits for locks take.
    pub(crate) fn lock_cancel(&self) -> LockCancel {
        self.cancel.for_locks()
    }

    /// Tells people something that stops nothing.
    pub(crate) fn note(&self, note: &str) {
        self.tasks.events().event(Event::Note(note.to_owned()));
    }

    /// Returns the places that steps run in.
    pub(crate) fn berths(&self) -> &Berths<'a> {
        self.berths
    }

    /// Names a fresh log file: its name in the store's folder of logs, and its path.
    pub(crate) fn log_file(&self) -> (String, PathBuf) {
        let name = format!("{}-{}.log", self.worker.build_name(), self.number());
        let path = self.worker.store.layout().logs().join(&name);
        (name, path)
    }

    fn number(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// Names a path in the folder of this command's unfinished work.
    pub(crate) fn temp_path(&self) -> PathBuf {
        self.worker.work().join(format!("step-{}", self.number()))
    }

    /// Names a fresh socket in the run folder: the paths of sockets are short.
    pub(crate) fn socket_path(&self) -> PathBuf {
        let name = format!("{}-{}", std::process::id(), self.number());
        self.worker.store.layout().run_sockets().join(name)
    }

    /// Makes a folder that goes away with the value.
    pub(crate) fn temp_folder(&self) -> Result<TempTree, StepError> {
        Ok(self.worker.store.temp_tree()?)
    }

    /// Protects folders of cache mounts for the life of this process, and remembers their use.
    pub(crate) fn open_caches(&self, uses: &[MountUse]) -> Result<(), StepError> {
        Ok(Mounts::new(&self.worker.store).open(uses, self.worker.lease()?)?)
    }

    /// Returns the folder of a cache mount.
    pub(crate) fn cache_folder(&self, name: &str) -> PathBuf {
        self.worker.store.layout().mounts().join(name)
    }

    /// Throws a snapshot away because of an error, which is the one to tell.
    pub(crate) fn give_up(&self, active: Active, error: StepError) -> StepError {
        if let Err(left) = self.snapshotter().discard(active) {
            self.note(&format!("failed to remove what a failed step wrote: {left}"));
        }
        error
    }

    /// Fills the folder that is to be a cache mount with what a cache elsewhere has of it. Where that fails, the mount
    /// begins empty. Returns the room that is reserved for what came, until [`count_mount`](Self::count_mount).
    pub(crate) fn restore_mount(&self, folder: &Path, fresh: &Path) -> Result<Option<Room>, StepError> {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { return Ok(None) };
        let error = match caches::restore(self.imports, name, fresh, self.store(), self.cancel) {
            Ok(room) => return Ok(room),
            Err(error) => error,
        };
        self.note(&format!("a cache mount begins empty: {}", caches::told(&error)));
        let failed = |act| move |error: std::io::Error| FileError::new(act, fresh, error);
        std::fs::remove_dir_all(fresh).map_err(failed("clean"))?;
        std::fs::create_dir_all(fresh).map_err(failed("make"))?;
        Ok(None)
    }

    /// Counts a cache mount that came from elsewhere, now that it has its place.
    pub(crate) fn count_mount(&self, folder: &Path) -> Result<(), StepError> {
        let Some(name) = folder.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
        Ok(Mounts::new(self.store()).count(&[name])?)
    }

    /// Returns one look at a tree, shared by all who look at it.
    pub(crate) fn scan(&self, tree: &Tree) -> Result<Arc<ContextScan>, StepError> {
        match tree {
            Tree::Local(name) => self.contexts.scan(name),
            Tree::Chain(chain) => {
                let cell = {
                    let mut views = self.views.lock().unwrap_or_else(PoisonError::into_inner);
                    Arc::clone(views.entry(chain.clone()).or_default())
                };
                if let Some(scan) = cell.get() {
                    return Ok(Arc::clone(scan));
                }
                let cancel = self.cancel.clone();
                let scan = ContextScan::new(TreeSource::snapshot(self.worker.view(chain)?))
                    .until(Arc::new(move || cancel.is_cancelled()));
                let scan = Arc::new(scan);
                Ok(Arc::clone(cell.get_or_init(|| scan)))
            }
        }
    }

    /// Returns what a source selects of a tree, hashed once.
    pub(crate) fn selection(&self, tree: &Tree, path: &PathSource) -> Result<Arc<SelectionHash>, StepError> {
        let name = match tree {
            Tree::Chain(chain) => TreeName::Chain(chain.clone()),
            Tree::Local(name) => TreeName::Local(name.clone()),
        };
        let key = (name, path.clone());
        if let Some(known) = self.selections.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(known));
        }
        let hashed = self.scan(tree)?.hash_selection(path).map_err(|error| StepError::Hash(error.into()))?;
        let hashed = Arc::new(hashed);
        self.selections.lock().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::clone(&hashed));
        Ok(hashed)
    }

    /// Forgets what is known of the client's folders: they changed.
    fn look_again(&self) {
        self.contexts.forget();
        self.selections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|(name, _), _| !matches!(name, TreeName::Local(_)));
    }

    /// Copies a path of a client's folder, filtered by its ignore file, into a snapshot of its own.
    pub(crate) fn copy_of_local(&self, name: &str, path: &str, ask: &RunAsk) -> Result<Active, StepError> {
        let active = self.snapshotter().prepare(&Chain::empty()).map_err(StepError::Snapshot)?;
        let copied = self.snapshotter().open_active(&active).map_err(StepError::Snapshot).and_then(|root| {
            ops::copy::mirror(self, &Tree::Local(name.to_owned()), path, &root, &ask.hashes)
        });
        match copied {
            Ok(()) => Ok(active),
            Err(error) => Err(self.give_up(active, error)),
        }
    }

    /// Copies a path of a tree into a plain folder of ours.
    pub(crate) fn copy_tree_into(&self, tree: &Tree, path: &str, folder: &Path) -> Result<(), StepError> {
        let root = Root::open(folder).map_err(|error| StepError::Snapshot(error.into()))?;
        ops::copy::contents(self, tree, path, &root)
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
        let operation = &self.graph.step(ask.step).operation;
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

    fn file(&self, ask: &RunAsk, actions: &[FileAction], base: &Chain) -> Result<Made, StepError> {
        let wanted = if self.store().has_budget() { self.selected(ask)? } else { Vec::new() };
        let wanted = wanted.iter().map(|(_, content)| content.bytes()).sum();
        let room = self.store().reserve_room(wanted).map_err(StepError::Room)?;
        let active = self.snapshotter().prepare(base).map_err(StepError::Snapshot)?;
        match self.write_files(ask, actions, base, &active) {
            Ok(()) => Ok(Made { active, usage: Usage::default(), log: None, room }),
            Err(error) => Err(self.give_up(active, error)),
        }
    }

    fn hashes(&self, step: StepId, inputs: &[Tree]) -> Result<Vec<ContentHash>, StepError> {
        Ok(self.selections(step, inputs)?.iter().map(|(_, content)| content.hash()).collect())
    }

    /// Returns everything that a step selects of its inputs, with the path that it has it by.
    fn selections(
        &self,
        step: StepId,
        inputs: &[Tree],
    ) -> Result<Vec<(String, Arc<SelectionHash>)>, StepError> {
        let step = self.graph.step(step);
        let mut found = Vec::new();
        for (at, tree) in inputs.iter().enumerate() {
            let index = rbuild_model::mount::InputIndex(at as u32);
            for selection in step.operation.selections(index).into_iter().flatten() {
                let content = self.selection(tree, &selection.path)?;
                found.push((selection.path.path, content));
            }
        }
        Ok(found)
    }

    fn write_files(
        &self,
        ask: &RunAsk,
        actions: &[FileAction],
        base: &Chain,
        active: &Active,
    ) -> Result<(), StepError> {
        let root = if self.snapshotter().writes_in_place(active) {
            self.snapshotter().open_active(active).map_err(StepError::Snapshot)?
        } else {
            // One COPY needs no mount: it is written where overlayfs would write it, at half the cost.
            if let [FileAction::Copy(copy)] = actions {
                let upper = self.snapshotter().open_active(active).map_err(StepError::Snapshot)?;
                let below = self.scan(&Tree::Chain(base.clone()))?;
                if ops::copy::run_on_upper(self, ask, copy, &upper, below.root())? {
                    return Ok(());
                }
            }
            let plan = self.snapshotter().root(active, Writes::Volatile).map_err(StepError::Snapshot)?;
            Root::from_fd(mount_detached(&plan)?).map_err(|error| StepError::Snapshot(error.into()))?
        };
        for action in actions {
            if self.cancel.is_cancelled() {
                return Err(StepError::Cancelled);
            }
            match action {
                FileAction::Copy(copy) => ops::copy::run(self, ask, copy, &root, base.is_empty())?,
                FileAction::MakeDir(make) => ops::mkdir::run(make, &root, base.is_empty())?,
            }
        }
        Ok(())
    }

    /// Brings a tree in from outside.
    fn fetch(&self, ask: &RunAsk, source: &Source, task: &Task) -> Result<StepResult, StepError> {
        let client = self.client(ask.step);
        match source {
            Source::Image(image) => {
                let chain = self.worker.image_chain(image, task, self.cancel)?;
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
        let note = self.graph.note(step);
        let (name, kept_name) = (&note.name, note.kept_name());
        Fetcher { worker: self.worker, client, cancel: self.cancel, task, name, kept_name }
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
        let found = self.worker.records.find(&wave).map_err(IndexError::from)?.into_iter().flatten();
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
        let mut ask = ask.clone();
        let started =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let (Made { active, mut usage, log, room }, base) = self.operate(task, &mut ask, locks)?;
        if self.cancel.is_cancelled() {
            return Err(self.give_up(active, StepError::Cancelled));
        }
        match room::settle(self.store(), self.snapshotter(), &active, &room) {
            Ok(bytes) => usage.bytes = bytes.or(usage.bytes),
            Err(error) => return Err(self.give_up(active, error)),
        }
        rbuild_store::crash::point("step.done");
        // Leased before it is there, so that no sweep takes it before it has its record.
        let (lease, id) = (self.worker.lease()?, active.id());
        if let Err(error) = self
            .worker
            .store
            .write(|transaction| lease.protect(transaction, &[(ObjectKind::SNAPSHOT, id.as_bytes())]))
        {
            return Err(self.give_up(active, error.into()));
        }
        let id = self.snapshotter().commit(active).map_err(StepError::Snapshot)?;
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
            name: self.graph.note(ask.step).kept_name().to_owned(),
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
        let record = self.worker.records.remember_in(&new, &selected, &room).map_err(IndexError::from)?;
        rbuild_store::crash::point("step.recorded");
        (self.committed)(ask.step, &chain, record);
        Ok(StepResult {
            tree: Tree::Chain(chain),
            canonical: Some(canonical),
            record: Some(record),
            found: None,
        })
    }

    /// Returns what the content key of a step that was done selects, in its order: the record keeps the folders.
    fn selected(&self, ask: &RunAsk) -> Result<Vec<(String, Arc<SelectionHash>)>, StepError> {
        let has_content = ask.keys.content.is_some();
        if has_content { self.selections(ask.step, &ask.inputs) } else { Ok(Vec::new()) }
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
        if let Operation::Source(source) = &self.graph.step(ask.step).operation {
            return self.fetch(ask, source, task);
        }
        let Some(key) = ask.keys.canonical() else {
            return Err(StepError::Unsupported {
                what: "a folder of the client as a base (FROM)".to_owned(),
            });
        };
        let locks = StepLocks::new(self.worker.store.locks().scope(), turn);
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
        match self.ids[step.index()] {
            Some(id) => self.tasks.start(id),
            None => self.tasks.begin(self.wanted.name(self.graph, step)),
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
                    _ if self.cancel.is_cancelled() => Outcome::Cancelled,
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
        let task =
            self.tasks.begin(format!("fetching the result of {}", self.wanted.name(self.graph, ask.step)));
        let fetched = caches::fetch(self.worker, self.imports, ask.record, &task, self.cancel);
        task.finish(match &fetched {
            Ok(_) => Outcome::Done,
            Err(_) if self.cancel.is_cancelled() => Outcome::Cancelled,
            Err(_) => Outcome::Failed,
        });
        let chain = fetched?;
        (self.committed)(ask.step, &chain, ask.record);
        Ok(Tree::Chain(chain))
    }
}

impl Observer for Runner<'_> {
    fn matched(&self, step: StepId, hit: Hit) {
        if matches!(self.graph.step(step).operation, Operation::Exec(_)) {
            self.berths.forgo();
        }
        if let Some(id) = self.ids[step.index()] {
            self.tasks.skip(id, Outcome::Cached(hit));
        }
    }
}

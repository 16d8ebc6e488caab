//! The state machine itself: one owner of the schedule, fed with a closed set of answers.

use std::collections::{HashMap, VecDeque};

use rbuild_model::event::Hit;
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::key::{CacheKey, ContentHash, PreImage};
use rbuild_model::mount::InputIndex;
use rbuild_model::snapshot::Chain;
use rbuild_model::step::{Operation, Selection, Source};

use crate::index::{Found, KeyKind, LookUp, Place, RecordId};
use crate::keys::{self, StepKeys};

/// The tree of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Committed snapshots.
    Chain(Chain),
    /// A client's folder, by the name of its source; it is read where it lies.
    Local(String),
}

/// Something for the driver to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Look up keys of several steps, in one transaction. Answer: [`Answer::LookedUp`].
    LookUp(Vec<(StepId, LookUp)>),
    /// Hash what a step selects. Answer: [`Answer::Hashed`].
    Hash(HashAsk),
    /// Run a step. Answer: [`Answer::Ran`].
    Run(RunAsk),
    /// Fetch the tree of a matched step from elsewhere. Answer: [`Answer::Fetched`].
    Fetch(FetchAsk),
    /// Make a definition another way to find a record. No answer.
    Alias(PreImage, RecordId),
    /// Tell that a step needs not run. No answer. Of one whose tree is not here that is known only when all is made.
    Matched(StepId, Hit),
}

/// The contents that a step's content key needs.
#[derive(Clone, Debug, PartialEq)]
pub struct HashAsk {
    /// The step.
    pub step: StepId,
    /// What to hash, each with the tree it is in, in the order in which the hashes are wanted.
    pub selections: Vec<(Selection, Tree)>,
}

/// A tree to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchAsk {
    /// The step.
    pub step: StepId,
    /// The record of its result.
    pub record: RecordId,
}

/// A step to run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunAsk {
    /// The step.
    pub step: StepId,
    /// The trees of its inputs, in order.
    pub inputs: Vec<Tree>,
    /// Its keys, to be remembered with the result. Both absent for sources.
    pub keys: StepKeys,
    /// What the hashes in the content key were of: the runner checks that it copies what was hashed.
    pub hashes: Vec<ContentHash>,
    /// The canonical key that its result is known to have, where only the tree is missing.
    pub canonical: Option<CacheKey>,
    /// Why it must run.
    pub miss: Miss,
}

/// Why a step must run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Miss {
    /// Earlier results were to be ignored; the result gets a fresh canonical key unless it has a content key.
    Ignored,
    /// No result is known under its keys.
    Unknown,
    /// The result is known, but its tree is not here.
    TreeGone,
    /// It is a source that has to be fetched.
    Source,
}

/// How a step came to its result, or was to come to it when all ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A result was found.
    Found(Hit),
    /// It had to run.
    Ran(Miss),
}

/// What the driver found out.
#[derive(Clone, Debug)]
pub enum Answer {
    /// For each step of a wave what was found, in any order.
    LookedUp(Vec<(StepId, Option<Found>)>),
    /// The hashes of a step's selections, in order.
    Hashed(StepId, Vec<ContentHash>),
    /// A step ran and its result is remembered.
    Ran(StepId, StepResult),
    /// The tree of a matched step came from elsewhere.
    Fetched(StepId, Tree),
    /// Something could not be done. The solver asks nothing more.
    Failed(StepId),
}

/// The result of a step that ran.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// Its tree.
    pub tree: Tree,
    /// Its canonical key. `None` keeps the key the solver knows (image sources).
    pub canonical: Option<CacheKey>,
    /// Its record, for steps that have one.
    pub record: Option<RecordId>,
    /// How it was found, if somebody else had made it when the runner looked again.
    pub found: Option<Hit>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Some input is not matched yet.
    Waiting,
    /// A look-up was asked for.
    LookingUp(KeyKind),
    /// The trees of its selecting inputs are wanted.
    WantsHash,
    /// Hashes were asked for.
    Hashing,
    /// No result is known; the trees of its inputs are wanted.
    Missed(Miss),
    /// Asked to run, or waiting for an equal step that was.
    Running,
    /// The canonical key is known; the tree may be.
    Matched,
    /// Matched, and its tree was asked for from elsewhere.
    Fetching,
    /// Could not be done.
    Failed,
}

/// Whether a step that runs may come back with a result that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Reuse {
    /// Somebody else may have made it meanwhile.
    Any,
    /// It is made afresh.
    Never,
}

impl Reuse {
    fn of(miss: Miss) -> Self {
        if miss == Miss::Ignored { Self::Never } else { Self::Any }
    }
}

#[derive(Debug)]
struct Node {
    state: State,
    keys: StepKeys,
    hashes: Vec<ContentHash>,
    canonical: Option<CacheKey>,
    tree: Option<Tree>,
    record: Option<RecordId>,
    /// Whether the tree can be fetched.
    is_elsewhere: bool,
    origin: Option<Origin>,
    /// How it was found without its tree, as long as nobody has to read that: then it runs, else it needed not.
    untold: Option<Hit>,
    /// What equal steps find it by while it runs.
    flight: Option<(CacheKey, Reuse)>,
    /// Whether somebody has to read the tree.
    needed: bool,
    dependents: Vec<StepId>,
    queued: bool,
}

/// Decides what is to be done for the goals of a graph.
#[derive(Debug)]
pub struct Solver<'g> {
    graph: &'g Graph,
    nodes: Vec<Node>,
    goals: Vec<StepId>,
    changed: VecDeque<StepId>,
    wave: Vec<(StepId, LookUp)>,
    asks: Vec<Ask>,
    /// Steps that run, by what makes them equal, with those that wait for them.
    in_flight: HashMap<(CacheKey, Reuse), Vec<StepId>>,
    failed: bool,
}

impl<'g> Solver<'g> {
    /// Starts on the goals: steps whose trees are wanted. Steps that no goal depends on are never looked at.
    pub fn new(graph: &'g Graph, goals: &[StepId]) -> Self {
        let mut nodes: Vec<Node> = graph
            .steps()
            .map(|_| Node {
                state: State::Waiting,
                keys: StepKeys::default(),
                hashes: Vec::new(),
                canonical: None,
                tree: None,
                record: None,
                is_elsewhere: false,
                origin: None,
                untold: None,
                flight: None,
                needed: false,
                dependents: Vec::new(),
                queued: false,
            })
            .collect();
        let mut reachable = vec![false; graph.len()];
        for goal in goals {
            reachable[goal.index()] = true;
            nodes[goal.index()].needed = true;
        }
        let mut changed = VecDeque::new();
        for at in (0..graph.len()).rev() {
            if !reachable[at] {
                continue;
            }
            let id = StepId(at as u32);
            for input in &graph.step(id).inputs {
                reachable[input.index()] = true;
                nodes[input.index()].dependents.push(id);
            }
            nodes[at].queued = true;
            changed.push_front(id);
        }
        Self {
            graph,
            nodes,
            goals: goals.to_vec(),
            changed,
            wave: Vec::new(),
            asks: Vec::new(),
            in_flight: HashMap::new(),
            failed: false,
        }
    }

    /// Returns what can be done now. Empty means: wait for answers, or it is over.
    pub fn due(&mut self) -> Vec<Ask> {
        if self.failed {
            return Vec::new();
        }
        while let Some(id) = self.changed.pop_front() {
            self.nodes[id.index()].queued = false;
            self.advance(id);
        }
        if !self.wave.is_empty() {
            self.asks.push(Ask::LookUp(std::mem::take(&mut self.wave)));
        }
        if self.goals.iter().all(|goal| self.nodes[goal.index()].tree.is_some()) {
            let untold = |(at, node): (usize, &mut Node)| {
                node.untold.take().map(|hit| Ask::Matched(StepId(at as u32), hit))
            };
            self.asks.extend(self.nodes.iter_mut().enumerate().filter_map(untold));
        }
        std::mem::take(&mut self.asks)
    }

    /// Takes an answer.
    pub fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::LookedUp(results) => {
                for (id, found) in results {
                    self.looked_up(id, found);
                }
            }
            Answer::Hashed(id, hashes) => self.hashed(id, hashes),
            Answer::Ran(id, result) => self.ran(id, result),
            Answer::Fetched(id, tree) => {
                self.node(id).tree = Some(tree);
                self.matched(id);
            }
            Answer::Failed(id) => {
                self.node(id).state = State::Failed;
                self.failed = true;
            }
        }
    }

    /// Returns the trees of the goals once all are made.
    pub fn finished(&self) -> Option<Vec<Tree>> {
        self.goals.iter().map(|goal| self.nodes[goal.index()].tree.clone()).collect()
    }

    /// Returns the canonical key of a step's result, once it is matched.
    pub fn canonical(&self, id: StepId) -> Option<CacheKey> {
        self.nodes[id.index()].canonical
    }

    /// Returns the record of a step's result, once it is matched and has one.
    pub fn record(&self, id: StepId) -> Option<RecordId> {
        self.nodes[id.index()].record
    }

    /// Returns what a step's keys are made of, as far as that is known.
    pub fn keys(&self, id: StepId) -> &StepKeys {
        &self.nodes[id.index()].keys
    }

    /// Returns how a step came to its result, once it is found or asked to run.
    pub fn origin(&self, id: StepId) -> Option<Origin> {
        self.nodes[id.index()].origin
    }

    /// Returns the tree of a step's result, if it is made.
    pub fn tree(&self, id: StepId) -> Option<&Tree> {
        self.nodes[id.index()].tree.as_ref()
    }

    fn node(&mut self, id: StepId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    fn touch(&mut self, id: StepId) {
        let node = self.node(id);
        if !node.queued {
            node.queued = true;
            self.changed.push_back(id);
        }
    }

    fn touch_dependents(&mut self, id: StepId) {
        for at in 0..self.nodes[id.index()].dependents.len() {
            let dependent = self.nodes[id.index()].dependents[at];
            self.touch(dependent);
        }
    }

    fn need(&mut self, id: StepId) {
        if !self.nodes[id.index()].needed {
            self.node(id).needed = true;
            self.touch(id);
        }
    }

    /// Says that the trees of some inputs are needed, and returns all of them if they are made.
    fn trees(&mut self, inputs: &[StepId]) -> Option<Vec<Tree>> {
        for input in inputs {
            self.need(*input);
        }
        inputs.iter().map(|input| self.nodes[input.index()].tree.clone()).collect()
    }

    fn advance(&mut self, id: StepId) {
        match self.nodes[id.index()].state {
            State::Waiting => self.match_inputs(id),
            State::WantsHash => self.want_hash(id),
            State::Missed(miss) => self.want_run(id, miss),
            State::Matched => {
                let node = &self.nodes[id.index()];
                if node.needed && node.tree.is_none() {
                    self.remake(id);
                }
            }
            State::LookingUp(_) | State::Hashing | State::Running | State::Fetching | State::Failed => {}
        }
    }

    fn match_inputs(&mut self, id: StepId) {
        let graph = self.graph;
        let step = graph.step(id);
        let is_matched =
            |input: &StepId| matches!(self.nodes[input.index()].state, State::Matched | State::Fetching);
        if !step.inputs.iter().all(is_matched) {
            return;
        }
        let inputs: Vec<Option<CacheKey>> =
            step.inputs.iter().map(|input| self.nodes[input.index()].canonical).collect();
        match &step.operation {
            Operation::Source(source) => {
                let tree = match source {
                    Source::Scratch => Some(Tree::Chain(Chain::empty())),
                    Source::Local(local) => Some(Tree::Local(local.name.clone())),
                    Source::Image(_) | Source::Archive(_) => None,
                    Source::Git(_) | Source::Http(_) => {
                        self.node(id).state = State::Missed(Miss::Source);
                        return self.touch(id);
                    }
                };
                let node = self.node(id);
                node.canonical = keys::source_key(&step.operation);
                node.tree = tree;
                self.matched(id);
            }
            Operation::Merge => {
                let definition = keys::definition(&step.operation, &inputs);
                let node = self.node(id);
                node.canonical = definition.as_ref().map(PreImage::key);
                node.keys.definition = definition;
                self.matched(id);
            }
            Operation::Exec(_) | Operation::File(_) => {
                let definition = keys::definition(&step.operation, &inputs);
                let key = definition.as_ref().map(PreImage::key);
                self.node(id).keys.definition = definition;
                match key {
                    Some(key) if !graph.note(id).ignore_cache => {
                        self.node(id).state = State::LookingUp(KeyKind::Definition);
                        self.wave.push((id, LookUp { key, kind: KeyKind::Definition }));
                    }
                    _ => self.turn_to_content(id),
                }
            }
        }
    }

    /// The definition is unknown, or must not be used: tries the content.
    fn turn_to_content(&mut self, id: StepId) {
        let selects = !keys::selections(self.graph, id).is_empty();
        let missed = State::Missed(self.miss(id));
        self.node(id).state = if selects { State::WantsHash } else { missed };
        self.touch(id);
    }

    fn miss(&self, id: StepId) -> Miss {
        if self.graph.note(id).ignore_cache { Miss::Ignored } else { Miss::Unknown }
    }

    fn want_hash(&mut self, id: StepId) {
        let graph = self.graph;
        let step = graph.step(id);
        let selections = keys::selections(graph, id);
        let inputs: Vec<StepId> =
            selections.iter().map(|selection| step.inputs[selection.input.0 as usize]).collect();
        let Some(trees) = self.trees(&inputs) else { return };
        self.node(id).state = State::Hashing;
        let selections = selections.into_iter().zip(trees).collect();
        self.asks.push(Ask::Hash(HashAsk { step: id, selections }));
    }

    fn hashed(&mut self, id: StepId, hashes: Vec<ContentHash>) {
        let step = self.graph.step(id);
        let inputs: Vec<Option<CacheKey>> =
            step.inputs.iter().map(|input| self.nodes[input.index()].canonical).collect();
        let content = keys::content(&step.operation, &inputs, &hashes);
        let key = content.as_ref().map(PreImage::key);
        let miss = self.miss(id);
        let node = self.node(id);
        node.hashes = hashes;
        node.keys.content = content;
        match key {
            Some(key) if miss != Miss::Ignored => {
                node.state = State::LookingUp(KeyKind::Content);
                self.wave.push((id, LookUp { key, kind: KeyKind::Content }));
            }
            _ => {
                node.state = State::Missed(miss);
                self.touch(id);
            }
        }
    }

    fn looked_up(&mut self, id: StepId, found: Option<Found>) {
        let State::LookingUp(kind) = self.nodes[id.index()].state else { return };
        match (found, kind) {
            (Some(found), _) => {
                let gone = found.place == Place::Gone;
                let node = self.node(id);
                node.canonical = Some(found.canonical);
                node.is_elsewhere = found.place == Place::Elsewhere;
                node.tree = match found.place {
                    Place::Here(chain) => Some(Tree::Chain(chain)),
                    Place::Elsewhere | Place::Gone => None,
                };
                node.record = Some(found.record);
                let alias = node.keys.definition.clone().filter(|_| kind == KeyKind::Content);
                self.asks.extend(alias.map(|definition| Ask::Alias(definition, found.record)));
                let hit = match kind {
                    KeyKind::Definition => Hit::Definition,
                    KeyKind::Content => Hit::Content,
                };
                self.node(id).origin = Some(Origin::Found(hit));
                if gone {
                    self.node(id).untold = Some(hit);
                } else {
                    self.asks.push(Ask::Matched(id, hit));
                }
                self.matched(id);
            }
            (None, KeyKind::Definition) => self.turn_to_content(id),
            (None, KeyKind::Content) => {
                self.node(id).state = State::Missed(self.miss(id));
                self.touch(id);
            }
        }
    }

    /// The canonical key is known: whoever waits for it goes on.
    fn matched(&mut self, id: StepId) {
        self.node(id).state = State::Matched;
        if self.nodes[id.index()].needed && self.nodes[id.index()].tree.is_none() {
            self.touch(id);
        }
        self.touch_dependents(id);
    }

    /// A matched step whose tree somebody has to read, and whose tree is not here.
    fn remake(&mut self, id: StepId) {
        let graph = self.graph;
        match &graph.step(id).operation {
            Operation::Merge => {
                let Some(trees) = self.trees(&graph.step(id).inputs) else { return };
                self.node(id).tree = stack(&trees);
                self.touch_dependents(id);
            }
            Operation::Source(_) => self.run(id, Vec::new(), Miss::Source),
            Operation::Exec(_) | Operation::File(_) => match self.nodes[id.index()] {
                Node { is_elsewhere: true, record: Some(record), .. } => {
                    self.node(id).state = State::Fetching;
                    self.asks.push(Ask::Fetch(FetchAsk { step: id, record }));
                }
                _ => self.want_run(id, Miss::TreeGone),
            },
        }
    }

    fn want_run(&mut self, id: StepId, miss: Miss) {
        let Some(trees) = self.trees(&self.graph.step(id).inputs) else { return };
        self.run(id, trees, miss);
    }

    fn run(&mut self, id: StepId, inputs: Vec<Tree>, miss: Miss) {
        self.node(id).state = State::Running;
        self.node(id).origin = Some(Origin::Ran(miss));
        self.node(id).untold = None;
        let keys = self.nodes[id.index()].keys.clone();
        if let Some(key) = keys.canonical() {
            // What is made afresh will do for everybody, what may have been there before only for some.
            for flight in [Reuse::Never, Reuse::of(miss)] {
                if let Some(waiting) = self.in_flight.get_mut(&(key, flight)) {
                    return waiting.push(id);
                }
            }
            self.in_flight.insert((key, Reuse::of(miss)), Vec::new());
            self.node(id).flight = Some((key, Reuse::of(miss)));
        }
        let Node { hashes, canonical, .. } = &self.nodes[id.index()];
        let (hashes, canonical) = (hashes.clone(), *canonical);
        self.asks.push(Ask::Run(RunAsk { step: id, inputs, keys, hashes, canonical, miss }));
    }

    fn ran(&mut self, id: StepId, result: StepResult) {
        let flight = self.node(id).flight.take();
        let waiting = flight.and_then(|flight| self.in_flight.remove(&flight)).unwrap_or_default();
        for equal in waiting {
            self.asks.push(Ask::Matched(equal, Hit::InFlight));
            self.made(equal, &StepResult { found: Some(Hit::InFlight), ..result.clone() });
        }
        self.made(id, &result);
    }

    fn made(&mut self, id: StepId, result: &StepResult) {
        let node = self.node(id);
        node.canonical = result.canonical.or(node.canonical);
        node.tree = Some(result.tree.clone());
        node.record = result.record.or(node.record);
        node.origin = result.found.map(Origin::Found).or(node.origin);
        self.matched(id);
    }
}

/// Stacks the layers of several trees; `None` if one is not made of layers.
fn stack(trees: &[Tree]) -> Option<Tree> {
    let mut layers = Vec::new();
    for tree in trees {
        let Tree::Chain(chain) = tree else { return None };
        layers.extend_from_slice(chain.layers());
    }
    Some(Tree::Chain(Chain::new(layers)))
}

impl RunAsk {
    /// Returns the tree of one input.
    pub fn input(&self, index: InputIndex) -> Option<&Tree> {
        self.inputs.get(index.0 as usize)
    }
}

//! The schedule, tested as lists of values: a scripted world answers the solver at once or at the end.

use std::collections::BTreeMap;

use rbuild_model::event::Hit;
use rbuild_model::graph::{Graph, GraphBuilder, StepId};
use rbuild_model::key::{CacheKey, ContentHash, PreImage};
use rbuild_model::mount::InputIndex;
use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_model::step::{
    Copy, CopySource, FileAction, LocalSource, MakeDir, Operation, PathSource, Source, Step, StepNote, Unpack,
};

use crate::index::{CacheIndex as _, NewRecord, RecordId, Usage};
use crate::machine::{Answer, Ask, Miss, Origin, Solver, StepResult, Tree};
use crate::memory::MemoryIndex;

/// Builds graphs in a few words.
#[derive(Default)]
struct Sketch(GraphBuilder);

impl Sketch {
    fn add(&mut self, name: &str, operation: Operation, inputs: &[StepId], ignore_cache: bool) -> StepId {
        let note = StepNote { name: name.to_owned(), ignore_cache, ..StepNote::default() };
        self.0.add(Step { operation, inputs: inputs.to_vec() }, note)
    }

    fn scratch(&mut self) -> StepId {
        self.add("scratch", Operation::Source(Source::Scratch), &[], false)
    }

    fn local(&mut self) -> StepId {
        self.add(
            "local",
            Operation::Source(Source::Local(LocalSource { name: "context".into() })),
            &[],
            false,
        )
    }

    /// A step that depends on the whole of its base, as RUN does.
    fn run(&mut self, name: &str, base: StepId) -> StepId {
        self.add(name, mkdir(name), &[base], false)
    }

    fn rerun(&mut self, name: &str, base: StepId) -> StepId {
        self.add(name, mkdir(name), &[base], true)
    }

    fn copy(&mut self, name: &str, base: StepId, from: StepId) -> StepId {
        self.add(name, copy(name), &[base, from], false)
    }

    fn merge(&mut self, base: StepId, top: StepId) -> StepId {
        self.add("merge", Operation::Merge, &[base, top], false)
    }
}

fn mkdir(path: &str) -> Operation {
    Operation::File(vec![FileAction::MakeDir(MakeDir {
        path: path.to_owned(),
        owner: String::new(),
        epoch: None,
    })])
}

fn copy(path: &str) -> Operation {
    Operation::File(vec![FileAction::Copy(Copy {
        sources: vec![CopySource::Tree { input: InputIndex(1), path: PathSource::literal(path) }],
        dest: "/".into(),
        owner: None,
        mode: None,
        parents: false,
        exclude: Vec::new(),
        unpack: Unpack::Never,
        link: false,
    })])
}

/// Answers the solver from an index and a table of file contents, and writes down what was asked.
struct World<'a> {
    index: &'a MemoryIndex,
    contents: BTreeMap<&'static str, u8>,
    next_tree: u8,
    log: Vec<String>,
}

impl<'a> World<'a> {
    fn new(index: &'a MemoryIndex) -> Self {
        Self { index, contents: BTreeMap::new(), next_tree: 1, log: Vec::new() }
    }

    fn solve(&mut self, graph: &Graph, goals: &[StepId]) -> Option<Vec<Tree>> {
        let mut solver = Solver::new(graph, goals);
        loop {
            let asks = solver.due();
            if asks.is_empty() {
                return solver.finished();
            }
            for ask in asks {
                if let Some(answer) = self.carry_out(graph, ask) {
                    solver.answer(answer);
                }
            }
        }
    }

    fn carry_out(&mut self, graph: &Graph, ask: Ask) -> Option<Answer> {
        let name = |id: StepId| graph.note(id).name.clone();
        match ask {
            Ask::LookUp(wave) => {
                let keys: Vec<_> = wave.iter().map(|(_, key)| *key).collect();
                let found = self.index.look_up(&keys).expect("the memory index works");
                Some(Answer::LookedUp(wave.into_iter().map(|(id, _)| id).zip(found).collect()))
            }
            Ask::Hash(ask) => {
                self.log.push(format!("hash {}", name(ask.step)));
                let hash = |path: &str| {
                    let content =
                        self.contents.get(path.trim_start_matches('/')).copied().unwrap_or_default();
                    ContentHash::from_bytes([content; 32])
                };
                let hashes = ask.selections.iter().map(|(selection, _)| hash(&selection.path.path)).collect();
                Some(Answer::Hashed(ask.step, hashes))
            }
            Ask::Run(ask) => {
                self.log.push(match ask.miss {
                    Miss::Unknown => format!("run {}", name(ask.step)),
                    other => format!("run {} ({other:?})", name(ask.step)),
                });
                self.next_tree += 1;
                let layer = SnapshotId::from_bytes([self.next_tree; 16]);
                let chain = match ask.inputs.first() {
                    Some(Tree::Chain(base)) => base.with(layer),
                    _ => Chain::new(vec![layer]),
                };
                let mut canonical = ask.keys.canonical();
                if ask.miss == Miss::Ignored && ask.keys.content.is_none() {
                    canonical = Some(CacheKey::from_bytes([self.next_tree; 32]));
                }
                let record = canonical.map(|canonical| {
                    let record = NewRecord {
                        name: name(ask.step),
                        definition: ask.keys.definition,
                        content: ask.keys.content,
                        canonical,
                        chain: chain.clone(),
                        started: 0,
                        took: std::time::Duration::ZERO,
                        usage: Usage::default(),
                        log: None,
                    };
                    self.index.insert(&record).expect("the memory index works")
                });
                Some(Answer::Ran(
                    ask.step,
                    StepResult { tree: Tree::Chain(chain), canonical, record, found: None },
                ))
            }
            Ask::Fetch(ask) => {
                self.log.push(format!("fetch {}", name(ask.step)));
                self.next_tree += 1;
                let chain = Chain::new(vec![SnapshotId::from_bytes([self.next_tree; 16])]);
                Some(Answer::Fetched(ask.step, Tree::Chain(chain)))
            }
            Ask::Alias(definition, record) => {
                self.index.alias(&definition, record).expect("the memory index works");
                None
            }
            Ask::Matched(id, hit) => {
                self.log.push(match hit {
                    Hit::Definition => format!("cached {}", name(id)),
                    Hit::Content => format!("cached {} by content", name(id)),
                    Hit::InFlight => format!("merged {}", name(id)),
                });
                None
            }
        }
    }

    /// Answers everything at once but runs, which end when nothing else can be done, and what else is put off: that is
    /// carried out when only runs are left.
    fn run_late(&mut self, graph: &Graph, solver: &mut Solver<'_>, put_off: impl Fn(&Ask) -> bool) {
        let (mut runs, mut later) = (Vec::new(), Vec::new());
        loop {
            let mut asks = solver.due();
            if asks.is_empty() {
                asks.append(&mut later);
            } else {
                let (off, now) = asks.into_iter().partition(&put_off);
                later.extend::<Vec<Ask>>(off);
                asks = now;
            }
            if asks.is_empty() && later.is_empty() {
                let Some(answer) = runs.pop() else { break };
                solver.answer(answer);
                continue;
            }
            for ask in asks {
                let held = matches!(ask, Ask::Run(_));
                match self.carry_out(graph, ask) {
                    Some(answer) if held => runs.push(answer),
                    Some(answer) => solver.answer(answer),
                    None => {}
                }
            }
        }
    }

    fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }
}

#[test]
fn a_second_build_runs_nothing() {
    let mut sketch = Sketch::default();
    let base = sketch.scratch();
    let a = sketch.run("a", base);
    let b = sketch.run("b", a);
    let graph = sketch.0.finish();
    let index = MemoryIndex::new();
    let mut world = World::new(&index);
    let first = world.solve(&graph, &[b]);
    assert_eq!(world.take_log(), ["run a", "run b"]);
    assert_eq!(world.solve(&graph, &[b]), first);
    assert_eq!(world.take_log(), ["cached a", "cached b"]);
}

#[test]
fn steps_that_no_goal_needs_are_never_looked_at() {
    let mut sketch = Sketch::default();
    let base = sketch.scratch();
    let a = sketch.run("a", base);
    sketch.run("unused", a);
    let graph = sketch.0.finish();
    let index = MemoryIndex::new();
    let mut world = World::new(&index);
    world.solve(&graph, &[a]);
    assert_eq!(world.take_log(), ["run a"]);
}

#[test]
fn a_rebuilt_but_equal_stage_still_hits_downstream() {
    let index = MemoryIndex::new();
    let mut world = World::new(&index);
    world.contents.insert("bin", 1);
    let build = |world: &mut World<'_>, compile: &str| {
        let mut sketch = Sketch::default();
        let base = sketch.scratch();
        let stage = sketch.run(compile, base);
        let copied = sketch.copy("/bin", base, stage);
        let after = sketch.run("after", copied);
        let graph = sketch.0.finish();
        world.solve(&graph, &[after]);
        world.take_log()
    };
    assert_eq!(build(&mut world, "cc -O1"), ["run cc -O1", "hash /bin", "run /bin", "run after"]);
    assert_eq!(
        build(&mut world, "cc -O2"),
        ["run cc -O2", "hash /bin", "cached /bin by content", "cached after"]
    );
    assert_eq!(
        build(&mut world, "cc -O2"),
        ["cached cc -O2", "cached /bin", "cached after"],
        "the alias is found"
    );
    world.contents.insert("bin", 2);
    assert_eq!(build(&mut world, "cc -O3"), ["run cc -O3", "hash /bin", "run /bin", "run after"]);
}

#[test]
fn a_folder_of_the_client_is_found_by_content_only() {
    let mut sketch = Sketch::default();
    let base = sketch.scratch();
    let context = sketch.local();
    let copied = sketch.copy("/src", base, context);
    let graph = sketch.0.finish();
    let index = MemoryIndex::new();
    let mut world = World::new(&index);
    world.contents.insert("src", 1);
    world.solve(&graph, &[copied]);
    assert_eq!(world.take_log(), ["hash /src", "run /src"]);
    world.solve(&graph, &[copied]);
    assert_eq!(world.take_log(), ["hash /src", "cached /src by content"]);
    world.contents.insert("src", 2);
    world.solve(&graph, &[copied]);
    assert_eq!(world.take_log(), ["hash /src", "run /src"]);
}

#[test]
fn a_chain_resolves_without_trees_and_only_what_is_read_is_made_again() {
    let mut sketch = Sketch::default();
    let base = sketch.scratch();
    let a = sketch.run("a", base);
    let b = sketch.run("b", a);
    let c = sketch.run("c", b);
    let index = MemoryIndex::new();
    let mut world = World::new(&index);
    let graph = sketch.0.finish();
    world.solve(&graph, &[b]);
    world.take_log();
    index.drop_trees();
    assert!(world.solve(&graph, &[c]).is_some());
    assert_eq!(world.take_log(), ["run a (TreeGone)", "run b (TreeGone)", "run c"], "each is told of once");
    // Of one that nobody had to read it is known in the end that it needed not run.
    index.drop_tree(RecordId(2));
    assert!(world.solve(&graph, &[c]).is_some());
    assert_eq!(world.take_log(), ["cached b", "cached c", "cached a"]);
}

#[test]
fn a_tree_elsewhere_is_fetched_when_somebody_reads_it_and_only_then() {
    let mut sketch = Sketch::default();
    let base = sketch.scratch();
    let a = sketch.run("a", base);
    let b = sketch.run("b", a);
    let c = sketch.run("c", b);
    let other = sketch.run("other", base);
    let d = sketch.copy("src", c, other);
    let index = MemoryIndex::new();
    let mut world = World::new(&index);
    let graph = sketch.0.finish();
    world.solve(&graph, &[c, other]);
    world.take_log();
    index.move_trees();
    assert!(world.solve(&graph, &[c]).is_some());
    assert_eq!(
        world.take_log(),
        ["cached a", "cached b", "cached c", "fetch c"],
        "inputs are not needed for that"
    );
    index.move_trees();
    assert!(world.solve(&graph, &[d]).is_some());
    let log = world.take_log();
    assert!(log.contains(&"fetch c".to_owned()) && log.contains(&"fetch other".to_owned()), "{log:?}");
    assert!(!log.iter().any(|line| matches!(line.as_str(), "fetch a" | "fetch b")), "{log:?}");
    assert_eq!(log.last().map(String::as_str), Some("run src"));
}

#[test]
fn an_ignored_result_is_replaced_and_its_dependents_run() {
    let index = MemoryIndex::new();
    let mut world = World::new(&index);
    let build = |world: &mut World<'_>, ignore: bool| {
        let mut sketch = Sketch::default();
        let base = sketch.scratch();
        let a = if ignore { sketch.rerun("a", base) } else { sketch.run("a", base) };
        let b = sketch.run("b", a);
        let graph = sketch.0.finish();
        world.solve(&graph, &[b]);
        world.take_log()
    };
    assert_eq!(build(&mut world, false), ["run a", "run b"]);
    assert_eq!(build(&mut world, true), ["run a (Ignored)", "run b"]);
    assert_eq!(
        build(&mut world, false),
        ["cached a", "cached b"],
        "the replaced result is the one that is found"
    );
}

#[test]
fn a_merge_stacks_layers_and_asks_for_nothing() {
    let mut sketch = Sketch::default();
    let scratch = sketch.scratch();
    let base = sketch.run("base", scratch);
    let context = sketch.local();
    let linked = sketch.copy("/x", scratch, context);
    let merged = sketch.merge(base, linked);
    let after = sketch.run("after", merged);
    let graph = sketch.0.finish();
    let index = MemoryIndex::new();
    let mut world = World::new(&index);
    let Some(trees) = world.solve(&graph, &[after]) else { panic!("all goals are made") };
    let [Tree::Chain(chain)] = &trees[..] else { panic!("one chain") };
    assert_eq!(chain.len(), 3);
    world.take_log();
    world.solve(&graph, &[after]);
    assert_eq!(world.take_log(), ["hash /x", "cached base", "cached /x by content", "cached after"]);
}

/// A step that is equal to others but for the name of a cache folder; it selects of its second input, if it has one.
fn exec(cache: &str, binds: bool) -> Operation {
    use rbuild_model::mount::{BindMount, CacheMount, Mount, Sharing};
    use rbuild_model::platform::Platform;
    use rbuild_model::step::{Exec, NetworkMode, ProxyEnv, SecurityMode};
    let folder = Mount::Cache(CacheMount {
        target: "/c".into(),
        id: cache.into(),
        sharing: Sharing::Shared,
        from: None,
        source: "/".into(),
        readonly: false,
        mode: 0o755,
        uid: 0,
        gid: 0,
    });
    let bind = Mount::Bind(BindMount {
        target: "/m".into(),
        from: InputIndex(1),
        source: "/src".into(),
        writable: false,
    });
    Operation::Exec(Box::new(Exec {
        argv: vec!["true".into()],
        env: Vec::new(),
        cwd: "/".into(),
        user: String::new(),
        platform: Platform::host(),
        hostname: "h".into(),
        network: NetworkMode::Default,
        security: SecurityMode::Sandbox,
        ulimits: Vec::new(),
        cgroup_parent: None,
        extra_hosts: Vec::new(),
        devices: Vec::new(),
        shm_size: None,
        script: None,
        mounts: if binds { vec![folder, bind] } else { vec![folder] },
        proxy: ProxyEnv::default(),
    }))
}

#[test]
fn equal_keys_in_one_build_run_once() {
    let mut sketch = Sketch::default();
    let base = sketch.scratch();
    let one = sketch.add("one", exec("id-1", false), &[base], false);
    let two = sketch.add("two", exec("id-2", false), &[base], false);
    assert_ne!(one, two, "they are two steps");
    let graph = sketch.0.finish();
    let index = MemoryIndex::new();
    let mut solver = Solver::new(&graph, &[one, two]);
    let mut world = World::new(&index);
    world.run_late(&graph, &mut solver, |_| false);
    assert!(solver.finished().is_some());
    assert_eq!(world.take_log(), ["run one", "merged two"]);
    let origins = [Origin::Ran(Miss::Unknown), Origin::Found(Hit::InFlight)].map(Some);
    assert_eq!([one, two].map(|id| solver.origin(id)), origins);
}

#[test]
fn whoever_ignores_earlier_results_joins_nobody_who_may_find_one() {
    let mut sketch = Sketch::default();
    let base = sketch.scratch();
    let context = sketch.local();
    let one = sketch.add("one", exec("id-1", true), &[base, context], false);
    let two = sketch.add("two", exec("id-2", true), &[base, context], true);
    let graph = sketch.0.finish();
    let index = MemoryIndex::new();
    let mut solver = Solver::new(&graph, &[one, two]);
    let mut world = World::new(&index);
    // The content of the second is known when the first already runs.
    world.run_late(&graph, &mut solver, |ask| matches!(ask, Ask::Hash(ask) if ask.step == two));
    assert!(solver.finished().is_some());
    assert_eq!(world.take_log(), ["hash one", "run one", "hash two", "run two (Ignored)"]);
}

#[test]
fn a_failure_ends_the_asking() {
    let mut sketch = Sketch::default();
    let base = sketch.scratch();
    let a = sketch.run("a", base);
    let b = sketch.run("b", base);
    let graph = sketch.0.finish();
    let mut solver = Solver::new(&graph, &[a, b]);
    assert_eq!(solver.due().len(), 1, "one wave for both");
    solver.answer(Answer::LookedUp(vec![(a, None), (b, None)]));
    let runs = solver.due();
    assert_eq!(runs.len(), 2);
    solver.answer(Answer::Failed(a));
    assert!(solver.due().is_empty());
    assert!(solver.finished().is_none());
}

#[test]
fn the_key_of_a_small_graph_is_pinned() {
    let definition = crate::keys::definition(&mkdir("/w"), &[Some(PreImage::text("base").key())]);
    insta::assert_snapshot!(definition.expect("all inputs have keys").key(), @"bdc976caccdc918628dde9192116a00df27408e8de981032996e84bc490a8c82");
}

//! The driver with a runner that only counts.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rbuild_model::graph::GraphBuilder;
use rbuild_model::key::ContentHash;
use rbuild_model::snapshot::{Chain, SnapshotId};
use rbuild_model::step::{FileAction, MakeDir, Operation, Source, Step, StepNote};
use rbuild_solver::memory::MemoryIndex;
use rbuild_solver::{FetchAsk, HashAsk, NewRecord, RunAsk, StepResult, Turn, Usage};

use super::*;

struct Runner<'a> {
    index: &'a MemoryIndex,
    runs: AtomicUsize,
    fails_at: Option<usize>,
    cancel: &'a Cancel,
}

impl StepRunner for Runner<'_> {
    type Error = &'static str;

    fn hash(&self, ask: &HashAsk) -> Result<Vec<ContentHash>, Self::Error> {
        Ok(ask.selections.iter().map(|_| ContentHash::from_bytes([0; 32])).collect())
    }

    fn run(&self, ask: &RunAsk, _: &dyn Turn) -> Result<StepResult, Self::Error> {
        let number = self.runs.fetch_add(1, Ordering::SeqCst);
        if Some(number) == self.fails_at {
            return Err("it broke");
        }
        if self.cancel.is_cancelled() {
            return Err("it was stopped");
        }
        let chain = Chain::new(vec![SnapshotId::from_bytes([number as u8; 16])]);
        let canonical = ask.keys.canonical().expect("files have keys");
        let record = NewRecord {
            name: String::new(),
            definition: ask.keys.definition.clone(),
            content: None,
            canonical,
            chain: chain.clone(),
            started: 0,
            took: Duration::ZERO,
            usage: Usage::default(),
            log: None,
        };
        let record = self.index.insert(&record).map_err(|_| "the index broke")?;
        Ok(StepResult {
            tree: Tree::Chain(chain),
            canonical: Some(canonical),
            record: Some(record),
            found: None,
        })
    }

    fn fetch(&self, _: &FetchAsk) -> Result<Tree, Self::Error> {
        Err("nothing is elsewhere")
    }
}

struct Count(AtomicUsize);

impl Observer for Count {
    fn matched(&self, _step: StepId, _hit: Hit) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A fan of `width` steps on the empty root, each with one more on top.
fn fan(width: usize) -> (Graph, Vec<StepId>) {
    let mut builder = GraphBuilder::new();
    let mut add = |operation, inputs| builder.add(Step { operation, inputs }, StepNote::default());
    let mkdir = |path: String| {
        Operation::File(vec![FileAction::MakeDir(MakeDir { path, owner: String::new(), epoch: None })])
    };
    let root = add(Operation::Source(Source::Scratch), vec![]);
    let goals = (0..width)
        .map(|at| {
            let below = add(mkdir(format!("/{at}")), vec![root]);
            add(mkdir("/top".to_owned()), vec![below])
        })
        .collect();
    (builder.finish(), goals)
}

fn solve(
    index: &MemoryIndex,
    cancel: &Cancel,
    fails_at: Option<usize>,
) -> (Result<usize, String>, usize, usize) {
    let (graph, goals) = fan(20);
    let runner = Runner { index, runs: AtomicUsize::new(0), fails_at, cancel };
    let count = Count(AtomicUsize::new(0));
    let parallel = NonZeroUsize::new(3).expect("three is not zero");
    let result = drive(&graph, &goals, index, &runner, &count, cancel, parallel)
        .result
        .map(|trees| trees.len())
        .map_err(|error| format!("{error:?}"));
    (result, runner.runs.into_inner(), count.0.into_inner())
}

#[test]
fn everything_runs_once_and_then_never_again() {
    let index = MemoryIndex::new();
    let cancel = Cancel::new();
    assert_eq!(solve(&index, &cancel, None), (Ok(20), 40, 0));
    assert_eq!(solve(&index, &cancel, None), (Ok(20), 0, 40));
}

#[test]
fn the_first_failure_is_told_and_nothing_new_is_started() {
    let index = MemoryIndex::new();
    let (result, runs, _) = solve(&index, &Cancel::new(), Some(5));
    assert!(result.expect_err("one step fails").contains("it broke"));
    assert!(runs <= 5 + 3, "at most what was running already: {runs}");
    let (result, runs, cached) = solve(&index, &Cancel::new(), None);
    assert_eq!(result, Ok(20));
    assert!(cached >= 5 && runs + cached == 40, "what had finished is used again: {runs} {cached}");
}

#[test]
fn of_a_failed_build_is_told_how_far_each_step_came() {
    let index = MemoryIndex::new();
    let one = NonZeroUsize::MIN;
    let origins = |fails_at: Option<usize>| {
        let (graph, goals) = fan(2);
        let cancel = Cancel::new();
        let runner = Runner { index: &index, runs: AtomicUsize::new(0), fails_at, cancel: &cancel };
        let count = Count(AtomicUsize::new(0));
        let driven = drive(&graph, &goals, &index, &runner, &count, &cancel, one);
        let told = |reached: &Reached| match reached.origin {
            None => "-".to_owned(),
            Some(Origin::Found(hit)) => format!("{hit:?}"),
            Some(Origin::Ran(miss)) => format!("{miss:?}{}", if reached.record.is_some() { "" } else { "!" }),
        };
        driven.reached.iter().map(told).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(origins(Some(1)), "- Unknown - Unknown! -", "scratch, then the lower and the upper of each");
    assert_eq!(origins(None), "- Definition Unknown Unknown Unknown");
    assert_eq!(origins(None), "- Definition Definition Definition Definition");
}

#[test]
fn a_cancelled_build_starts_nothing() {
    let cancel = Cancel::new();
    cancel.cancel();
    let (result, runs, _) = solve(&MemoryIndex::new(), &cancel, None);
    assert_eq!(result, Err("Cancelled".to_owned()));
    assert_eq!(runs, 0);
}

/// Steps of which the first waits for the second to have run, and every one is counted while it has a turn.
struct Waiter<'a> {
    inner: Runner<'a>,
    heard: std::sync::Mutex<mpsc::Receiver<()>>,
    tell: mpsc::Sender<()>,
    at_once: AtomicUsize,
    most: AtomicUsize,
}

impl StepRunner for Waiter<'_> {
    type Error = &'static str;

    fn hash(&self, ask: &HashAsk) -> Result<Vec<ContentHash>, Self::Error> {
        self.inner.hash(ask)
    }

    fn run(&self, ask: &RunAsk, turn: &dyn Turn) -> Result<StepResult, Self::Error> {
        let enters = || {
            self.most.fetch_max(self.at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        };
        let leaves = || self.at_once.fetch_sub(1, Ordering::SeqCst);
        enters();
        if self.inner.runs.load(Ordering::SeqCst) == 0 && ask.step == StepId(1) {
            leaves();
            let heard = turn.aside(|| {
                let heard = self.heard.lock().expect("nobody panics");
                heard.recv_timeout(Duration::from_secs(60)).is_ok()
            });
            enters();
            if !heard {
                return Err("the others did not run meanwhile");
            }
        }
        let result = self.inner.run(ask, turn);
        leaves();
        let _ = self.tell.send(());
        result
    }

    fn fetch(&self, ask: &FetchAsk) -> Result<Tree, Self::Error> {
        self.inner.fetch(ask)
    }
}

#[test]
fn a_step_that_waits_keeps_nobody_from_running() {
    let (graph, goals) = fan(3);
    let index = MemoryIndex::new();
    let cancel = Cancel::new();
    let (tell, heard) = mpsc::channel();
    let runner = Waiter {
        inner: Runner { index: &index, runs: AtomicUsize::new(0), fails_at: None, cancel: &cancel },
        heard: std::sync::Mutex::new(heard),
        tell,
        at_once: AtomicUsize::new(0),
        most: AtomicUsize::new(0),
    };
    let count = Count(AtomicUsize::new(0));
    let solved = drive(&graph, &goals, &index, &runner, &count, &cancel, NonZeroUsize::MIN);
    assert_eq!(solved.result.expect("all can be made").len(), 3);
    assert_eq!(runner.most.into_inner(), 1, "one has a turn at a time");
}

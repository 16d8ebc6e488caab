//! Drives the solver: a loop that owns the schedule, and a bounded number of threads that do the work.
//!
//! Look-ups are answered by the loop itself, a wave in one transaction; hashing and running go to threads. So many of
//! them have a turn at once; a step that waits for somebody else passes its turn on, and gets one again before
//! anything new is started. After the first failure, and when somebody cancels, nothing new is started, what runs is
//! told to stop, and the loop ends when the last thread has.

use std::cell::Cell;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;

use rbuild_model::event::Hit;
use rbuild_model::graph::{Graph, StepId};
use rbuild_solver::{
    Answer, Ask, CacheIndex, FetchAsk, HashAsk, IndexError, Origin, RecordId, RunAsk, Solver, StepRunner,
    Tree, Turn,
};

use crate::cancel::Cancel;

/// Why a graph was not solved.
#[derive(Debug)]
pub enum DriveError<E> {
    /// A step could not be done.
    Step {
        /// The step.
        step: StepId,
        /// Why.
        error: E,
    },
    /// The cache index failed.
    Index(IndexError),
    /// Somebody cancelled.
    Cancelled,
}

/// What is told while a graph is solved.
pub trait Observer {
    /// A step needs not run.
    fn matched(&self, step: StepId, hit: Hit);
}

/// How far a step came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// How it came to its result, or was to come to it; `None` if that was never asked.
    pub origin: Option<Origin>,
    /// The record of its result.
    pub record: Option<RecordId>,
}

/// A graph that was solved, or not, and how far each of its steps came.
#[derive(Debug)]
pub struct Driven<E> {
    /// The trees of the goals, in order, or why not all of them were made.
    pub result: Result<Vec<Tree>, DriveError<E>>,
    /// For every step of the graph, its tree if it was made.
    pub made: Vec<Option<Tree>>,
    /// For every step of the graph, how far it came.
    pub reached: Vec<Reached>,
}

enum Work {
    Hash(HashAsk),
    Run(RunAsk),
    Fetch(FetchAsk),
}

/// What a thread tells the loop.
enum Word<E> {
    /// It is done; whether it had a turn then, and what came of it.
    Ended(HasTurn, std::thread::Result<(StepId, Result<Answer, E>)>),
    /// It gave its turn up.
    Passed,
    /// It wants a turn again, and waits to be told.
    Returns(mpsc::Sender<()>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum HasTurn {
    Yes,
    No,
}

/// The turn of one thread.
struct ThreadTurn<'a, E> {
    loop_: &'a mpsc::Sender<Word<E>>,
    has: Cell<HasTurn>,
}

impl<E> Turn for ThreadTurn<'_, E> {
    fn pass(&self) {
        if self.has.replace(HasTurn::No) == HasTurn::Yes {
            // The loop outlives every thread of its scope, and listens to each.
            let _ = self.loop_.send(Word::Passed);
        }
    }

    fn regain(&self) {
        if self.has.get() == HasTurn::No {
            let (grant, granted) = mpsc::channel();
            let _ = self.loop_.send(Word::Returns(grant));
            let _ = granted.recv();
            self.has.set(HasTurn::Yes);
        }
    }
}

/// Makes the trees of the goals.
pub fn drive<R: StepRunner>(
    graph: &Graph,
    goals: &[StepId],
    index: &dyn CacheIndex,
    runner: &R,
    observer: &dyn Observer,
    cancel: &Cancel,
    parallel: NonZeroUsize,
) -> Driven<R::Error> {
    let mut solver = Solver::new(graph, goals);
    let mut queue: VecDeque<Work> = VecDeque::new();
    let mut failure: Option<DriveError<R::Error>> = None;
    let (mut threads, mut turns) = (0_usize, 0_usize);
    let mut returning: VecDeque<mpsc::Sender<()>> = VecDeque::new();
    let mut panicked = None;
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        loop {
            if failure.is_none() && cancel.is_cancelled() {
                failure = Some(DriveError::Cancelled);
            }
            if failure.is_none() {
                match attend(&mut solver, index, observer, &mut queue) {
                    Ok(()) => {}
                    Err(error) => {
                        failure = Some(DriveError::Index(error));
                        cancel.cancel();
                    }
                }
            }
            // Where all is to end, whoever comes back needs a turn only to see that.
            while (failure.is_some() || turns < parallel.get())
                && let Some(grant) = returning.pop_front()
            {
                turns += 1;
                let _ = grant.send(());
            }
            while failure.is_none()
                && turns < parallel.get()
                && let Some(work) = queue.pop_front()
            {
                // Hashing ends soon, and looking up goes on behind it.
                if !matches!(work, Work::Hash(_))
                    && let Err(error) = index.settle()
                {
                    failure = Some(DriveError::Index(error));
                    cancel.cancel();
                    break;
                }
                turns += 1;
                threads += 1;
                let send = send.clone();
                scope.spawn(move || {
                    let turn = ThreadTurn { loop_: &send, has: Cell::new(HasTurn::Yes) };
                    let done = catch_unwind(AssertUnwindSafe(|| match &work {
                        Work::Hash(ask) => {
                            (ask.step, runner.hash(ask).map(|hashes| Answer::Hashed(ask.step, hashes)))
                        }
                        Work::Run(ask) => {
                            (ask.step, runner.run(ask, &turn).map(|result| Answer::Ran(ask.step, result)))
                        }
                        Work::Fetch(ask) => {
                            (ask.step, runner.fetch(ask).map(|tree| Answer::Fetched(ask.step, tree)))
                        }
                    }));
                    let _ = send.send(Word::Ended(turn.has.get(), done));
                });
            }
            if threads == 0 {
                break;
            }
            let (has_turn, done) = match receive.recv() {
                Ok(Word::Ended(has_turn, done)) => (has_turn, done),
                Ok(Word::Passed) => {
                    turns -= 1;
                    continue;
                }
                Ok(Word::Returns(grant)) => {
                    returning.push_back(grant);
                    continue;
                }
                Err(mpsc::RecvError) => break,
            };
            threads -= 1;
            turns -= usize::from(has_turn == HasTurn::Yes);
            let (step, done) = match done {
                Ok(done) => done,
                Err(panic) => {
                    cancel.cancel();
                    panicked = Some(panic);
                    if failure.is_none() {
                        failure = Some(DriveError::Cancelled);
                    }
                    continue;
                }
            };
            match done {
                Ok(answer) => solver.answer(answer),
                Err(error) => {
                    solver.answer(Answer::Failed(step));
                    // What fails after the first failure fails because it was told to stop.
                    if failure.is_none() {
                        let cancelled = cancel.is_cancelled();
                        cancel.cancel();
                        failure = Some(if cancelled {
                            DriveError::Cancelled
                        } else {
                            DriveError::Step { step, error }
                        });
                    }
                }
            }
        }
    });
    if let Some(panic) = panicked {
        resume_unwind(panic);
    }
    let mut reached: Vec<Reached> = graph
        .steps()
        .map(|(id, _)| Reached { origin: solver.origin(id), record: solver.record(id) })
        .collect();
    for work in queue {
        if let Work::Run(ask) = work {
            // It was to run next, and did not.
            reached[ask.step.index()].origin = None;
        }
    }
    let result = match failure {
        Some(failure) => Err(failure),
        None => Ok(solver.finished().expect("a solver that asks nothing and did not fail has finished")),
    };
    let made = graph.steps().map(|(id, _)| solver.tree(id).cloned()).collect();
    Driven { result, made, reached }
}

/// Does what the loop itself can do, until only work for threads is left.
fn attend(
    solver: &mut Solver<'_>,
    index: &dyn CacheIndex,
    observer: &dyn Observer,
    queue: &mut VecDeque<Work>,
) -> Result<(), IndexError> {
    loop {
        let asks = solver.due();
        if asks.is_empty() {
            return Ok(());
        }
        for ask in asks {
            match ask {
                Ask::LookUp(wave) => {
                    let keys: Vec<_> = wave.iter().map(|(_, key)| *key).collect();
                    let found = index.look_up(&keys)?;
                    solver.answer(Answer::LookedUp(wave.into_iter().map(|(id, _)| id).zip(found).collect()));
                }
                Ask::Alias(definition, record) => index.alias(&definition, record)?,
                Ask::Matched(step, hit) => observer.matched(step, hit),
                Ask::Hash(ask) => queue.push_back(Work::Hash(ask)),
                Ask::Run(ask) => queue.push_back(Work::Run(ask)),
                Ask::Fetch(ask) => queue.push_back(Work::Fetch(ask)),
            }
        }
    }
}

#[cfg(test)]
mod tests;

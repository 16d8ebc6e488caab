//! Drives the solver: a loop that owns the schedule (`schedule`), and a bounded number of threads that do the work.
//!
//! Look-ups are answered by the loop itself, a wave in one transaction; hashing and running go to threads, which tell
//! the loop by a word what came of it. What is hashed while nothing else is done needs no thread.

mod schedule;
mod threads;

use std::num::NonZeroUsize;
use std::sync::mpsc;

use rbuild_model::event::Hit;
use rbuild_model::graph::{Graph, StepId};
use rbuild_solver::{
    Answer, Ask, CacheIndex, IndexError, Origin, RecordId, Solver, StepKeys, StepRunner, Tree,
};

use crate::cancel::Cancel;

use schedule::{Next, Schedule, Work};
use threads::perform;

/// Why a graph was not solved.
#[derive(Debug)]
pub enum DriveError<E> {
    /// A step could not be done.
    Step {
        /// The step.
        step: StepId,
        /// What its keys are made of.
        keys: StepKeys,
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
    let mut schedule = Schedule::new(Solver::new(graph, goals), cancel, parallel);
    std::thread::scope(|scope| {
        let (send, receive) = mpsc::channel();
        loop {
            if schedule.goes_on()
                && let Err(error) = attend(&mut schedule, index, observer)
            {
                schedule.stop(DriveError::Index(error));
            }
            match schedule.next() {
                Next::Start(work) => {
                    let send = send.clone();
                    scope.spawn(move || perform(runner, &work, &send));
                }
                Next::Do(work) => perform(runner, &work, &send),
                Next::Grant(grant) => {
                    // Who wants a turn waits for it, unless it panicked.
                    let _ = grant.send(());
                }
                Next::Listen => schedule.hear(receive.recv().expect("the loop itself could speak")),
                Next::End => break,
            }
        }
    });
    schedule.end(graph)
}

/// Does what the loop itself can do, until only work for threads is left.
fn attend<E>(
    schedule: &mut Schedule<'_, E>,
    index: &dyn CacheIndex,
    observer: &dyn Observer,
) -> Result<(), IndexError> {
    loop {
        let asks = schedule.due();
        if asks.is_empty() {
            break;
        }
        for ask in asks {
            match ask {
                Ask::LookUp(wave) => {
                    let keys: Vec<_> = wave.iter().map(|(_, key)| *key).collect();
                    let found = index.look_up(&keys)?;
                    let steps = wave.into_iter().map(|(id, _)| id);
                    schedule.answer(Answer::LookedUp(steps.zip(found).collect()));
                }
                Ask::Alias(definition, record) => index.alias(&definition, record)?,
                Ask::Matched(step, hit) => observer.matched(step, hit),
                Ask::Hash(ask) => schedule.queue(Work::Hash(ask)),
                Ask::Run(ask) => schedule.queue(Work::Run(ask)),
                Ask::Fetch(ask) => schedule.queue(Work::Fetch(ask)),
            }
        }
    }
    if schedule.takes_long() { index.settle() } else { Ok(()) }
}

#[cfg(test)]
mod tests;

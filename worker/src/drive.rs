//! Drives the solver: a loop that owns the schedule, and a bounded number of threads that do the work.
//!
//! Look-ups are answered by the loop itself, a wave in one transaction; hashing and running go to threads. After the
//! first failure, and when somebody cancels, nothing new is started, what runs is told to stop, and the loop ends
//! when the last thread has.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc;

use rbuild_model::event::Hit;
use rbuild_model::graph::{Graph, StepId};
use rbuild_solver::{
    Answer, Ask, CacheIndex, HashAsk, IndexError, RecordId, RunAsk, Solver, StepRunner, Tree,
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

/// What a solved graph comes to.
#[derive(Debug)]
pub struct Solved {
    /// The trees of the goals, in order.
    pub trees: Vec<Tree>,
    /// For each step that was looked at, its record.
    pub records: Vec<(StepId, RecordId)>,
    /// For every step of the graph, its tree if it was made.
    pub made: Vec<Option<Tree>>,
}

enum Work {
    Hash(HashAsk),
    Run(RunAsk),
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
) -> Result<Solved, DriveError<R::Error>> {
    let mut solver = Solver::new(graph, goals);
    let mut queue: VecDeque<Work> = VecDeque::new();
    let mut failure: Option<DriveError<R::Error>> = None;
    let mut running = 0_usize;
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
            while failure.is_none()
                && running < parallel.get()
                && let Some(work) = queue.pop_front()
            {
                running += 1;
                let send = send.clone();
                scope.spawn(move || {
                    let work = AssertUnwindSafe(|| match &work {
                        Work::Hash(ask) => {
                            (ask.step, runner.hash(ask).map(|hashes| Answer::Hashed(ask.step, hashes)))
                        }
                        Work::Run(ask) => {
                            (ask.step, runner.run(ask).map(|result| Answer::Ran(ask.step, result)))
                        }
                    });
                    // The loop outlives every thread of the scope, and waits for a word of each.
                    let _ = send.send(catch_unwind(work));
                });
            }
            if running == 0 {
                break;
            }
            let Ok(done) = receive.recv() else { break };
            running -= 1;
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
    if let Some(failure) = failure {
        return Err(failure);
    }
    let trees = solver.finished().expect("a solver that asks nothing and did not fail has finished");
    let records = graph.steps().filter_map(|(id, _)| Some((id, solver.record(id)?))).collect();
    let made = graph.steps().map(|(id, _)| solver.tree(id).cloned()).collect();
    Ok(Solved { trees, records, made })
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
                Ask::Matched(step, hit, _) => observer.matched(step, hit),
                Ask::Hash(ask) => queue.push_back(Work::Hash(ask)),
                Ask::Run(ask) => queue.push_back(Work::Run(ask)),
            }
        }
    }
}

#[cfg(test)]
mod tests;

//! Who works and who waits: the state of a graph that is being solved, and everything that changes it.
//!
//! So many threads have a turn at once. One that waits for somebody else passes its turn on, and gets one again before
//! anything new is started. After the first failure, and when somebody cancels, nothing new is started, what runs is
//! told to stop, and all ends when the last thread has.

use std::any::Any;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::mpsc;

use rbuild_model::graph::{Graph, StepId};
use rbuild_solver::{Answer, Ask, FetchAsk, HashAsk, RunAsk, Solver};

use super::{DriveError, Driven, Reached};
use crate::cancel::Cancel;

/// Work for a thread.
pub(super) enum Work {
    Hash(HashAsk),
    Run(RunAsk),
    Fetch(FetchAsk),
}

/// What a thread tells the loop.
pub(super) enum Word<E> {
    /// It is done; whether it had a turn then, and what came of it.
    Ended(HasTurn, Done<E>),
    /// It gave its turn up.
    Passed,
    /// It wants a turn again, and waits to be told.
    Returns(mpsc::Sender<()>),
}

/// Whether a thread has a turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HasTurn {
    Yes,
    No,
}

/// What came of some work.
pub(super) enum Done<E> {
    Answered(Answer),
    Failed(StepId, E),
    Panicked(Box<dyn Any + Send>),
}

/// What the loop does next.
pub(super) enum Next {
    /// Starts a thread, which has a turn.
    Start(Work),
    /// Does it at once: there is nothing else to do meanwhile, and nobody to listen to.
    Do(Work),
    /// Gives a turn to somebody who wants one again.
    Grant(mpsc::Sender<()>),
    /// Waits until some thread has a word.
    Listen,
    /// Nothing any more.
    End,
}

/// Whether anything new is started.
enum Phase<E> {
    Going,
    Failed(DriveError<E>),
    /// A thread panicked, and so does the loop when the others have ended.
    Panicked(Box<dyn Any + Send>),
}

/// The state of a graph that is being solved.
pub(super) struct Schedule<'a, E> {
    solver: Solver<'a>,
    /// What is to be started, in order.
    queue: VecDeque<Work>,
    /// Threads that have not ended, and the loop itself while it does work.
    threads: usize,
    /// Those of them that have a turn.
    turns: usize,
    /// The most that have one at once.
    parallel: NonZeroUsize,
    /// Those that want one again.
    returning: VecDeque<mpsc::Sender<()>>,
    phase: Phase<E>,
    cancel: &'a Cancel,
}

impl<'a, E> Schedule<'a, E> {
    /// Begins; `cancel` is heeded, and thrown after a failure.
    pub(super) fn new(solver: Solver<'a>, cancel: &'a Cancel, parallel: NonZeroUsize) -> Self {
        Self {
            solver,
            queue: VecDeque::new(),
            threads: 0,
            turns: 0,
            parallel,
            returning: VecDeque::new(),
            phase: Phase::Going,
            cancel,
        }
    }

    /// Returns whether there may be more to do than what runs.
    pub(super) fn goes_on(&mut self) -> bool {
        if self.cancel.is_cancelled() {
            self.stop(DriveError::Cancelled);
        }
        matches!(self.phase, Phase::Going)
    }

    /// Returns what the solver wants.
    pub(super) fn due(&mut self) -> Vec<Ask> {
        self.solver.due()
    }

    /// Tells the solver what it wanted to know.
    pub(super) fn answer(&mut self, answer: Answer) {
        self.solver.answer(answer);
    }

    /// Takes work for a thread.
    pub(super) fn queue(&mut self, work: Work) {
        self.queue.push_back(work);
    }

    /// Returns whether something is to be started that takes long. Hashing ends soon, and looking up goes on behind it.
    pub(super) fn takes_long(&self) -> bool {
        self.queue.iter().any(|work| !matches!(work, Work::Hash(_)))
    }

    /// Decides what to do next.
    pub(super) fn next(&mut self) -> Next {
        let goes_on = matches!(self.phase, Phase::Going);
        let has_turn = self.turns < self.parallel.get();
        // Where all is to end, whoever comes back needs a turn only to see that.
        if (has_turn || !goes_on)
            && let Some(grant) = self.returning.pop_front()
        {
            self.turns += 1;
            return Next::Grant(grant);
        }
        if has_turn
            && goes_on
            && let Some(work) = self.queue.pop_front()
        {
            self.turns += 1;
            self.threads += 1;
            let is_alone = self.threads == 1 && self.queue.is_empty();
            return if is_alone && matches!(work, Work::Hash(_)) {
                Next::Do(work)
            } else {
                Next::Start(work)
            };
        }
        if self.threads > 0 { Next::Listen } else { Next::End }
    }

    /// Takes what a thread tells.
    pub(super) fn hear(&mut self, word: Word<E>) {
        match word {
            Word::Passed => self.turns -= 1,
            Word::Returns(grant) => self.returning.push_back(grant),
            Word::Ended(has_turn, done) => {
                self.threads -= 1;
                self.turns -= usize::from(has_turn == HasTurn::Yes);
                match done {
                    Done::Answered(answer) => self.answer(answer),
                    Done::Failed(step, error) => {
                        self.answer(Answer::Failed(step));
                        let keys = self.solver.keys(step).clone();
                        self.stop(DriveError::Step { step, keys, error });
                    }
                    Done::Panicked(panic) => {
                        self.cancel.cancel();
                        self.phase = Phase::Panicked(panic);
                    }
                }
            }
        }
    }

    /// Starts nothing more, and tells what runs to stop. What fails after that fails because it was told to.
    pub(super) fn stop(&mut self, why: DriveError<E>) {
        if matches!(self.phase, Phase::Going) {
            let cancelled = self.cancel.is_cancelled();
            self.cancel.cancel();
            self.phase = Phase::Failed(if cancelled { DriveError::Cancelled } else { why });
        }
    }

    /// Tells how far all came, once nothing is left to do. A panic of a thread goes on here.
    pub(super) fn end(self, graph: &Graph) -> Driven<E> {
        let Self { solver, queue, phase, .. } = self;
        let result = match phase {
            Phase::Going => {
                Ok(solver.finished().expect("a solver that asks nothing and did not fail has finished"))
            }
            Phase::Failed(why) => Err(why),
            Phase::Panicked(panic) => resume_unwind(panic),
        };
        let reach = |id| Reached { origin: solver.origin(id), record: solver.record(id) };
        let mut reached: Vec<Reached> = graph.steps().map(|(id, _)| reach(id)).collect();
        for work in queue {
            if let Work::Run(ask) = work {
                // It was to run next, and did not.
                reached[ask.step.index()].origin = None;
            }
        }
        let made = graph.steps().map(|(id, _)| solver.tree(id).cloned()).collect();
        Driven { result, made, reached }
    }
}

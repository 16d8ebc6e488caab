//! The threads that do the work.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;

use rbuild_solver::{Answer, StepRunner, Turn};

use super::schedule::{Done, HasTurn, Word, Work};

/// Does some work, and tells the loop what came of it; mostly the body of a thread.
pub(super) fn perform<R: StepRunner>(runner: &R, work: &Work, loop_: &mpsc::Sender<Word<R::Error>>) {
    let turn = ThreadTurn { loop_, has: Cell::new(HasTurn::Yes) };
    let done = catch_unwind(AssertUnwindSafe(|| {
        let (step, answer) = match work {
            Work::Hash(ask) => (ask.step, runner.hash(ask).map(|hashes| Answer::Hashed(ask.step, hashes))),
            Work::Run(ask) => (ask.step, runner.run(ask, &turn).map(|result| Answer::Ran(ask.step, result))),
            Work::Fetch(ask) => (ask.step, runner.fetch(ask).map(|tree| Answer::Fetched(ask.step, tree))),
        };
        answer.map_or_else(|error| Done::Failed(step, error), Done::Answered)
    }));
    turn.tell(Word::Ended(turn.has.get(), done.unwrap_or_else(Done::Panicked)));
}

/// The turn of one thread.
struct ThreadTurn<'a, E> {
    loop_: &'a mpsc::Sender<Word<E>>,
    has: Cell<HasTurn>,
}

impl<E> ThreadTurn<'_, E> {
    fn tell(&self, word: Word<E>) {
        // The loop outlives every thread of its scope, and listens to each; one that panics hears nothing more.
        let _ = self.loop_.send(word);
    }
}

impl<E> Turn for ThreadTurn<'_, E> {
    fn pass(&self) {
        if self.has.replace(HasTurn::No) == HasTurn::Yes {
            self.tell(Word::Passed);
        }
    }

    fn regain(&self) {
        if self.has.get() == HasTurn::No {
            let (grant, granted) = mpsc::channel();
            self.tell(Word::Returns(grant));
            let _ = granted.recv();
            self.has.set(HasTurn::Yes);
        }
    }
}

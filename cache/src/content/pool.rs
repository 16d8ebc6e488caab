//! A few threads for jobs that find more jobs.
//!
//! Jobs are taken last in, first out, which keeps few directories open at a time. Threads are started only once there
//! is more than one job, so that a small selection costs none.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// The jobs that wait.
pub(crate) struct Queue<J, E> {
    state: Mutex<State<J, E>>,
    changed: Condvar,
}

struct State<J, E> {
    jobs: Vec<J>,
    running: usize,
    failure: Option<E>,
}

impl<J, E> Queue<J, E> {
    /// Adds jobs; the last is done first.
    pub(crate) fn push(&self, jobs: impl IntoIterator<Item = J>) {
        let mut state = self.lock();
        let before = state.jobs.len();
        state.jobs.extend(jobs);
        match state.jobs.len() - before {
            0 => {}
            1 => self.changed.notify_one(),
            _ => self.changed.notify_all(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<J, E>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job; `None` when all are done or one has failed.
    fn take(&self) -> Option<J> {
        let mut state = self.lock();
        loop {
            if state.failure.is_some() {
                return None;
            }
            if let Some(job) = state.jobs.pop() {
                state.running += 1;
                return Some(job);
            }
            if state.running == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Counts a job as done even when it panics, so that the other threads do not wait for ever.
struct Running<'a, J, E>(&'a Queue<J, E>);

impl<J, E> Drop for Running<'_, J, E> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.running -= 1;
        if state.running == 0 || state.failure.is_some() {
            self.0.changed.notify_all();
        }
    }
}

/// Does the jobs, and those that they push, on up to `threads` threads; stops at the first failure.
pub(crate) fn run<J: Send, E: Send>(
    threads: usize,
    jobs: Vec<J>,
    work: impl Fn(J, &Queue<J, E>) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let queue =
        Queue { state: Mutex::new(State { jobs, running: 0, failure: None }), changed: Condvar::new() };
    let serve = |mut between: Option<&mut dyn FnMut()>| {
        while let Some(job) = queue.take() {
            let running = Running(&queue);
            if let Err(error) = work(job, &queue) {
                queue.lock().failure.get_or_insert(error);
            }
            drop(running);
            if let Some(between) = &mut between {
                between();
            }
        }
    };
    std::thread::scope(|scope| {
        let mut started = false;
        let mut start = || {
            if !started && !queue.lock().jobs.is_empty() {
                started = true;
                for _ in 1..threads {
                    scope.spawn(|| serve(None));
                }
            }
        };
        serve(Some(&mut start));
    });
    match queue.state.into_inner().unwrap_or_else(PoisonError::into_inner).failure {
        Some(error) => Err(error),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn jobs_that_jobs_find_are_all_done() {
        let done = AtomicU64::new(0);
        let result: Result<(), ()> = run(4, vec![12_u32], |depth, queue| {
            done.fetch_add(1, Ordering::Relaxed);
            if depth > 0 {
                queue.push([depth - 1, depth - 1]);
            }
            Ok(())
        });
        assert_eq!(result, Ok(()));
        assert_eq!(done.into_inner(), (1 << 13) - 1);
    }

    #[test]
    fn a_failure_stops_the_rest() {
        let done = AtomicU64::new(0);
        let result = run(3, vec![0_u64], |job, queue| {
            done.fetch_add(1, Ordering::Relaxed);
            if job == 100 {
                return Err("stop");
            }
            queue.push([job + 1]);
            Ok(())
        });
        assert_eq!(result, Err("stop"));
        assert_eq!(done.into_inner(), 101);
    }
}

//! The tasks of one build: numbers, start times, and the events that tell of them.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rbuild_model::event::{Event, Events, Outcome, Stream, TaskId, Unit};
use rbuild_model::graph::{Graph, StepId};
use rbuild_model::span::Location;

/// Tells what happens in one build.
///
/// Steps get the first numbers when the graph is known; what is done around them gets later ones, or earlier ones if
/// it happens before.
pub(crate) struct Tasks {
    events: Events,
    next: AtomicU32,
}

/// A task that was started; it must be finished.
pub(crate) struct Task {
    events: Events,
    id: TaskId,
    started: Instant,
    finished: bool,
}

impl Tasks {
    /// Tells of a build to a listener.
    pub(crate) fn new(events: Events) -> Self {
        Self { events, next: AtomicU32::new(0) }
    }

    /// Returns the listener.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Declares the steps of a graph that goals depend on; returns the number of each, in the order of the graph.
    pub(crate) fn declare_steps(&self, graph: &Graph, goals: &[StepId]) -> Vec<Option<TaskId>> {
        let mut wanted = vec![false; graph.len()];
        for goal in goals {
            wanted[goal.index()] = true;
        }
        for at in (0..graph.len()).rev() {
            if wanted[at] {
                for input in &graph.step(StepId(at as u32)).inputs {
                    wanted[input.index()] = true;
                }
            }
        }
        graph
            .steps()
            .map(|(id, _)| {
                let note = graph.note(id);
                (wanted[id.index()] && !note.name.is_empty())
                    .then(|| self.declare(note.name.clone(), note.stage.clone(), note.location.clone()))
            })
            .collect()
    }

    fn declare(&self, name: String, stage: Option<String>, location: Option<Location>) -> TaskId {
        let task = TaskId(self.next.fetch_add(1, Ordering::Relaxed));
        self.events.event(Event::Declared { task, name, stage, location });
        task
    }

    /// Declares and starts something that is done around the steps.
    pub(crate) fn begin(&self, name: impl Into<String>) -> Task {
        self.start(self.declare(name.into(), None, None))
    }

    /// Starts a declared task.
    pub(crate) fn start(&self, id: TaskId) -> Task {
        self.events.event(Event::Started { task: id });
        Task { events: Events::clone(&self.events), id, started: Instant::now(), finished: false }
    }

    /// Tells that a declared task needed no start.
    pub(crate) fn skip(&self, id: TaskId, outcome: Outcome) {
        self.events.event(Event::Finished { task: id, outcome, took: Duration::ZERO });
    }
}

impl Task {
    /// Returns how long it has been going on.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Tells what the task printed.
    pub(crate) fn log(&self, stream: Stream, bytes: Vec<u8>) {
        self.events.event(Event::Log { task: self.id, stream, bytes });
    }

    /// Tells how far a part of the task has got.
    pub(crate) fn progress(&self, part: &str, current: u64, total: Option<u64>, unit: Unit) {
        self.events.event(Event::Progress { task: self.id, part: part.to_owned(), current, total, unit });
    }

    /// Tells that it ended.
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.end(outcome);
    }

    fn end(&mut self, outcome: Outcome) {
        self.finished = true;
        self.events.event(Event::Finished { task: self.id, outcome, took: self.started.elapsed() });
    }
}

impl Drop for Task {
    /// A task that nobody finished was left on an error.
    fn drop(&mut self) {
        if !self.finished {
            self.end(Outcome::Failed);
        }
    }
}

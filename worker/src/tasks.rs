//! The tasks of one build: numbers, start times, and the events that tell of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rbuild_model::event::{Event, Events, Outcome, Stream, TaskId, Unit};
use rbuild_model::graph::Graph;
use rbuild_model::span::Location;

use crate::wanted::{Wanted, prefixed};

/// Tells what happens in one build.
///
/// Steps get the first numbers when the graph is known; what is done around them gets later ones, or earlier ones if
/// it happens before. Of several targets each has tasks of its own name; the numbers are everybody's.
#[derive(Clone)]
pub(crate) struct Tasks {
    events: Events,
    next: Arc<AtomicU32>,
    /// The target that they are done for, where there are several.
    target: Option<String>,
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
        Self { events, next: Arc::default(), target: None }
    }

    /// Tells of what is done for one of several targets.
    pub(crate) fn of_target(&self, name: &str) -> Self {
        Self { events: Arc::clone(&self.events), next: Arc::clone(&self.next), target: Some(name.to_owned()) }
    }

    /// Returns the listener.
    pub(crate) fn events(&self) -> &Events {
        &self.events
    }

    /// Declares the steps of a graph that somebody wants; returns the number of each, in the order of the graph.
    pub(crate) fn declare_steps(&self, graph: &Graph, wanted: &Wanted<'_>) -> Vec<Option<TaskId>> {
        graph
            .steps()
            .map(|(id, _)| {
                let note = graph.note(id);
                (wanted.is_wanted(id) && !note.name.is_empty())
                    .then(|| self.declare(wanted.name(graph, id), note.stage.clone(), note.location.clone()))
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
        self.start(self.declare(prefixed(self.target.as_deref(), &name.into()), None, None))
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

    /// Tells how it ended, where a failure is no more than that.
    pub(crate) fn finish_by<T, E>(self, result: &Result<T, E>) {
        self.finish(if result.is_ok() { Outcome::Done } else { Outcome::Failed });
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

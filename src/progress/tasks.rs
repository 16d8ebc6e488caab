//! What is known of the tasks of a build.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use rbuild_model::event::{Event, Outcome, TaskId, Unit};
use rbuild_model::span::{Diagnostic, Location};

use crate::human;
use crate::report::StepFailure;
use crate::text::{self, Lines, Sgr};

/// How many of a step's last lines are kept for the message of its failure.
pub(crate) const TAIL: usize = 40;

/// What is known of all tasks.
#[derive(Debug)]
pub(crate) struct Tasks {
    tasks: BTreeMap<TaskId, Task>,
    /// In the order in which they began, or were found to need no work.
    shown: Vec<TaskId>,
    warnings: Vec<Diagnostic>,
    notes: Vec<String>,
    sgr: Sgr,
}

/// What is known of one task.
#[derive(Debug)]
pub(crate) struct Task {
    /// Its display name in one harmless line.
    pub(crate) name: String,
    /// How far it is.
    pub(crate) state: State,
    /// Its parts that were heard of, in that order.
    pub(crate) parts: Vec<Part>,
    /// Its last lines, with their times since its start.
    pub(crate) tail: VecDeque<(Duration, String)>,
    location: Option<Location>,
    begun: Duration,
    lines: Lines,
}

/// How far a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It may come.
    Declared,
    /// It runs, since that time of the build.
    Running(Duration),
    /// It is over, and took that long.
    Over(Outcome, Duration),
}

/// How far a part of a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    /// Its name, empty for the task as a whole.
    pub(crate) name: String,
    /// How far it is.
    pub(crate) current: u64,
    /// How far it has to go.
    pub(crate) total: Option<u64>,
    /// What is counted.
    pub(crate) unit: Unit,
    /// When it was first heard of.
    pub(crate) since: Duration,
    /// When it last got on.
    pub(crate) until: Duration,
}

impl Part {
    /// Tells whether it is complete.
    pub(crate) fn complete(&self) -> bool {
        self.total == Some(self.current)
    }

    /// Returns it in words (`sha256:ab12 3.1MB / 10MB`).
    pub(crate) fn text(&self) -> String {
        let count = |number: u64| match self.unit {
            Unit::Bytes => human::size(number),
            Unit::Files => number.to_string(),
        };
        let mut text = self.name.clone();
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&count(self.current));
        if let Some(total) = self.total {
            text.push_str(" / ");
            text.push_str(&count(total));
        }
        if self.unit == Unit::Files {
            text.push_str(" files");
        }
        text
    }
}

impl Task {
    fn new(name: String, location: Option<Location>, sgr: Sgr) -> Self {
        Self {
            name,
            state: State::Declared,
            parts: Vec::new(),
            tail: VecDeque::new(),
            location,
            begun: Duration::ZERO,
            lines: Lines::new(sgr),
        }
    }

    /// Returns its time so far.
    pub(crate) fn time(&self, now: Duration) -> Duration {
        match self.state {
            State::Declared => Duration::ZERO,
            State::Running(since) => now.saturating_sub(since),
            State::Over(_, took) => took,
        }
    }

    /// Returns the time since its start.
    pub(crate) fn since_start(&self, now: Duration) -> Duration {
        now.saturating_sub(self.begun)
    }

    /// Returns the line that its program has begun and not ended.
    pub(crate) fn partial_line(&self) -> &str {
        self.lines.partial()
    }

    fn keep(&mut self, at: Duration, line: &str) {
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back((at, line.to_owned()));
    }

    fn failed(&self) -> Option<Outcome> {
        match self.state {
            State::Over(outcome @ (Outcome::Exited(_) | Outcome::TimedOut | Outcome::Failed), _) => {
                Some(outcome)
            }
            _ => None,
        }
    }
}

impl Tasks {
    /// Begins with none.
    pub(crate) const fn new(sgr: Sgr) -> Self {
        Self { tasks: BTreeMap::new(), shown: Vec::new(), warnings: Vec::new(), notes: Vec::new(), sgr }
    }

    /// Returns a task.
    pub(crate) fn get(&self, id: TaskId) -> Option<&Task> {
        self.tasks.get(&id)
    }

    /// Returns those that began or needed no work, in that order.
    pub(crate) fn shown(&self) -> impl DoubleEndedIterator<Item = (TaskId, &Task)> {
        self.shown.iter().filter_map(|id| self.tasks.get(id).map(|task| (*id, task)))
    }

    /// Returns how many are over, and how many there are.
    pub(crate) fn count(&self) -> (usize, usize) {
        let over = self.tasks.values().filter(|task| matches!(task.state, State::Over(..))).count();
        (over, self.tasks.len())
    }

    /// Returns the warnings that were given.
    pub(crate) fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Returns the builder's remarks.
    pub(crate) fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Returns a step's task if that failed, to be reported. Others may have failed before it, and nobody stopped for them: a
    /// cache that cannot be read, say.
    pub(crate) fn failure(&self, step: &str) -> Option<StepFailure> {
        let step = text::one_line(step);
        let (_, task) = self.shown().find(|(_, task)| task.name == step && task.failed().is_some())?;
        Some(StepFailure {
            name: task.name.clone(),
            command: None,
            location: task.location.clone(),
            outcome: task.failed()?,
            tail: task.tail.iter().cloned().collect(),
            log: None,
            reason: None,
        })
    }

    /// Takes an event and returns the log lines that became whole by it.
    pub(super) fn take(&mut self, event: &Event, now: Duration) -> Vec<String> {
        let mut whole = Vec::new();
        match event {
            Event::Declared { task, name, stage: _, location } => {
                let sgr = self.sgr;
                let name = text::one_line(name);
                self.tasks.entry(*task).or_insert_with(|| Task::new(name, location.clone(), sgr));
            }
            Event::Started { task } => {
                let task = self.show(*task);
                task.state = State::Running(now);
                task.begun = now;
            }
            Event::Log { task, stream: _, bytes } => {
                let task = self.show(*task);
                let mut lines = std::mem::replace(&mut task.lines, Lines::new(Sgr::Drop));
                lines.push(bytes, |line| whole.push(line.to_owned()));
                task.lines = lines;
                let at = task.since_start(now);
                // A burst leaves only its end in the tail.
                for line in whole.iter().rev().take(TAIL).rev() {
                    task.keep(at, line);
                }
            }
            Event::Progress { task, part, current, total, unit } => {
                let task = self.show(*task);
                let name = text::one_line(part);
                let part = match task.parts.iter_mut().find(|part| part.name == name) {
                    Some(part) => part,
                    None => {
                        task.parts.push(Part {
                            name,
                            current: 0,
                            total: None,
                            unit: *unit,
                            since: now,
                            until: now,
                        });
                        task.parts.last_mut().expect("a part was just added")
                    }
                };
                (part.current, part.total, part.until) = (*current, *total, now);
            }
            Event::Finished { task, outcome, took } => {
                let task = self.show(*task);
                let at = task.since_start(now);
                task.lines.finish(|line| whole.push(line.to_owned()));
                for line in &whole {
                    task.keep(at, line);
                }
                task.state = State::Over(*outcome, *took);
            }
            Event::Warning(diagnostic) => self.warnings.push(diagnostic.clone()),
            Event::Note(note) => self.notes.push(text::one_line(note)),
        }
        whole
    }

    /// Marks what still runs as cancelled: nothing more is heard.
    pub(super) fn finish(&mut self) {
        for task in self.tasks.values_mut() {
            if let State::Running(_) = task.state {
                let at = task.begun;
                let mut left = Vec::new();
                task.lines.finish(|line| left.push(line.to_owned()));
                for line in left {
                    task.keep(at, &line);
                }
            }
        }
    }

    /// Returns a task that is to be shown from now on. One that was never declared gets its number as its name.
    fn show(&mut self, id: TaskId) -> &mut Task {
        let sgr = self.sgr;
        let task = self.tasks.entry(id).or_insert_with(|| Task::new(format!("task {}", id.0), None, sgr));
        if !self.shown.contains(&id) {
            self.shown.push(id);
        }
        task
    }
}

//! Lines of text for logs of CI, in BuildKit's form.
//!
//! ```text
//! #5 [build 2/4] RUN make
//! #5 0.123 output
//! #5 DONE 1.2s
//! ```
//!
//! One task is in front and prints as it goes; what others have to say waits until it is over, or until it has been
//! silent for a while, so that logs of parallel steps are not mixed line by line. Numbers are given when a task is
//! first printed.

use std::collections::{HashMap, VecDeque};
use std::io::Write;
use std::time::Duration;

use rbuild_model::event::{Event, Outcome, TaskId};

use super::tasks::{State, Task};
use super::{End, Tasks, View};
use crate::report;
use crate::terminal::{Colour, Paint};

/// How long the task in front may be silent while others have something to say.
const SILENCE: Duration = Duration::from_secs(1);
/// How often the progress of a part is told.
const PART_INTERVAL: Duration = Duration::from_secs(5);
/// How many lines of a task wait before it comes to the front by force.
const BACKLOG: usize = 2000;

/// The view for logs.
pub(super) struct Plain<W> {
    out: W,
    colour: Colour,
    numbers: HashMap<TaskId, usize>,
    /// The task in front.
    front: Option<TaskId>,
    /// When it was last heard of.
    heard: Duration,
    /// Tasks behind it, in the order in which they began, with what they have to say.
    waiting: VecDeque<(TaskId, Vec<String>)>,
    /// When a part was last told of.
    told: HashMap<(TaskId, String), Duration>,
}

impl<W: Write> Plain<W> {
    /// Begins with nothing written.
    pub(super) fn new(out: W, colour: Colour) -> Self {
        Self {
            out,
            colour,
            numbers: HashMap::new(),
            front: None,
            heard: Duration::ZERO,
            waiting: VecDeque::new(),
            told: HashMap::new(),
        }
    }

    fn number(&mut self, id: TaskId) -> usize {
        let next = self.numbers.len() + 1;
        *self.numbers.entry(id).or_insert(next)
    }

    fn write(&mut self, id: TaskId, line: &str) {
        let number = self.number(id);
        let _ = writeln!(self.out, "#{number} {line}");
    }

    /// Brings a task to the front and prints its name.
    fn bring(&mut self, id: TaskId, tasks: &Tasks, now: Duration) {
        if let Some(front) = self.front.take() {
            self.write(front, "...");
            let _ = writeln!(self.out);
            self.waiting.push_back((front, Vec::new()));
        }
        let name = tasks.get(id).map(|task| task.name.clone()).unwrap_or_default();
        let name = self.colour.paint(Paint::Bold, &name);
        self.write(id, &name);
        self.front = Some(id);
        self.heard = now;
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            for line in self.waiting.remove(at).map(|(_, lines)| lines).unwrap_or_default() {
                self.write(id, &line);
            }
        }
    }

    /// Lets a task say something, now or later.
    fn say(&mut self, id: TaskId, line: String, tasks: &Tasks, now: Duration) {
        if self.front.is_none() {
            self.bring(id, tasks, now);
        }
        if self.front == Some(id) {
            self.heard = now;
            self.write(id, &line);
            return;
        }
        self.queue(id).push(line);
        if self.queue(id).len() > BACKLOG {
            self.bring(id, tasks, now);
        }
    }

    fn queue(&mut self, id: TaskId) -> &mut Vec<String> {
        let at = match self.waiting.iter().position(|(waiting, _)| *waiting == id) {
            Some(at) => at,
            None => {
                self.waiting.push_back((id, Vec::new()));
                self.waiting.len() - 1
            }
        };
        &mut self.waiting[at].1
    }

    /// Ends the task in front, and then each that is over, and brings the next that runs.
    fn end_front(&mut self, tasks: &Tasks, now: Duration) {
        let _ = writeln!(self.out);
        self.front = None;
        let is_over = |id: TaskId| tasks.get(id).is_some_and(|task| matches!(task.state, State::Over(..)));
        while let Some(at) = self.waiting.iter().position(|(id, _)| is_over(*id)) {
            let id = self.waiting[at].0;
            self.bring(id, tasks, now);
            let _ = writeln!(self.out);
            self.front = None;
        }
        let next = self.waiting.iter().find(|(_, lines)| !lines.is_empty()).or_else(|| self.waiting.front());
        if let Some(id) = next.map(|(id, _)| *id) {
            self.bring(id, tasks, now);
        }
    }

    /// Brings another task to the front if the one there is silent.
    fn yield_silent(&mut self, tasks: &Tasks, now: Duration) {
        if self.front.is_none() || now.saturating_sub(self.heard) < SILENCE {
            return;
        }
        let Some(id) = self.waiting.iter().find(|(_, lines)| !lines.is_empty()).map(|(id, _)| *id) else {
            return;
        };
        self.bring(id, tasks, now);
        if tasks.get(id).is_some_and(|task| matches!(task.state, State::Over(..))) {
            self.end_front(tasks, now);
        }
    }

    fn part(&mut self, id: TaskId, task: &Task, name: &str, now: Duration) -> Option<String> {
        let part = task.parts.iter().find(|part| part.name == name)?;
        let key = (id, name.to_owned());
        let due = self.told.get(&key).is_none_or(|told| now.saturating_sub(*told) >= PART_INTERVAL);
        if !due && !part.complete() {
            return None;
        }
        self.told.insert(key, now);
        let time = now.saturating_sub(part.since);
        let done = if part.complete() { " done" } else { "" };
        Some(format!("{} {:.1}s{done}", part.text(), time.as_secs_f64()))
    }
}

fn outcome_line(outcome: Outcome, took: Duration, colour: Colour) -> String {
    match outcome {
        Outcome::Done => format!("DONE {:.1}s", took.as_secs_f64()),
        Outcome::Cached(_) => "CACHED".to_owned(),
        Outcome::Cancelled => "CANCELED".to_owned(),
        failed => format!("{} {}", colour.paint(Paint::Red, "ERROR:"), report::ending(failed)),
    }
}

impl<W: Write + Send> View for Plain<W> {
    fn event(&mut self, event: &Event, lines: &[String], tasks: &Tasks, now: Duration) {
        match event {
            Event::Declared { .. } => {}
            Event::Started { task } => {
                if self.front.is_none() {
                    self.bring(*task, tasks, now);
                } else {
                    self.queue(*task);
                }
            }
            Event::Log { task, .. } => {
                let at = tasks.get(*task).map(|task| task.since_start(now)).unwrap_or_default();
                for line in lines {
                    self.say(*task, format!("{:.3} {line}", at.as_secs_f64()), tasks, now);
                }
            }
            Event::Progress { task: id, part, .. } => {
                let name = crate::text::one_line(part);
                if let Some(line) = tasks.get(*id).and_then(|task| self.part(*id, task, &name, now)) {
                    self.say(*id, line, tasks, now);
                }
            }
            Event::Finished { task: id, outcome, took } => {
                let at = tasks.get(*id).map(|task| task.since_start(now)).unwrap_or_default();
                for line in lines {
                    self.say(*id, format!("{:.3} {line}", at.as_secs_f64()), tasks, now);
                }
                let line = outcome_line(*outcome, *took, self.colour);
                self.say(*id, line, tasks, now);
                if self.front == Some(*id) {
                    self.end_front(tasks, now);
                }
            }
            Event::Warning(diagnostic) => {
                let _ = writeln!(
                    self.out,
                    "{} {}",
                    self.colour.paint(Paint::Yellow, "WARN:"),
                    report::warning(diagnostic)
                );
            }
            Event::Note(note) => {
                let _ = writeln!(self.out, "NOTE: {}", crate::text::one_line(note));
            }
        }
        self.yield_silent(tasks, now);
        let _ = self.out.flush();
    }

    fn tick(&mut self, tasks: &Tasks, now: Duration) {
        self.yield_silent(tasks, now);
        let _ = self.out.flush();
    }

    fn finish(&mut self, tasks: &Tasks, now: Duration, _: End) {
        while let Some(id) = self.front.take() {
            if tasks.get(id).is_some_and(|task| !matches!(task.state, State::Over(..))) {
                self.write(id, "CANCELED");
            }
            let _ = writeln!(self.out);
            if let Some(id) = self.waiting.front().map(|(id, _)| *id) {
                self.bring(id, tasks, now);
            }
        }
        let _ = self.out.flush();
    }
}

//! One JSON object a line, in the words of BuildKit's `rawjson`: `vertexes`, `statuses`, `logs`, `warnings`.
//!
//! A vertex is named `task:N`. Notes of the builder are a further key, `notes`.

use std::io::Write;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use rbuild_model::event::{Event, Outcome, Stream, TaskId};
use serde_json::{Map, Value, json};

use super::tasks::State;
use super::{End, Tasks, View};
use crate::report;

/// The view for programs.
pub(super) struct RawJson<W> {
    out: W,
    begun: Timestamp,
}

impl<W: Write> RawJson<W> {
    /// Begins at a moment.
    pub(super) const fn new(out: W, begun: Timestamp) -> Self {
        Self { out, begun }
    }

    fn at(&self, now: Duration) -> String {
        let now = SignedDuration::try_from(now).unwrap_or(SignedDuration::ZERO);
        self.begun.checked_add(now).unwrap_or(self.begun).to_string()
    }

    fn write(&mut self, key: &str, value: Value) {
        let _ = writeln!(self.out, "{}", json!({ key: [value] }));
        let _ = self.out.flush();
    }

    fn vertex(&mut self, id: TaskId, tasks: &Tasks, now: Duration) {
        let Some(task) = tasks.get(id) else { return };
        let mut vertex = Map::new();
        vertex.insert("digest".to_owned(), Value::from(name(id)));
        vertex.insert("name".to_owned(), Value::from(task.name.clone()));
        match task.state {
            State::Declared => {}
            State::Running(since) => {
                vertex.insert("started".to_owned(), Value::from(self.at(since)));
            }
            State::Over(outcome, took) => {
                vertex.insert("started".to_owned(), Value::from(self.at(now.saturating_sub(took))));
                vertex.insert("completed".to_owned(), Value::from(self.at(now)));
                match outcome {
                    Outcome::Done => {}
                    Outcome::Cached(_) => {
                        vertex.insert("cached".to_owned(), Value::Bool(true));
                    }
                    failed => {
                        let error = format!("{} {}", task.name, report::ending(failed));
                        vertex.insert("error".to_owned(), Value::from(error));
                    }
                }
            }
        }
        self.write("vertexes", Value::Object(vertex));
    }
}

fn name(id: TaskId) -> String {
    format!("task:{}", id.0)
}

impl<W: Write + Send> View for RawJson<W> {
    fn event(&mut self, event: &Event, _: &[String], tasks: &Tasks, now: Duration) {
        match event {
            Event::Declared { task, .. } | Event::Started { task } | Event::Finished { task, .. } => {
                self.vertex(*task, tasks, now);
            }
            Event::Log { task, stream, bytes } => {
                let stream = match stream {
                    Stream::Stdout => 1,
                    Stream::Stderr => 2,
                };
                let log = json!({
                    "vertex": name(*task),
                    "stream": stream,
                    "data": STANDARD.encode(bytes),
                    "timestamp": self.at(now),
                });
                self.write("logs", log);
            }
            Event::Progress { task: id, part, current, total, .. } => {
                let known =
                    tasks.get(*id).and_then(|task| task.parts.iter().find(|known| known.name == *part));
                let mut status = json!({
                    "id": if part.is_empty() { "progress" } else { part },
                    "vertex": name(*id),
                    "current": current,
                });
                if let Some(total) = total {
                    status["total"] = Value::from(*total);
                }
                status["timestamp"] = Value::from(self.at(now));
                if let Some(known) = known {
                    status["started"] = Value::from(self.at(known.since));
                    if known.complete() {
                        status["completed"] = Value::from(self.at(now));
                    }
                }
                self.write("statuses", status);
            }
            Event::Warning(diagnostic) => {
                let mut warning = json!({
                    "level": 1,
                    "short": STANDARD.encode(report::warning(diagnostic)),
                });
                if let Some(help) = &diagnostic.help {
                    warning["detail"] = json!([STANDARD.encode(help)]);
                }
                if let Some(location) = diagnostic.location() {
                    let (first, last) = location.lines();
                    warning["sourceInfo"] = json!({
                        "filename": location.source.name(),
                        "data": STANDARD.encode(location.source.text()),
                        "language": "Dockerfile",
                    });
                    warning["range"] = json!([{ "start": { "line": first }, "end": { "line": last } }]);
                }
                self.write("warnings", warning);
            }
            Event::Note(note) => self.write("notes", Value::from(note.as_str())),
        }
    }

    fn tick(&mut self, _: &Tasks, _: Duration) {}

    fn finish(&mut self, _: &Tasks, _: Duration, _: End) {}
}

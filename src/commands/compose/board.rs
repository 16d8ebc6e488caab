//! What happens to a project, as people and programs see it.
//!
//! | Kind | Shows |
//! |---|---|
//! | `tty` | a table in place, a line for each thing |
//! | `plain` | a line for each change: ` Container p-web-1  Created` |
//! | `json` | the same as objects: `{"id":"Container p-web-1","status":"Created"}` |
//! | `quiet` | nothing but what fails |

mod table;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rbuild_engine::projects::{Act, Happening, Phase, Watcher};
use rbuild_frontend::compose::is_on;
use rbuild_images::{LayerState, Progress as Transfer};
use rbuild_model::digest::BlobDigest;
use serde_json::json;

use self::table::Table;
use super::super::Context;
use crate::cli::compose::{Ansi, Progress, Project};
use crate::report::Mistake;
use crate::terminal::{Colour, StreamKind, Terminal};
use crate::text;

/// How far something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// It is under way.
    Working,
    /// It is done.
    Done,
    /// It is done, or left, and people should look.
    Warned,
    /// It failed.
    Failed,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Table,
    Lines,
    Objects,
    Nothing,
}

/// Whether a stop is the first half of a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Words {
    /// Everything is called what it is.
    Plain,
    /// `Restarting`, `Started`.
    Restart,
}

/// Shows what happens; from several threads at once.
pub(super) struct Board {
    view: View,
    words: Words,
    /// Whether it goes to standard output.
    is_output: bool,
    terminal: Terminal,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    table: Table,
    trace: Vec<Traced>,
    /// Whether what happens from now on belongs to another plan than the one whose time line is kept.
    is_traced: bool,
}

/// When something happened, for the time line.
#[derive(Clone, Debug)]
pub(super) struct Traced {
    /// What.
    pub(super) happening: Happening,
    /// When.
    pub(super) at: Instant,
}

/// Looks whether what the environment says of what is shown can be had, before anything is done.
pub(super) fn check(context: &Context) -> Result<(), Mistake> {
    word::<Progress>("COMPOSE_PROGRESS", context)?;
    word::<Ansi>("COMPOSE_ANSI", context)?;
    Ok(())
}

/// Reads a variable that has one of a few values.
fn word<T: clap::ValueEnum>(name: &str, context: &Context) -> Result<Option<T>, Mistake> {
    let text = context.settings.environment.text(name).filter(|text| !text.is_empty());
    let Some(text) = text else { return Ok(None) };
    T::from_str(&text, true).map(Some).map_err(|_| {
        let known = T::value_variants().iter().filter_map(T::to_possible_value);
        let known: Vec<_> = known.map(|value| value.get_name().to_owned()).collect();
        Mistake::new(format!("`{text}` is no value of {name}"))
            .hint(format!("it takes: {}", known.join(", ")))
    })
}

/// Whether sequences for terminals are written: as the flag says, else COMPOSE_ANSI.
pub(super) fn ansi(project: &Project, context: &Context) -> Ansi {
    let said = || word("COMPOSE_ANSI", context).ok().flatten();
    if project.no_ansi {
        return Ansi::Never;
    }
    project.ansi.or_else(said).unwrap_or_default()
}

/// Whether what containers write is coloured.
pub(super) fn colour(project: &Project, without: bool, context: &Context) -> Colour {
    match ansi(project, context) {
        _ if without => Colour::Off,
        Ansi::Never => Colour::Off,
        Ansi::Always => Colour::On,
        Ansi::Auto => context.terminal.out().colour,
    }
}

impl Board {
    /// Begins to show, as flags and environment say.
    pub(super) fn new(project: &Project, context: &Context) -> Self {
        let terminal = context.terminal;
        let progress = project.progress.or_else(|| word("COMPOSE_PROGRESS", context).ok().flatten());
        let is_output = is_on(context.settings.environment.text("COMPOSE_STATUS_STDOUT").as_deref());
        let stream = if is_output { terminal.out() } else { terminal.err() };
        let is_terminal = stream.kind == StreamKind::Terminal;
        let view = match (progress.unwrap_or_default(), ansi(project, context)) {
            (Progress::Quiet, _) => View::Nothing,
            (Progress::Json, _) => View::Objects,
            (Progress::Plain, _) | (_, Ansi::Never) => View::Lines,
            (Progress::Tty, _) | (Progress::Auto, Ansi::Always) => View::Table,
            (Progress::Auto, Ansi::Auto) if is_terminal => View::Table,
            (Progress::Auto, Ansi::Auto) => View::Lines,
        };
        Self { view, words: Words::Plain, is_output, terminal, state: Mutex::default() }
    }

    /// Calls things as a restart does.
    pub(super) fn of_restart(mut self) -> Self {
        self.words = Words::Restart;
        self
    }

    /// Says nothing, where that was asked for.
    pub(super) fn quiet(mut self, quiet: bool) -> Self {
        if quiet {
            self.view = View::Nothing;
        }
        self
    }

    /// Writes where what happens is shown. Nobody can be told if that fails.
    fn write(&self, text: &str) {
        if self.is_output {
            let _ = self.terminal.print(text);
        } else {
            self.terminal.tell(text);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows how far something is.
    pub(super) fn tell(&self, id: &str, status: &str, stage: Stage) {
        if status.is_empty() {
            return;
        }
        match self.view {
            View::Nothing => {}
            View::Objects => {
                self.write(&format!("{}\n", json!({ "id": id, "status": status })));
            }
            View::Lines => self.write(&format!(" {}  {}\n", text::one_line(id), text::one_line(status))),
            View::Table => {
                let mut state = self.state();
                state.table.set(id, status, stage);
                let stream = if self.is_output { self.terminal.out() } else { self.terminal.err() };
                let text = state.table.draw(stream.colour == Colour::On, crate::wiring::window());
                self.write(&text);
            }
        }
    }

    /// Tells people something that is no state of anything.
    pub(super) fn note(&self, text: &str) {
        if self.view == View::Objects {
            self.terminal.tell(&format!("{}\n", json!({ "level": "warning", "message": text })));
            return;
        }
        // What is told stays above the table.
        self.state().table.leave();
        self.terminal.tell(&format!("{text}\n"));
    }

    /// Leaves what is shown where it is; what comes next begins below it.
    pub(super) fn leave(&self) {
        self.state().table.leave();
    }

    /// Keeps what happened for the time line, and shows nothing.
    pub(super) fn trace(&self, happening: Happening) {
        let mut state = self.state();
        if !state.is_traced {
            state.trace.push(Traced { happening, at: Instant::now() });
        }
    }

    /// Ends the time line: what happens from now on belongs to another plan, which counts its operations anew.
    pub(super) fn end_trace(&self) {
        self.state().is_traced = true;
    }

    /// Takes what happened, and when.
    pub(super) fn take_trace(&self) -> Vec<Traced> {
        std::mem::take(&mut self.state().trace)
    }

    fn words(&self, phase: &Phase) -> (&'static str, Stage) {
        match (phase, self.words) {
            (Phase::Begun(Act::Stop), Words::Restart) => ("Restarting", Stage::Working),
            (Phase::Done(Act::Stop) | Phase::Begun(Act::Start), Words::Restart) => ("", Stage::Working),
            (Phase::Begun(act), _) => (begun(*act), Stage::Working),
            (Phase::Done(act), _) => (done(*act), Stage::Done),
            (Phase::Skipped(_), _) => ("Skipped", Stage::Warned),
            (Phase::InUse(_), _) => ("Resource is still in use", Stage::Warned),
            (Phase::Failed(_), _) => ("Error", Stage::Failed),
            (Phase::Note(_), _) => ("", Stage::Working),
        }
    }
}

const fn begun(act: Act) -> &'static str {
    match act {
        Act::Create => "Creating",
        Act::Recreate => "Recreate",
        Act::Start => "Starting",
        Act::AwaitStart | Act::AwaitHealth | Act::AwaitEnd => "Waiting",
        Act::Stop => "Stopping",
        Act::Kill => "Killing",
        Act::Remove => "Removing",
        Act::Pause | Act::Unpause | Act::Rename | Act::Connect | Act::Disconnect => "",
    }
}

const fn done(act: Act) -> &'static str {
    match act {
        Act::Create => "Created",
        Act::Recreate => "Recreated",
        Act::Start => "Started",
        Act::AwaitStart | Act::AwaitHealth => "Healthy",
        Act::AwaitEnd => "Exited",
        Act::Stop => "Stopped",
        Act::Kill => "Killed",
        Act::Pause => "Paused",
        Act::Unpause => "Unpaused",
        Act::Remove => "Removed",
        Act::Rename | Act::Connect | Act::Disconnect => "",
    }
}

impl Watcher for Board {
    fn happened(&self, happening: Happening) {
        let (status, stage) = self.words(&happening.phase);
        let id = happening.subject.to_string();
        self.tell(&id, status, stage);
        match &happening.phase {
            Phase::Note(text) if self.view != View::Nothing => {
                self.note(&format!("note: {id}: {}", text::one_line(text)));
            }
            Phase::Skipped(why) | Phase::InUse(why) => {
                self.note(&format!("warning: {}", text::one_line(why)))
            }
            _ => {}
        }
        self.trace(happening);
    }
}

/// Passes remarks on; layers are not shown one by one.
impl Transfer for Board {
    fn layer(&self, _layer: BlobDigest, _state: LayerState) {}

    fn note(&self, text: &str) {
        self.note(text);
    }
}

#[cfg(test)]
mod tests;

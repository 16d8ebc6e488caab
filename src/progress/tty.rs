//! The live view of a terminal: every task that began, with its time, and the tails of the logs of those that run.
//!
//! ```text
//! [+] Building 1.2s (5/12)
//!  => CACHED [build 1/3] FROM docker.io/library/busybox                                            0.0s
//!  => [build 2/3] RUN make                                                                         1.1s
//!  => => # cc -c main.c
//! ```
//!
//! [`frame`] makes the lines from what is known, purely; indicatif puts them on the terminal in place of the former
//! ones. The cursor is never hidden and no mode of the terminal is changed, so there is nothing to restore if the
//! program is killed. When the build is over, the whole list is written once more, to stay.

use std::io::Write as _;
use std::time::Duration;

use console::{measure_text_width, truncate_str};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rbuild_model::event::{Event, Outcome};

use super::tasks::{State, Task};
use super::{End, Tasks, View};
use crate::human;
use crate::report;
use crate::terminal::{Colour, Paint};

/// How many of the last lines of a step that runs are shown.
const LOG_LINES: usize = 6;
/// The size of a terminal that does not tell.
const DEFAULT_SIZE: (usize, usize) = (24, 80);

/// The view for people.
pub(super) struct Tty {
    bar: ProgressBar,
    term: console::Term,
    colour: Colour,
}

impl Tty {
    /// Begins below what is on the terminal.
    pub(super) fn new(colour: Colour) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{msg}").expect("the template is a constant"));
        Self { bar, term: console::Term::stderr(), colour }
    }

    fn draw(&self, tasks: &Tasks, now: Duration) {
        let (height, width) = self.size();
        let lines = frame(tasks, now, Size { width, height: Some(height) }, self.colour, None);
        self.bar.set_message(lines.join("\n"));
        self.bar.tick();
    }

    fn size(&self) -> (usize, usize) {
        self.term
            .size_checked()
            .map_or(DEFAULT_SIZE, |(height, width)| (usize::from(height.max(3)), usize::from(width.max(20))))
    }
}

impl View for Tty {
    fn event(&mut self, _: &Event, _: &[String], _: &Tasks, _: Duration) {
        // Drawn at the next tick: a build says more than a terminal can show.
    }

    fn tick(&mut self, tasks: &Tasks, now: Duration) {
        self.draw(tasks, now);
    }

    fn finish(&mut self, tasks: &Tasks, now: Duration, end: End) {
        self.bar.finish_and_clear();
        let (_, width) = self.size();
        let mut text = frame(tasks, now, Size { width, height: None }, self.colour, Some(end)).join("\n");
        text.push('\n');
        for warning in tasks.warnings() {
            let line = report::warning(warning);
            text.push_str(&format!(" {} {line}\n", self.colour.paint(Paint::Yellow, "warning:")));
        }
        for note in tasks.notes() {
            text.push_str(&format!(" {} {note}\n", self.colour.paint(Paint::Cyan, "note:")));
        }
        let _ = std::io::stderr().lock().write_all(text.as_bytes());
    }
}

/// How much room there is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) width: usize,
    /// `None` for as much as is needed.
    pub(super) height: Option<usize>,
}

/// Returns the lines that show what is known.
pub(super) fn frame(
    tasks: &Tasks,
    now: Duration,
    size: Size,
    colour: Colour,
    end: Option<End>,
) -> Vec<String> {
    let (over, all) = tasks.count();
    let word = match end {
        None => "",
        Some(End::Succeeded) => " FINISHED",
        Some(End::Failed) => " FAILED",
        Some(End::Cancelled) => " CANCELED",
    };
    let head = format!("[+] Building {} ({over}/{all}){word}", human::seconds(now));
    let mut lines = vec![truncate_str(&head, size.width.saturating_sub(1), "…").into_owned()];
    let blocks: Vec<Block> =
        tasks.shown().map(|(_, task)| block(task, now, size.width, colour, end)).collect();
    let mut room = size.height.map_or(usize::MAX, |height| height.saturating_sub(2));
    let needed: usize = blocks.iter().map(|block| block.lines.len()).sum();
    // With too little room, first the logs get shorter, then tasks that are over go, then the oldest that run.
    let cut = needed > room;
    let keep_logs = if cut { 2 } else { usize::MAX };
    let mut chosen = vec![false; blocks.len()];
    for wanted in [Importance::Runs, Importance::Over] {
        for (at, block) in blocks.iter().enumerate().rev() {
            let length = block.lines.len().min(1_usize.saturating_add(keep_logs));
            if block.importance == wanted && length <= room {
                room -= length;
                chosen[at] = true;
            }
        }
    }
    for (block, chosen) in blocks.into_iter().zip(chosen) {
        if chosen {
            let logs = block.lines.len() - 1;
            let skip = logs.saturating_sub(keep_logs);
            let mut kept = block.lines.into_iter();
            lines.extend(kept.next());
            lines.extend(kept.skip(skip));
        }
    }
    lines
}

/// The lines of one task.
struct Block {
    importance: Importance,
    lines: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Importance {
    Runs,
    Over,
}

fn block(task: &Task, now: Duration, width: usize, colour: Colour, end: Option<End>) -> Block {
    let time = human::seconds(task.time(now));
    let (mark, paint, runs) = match task.state {
        State::Declared | State::Running(_) if end.is_some() => ("CANCELED ", Some(Paint::Yellow), false),
        State::Declared | State::Running(_) => ("", None, true),
        State::Over(Outcome::Done, _) => ("", Some(Paint::Blue), false),
        State::Over(Outcome::Cached(_), _) => ("CACHED ", Some(Paint::Blue), false),
        State::Over(Outcome::Cancelled, _) => ("CANCELED ", Some(Paint::Yellow), false),
        State::Over(Outcome::Exited(_) | Outcome::TimedOut | Outcome::Failed, _) => {
            ("ERROR ", Some(Paint::Red), false)
        }
    };
    let row = |text: String, time: &str| {
        let line = timed(&text, time, width);
        paint.map_or_else(|| line.clone(), |paint| colour.paint(paint, &line))
    };
    let mut lines = vec![row(format!(" => {mark}{}", task.name), &time)];
    for part in &task.parts {
        if runs && part.complete() && task.parts.len() > LOG_LINES {
            continue;
        }
        let until = if part.complete() || !runs { part.until } else { now };
        lines.push(row(format!(" => => {}", part.text()), &human::seconds(until.saturating_sub(part.since))));
    }
    if runs {
        let partial = task.partial_line();
        let whole = LOG_LINES - usize::from(!partial.is_empty());
        let tail = task.tail.iter().rev().take(whole).rev().map(|(_, line)| line.as_str());
        for line in tail.chain((!partial.is_empty()).then_some(partial)) {
            let line = line.replace('\t', "    ");
            let line = truncate_str(&line, width.saturating_sub(10), "…").into_owned();
            let reset = if line.contains('\x1b') { "\x1b[0m" } else { "" };
            lines.push(format!("{} {line}{reset}", colour.paint(Paint::Dim, " => => #")));
        }
    }
    Block { importance: if runs { Importance::Runs } else { Importance::Over }, lines }
}

/// Puts a time at the right edge.
fn timed(text: &str, time: &str, width: usize) -> String {
    let room = width.saturating_sub(time.len() + 2);
    let text = truncate_str(text, room, "…");
    let pad = room.saturating_sub(measure_text_width(&text)) + 1;
    format!("{text}{:pad$}{time}", "")
}

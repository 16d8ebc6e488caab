//! How the lines of several containers look: whose they are in front, in a colour of its own.

use jiff::Timestamp;
use rbuild_monitor::log::Source;

use super::line::Line;
use crate::flags::Mode;
use crate::terminal::Colour;

/// The colours in the order in which containers get them; after the last comes the first.
const RAINBOW: [&str; 10] = ["36", "33", "32", "35", "34", "36;1", "33;1", "32;1", "35;1", "34;1"];

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Whether lines say whose they are.
    pub(crate) prefix: Mode,
    /// Whether lines say when they were written.
    pub(crate) timestamps: Mode,
    /// Whether that is coloured.
    pub(crate) colour: Colour,
    /// Where what containers write to their error output goes.
    pub(crate) errors: Errors,
}

/// Where lines of the error output of containers go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Errors {
    /// To ours.
    Apart,
    /// To where the others go.
    Together,
}

/// Which container of a [`Printer`] a line is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Label(usize);

/// Makes text of lines.
#[derive(Debug)]
pub(crate) struct Printer {
    look: Look,
    names: Vec<String>,
    width: usize,
    /// What stands in front of the lines of each.
    prefixes: Vec<String>,
}

impl Printer {
    /// Begins without containers.
    pub(crate) fn new(look: Look) -> Self {
        Self { look, names: Vec::new(), width: 0, prefixes: Vec::new() }
    }

    /// Whether a line goes to the error output.
    pub(crate) fn is_error(&self, line: &Line) -> bool {
        self.look.errors == Errors::Apart && line.source == Source::Stderr
    }

    /// Adds a container, or finds the one that has this name already: one that takes another's place goes on in its
    /// colour.
    pub(crate) fn join(&mut self, name: &str) -> Label {
        if let Some(at) = self.names.iter().position(|known| known == name) {
            return Label(at);
        }
        let label = self.mention(name);
        let width = name.chars().count() + 1;
        if width > self.width {
            self.width = width;
            self.prefixes = (0..self.names.len()).map(|at| self.prefix(Label(at))).collect();
        }
        label
    }

    /// Adds a container that has no lines, only an end: the others make no room for its name.
    pub(crate) fn mention(&mut self, name: &str) -> Label {
        let label = Label(self.names.len());
        self.names.push(name.to_owned());
        self.prefixes.push(self.prefix(label));
        label
    }

    fn prefix(&self, label: Label) -> String {
        match self.look.prefix {
            Mode::On => self.painted(label, &format!("{:width$} | ", self.name(label), width = self.width)),
            Mode::Off => String::new(),
        }
    }

    /// Returns a container's name.
    pub(crate) fn name(&self, label: Label) -> &str {
        &self.names[label.0]
    }

    /// Adds a line as it is printed.
    pub(crate) fn line(&self, label: Label, line: &Line, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(self.prefixes[label.0].as_bytes());
        if self.look.timestamps == Mode::On
            && let Ok(time) = Timestamp::from_nanosecond(line.time.into())
        {
            bytes.extend_from_slice(time.strftime("%Y-%m-%dT%H:%M:%S.%9fZ ").to_string().as_bytes());
        }
        bytes.extend_from_slice(&line.bytes);
        bytes.push(b'\n');
    }

    /// Returns what became of a container as it is printed: `web-1 exited with code 0`.
    pub(crate) fn status(&self, label: Label, text: &str) -> String {
        let line = self.painted(label, &format!("{} {text}", self.name(label)));
        match self.look.colour {
            // A progress display may have left something in the line.
            Colour::On => format!("\r\x1b[K{line}\n"),
            Colour::Off => format!("{line}\n"),
        }
    }

    fn painted(&self, label: Label, text: &str) -> String {
        match self.look.colour {
            Colour::On => format!("\x1b[{}m{text}\x1b[0m", RAINBOW[label.0 % RAINBOW.len()]),
            Colour::Off => text.to_owned(),
        }
    }
}

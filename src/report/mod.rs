//! Errors to messages: what is wrong, where, whose it is, what to try, and the exit status.
//!
//! Commands return `anyhow::Result`, so that any library error passes through `?`. Here, and nowhere else, the error
//! is looked at again: its kind (*yours*, *your machine's*, *ours*) is found by looking through the chain for types
//! that are known, and the message is made once. Text from outside is escaped.
//!
//! | Status | Meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | it failed: your project, or your machine |
//! | 70 | it failed because of a mistake in rbuild |
//! | 125 | the command line is wrong, but of verbs of projects, and more than by arguments that are missing or too many; in `run`, everything that failed before the program began |
//! | 126, 127 | in `run`: the program cannot be executed, or is not there |
//! | 130 | interrupted |
//! | 141 | nobody reads the output |
//! | other | in `run`: the program's own |

mod advice;
mod excerpt;
mod step;
#[cfg(test)]
mod tests;

use std::io;
use std::process::ExitCode;

use rbuild_model::span::{Diagnostic, Severity};
use rustix::io::Errno;

use crate::terminal::{Colour, Paint, Terminal};
use crate::text;

pub(crate) use step::{StepFailure, ending};

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// Everything was done.
    Done,
    /// It failed.
    Failed,
    /// The command line is wrong, or a container could not be started.
    Usage,
    /// A container's program cannot be executed.
    NotExecutable,
    /// A container's program is not there.
    NotFound,
    /// A mistake in rbuild.
    Bug,
    /// The user interrupted.
    Interrupted,
    /// Nobody reads the output.
    Unread,
    /// A template cannot be read.
    Template,
    /// What a container's program returned.
    Program(u8),
}

impl Status {
    /// Returns the number.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Template => 64,
            Self::Bug => 70,
            Self::Usage => 125,
            Self::NotExecutable => 126,
            Self::NotFound => 127,
            Self::Interrupted => 130,
            Self::Unread => 141,
            Self::Program(code) => code,
        }
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.code())
    }
}

/// Whose an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The user's: a flag, a Dockerfile, a program that failed.
    Yours,
    /// The machine's: a full disk, a missing right, a network that is down.
    Machine,
    /// A mistake in rbuild.
    Ours,
}

/// A user's mistake, with what to try.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Mistake {
    message: String,
    hint: Option<String>,
    status: Status,
}

impl Mistake {
    /// Says what is wrong.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, status: Status::Failed }
    }

    /// Says what is wrong with the command line.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self { status: Status::Usage, ..Self::new(message) }
    }

    /// Says what to try.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// What to try, laid around an error that is told as it is.
#[derive(Debug, thiserror::Error)]
#[error("")]
pub(crate) struct Hints(pub(crate) Vec<String>);

/// A program that could not be executed in a container that runs.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct NotStarted {
    /// The status that stands for it.
    pub(crate) status: u8,
    /// Why not.
    pub(crate) message: String,
}

/// What a container's program wrote could not be passed on to its end.
#[derive(Debug, thiserror::Error)]
#[error("cannot pass on what the program wrote")]
pub(crate) struct Unwritten(#[source] pub(crate) io::Error);

/// Something that is not there yet.
#[derive(Debug, thiserror::Error)]
#[error("{what} is not {state} yet")]
pub(crate) struct NotYet {
    what: String,
    state: &'static str,
    instead: String,
    status: Status,
}

impl NotYet {
    /// Names a flag or value that is known and not supported yet, and what to do instead.
    pub(crate) fn supported(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { what: what.into(), state: "supported", instead: instead.into(), status: Status::Usage }
    }

    /// Names a command that is not available yet, and what to do instead.
    pub(crate) fn available(what: impl Into<String>, instead: impl Into<String>) -> Self {
        Self { what: what.into(), state: "available", instead: instead.into(), status: Status::Usage }
    }

    /// It is not for who reads the command line to say: a failure as any other.
    pub(crate) fn late(self) -> Self {
        Self { status: Status::Failed, ..self }
    }
}

/// Findings about texts that somebody wrote.
#[derive(Debug)]
pub(crate) struct Findings(pub(crate) Vec<Diagnostic>);

impl std::error::Error for Findings {}

impl std::fmt::Display for Findings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, diagnostic) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

/// The target of a build that is to blame; empty where there is only one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target(pub(crate) Option<String>);

impl Target {
    /// Says whose error it is.
    pub(crate) fn blame(self, error: anyhow::Error) -> anyhow::Error {
        if self.0.is_some() { error.context(self) } else { error }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "target {}", self.0.as_deref().unwrap_or_default())
    }
}

/// What is to be printed could not be read: Docker's commands have a status of their own for it where they print documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Unreadable;

impl Unreadable {
    /// Says so of what is wrong with a template.
    pub(crate) fn of(diagnostic: Box<Diagnostic>) -> anyhow::Error {
        anyhow::Error::from(Findings::from(diagnostic)).context(Self)
    }
}

impl std::fmt::Display for Unreadable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the template cannot be read")
    }
}

impl From<Box<Diagnostic>> for Findings {
    fn from(diagnostic: Box<Diagnostic>) -> Self {
        Self(vec![*diagnostic])
    }
}

/// An error, looked at: what is told, and how the program ends.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Whose it is.
    pub(crate) kind: Kind,
    /// How the program ends.
    pub(crate) status: Status,
    hints: Vec<String>,
}

/// Finds out whose an error is, how the program ends, and what to try.
pub(crate) fn judge(error: &anyhow::Error) -> Verdict {
    let mut verdict = Verdict { kind: Kind::Yours, status: Status::Failed, hints: Vec::new() };
    let mut known = false;
    // A context is found by its error, not in the chain.
    verdict.hints.extend(error.downcast_ref().into_iter().flat_map(|Hints(hints)| hints.clone()));
    for cause in links(error) {
        if let Some(mistake) = cause.downcast_ref::<Mistake>() {
            verdict.hints.extend(mistake.hint.clone());
            verdict.status = mistake.status;
            (verdict.kind, known) = (Kind::Yours, true);
        } else if let Some(failed) = cause.downcast_ref::<NotStarted>() {
            verdict.status = Status::Program(failed.status);
            (verdict.kind, known) = (Kind::Yours, true);
        } else if cause.is::<Unwritten>() {
            verdict.status = Status::Program(Status::Failed.code());
        } else if let Some(missing) = cause.downcast_ref::<NotYet>() {
            verdict.hints.push(missing.instead.clone());
            verdict.status = missing.status;
            (verdict.kind, known) = (Kind::Yours, true);
        } else if cause.is::<Findings>() || cause.is::<StepFailure>() {
            (verdict.kind, known) = (Kind::Yours, true);
            if error.is::<Unreadable>() {
                verdict.status = Status::Template;
            }
        } else if cause.is::<std::fmt::Error>() || cause.is::<std::num::TryFromIntError>() {
            // Nobody outside can cause these: they should have been told as something else.
            verdict.status = Status::Bug;
            (verdict.kind, known) = (Kind::Ours, true);
        } else if let Some((kind, hint)) = advice::of(cause) {
            verdict.hints.push(hint.to_owned());
            (verdict.kind, known) = (kind, true);
        } else if let Some(io) = cause.downcast_ref::<io::Error>() {
            verdict.of_io(io, known);
            known = true;
        }
    }
    verdict
}

/// Returns an error and its causes, those of a step that failed too.
fn links(error: &anyhow::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    let step = error.downcast_ref::<StepFailure>().and_then(|step| step.reason.as_ref());
    error.chain().chain(step.into_iter().flat_map(anyhow::Error::chain))
}

/// Returns the first cause of a type, also out of its box.
pub(crate) fn cause<E: std::error::Error + 'static>(error: &anyhow::Error) -> Option<&E> {
    links(error).find_map(advice::looked_at)
}

impl Verdict {
    fn of_io(&mut self, error: &io::Error, known: bool) {
        if !known {
            self.kind = match error.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
                    Kind::Yours
                }
                // Not of the system: something that was read is not what it should be.
                io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof | io::ErrorKind::Other
                    if error.raw_os_error().is_none() =>
                {
                    Kind::Yours
                }
                _ => Kind::Machine,
            };
        }
        match error.kind() {
            // Of what we print: whose the pipe is of other connections is known by then.
            io::ErrorKind::BrokenPipe if !known => self.status = Status::Unread,
            io::ErrorKind::StorageFull => {
                self.hints.push("free some space, for example with `rbuild prune`".to_owned());
            }
            io::ErrorKind::AddrInUse => {
                self.hints.push("somebody listens there already: name another address".to_owned());
            }
            // The kernel has one word for both.
            _ if error.raw_os_error() == Some(Errno::MFILE.raw_os_error()) => self.hints.push(
                "one may have more open files with `ulimit -n`, and watch more with `fs.inotify.max_user_instances`".to_owned(),
            ),
            io::ErrorKind::QuotaExceeded => self.hints.push("your disk quota is used up".to_owned()),
            io::ErrorKind::PermissionDenied => {
                self.hints
                    .push("`rbuild doctor` tells which rights are there and which are missing".to_owned());
            }
            _ => {}
        }
    }
}

/// Returns what to try first, for an error that is told as part of another.
pub(crate) fn hint(error: &anyhow::Error) -> Option<String> {
    judge(error).hints.into_iter().next()
}

/// Tells all of several errors, and returns the last one's status; without any, everything was done.
pub(crate) fn tell_all(
    errors: impl IntoIterator<Item = impl Into<anyhow::Error>>,
    terminal: Terminal,
) -> Status {
    errors.into_iter().fold(Status::Done, |_, error| tell(&error.into(), terminal))
}

/// Tells an error on standard error and returns how the program ends.
pub(crate) fn tell(error: &anyhow::Error, terminal: Terminal) -> Status {
    let verdict = judge(error);
    if verdict.status != Status::Unread {
        terminal.tell(&render(error, terminal.err().colour));
    }
    verdict.status
}

/// Returns the message of an error.
pub(crate) fn render(error: &anyhow::Error, colour: Colour) -> String {
    let verdict = judge(error);
    let mut message = String::new();
    if let Some(findings) = error.downcast_ref::<Findings>() {
        for diagnostic in &findings.0 {
            message.push_str(&of_diagnostic(diagnostic, colour));
        }
        if let Some(target) = error.downcast_ref::<Target>() {
            let title = colour.paint(Paint::Red, "error:");
            message
                .push_str(&format!("{title} {} could not be built\n", text::one_line(&target.to_string())));
        }
    } else if let Some(step) = error.downcast_ref::<StepFailure>() {
        message.push_str(&step.render(error.downcast_ref::<Target>(), colour));
    } else {
        let title = match verdict.kind {
            Kind::Ours => "internal error:",
            Kind::Yours | Kind::Machine => "error:",
        };
        message.push_str(&format!("{} {}\n", colour.paint(Paint::Red, title), chain(error)));
    }
    for hint in &verdict.hints {
        message.push_str(&hint_line(hint, colour));
    }
    match verdict.kind {
        Kind::Ours => message.push_str(&hint_line(REPORT, colour)),
        Kind::Machine => {
            message.push_str(&format!("{} {MACHINE}\n", colour.paint(Paint::Cyan, "note:")));
        }
        Kind::Yours => {}
    }
    message
}

const REPORT: &str = "this is a mistake in rbuild, not in your project: please report it, with the lines above and \
                      the output of `rbuild doctor`";
const MACHINE: &str = "this is about the machine, not about your project";

/// Returns an error's causes, a line each, as `--debug` tells them.
pub(crate) fn causes(error: &anyhow::Error) -> String {
    error.chain().map(|cause| format!("debug: {}\n", text::one_line(&format!("{cause:?}")))).collect()
}

/// Returns the message of a panic.
pub(crate) fn panicked(message: &str, place: &str, colour: Colour) -> String {
    format!(
        "{} {} ({place}, rbuild {})\n{}",
        colour.paint(Paint::Red, "internal error:"),
        text::escape(message),
        env!("CARGO_PKG_VERSION"),
        hint_line(REPORT, colour)
    )
}

/// Returns a warning in a few lines: the message, where, and what to try.
pub(crate) fn warning(diagnostic: &Diagnostic) -> String {
    let rule = diagnostic.rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
    let line =
        diagnostic.location().map(|location| format!(" (line {})", location.lines().0)).unwrap_or_default();
    text::one_line(&format!("{rule}{}{line}", sentence(diagnostic)))
}

/// Returns the message of a check rule's finding as other builders write it, with a capital.
pub(crate) fn sentence(diagnostic: &Diagnostic) -> String {
    let mut letters = diagnostic.message.chars();
    match (diagnostic.rule, letters.next()) {
        (Some(_), Some(first)) => first.to_uppercase().chain(letters).collect(),
        _ => diagnostic.message.clone(),
    }
}

/// Returns the lines that a finding is about; nothing if it is about none.
pub(crate) fn lines(diagnostic: &Diagnostic, colour: Colour) -> String {
    diagnostic.location().map(|location| excerpt::of_location(&location, colour)).unwrap_or_default()
}

/// Returns a finding with its lines.
pub(crate) fn of_diagnostic(diagnostic: &Diagnostic, colour: Colour) -> String {
    let mut message = excerpt::of_diagnostic(diagnostic, colour);
    let title = match diagnostic.severity {
        Severity::Error => colour.paint(Paint::Red, "error:"),
        Severity::Warning => colour.paint(Paint::Yellow, "warning:"),
    };
    let rule = diagnostic.rule.map(|rule| format!("{rule}: ")).unwrap_or_default();
    message.push_str(&format!("{title} {rule}{}\n", text::escape(&diagnostic.message)));
    if let Some(help) = &diagnostic.help {
        message.push_str(&hint_line(help, colour));
    }
    message
}

fn hint_line(hint: &str, colour: Colour) -> String {
    format!("{} {}\n", colour.paint(Paint::Cyan, "hint:"), text::escape(hint))
}

/// Returns an error and its causes in one line. What is told is not told again: a cause that its parent ends with, a
/// parent that its cause begins with, and the name of a thing before a cause.
pub(crate) fn chain(error: &anyhow::Error) -> String {
    let mut told = String::new();
    let mut last = 0;
    for cause in error.chain() {
        let text = cause.to_string();
        let text = match text.split_once(": ") {
            Some((thing, rest)) if names(&told, thing) => rest,
            _ => &text,
        };
        if text.is_empty() || told.ends_with(text) {
            continue;
        }
        if text.starts_with(&told[last..]) {
            told.truncate(last);
        } else {
            told.push_str(": ");
        }
        last = told.len();
        told.push_str(text);
    }
    text::escape(&told)
}

/// Returns whether a text has a thing's name as a word.
fn names(text: &str, thing: &str) -> bool {
    let ends = |side: Option<char>| side.is_none_or(|letter| matches!(letter, ' ' | ',' | ':' | '`'));
    text.match_indices(thing)
        .any(|(at, _)| ends(text[..at].chars().next_back()) && ends(text[at + thing.len()..].chars().next()))
}

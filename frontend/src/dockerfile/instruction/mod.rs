//! The instructions: one file each, listed in [`INSTRUCTIONS`].
//!
//! A file holds an instruction's tree node, how it is read, and what it does to a stage when the Dockerfile is lowered.

pub mod add;
pub mod arg;
pub mod cmd;
pub mod copy;
pub mod entrypoint;
pub mod env;
pub mod expose;
pub mod from;
pub mod healthcheck;
pub mod label;
pub mod maintainer;
pub mod onbuild;
pub mod run;
pub mod shell;
pub mod stopsignal;
pub mod user;
pub mod volume;
pub mod workdir;

mod command;
mod key_value;
mod transfer;

use std::fmt;
use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Source, Span, Spanned};

use super::flags::Flags;
pub use super::flags::{FlagKind, FlagSpec};
use super::heredoc::{self, Heredoc};
use super::json::{self, JsonForm};
use super::lexer::Lexer;
use super::text::Slice;
use crate::lower::StageState;
pub use command::{Command, Form};
pub use key_value::{KeyValue, KeyValues};
pub use transfer::{Transfer, TransferSource};

/// A word as written, with its place. Variables in it are not yet replaced.
pub type Word = Spanned<String>;

/// Every instruction there is.
pub const INSTRUCTIONS: &[InstructionSpec] = &[
    add::SPEC,
    arg::SPEC,
    cmd::SPEC,
    copy::SPEC,
    entrypoint::SPEC,
    env::SPEC,
    expose::SPEC,
    from::SPEC,
    healthcheck::SPEC,
    label::SPEC,
    maintainer::SPEC,
    onbuild::SPEC,
    run::SPEC,
    shell::SPEC,
    stopsignal::SPEC,
    user::SPEC,
    volume::SPEC,
    workdir::SPEC,
];

/// What is known of an instruction before one is seen.
pub struct InstructionSpec {
    /// The keyword in upper case.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// Its flags.
    pub flags: &'static [FlagSpec],
    /// Whether flag words are taken and dropped, whatever they are.
    pub ignores_flags: bool,
    /// Whether what it returns is without what is wrong with it, so that the rest can be looked at.
    pub leaves_out_mistakes: bool,
    /// Whether its arguments may open heredocs.
    pub(crate) heredocs: Heredocs,
    pub(crate) parse: fn(&mut Args<'_>) -> Option<InstructionKind>,
}

/// Whether an instruction's arguments may open heredocs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heredocs {
    /// `<<` is text.
    No,
    /// Unless they are in JSON form.
    Yes,
    /// If the instruction in them does.
    Nested,
}

/// One instruction of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// The keyword as written.
    pub keyword: Word,
    /// The whole text on one line, blanks at its end included, heredoc bodies not.
    pub text: String,
    /// Everything that belongs to it, heredoc bodies included.
    pub span: Span,
    /// Its own lines, without heredoc bodies.
    pub line_span: Span,
    /// The comment lines directly above.
    pub comments: Vec<Word>,
    /// Blank lines between its continued lines.
    pub blank_lines: Vec<Span>,
    /// Its heredocs in order.
    pub heredocs: Vec<Heredoc>,
    /// What it is.
    pub kind: InstructionKind,
}

/// What an instruction is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstructionKind {
    /// `ADD`
    Add(add::Add),
    /// `ARG`
    Arg(arg::Arg),
    /// `CMD`
    Cmd(cmd::Cmd),
    /// `COPY`
    Copy(copy::Copy),
    /// `ENTRYPOINT`
    Entrypoint(entrypoint::Entrypoint),
    /// `ENV`
    Env(env::Env),
    /// `EXPOSE`
    Expose(expose::Expose),
    /// `FROM`
    From(from::From),
    /// `HEALTHCHECK`
    Healthcheck(healthcheck::Healthcheck),
    /// `LABEL`
    Label(label::Label),
    /// `MAINTAINER`
    Maintainer(maintainer::Maintainer),
    /// `ONBUILD`
    Onbuild(onbuild::Onbuild),
    /// `RUN`
    Run(run::Run),
    /// `SHELL`
    Shell(shell::Shell),
    /// `STOPSIGNAL`
    Stopsignal(stopsignal::Stopsignal),
    /// `USER`
    User(user::User),
    /// `VOLUME`
    Volume(volume::Volume),
    /// `WORKDIR`
    Workdir(workdir::Workdir),
}

impl Instruction {
    /// Does to a stage what the instruction says.
    pub(crate) fn apply(&self, stage: &mut StageState<'_, '_>) -> Result<(), Diagnostic> {
        match &self.kind {
            InstructionKind::Add(add) => add.apply(self, stage),
            InstructionKind::Arg(arg) => arg.apply(self, stage),
            InstructionKind::Cmd(cmd) => cmd.apply(self, stage),
            InstructionKind::Copy(copy) => copy.apply(self, stage),
            InstructionKind::Entrypoint(entrypoint) => entrypoint.apply(self, stage),
            InstructionKind::Env(env) => env.apply(self, stage),
            InstructionKind::Expose(expose) => expose.apply(self, stage),
            // A FROM begins a stage, and has done its work when there is one.
            InstructionKind::From(_) => Ok(()),
            InstructionKind::Healthcheck(healthcheck) => healthcheck.apply(self, stage),
            InstructionKind::Label(label) => label.apply(self, stage),
            InstructionKind::Maintainer(maintainer) => maintainer.apply(self, stage),
            InstructionKind::Onbuild(onbuild) => onbuild.apply(self, stage),
            InstructionKind::Run(run) => run.apply(self, stage),
            InstructionKind::Shell(shell) => shell.apply(self, stage),
            InstructionKind::Stopsignal(stopsignal) => stopsignal.apply(self, stage),
            InstructionKind::User(user) => user.apply(self, stage),
            InstructionKind::Volume(volume) => volume.apply(self, stage),
            InstructionKind::Workdir(workdir) => workdir.apply(self, stage),
        }
    }

    /// Returns the other stages, contexts or images that the instruction takes files from, as written.
    pub fn sources(&self) -> Vec<&Word> {
        match &self.kind {
            InstructionKind::Copy(copy) => copy.from.iter().collect(),
            InstructionKind::Run(run) => run.mount_sources.iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Returns whether the instruction makes a step, so that it counts in `[stage i/n]`.
    pub fn makes_step(&self) -> bool {
        matches!(
            self.kind,
            InstructionKind::Add(_)
                | InstructionKind::Copy(_)
                | InstructionKind::Run(_)
                | InstructionKind::Workdir(_)
        )
    }
}

impl Instruction {
    /// Writes the instruction on one line, heredoc bodies below it.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, escape: char) -> fmt::Result {
        f.write_str(&self.text)?;
        // Only a file's last line can end so: an escape character that a further one at the file's end protects.
        let ends_escaped =
            self.text.trim_end().strip_suffix(escape).is_some_and(|rest| !rest.ends_with(escape));
        writeln!(f, "{}", if ends_escaped { escape.to_string() } else { String::new() })?;
        for heredoc in &self.heredocs {
            write!(f, "{}", heredoc.body)?;
            writeln!(f, "{}", heredoc.name)?;
        }
        Ok(())
    }
}

/// What is wrong with a JSON array of something else.
const NOT_STRINGS: &str = "when using JSON array syntax, arrays must be comprised of strings only";

/// What the reader of an instruction works on.
pub(crate) struct Args<'a> {
    pub(crate) source: &'a Arc<Source>,
    pub(crate) spec: &'static InstructionSpec,
    /// The text behind the keyword and the flags.
    pub(crate) rest: Slice<'a>,
    /// The whole line, blanks at its ends included.
    pub(crate) original: &'a str,
    pub(crate) flags: Flags,
    pub(crate) heredocs: Vec<Heredoc>,
    pub(crate) escape: char,
    pub(crate) line: Span,
    pub(crate) report: &'a mut Vec<Diagnostic>,
}

impl<'a> Args<'a> {
    /// Reports an error about a place.
    pub(crate) fn error(&mut self, span: Span, message: impl Into<String>) {
        self.report.push(Diagnostic::error(self.source, span, message));
    }

    /// Reports an error about the whole instruction.
    pub(crate) fn fail<T>(&mut self, message: impl Into<String>) -> Option<T> {
        self.error(self.line, message);
        None
    }

    /// Reads the rest as JSON strings, if that is what it is.
    pub(crate) fn json(&mut self) -> Option<JsonForm> {
        let form = json::parse(self.rest.text());
        if form == JsonForm::NotStrings {
            self.error(self.rest.span(), NOT_STRINGS);
            return None;
        }
        Some(form)
    }

    /// Reads a list of words: a JSON array, or blank-separated (quotes mean nothing there).
    pub(crate) fn list(&mut self) -> Option<Vec<Word>> {
        let span = self.rest.span();
        Some(match self.json()? {
            JsonForm::Strings(strings) => strings.into_iter().map(|text| Spanned::new(text, span)).collect(),
            _ => self.rest.fields().iter().map(Slice::word).collect(),
        })
    }

    /// Reads the whole rest as one argument, which must be there.
    pub(crate) fn one(&mut self) -> Option<Word> {
        if self.rest.is_empty() {
            let name = self.spec.name;
            return self.fail(format!("{name} requires exactly one argument"));
        }
        Some(self.rest.word())
    }
}

/// Takes the bodies of the heredocs that an instruction's arguments open.
pub(super) fn take_heredocs(
    source: &Arc<Source>,
    spec: &InstructionSpec,
    rest: Slice<'_>,
    lexer: &mut Lexer<'_>,
    report: &mut Vec<Diagnostic>,
) -> Vec<Heredoc> {
    let opens = match spec.heredocs {
        Heredocs::No => false,
        Heredocs::Yes => json::parse(rest.text()) == JsonForm::Other,
        Heredocs::Nested => {
            let (keyword, inner) = rest.split_field();
            let name = keyword.text().to_ascii_uppercase();
            INSTRUCTIONS.iter().any(|inner| inner.name == name && inner.heredocs == Heredocs::Yes)
                && json::parse(inner.text()) == JsonForm::Other
        }
    };
    if !opens {
        return Vec::new();
    }
    let openings = match heredoc::openings(rest.text()) {
        Ok(openings) => openings,
        Err(error) => {
            report.push(Diagnostic::error(source, rest.span(), error.to_string()));
            return Vec::new();
        }
    };
    let mut from = 0;
    openings
        .into_iter()
        .map(|(word, opening)| {
            let span = rest.text()[from..].find(&word).map_or(rest.span(), |at| {
                let start = from + at;
                from = start + word.len();
                rest.part(start..from).span()
            });
            let body = lexer.heredoc(&opening.name, opening.strip_tabs, report);
            if !body.terminated {
                report.push(
                    Diagnostic::error(source, span, "unterminated heredoc")
                        .with_help(format!("end it with a line that is only `{}`", opening.name)),
                );
            }
            Heredoc {
                name: opening.name,
                word: Spanned::new(word, span),
                expand: opening.expand,
                strip_tabs: opening.strip_tabs,
                body: body.text,
                body_span: body.span,
            }
        })
        .collect()
}

//! Dockerfiles: text to a tree of instructions, each knowing where it stands.
//!
//! 1. `directive` reads the top of the file, which may change the escape character.
//! 2. `lexer` joins continued lines and drops comments.
//! 3. `flags` takes the `--words` behind a keyword, and the file of the instruction reads the rest:
//!    [`instruction::INSTRUCTIONS`] lists them.
//! 4. Variables stay as written; [`expand`] replaces them when the file is lowered, because only then their values are known.
//!
//! Parsing goes on after an error: one run reports everything that is wrong with a text.

pub mod device;
pub mod directive;
pub mod expand;
pub mod heredoc;
pub mod instruction;
pub mod mount;
pub mod stage;

mod flags;
mod json;
mod lexer;
mod text;

use std::fmt;
use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Severity, Source, Span, edit_distance, nearest};

use directive::Directives;
use instruction::{Args, INSTRUCTIONS, Instruction, InstructionKind, InstructionSpec};
use lexer::{Lexer, Line};

use crate::errors::MAX_ERRORS;

/// A parsed Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// The text it was read from.
    pub source: Arc<Source>,
    /// What its top says about reading it.
    pub directives: Directives,
    /// The instructions in order.
    pub instructions: Vec<Instruction>,
    /// Whether variables are set by a line that could not be read: then one that is not there may well have been meant
    /// to be.
    pub lost_variables: bool,
}

/// A Dockerfile, as far as it could be read, and everything that was found wrong with it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The instructions that could be read.
    pub dockerfile: Dockerfile,
    /// Findings in the order of the text, with the first errors.
    pub diagnostics: Vec<Diagnostic>,
    /// How many more errors there are.
    pub more_errors: usize,
}

impl Parsed {
    /// Returns whether something found stops a build.
    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// Parses a Dockerfile.
pub fn parse(source: &Arc<Source>) -> Parsed {
    let text = source.text();
    let start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    let mut report = Vec::new();
    let (directives, body) = directive::parse(source, start, &mut report);
    let mut lexer = Lexer::new(source, body, directives.escape());
    let mut instructions = Vec::new();
    let mut lines = 0;
    let mut lost_variables = false;
    let (mut errors, mut more_errors) = (0, 0);
    let mut first = |report: &mut Vec<Diagnostic>, from: usize| {
        let found = report.split_off(from);
        report.extend(found.into_iter().filter(|finding| {
            let is_error = finding.severity == Severity::Error;
            let is_told = !is_error || errors < MAX_ERRORS;
            errors += usize::from(is_error && is_told);
            more_errors += usize::from(!is_told);
            is_told
        }));
    };
    let mut looked_at = 0;
    while let Some(line) = lexer.line(&mut report) {
        lines += 1;
        let known = report.len();
        let found = instruction(source, &line, &mut lexer, directives.escape(), &mut report);
        lost_variables |= found.is_none() && sets_variables(&line);
        instructions.extend(found);
        for error in &mut report[known..] {
            let number = source.position(line.span.start).line;
            error.message = format!("dockerfile parse error on line {number}: {}", error.message);
        }
        first(&mut report, looked_at);
        looked_at = report.len();
    }
    first(&mut report, looked_at);
    let place = Span::new(start, start);
    if text.is_empty() {
        report.push(Diagnostic::error(source, place, "the Dockerfile cannot be empty"));
    } else if lines == 0 {
        report.push(Diagnostic::error(source, place, "file with no instructions"));
    }
    lost_variables |= !check_order(source, &instructions, &mut report);
    report.sort_by_key(|finding| finding.labels.first().map_or(0, |label| label.span.start));
    Parsed {
        dockerfile: Dockerfile { source: Arc::clone(source), directives, instructions, lost_variables },
        diagnostics: report,
        more_errors,
    }
}

/// Tells whether a line that could not be read was to set variables.
fn sets_variables(line: &Line) -> bool {
    let (keyword, _) = line.text.as_slice().trim().split_field();
    known(keyword.text())
        .or_else(|| meant(keyword.text()))
        .is_some_and(|spec| matches!(spec.name, "ARG" | "ENV"))
}

/// Finds an instruction by its keyword.
fn known(keyword: &str) -> Option<&'static InstructionSpec> {
    INSTRUCTIONS.iter().find(|spec| spec.name.eq_ignore_ascii_case(keyword))
}

/// Finds the instruction that a misspelt keyword may stand for.
fn meant(keyword: &str) -> Option<&'static InstructionSpec> {
    known(nearest(keyword, INSTRUCTIONS.iter().map(|spec| spec.name))?)
}

/// Parses one instruction that stands alone: a trigger stored in an image.
pub fn parse_trigger(source: &Arc<Source>) -> Result<Instruction, Vec<Diagnostic>> {
    let mut report = Vec::new();
    let mut lexer = Lexer::new(source, 0, '\\');
    let found =
        lexer.line(&mut report).and_then(|line| instruction(source, &line, &mut lexer, '\\', &mut report));
    match found {
        Some(found) if report.is_empty() => Ok(found),
        _ if report.is_empty() => {
            Err(vec![Diagnostic::error(source, Span::default(), "the trigger holds no instruction")])
        }
        _ => Err(report),
    }
}

/// Reports instructions before the first FROM, and that there is none; tells whether all was in order.
fn check_order(source: &Arc<Source>, instructions: &[Instruction], report: &mut Vec<Diagnostic>) -> bool {
    let is_from = |instruction: &Instruction| matches!(instruction.kind, InstructionKind::From(_));
    let is_arg = |instruction: &Instruction| matches!(instruction.kind, InstructionKind::Arg(_));
    for instruction in instructions.iter().take_while(|instruction| !is_from(instruction)) {
        if !is_arg(instruction) {
            report.push(
                Diagnostic::error(source, instruction.span, "no build stage in current context")
                    .with_help("begin the file with `FROM`; only `ARG` may stand before it"),
            );
            return false;
        }
    }
    // A file whose lines could not be read may well have had its FROM among them.
    if !instructions.is_empty() && !instructions.iter().any(is_from) && report.is_empty() {
        let last = instructions.last().map_or(Span::default(), |instruction| instruction.span);
        report.push(Diagnostic::error(source, last, "dockerfile contains no stages to build"));
    }
    true
}

/// Reads an instruction. One with errors is there too if all that is wrong could be left out of it, so that the rest of it
/// can be looked at.
fn instruction(
    source: &Arc<Source>,
    line: &Line,
    lexer: &mut Lexer<'_>,
    escape: char,
    report: &mut Vec<Diagnostic>,
) -> Option<Instruction> {
    let (keyword, _) = line.text.as_slice().trim().split_field();
    let Some(spec) = known(keyword.text()) else {
        let mut error =
            Diagnostic::error(source, keyword.span(), format!("unknown instruction: {}", keyword.text()));
        let meant = meant(keyword.text());
        if let Some(InstructionSpec { name, .. }) = meant {
            error.message.push_str(&format!(" (did you mean {name}?)"));
            error = error.with_help(format!("write `{name}`"));
        }
        report.push(error);
        // One letter is a slip; more may be another word. What is wrong behind it may be wrong with the guess.
        let meant =
            meant.filter(|spec| edit_distance(&keyword.text().to_ascii_uppercase(), spec.name) == 1)?;
        return arguments(source, line, meant, lexer, escape, &mut Vec::new());
    };
    arguments(source, line, spec, lexer, escape, report)
}

/// Reads what stands behind a keyword.
fn arguments(
    source: &Arc<Source>,
    line: &Line,
    spec: &'static InstructionSpec,
    lexer: &mut Lexer<'_>,
    escape: char,
    report: &mut Vec<Diagnostic>,
) -> Option<Instruction> {
    let whole = line.text.as_slice();
    let (keyword, rest) = whole.trim().split_field();
    let (words, rest) = flags::take(rest, escape);
    let flags = flags::parse(&words, spec, source, report);
    let heredocs = instruction::take_heredocs(source, spec, rest, lexer, report);
    let span = heredocs.last().map_or(line.span, |last| line.span.to(last.body_span));
    let original = whole.text();
    let errors = report.len();
    refuse_nul(source, line, report);
    let mut args = Args { source, spec, rest, original, flags, heredocs, escape, line: line.span, report };
    let kind = (spec.parse)(&mut args)?;
    let heredocs = args.heredocs;
    let is_wrong = report[errors..].iter().any(|finding| finding.severity == Severity::Error);
    if is_wrong && !spec.leaves_out_mistakes {
        return None;
    }
    Some(Instruction {
        keyword: keyword.word(),
        text: whole.trim_start().text().to_owned(),
        span,
        line_span: line.span,
        comments: line.comments.clone(),
        blank_lines: line.blank_lines.clone(),
        heredocs,
        kind,
    })
}

/// Refuses a NUL byte in an instruction: neither a path nor an argument, a variable or a port can hold one.
fn refuse_nul(source: &Arc<Source>, line: &Line, report: &mut Vec<Diagnostic>) {
    let text = line.text.as_slice();
    if let Some(at) = text.text().find('\0') {
        let error = Diagnostic::error(source, text.part(at..at + 1).span(), "the line holds a NUL byte");
        report.push(error.with_help("take it out of the file"));
    }
}

impl fmt::Display for Dockerfile {
    /// Writes the file with each instruction on one line; reading that again gives the same instructions.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(syntax) = &self.directives.syntax {
            writeln!(f, "# syntax={}", syntax.value)?;
        }
        if let Some(escape) = &self.directives.escape {
            writeln!(f, "# escape={}", escape.value)?;
        }
        // The blank line ends the directives: no comment below can be taken for one.
        writeln!(f)?;
        for instruction in &self.instructions {
            for comment in &instruction.comments {
                writeln!(f, "# {}", comment.value)?;
            }
            instruction.write(f, self.directives.escape())?;
        }
        Ok(())
    }
}

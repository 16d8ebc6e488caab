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

use rbuild_model::span::{Diagnostic, Severity, Source, Span, nearest};

use directive::Directives;
use instruction::{Args, INSTRUCTIONS, Instruction, InstructionKind};
use lexer::{Lexer, Line};

/// A parsed Dockerfile.
#[derive(Clone, Debug)]
pub struct Dockerfile {
    /// The text it was read from.
    pub source: Arc<Source>,
    /// What its top says about reading it.
    pub directives: Directives,
    /// The instructions in order.
    pub instructions: Vec<Instruction>,
}

/// A Dockerfile, as far as it could be read, and everything that was found wrong with it.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The instructions that could be read.
    pub dockerfile: Dockerfile,
    /// Findings in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
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
    while let Some(line) = lexer.line(&mut report) {
        lines += 1;
        let known = report.len();
        instructions.extend(instruction(source, &line, &mut lexer, directives.escape(), &mut report));
        for error in &mut report[known..] {
            let number = source.position(line.span.start).line;
            error.message = format!("dockerfile parse error on line {number}: {}", error.message);
        }
    }
    let place = Span::new(start, start);
    if text.is_empty() {
        report.push(Diagnostic::error(source, place, "the Dockerfile cannot be empty"));
    } else if lines == 0 {
        report.push(Diagnostic::error(source, place, "file with no instructions"));
    }
    check_order(source, &instructions, &mut report);
    report.sort_by_key(|finding| finding.labels.first().map_or(0, |label| label.span.start));
    Parsed {
        dockerfile: Dockerfile { source: Arc::clone(source), directives, instructions },
        diagnostics: report,
    }
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

fn check_order(source: &Arc<Source>, instructions: &[Instruction], report: &mut Vec<Diagnostic>) {
    let is_from = |instruction: &Instruction| matches!(instruction.kind, InstructionKind::From(_));
    let is_arg = |instruction: &Instruction| matches!(instruction.kind, InstructionKind::Arg(_));
    for instruction in instructions.iter().take_while(|instruction| !is_from(instruction)) {
        if !is_arg(instruction) {
            report.push(
                Diagnostic::error(source, instruction.span, "no build stage in current context")
                    .with_help("begin the file with `FROM`; only `ARG` may stand before it"),
            );
            return;
        }
    }
    // A file whose lines could not be read may well have had its FROM among them.
    if !instructions.is_empty() && !instructions.iter().any(is_from) && report.is_empty() {
        let last = instructions.last().map_or(Span::default(), |instruction| instruction.span);
        report.push(Diagnostic::error(source, last, "dockerfile contains no stages to build"));
    }
}

fn instruction(
    source: &Arc<Source>,
    line: &Line,
    lexer: &mut Lexer<'_>,
    escape: char,
    report: &mut Vec<Diagnostic>,
) -> Option<Instruction> {
    let whole = line.text.as_slice();
    let (keyword, rest) = whole.trim().split_field();
    let name = keyword.text().to_ascii_uppercase();
    let Some(spec) = INSTRUCTIONS.iter().find(|spec| spec.name == name) else {
        let mut error =
            Diagnostic::error(source, keyword.span(), format!("unknown instruction: {}", keyword.text()));
        if let Some(near) = nearest(keyword.text(), INSTRUCTIONS.iter().map(|spec| spec.name)) {
            error.message.push_str(&format!(" (did you mean {near}?)"));
            error = error.with_help(format!("write `{near}`"));
        }
        report.push(error);
        return None;
    };
    let (words, rest) = flags::take(rest, escape);
    let flags = flags::parse(&words, spec, source, report);
    let heredocs = instruction::take_heredocs(source, spec, rest, lexer, report);
    let span = heredocs.last().map_or(line.span, |last| line.span.to(last.body_span));
    let original = whole.text();
    let errors = report.len();
    let mut args = Args { source, spec, rest, original, flags, heredocs, escape, line: line.span, report };
    let kind = (spec.parse)(&mut args)?;
    let heredocs = args.heredocs;
    if report.len() > errors && report[errors..].iter().any(|finding| finding.severity == Severity::Error) {
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

//! Physical lines to instructions' texts.
//!
//! The lexer joins continued lines, drops comments (remembering those directly above an instruction), and hands
//! out heredoc bodies when the parser, who knows which instructions have any, asks for them.

use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Source, Span, Spanned};

use super::text::Joined;

/// The longest physical line plus one, in bytes.
const LINE_LIMIT: usize = 65536;

/// One instruction's text, continuation lines joined.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) text: Joined,
    /// Everything from the first to the last physical line.
    pub(crate) span: Span,
    /// The comment lines directly above, without their `#`.
    pub(crate) comments: Vec<Spanned<String>>,
    /// Blank lines between continued lines.
    pub(crate) blank_lines: Vec<Span>,
}

/// A heredoc's lines up to its terminator.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) text: String,
    /// The body and the terminator line.
    pub(crate) span: Span,
    pub(crate) terminated: bool,
}

pub(crate) struct Lexer<'a> {
    source: &'a Arc<Source>,
    at: usize,
    escape: char,
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(source: &'a Arc<Source>, start: usize, escape: char) -> Self {
        Self { source, at: start, escape }
    }

    /// Takes a physical line with its line end.
    fn physical(&mut self, report: &mut Vec<Diagnostic>) -> Option<(usize, &'a str)> {
        let rest = &self.source.text()[self.at..];
        if rest.is_empty() {
            return None;
        }
        let line = &rest[..rest.find('\n').map_or(rest.len(), |at| at + 1)];
        let start = self.at;
        self.at += line.len();
        if line.trim_end_matches('\n').len() >= LINE_LIMIT {
            report.push(Diagnostic::error(
                self.source,
                Span::new(start, start + 40.min(floor_boundary(line, 40))),
                format!("dockerfile line greater than max allowed size of {}", LINE_LIMIT - 1),
            ));
        }
        Some((start, line))
    }

    /// Takes the next instruction's text.
    pub(crate) fn line(&mut self, report: &mut Vec<Diagnostic>) -> Option<Line> {
        let mut comments = Vec::new();
        let (start, first) = loop {
            let (start, line) = self.physical(report)?;
            let text = trim_line_end(line);
            let trimmed = text.trim_start();
            let start = start + (text.len() - trimmed.len());
            if let Some(comment) = trimmed.strip_prefix('#') {
                comments
                    .push(Spanned::new(comment.trim().to_owned(), Span::new(start, start + trimmed.len())));
            } else if trimmed.is_empty() {
                comments.clear();
            } else {
                break (start, trimmed);
            }
        };
        let mut text = Joined::default();
        let mut end = start + first.len();
        let mut blank_lines = Vec::new();
        let (piece, mut continued) = self.strip_continuation(first);
        self.check_text(start, first, report);
        text.push(start, piece);
        while continued {
            let Some((line_start, line)) = self.physical(report) else { break };
            let line = trim_line_end(line);
            let trimmed = line.trim_start();
            if trimmed.starts_with('#') {
                continue;
            }
            if trimmed.is_empty() {
                blank_lines.push(Span::new(line_start, line_start + line.len()));
                continue;
            }
            self.check_text(line_start, line, report);
            let (piece, more) = self.strip_continuation(line);
            text.push(line_start, piece);
            end = line_start + line.len();
            continued = more;
        }
        Some(Line { text, span: Span::new(start, end), comments, blank_lines })
    }

    /// Takes the lines of a heredoc up to and with its terminator.
    pub(crate) fn heredoc(
        &mut self,
        terminator: &str,
        strip_tabs: bool,
        report: &mut Vec<Diagnostic>,
    ) -> Body {
        let start = self.at;
        let mut text = String::new();
        while let Some((line_start, line)) = self.physical(report) {
            self.check_text(line_start, line, report);
            let mut candidate = trim_line_end(line);
            if strip_tabs {
                candidate = candidate.trim_start_matches('\t');
            }
            if candidate == terminator {
                let end = self.at - (line.len() - trim_line_end(line).len());
                return Body { text, span: Span::new(start, end), terminated: true };
            }
            text.push_str(line);
        }
        Body { text, span: Span::new(start, self.at), terminated: false }
    }

    /// Refuses a line that is not text; in a comment anything may stand.
    fn check_text(&self, start: usize, line: &str, report: &mut Vec<Diagnostic>) {
        if let Some((place, byte)) = self.source.not_text(Span::new(start, start + line.len())) {
            let error = Diagnostic::error(self.source, place, format!("the byte 0x{byte:02x} is not UTF-8"));
            report.push(error.with_help("save the file as UTF-8"));
        }
    }

    /// Removes the escape character that continues a line, and says whether there was one.
    fn strip_continuation<'t>(&self, line: &'t str) -> (&'t str, bool) {
        let trimmed = line.trim_end_matches([' ', '\t']);
        match trimmed.strip_suffix(self.escape) {
            Some(before) if !before.ends_with(self.escape) => (before, true),
            _ => (line, false),
        }
    }
}

/// Removes the line feed and the carriage returns before it.
pub(crate) fn trim_line_end(line: &str) -> &str {
    line.trim_end_matches(['\n', '\r'])
}

fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

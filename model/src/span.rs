//! Places in source text, and the diagnostics that point at them.
//!
//! A [`Span`] is a byte range of one [`Source`]; it travels beside the graph, never inside what is hashed.
//! Rendering (excerpt, caret, colour) is the binary's business.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One text that was read: a Dockerfile, an ignore file, a compose file.
#[derive(PartialEq, Eq)]
pub struct Source {
    name: String,
    text: String,
    line_starts: Vec<usize>,
    /// What was not UTF-8, by the places of the characters that stand for it.
    not_text: Vec<(usize, u8)>,
}

impl Source {
    /// Keeps a text under the name that messages call it by (a path as the user gave it, or `Dockerfile`).
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        let text = text.into();
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Arc::new(Self { name: name.into(), text, line_starts, not_text: Vec::new() })
    }

    /// Keeps bytes that need not be UTF-8 all the way: a replacement character stands for what is not.
    pub fn from_bytes(name: impl Into<String>, bytes: Vec<u8>) -> Arc<Self> {
        let bytes = match String::from_utf8(bytes) {
            Ok(text) => return Self::new(name, text),
            Err(error) => error.into_bytes(),
        };
        let mut text = String::with_capacity(bytes.len());
        let mut not_text = Vec::new();
        for chunk in bytes.utf8_chunks() {
            text.push_str(chunk.valid());
            if let Some(first) = chunk.invalid().first() {
                not_text.push((text.len(), *first));
                text.push(char::REPLACEMENT_CHARACTER);
            }
        }
        let mut source = Self::new(name, text);
        if let Some(source) = Arc::get_mut(&mut source) {
            source.not_text = not_text;
        }
        source
    }

    /// Returns the first byte in a range that was not UTF-8, and the place of what stands for it.
    pub fn not_text(&self, span: Span) -> Option<(Span, u8)> {
        let next = self.not_text.partition_point(|(at, _)| *at < span.start);
        let (at, byte) = *self.not_text.get(next).filter(|(at, _)| *at < span.end)?;
        Some((Span::new(at, at + char::REPLACEMENT_CHARACTER.len_utf8()), byte))
    }

    /// Returns the name that messages call the text by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the whole text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the 1-based line and column (in characters) of a byte offset.
    pub fn position(&self, offset: usize) -> Position {
        let line = self.line_starts.partition_point(|start| *start <= offset).saturating_sub(1);
        let start = self.line_starts[line];
        let end = offset.min(self.text.len());
        let column = self.text.get(start..end).map_or(0, |before| before.chars().count());
        Position { line: line + 1, column: column + 1 }
    }

    /// Returns the text of a 1-based line, without its line end.
    pub fn line(&self, number: usize) -> Option<&str> {
        let start = *self.line_starts.get(number.checked_sub(1)?)?;
        let end = self.line_starts.get(number).map_or(self.text.len(), |next| next - 1);
        self.text.get(start..end).map(|line| line.strip_suffix('\r').unwrap_or(line))
    }

    /// Returns the number of lines.
    pub fn line_count(&self) -> usize {
        self.line_starts.len() - usize::from(self.text.ends_with('\n') || self.text.is_empty())
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({})", self.name)
    }
}

/// A line and a column, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column in characters.
    pub column: usize,
}

/// A byte range in a source text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span {
    /// The offset of the first byte.
    pub start: usize,
    /// The offset behind the last byte.
    pub end: usize,
}

impl Span {
    /// Makes a span of a byte range.
    pub const fn new(start: usize, end: usize) -> Self {
        Self { start, end }
    }

    /// Returns the smallest span that covers both.
    pub fn to(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    /// Returns the byte range.
    pub const fn range(self) -> Range<usize> {
        self.start..self.end
    }
}

impl From<Range<usize>> for Span {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A value together with where it was written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub span: Span,
}

impl<T> Spanned<T> {
    /// Puts a value and its place together.
    pub const fn new(value: T, span: Span) -> Self {
        Self { value, span }
    }

    /// Changes the value and keeps the place.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Spanned<U> {
        Spanned { value: change(self.value), span: self.span }
    }
}

/// A place in a named source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// The text.
    pub source: Arc<Source>,
    /// The range in it.
    pub span: Span,
}

impl Location {
    /// Returns the 1-based first and last line that the range touches.
    pub fn lines(&self) -> (usize, usize) {
        let last = self.span.end.saturating_sub(1).max(self.span.start);
        (self.source.position(self.span.start).line, self.source.position(last).line)
    }
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The build goes on.
    Warning,
    /// The build cannot be done as written.
    Error,
}

/// A place with a short remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// The range in the diagnostic's source.
    pub span: Span,
    /// The remark, empty for none.
    pub text: String,
}

/// One finding about a text that somebody wrote: what is wrong, where, and what to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// Whether it stops the build.
    pub severity: Severity,
    /// The name of the check rule, for findings of checks (`StageNameCasing`).
    pub rule: Option<&'static str>,
    /// What is wrong, in one lower-case sentence without a full stop.
    pub message: String,
    /// The text it is about.
    pub source: Option<Arc<Source>>,
    /// The places, the main one first.
    pub labels: Vec<Label>,
    /// What to try.
    pub help: Option<String>,
}

impl Diagnostic {
    /// Makes an error about a place.
    pub fn error(source: &Arc<Source>, span: Span, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, source, span, message.into())
    }

    /// Makes a check rule's warning about a place.
    pub fn warning(rule: &'static str, source: &Arc<Source>, span: Span, message: impl Into<String>) -> Self {
        Self { rule: Some(rule), ..Self::new(Severity::Warning, source, span, message.into()) }
    }

    fn new(severity: Severity, source: &Arc<Source>, span: Span, message: String) -> Self {
        Self {
            severity,
            rule: None,
            message,
            source: Some(Arc::clone(source)),
            labels: vec![Label { span, text: String::new() }],
            help: None,
        }
    }

    /// Adds what to try.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds a further place.
    #[must_use]
    pub fn with_label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Returns the main place, if the finding has one.
    pub fn location(&self) -> Option<Location> {
        let source = Arc::clone(self.source.as_ref()?);
        Some(Location { source, span: self.labels.first()?.span })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(location) = self.location() {
            let at = location.source.position(location.span.start);
            write!(f, "{}:{}:{}: ", location.source.name(), at.line, at.column)?;
        }
        if let Some(rule) = self.rule {
            write!(f, "{rule}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// Returns the candidate nearest to a misspelled word: edit distance below 3, ignoring case, the first of equals. Two
/// letters that changed places are one edit.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    candidates
        .into_iter()
        .map(|candidate| (candidate.to_lowercase(), candidate))
        // Each letter more is an edit: most names need not be looked at.
        .filter(|(lower, _)| lower.chars().count().abs_diff(length) < 3)
        .map(|(lower, candidate)| (edit_distance(&word, &lower), candidate))
        .filter(|(distance, candidate)| *distance < 3 && *distance < candidate.chars().count())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Returns how many letters are put in, taken out, exchanged or swapped with their neighbours between two words.
pub fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    let mut last = None;
    for (i, ca) in a.chars().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let mut cost = (above[j] + usize::from(ca != *cb)).min(row[j] + 1).min(above[j + 1] + 1);
            if j > 0 && last == Some(*cb) && ca == b[j - 1] {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut above, row);
        last = Some(ca);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let source = Source::new("Dockerfile", "FROM a\nRUN ü x\r\n");
        assert_eq!(source.position(0), Position { line: 1, column: 1 });
        assert_eq!(source.position(7), Position { line: 2, column: 1 });
        assert_eq!(source.position(14), Position { line: 2, column: 7 });
        assert_eq!(source.line(2), Some("RUN ü x"));
        assert_eq!(source.line_count(), 2);
        assert_eq!(source.line(9), None);
    }

    #[test]
    fn the_nearest_word_is_offered_only_when_near() {
        assert_eq!(nearest("RUNN", ["RUN", "COPY"]), Some("RUN"));
        assert_eq!(nearest("cpoy", ["RUN", "COPY"]), Some("COPY"));
        assert_eq!(nearest("RNU", ["ENV", "RUN"]), Some("RUN"));
        assert_eq!(nearest("x", ["RUN", "COPY"]), None);
        assert_eq!(nearest("tmp", ["tmpfs", "bind"]), Some("tmpfs"));
    }
}

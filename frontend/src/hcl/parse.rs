//! Text to syntax. Reading goes on behind an error at the next line, so that one run tells everything.

use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Source, Span, Spanned};

use super::syntax::{Attribute, Block, Body, Expression, ExpressionKind, Part};
use super::template;

/// How deep expressions and blocks may stand in each other.
pub(super) const MAX_DEPTH: usize = 100;

type Failure = Box<Diagnostic>;
pub(super) type Parsed<T> = Result<T, Failure>;

/// Reads a text. What could be read is there also if something is wrong.
pub fn parse(source: &Arc<Source>) -> (Body, Vec<Diagnostic>) {
    let mut parser = Parser::new(source, Span::new(0, source.text().len()));
    if source.text().starts_with('\u{feff}') {
        parser.at += '\u{feff}'.len_utf8();
    }
    let body = parser.body(Place::File);
    (body, parser.errors)
}

/// Where reading is.
pub(super) struct Parser<'s> {
    source: &'s Arc<Source>,
    pub(super) text: &'s str,
    pub(super) at: usize,
    /// Whether line ends are blanks here: between brackets.
    pub(super) in_brackets: bool,
    /// Whether the text is JSON.
    pub(super) is_json: bool,
    pub(super) depth: usize,
    errors: Vec<Diagnostic>,
}

/// Where attributes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the top of a file, one a line.
    File,
    /// In a block, one a line.
    Block,
    /// In a block that begins and ends on one line, which holds one.
    Line,
}

fn starts_name(first: char) -> bool {
    first.is_alphabetic() || first == '_'
}

fn continues_name(next: char) -> bool {
    next.is_alphanumeric() || next == '_' || next == '-'
}

impl<'s> Parser<'s> {
    fn new(source: &'s Arc<Source>, span: Span) -> Self {
        let text = &source.text()[..span.end];
        Self {
            source,
            text,
            at: span.start,
            in_brackets: false,
            is_json: false,
            depth: 0,
            errors: Vec::new(),
        }
    }

    /// Begins to read a text in JSON.
    pub(super) fn json(source: &'s Arc<Source>) -> Parsed<Self> {
        let mut parser = Self::new(source, Span::new(0, source.text().len()));
        (parser.in_brackets, parser.is_json) = (true, true);
        parser.eat("\u{feff}");
        Ok(parser)
    }

    /// Reads the one value of a text in JSON.
    pub(super) fn document(&mut self) -> Parsed<Expression> {
        let value = self.expression()?;
        self.skip()?;
        if self.rest().is_empty() {
            return Ok(value);
        }
        Err(self.here(format!("expected the end of the file, found {}", self.found())))
    }

    /// Begins to read a text that stood in another one, as a template without quotes.
    pub(super) fn template(source: &'s Arc<Source>, depth: usize) -> Self {
        Self { depth, ..Self::new(source, Span::new(0, source.text().len())) }
    }

    /// The text that is read.
    pub(super) fn source(&self) -> &'s Arc<Source> {
        self.source
    }

    pub(super) fn rest(&self) -> &'s str {
        &self.text[self.at..]
    }

    pub(super) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    pub(super) fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    pub(super) fn error(&self, span: Span, message: impl Into<String>) -> Failure {
        Box::new(Diagnostic::error(self.source, span, message))
    }

    /// An error about the next character.
    pub(super) fn here(&self, message: impl Into<String>) -> Failure {
        let length = self.peek().map_or(0, char::len_utf8);
        self.error(Span::new(self.at, self.at + length), message)
    }

    /// What stands next, for messages.
    pub(super) fn found(&self) -> String {
        match self.peek() {
            None => "the end of the file".to_owned(),
            Some('\n') => "the end of the line".to_owned(),
            Some(next) => format!("`{next}`"),
        }
    }

    pub(super) fn expression_of(&self, kind: ExpressionKind, start: usize) -> Expression {
        Expression { kind: Box::new(kind), span: Span::new(start, self.at), source: Arc::clone(self.source) }
    }

    /// Skips blanks and comments; line ends only where they are blanks.
    pub(super) fn skip(&mut self) -> Parsed<()> {
        loop {
            let rest = self.rest();
            if rest.starts_with("/*") {
                let Some(end) = rest.find("*/") else {
                    return Err(self.error(Span::new(self.at, self.at + 2), "this comment has no end (`*/`)"));
                };
                self.at += end + 2;
            } else if rest.starts_with('#') || rest.starts_with("//") {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else {
                match rest.chars().next() {
                    Some(' ' | '\t' | '\r') => self.at += 1,
                    Some('\n') if self.in_brackets => self.at += 1,
                    _ => return Ok(()),
                }
            }
        }
    }

    pub(super) fn expect(&mut self, token: &str, of: &str) -> Parsed<()> {
        self.skip()?;
        if self.eat(token) {
            return Ok(());
        }
        Err(self.here(format!("expected `{token}` {of}, found {}", self.found())))
    }

    pub(super) fn name(&mut self) -> Option<Spanned<String>> {
        let rest = self.rest();
        let first = rest.chars().next().filter(|first| starts_name(*first))?;
        let end = rest
            .char_indices()
            .skip(1)
            .find(|(_, next)| !continues_name(*next))
            .map_or(rest.len(), |(at, _)| at);
        let end = end.max(first.len_utf8());
        let span = Span::new(self.at, self.at + end);
        self.at += end;
        Some(Spanned::new(rest[..end].to_owned(), span))
    }

    /// Reads attributes and blocks up to the end, or to the closing brace.
    fn body(&mut self, place: Place) -> Body {
        let mut body = Body::default();
        loop {
            let item = self.item(&mut body, place);
            match item {
                Ok(true) => {}
                Ok(false) => return body,
                Err(error) => {
                    self.errors.push(*error);
                    self.in_brackets = false;
                    if self.depth > MAX_DEPTH {
                        self.at = self.text.len();
                    }
                    self.at += self.rest().find('\n').unwrap_or(self.rest().len());
                }
            }
        }
    }

    /// Reads one attribute or block; `false` at the end.
    fn item(&mut self, body: &mut Body, place: Place) -> Parsed<bool> {
        self.in_brackets = true;
        let skipped = self.skip();
        self.in_brackets = false;
        skipped?;
        if self.rest().is_empty() {
            return if place != Place::File {
                Err(self.here("a block has no end: expected `}`")).or_else(|error: Failure| {
                    self.errors.push(*error);
                    Ok(false)
                })
            } else {
                Ok(false)
            };
        }
        if place != Place::File && self.eat("}") {
            return Ok(false);
        }
        let Some(name) = self.name() else {
            return Err(self.here(format!("expected an attribute or a block, found {}", self.found())));
        };
        self.skip()?;
        if self.rest().starts_with('=') && !self.rest().starts_with("==") {
            self.at += 1;
            if let Some(before) = body.attributes.iter().find(|before| before.name.value == name.value) {
                let message = format!("attribute redefined: `{}` is set above", name.value);
                let error = *self.error(name.span, message);
                self.errors.push(error.with_label(before.name.span, "first here"));
            }
            let value = self.expression()?;
            body.attributes.push(Attribute { name, value });
            self.end_of_line("behind an attribute", place)?;
            return Ok(true);
        }
        let mut labels = Vec::new();
        loop {
            self.skip()?;
            if self.eat("{") {
                break;
            }
            if self.rest().starts_with('"') {
                labels.push(self.plain_text()?);
            } else if let Some(label) = self.name() {
                labels.push(label);
            } else {
                let message =
                    format!("expected `=` or a block behind `{}`, found {}", name.value, self.found());
                return Err(self.here(message));
            }
        }
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(name.span, "blocks stand too deep in each other"));
        }
        self.skip()?;
        let is_line = !self.rest().is_empty() && !self.rest().starts_with('\n');
        let inner = self.body(if is_line { Place::Line } else { Place::Block });
        self.depth -= 1;
        body.blocks.push(Block { kind: name, labels, body: inner, source: Arc::clone(self.source) });
        self.end_of_line("behind a block", place)?;
        Ok(true)
    }

    fn end_of_line(&mut self, of: &str, place: Place) -> Parsed<()> {
        self.skip()?;
        let (ends, needed) = match place {
            Place::Line => (self.rest().starts_with('}'), "`}` on the line that the block begins on"),
            _ => (self.rest().is_empty() || self.rest().starts_with('\n'), "a new line"),
        };
        if ends { Ok(()) } else { Err(self.here(format!("expected {needed} {of}, found {}", self.found()))) }
    }

    /// Reads a quoted text without interpolation.
    fn plain_text(&mut self) -> Parsed<Spanned<String>> {
        let start = self.at;
        self.at += 1;
        let parts = template::parts(self)?;
        self.at += 1;
        let span = Span::new(start, self.at);
        match &parts[..] {
            [] => Ok(Spanned::new(String::new(), span)),
            [Part::Text(text)] => Ok(Spanned::new(text.clone(), span)),
            _ => Err(self.error(span, "a label cannot hold `${...}`")),
        }
    }
}

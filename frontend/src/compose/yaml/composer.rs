//! Events to trees.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Location, Source, Span};
use saphyr_parser::{Event, Parser, ScalarStyle, ScanError, Tag};

use super::{Entry, Map, Mark, Node, Value, scalar};

/// How deep nodes may be nested.
const DEPTH: usize = 128;
/// How many nodes a file may have, what its aliases unfold to included.
const NODES: usize = 100_000;

type Composed<T> = Result<T, Box<Diagnostic>>;

/// Reads the documents of a text; those without content are left out.
pub(crate) fn compose(source: &Arc<Source>) -> Composed<Vec<Node>> {
    let text = source.text().strip_prefix('\u{feff}').unwrap_or(source.text());
    let mut composer = Composer {
        source,
        offset: source.text().len() - text.len(),
        events: Parser::new_from_str(text),
        places: Places::of(text),
        text,
        anchors: HashMap::new(),
        open: HashMap::new(),
        path: Vec::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    loop {
        match composer.next()? {
            (Event::StreamEnd, _) => return Ok(documents),
            (Event::DocumentStart(_), _) => {
                let (event, span) = composer.next()?;
                let node = composer.node(event, span)?;
                if !node.is_null() {
                    documents.push(node);
                }
            }
            _ => {}
        }
    }
}

struct Composer<'a> {
    source: &'a Arc<Source>,
    /// What was taken from the beginning of the text.
    offset: usize,
    events: Parser<'a, saphyr_parser::StrInput<'a>>,
    text: &'a str,
    places: Places,
    /// What anchors stand for, and how many nodes that is.
    anchors: HashMap<usize, (Node, usize)>,
    /// Anchors of nodes that are not at their end yet, and their paths.
    open: HashMap<usize, String>,
    path: Vec<String>,
    nodes: usize,
}

/// Where lines and characters begin, so that a place in a line of any length is found at once.
struct Places {
    /// The number of the first character of each line.
    lines: Vec<usize>,
    /// The offset of each character whose number can be divided by the stride.
    strides: Vec<usize>,
}

/// How many characters are counted to find one.
const STRIDE: usize = 256;

impl Places {
    fn of(text: &str) -> Self {
        let mut places = Self { lines: vec![0], strides: Vec::new() };
        for (number, (at, c)) in text.char_indices().enumerate() {
            if number % STRIDE == 0 {
                places.strides.push(at);
            }
            if c == '\n' {
                places.lines.push(number + 1);
            }
        }
        places
    }

    /// Returns the offset of a line (from 1) and a column in characters (from 0).
    fn byte(&self, text: &str, line: usize, column: usize) -> usize {
        let Some(first) = self.lines.get(line.saturating_sub(1)) else { return text.len() };
        let number = first + column;
        let Some(start) = self.strides.get(number / STRIDE) else { return text.len() };
        let within = text[*start..].char_indices().nth(number % STRIDE);
        within.map_or(text.len(), |(at, _)| start + at)
    }
}

impl<'a> Composer<'a> {
    fn next(&mut self) -> Composed<(Event<'a>, Span)> {
        match self.events.next_event() {
            Some(Ok((event, span))) => {
                let start = self.byte(span.start.line(), span.start.col());
                let end = self.byte(span.end.line(), span.end.col());
                Ok((event, Span::new(start, end.max(start))))
            }
            Some(Err(error)) => Err(self.broken(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    /// Returns the offset of a line (from 1) and a column in characters (from 0).
    fn byte(&self, line: usize, column: usize) -> usize {
        self.offset + self.places.byte(self.text, line, column)
    }

    fn broken(&self, error: &ScanError) -> Box<Diagnostic> {
        let at = self.byte(error.marker().line(), error.marker().col());
        let line = self.source.position(at).line;
        let indentation = |number: usize| {
            let text = self.source.line(number).unwrap_or_default();
            &text[..text.len() - text.trim_start().len()]
        };
        let near = [line, line + 1, line.saturating_sub(1)];
        if let Some(line) = near.into_iter().find(|line| indentation(*line).contains('\t')) {
            let start = self.byte(line, 0);
            let tab = start + indentation(line).find('\t').unwrap_or_default();
            return Box::new(
                Diagnostic::error(
                    self.source,
                    Span::new(tab, tab + 1),
                    "yaml: found character that cannot start any token",
                )
                .with_help("indent with spaces: YAML has no tabs there"),
            );
        }
        let rest = self.source.text().get(at..).unwrap_or_default();
        if let Some(name) = rest.strip_prefix('*').filter(|_| error.info().contains("unknown anchor")) {
            let end = name.find(|c: char| c.is_whitespace() || ",]}".contains(c)).unwrap_or(name.len());
            let message = format!("yaml: unknown anchor '{}' referenced", &name[..end]);
            let help = format!("an anchor stands before what names it: `&{}`", &name[..end]);
            return Box::new(
                Diagnostic::error(self.source, Span::new(at, at + 1 + end), message).with_help(help),
            );
        }
        let help = match error.info().contains("flow") {
            true => "a bracket is not closed, or a comma is missing",
            false => {
                "what belongs together begins in one column; a text with `: `, ` #` or a quote in it stands in quotes"
            }
        };
        let message = format!("yaml: {}", error.info());
        Box::new(Diagnostic::error(self.source, Span::new(at, at + 1), message).with_help(help))
    }

    fn error(&self, span: Span, message: impl Into<String>) -> Box<Diagnostic> {
        Box::new(Diagnostic::error(self.source, span, message))
    }

    fn location(&self, span: Span) -> Location {
        Location { source: Arc::clone(self.source), span }
    }

    fn count(&mut self, more: usize, span: Span) -> Composed<()> {
        self.nodes += more;
        if self.nodes > NODES {
            return Err(Box::new(
                Diagnostic::error(self.source, span, "yaml: document contains excessive aliasing")
                    .with_help(format!("a file may have {NODES} nodes, what aliases stand for included")),
            ));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Composed<Node> {
        self.count(1, span)?;
        if self.path.len() > DEPTH {
            return Err(self.error(span, format!("yaml: nested more than {DEPTH} deep")));
        }
        match event {
            Event::Alias(anchor) => self.alias(anchor, span),
            Event::Scalar(text, style, anchor, tag) => {
                let text = self.without_added_break(&text, style, span);
                let (value, mark) = self.scalar(text, style, tag.as_deref(), span)?;
                let node = Node { value, at: Some(self.location(span)), mark };
                self.keep(anchor, &node);
                Ok(node)
            }
            Event::SequenceStart(anchor, tag) => {
                let mark = mark(tag.as_deref());
                self.begin(anchor);
                let mut list = Vec::new();
                let end = loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        break span;
                    }
                    self.path.push(list.len().to_string());
                    list.push(self.node(event, span)?);
                    self.path.pop();
                };
                let last = list.last().and_then(|node: &Node| node.at.as_ref()).map(|at| at.span);
                Ok(self.finish(anchor, Value::List(list), mark, whole(span, end, last)))
            }
            Event::MappingStart(anchor, tag) => {
                let mark = mark(tag.as_deref());
                self.begin(anchor);
                let (map, end, last) = self.mapping()?;
                Ok(self.finish(anchor, Value::Map(map), mark, whole(span, end, last)))
            }
            _ => Err(self.error(span, "yaml: a value is missing here")),
        }
    }

    fn begin(&mut self, anchor: usize) {
        if anchor > 0 {
            self.open.insert(anchor, self.path.join("."));
        }
    }

    fn finish(&mut self, anchor: usize, value: Value, mark: Mark, span: Span) -> Node {
        let value = if mark == Mark::Reset { Value::Null } else { value };
        let node = Node { value, at: Some(self.location(span)), mark };
        self.open.remove(&anchor);
        self.keep(anchor, &node);
        node
    }

    fn keep(&mut self, anchor: usize, node: &Node) {
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), node.count()));
        }
    }

    fn alias(&mut self, anchor: usize, span: Span) -> Composed<Node> {
        if let Some(ancestor) = self.open.get(&anchor) {
            let here = self.path.join(".");
            let message = format!("cycle detected: node at path {here} references node at path {ancestor}");
            let error = Diagnostic::error(self.source, span, message);
            return Err(Box::new(error.with_help("an alias cannot stand for what it is in")));
        }
        match self.anchors.get(&anchor) {
            Some((node, count)) => {
                let (node, count) = (node.clone(), *count);
                self.count(count, span)?;
                Ok(node)
            }
            None => Err(self.error(span, "yaml: unknown anchor referenced")),
        }
    }

    /// Takes the line break from a block that the file ends in without one: the scanner puts it there.
    fn without_added_break<'t>(&self, text: &'t str, style: ScalarStyle, span: Span) -> &'t str {
        let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
        let ends_here = span.end >= self.source.text().len() && !self.text.ends_with(['\n', '\r']);
        if is_block && ends_here { text.strip_suffix('\n').unwrap_or(text) } else { text }
    }

    fn scalar(
        &self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&Tag>,
        span: Span,
    ) -> Composed<(Value, Mark)> {
        let mark = mark(tag);
        if mark == Mark::Reset {
            return Ok((Value::Null, mark));
        }
        let core = tag.filter(|tag| tag.is_yaml_core_schema()).map(|tag| tag.suffix.as_str());
        let value = match core {
            Some("str" | "binary") => Value::String(text.to_owned()),
            Some(kind @ ("int" | "float" | "bool" | "null")) => {
                let value = match (kind, scalar::plain(text)) {
                    ("float", Value::Int(number)) => number.to_string().parse().ok().map(Value::Float),
                    ("float", Value::Wide(number)) => Some(Value::Float(number as f64)),
                    ("int", value @ (Value::Int(_) | Value::Wide(_)))
                    | ("float", value @ Value::Float(_))
                    | ("bool", value @ Value::Bool(_))
                    | ("null", value @ Value::Null) => Some(value),
                    _ => None,
                };
                value.ok_or_else(|| {
                    self.error(span, format!("yaml: cannot decode !!str `{text}` as a !!{kind}"))
                })?
            }
            _ if style == ScalarStyle::Plain => scalar::plain(text),
            _ => Value::String(text.to_owned()),
        };
        Ok((value, mark))
    }

    /// Reads a mapping to its end, and returns that place and the place of its last value.
    fn mapping(&mut self) -> Composed<(Map, Span, Option<Span>)> {
        let mut map = Map::default();
        let mut explicit: HashSet<String> = HashSet::new();
        let mut merges: Vec<(Node, Span, Span)> = Vec::new();
        let mut last = None;
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                for (node, span, _) in merges {
                    self.merge(&mut map, &node, span)?;
                }
                return Ok((map, span, last));
            }
            let merges_here = matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, tag) if text == "<<" && is_merge(tag.as_deref()));
            let key = self.key(event, span)?;
            self.path.push(key.clone());
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span)?;
            self.path.pop();
            last = value.at.as_ref().map(|at| at.span).or(last);
            let earlier = match merges_here {
                true => merges.first().map(|(_, _, first)| *first),
                false if explicit.insert(key.clone()) => None,
                false => Some(map.key_at(&key).map(|at| at.span).unwrap_or_default()),
            };
            if let Some(first) = earlier {
                let line = |span: Span| self.source.position(span.start).line;
                let message = format!(
                    "line {}: mapping key {key:?} already defined at line {}",
                    line(span),
                    line(first)
                );
                let mut error =
                    Diagnostic::error(self.source, span, message).with_label(first, "first defined here");
                error = error.with_help(match merges_here {
                    true => "merge several with one list: `<<: [*a, *b]`",
                    false => "leave one of them out",
                });
                return Err(Box::new(error));
            }
            if merges_here {
                merges.push((value, value_span, span));
                continue;
            }
            map.0.insert(key, Entry { key: Some(self.location(span)), node: value });
        }
    }

    fn key(&mut self, event: Event<'a>, span: Span) -> Composed<String> {
        // A key may be a collection, and that one's key another: each is a level.
        self.path.push("?".to_owned());
        let node = self.node(event, span)?;
        self.path.pop();
        match node.value {
            Value::String(text) => Ok(text),
            other => {
                let shown = match other {
                    Value::Null => "<nil>".to_owned(),
                    Value::List(_) => "a list".to_owned(),
                    Value::Map(_) => "a mapping".to_owned(),
                    other => other.scalar().unwrap_or_default(),
                };
                let place = if self.path.is_empty() {
                    "at top level".to_owned()
                } else {
                    format!("in {}", self.dotted())
                };
                Err(Box::new(
                    Diagnostic::error(self.source, span, format!("non-string key {place}: {shown}"))
                        .with_help("keys are texts: put it in quotes"),
                ))
            }
        }
    }

    /// Returns the path with the numbers of list items in brackets.
    fn dotted(&self) -> String {
        let mut path = String::new();
        for part in &self.path {
            if part.bytes().all(|c| c.is_ascii_digit()) && !part.is_empty() {
                path.push_str(&format!("[{part}]"));
            } else {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(part);
            }
        }
        path
    }

    /// Adds what a merge key brings, where the mapping says nothing itself.
    fn merge(&self, map: &mut Map, node: &Node, span: Span) -> Composed<()> {
        match &node.value {
            Value::Map(merged) => {
                for (key, entry) in &merged.0 {
                    map.0.entry(key.clone()).or_insert_with(|| entry.clone());
                }
                Ok(())
            }
            Value::List(list) if list.iter().all(|node| node.as_map().is_some()) => {
                list.iter().try_for_each(|node| self.merge(map, node, span))
            }
            _ => {
                let message = "yaml: map merge requires map or sequence of maps as the value";
                let error = Diagnostic::error(self.source, span, message);
                Err(Box::new(error.with_help("name mappings: `<<: *NAME`, or `<<: [*ONE, *TWO]`")))
            }
        }
    }
}

/// Whether the key `<<` with this tag merges.
fn is_merge(tag: Option<&Tag>) -> bool {
    tag.is_none_or(|tag| tag.is_yaml_core_schema() && tag.suffix == "merge")
}

fn mark(tag: Option<&Tag>) -> Mark {
    match tag {
        Some(tag) if tag.handle == "!" && tag.suffix == "reset" => Mark::Reset,
        Some(tag) if tag.handle == "!" && tag.suffix == "override" => Mark::Override,
        _ => Mark::Merge,
    }
}

/// Returns the range of a collection: to its bracket, or in block style to the end of its last value.
fn whole(start: Span, end: Span, last: Option<Span>) -> Span {
    if end.end > end.start { start.to(end) } else { last.map_or(start, |last| start.to(last)) }
}

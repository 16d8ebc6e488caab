//! Trees to YAML text, character for character as the reference writes it.

use std::fmt::Write as _;

use super::{Node, Value, go_float, natural, scalar};

/// Writes a node as a document: two blanks a level, sequences below their keys.
pub(crate) fn emit(root: &Document) -> String {
    let mut text = String::new();
    match root {
        Document::Map(entries) if entries.is_empty() => text.push_str("{}\n"),
        Document::Map(entries) => mapping(&mut text, entries, 0, Start::Line),
        other => {
            value(&mut text, other, 0);
        }
    }
    text
}

/// What is written: a tree whose mappings have an order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Document {
    /// A scalar.
    Scalar(Value),
    /// A sequence.
    List(Vec<Document>),
    /// A mapping.
    Map(Vec<(String, Document)>),
}

impl Document {
    /// Puts the keys of all its mappings into the order in which YAML is written.
    pub(crate) fn in_natural_order(self) -> Self {
        match self {
            Self::List(list) => Self::List(list.into_iter().map(Self::in_natural_order).collect()),
            Self::Map(map) => {
                let mut map: Vec<_> =
                    map.into_iter().map(|(key, node)| (key, node.in_natural_order())).collect();
                map.sort_by(|(a, _), (b, _)| natural(a, b));
                Self::Map(map)
            }
            scalar => scalar,
        }
    }
}

impl From<&Node> for Document {
    /// Takes a tree with its mappings in the order of their keys.
    fn from(node: &Node) -> Self {
        match &node.value {
            Value::List(list) => Self::List(list.iter().map(Self::from).collect()),
            Value::Map(map) => {
                Self::Map(map.iter().map(|(key, node)| (key.to_owned(), Self::from(node))).collect())
            }
            scalar => Self::Scalar(scalar.clone()),
        }
    }
}

/// Where a collection begins.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    /// On a line of its own.
    Line,
    /// Behind the dash of its item.
    Item,
}

fn mapping(text: &mut String, entries: &[(String, Document)], indent: usize, start: Start) {
    for (at, (key, node)) in entries.iter().enumerate() {
        if at > 0 || start == Start::Line {
            let _ = write!(text, "{:indent$}", "");
        }
        if is_simple(key) {
            string(text, key, indent, Context::Key);
            text.push(':');
            value(text, node, indent);
        } else {
            text.push_str("? ");
            string(text, key, indent + 2, Context::Value);
            let _ = write!(text, "\n{:indent$}:", "");
            item(text, node, indent);
        }
    }
}

/// Tells whether a key may stand on one line with its value.
fn is_simple(key: &str) -> bool {
    key.len() <= 128 && !key.contains(is_break)
}

/// Writes what stands behind a key.
fn value(text: &mut String, node: &Document, indent: usize) {
    match node {
        Document::Scalar(scalar) => {
            text.push(' ');
            leaf(text, scalar, indent + 2);
            text.push('\n');
        }
        Document::List(list) if list.is_empty() => text.push_str(" []\n"),
        Document::Map(map) if map.is_empty() => text.push_str(" {}\n"),
        Document::List(list) => {
            text.push('\n');
            sequence(text, list, indent + 2, Start::Line);
        }
        Document::Map(map) => {
            text.push('\n');
            mapping(text, map, indent + 2, Start::Line);
        }
    }
}

fn sequence(text: &mut String, list: &[Document], indent: usize, start: Start) {
    for (at, node) in list.iter().enumerate() {
        if at > 0 || start == Start::Line {
            let _ = write!(text, "{:indent$}", "");
        }
        text.push('-');
        item(text, node, indent);
    }
}

/// Writes what stands behind the sign of an item.
fn item(text: &mut String, node: &Document, indent: usize) {
    match node {
        Document::Scalar(scalar) => {
            text.push(' ');
            leaf(text, scalar, indent + 2);
            text.push('\n');
        }
        Document::List(list) if list.is_empty() => text.push_str(" []\n"),
        Document::Map(map) if map.is_empty() => text.push_str(" {}\n"),
        Document::List(list) => {
            text.push(' ');
            sequence(text, list, indent + 2, Start::Item);
        }
        Document::Map(map) => {
            text.push(' ');
            mapping(text, map, indent + 2, Start::Item);
        }
    }
}

fn leaf(text: &mut String, scalar: &Value, indent: usize) {
    match scalar {
        Value::Null => text.push_str("null"),
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Int(value) => text.push_str(&value.to_string()),
        Value::Wide(value) => text.push_str(&value.to_string()),
        Value::Float(value) => text.push_str(&go_float(*value)),
        Value::String(value) => string(text, value, indent, Context::Value),
        Value::List(_) | Value::Map(_) => text.push_str("null"),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Context {
    Key,
    Value,
}

/// What there is in a text that decides how it is written.
struct Analysis {
    plain: bool,
    single: bool,
    block: bool,
}

fn analyse(text: &str) -> Analysis {
    let characters: Vec<char> = text.chars().collect();
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let (mut tab, mut special, mut breaks) = (false, false, false);
    let (mut break_space, mut space_break) = (false, false);
    let (mut previous_space, mut previous_break) = (false, false);
    let mut preceded_by_blank = true;
    let edge = |c: Option<&char>| matches!(c, Some(' ' | '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}'));
    for (at, c) in characters.iter().enumerate() {
        let followed_by_blank =
            characters.get(at + 1).is_none_or(|next| matches!(next, ' ' | '\t' | '\n' | '\r'));
        if at == 0 {
            indicators |= matches!(
                c,
                '#' | ','
                    | '['
                    | ']'
                    | '{'
                    | '}'
                    | '&'
                    | '*'
                    | '!'
                    | '|'
                    | '>'
                    | '\''
                    | '"'
                    | '%'
                    | '@'
                    | '`'
            );
            indicators |= matches!(c, '?' | ':' | '-') && followed_by_blank;
        } else {
            indicators |= *c == ':' && followed_by_blank;
            indicators |= *c == '#' && preceded_by_blank;
        }
        if *c == '\t' {
            tab = true;
        } else if !is_printable(*c) || (is_break(*c) && *c != '\n') {
            special = true;
        }
        if *c == ' ' {
            break_space |= previous_break;
            (previous_space, previous_break) = (true, false);
        } else if is_break(*c) {
            breaks = true;
            space_break |= previous_space;
            (previous_space, previous_break) = (false, true);
        } else {
            (previous_space, previous_break) = (false, false);
        }
        preceded_by_blank = matches!(c, ' ' | '\t') || is_break(*c);
    }
    let at_edges = edge(characters.first()) || edge(characters.last());
    Analysis {
        plain: !at_edges && !break_space && !space_break && !tab && !special && !breaks && !indicators,
        single: !break_space && !space_break && !tab && !special,
        block: characters.last() != Some(&' ') && !space_break && !special && !characters.is_empty(),
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fefe}' | '\u{ff00}'..='\u{fffd}')
}

fn string(text: &mut String, value: &str, indent: usize, context: Context) {
    let analysis = analyse(value);
    if value.is_empty() || scalar::is_ambiguous(value) {
        double(text, value);
    } else if value.contains('\n') {
        if analysis.block && context == Context::Value {
            literal(text, value, indent);
        } else {
            double(text, value);
        }
    } else if analysis.plain {
        text.push_str(value);
    } else if analysis.single {
        text.push('\'');
        text.push_str(&value.replace('\'', "''"));
        text.push('\'');
    } else {
        double(text, value);
    }
}

fn literal(text: &mut String, value: &str, indent: usize) {
    text.push('|');
    if value.starts_with([' ', '\n']) {
        text.push('2');
    }
    match (value.ends_with('\n'), value.ends_with("\n\n") || value == "\n") {
        (false, _) => text.push('-'),
        (true, true) => text.push('+'),
        (true, false) => {}
    }
    let body = value.strip_suffix('\n').unwrap_or(value);
    for line in body.split('\n') {
        text.push('\n');
        if !line.is_empty() {
            let _ = write!(text, "{:indent$}{line}", "");
        }
    }
}

fn double(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\0' => text.push_str("\\0"),
            '\u{7}' => text.push_str("\\a"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{b}' => text.push_str("\\v"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            '\u{1b}' => text.push_str("\\e"),
            '\u{85}' => text.push_str("\\N"),
            '\u{a0}' => text.push_str("\\_"),
            '\u{2028}' => text.push_str("\\L"),
            '\u{2029}' => text.push_str("\\P"),
            '\u{feff}' => text.push_str("\\uFEFF"),
            c if is_printable(c) && !is_break(c) => text.push(c),
            c if (c as u32) <= 0xff => {
                let _ = write!(text, "\\x{:02X}", c as u32);
            }
            c if (c as u32) <= 0xffff => {
                let _ = write!(text, "\\u{:04X}", c as u32);
            }
            c => {
                let _ = write!(text, "\\U{:08X}", c as u32);
            }
        }
    }
    text.push('"');
}

//! Template text to tokens.

use rbuild_model::span::Span;

use super::Fault;

/// A piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Piece {
    /// Text that stands for itself.
    Text(String),
    /// What stands between `{{` and `}}`.
    Action(Vec<Token>, Span),
}

/// A word of an action.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) span: Span,
    /// Whether white space stands before it.
    pub(super) spaced: bool,
}

/// What a word is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Dot,
    /// `.Name`
    Field(String),
    /// `$name`, or `$` alone with an empty name.
    Variable(String),
    Word(String),
    Text(String),
    Integer(i64),
    Float(f64),
    Open,
    Close,
    Bar,
    Comma,
    Declare,
    Assign,
}

/// Cuts a template into pieces.
pub(super) fn pieces(text: &str) -> Result<Vec<Piece>, Fault> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trim_next = false;
    loop {
        let open = text[at..].find("{{").map(|offset| at + offset);
        let mut plain = &text[at..open.unwrap_or(text.len())];
        if trim_next {
            plain = plain.trim_start();
        }
        let Some(open) = open else {
            push_text(&mut pieces, plain);
            return Ok(pieces);
        };
        let mut inner = open + 2;
        if text[inner..].starts_with('-') && text[inner + 1..].starts_with(char::is_whitespace) {
            plain = plain.trim_end();
            inner += 1;
        }
        push_text(&mut pieces, plain);
        let unclosed = || Fault::new(Span::new(open, open + 2), "this action is not closed").help("add `}}`");
        let body = text[inner..].trim_start();
        let body_at = text.len() - body.len();
        if body.starts_with("/*") {
            let end = text[body_at..].find("*/").map(|offset| body_at + offset + 2).ok_or_else(unclosed)?;
            let rest = text[end..].trim_start();
            trim_next = rest.starts_with("-}}");
            let rest = rest.strip_prefix('-').unwrap_or(rest);
            let rest = rest.strip_prefix("}}").ok_or_else(unclosed)?;
            at = text.len() - rest.len();
            continue;
        }
        let (tokens, close, trim) = action(text, inner)?.ok_or_else(unclosed)?;
        pieces.push(Piece::Action(tokens, Span::new(open, close)));
        trim_next = trim;
        at = close;
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    if !text.is_empty() {
        pieces.push(Piece::Text(text.to_owned()));
    }
}

/// Reads one action; returns its tokens, the offset behind `}}`, and whether the text behind is trimmed.
type Action = Option<(Vec<Token>, usize, bool)>;

fn action(text: &str, mut at: usize) -> Result<Action, Fault> {
    let mut tokens = Vec::new();
    let mut spaced = true;
    loop {
        let rest = &text[at..];
        let Some(c) = rest.chars().next() else { return Ok(None) };
        if rest.starts_with("}}") {
            return Ok(Some((tokens, at + 2, false)));
        }
        if spaced && rest.starts_with("-}}") {
            return Ok(Some((tokens, at + 3, true)));
        }
        if c.is_whitespace() {
            at += c.len_utf8();
            spaced = true;
            continue;
        }
        let (kind, length) = token(rest, at)?;
        tokens.push(Token { kind, span: Span::new(at, at + length), spaced });
        spaced = false;
        at += length;
    }
}

fn token(rest: &str, at: usize) -> Result<(Kind, usize), Fault> {
    let name = |from: usize| {
        let length =
            rest[from..].find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len() - from);
        rest[from..from + length].to_owned()
    };
    let c = rest.chars().next().unwrap_or_default();
    let next = rest[c.len_utf8()..].chars().next();
    Ok(match c {
        '.' if next.is_some_and(|next| next.is_alphabetic() || next == '_') => {
            let name = name(1);
            let length = name.len() + 1;
            (Kind::Field(name), length)
        }
        '.' if !next.is_some_and(|next| next.is_ascii_digit()) => (Kind::Dot, 1),
        '$' => {
            let name = name(1);
            let length = name.len() + 1;
            (Kind::Variable(name), length)
        }
        '(' => (Kind::Open, 1),
        ')' => (Kind::Close, 1),
        '|' => (Kind::Bar, 1),
        ',' => (Kind::Comma, 1),
        ':' if next == Some('=') => (Kind::Declare, 2),
        '=' => (Kind::Assign, 1),
        '"' => quoted(rest, at)?,
        '`' => match rest[1..].find('`') {
            Some(end) => (Kind::Text(rest[1..=end].to_owned()), end + 2),
            None => return Err(Fault::new(Span::new(at, at + 1), "this raw string is not closed")),
        },
        '\'' => character(rest, at)?,
        '0'..='9' | '-' | '+' | '.' => number(rest, at)?,
        c if c.is_alphabetic() || c == '_' => {
            let name = name(0);
            let length = name.len();
            (Kind::Word(name), length)
        }
        c => {
            let span = Span::new(at, at + c.len_utf8());
            return Err(Fault::new(span, format!("unexpected character {c:?} in an action")));
        }
    })
}

fn number(rest: &str, at: usize) -> Result<(Kind, usize), Fault> {
    let end =
        rest[1..].find(|c: char| !c.is_ascii_alphanumeric() && c != '.').map_or(rest.len(), |end| end + 1);
    let text = &rest[..end];
    if let Ok(integer) = text.parse() {
        return Ok((Kind::Integer(integer), end));
    }
    text.parse::<f64>()
        .ok()
        .filter(|float| float.is_finite())
        .map(|float| (Kind::Float(float), end))
        .ok_or_else(|| Fault::new(Span::new(at, at + end), format!("`{text}` is not a number")))
}

fn character(rest: &str, at: usize) -> Result<(Kind, usize), Fault> {
    let mut chars = rest[1..].chars();
    match (chars.next(), chars.next()) {
        (Some(c), Some('\'')) if c != '\\' => Ok((Kind::Integer(i64::from(u32::from(c))), c.len_utf8() + 2)),
        _ => Err(Fault::new(Span::new(at, at + 1), "a quoted character").help("quote texts with `\"`")),
    }
}

fn quoted(rest: &str, at: usize) -> Result<(Kind, usize), Fault> {
    let mut value = String::new();
    let mut chars = rest.char_indices().skip(1);
    while let Some((offset, c)) = chars.next() {
        match c {
            '"' => return Ok((Kind::Text(value), offset + 1)),
            '\n' => break,
            '\\' => match chars.next() {
                Some((_, 'n')) => value.push('\n'),
                Some((_, 't')) => value.push('\t'),
                Some((_, 'r')) => value.push('\r'),
                Some((_, c @ ('\\' | '"' | '\''))) => value.push(c),
                Some((_, other)) => {
                    let span = Span::new(at + offset, at + offset + 1 + other.len_utf8());
                    return Err(Fault::new(span, format!("unknown escape `\\{other}`")));
                }
                None => break,
            },
            c => value.push(c),
        }
    }
    Err(Fault::new(Span::new(at, at + 1), "this string is not closed"))
}

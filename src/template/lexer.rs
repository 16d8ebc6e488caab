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
    let unsigned = rest.trim_start_matches(['-', '+']);
    let is_hex = unsigned.starts_with("0x") || unsigned.starts_with("0X");
    let mut before = ' ';
    let end = rest[1..].find(|c: char| {
        let is_exponent = if is_hex { matches!(before, 'p' | 'P') } else { matches!(before, 'e' | 'E') };
        let belongs =
            c.is_ascii_alphanumeric() || matches!(c, '.' | '_') || (matches!(c, '+' | '-') && is_exponent);
        before = c;
        !belongs
    });
    let end = end.map_or(rest.len(), |end| end + 1);
    let text = &rest[..end];
    let wrong = |what: &str| Fault::new(Span::new(at, at + end), format!("`{text}` {what}"));
    match read_number(text) {
        Some(Number::Integer(number)) => match i64::try_from(number) {
            Ok(number) => Ok((Kind::Integer(number), end)),
            Err(_) => Err(wrong("is too large a number")),
        },
        Some(Number::Float(number)) if number.is_finite() => Ok((Kind::Float(number), end)),
        Some(Number::Float(_)) => Err(wrong("is too large a number")),
        None => Err(wrong("is not a number")),
    }
}

enum Number {
    Integer(i128),
    Float(f64),
}

/// Reads a number as Go writes them: `10`, `0x1f`, `0b11`, `0o17`, `017`, `1_000`, `1.5e3`, `0x1p4`.
fn read_number(text: &str) -> Option<Number> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' => (1, &text[1..]),
        _ => (1, text),
    };
    let parts: Vec<&str> = digits.split('_').collect();
    let plain = parts.concat();
    // A line stands between two digits, or behind what says the base.
    let is_between = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.');
    if parts.len() > 1 && (parts.iter().any(|part| part.is_empty() || !is_between(part))) {
        return None;
    }
    let lower = plain.to_ascii_lowercase();
    let (base, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        _ => (10, &*lower),
    };
    if base == 16 && body.contains('p') {
        let (mantissa, exponent) = body.split_once('p')?;
        let (whole, part) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mantissa = u64::from_str_radix(&format!("{whole}{part}"), 16).ok()?;
        let shift = exponent.parse::<i32>().ok()? - 4 * i32::try_from(part.len()).ok()?;
        return Some(Number::Float(f64::from(sign) * mantissa as f64 * f64::from(shift).exp2()));
    }
    if base == 10 && body.contains(['.', 'e']) {
        let is_written =
            body.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'));
        return body
            .parse::<f64>()
            .ok()
            .filter(|_| is_written)
            .map(|float| Number::Float(f64::from(sign) * float));
    }
    let (base, body) = match body.strip_prefix('0') {
        // As in C.
        Some(octal) if base == 10 && !octal.is_empty() => (8, octal),
        _ => (base, body),
    };
    if !body.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    i128::from_str_radix(body, base).ok().map(|number| Number::Integer(i128::from(sign) * number))
}

fn character(rest: &str, at: usize) -> Result<(Kind, usize), Fault> {
    let wrong = || Fault::new(Span::new(at, at + 1), "a quoted character").help("quote texts with `\"`");
    let inside = &rest[1..];
    let (c, length) = match inside.chars().next() {
        Some('\\') => escape(&inside[1..], '\'').map(|(c, length)| (c, length + 1)),
        Some('\'' | '\n') | None => None,
        Some(c) => Some((c, c.len_utf8())),
    }
    .ok_or_else(wrong)?;
    if !inside[length..].starts_with('\'') {
        return Err(wrong());
    }
    Ok((Kind::Integer(i64::from(u32::from(c))), length + 2))
}

/// Reads what stands behind a backslash; returns what it means and how long it is.
fn escape(text: &str, quote: char) -> Option<(char, usize)> {
    let first = text.chars().next()?;
    let number = |from: usize, digits: usize, base: u32| {
        let digits =
            text.get(from..from + digits).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        char::from_u32(u32::from_str_radix(digits, base).ok()?)
    };
    // A byte above these is no character by itself.
    let ascii = |found: Option<char>| found.filter(char::is_ascii);
    Some(match first {
        'a' => ('\x07', 1),
        'b' => ('\x08', 1),
        'f' => ('\x0c', 1),
        'n' => ('\n', 1),
        'r' => ('\r', 1),
        't' => ('\t', 1),
        'v' => ('\x0b', 1),
        '\\' => ('\\', 1),
        c if c == quote => (c, 1),
        'x' => (ascii(number(1, 2, 16))?, 3),
        'u' => (number(1, 4, 16)?, 5),
        'U' => (number(1, 8, 16)?, 9),
        '0'..='7' => (ascii(number(0, 3, 8))?, 3),
        _ => return None,
    })
}

fn quoted(rest: &str, at: usize) -> Result<(Kind, usize), Fault> {
    let mut value = String::new();
    let mut offset = 1;
    while let Some(c) = rest[offset..].chars().next() {
        match c {
            '"' => return Ok((Kind::Text(value), offset + 1)),
            '\n' => break,
            '\\' => {
                let behind = &rest[offset + 1..];
                let Some(other) = behind.chars().next() else { break };
                let Some((c, length)) = escape(behind, '"') else {
                    let span = Span::new(at + offset, at + offset + 1 + other.len_utf8());
                    return Err(Fault::new(span, format!("unknown escape `\\{other}`")));
                };
                value.push(c);
                offset += 1 + length;
            }
            c => {
                value.push(c);
                offset += c.len_utf8();
            }
        }
    }
    Err(Fault::new(Span::new(at, at + 1), "this string is not closed"))
}

//! Texts with `${...}` and `%{...}` in them: quoted, and as heredocs.

use rbuild_model::span::{Source, Span};

use super::parse::{Parsed, Parser};
use super::syntax::{Expression, Part};

/// A piece of a text before its directives are brought together.
enum Piece {
    Part(Part),
    If(Expression),
    Else,
    EndIf,
    For(Option<String>, String, Expression),
    EndFor,
    /// Blanks before the next piece go (`~}` behind the last one).
    TrimNext,
    /// Blanks behind the last piece go (`${~`).
    TrimLast,
}

/// Reads a text up to its closing quote, which is not taken.
pub(super) fn parts(parser: &mut Parser<'_>) -> Parsed<Vec<Part>> {
    let start = parser.at;
    let open = start.saturating_sub(1);
    let mut pieces = Vec::new();
    let mut text = String::new();
    loop {
        match parser.peek() {
            None => return Err(parser.error(Span::new(open, start), "this text has no end (`\"`)")),
            Some('"') => break,
            Some('\n') => {
                let error = *parser.error(Span::new(open, parser.at), "this text does not end on its line");
                return Err(Box::new(error.with_help("write `\\n`, or a heredoc: `<<END`")));
            }
            Some('\\') => escape(parser, &mut text)?,
            Some(next) => piece(parser, next, &mut text, &mut pieces)?,
        }
    }
    flush(&mut text, &mut pieces);
    gather(parser, pieces, Span::new(start, parser.at))
}

/// Reads a text in JSON up to its closing quote, which is not taken. What is in it is a template without escapes of its own.
pub(super) fn json(parser: &mut Parser<'_>) -> Parsed<Vec<Part>> {
    let start = parser.at;
    let mut escaped = false;
    let end = parser.rest().bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    let Some(length) = end else {
        return Err(parser.error(Span::new(start.saturating_sub(1), start), "this text has no end (`\"`)"));
    };
    if !parser.rest()[..length].contains('\\') {
        return parts(parser);
    }
    let span = Span::new(start, start + length);
    let text = serde_json::from_str(&format!("\"{}\"", &parser.rest()[..length]));
    let text: String =
        text.map_err(|error| parser.error(span, format!("this is no text in JSON: {error}")))?;
    let source = Source::new(parser.source().name(), text);
    parser.at += length;
    bare(&mut Parser::template(&source, parser.depth))
}

/// Reads all of a text that has no quotes around it.
fn bare(parser: &mut Parser<'_>) -> Parsed<Vec<Part>> {
    let start = parser.at;
    let (mut pieces, mut text) = (Vec::new(), String::new());
    while let Some(next) = parser.peek() {
        piece(parser, next, &mut text, &mut pieces)?;
    }
    flush(&mut text, &mut pieces);
    gather(parser, pieces, Span::new(start, parser.at))
}

/// Reads what stands next, which is no end and no escape.
fn piece(parser: &mut Parser<'_>, next: char, text: &mut String, pieces: &mut Vec<Piece>) -> Parsed<()> {
    for (double, single) in [("$${", "${"), ("%%{", "%{")] {
        if parser.eat(double) {
            text.push_str(single);
            return Ok(());
        }
    }
    if parser.eat("${") {
        flush(text, pieces);
        if parser.eat("~") {
            pieces.push(Piece::TrimLast);
        }
        let (expression, trims) = parser.within("}", "of `${...}`", |parser| {
            let expression = parser.expression()?;
            parser.skip()?;
            Ok((expression, parser.eat("~")))
        })?;
        pieces.push(Piece::Part(Part::Interpolation(expression)));
        if trims {
            pieces.push(Piece::TrimNext);
        }
    } else if parser.eat("%{") {
        flush(text, pieces);
        if parser.eat("~") {
            pieces.push(Piece::TrimLast);
        }
        let (piece, trims) = parser.within("}", "of `%{...}`", |parser| {
            let piece = directive(parser)?;
            parser.skip()?;
            Ok((piece, parser.eat("~")))
        })?;
        pieces.push(piece);
        if trims {
            pieces.push(Piece::TrimNext);
        }
    } else {
        text.push(next);
        parser.at += next.len_utf8();
    }
    Ok(())
}

fn directive(parser: &mut Parser<'_>) -> Parsed<Piece> {
    parser.skip()?;
    let at = parser.at;
    let Some(name) = parser.name() else {
        return Err(parser.error(Span::new(at, at + 1), "expected `if` or `for` in `%{...}`"));
    };
    match &*name.value {
        "if" => Ok(Piece::If(parser.expression()?)),
        "else" => Ok(Piece::Else),
        "endif" => Ok(Piece::EndIf),
        "endfor" => Ok(Piece::EndFor),
        "for" => {
            parser.skip()?;
            let mut names = Vec::new();
            while let Some(name) = parser.name() {
                if name.value == "in" && !names.is_empty() {
                    break;
                }
                names.push(name.value);
                parser.skip()?;
                parser.eat(",");
                parser.skip()?;
            }
            let mut names = names.into_iter();
            match (names.next(), names.next(), names.next()) {
                (Some(value), None, None) => Ok(Piece::For(None, value, parser.expression()?)),
                (Some(key), Some(value), None) => Ok(Piece::For(Some(key), value, parser.expression()?)),
                _ => Err(parser.error(name.span, "write `%{for name in list}`")),
            }
        }
        other => Err(parser.error(name.span, format!("`%{{{other}}}` is no directive: write `if` or `for`"))),
    }
}

fn flush(text: &mut String, pieces: &mut Vec<Piece>) {
    if !text.is_empty() {
        pieces.push(Piece::Part(Part::Text(std::mem::take(text))));
    }
}

/// Reads what a backslash means.
fn escape(parser: &mut Parser<'_>, text: &mut String) -> Parsed<()> {
    let start = parser.at;
    parser.at += 1;
    let Some(next) = parser.peek() else {
        return Err(parser.error(Span::new(start, start + 1), "a text ends with a backslash"));
    };
    parser.at += next.len_utf8();
    let plain = match next {
        'n' => Some('\n'),
        'r' => Some('\r'),
        't' => Some('\t'),
        '"' | '\\' => Some(next),
        _ => None,
    };
    if let Some(letter) = plain {
        text.push(letter);
        return Ok(());
    }
    let digits = match next {
        'u' => 4,
        'U' => 8,
        _ => {
            let message = format!("`\\{next}` is no escape: write `\\\\` for a backslash");
            return Err(parser.error(Span::new(start, parser.at), message));
        }
    };
    let code = parser.rest().get(..digits).and_then(|code| u32::from_str_radix(code, 16).ok());
    let Some(letter) = code.and_then(char::from_u32) else {
        let message = format!("`\\{next}` needs {digits} hexadecimal digits of a character");
        return Err(parser.error(Span::new(start, parser.at), message));
    };
    parser.at += digits;
    text.push(letter);
    Ok(())
}

/// Reads `<<END` or `<<-END` and all lines up to `END`.
pub(super) fn heredoc(parser: &mut Parser<'_>) -> Parsed<Vec<Part>> {
    let start = parser.at;
    parser.at += 2;
    let indented = parser.eat("-");
    let Some(end) = parser.name() else {
        return Err(parser.error(Span::new(start, parser.at), "a heredoc needs a name for its end: `<<END`"));
    };
    parser.eat("\r");
    if !parser.eat("\n") {
        return Err(
            parser.error(Span::new(start, parser.at), "the text of a heredoc begins on the next line")
        );
    }
    let from = parser.at;
    let mut at = from;
    let body = loop {
        let Some(line) = parser.text[at..].split_inclusive('\n').next() else {
            return Err(parser.error(
                Span::new(start, end.span.end),
                format!("this heredoc has no end (`{}`)", end.value),
            ));
        };
        if line.trim() == end.value {
            break Span::new(from, at);
        }
        at += line.len();
    };
    let after = at + parser.text[at..].find(&end.value).unwrap_or(0) + end.value.len();
    let whole = parser.text;
    parser.text = &whole[..body.end];
    let mut pieces = Vec::new();
    let mut text = String::new();
    while let Some(next) = parser.peek() {
        if next == '\r' && parser.rest().starts_with("\r\n") {
            parser.at += 1;
            continue;
        }
        piece(parser, next, &mut text, &mut pieces)?;
    }
    flush(&mut text, &mut pieces);
    parser.text = whole;
    parser.at = after;
    if indented {
        dedent(&mut pieces);
    }
    gather(parser, pieces, Span::new(start, end.span.end))
}

/// Takes as many blanks from every line as the one with the fewest has.
fn dedent(pieces: &mut [Piece]) {
    let mut at_line_start = true;
    let mut least = usize::MAX;
    for piece in &*pieces {
        if let Piece::Part(Part::Text(text)) = piece {
            for line in text.split_inclusive('\n') {
                let blanks = line.len() - line.trim_start_matches(' ').len();
                if at_line_start && line.trim() != "" {
                    least = least.min(blanks);
                }
                at_line_start = line.ends_with('\n');
            }
        } else {
            if at_line_start {
                least = 0;
            }
            at_line_start = false;
        }
    }
    let mut at_line_start = true;
    for piece in pieces {
        if let Piece::Part(Part::Text(text)) = piece {
            let mut out = String::with_capacity(text.len());
            for line in text.split_inclusive('\n') {
                let blanks = line.len() - line.trim_start_matches(' ').len();
                out.push_str(if at_line_start { &line[blanks.min(least)..] } else { line });
                at_line_start = line.ends_with('\n');
            }
            *text = out;
        } else {
            at_line_start = false;
        }
    }
}

/// Brings directives and what they are about together.
fn gather(parser: &Parser<'_>, pieces: Vec<Piece>, span: Span) -> Parsed<Vec<Part>> {
    enum Open {
        If(Expression, Vec<Part>, Option<Vec<Part>>),
        For(Option<String>, String, Expression, Vec<Part>),
    }
    fn target<'t>(stack: &'t mut [Open], bottom: &'t mut Vec<Part>) -> &'t mut Vec<Part> {
        match stack.last_mut() {
            None => bottom,
            Some(Open::If(_, _, Some(no))) => no,
            Some(Open::If(_, yes, None)) => yes,
            Some(Open::For(_, _, _, body)) => body,
        }
    }
    let wrong = |what: &str| Err(parser.error(span, format!("`%{{{what}}}` without its beginning")));
    let mut stack: Vec<Open> = Vec::new();
    let mut bottom = Vec::new();
    let mut trim = false;
    for piece in pieces {
        match piece {
            Piece::TrimNext => trim = true,
            Piece::TrimLast => {
                if let Some(Part::Text(text)) = target(&mut stack, &mut bottom).last_mut() {
                    text.truncate(text.trim_end().len());
                }
            }
            Piece::Part(mut part) => {
                if let Part::Text(text) = &mut part
                    && std::mem::take(&mut trim)
                {
                    *text = text.trim_start().to_owned();
                }
                trim = false;
                target(&mut stack, &mut bottom).push(part);
            }
            Piece::If(condition) => stack.push(Open::If(condition, Vec::new(), None)),
            Piece::Else => match stack.last_mut() {
                Some(Open::If(_, _, no @ None)) => *no = Some(Vec::new()),
                _ => return wrong("else"),
            },
            Piece::EndIf => match stack.pop() {
                Some(Open::If(condition, yes, no)) => {
                    target(&mut stack, &mut bottom).push(Part::If(condition, yes, no.unwrap_or_default()));
                }
                _ => return wrong("endif"),
            },
            Piece::For(key, value, over) => stack.push(Open::For(key, value, over, Vec::new())),
            Piece::EndFor => match stack.pop() {
                Some(Open::For(key, value, over, body)) => {
                    target(&mut stack, &mut bottom).push(Part::For { key, value, over, body });
                }
                _ => return wrong("endfor"),
            },
        }
    }
    if stack.is_empty() { Ok(bottom) } else { Err(parser.error(span, "a `%{if}` or `%{for}` has no end")) }
}

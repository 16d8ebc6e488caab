//! Env files: the grammar of `.env`, and the raw one.
//!
//! A line is `[export] KEY=VALUE` (or `KEY: VALUE`), a bare `KEY` that takes the caller's value, a comment, or blank. An
//! unquoted value ends at the line's end or at ` #`; `'…'` is literal and `"…"` has escapes, both over lines; unquoted and
//! double-quoted values are templates that see the caller's variables first, then the keys above them. What follows a
//! closing quote is read as if it began a new line.

use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Location, Source, Span};

use super::bounds;
use super::environment::{Environment, Origin};
use super::template::{self, TemplateError, Variables};

/// What an env file says, and the variables that it wanted and nobody had.
#[derive(Clone, Debug, Default)]
pub(crate) struct EnvFile {
    /// The variables, the last of a name.
    pub(crate) variables: Environment,
    /// The names that had no value, in the order they were wanted.
    pub(crate) unset: Vec<String>,
}

type Read<T> = Result<T, Box<Diagnostic>>;

/// What a line with a variable looks like.
const NAMES: &str = "write `NAME=VALUE`; a name has letters, digits, `_`, `.`, `-`, `[` and `]`";

/// Reads an env file; `lookup` answers before the file's own keys do, `earlier` files behind them.
pub(crate) fn parse(
    source: &Arc<Source>,
    lookup: &dyn Fn(&str) -> Option<String>,
    earlier: &Environment,
) -> Read<EnvFile> {
    let text = source.text();
    let mut parser = Parser { source, text, at: 0, lookup, earlier, file: EnvFile::default(), bytes: 0 };
    if text.starts_with('\u{feff}') {
        parser.at = '\u{feff}'.len_utf8();
    }
    while parser.skip_to_statement() {
        parser.statement()?;
    }
    Ok(parser.file)
}

/// Reads an env file whose lines are taken as they are.
pub(crate) fn parse_raw(source: &Arc<Source>, lookup: &dyn Fn(&str) -> Option<String>) -> Read<EnvFile> {
    let mut file = EnvFile::default();
    let mut at = 0;
    for whole in source.text().split_inclusive('\n') {
        let line = whole.trim_end_matches(['\n', '\r']).trim_start_matches('\u{feff}').trim_start();
        let span = Span::new(at, at + whole.trim_end_matches(['\n', '\r']).len());
        at += whole.len();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let error = |message: String| Box::new(Diagnostic::error(source, span, message));
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (line, None),
        };
        if name.is_empty() {
            let error = error(format!("no variable name on line '{line}'"));
            return Err(Box::new(error.with_help("write `NAME=VALUE`")));
        }
        if name.contains(char::is_whitespace) {
            let error = error(format!("variable '{name}' contains whitespaces"));
            return Err(Box::new(error.with_help("a name has no blanks, also none before `=`")));
        }
        let origin = Origin::EnvFile(Location { source: Arc::clone(source), span });
        match value.map(str::to_owned).or_else(|| lookup(name)) {
            Some(value) => file.variables.set(name, value, origin),
            None => continue,
        }
    }
    Ok(file)
}

struct Parser<'a> {
    source: &'a Arc<Source>,
    text: &'a str,
    at: usize,
    lookup: &'a dyn Fn(&str) -> Option<String>,
    earlier: &'a Environment,
    file: EnvFile,
    /// How long all values are.
    bytes: usize,
}

/// Blanks within a line.
fn is_blank(c: char) -> bool {
    matches!(c, '\t' | '\u{b}' | '\u{c}' | '\r' | ' ' | '\u{85}' | '\u{a0}')
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes to the next statement, if there is one.
    fn skip_to_statement(&mut self) -> bool {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if trimmed.is_empty() {
                return false;
            }
            if !trimmed.starts_with('#') {
                return true;
            }
            self.at += trimmed.find('\n').unwrap_or(trimmed.len());
        }
    }

    fn line_number(&self, at: usize) -> usize {
        self.source.position(at).line
    }

    fn error(&self, span: Span, message: &str) -> Box<Diagnostic> {
        let message = format!("line {}: {message}", self.line_number(span.start));
        Box::new(Diagnostic::error(self.source, span, message))
    }

    fn statement(&mut self) -> Read<()> {
        if let Some(behind) = self.rest().strip_prefix("export")
            && behind.starts_with(is_blank)
        {
            self.at += "export".len() + (behind.len() - behind.trim_start_matches(is_blank).len());
        }
        let start = self.at;
        let line = self.rest().lines().next().unwrap_or_default();
        let mut end = None;
        for (at, c) in self.rest().char_indices() {
            match c {
                '=' | ':' | '\n' => {
                    end = Some((at, c));
                    break;
                }
                '_' | '.' | '-' | '[' | ']' => {}
                c if c.is_alphanumeric() || is_blank(c) => {}
                c => {
                    let span = Span::new(start + at, start + at + c.len_utf8());
                    let message =
                        format!("unexpected character {:?} in variable name {line:?}", c.to_string());
                    return Err(Box::new(self.error(span, &message).with_help(NAMES)));
                }
            }
        }
        let length = end.map_or(self.rest().len(), |(at, _)| at);
        let key = self.rest()[..length].trim_end();
        let span = Span::new(start, start + key.len());
        if key.contains(' ') {
            return Err(Box::new(self.error(span, "key cannot contain a space").with_help(NAMES)));
        }
        let origin = Origin::EnvFile(Location { source: Arc::clone(self.source), span });
        self.at = start + length;
        match end {
            Some((_, '=' | ':')) => {
                self.at += 1;
                let rest = self.rest();
                self.at += rest.len() - rest.trim_start_matches(is_blank).len();
                let value = self.value()?;
                self.file.variables.set(key, value, origin);
            }
            _ => {
                if let Some(value) = (self.lookup)(key) {
                    self.file.variables.set(key, value, origin);
                }
            }
        }
        Ok(())
    }

    fn value(&mut self) -> Read<String> {
        let start = self.at;
        let Some(quote) = self.rest().chars().next().filter(|c| matches!(c, '"' | '\'')) else {
            let line = self.rest().split('\n').next().unwrap_or_default();
            self.at += line.len();
            let value = line.split(" #").next().unwrap_or_default().trim_end();
            return self.expand(value, Span::new(start, start + value.len()));
        };
        let mut text = String::new();
        let mut escaped = false;
        for (at, c) in self.rest().char_indices().skip(1) {
            if c == quote && !escaped {
                self.at = start + at + 1;
                return match quote {
                    '"' => self.expand(&unescape(&text), Span::new(start, self.at)),
                    _ => Ok(text),
                };
            }
            if c == '\\' && !escaped {
                escaped = true;
                continue;
            }
            if escaped && c != quote {
                text.push('\\');
            }
            escaped = false;
            text.push(c);
        }
        let line = self.rest().lines().next().unwrap_or_default();
        let span = Span::new(start, start + line.len());
        let help = "close the quote; a value that has one in it stands in the other kind of quotes";
        Err(Box::new(self.error(span, &format!("unterminated quoted value {line}")).with_help(help)))
    }

    fn expand(&mut self, text: &str, span: Span) -> Read<String> {
        let mut variables = Known {
            lookup: self.lookup,
            above: [&self.file.variables, self.earlier],
            unset: &mut self.file.unset,
        };
        let filled = template::substitute(text, &mut variables).map_err(|error| match error {
            TemplateError::Invalid => {
                let help = "a sign of dollar that means itself is written twice, or stands in single quotes";
                Box::new(self.error(span, &format!("Invalid template: {text:?}")).with_help(help))
            }
            TemplateError::Long => self.error(span, &template::too_long()),
            TemplateError::Required { name, message } => self.error(span, &required(&name, &message)),
        })?;
        self.bytes += filled.len();
        if self.bytes > bounds::VALUES {
            let message = format!("the values of this file come to more than {} bytes", bounds::VALUES);
            return Err(self.error(span, &message));
        }
        Ok(filled)
    }
}

/// Says that a variable must have a value.
pub(crate) fn required(name: &str, message: &str) -> String {
    if message.is_empty() {
        format!("required variable {name} is missing a value")
    } else {
        format!("required variable {name} is missing a value: {message}")
    }
}

struct Known<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    above: [&'a Environment; 2],
    unset: &'a mut Vec<String>,
}

impl Variables for Known<'_> {
    fn get(&mut self, name: &str) -> Option<String> {
        let above = || self.above.iter().find_map(|above| above.get(name)).map(str::to_owned);
        (self.lookup)(name).or_else(above)
    }

    fn unset(&mut self, name: &str) {
        self.unset.push(name.to_owned());
    }
}

/// Resolves the escapes of a double-quoted value; `\$` becomes the template's `$$`.
fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        plain.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let mut used = 1;
        match behind.chars().next() {
            Some('a') => plain.push('\u{7}'),
            Some('b') => plain.push('\u{8}'),
            Some('f') => plain.push('\u{c}'),
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some('v') => plain.push('\u{b}'),
            Some('\\') => plain.push('\\'),
            Some('"') => plain.push('"'),
            Some('$') => plain.push_str("$$"),
            Some('0') => {
                let octal: &str = &behind[1..];
                let length = octal.bytes().take(3).take_while(|c| (b'0'..=b'7').contains(c)).count();
                let code = u32::from_str_radix(&octal[..length], 8).unwrap_or(0);
                plain.extend(char::from_u32(code));
                used += length;
            }
            other => {
                plain.push('\\');
                plain.extend(other);
                used = other.map_or(0, char::len_utf8);
            }
        }
        rest = &behind[used..];
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Vec<String>, String> {
        let lookup = |name: &str| (name == "HOST").then(|| "h".to_owned());
        let none = Environment::default();
        let file = parse(&Source::new(".env", text), &lookup, &none).map_err(|error| error.message)?;
        Ok(file.variables.iter().map(|(name, variable)| format!("{name}={}", variable.value)).collect())
    }

    #[test]
    fn values_are_quoted_in_three_ways() {
        for (text, wanted) in [
            ("A=1\nB = 2 \nC: 3", vec!["A=1", "B=2", "C=3"]),
            ("export A=x # c\n# c\n\nB=a#b\nC=#x\nD= # x", vec!["A=x", "B=a#b", "C=#x", "D=# x"]),
            ("A='$HOST \\' \\n'", vec!["A=$HOST ' \\n"]),
            ("A=\"$HOST\\n\\t\\x\\$Z \\\"q\\\" \\0101\"", vec!["A=h\n\t\\x$Z \"q\" A"]),
            ("A=\"a\nb\"\nB='c\nd'", vec!["A=a\nb", "B=c\nd"]),
            ("A=1\nB=$A${C:-x}$$", vec!["A=1", "B=1x$"]),
            ("HOST\nGONE\nA=", vec!["A=", "HOST=h"]),
            ("A=\"x\"HOST\nB=1", vec!["A=x", "B=1", "HOST=h"]),
            ("\u{feff}A=1\r\nB='2'\r\n", vec!["A=1", "B=2"]),
            ("A.b-c[0]=1", vec!["A.b-c[0]=1"]),
            ("HOST", vec!["HOST=h"]),
        ] {
            assert_eq!(read(text), Ok(wanted.into_iter().map(str::to_owned).collect()), "{text:?}");
        }
    }

    #[test]
    fn mistakes_name_their_line() {
        for (text, wanted) in [
            ("A=1\nB%=2", "line 2: unexpected character \"%\" in variable name \"B%=2\""),
            ("A B=2", "line 1: key cannot contain a space"),
            ("A=\"x\n", "line 1: unterminated quoted value \"x"),
            ("A=${", "line 1: Invalid template: \"${\""),
        ] {
            assert_eq!(read(text), Err(wanted.to_owned()), "{text:?}");
        }
    }

    #[test]
    fn raw_lines_are_taken_as_they_are() {
        let lookup = |name: &str| (name == "HOST").then(|| "h".to_owned());
        let raw = |text: &str| {
            let file = parse_raw(&Source::new("e", text), &lookup).map_err(|error| error.message)?;
            Ok(file.variables.iter().map(|(name, v)| format!("{name}={}", v.value)).collect::<Vec<_>>())
        };
        assert_eq!(
            raw("  A=\"$HOST\" # x\n#c\nHOST\nGONE\n"),
            Ok(vec!["A=\"$HOST\" # x".to_owned(), "HOST=h".to_owned()])
        );
        assert_eq!(raw("X Y=1"), Err("variable 'X Y' contains whitespaces".to_owned()));
        assert_eq!(raw("=x"), Err("no variable name on line '=x'".to_owned()));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[A-C =:\"'\\\\$#{}\n\r-é0]{0,60}") {
            let _ = read(&text);
        }
    }
}

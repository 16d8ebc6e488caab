//! The `--flags` between a keyword and its arguments.

use std::sync::Arc;

use rbuild_model::span::{Diagnostic, Source, Span, Spanned, nearest};

use super::instruction::InstructionSpec;
use super::text::{Slice, is_blank};

/// What values a flag takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// None, or `=true`, `=false`.
    Bool,
    /// One text.
    Text,
    /// A text, and the flag may be repeated.
    List,
}

/// A flag of an instruction.
#[derive(Clone, Copy, Debug)]
pub struct FlagSpec {
    /// Its name without the dashes.
    pub name: &'static str,
    /// What values it takes.
    pub kind: FlagKind,
}

impl FlagSpec {
    pub(crate) const fn flag(name: &'static str) -> Self {
        Self { name, kind: FlagKind::Bool }
    }

    pub(crate) const fn text(name: &'static str) -> Self {
        Self { name, kind: FlagKind::Text }
    }

    pub(crate) const fn list(name: &'static str) -> Self {
        Self { name, kind: FlagKind::List }
    }
}

/// The flags that an instruction was given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    given: Vec<(&'static str, Option<Spanned<String>>, Span)>,
}

impl Flags {
    /// Returns whether a bool flag is on.
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.given.iter().any(|(given, value, _)| {
            *given == name && value.as_ref().is_none_or(|value| value.value.eq_ignore_ascii_case("true"))
        })
    }

    /// Returns a bool flag's value if the flag is given.
    pub(crate) fn bool(&self, name: &str) -> Option<bool> {
        self.given.iter().any(|(given, ..)| *given == name).then(|| self.is_set(name))
    }

    /// Returns a text flag's value; an empty one counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<Spanned<String>> {
        self.values(name).find(|value| !value.value.is_empty()).cloned()
    }

    /// Returns every value of a flag.
    pub(crate) fn list(&self, name: &str) -> Vec<Spanned<String>> {
        self.values(name).cloned().collect()
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &Spanned<String>> {
        self.given.iter().filter(move |(given, ..)| *given == name).filter_map(|(_, value, _)| value.as_ref())
    }
}

/// Takes the flag words off the front of the arguments. Quotes and escape characters in them are removed.
pub(crate) fn take(rest: Slice<'_>, escape: char) -> (Vec<Spanned<String>>, Slice<'_>) {
    let text = rest.text();
    let mut words = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if !text[at..].starts_with("--") {
            return (words, rest.from(at));
        }
        let start = at;
        let mut word = String::new();
        let mut quote = None;
        let mut chars = text[at..].char_indices().peekable();
        let mut end = text.len();
        while let Some((offset, ch)) = chars.next() {
            match quote {
                None if ch.is_whitespace() => {
                    end = start + offset;
                    break;
                }
                None if matches!(ch, '\'' | '"') => quote = Some(ch),
                Some(open) if ch == open => quote = None,
                _ if ch == escape => word.extend(chars.next().map(|(_, ch)| ch)),
                _ => word.push(ch),
            }
        }
        at = end;
        if word == "--" {
            return (words, rest.from(at).trim_start());
        }
        words.push(Spanned::new(word, rest.part(start..end).span()));
    }
}

/// Reads flag words by an instruction's list of flags.
pub(crate) fn parse(
    words: &[Spanned<String>],
    spec: &InstructionSpec,
    source: &Arc<Source>,
    report: &mut Vec<Diagnostic>,
) -> Flags {
    let mut flags = Flags::default();
    if spec.ignores_flags {
        return flags;
    }
    for word in words {
        let body = word.value.strip_prefix("--").unwrap_or(&word.value);
        let (name, value) = match body.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (body, None),
        };
        let mut fail = |message: String| report.push(Diagnostic::error(source, word.span, message));
        let Some(flag) = spec.flags.iter().find(|flag| flag.name == name) else {
            let mut error = Diagnostic::error(source, word.span, format!("unknown flag: --{name}"));
            if let Some(near) = nearest(name, spec.flags.iter().map(|flag| flag.name)) {
                error.message.push_str(&format!(" (did you mean {near}?)"));
                error = error.with_help(format!("write `--{near}`"));
            } else {
                error = error.with_help(format!(
                    "an argument that begins with dashes is written behind a bare `--`: `{} -- --{name}`",
                    spec.name
                ));
            }
            report.push(error);
            continue;
        };
        if flag.kind != FlagKind::List && flags.given.iter().any(|(given, ..)| *given == flag.name) {
            fail(format!("duplicate flag specified: --{name}"));
            continue;
        }
        match (flag.kind, value) {
            (FlagKind::Bool, Some("")) => fail(format!("missing a value on flag: --{name}")),
            (FlagKind::Bool, Some(value))
                if !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false") =>
            {
                fail(format!("expecting boolean value for flag --{name}, not: {value}"));
            }
            (FlagKind::Text | FlagKind::List, None) => fail(format!("missing a value on flag: --{name}")),
            _ => {
                let value = value.map(|value| Spanned::new(value.to_owned(), word.span));
                flags.given.push((flag.name, value, word.span));
            }
        }
    }
    flags
}

/// Splits `name` and `name=value` words; quotes and escapes stay in them, and keep blanks together.
pub(crate) fn quoted_words(rest: Slice<'_>, escape: char) -> Vec<Slice<'_>> {
    let text = rest.text();
    let mut words = Vec::new();
    let mut start = None;
    let mut quote = None;
    let mut chars = text.char_indices();
    while let Some((at, ch)) = chars.next() {
        match quote {
            None if ch.is_whitespace() => {
                if let Some(start) = start.take() {
                    words.push(rest.part(start..at));
                }
                continue;
            }
            None if matches!(ch, '\'' | '"') => quote = Some(ch),
            Some(open) if ch == open => quote = None,
            _ if ch == escape && quote != Some('\'') => {
                chars.next();
            }
            _ => {}
        }
        start.get_or_insert(at);
    }
    if let Some(start) = start {
        words.push(rest.from(start));
    }
    words
}

/// Splits at the first run of blanks, as the old `ENV name value` form does.
pub(crate) fn name_and_rest(rest: Slice<'_>) -> Option<(Slice<'_>, Slice<'_>)> {
    rest.text().contains(is_blank).then(|| rest.split_field())
}

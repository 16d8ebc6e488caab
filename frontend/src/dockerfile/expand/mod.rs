//! Words, quotes and `$variables`.
//!
//! A word is read once, from left to right, by one recursive reader: text, quotes, `$name`, `${name…}`, whose
//! operand is read by the same reader up to the closing brace. Three results come out of one reading: the
//! expanded text, the blank-separated words of it (quotes and expansion keep or split them as a shell would),
//! and the names of the variables that were asked for and not set, for the check rules.
//!
//! | form | result |
//! |---|---|
//! | `$v`, `${v}` | the value, or nothing |
//! | `${v:-w}`, `${v-w}` | `w` if `v` is unset or empty, or unset |
//! | `${v:+w}`, `${v+w}` | `w` if `v` is set and not empty, or set |
//! | `${v:?w}`, `${v?w}` | an error with the text `w` if `v` is unset or empty, or unset |
//! | `${v#p}`, `${v##p}`, `${v%p}`, `${v%%p}` | the value without its shortest or longest prefix or suffix `p` |
//! | `${v/p/r}`, `${v//p/r}` | the value with the first or every `p` replaced |

mod pattern;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

use crate::go;

pub use pattern::Pattern;

/// The variables that an expansion can see.
pub trait Environment {
    /// Returns the value of a variable that is set.
    fn get(&self, name: &str) -> Option<&str>;
}

impl Environment for () {
    fn get(&self, _: &str) -> Option<&str> {
        None
    }
}

impl Environment for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        BTreeMap::get(self, name).map(String::as_str)
    }
}

/// What is wrong with a word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A quote is opened and never closed.
    #[error("unexpected end of statement while looking for matching {quote}")]
    Unbalanced {
        /// `single-quote` or `double-quote`.
        quote: &'static str,
    },
    /// `${}` and the like.
    #[error("syntax error: bad substitution")]
    BadSubstitution,
    /// A `${` without its `}`.
    #[error("syntax error: missing '}}'")]
    MissingBrace,
    /// A `${v/p` without the second slash.
    #[error("syntax error: missing '/' in ${{}}")]
    MissingSlash,
    /// Text behind the name that is no known operator.
    #[error("unsupported modifier ({modifier}) in substitution")]
    Modifier {
        /// The characters read as the operator.
        modifier: String,
    },
    /// A backslash in a pattern before an ordinary character.
    #[error("invalid escape '\\{found}'")]
    Escape {
        /// The character behind the backslash.
        found: String,
    },
    /// Braces in braces that no file can mean.
    #[error("variables are nested more than {MAX_DEPTH} deep")]
    TooDeep,
    /// A result that no file can mean.
    #[error("the text becomes longer than {MAX_TEXT} bytes")]
    TooLong,
    /// A `${v:?text}` whose variable has no value.
    #[error("{name}: {message}")]
    Required {
        /// The variable.
        name: String,
        /// The author's text, or a default one.
        message: String,
    },
}

/// How a word is read.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// The escape character.
    pub escape: char,
    /// Leave quotes in the result.
    raw_quotes: bool,
    /// Leave escape characters in the result.
    raw_escapes: bool,
    /// Treat quotes as ordinary characters.
    plain_quotes: bool,
    /// Leave references to unset variables as they are written.
    keep_unset: bool,
}

impl Mode {
    /// Reads as the arguments of instructions are read.
    pub const fn argument(escape: char) -> Self {
        Self { escape, raw_quotes: false, raw_escapes: false, plain_quotes: false, keep_unset: false }
    }

    /// Reads as the body of an unquoted heredoc is read: quotes are text, and a backslash protects any character.
    pub const fn heredoc() -> Self {
        Self { plain_quotes: true, ..Self::argument('\\') }
    }

    /// Reads for display: quotes, escapes and unset variables stay as written.
    pub const fn display(escape: char) -> Self {
        Self { raw_quotes: true, raw_escapes: true, keep_unset: true, ..Self::argument(escape) }
    }

    /// Splits into words and removes quotes, but expands nothing that is unset.
    pub(crate) const fn terminator(raw: bool) -> Self {
        Self { raw_quotes: raw, keep_unset: true, ..Self::argument('\\') }
    }
}

/// The result of reading a word.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    /// The whole text.
    pub text: String,
    /// Variables that were referred to and had no value, in order of appearance.
    pub unset: Vec<String>,
}

/// Reads a text and replaces its variables.
pub fn expand(text: &str, mode: Mode, env: &dyn Environment) -> Result<Expanded, ExpandError> {
    // Most texts hold nothing to replace.
    if text.len() <= MAX_TEXT && !text.contains(['$', '\'', '"', '<', mode.escape]) {
        return Ok(Expanded { text: text.to_owned(), unset: Vec::new() });
    }
    Ok(split(text, mode, env)?.0)
}

/// As [`expand`], and returns the words as well: the text split at blanks that were neither quoted nor escaped, without
/// the empty ones.
pub fn split(text: &str, mode: Mode, env: &dyn Environment) -> Result<(Expanded, Vec<String>), ExpandError> {
    let mut reader = Reader { chars: text.chars().peekable(), mode, env, unset: Vec::new(), depth: 0 };
    let (text, words) = reader.read_until(None, mode.raw_escapes)?;
    if text.len() > MAX_TEXT {
        return Err(ExpandError::TooLong);
    }
    Ok((Expanded { text, unset: reader.unset }, words))
}

/// Says what is wrong with a text, with the text itself if it is no longer than a line.
pub(crate) fn failure(text: &str, error: &ExpandError) -> String {
    if text.len() > LINE {
        return error.to_string();
    }
    format!("failed to process {}: {error}", go::quoted(text))
}

/// The longest text that an error repeats, in bytes.
const LINE: usize = 200;

/// The longest text that comes out, in bytes. A variable that is set to itself twice doubles with every line; no program
/// takes a variable of even a hundredth of this.
pub(crate) const MAX_TEXT: usize = 4 << 20;

/// The deepest nesting of `${…}` that is read; no author gets near it, and the stack stays bounded.
const MAX_DEPTH: usize = 128;

#[derive(Default)]
struct Words {
    done: Vec<String>,
    word: String,
    open: bool,
}

impl Words {
    fn push(&mut self, ch: char) {
        if !ch.is_whitespace() {
            self.push_raw(ch);
        } else if self.open && !self.word.is_empty() {
            self.done.push(std::mem::take(&mut self.word));
            self.open = false;
        }
    }

    fn push_raw(&mut self, ch: char) {
        self.word.push(ch);
        self.open = true;
    }

    fn push_raw_str(&mut self, text: &str) {
        self.word.push_str(text);
        self.open = true;
    }

    fn finish(mut self) -> Vec<String> {
        if !self.word.is_empty() {
            self.done.push(self.word);
        }
        self.done
    }
}

struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
    mode: Mode,
    env: &'a dyn Environment,
    unset: Vec<String>,
    depth: usize,
}

impl Reader<'_> {
    fn read_until(
        &mut self,
        stop: Option<char>,
        raw_escapes: bool,
    ) -> Result<(String, Vec<String>), ExpandError> {
        let outer = std::mem::replace(&mut self.mode.raw_escapes, raw_escapes);
        let result = self.read_inner(stop);
        self.mode.raw_escapes = outer;
        result
    }

    fn read_inner(&mut self, stop: Option<char>) -> Result<(String, Vec<String>), ExpandError> {
        let mut text = String::new();
        let mut words = Words::default();
        while let Some(&ch) = self.chars.peek() {
            if text.len() > MAX_TEXT {
                return Err(ExpandError::TooLong);
            }
            if stop == Some(ch) {
                self.chars.next();
                return Ok((text, words.finish()));
            }
            match ch {
                '$' => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                    value.chars().for_each(|ch| words.push(ch));
                }
                '\'' | '"' if !self.mode.plain_quotes => {
                    let quoted = if ch == '"' { self.double_quoted()? } else { self.single_quoted()? };
                    text.push_str(&quoted);
                    words.push_raw_str(&quoted);
                }
                '<' if !self.mode.plain_quotes => {
                    let opened = self.heredoc_operator();
                    text.push_str(&opened);
                    words.push_raw_str(&opened);
                }
                _ => {
                    self.chars.next();
                    if ch != self.mode.escape {
                        words.push(ch);
                        text.push(ch);
                        continue;
                    }
                    if self.mode.raw_escapes {
                        words.push_raw(ch);
                        text.push(ch);
                    }
                    let Some(protected) = self.chars.next() else { break };
                    words.push_raw(protected);
                    text.push(protected);
                }
            }
        }
        match stop {
            // The callers say which of the delimiters of `${…}` is missing.
            Some('/') => Err(ExpandError::MissingSlash),
            Some(_) => Err(ExpandError::MissingBrace),
            None => Ok((text, words.finish())),
        }
    }

    /// Keeps `<< WORD` together: blanks between the operator and its word do not split.
    fn heredoc_operator(&mut self) -> String {
        let mut text = String::from("<");
        self.chars.next();
        if self.chars.next_if_eq(&'<').is_some() {
            text.push('<');
            while let Some(blank) = self.chars.next_if(|ch| matches!(ch, ' ' | '\t')) {
                text.push(blank);
            }
        }
        text
    }

    fn single_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        self.chars.next();
        if self.mode.raw_quotes {
            text.push('\'');
        }
        loop {
            match self.chars.next() {
                None => return Err(ExpandError::Unbalanced { quote: "single-quote" }),
                Some('\'') => break,
                Some(ch) => text.push(ch),
            }
        }
        if self.mode.raw_quotes {
            text.push('\'');
        }
        Ok(text)
    }

    fn double_quoted(&mut self) -> Result<String, ExpandError> {
        let mut text = String::new();
        self.chars.next();
        if self.mode.raw_quotes {
            text.push('"');
        }
        loop {
            if text.len() > MAX_TEXT {
                return Err(ExpandError::TooLong);
            }
            match self.chars.peek().copied() {
                None => return Err(ExpandError::Unbalanced { quote: "double-quote" }),
                Some('"') => break,
                Some('$') => {
                    let value = self.dollar()?;
                    text.push_str(&value);
                }
                Some(ch) if ch == self.mode.escape => {
                    self.chars.next();
                    match self.chars.peek().copied() {
                        None => {}
                        Some(next) if next == '"' || next == '$' || next == self.mode.escape => {
                            if self.mode.raw_escapes {
                                text.push(ch);
                            }
                            text.push(next);
                            self.chars.next();
                        }
                        // Before anything else the escape character is text, and so is what follows.
                        Some(_) => text.push(ch),
                    }
                }
                Some(ch) => {
                    self.chars.next();
                    text.push(ch);
                }
            }
        }
        self.chars.next();
        if self.mode.raw_quotes {
            text.push('"');
        }
        Ok(text)
    }

    fn lookup(&mut self, name: &str) -> Option<String> {
        let value = self.env.get(name).map(str::to_owned);
        if value.is_none() && !name.is_empty() && !self.unset.iter().any(|seen| seen == name) {
            self.unset.push(name.to_owned());
        }
        value
    }

    fn name(&mut self) -> String {
        let mut name = String::new();
        match self.chars.peek().copied() {
            Some(first) if first.is_numeric() => {
                while let Some(digit) = self.chars.next_if(|ch| ch.is_numeric()) {
                    name.push(digit);
                }
            }
            Some(special @ ('@' | '*' | '#' | '?' | '-' | '$' | '!')) => {
                self.chars.next();
                name.push(special);
            }
            _ => {
                while let Some(ch) = self.chars.next_if(|ch| ch.is_alphanumeric() || *ch == '_') {
                    name.push(ch);
                }
            }
        }
        name
    }

    fn dollar(&mut self) -> Result<String, ExpandError> {
        self.chars.next();
        if self.chars.peek() != Some(&'{') {
            let name = self.name();
            if name.is_empty() {
                return Ok("$".to_owned());
            }
            return Ok(match self.lookup(&name) {
                Some(value) => value,
                None if self.mode.keep_unset => format!("${name}"),
                None => String::new(),
            });
        }
        self.chars.next();
        if self.depth >= MAX_DEPTH {
            return Err(ExpandError::TooDeep);
        }
        self.depth += 1;
        let value = self.braced();
        self.depth -= 1;
        value
    }

    fn braced(&mut self) -> Result<String, ExpandError> {
        match self.chars.peek() {
            None => return Err(ExpandError::MissingBrace),
            Some('{' | '}' | ':') => return Err(ExpandError::BadSubstitution),
            Some(_) => {}
        }
        let name = self.name();
        let Some(operator) = self.chars.next() else {
            return Err(ExpandError::Modifier { modifier: String::new() });
        };
        match operator {
            '}' => Ok(match self.lookup(&name) {
                Some(value) => value,
                None if self.mode.keep_unset => format!("${{{name}}}"),
                None => String::new(),
            }),
            ':' => {
                let Some(second) = self.chars.next() else { return Err(ExpandError::MissingBrace) };
                let modifier = format!(":{second}");
                let (word, _) = self.read_until(Some('}'), false)?;
                match second {
                    '-' | '+' | '?' => self.conditional(&name, &modifier, second, word, true),
                    _ => Err(ExpandError::Modifier { modifier }),
                }
            }
            '-' | '+' | '?' => {
                let (word, _) = self.read_until(Some('}'), false)?;
                self.conditional(&name, &operator.to_string(), operator, word, false)
            }
            '#' | '%' => {
                let (word, _) = self.read_until(Some('}'), true)?;
                self.strip(&name, operator, &word)
            }
            '/' => self.replace(&name),
            other => Err(ExpandError::Modifier { modifier: other.to_string() }),
        }
    }

    fn conditional(
        &mut self,
        name: &str,
        written: &str,
        operator: char,
        word: String,
        empty_is_unset: bool,
    ) -> Result<String, ExpandError> {
        let value = self.lookup(name);
        if value.is_none() && self.mode.keep_unset {
            return Ok(format!("${{{name}{written}{word}}}"));
        }
        let present = value.as_deref().is_some_and(|value| !(empty_is_unset && value.is_empty()));
        match operator {
            '-' => Ok(if present { value.unwrap_or_default() } else { word }),
            '+' => Ok(if present { word } else { String::new() }),
            _ if present => Ok(value.unwrap_or_default()),
            _ => {
                let state = if value.is_none() { "unset" } else { "empty" };
                let message = if word.is_empty() { format!("is not allowed to be {state}") } else { word };
                Err(ExpandError::Required { name: name.to_owned(), message })
            }
        }
    }

    fn strip(&mut self, name: &str, operator: char, word: &str) -> Result<String, ExpandError> {
        let Some(value) = self.lookup(name) else {
            return Ok(if self.mode.keep_unset {
                format!("${{{name}{operator}{word}}}")
            } else {
                String::new()
            });
        };
        let (longest, text) = match word.strip_prefix(operator) {
            Some(rest) => (true, rest),
            None => (false, word),
        };
        let pattern = Pattern::parse(text)?;
        Ok(match operator {
            '#' => pattern.strip_prefix(&value, longest).to_owned(),
            _ => pattern.strip_suffix(&value, longest).to_owned(),
        })
    }

    fn replace(&mut self, name: &str) -> Result<String, ExpandError> {
        let all = self.chars.next_if_eq(&'/').is_some();
        let (pattern, _) = self.read_until(Some('/'), true)?;
        let (replacement, _) = self.read_until(Some('}'), true)?;
        let Some(value) = self.lookup(name) else {
            let slash = if all { "//" } else { "/" };
            return Ok(if self.mode.keep_unset {
                format!("${{{name}{slash}{pattern}/{replacement}}}")
            } else {
                String::new()
            });
        };
        Pattern::parse(&pattern)?.replace(&value, &replacement, all, MAX_TEXT).ok_or(ExpandError::TooLong)
    }
}

//! Ignore files (`.dockerignore`): which paths of a context are left out.
//!
//! Every pattern is matched against the path and against each folder above it, in the order of the file, and the last
//! one that matches decides. Unlike git's, a pattern without a slash matches at the root only, and `!` reaches
//! below folders that are left out.
//!
//! ```
//! use rbuild_frontend::ignore::Ignore;
//! let ignore = Ignore::parse("*.log\n!keep.log\n**/tmp\n")?;
//! assert!(ignore.ignores("a.log"));
//! assert!(!ignore.ignores("keep.log"));
//! assert!(ignore.ignores("x/tmp/y"));
//! assert_eq!(ignore.verdict("keep.log").rule.map(|rule| rule.line), Some(2));
//! # Ok::<(), rbuild_frontend::ignore::IgnoreError>(())
//! ```

mod index;
mod pattern;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use index::Index;
use pattern::{Outcome, Pattern};

/// A parsed ignore file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
    index: Index,
}

/// One line of an ignore file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The 1-based line.
    pub line: usize,
    /// The line's pattern as written, with its `!`; bytes that are not UTF-8 as numbers.
    pub text: String,
    /// Whether the rule takes paths back in.
    pub exception: bool,
    pattern: Pattern,
}

/// What an ignore file says about a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'a> {
    /// Whether the path is left out.
    pub ignored: bool,
    /// The rule that decided; `None` if none matched.
    pub rule: Option<&'a Rule>,
}

/// What is wrong with an ignore file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IgnoreError {
    /// A `!` with nothing behind it.
    #[error("line {line}: illegal exclusion pattern: \"!\"")]
    EmptyException {
        /// The 1-based line.
        line: usize,
    },
    /// A pattern that cannot be read.
    #[error("line {line}: syntax error in pattern: {text:?}")]
    Syntax {
        /// The 1-based line.
        line: usize,
        /// The pattern.
        text: String,
    },
    /// A pattern with a byte that no path has: the file is in UTF-16, say.
    #[error("line {line}: the line holds a NUL byte")]
    Nul {
        /// The 1-based line.
        line: usize,
    },
}

impl IgnoreError {
    /// The 1-based line that is wrong.
    pub fn line(&self) -> usize {
        match self {
            Self::EmptyException { line } | Self::Syntax { line, .. } | Self::Nul { line } => *line,
        }
    }
}

/// Where bytes that are not UTF-8 stand among the characters: in the last area for private use.
const BYTES: u32 = 0x0010_ff00;

/// Writes bytes as the text that patterns and paths are compared in. Each byte that is not UTF-8 stands as a character of its own, so
/// that two names are equal as texts if they are equal.
pub fn text_of(bytes: &[u8]) -> Cow<'_, str> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return Cow::Borrowed(text);
    }
    let mut text = String::with_capacity(bytes.len() * 2);
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().filter_map(|byte| char::from_u32(BYTES + u32::from(*byte))));
    }
    Cow::Owned(text)
}

/// Writes such a text for people, with bytes as numbers.
pub fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match u32::from(c).checked_sub(BYTES) {
            Some(byte) => shown.push_str(&format!("\\x{byte:02x}")),
            None => shown.push(c),
        }
    }
    shown
}

impl Ignore {
    /// Reads an ignore file, whose bytes [`text_of`] made text of.
    pub fn parse(text: &str) -> Result<Self, IgnoreError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut rules = Vec::new();
        for (at, line) in text.lines().enumerate() {
            if !line.starts_with('#') {
                if line.contains('\0') {
                    return Err(IgnoreError::Nul { line: at + 1 });
                }
                rules.extend(parse_rule(line, at + 1)?);
            }
        }
        Ok(Self::new(rules))
    }

    /// Makes rules of patterns given one by one (`--exclude`), where a leading `/` keeps its meaning of an absolute path.
    pub fn from_patterns<'p>(patterns: impl IntoIterator<Item = &'p str>) -> Result<Self, IgnoreError> {
        let mut rules = Vec::new();
        for (at, text) in patterns.into_iter().enumerate() {
            // An absolute path is no path below the root, so it matches nothing; but it must be readable.
            let absolute = text.trim_start_matches('!').trim_start().starts_with('/');
            let rule = parse_rule(text, at + 1)?;
            rules.extend(rule.filter(|_| !absolute));
        }
        Ok(Self::new(rules))
    }

    fn new(rules: Vec<Rule>) -> Self {
        Self { index: Index::new(&rules), rules }
    }

    /// Returns whether there are no rules.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Returns the rules in order.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// Returns whether some rule takes paths back in.
    pub fn has_exceptions(&self) -> bool {
        !self.index.exceptions.is_empty()
    }

    /// Returns whether a rule leaves out all there is: `*`, `**` or `**/*`.
    pub fn ignores_everything(&self) -> bool {
        self.rules.iter().any(|rule| !rule.exception && matches!(rule.text.as_str(), "*" | "**" | "**/*"))
    }

    /// Says whether a path is left out, and which rule says so. Paths are relative to the root, with `/` between
    /// their elements and none at either end; [`text_of`] makes them of bytes.
    pub fn verdict(&self, path: &str) -> Verdict<'_> {
        let rule = self.index.last(&self.rules, path, &|_| true).map(|rule| &self.rules[rule as usize]);
        Verdict { ignored: rule.is_some_and(|rule| !rule.exception), rule }
    }

    /// Says whether a path is left out.
    pub fn ignores(&self, path: &str) -> bool {
        self.verdict(path).ignored
    }

    /// Returns whether everything below a folder is left out, so that a walk need not go in.
    pub fn prunes(&self, folder: &str) -> bool {
        let leaves_out = |rule: u32| !self.rules[rule as usize].exception;
        let Some(last) = self.index.last(&self.rules, folder, &leaves_out) else { return false };
        // Whatever a later rule may take back in below the folder has to be looked for.
        let later = self.index.exceptions.iter().rev().take_while(|rule| **rule > last);
        later.map(|rule| &self.rules[*rule as usize]).all(|rule| rule.pattern.below(folder) == Outcome::Never)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn parse_rule(line: &str, number: usize) -> Result<Option<Rule>, IgnoreError> {
    let text = line.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let (exception, body) = match text.strip_prefix('!') {
        Some(rest) => (true, rest.trim()),
        None => (false, text),
    };
    if exception && body.is_empty() {
        return Err(IgnoreError::EmptyException { line: number });
    }
    let cleaned = crate::path::clean(body);
    let cleaned = cleaned.strip_prefix('/').unwrap_or(&cleaned);
    let pattern =
        Pattern::parse(cleaned).ok_or_else(|| IgnoreError::Syntax { line: number, text: shown(body) })?;
    // What leads out of the root, and the root itself, are nothing that is walked over.
    if matches!(cleaned, "" | "." | "..") || cleaned.starts_with("../") {
        return Ok(None);
    }
    let text = if exception { shown(&format!("!{body}")) } else { shown(body) };
    Ok(Some(Rule { line: number, text, exception, pattern }))
}

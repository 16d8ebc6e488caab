//! Heredocs: `<<EOF` words and the bodies behind them.

use rbuild_model::span::{Span, Spanned};

use super::expand::{self, ExpandError, Mode};

/// A heredoc of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The terminator, which is also the file name: the word without its quotes.
    pub name: String,
    /// The word as written, `<<-'EOF'`.
    pub word: Spanned<String>,
    /// Whether variables in the body are expanded (where the builder does that at all): no part of the word is quoted.
    pub expand: bool,
    /// Whether leading tabs are removed from every line (`<<-`).
    pub strip_tabs: bool,
    /// The lines as they stand in the file, line ends included.
    pub body: String,
    /// The place of the body and its terminator.
    pub body_span: Span,
}

impl Heredoc {
    /// Returns the body as the author meant it: without leading tabs if the word asks for that.
    pub fn content(&self) -> String {
        if !self.strip_tabs {
            return self.body.clone();
        }
        self.body.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// Returns the first line, with dots if there are more.
    pub fn summary(&self) -> String {
        let mut lines = self.body.trim().lines();
        let first = lines.next().unwrap_or("").to_owned();
        if lines.next().is_some() { first + "..." } else { first }
    }
}

/// The opening word of a heredoc, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) name: String,
    pub(crate) expand: bool,
    pub(crate) strip_tabs: bool,
    pub(crate) descriptor: bool,
}

/// Reads a whole word as the opening of a heredoc; `None` if it is not one.
pub(crate) fn opening(word: &str) -> Result<Option<Opening>, ExpandError> {
    let rest = word.trim_start_matches(|ch: char| ch.is_ascii_digit());
    let descriptor = rest.len() != word.len();
    let Some(rest) = rest.strip_prefix("<<") else { return Ok(None) };
    let (strip_tabs, rest) = match rest.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, rest),
    };
    if rest.is_empty() || rest.contains('<') {
        return Ok(None);
    }
    let (_, plain) = expand::split(rest, Mode::terminator(false), &())?;
    let (_, raw) = expand::split(rest, Mode::terminator(true), &())?;
    let ([name], [raw]) = (plain.as_slice(), raw.as_slice()) else { return Ok(None) };
    Ok(Some(Opening { expand: name == raw, name: name.clone(), strip_tabs, descriptor }))
}

/// Finds the heredocs that a text opens, in order, each with its word.
pub(crate) fn openings(text: &str) -> Result<Vec<(String, Opening)>, ExpandError> {
    if !text.contains("<<") {
        return Ok(Vec::new());
    }
    // A text with unbalanced quotes is a shell's to judge; it opens nothing here.
    let Ok((_, words)) = expand::split(text, Mode::display('\\'), &()) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for word in words {
        if let Some(opening) = opening(&word)? {
            found.push((word, opening));
        }
    }
    Ok(found)
}

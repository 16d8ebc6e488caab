//! `NAME=value` entries of `--env`, `--build-arg` and `--label`, and files of them.

use super::{Invalid, Read};

/// An entry as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EnvEntry {
    /// The name.
    pub(crate) name: String,
    /// The value; `None` asks for the value of the caller's variable of that name.
    pub(crate) value: Option<String>,
}

/// A line of a file of variables is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub(crate) struct EnvFileError {
    /// The line, from 1.
    pub(crate) line: usize,
    /// What is wrong.
    pub(crate) why: String,
}

/// Reads `NAME=value`, or `NAME` for the caller's own value.
pub(crate) fn env_entry(text: &str) -> Read<EnvEntry> {
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (name, Some(value.to_owned())),
        None => (text, None),
    };
    if name.is_empty() {
        return Err(Invalid::new("the variable has no name: write `NAME=value`, or `NAME` to pass yours on"));
    }
    if text.contains('\0') {
        return Err(Invalid::new("a NUL byte in a variable"));
    }
    Ok(EnvEntry { name: name.to_owned(), value })
}

/// Reads a label: `key=value`, or `key` for an empty value.
pub(crate) fn label(text: &str) -> Read<(String, String)> {
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    if key.trim().is_empty() {
        return Err(Invalid::new("the label has no key: write `key=value`"));
    }
    Ok((key.to_owned(), value.to_owned()))
}

/// Reads a file of variables, as Docker does: a line each, `#` begins a comment line, nothing is unquoted.
pub(crate) fn env_file(text: &str) -> Result<Vec<EnvEntry>, EnvFileError> {
    let mut entries = Vec::new();
    for (index, line) in text.strip_prefix('\u{feff}').unwrap_or(text).lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |why: String| EnvFileError { line: index + 1, why };
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (line.trim_end(), None),
        };
        if name.is_empty() {
            return Err(wrong(format!("no variable name on line `{line}`")));
        }
        if name.contains(char::is_whitespace) {
            return Err(wrong(format!("variable `{name}` contains white space")));
        }
        entries.push(EnvEntry { name: name.to_owned(), value });
    }
    Ok(entries)
}

//! `key=value,key=value` texts: one CSV record, so that `"name=a,b"` is one field.

use super::{Invalid, Read};

/// One field of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    /// What stands before the first `=`, in lower case.
    pub(super) key: String,
    /// What stands behind it, if there is one.
    pub(super) value: Option<String>,
}

impl Field {
    /// Returns the value, which must be there.
    pub(super) fn required(&self) -> Read<&str> {
        match self.value.as_deref() {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(Invalid::new(format!("`{}` needs a value: write `{}=VALUE`", self.key, self.key))),
        }
    }

    /// Returns the value as a truth value; a bare key is true.
    pub(super) fn truth(&self) -> Read<bool> {
        self.value.as_deref().map_or(Ok(true), |value| {
            super::boolean(value).map_err(|error| Invalid::new(format!("`{}`: {error}", self.key)))
        })
    }
}

/// Takes a text apart into its fields.
pub(super) fn fields(text: &str) -> Read<Vec<Field>> {
    if text.is_empty() {
        return Err(Invalid::new("the value is empty"));
    }
    split(text)?
        .into_iter()
        .map(|field| {
            let (key, value) = match field.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (field.as_str(), None),
            };
            let key = key.trim().to_ascii_lowercase();
            if key.is_empty() {
                return Err(Invalid::new(format!("`{field}` has no key: write `key=value`")));
            }
            Ok(Field { key, value })
        })
        .collect()
}

/// Takes one CSV record apart: `""` inside quotes is a quote.
pub(super) fn split(text: &str) -> Read<Vec<String>> {
    let mut fields = Vec::new();
    let mut rest = text;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err(Invalid::new(format!(
                        "a quote inside `{}`: quote the whole field, as in `\"key=a,b\"`",
                        &rest[..end]
                    )));
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        fields.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None if after.is_empty() => return Ok(fields),
            None => return Err(Invalid::new(format!("`{after}` follows a closing quote"))),
        }
    }
}

fn unquote(text: &str) -> Read<(String, &str)> {
    let mut field = String::new();
    let mut rest = text;
    loop {
        let Some(at) = rest.find('"') else { return Err(Invalid::new("a quote is not closed")) };
        field.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None => return Ok((field, rest)),
        }
    }
}

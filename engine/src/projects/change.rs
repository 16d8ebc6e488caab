//! What is different between two canonical forms of a service.

use std::fmt;

use serde_json::Value;

/// One thing that is different.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where: keys joined by dots (`environment.PORT`).
    pub path: String,
    /// What it was; `None` if it was not there.
    pub from: Option<Value>,
    /// What it is; `None` if it is gone.
    pub to: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.from, &self.to) {
            (Some(from), Some(to)) => write!(f, "{} {} -> {}", self.path, Plain(from), Plain(to)),
            (Some(_), None) => write!(f, "{} is gone", self.path),
            (None, Some(to)) => write!(f, "{} is new: {}", self.path, Plain(to)),
            (None, None) => f.write_str(&self.path),
        }
    }
}

/// A value as a person writes it: strings without quotes.
struct Plain<'a>(&'a Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => f.write_str(text),
            other => write!(f, "{other}"),
        }
    }
}

/// Returns what is different, in the order of the paths. Lists are compared as a whole: where an element stands says
/// little to people.
pub fn changes(from: &Value, to: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), Some(from), Some(to), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn compare(path: String, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Change>) {
    if from == to {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (from, to) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for (key, value) in old {
            compare(below(key), Some(value), new.get(key), found);
        }
        for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
            compare(below(key), None, Some(value), found);
        }
        return;
    }
    found.push(Change { path, from: from.cloned(), to: to.cloned() });
}

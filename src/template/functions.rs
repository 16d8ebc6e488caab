//! The functions of templates.

use std::cmp::Ordering;

use rbuild_model::span::Span;
use serde_json::Value;

use super::Fault;
use super::eval::{Item, print, truth};
use super::printf;

/// The functions that exist: Go's own and Docker's.
pub(super) const NAMES: &[&str] = &[
    "and", "eq", "ge", "gt", "html", "index", "join", "js", "json", "le", "len", "lower", "lt", "ne", "not",
    "or", "pad", "print", "printf", "println", "slice", "split", "title", "truncate", "upper", "urlquery",
];

/// What a template is rendered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// Values.
    Values,
    /// Values, where `json` writes a line a field, as buildx has it.
    Indented,
    /// Titles of columns, which functions that change texts leave alone.
    Titles,
}

/// Returns what a value is called in messages.
pub(super) const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "a truth value",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Calls a function.
pub(super) fn call(name: &str, arguments: Vec<Item>, purpose: Use, span: Span) -> Result<Item, Fault> {
    let call = Call { name, span };
    let values: Vec<Value> = arguments.iter().map(|item| item.value.clone().unwrap_or_default()).collect();
    if purpose == Use::Titles {
        match (name, &values[..]) {
            ("json" | "title" | "lower" | "upper" | "truncate" | "pad" | "split", [value, ..])
            | ("join", [value, ..]) => {
                return Ok(Item::from(value.clone()));
            }
            _ => {}
        }
    }
    let value = match (name, &values[..]) {
        ("json", [value]) if purpose == Use::Indented => Value::from(indented(value)),
        ("json", [value]) => Value::from(value.to_string()),
        ("upper", [text]) => Value::from(call.text(text)?.to_uppercase()),
        ("lower", [text]) => Value::from(call.text(text)?.to_lowercase()),
        ("title", [text]) => Value::from(title(&call.text(text)?)),
        ("join", [list, between]) => {
            let Value::Array(items) = list else { return Err(call.wants("a list")) };
            Value::from(items.iter().map(print).collect::<Vec<_>>().join(&call.text(between)?))
        }
        ("split", [text, between]) => {
            let (text, between) = (call.text(text)?, call.text(between)?);
            let parts: Vec<String> = match between.as_str() {
                // Go takes it for every letter.
                "" => text.chars().map(String::from).collect(),
                between => text.split(between).map(str::to_owned).collect(),
            };
            Value::from(parts)
        }
        ("pad", [text, before, behind]) => {
            let (text, before, behind) = (call.text(text)?, call.count(before)?, call.count(behind)?);
            if text.is_empty() {
                Value::from("")
            } else {
                Value::from(format!("{:before$}{text}{:behind$}", "", ""))
            }
        }
        ("truncate", [text, length]) => {
            let length = call.count(length)?;
            Value::from(call.text(text)?.chars().take(length).collect::<String>())
        }
        ("print", values) => Value::from(spread(values, false)),
        ("println", values) => Value::from(spread(values, true) + "\n"),
        ("html", values) => Value::from(html(&spread(values, false))),
        ("js", values) => Value::from(js(&spread(values, false))),
        ("urlquery", values) => Value::from(query(&spread(values, false))),
        ("printf", [format, rest @ ..]) => Value::from(printf::printf(&call.text(format)?, rest)),
        ("len", [Value::String(text)]) => Value::from(text.len()),
        ("len", [Value::Array(items)]) => Value::from(items.len()),
        ("len", [Value::Object(map)]) => Value::from(map.len()),
        ("len", [Value::Null]) => Value::from(0),
        ("index", [first, keys @ ..]) => call.index(first, keys)?,
        ("slice", [value, bounds @ ..]) if bounds.len() <= 2 => call.slice(value, bounds)?,
        ("not", [_]) => Value::from(!truth(&arguments[0])),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            // Each is compared, also behind one that is equal: a mistake is told whatever the values are.
            let found = rest.iter().map(|other| call.equal(first, other)).collect::<Result<Vec<_>, _>>()?;
            Value::from(found.contains(&true))
        }
        ("ne", [a, b]) => Value::from(!call.equal(a, b)?),
        ("lt", [a, b]) => Value::from(call.order(a, b)?.is_lt()),
        ("le", [a, b]) => Value::from(call.order(a, b)?.is_le()),
        ("gt", [a, b]) => Value::from(call.order(a, b)?.is_gt()),
        ("ge", [a, b]) => Value::from(call.order(a, b)?.is_ge()),
        _ => {
            return Err(
                Fault::new(span, format!("`{name}` cannot be used with these arguments")).help(usage(name))
            );
        }
    };
    Ok(Item::from(value))
}

fn usage(name: &str) -> String {
    let arguments = match name {
        "index" => "VALUE KEY...",
        "join" => "LIST SEPARATOR",
        "split" => "TEXT SEPARATOR",
        "pad" => "TEXT BEFORE BEHIND",
        "truncate" => "TEXT LENGTH",
        "slice" => "VALUE [FROM [TO]]",
        "printf" => "FORMAT VALUE...",
        "eq" => "VALUE VALUE...",
        "ne" | "lt" | "le" | "gt" | "ge" => "VALUE VALUE",
        _ => "VALUE",
    };
    format!("write `{name} {arguments}`")
}

struct Call<'a> {
    name: &'a str,
    span: Span,
}

impl Call<'_> {
    fn wants(&self, what: &str) -> Fault {
        Fault::new(self.span, format!("`{}` needs {what}", self.name)).help(usage(self.name))
    }

    fn text(&self, value: &Value) -> Result<String, Fault> {
        match value {
            Value::String(text) => Ok(text.clone()),
            _ => Err(self.wants("a text")),
        }
    }

    fn count(&self, value: &Value) -> Result<usize, Fault> {
        let count = value.as_u64().filter(|count| *count <= 10_000);
        count
            .and_then(|count| usize::try_from(count).ok())
            .ok_or_else(|| self.wants("a number from 0 to 10000"))
    }

    fn index(&self, value: &Value, keys: &[Value]) -> Result<Value, Fault> {
        let mut value = value;
        for key in keys {
            value = match (value, key) {
                (Value::Array(items), Value::Number(_)) => {
                    let at = key.as_u64().and_then(|at| usize::try_from(at).ok());
                    at.and_then(|at| items.get(at)).ok_or_else(|| {
                        Fault::new(
                            self.span,
                            format!("index {key} is out of range: the list has {}", items.len()),
                        )
                    })?
                }
                (Value::Object(map), Value::String(key)) => match map.get(key) {
                    Some(value) => value,
                    None => return Ok(Value::from("")),
                },
                (Value::Null, Value::String(_)) => return Ok(Value::from("")),
                (Value::Null, _) => return Err(Fault::new(self.span, "the list is empty")),
                (other, _) => {
                    return Err(Fault::new(
                        self.span,
                        format!("{} cannot be indexed with {}", kind(other), kind(key)),
                    ));
                }
            };
        }
        Ok(value.clone())
    }

    fn slice(&self, value: &Value, bounds: &[Value]) -> Result<Value, Fault> {
        let length = match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.len(),
            _ => return Err(self.wants("a text or a list")),
        };
        let bound = |at: usize, default| bounds.get(at).map_or(Ok(default), |bound| self.count(bound));
        let (from, to) = (bound(0, 0)?, bound(1, length)?);
        let outside =
            || Fault::new(self.span, format!("{from} to {to} is out of range: the length is {length}"));
        match value {
            Value::String(text) => text.get(from..to).map(Value::from).ok_or_else(outside),
            Value::Array(items) => {
                items.get(from..to).map(|part| Value::from(part.to_vec())).ok_or_else(outside)
            }
            _ => Err(self.wants("a text or a list")),
        }
    }

    /// Whether two are equal; nothing is equal to nothing alone.
    fn equal(&self, a: &Value, b: &Value) -> Result<bool, Fault> {
        match (a, b) {
            (Value::Null, _) | (_, Value::Null) => Ok(a == b),
            (Value::Number(x), Value::Number(y)) if x.is_f64() == y.is_f64() => Ok(x.as_f64() == y.as_f64()),
            (Value::String(_), Value::String(_)) | (Value::Bool(_), Value::Bool(_)) => Ok(a == b),
            _ => Err(self.incomparable(a, b)),
        }
    }

    fn incomparable(&self, a: &Value, b: &Value) -> Fault {
        let named = |value: &Value| match value {
            Value::Number(number) if number.is_f64() => "a number with a fraction",
            other => kind(other),
        };
        Fault::new(self.span, format!("{} and {} cannot be compared", named(a), named(b)))
    }

    fn order(&self, a: &Value, b: &Value) -> Result<Ordering, Fault> {
        match (a, b) {
            (Value::Number(a), Value::Number(b)) if a.is_f64() == b.is_f64() => {
                a.as_f64().partial_cmp(&b.as_f64())
            }
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            _ => None,
        }
        .ok_or_else(|| self.incomparable(a, b))
    }
}

/// Escapes a text for HTML.
fn html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => escaped.push(char::REPLACEMENT_CHARACTER),
            '"' => escaped.push_str("&#34;"),
            '\'' => escaped.push_str("&#39;"),
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Escapes a text for a string of JavaScript.
fn js(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '"' | '\'' => escaped.extend(['\\', c]),
            '<' | '>' | '&' | '=' => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
            c if c.is_control() => escaped.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Escapes a text for the query of an address.
fn query(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                escaped.push(char::from(byte));
            }
            b' ' => escaped.push('+'),
            other => escaped.push_str(&format!("%{other:02X}")),
        }
    }
    escaped
}

/// Joins values as Go's `print` does: a space between two that are both no texts; everywhere for `println`.
fn spread(values: &[Value], everywhere: bool) -> String {
    let mut text = String::new();
    for (at, value) in values.iter().enumerate() {
        if at > 0 && (everywhere || (!value.is_string() && !values[at - 1].is_string())) {
            text.push(' ');
        }
        text.push_str(&print(value));
    }
    text
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let upper = start;
            start = !c.is_alphanumeric() && c != '_' && c != '\'';
            if upper { c.to_uppercase().collect::<Vec<_>>() } else { vec![c] }
        })
        .collect()
}

/// JSON a line a field, with what means something in HTML escaped: as Go writes it where nobody says otherwise.
fn indented(value: &Value) -> String {
    let text = format!("{value:#}");
    [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")]
        .into_iter()
        .fold(text, |text, (from, to)| text.replace(from, to))
}

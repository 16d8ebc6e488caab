//! Documents to text: YAML, JSON, hashes.

use std::fmt::Write as _;

use super::fault::Checked;
use super::path::Path;
use super::schema::{PROJECT, Section};
use super::settle::{Format, extensions, section_entries, settle};
use super::yaml::{Document, Map, Node, Value, emit, json_float};

/// What is left out of a service's hash: it does not make its containers different.
const UNHASHED: &[&str] = &["build", "pull_policy", "scale", "depends_on", "profiles"];

fn top() -> Option<&'static Section> {
    PROJECT.shape.section()
}

/// Writes a model as YAML in the canonical order.
pub(crate) fn yaml(model: &Map) -> Checked<String> {
    let Some(section) = top() else { return Ok(String::new()) };
    let mut entries = section_entries(model, section, &Path::default(), Format::Yaml)?;
    if !entries.iter().any(|(key, _)| key == "services") {
        let at = usize::from(entries.first().is_some_and(|(key, _)| key == "name"));
        entries.insert(at, ("services".to_owned(), Document::Map(Vec::new())));
    }
    Ok(emit(&Document::Map(entries)))
}

/// Writes a model as JSON: its sections by name, what they hold in the canonical order.
pub(crate) fn json(model: &Map) -> Checked<String> {
    let Some(section) = top() else { return Ok(String::new()) };
    let mut entries = Vec::new();
    for field in section.fields {
        if let Some(node) = model.get(field.name)
            && let Some(document) = settle(node, field, &Path::default().key(field.name), Format::Json)?
        {
            entries.push((field.name.to_owned(), document));
        }
    }
    if !entries.iter().any(|(key, _)| key == "services") {
        entries.push(("services".to_owned(), Document::Map(Vec::new())));
    }
    entries.extend(extensions(model, Format::Json));
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    Ok(write_json(&Document::Map(entries), Layout::Indented))
}

/// Writes a tree that was not brought into its final form, keys in their natural order.
pub(crate) fn raw_yaml(model: &Node) -> String {
    emit(&Document::from(model).in_natural_order())
}

/// The same as JSON.
pub(crate) fn raw_json(model: &Node) -> String {
    write_json(&Document::from(model), Layout::Indented)
}

/// Returns the hash of what makes a service's containers what they are.
pub(crate) fn service_hash(name: &str, service: &Map) -> Checked<String> {
    let field = top().and_then(|section| section.field("services"));
    let parent = Node::new(Value::Map(Map::default()), None);
    let Some(section) = field.and_then(|field| field.shape.child(&parent, name)?.shape.section()) else {
        return Ok(String::new());
    };
    let mut service = service.clone();
    service.retain(|key, _| !UNHASHED.contains(&key));
    if let Some(deploy) = service.get_mut("deploy").and_then(Node::as_map_mut) {
        deploy.remove("replicas");
    }
    let path = Path::default().key("services").key(name);
    let mut entries = section_entries(&service, section, &path, Format::Json)?;
    entries.iter_mut().for_each(|(key, document)| as_hashed(key, document));
    let text = write_json(&Document::Map(entries), Layout::Compact);
    Ok(rbuild_model::digest::BlobDigest::of(text.as_bytes()).hex())
}

/// Brings a key's value into the form that the reference hashes, which is not in all cases the one that is shown: containers
/// of both bear one hash for one service.
fn as_hashed(key: &str, document: &mut Document) {
    let Document::Map(entries) = document else { return };
    for (name, value) in entries {
        match (key, value) {
            ("ulimits", limit @ Document::Scalar(Value::Int(0))) => *limit = Document::Map(Vec::new()),
            ("ulimits", Document::Map(limits)) => {
                limits.retain(|(_, limit)| *limit != Document::Scalar(Value::Int(0)));
            }
            ("develop", Document::List(rules)) if name == "watch" => rules.iter_mut().for_each(with_command),
            ("blkio_config", Document::List(devices)) => {
                for device in devices {
                    let Document::Map(keys) = device else { continue };
                    for (key, _) in keys {
                        key[..1].make_ascii_uppercase();
                    }
                }
            }
            _ => {}
        }
    }
}

/// Gives a rule of `watch` a command, which says nothing, behind the keys that come before it.
fn with_command(rule: &mut Document) {
    let Document::Map(keys) = rule else { return };
    if keys.iter().all(|(key, _)| key != "exec") {
        let before =
            keys.iter().take_while(|(key, _)| matches!(&**key, "path" | "action" | "target")).count();
        let command = Document::Map(vec![("command".to_owned(), nothing())]);
        keys.insert(before, ("exec".to_owned(), command));
    }
}

const fn nothing() -> Document {
    Document::Scalar(Value::Null)
}

/// How JSON is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    /// Two blanks a level.
    Indented,
    /// No blank anywhere.
    Compact,
}

/// Writes a document as JSON.
pub(crate) fn write_json(document: &Document, layout: Layout) -> String {
    let mut text = String::new();
    node(&mut text, document, layout, 0);
    text
}

fn node(text: &mut String, document: &Document, layout: Layout, depth: usize) {
    match document {
        Document::Scalar(value) => scalar(text, value),
        Document::List(list) => {
            collection(text, ('[', ']'), list, layout, depth, |text, item| {
                node(text, item, layout, depth + 1)
            });
        }
        Document::Map(entries) => {
            collection(text, ('{', '}'), entries, layout, depth, |text, (key, value)| {
                string(text, key);
                text.push_str(if layout == Layout::Indented { ": " } else { ":" });
                node(text, value, layout, depth + 1);
            });
        }
    }
}

fn collection<T>(
    text: &mut String,
    (open, close): (char, char),
    items: &[T],
    layout: Layout,
    depth: usize,
    mut write: impl FnMut(&mut String, &T),
) {
    let line = |text: &mut String, depth: usize| {
        if layout == Layout::Indented && !items.is_empty() {
            let _ = write!(text, "\n{:1$}", "", depth * 2);
        }
    };
    text.push(open);
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            text.push(',');
        }
        line(text, depth + 1);
        write(text, item);
    }
    line(text, depth);
    text.push(close);
}

fn scalar(text: &mut String, value: &Value) {
    match value {
        Value::Bool(value) => text.push_str(if *value { "true" } else { "false" }),
        Value::Int(number) => text.push_str(&number.to_string()),
        Value::Wide(number) => text.push_str(&number.to_string()),
        Value::Float(number) if number.is_finite() => text.push_str(&json_float(*number)),
        Value::Float(_) | Value::Null | Value::List(_) | Value::Map(_) => text.push_str("null"),
        Value::String(value) => string(text, value),
    }
}

fn string(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            '\u{8}' => text.push_str("\\b"),
            '\u{c}' => text.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(text, "\\u{:04x}", c as u32);
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

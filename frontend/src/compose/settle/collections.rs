//! Lists and mappings of texts in their final form.

use std::collections::BTreeMap;

use super::super::fault::{Checked, fault, hinted};
use super::super::path::Path;
use super::super::yaml::{Document, Node, Value};
use super::Format;

fn text(text: impl Into<String>) -> Document {
    Document::Scalar(Value::String(text.into()))
}

fn list(texts: impl IntoIterator<Item = String>) -> Document {
    Document::List(texts.into_iter().map(text).collect())
}

/// One text or several.
pub(super) fn texts(node: &Node) -> Option<Document> {
    let texts: Vec<String> = match &node.value {
        Value::List(list) => list.iter().filter_map(Node::scalar).collect(),
        other => other.scalar().into_iter().collect(),
    };
    (!texts.is_empty()).then(|| list(texts))
}

/// A health check's command.
pub(super) fn test(node: &Node) -> Option<Document> {
    match &node.value {
        Value::String(line) => Some(list(["CMD-SHELL".to_owned(), line.clone()])),
        _ => texts(node),
    }
}

/// Keys and texts, also given as `k=v`; a key without a value has an empty one.
pub(super) fn text_map(node: &Node, path: &Path) -> Checked<Option<Document>> {
    let mut entries = BTreeMap::new();
    match &node.value {
        Value::Map(map) => {
            for (key, node) in map.iter() {
                if node.as_map().is_some() || node.as_list().is_some() {
                    let message = format!("{}.{key} must be a text", path);
                    return Err(fault(node.at.as_ref(), message));
                }
                entries.insert(key.to_owned(), node.scalar().unwrap_or_default());
            }
        }
        Value::List(list) => {
            for item in list.iter().filter_map(Node::scalar) {
                let (key, value) = item.split_once('=').unwrap_or((&item, ""));
                entries.insert(key.to_owned(), value.to_owned());
            }
        }
        _ => return Ok(None),
    }
    Ok(Some(Document::Map(entries.into_iter().map(|(key, value)| (key, text(value))).collect())))
}

/// Variables, also given as `k=v`; one without a value has none.
pub(super) fn env_map(node: &Node) -> Checked<Option<Document>> {
    let mut entries = BTreeMap::new();
    match &node.value {
        Value::Map(map) => {
            for (key, node) in map.iter() {
                entries.insert(key.to_owned(), node.scalar());
            }
        }
        Value::List(list) => {
            for node in list {
                let item = node.scalar().unwrap_or_default();
                let (key, value) = match item.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (item.as_str(), None),
                };
                if key.ends_with(char::is_whitespace) {
                    let message = format!("environment variable {key} is declared with a trailing space");
                    let help = "leave the blank before `=` out";
                    return Err(hinted(node.at.as_ref(), message, help));
                }
                entries.insert(key.to_owned(), value);
            }
        }
        _ => return Ok(None),
    }
    let document = |value: Option<String>| value.map_or(Document::Scalar(Value::Null), text);
    Ok(Some(Document::Map(entries.into_iter().map(|(key, value)| (key, document(value))).collect())))
}

/// How a line of `/etc/hosts` is written.
const HOSTS: &str = "write `NAME=ADDRESS`";

/// Names and addresses.
pub(super) fn hosts(node: &Node) -> Checked<Option<Document>> {
    let mut lines = Vec::new();
    let mut add = |host: &str, addresses: &str, node: &Node| {
        if host.is_empty() || host.contains([':', '=']) {
            return Err(hinted(node.at.as_ref(), format!("bad host name '{host}'"), HOSTS));
        }
        for address in addresses.split(',') {
            let bare = address.strip_prefix('[').and_then(|address| address.strip_suffix(']'));
            lines.push(format!("{host}={}", bare.filter(|bare| !bare.is_empty()).unwrap_or(address)));
        }
        Ok(())
    };
    match &node.value {
        Value::List(list) => {
            for node in list {
                let item = node.scalar().unwrap_or_default();
                match item.split_once('=').or_else(|| item.split_once(':')) {
                    Some((host, address)) => add(host, address, node)?,
                    None => {
                        let message = format!("invalid additional host, missing IP: {item}");
                        return Err(hinted(node.at.as_ref(), message, HOSTS));
                    }
                }
            }
        }
        Value::Map(map) => {
            for (host, node) in map.iter() {
                match &node.value {
                    Value::List(addresses) => {
                        for address in addresses {
                            add(host, &address.scalar().unwrap_or_default(), node)?;
                        }
                    }
                    other => add(host, &other.scalar().unwrap_or_default(), node)?,
                }
            }
        }
        _ => return Ok(None),
    }
    lines.sort();
    Ok((!lines.is_empty()).then(|| list(lines)))
}

/// A limit: one number, or a soft and a hard one.
pub(super) fn ulimit(node: &Node, path: &Path, format: Format) -> Checked<Document> {
    let number = |node: &Node| super::int(node, path).map(|number| Document::Scalar(Value::Int(number)));
    match node.as_map() {
        None => match number(node)? {
            // As the reference writes it.
            Document::Scalar(Value::Int(0)) if format == Format::Yaml => {
                let entry = |key: &str| (key.to_owned(), Document::Scalar(Value::Int(0)));
                Ok(Document::Map(vec![entry("soft"), entry("hard")]))
            }
            number => Ok(number),
        },
        Some(map) => {
            let mut entries = Vec::new();
            for key in ["soft", "hard"] {
                if let Some(node) = map.get(key) {
                    entries.push((key.to_owned(), number(node)?));
                }
            }
            Ok(Document::Map(entries))
        }
    }
}

/// Options that may be given several times.
pub(super) fn option_lists(node: &Node) -> Option<Document> {
    let map = node.as_map()?;
    let entries = map.iter().map(|(key, node)| {
        let texts = match &node.value {
            Value::List(list) => list.iter().filter_map(Node::scalar).collect(),
            other => Vec::from_iter(other.scalar()),
        };
        (key.to_owned(), list(texts))
    });
    let entries: Vec<_> = entries.collect();
    (!entries.is_empty()).then_some(Document::Map(entries))
}

/// SSH ids, with keys where there are any.
pub(super) fn ssh(node: &Node) -> Option<Document> {
    let map = node.as_map()?;
    let keys = map.iter().map(|(id, node)| match node.scalar().filter(|path| !path.is_empty()) {
        Some(path) => format!("{id}={path}"),
        None => id.to_owned(),
    });
    let keys: Vec<String> = keys.collect();
    (!keys.is_empty()).then(|| list(keys))
}

//! Trees to documents: every value in its final type and spelling, keys in the order of their tables.

mod collections;

use super::fault::{Checked, fault, hinted};
use super::path::Path;
use super::schema::{Field, Form, PROJECT, Section, Shape};
use super::values::{amount, words};
use super::yaml::{Document, Map, Node, Value, natural};
use crate::go;

/// How sizes are written.
const SIZES: &str = "a size is a number, with a unit or without: `64m`, `1.5g`";
/// How durations are written.
const DURATIONS: &str = "a duration is made of numbers with units: `90s`, `1m30s`";
/// How modes are written.
const MODES: &str = "a mode is octal: 0440, or \"0440\" in quotes";
/// What to do about a command that cannot be split.
const COMMANDS: &str = "close quotes and brackets, put a backslash before those that mean nothing, or write a list, of which \
                        nothing is read into: `[\"sh\", \"-c\", \"…\"]`";

/// Which format a document is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// YAML: what says nothing is left out, extensions are kept.
    Yaml,
    /// JSON: some keys are always there, extensions of sections are left out.
    Json,
}

/// Brings a value into its final form; `None` is left out.
pub(crate) fn settle(
    node: &Node,
    field: &'static Field,
    path: &Path,
    format: Format,
) -> Checked<Option<Document>> {
    let scalar = |value: Option<Value>| Ok(value.map(Document::Scalar));
    let settled = match field.form {
        Form::Hidden => return Ok(None),
        Form::Tree | Form::Always => return tree(node, field, path, format),
        Form::Command | Form::HookCommand => return command(node, field.form, format),
        Form::Test => return Ok(collections::test(node)),
        Form::TextList => return Ok(collections::texts(node)),
        Form::TextMap => return Ok(collections::text_map(node, path)?.and_then(|map| named(map, format))),
        Form::EnvMap => return Ok(collections::env_map(node)?.and_then(|map| named(map, format))),
        Form::Hosts => return collections::hosts(node),
        Form::Ulimit => return collections::ulimit(node, path, format).map(Some),
        Form::OptionLists => return Ok(collections::option_lists(node).and_then(|map| named(map, format))),
        Form::Ssh => return Ok(collections::ssh(node)),
        _ if node.is_null() => None,
        Form::Text | Form::TextOfAny => {
            let text = node.scalar().unwrap_or_default();
            (!text.is_empty()).then_some(Value::String(text))
        }
        Form::Flag => flag(node, path)?.then_some(Value::Bool(true)),
        Form::OptionalFlag => Some(Value::Bool(flag(node, path)?)),
        Form::Int => Some(int(node, path)?).filter(|number| *number != 0).map(Value::Int),
        Form::OptionalInt => Some(Value::Int(int(node, path)?)),
        Form::Float => Some(float(node, path)?).filter(|number| *number != Value::Float(0.0)),
        Form::Bytes => {
            Some(bytes(node)?).filter(|size| *size != 0).map(|size| Value::String(size.to_string()))
        }
        Form::Duration => {
            Some(duration(node)?).filter(|nanos| *nanos != 0).map(|nanos| Value::String(go::duration(nanos)))
        }
        Form::OptionalDuration => Some(Value::String(go::duration(duration(node)?))),
        Form::Mode => Some(Value::String(mode(node)?)),
        Form::Count => Some(Value::Int(count(node, path)?)),
    };
    scalar(settled)
}

/// Checks that all values of a model can be brought into their final form.
pub(crate) fn check(top: &Map) -> Checked<()> {
    let fields = PROJECT.shape.section().into_iter().flat_map(|section| section.fields);
    for field in fields {
        if let Some(node) = top.get(field.name) {
            settle(node, field, &Path::default().key(field.name), Format::Yaml)?;
        }
    }
    Ok(())
}

/// Puts a mapping whose keys people chose into the order of the format; one that is empty is left out.
fn named(document: Document, format: Format) -> Option<Document> {
    match document {
        Document::Map(entries) if entries.is_empty() => None,
        Document::Map(entries) => Some(Document::Map(in_order(entries, format))),
        other => Some(other),
    }
}

/// Puts keys that people chose into the order of the format.
fn in_order(mut entries: Vec<(String, Document)>, format: Format) -> Vec<(String, Document)> {
    if format == Format::Yaml {
        entries.sort_by(|(a, _), (b, _)| natural(a, b));
    }
    entries
}

/// Takes a tree that no table knows as it is.
fn unknown(node: &Node, format: Format) -> Document {
    let document = Document::from(node);
    if format == Format::Yaml { document.in_natural_order() } else { document }
}

fn tree(node: &Node, field: &'static Field, path: &Path, format: Format) -> Checked<Option<Document>> {
    match &node.value {
        Value::Null => Ok(None),
        Value::List(list) => {
            let mut items = Vec::with_capacity(list.len());
            for (at, item) in list.iter().enumerate() {
                let settled = match field.shape.child(node, "") {
                    Some(child) => settle(item, child, &path.item(at), format)?,
                    None => Some(unknown(item, format)),
                };
                items.push(settled.unwrap_or_else(nothing));
            }
            Ok((!items.is_empty()).then_some(Document::List(items)))
        }
        Value::Map(map) => match field.shape.section() {
            Some(section) => {
                let entries = section_entries(map, section, path, format)?;
                let is_value = field.form == Form::Always && format == Format::Yaml && entries.is_empty();
                Ok((!is_value).then_some(Document::Map(entries)))
            }
            None if matches!(field.shape, Shape::Named(..) | Shape::OneOf(_)) => {
                let mut entries = Vec::with_capacity(map.len());
                for (key, child) in map.iter() {
                    let settled = match field.shape.child(node, key) {
                        Some(field) => settle(child, field, &path.key(key), format)?,
                        None => Some(unknown(child, format)),
                    };
                    entries.push((key.to_owned(), settled.unwrap_or_else(nothing)));
                }
                let needed = field.form == Form::Always || !entries.is_empty();
                Ok(needed.then(|| Document::Map(in_order(entries, format))))
            }
            None => Ok(Some(unknown(node, format))),
        },
        scalar => Ok(Some(Document::Scalar(scalar.clone()))),
    }
}

const fn nothing() -> Document {
    Document::Scalar(Value::Null)
}

/// Returns the keys of a section in the order of its table, then the extensions.
pub(crate) fn section_entries(
    map: &Map,
    section: &'static Section,
    path: &Path,
    format: Format,
) -> Checked<Vec<(String, Document)>> {
    let mut entries = Vec::new();
    for field in section.fields {
        let settled = match map.get(field.name) {
            Some(node) => settle(node, field, &path.key(field.name), format)?,
            None => None,
        };
        let settled = match (settled, field.form, format) {
            (None, Form::Command, Format::Json) => Some(nothing()),
            (None, Form::Always, Format::Json) => Some(Document::Map(Vec::new())),
            (settled, ..) => settled,
        };
        entries.extend(settled.map(|document| (field.name.to_owned(), document)));
    }
    if format == Format::Yaml {
        entries.extend(extensions(map, format));
    }
    Ok(entries)
}

/// Returns the keys that are anybody's.
pub(crate) fn extensions(map: &Map, format: Format) -> Vec<(String, Document)> {
    let entries = map.iter().filter(|(key, _)| key.starts_with("x-"));
    in_order(entries.map(|(key, node)| (key.to_owned(), unknown(node, format))).collect(), format)
}

fn command(node: &Node, form: Form, format: Format) -> Checked<Option<Document>> {
    let words = match &node.value {
        Value::Null => {
            let always = form == Form::Command && format == Format::Json;
            return Ok(always.then(nothing));
        }
        Value::String(line) => {
            words::split(line).map_err(|error| hinted(node.at.as_ref(), error, COMMANDS))?.words
        }
        Value::List(list) => list.iter().map(|node| node.scalar().unwrap_or_default()).collect(),
        other => other.scalar().into_iter().collect(),
    };
    Ok(Some(Document::List(words.into_iter().map(|word| Document::Scalar(Value::String(word))).collect())))
}

fn unfit(node: &Node, path: &Path, wanted: &str) -> Box<rbuild_model::span::Diagnostic> {
    let shown = node.scalar().unwrap_or_else(|| "a collection".to_owned());
    let help = format!("write {wanted}, without quotes");
    hinted(node.at.as_ref(), format!("{path}: {shown:?} is not {wanted}"), help)
}

fn flag(node: &Node, path: &Path) -> Checked<bool> {
    match &node.value {
        Value::Bool(value) => Ok(*value),
        Value::String(text) if text == "true" => Ok(true),
        Value::String(text) if text == "false" => Ok(false),
        _ => Err(unfit(node, path, "a boolean")),
    }
}

fn int(node: &Node, path: &Path) -> Checked<i64> {
    match &node.value {
        Value::Int(number) => Ok(*number),
        Value::Wide(_) => Err(unfit(node, path, "a number below 2^63")),
        Value::Float(number) if number.abs() < 9e15 => Ok(number.trunc() as i64),
        Value::String(text) => text.trim().parse().map_err(|_| unfit(node, path, "a whole number")),
        _ => Err(unfit(node, path, "a whole number")),
    }
}

/// Returns a number in the precision that the format keeps, whole ones without a point.
fn float(node: &Node, path: &Path) -> Checked<Value> {
    let number = match &node.value {
        Value::Int(number) => *number as f64,
        Value::Wide(number) => *number as f64,
        Value::Float(number) => *number,
        Value::String(text) => text.parse().map_err(|_| unfit(node, path, "a number"))?,
        _ => return Err(unfit(node, path, "a number")),
    };
    let short = (number as f32).to_string();
    Ok(Value::Float(short.parse().unwrap_or(number)))
}

fn bytes(node: &Node) -> Checked<i64> {
    match &node.value {
        Value::Int(number) => Ok(*number),
        Value::Float(number) => Ok(number.trunc() as i64),
        Value::String(text) => match text.strip_prefix('-').map(str::parse::<i64>) {
            Some(Ok(number)) => Ok(-number),
            _ => amount::bytes(text).map_err(|error| hinted(node.at.as_ref(), error, SIZES)),
        },
        _ => Err(hinted(node.at.as_ref(), "invalid size", SIZES)),
    }
}

fn duration(node: &Node) -> Checked<i64> {
    match node.as_str() {
        Some(text) => amount::duration(text).map_err(|error| hinted(node.at.as_ref(), error, DURATIONS)),
        None => Err(hinted(node.at.as_ref(), "a duration needs a unit", DURATIONS)),
    }
}

fn mode(node: &Node) -> Checked<String> {
    let mode = match &node.value {
        Value::Int(mode) => *mode,
        Value::String(text) => i64::from_str_radix(text, 8)
            .map_err(|_| hinted(node.at.as_ref(), format!("{text:?} is not a file mode in octal"), MODES))?,
        _ => return Err(hinted(node.at.as_ref(), "a file mode is a whole number in octal", MODES)),
    };
    Ok(format!("0{mode:o}"))
}

fn count(node: &Node, path: &Path) -> Checked<i64> {
    match &node.value {
        Value::String(text) if text == "all" => Ok(-1),
        Value::String(text) => text.parse().map_err(|_| {
            fault(
                node.at.as_ref(),
                format!("invalid value {text:?}, the only value allowed is 'all' or a number"),
            )
        }),
        _ => int(node, path),
    }
}

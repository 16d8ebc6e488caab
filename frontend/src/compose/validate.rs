//! Trees against tables: is everything there of a kind that its key accepts?
//!
//! All findings are gathered, and the deepest of them is told: where a value could be one of several kinds, that is the one
//! about the kind that the user meant. Of equally deep findings the first in the order of alternatives and keys counts.

use std::collections::HashMap;

use rbuild_model::span::{Diagnostic, Location, nearest};

use super::fault::{Checked, fault};
use super::path::Path;
use super::schema::{Field, Keys, Kind, Repeats, Section, Shape};
use super::yaml::{Node, Value};

/// Checks a whole project.
pub(crate) fn validate(root: &Node, field: &'static Field) -> Checked<()> {
    validate_at(root, field, &Path::default())
}

/// Checks a part of it.
pub(crate) fn validate_at(node: &Node, field: &'static Field, path: &Path) -> Checked<()> {
    let mut findings = Vec::new();
    check(node, None, &field.shape, path, &mut findings);
    let mut deepest: Option<Finding> = None;
    for finding in findings {
        if deepest.as_ref().is_none_or(|known| finding.depth > known.depth) {
            deepest = Some(finding);
        }
    }
    match deepest {
        Some(finding) => Err(finding.diagnostic),
        None => Ok(()),
    }
}

struct Finding {
    depth: usize,
    /// Whether it says that a value is of another kind.
    of_kind: bool,
    diagnostic: Box<Diagnostic>,
}

fn report(findings: &mut Vec<Finding>, path: &Path, at: Option<&Location>, message: &str) {
    let message = format!("{path} {message}").trim_start().to_owned();
    findings.push(Finding { depth: path.depth(), of_kind: false, diagnostic: fault(at, message) });
}

/// Tells what to do about the last finding.
fn help(findings: &mut [Finding], help: impl Into<String>) {
    if let Some(last) = findings.last_mut() {
        last.diagnostic.help = Some(help.into());
    }
}

/// Reports a value of another kind than those that its key takes, and tells what to write.
fn unfit(findings: &mut Vec<Finding>, path: &Path, at: Option<&Location>, kinds: &[Kind], value: &Value) {
    report(findings, path, at, &must_be(kinds));
    help(findings, instead(kinds, value));
    if let Some(last) = findings.last_mut() {
        last.of_kind = true;
    }
}

/// Returns what to write in place of a value of the wrong kind.
fn instead(kinds: &[Kind], value: &Value) -> String {
    let takes = |kind| kinds.contains(&kind);
    match value {
        Value::Null if takes(Kind::Mapping) => {
            "write `KEY: VALUE` on lines of their own below it, or leave the key out".to_owned()
        }
        Value::Null => "write a value behind it, or leave the key out".to_owned(),
        Value::Map(_) if takes(Kind::String) => {
            "a colon and a blank make it a mapping: put a text in quotes, and write `KEY=VALUE` in a list"
                .to_owned()
        }
        Value::Map(_) if takes(Kind::Array) => "begin each of its lines with `- `".to_owned(),
        Value::List(_) if takes(Kind::Mapping) => {
            "write `KEY: VALUE` lines, without `- ` before them".to_owned()
        }
        Value::Map(_) | Value::List(_) => "write one value".to_owned(),
        scalar => {
            let shown = scalar.scalar().unwrap_or_default();
            match () {
                () if takes(Kind::String) => format!("put it in quotes: {shown:?}"),
                () if takes(Kind::Array) => {
                    format!("write a list: `[{shown}]`, or `- {shown}` on a line below")
                }
                () if takes(Kind::Mapping) => "write `KEY: VALUE` on lines of their own below it".to_owned(),
                () if takes(Kind::Boolean) => "write `true` or `false`".to_owned(),
                () if takes(Kind::Number) => "write a number".to_owned(),
                () if takes(Kind::Integer) => "write a whole number".to_owned(),
                () => "leave it out".to_owned(),
            }
        }
    }
}

/// Checks one value; `near` is where its key stands, for values that stand nowhere.
fn check(node: &Node, near: Option<&Location>, shape: &Shape, path: &Path, findings: &mut Vec<Finding>) {
    let at = node.at.as_ref().or(near);
    match shape {
        Shape::Kinds(kinds) | Shape::Natural(kinds) => {
            if !kinds.iter().any(|kind| kind.is(&node.value)) {
                unfit(findings, path, at, kinds, &node.value);
            } else if matches!(shape, Shape::Natural(_)) && matches!(node.value, Value::Int(..0)) {
                report(findings, path, at, "must be greater than or equal to 0");
            }
        }
        Shape::Range(least, most) => match &node.value {
            value if !Kind::Integer.is(value) => unfit(findings, path, at, &[Kind::Integer], value),
            Value::Int(number) if number < least => {
                report(findings, path, at, &format!("must be greater than or equal to {least}"));
            }
            Value::Int(number) if number > most => {
                report(findings, path, at, &format!("must be less than or equal to {most}"));
            }
            Value::Wide(_) => report(findings, path, at, &format!("must be less than or equal to {most}")),
            _ => {}
        },
        Shape::Words(words) => match node.as_str() {
            None => unfit(findings, path, at, &[Kind::String], &node.value),
            Some(word) if !words.contains(&word) => {
                let list: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
                report(findings, path, at, &format!("value must be one of {}", list.join(", ")));
                hint(findings, word, words.iter().copied());
            }
            Some(_) => {}
        },
        Shape::Pattern(is_right, pattern) => match node.as_str() {
            None => unfit(findings, path, at, &[Kind::String], &node.value),
            Some(text) if !is_right(text) => {
                report(findings, path, at, &format!("'{text}' does not match pattern '{pattern}'"));
            }
            Some(_) => {}
        },
        Shape::List(item, repeats) => match node.as_list() {
            None => unfit(findings, path, at, &[Kind::Array], &node.value),
            Some(list) => {
                if *repeats == Repeats::Refused
                    && let Some((a, b)) = equal_items(list)
                {
                    let second = list[b].at.as_ref().or(at);
                    report(findings, path, second, &format!("items at {a} and {b} are equal"));
                    help(findings, "leave one of them out");
                }
                for (index, node) in list.iter().enumerate() {
                    check(node, at, &item.shape, &path.item(index), findings);
                }
            }
        },
        Shape::Section(section) => check_section(node, at, section, path, findings),
        Shape::Named(item, keys) => check_named(node, at, item, *keys, path, findings),
        Shape::OneOf(shapes) => check_alternatives(node, at, shapes, path, findings),
    }
}

/// Returns the first two items that are equal.
fn equal_items(list: &[Node]) -> Option<(usize, usize)> {
    let mut known: HashMap<String, Vec<usize>> = HashMap::new();
    for (b, node) in list.iter().enumerate() {
        let mut print = String::new();
        fingerprint(node, &mut print);
        let alike = known.entry(print).or_default();
        if let Some(a) = alike.iter().find(|a| list[**a].same(node)) {
            return Some((*a, b));
        }
        alike.push(b);
    }
    None
}

/// Writes what equal nodes have in common.
fn fingerprint(node: &Node, print: &mut String) {
    match &node.value {
        Value::Map(map) => {
            for (key, child) in map.iter() {
                print.push_str(key);
                fingerprint(child, print);
            }
        }
        Value::List(list) => list.iter().for_each(|child| fingerprint(child, print)),
        scalar => print.push_str(&scalar.scalar().unwrap_or_default()),
    }
}

fn check_section(
    node: &Node,
    at: Option<&Location>,
    section: &Section,
    path: &Path,
    findings: &mut Vec<Finding>,
) {
    let Some(map) = node.as_map() else {
        if !section.or.iter().any(|kind| kind.is(&node.value)) {
            let kinds: Vec<Kind> = [Kind::Mapping].iter().chain(section.or).copied().collect();
            unfit(findings, path, at, &kinds, &node.value);
        }
        return;
    };
    let missing: Vec<&str> = section.required.iter().filter(|key| !map.contains(key)).copied().collect();
    if !missing.is_empty() {
        report(findings, path, at, &missing_properties(&missing));
        help(findings, format!("write `{}: …` below it", missing[0]));
    }
    for (key, child) in map.iter() {
        if let Some(field) = section.field(key) {
            check(child, map.key_at(key), &field.shape, &path.key(key), findings);
        } else if !(section.extensions && key.starts_with("x-")) {
            unknown(findings, path, map.key_at(key).or(at), key);
            if section.extensions {
                help(findings, "keys of one's own begin with `x-`");
            }
            hint(findings, key, section.fields.iter().map(|field| field.name));
        }
    }
}

fn check_named(
    node: &Node,
    at: Option<&Location>,
    item: &'static Field,
    keys: Keys,
    path: &Path,
    findings: &mut Vec<Finding>,
) {
    let Some(map) = node.as_map() else {
        unfit(findings, path, at, &[Kind::Mapping], &node.value);
        return;
    };
    for (key, child) in map.iter() {
        let is_name = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
        let fits = !key.is_empty()
            && match keys {
                Keys::Any => true,
                Keys::Names | Keys::NamesOrUnseen => key.bytes().all(is_name),
                Keys::LowerOrUnseen => key.bytes().all(|c| c.is_ascii_lowercase()),
            };
        if fits {
            check(child, map.key_at(key), &item.shape, &path.key(key), findings);
        } else if matches!(keys, Keys::Names | Keys::Any) {
            unknown(findings, path, map.key_at(key).or(at), key);
            help(findings, "a name has letters, digits, `.`, `_` and `-`");
        }
    }
}

fn check_alternatives(
    node: &Node,
    at: Option<&Location>,
    shapes: &[Shape],
    path: &Path,
    findings: &mut Vec<Finding>,
) {
    let mut all = Vec::new();
    let mut fitting = Vec::new();
    for (index, shape) in shapes.iter().enumerate() {
        let before = all.len();
        check(node, at, shape, path, &mut all);
        if all.len() == before {
            fitting.push(index);
        }
    }
    match fitting.as_slice() {
        [] => {
            help_of_another(&mut all);
            findings.extend(all);
        }
        [_] => {}
        many => {
            let list: Vec<String> = many.iter().map(ToString::to_string).collect();
            report(findings, path, at, &format!("oneOf failed, subschemas {} matched", list.join(", ")));
        }
    }
}

/// Where a value is of a kind that another alternative takes, what helps is what that one lacks.
fn help_of_another(findings: &mut [Finding]) {
    let Some(deepest) = findings.iter().map(|finding| finding.depth).max() else { return };
    let mut told = findings.iter_mut().filter(|finding| finding.depth == deepest);
    let Some(first) = told.next().filter(|first| first.of_kind) else { return };
    if let Some(other) = told.find(|other| !other.of_kind) {
        let other = &other.diagnostic;
        first.diagnostic.help = other.help.clone().or_else(|| Some(other.message.clone()));
    }
}

/// Reports a key that nobody knows; it counts as one step deeper than its mapping.
fn unknown(findings: &mut Vec<Finding>, path: &Path, at: Option<&Location>, key: &str) {
    report(findings, path, at, &format!("additional properties '{key}' not allowed"));
    if let Some(last) = findings.last_mut() {
        last.depth += 1;
    }
}

/// Adds the nearest of the words that would have been right.
fn hint<'a>(findings: &mut [Finding], word: &str, candidates: impl Iterator<Item = &'a str>) {
    if let (Some(last), Some(near)) = (findings.last_mut(), nearest(word, candidates)) {
        last.diagnostic.help = Some(format!("did you mean `{near}`?"));
    }
}

fn missing_properties(keys: &[&str]) -> String {
    let list: Vec<String> = keys.iter().map(|key| format!("'{key}'")).collect();
    let noun = if keys.len() == 1 { "property" } else { "properties" };
    format!("missing {noun} {}", list.join(", "))
}

fn must_be(kinds: &[Kind]) -> String {
    let mut words: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    words.sort_unstable();
    match words.as_slice() {
        [one] => format!("must be a {one}"),
        [before @ .., last] => format!("must be a {} or {last}", before.join(", ")),
        [] => "must not be there".to_owned(),
    }
}

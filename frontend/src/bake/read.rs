//! Blocks to targets and groups.

use std::collections::BTreeMap;

use rbuild_model::span::{Diagnostic, Location, Severity, nearest};

use super::globals::{Globals, place};
use super::options;
use super::target::Target;
use super::{Config, Group};
use crate::hcl::{
    Attribute, Block, ExpressionKind, Failure, Key, Value, evaluate, evaluate_with, fault, shown,
};

/// What a target may say.
pub(super) const ATTRIBUTES: &[&str] = &[
    "annotations",
    "args",
    "attest",
    "cache-from",
    "cache-to",
    "call",
    "context",
    "contexts",
    "description",
    "dockerfile",
    "dockerfile-inline",
    "entitlements",
    "extra-hosts",
    "inherits",
    "labels",
    "matrix",
    "name",
    "network",
    "no-cache",
    "no-cache-filter",
    "output",
    "platforms",
    "pull",
    "secret",
    "shm-size",
    "ssh",
    "tags",
    "target",
    "ulimits",
];

/// What a group may say.
pub(super) const GROUP_ATTRIBUTES: &[&str] = &["description", "targets"];

/// The lists that take the place of what is inherited, also if they are empty.
const REPLACING: &[&str] = &["cache-to", "output", "platforms", "tags"];

/// The blocks at the top of a file.
const BLOCKS: &[&str] = &["function", "group", "target", "variable"];

/// How many targets a matrix may make.
const MAX_MATRIX: usize = 10_000;

/// Reads the blocks of all files, in order.
pub(super) fn read<'b>(
    blocks: impl Iterator<Item = &'b Block>,
    globals: &Globals<'_>,
    warnings: &mut Vec<Diagnostic>,
) -> Result<Config, Vec<Failure>> {
    let mut config = Config::default();
    let mut errors = Vec::new();
    for block in blocks {
        let read = match &*block.kind.value {
            "target" => target(block, globals, &mut config, warnings),
            "group" => group(block, globals, &mut config, warnings),
            "variable" | "function" => labelled(block).map(|_| ()),
            other => {
                unknown(
                    &Location { source: block.source.clone(), span: block.kind.span },
                    "block",
                    other,
                    BLOCKS,
                    warnings,
                );
                Ok(())
            }
        };
        if let Err(error) = read {
            errors.push(error);
        }
    }
    if errors.is_empty() { Ok(config) } else { Err(errors) }
}

/// Warns of a name that means nothing, and goes on: a newer file may know it.
fn unknown(at: &Location, what: &str, name: &str, known: &[&str], warnings: &mut Vec<Diagnostic>) {
    let near = nearest(name, known.iter().copied());
    let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
    warnings.push(Diagnostic::warning(
        "UnknownName",
        &at.source,
        at.span,
        format!("unknown {what} {name:?} is ignored{hint}"),
    ));
}

fn labelled(block: &Block) -> Result<&str, Failure> {
    match &block.labels[..] {
        [label] => Ok(&label.value),
        _ => Err(fault(
            &place(block),
            format!("a {} has one name: `{} \"name\" {{`", block.kind.value, block.kind.value),
        )),
    }
}

/// Checks a name: what it is made of is for other programs too.
fn checked(name: &str, at: &Location) -> Result<(), Failure> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !name.is_empty() && name.chars().all(fits) {
        return Ok(());
    }
    Err(fault(at, format!("invalid name {name:?}: only letters, digits, `_` and `-` are allowed")))
}

fn group(
    block: &Block,
    globals: &Globals<'_>,
    config: &mut Config,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Failure> {
    let name = labelled(block)?;
    checked(name, &place(block))?;
    let mut group = Group::default();
    for attribute in &block.body.attributes {
        let value = evaluate(&attribute.value, globals)?;
        match &*attribute.name.value {
            "targets" => group.targets = strings(&value, attribute)?,
            "description" => group.description = string(&value, attribute)?,
            name @ ("matrix" | "name") => {
                return Err(fault(&name_place(attribute), format!("{name} is not supported for groups")));
            }
            other => unknown(&name_place(attribute), "attribute", other, GROUP_ATTRIBUTES, warnings),
        }
    }
    if block.body.attribute("targets").is_none() {
        return Err(fault(&place(block), format!("group {name:?} has no `targets`")));
    }
    config.groups.retain(|(known, _)| known != name);
    config.groups.push((name.to_owned(), group));
    Ok(())
}

fn target(
    block: &Block,
    globals: &Globals<'_>,
    config: &mut Config,
    warnings: &mut Vec<Diagnostic>,
) -> Result<(), Failure> {
    let label = labelled(block)?;
    checked(label, &place(block))?;
    for attribute in &block.body.attributes {
        let name = &*attribute.name.value;
        if !ATTRIBUTES.contains(&name) {
            unknown(&name_place(attribute), "attribute", name, ATTRIBUTES, warnings);
        }
    }
    let name = block.body.attribute("name");
    let Some(matrix) = block.body.attribute("matrix") else {
        if let Some(name) = name {
            return Err(fault(&name_place(name), "`name` requires a `matrix`"));
        }
        let target = one(label, block, &[], globals)?;
        config.add(target);
        return Ok(());
    };
    let mut made = Vec::new();
    for row in rows(matrix, globals)? {
        let name = match name {
            None => label.to_owned(),
            Some(name) => {
                let value = evaluate_with(&name.value, row.clone(), globals)?;
                string(&value, name)?.unwrap_or_default()
            }
        };
        let at = name_of(block);
        checked(&name, &at)?;
        if made.contains(&name) {
            let error = *fault(&at, format!("two targets of the matrix are called {name:?}"));
            return Err(Box::new(error.with_help("give them names: `name = \"app-${key}\"`")));
        }
        config.add(one(&name, block, &row, globals)?);
        made.push(name);
    }
    // Nothing is called like a matrix that makes no target.
    if made.is_empty() || made == [label] {
        return Ok(());
    }
    config.groups.retain(|(known, _)| known != label);
    config.groups.push((label.to_owned(), Group { targets: made, description: None }));
    Ok(())
}

fn name_of(block: &Block) -> Location {
    block.body.attribute("name").map_or_else(|| place(block), |name| name.value.location())
}

fn name_place(attribute: &Attribute) -> Location {
    Location { span: attribute.name.span, ..attribute.value.location() }
}

type Row = Vec<(String, Value)>;

/// Returns what the names of a matrix stand for, row by row: the first name changes fastest.
fn rows(matrix: &Attribute, globals: &Globals<'_>) -> Result<Vec<Row>, Failure> {
    let at = matrix.value.location();
    let Value::Map(axes) = evaluate(&matrix.value, globals)? else {
        return Err(fault(&at, "a matrix is a map of lists"));
    };
    let mut axes: Vec<(String, Value)> = axes.into_iter().collect();
    if let ExpressionKind::Object(entries) = &*matrix.value.kind {
        // As they are written, where that can be seen.
        let place = |name: &str| {
            entries.iter().position(|(key, _)| matches!(key, Key::Name(written) if written.value == name))
        };
        axes.sort_by_key(|(name, _)| place(name));
    }
    let mut rows: Vec<Row> = vec![Vec::new()];
    for (name, values) in axes.into_iter().rev() {
        let Value::List(values) = values else {
            return Err(fault(&at, format!("{name} of a matrix must be a list, and is {}", shown(&values))));
        };
        if rows.len().saturating_mul(values.len()) > MAX_MATRIX {
            return Err(fault(&at, format!("a matrix makes at most {MAX_MATRIX} targets")));
        }
        rows = rows
            .iter()
            .flat_map(|row| {
                values.iter().map(|value| {
                    let mut row = row.clone();
                    row.push((name.clone(), value.clone()));
                    row
                })
            })
            .collect();
    }
    Ok(rows)
}

/// Evaluates the attributes of a target.
fn one(name: &str, block: &Block, row: &[(String, Value)], globals: &Globals<'_>) -> Result<Target, Failure> {
    let mut target = Target::new(name);
    for attribute in &block.body.attributes {
        let key = &*attribute.name.value;
        if matches!(key, "name" | "matrix") || !ATTRIBUTES.contains(&key) {
            continue;
        }
        let value = evaluate_with(&attribute.value, row.to_vec(), globals)?;
        if value != Value::Null {
            assign(&mut target, key, &value, attribute)?;
        }
    }
    Ok(target)
}

fn assign(target: &mut Target, key: &str, value: &Value, at: &Attribute) -> Result<(), Failure> {
    if let Value::List(items) = value
        && items.is_empty()
        && let Some(key) = REPLACING.iter().find(|replacing| **replacing == key)
    {
        target.emptied.insert(key);
    }
    if let Some((list, kind)) = target.options(key) {
        let Value::List(items) = value else { return Err(needed("list", value, at)) };
        for item in items {
            let entries = options::entries(kind, item);
            list.extend(entries.map_err(|error| fault(&at.value.location(), format!("`{key}`: {error}")))?);
        }
        return Ok(());
    }
    match key {
        "annotations" => target.annotations = strings(value, at)?,
        "args" => target.args = map(value, at)?,
        "call" => target.call = string(value, at)?,
        "context" => target.context = string(value, at)?,
        "contexts" => target.contexts = map(value, at)?,
        "description" => target.description = string(value, at)?,
        "dockerfile" => target.dockerfile = string(value, at)?,
        "dockerfile-inline" => target.dockerfile_inline = string(value, at)?,
        "entitlements" => target.entitlements = strings(value, at)?,
        "extra-hosts" => target.extra_hosts = map(value, at)?,
        "inherits" => target.inherits = strings(value, at)?,
        "labels" => target.labels = map(value, at)?,
        "network" => target.network = string(value, at)?,
        "no-cache" => target.no_cache = Some(boolean(value, at)?),
        "no-cache-filter" => target.no_cache_filter = strings(value, at)?,
        "platforms" => target.platforms = strings(value, at)?,
        "pull" => target.pull = Some(boolean(value, at)?),
        "shm-size" => target.shm_size = string(value, at)?,
        "tags" => target.tags = strings(value, at)?,
        "target" => target.target = string(value, at)?,
        "ulimits" => target.ulimits = strings(value, at)?,
        other => unreachable!("{other} stands in the list of attributes"),
    }
    Ok(())
}

fn needed(what: &str, value: &Value, at: &Attribute) -> Failure {
    fault(&at.value.location(), format!("`{}` must be a {what}, and is {}", at.name.value, shown(value)))
}

fn string(value: &Value, at: &Attribute) -> Result<Option<String>, Failure> {
    match value {
        Value::Null => Ok(None),
        value => value.to_text().map(Some).ok_or_else(|| needed("string", value, at)),
    }
}

fn boolean(value: &Value, at: &Attribute) -> Result<bool, Failure> {
    value.to_bool().ok_or_else(|| needed("bool", value, at))
}

fn strings(value: &Value, at: &Attribute) -> Result<Vec<String>, Failure> {
    let Value::List(items) = value else { return Err(needed("list of strings", value, at)) };
    items.iter().map(|item| item.to_text().ok_or_else(|| needed("list of strings", item, at))).collect()
}

fn map(value: &Value, at: &Attribute) -> Result<BTreeMap<String, String>, Failure> {
    let Value::Map(entries) = value else { return Err(needed("map of strings", value, at)) };
    entries
        .iter()
        .filter(|(_, value)| **value != Value::Null)
        .map(|(key, value)| {
            let text = value.to_text().ok_or_else(|| needed("map of strings", value, at))?;
            Ok((key.clone(), text))
        })
        .collect()
}

/// Makes an error that is about no place of a file.
pub(super) fn unplaced(message: impl Into<String>) -> Diagnostic {
    Diagnostic {
        severity: Severity::Error,
        rule: None,
        message: message.into(),
        source: None,
        labels: Vec::new(),
        help: None,
    }
}

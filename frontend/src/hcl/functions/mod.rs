//! The functions that every file has: one list, by what they work on.

mod arithmetic;
mod cidr;
mod digest;
mod encode;
mod list;
mod map;
mod pattern;
mod rsa;
mod text;
mod time;

use super::number::Number;
use super::value::Value;

/// What functions know of the world around the text.
#[derive(Clone, Debug, Default)]
pub struct World {
    /// The time in Unix seconds.
    pub now: i64,
    /// The folder of the user.
    pub home: Option<String>,
    /// Bytes that nobody could guess, for random identifiers.
    pub seed: [u8; 32],
}

/// A function.
pub struct Function {
    /// What it is called.
    pub name: &'static str,
    /// How few arguments it takes.
    pub least: usize,
    /// How many arguments it takes; `None` for any number.
    pub most: Option<usize>,
    run: fn(&[Value], &World) -> Result<Value, String>,
}

type Run = fn(&[Value], &World) -> Result<Value, String>;

const fn function(name: &'static str, least: usize, most: usize, run: Run) -> Function {
    Function { name, least, most: Some(most), run }
}

const fn many(name: &'static str, least: usize, run: Run) -> Function {
    Function { name, least, most: None, run }
}

/// Calls a function of the list.
pub fn call(name: &str, arguments: &[Value], world: &World) -> Result<Value, String> {
    let Some(function) = find(name) else {
        let near = rbuild_model::span::nearest(name, names());
        let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
        return Err(format!("there is no function {name}{hint}"));
    };
    let Function { least, most, run, .. } = function;
    if arguments.len() < *least {
        return Err(format!("{name} takes at least {least} arguments, and got {}", arguments.len()));
    }
    if let Some(most) = most
        && arguments.len() > *most
    {
        return Err(format!("{name} takes at most {most} arguments, and got {}", arguments.len()));
    }
    run(arguments, world).map_err(|error| format!("{name}: {error}"))
}

/// Returns the names of all functions.
pub fn names() -> impl Iterator<Item = &'static str> {
    GROUPS.iter().flat_map(|group| group.iter()).map(|function| function.name)
}

fn find(name: &str) -> Option<&'static Function> {
    GROUPS.iter().flat_map(|group| group.iter()).find(|function| function.name == name)
}

/// The functions by what they work on.
const GROUPS: &[&[Function]] = &[
    arithmetic::FUNCTIONS,
    cidr::FUNCTIONS,
    digest::FUNCTIONS,
    encode::FUNCTIONS,
    list::FUNCTIONS,
    map::FUNCTIONS,
    pattern::FUNCTIONS,
    rsa::FUNCTIONS,
    text::FUNCTIONS,
    time::FUNCTIONS,
];

fn kind_error(position: usize, wanted: &str, value: &Value) -> String {
    format!("argument {} must be a {wanted}, and is {}", position + 1, crate::hcl::shown(value))
}

fn text(arguments: &[Value], position: usize) -> Result<String, String> {
    let value = arguments.get(position).unwrap_or(&Value::Null);
    value.to_text().ok_or_else(|| kind_error(position, "string", value))
}

fn number(arguments: &[Value], position: usize) -> Result<Number, String> {
    let value = arguments.get(position).unwrap_or(&Value::Null);
    value.to_number().ok_or_else(|| kind_error(position, "number", value))
}

fn whole(arguments: &[Value], position: usize) -> Result<i64, String> {
    number(arguments, position)?
        .whole()
        .ok_or_else(|| kind_error(position, "whole number", arguments.get(position).unwrap_or(&Value::Null)))
}

fn size(arguments: &[Value], position: usize) -> Result<usize, String> {
    usize::try_from(whole(arguments, position)?).map_err(|_| format!("argument {} is negative", position + 1))
}

fn boolean(arguments: &[Value], position: usize) -> Result<bool, String> {
    let value = arguments.get(position).unwrap_or(&Value::Null);
    value.to_bool().ok_or_else(|| kind_error(position, "bool", value))
}

fn elements(arguments: &[Value], position: usize) -> Result<&[Value], String> {
    match arguments.get(position) {
        Some(Value::List(items)) => Ok(items),
        other => Err(kind_error(position, "list", other.unwrap_or(&Value::Null))),
    }
}

fn entries(
    arguments: &[Value],
    position: usize,
) -> Result<&std::collections::BTreeMap<String, Value>, String> {
    match arguments.get(position) {
        Some(Value::Map(entries)) => Ok(entries),
        other => Err(kind_error(position, "map", other.unwrap_or(&Value::Null))),
    }
}

fn texts(arguments: &[Value], position: usize) -> Result<Vec<String>, String> {
    let items = elements(arguments, position)?;
    items
        .iter()
        .map(|item| item.to_text().ok_or_else(|| kind_error(position, "list of strings", item)))
        .collect()
}

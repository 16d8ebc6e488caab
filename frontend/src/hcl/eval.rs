//! Expressions to values. What a name means is asked of a [`Scope`], so that variables are evaluated when they are wanted.

use std::collections::BTreeMap;

use rbuild_model::span::{Diagnostic, Location, Span};

use super::kinds::Type;
use super::number::Number;
use super::syntax::{Access, Binary, Expression, ExpressionKind, For, Key, Part, Unary};
use super::value::Value;

/// How much memory one value may take, in bytes.
const MAX_VALUE: usize = 16 << 20;

/// A failed evaluation.
pub type Failure = Box<Diagnostic>;

/// What names mean.
pub trait Scope {
    /// Returns the value of a variable.
    fn variable(&self, name: &str, at: &Location) -> Result<Value, Failure>;

    /// Calls a function.
    fn call(&self, name: &str, arguments: Vec<Value>, at: &Location) -> Result<Value, Failure>;

    /// Returns an attribute of a block (`target.app.tags`), if there is such a block that has it.
    fn block(&self, _kind: &str, _label: &str, _attribute: &str) -> Option<Result<Value, Failure>> {
        None
    }
}

/// Makes an error about a place.
pub fn fault(at: &Location, message: impl Into<String>) -> Failure {
    Box::new(Diagnostic::error(&at.source, at.span, message))
}

/// A scope with some names of its own.
struct Inner<'s> {
    outer: &'s dyn Scope,
    names: Vec<(String, Value)>,
}

impl Scope for Inner<'_> {
    fn variable(&self, name: &str, at: &Location) -> Result<Value, Failure> {
        match self.names.iter().find(|(own, _)| own == name) {
            Some((_, value)) => Ok(value.clone()),
            None => self.outer.variable(name, at),
        }
    }

    fn call(&self, name: &str, arguments: Vec<Value>, at: &Location) -> Result<Value, Failure> {
        self.outer.call(name, arguments, at)
    }

    fn block(&self, kind: &str, label: &str, attribute: &str) -> Option<Result<Value, Failure>> {
        if self.names.iter().any(|(own, _)| own == kind) {
            None
        } else {
            self.outer.block(kind, label, attribute)
        }
    }
}

/// Evaluates an expression where some names have values of their own.
pub fn evaluate_with(
    expression: &Expression,
    names: Vec<(String, Value)>,
    scope: &dyn Scope,
) -> Result<Value, Failure> {
    evaluate(expression, &Inner { outer: scope, names })
}

/// Evaluates an expression.
pub fn evaluate(expression: &Expression, scope: &dyn Scope) -> Result<Value, Failure> {
    use ExpressionKind as Kind;
    let value = match &*expression.kind {
        Kind::Null => Value::Null,
        Kind::Bool(value) => Value::Bool(*value),
        Kind::Number(value) => Value::Number(*value),
        Kind::Template(parts) => return template(expression, parts, scope),
        Kind::Variable(name) => return scope.variable(name, &expression.location()),
        Kind::Attribute(of, name) => {
            if let Kind::Attribute(root, label) = &*of.kind
                && let Kind::Variable(kind) = &*root.kind
                && let Some(value) = scope.block(kind, &label.value, &name.value)
            {
                return value;
            }
            let value = evaluate(of, scope)?;
            let at = Location { source: expression.location().source, span: name.span };
            return attribute(&value, &name.value, &at);
        }
        Kind::Index(of, key) => {
            let (value, key_value) = (evaluate(of, scope)?, evaluate(key, scope)?);
            return index(&value, &key_value, &key.location());
        }
        Kind::Splat(of, accesses) => {
            let items = match evaluate(of, scope)? {
                Value::Null => Vec::new(),
                Value::List(items) => items,
                other => vec![other],
            };
            let access = |item| {
                accesses.iter().try_fold(item, |item, access| one_access(&item, access, expression, scope))
            };
            Value::List(items.into_iter().map(access).collect::<Result<_, _>>()?)
        }
        Kind::Call { name, arguments, spread } => {
            return call(expression, &name.value, name.span, arguments, *spread, scope);
        }
        Kind::Tuple(items) => {
            Value::List(items.iter().map(|item| evaluate(item, scope)).collect::<Result<_, _>>()?)
        }
        Kind::Object(entries) => {
            let mut map = BTreeMap::new();
            for (key, value) in entries {
                let key = match key {
                    Key::Name(name) => name.value.clone(),
                    Key::Expression(key) => text_of(key, scope)?,
                };
                map.insert(key, evaluate(value, scope)?);
            }
            Value::Map(map)
        }
        Kind::For(form) => for_form(form, scope)?,
        Kind::Unary(Unary::Not, of) => Value::Bool(!bool_of(of, scope)?),
        Kind::Unary(Unary::Negate, of) => Value::Number(Number(-number_of(of, scope)?.0)),
        Kind::Binary(operator, left, right) => binary(expression, *operator, left, right, scope)?,
        Kind::Conditional(condition, yes, no) => {
            let chosen = bool_of(condition, scope)?;
            // Both sides are looked at: what comes out has the kind that fits both.
            let (yes, no) = (evaluate(yes, scope)?, evaluate(no, scope)?);
            let texts = matches!(
                (&yes, &no),
                (Value::String(_), Value::Bool(_) | Value::Number(_))
                    | (Value::Bool(_) | Value::Number(_), Value::String(_))
            );
            let value = if chosen { yes } else { no };
            match value.to_text() {
                Some(text) if texts => Value::String(text),
                _ => value,
            }
        }
        Kind::Parenthesis(inner) => return evaluate(inner, scope),
    };
    bounded(value, expression)
}

fn bounded(value: Value, at: &Expression) -> Result<Value, Failure> {
    if value.size() > MAX_VALUE {
        return Err(fault(&at.location(), format!("this value takes more than {} MiB", MAX_VALUE >> 20)));
    }
    Ok(value)
}

fn template(at: &Expression, parts: &[Part], scope: &dyn Scope) -> Result<Value, Failure> {
    match parts {
        [] => return Ok(Value::string("")),
        [Part::Text(text)] => return Ok(Value::string(text)),
        // A single interpolation is its value, whatever kind it is.
        [Part::Interpolation(inner)] => return evaluate(inner, scope),
        _ => {}
    }
    let mut text = String::new();
    write(parts, scope, &mut text, at)?;
    Ok(Value::String(text))
}

fn write(parts: &[Part], scope: &dyn Scope, out: &mut String, at: &Expression) -> Result<(), Failure> {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Interpolation(inner) => out.push_str(&text_of(inner, scope)?),
            Part::If(condition, yes, no) => {
                write(if bool_of(condition, scope)? { yes } else { no }, scope, out, at)?;
            }
            Part::For { key, value, over, body } => {
                for (own_key, own_value) in entries(over, scope)? {
                    let mut names = vec![(value.clone(), own_value)];
                    names.extend(key.clone().map(|key| (key, own_key)));
                    write(body, &Inner { outer: scope, names }, out, at)?;
                }
            }
        }
        if out.len() > MAX_VALUE {
            return Err(fault(&at.location(), format!("this text takes more than {} MiB", MAX_VALUE >> 20)));
        }
    }
    Ok(())
}

/// Evaluates to a text.
pub fn text_of(expression: &Expression, scope: &dyn Scope) -> Result<String, Failure> {
    let value = evaluate(expression, scope)?;
    value.to_text().ok_or_else(|| {
        fault(&expression.location(), format!("a {} cannot be a part of a text", value.kind()))
    })
}

/// Evaluates to a bool.
pub fn bool_of(expression: &Expression, scope: &dyn Scope) -> Result<bool, Failure> {
    let value = evaluate(expression, scope)?;
    value.to_bool().ok_or_else(|| {
        fault(&expression.location(), format!("a bool is needed here, and this is {}", shown(&value)))
    })
}

fn number_of(expression: &Expression, scope: &dyn Scope) -> Result<Number, Failure> {
    let value = evaluate(expression, scope)?;
    value.to_number().ok_or_else(|| {
        fault(&expression.location(), format!("a number is needed here, and this is {}", shown(&value)))
    })
}

/// Says what a value is, for messages.
pub fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        Value::Bool(_) | Value::Number(_) => value.to_text().unwrap_or_default(),
        Value::Null => "null".to_owned(),
        other => format!("a {}", other.kind()),
    }
}

fn attribute(value: &Value, name: &str, at: &Location) -> Result<Value, Failure> {
    match value {
        Value::Map(entries) => entries.get(name).cloned().ok_or_else(|| {
            let near = rbuild_model::span::nearest(name, entries.keys().map(String::as_str));
            let hint = near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default();
            fault(at, format!("there is no attribute {name:?} here{hint}"))
        }),
        other => Err(fault(at, format!("{} has no attributes", shown(other)))),
    }
}

/// Returns an element of a list or a map.
pub(super) fn index(value: &Value, key: &Value, at: &Location) -> Result<Value, Failure> {
    match value {
        Value::List(items) => {
            let position = key.to_number().and_then(Number::whole);
            let found = position
                .and_then(|position| usize::try_from(position).ok())
                .and_then(|position| items.get(position));
            found.cloned().ok_or_else(|| {
                fault(at, format!("there is no element {} in a list of {}", shown(key), items.len()))
            })
        }
        Value::Map(_) => match key.to_text() {
            Some(name) => attribute(value, &name, at),
            None => Err(fault(at, format!("{} is no key of a map", shown(key)))),
        },
        other => Err(fault(at, format!("{} has no elements", shown(other)))),
    }
}

fn one_access(item: &Value, access: &Access, at: &Expression, scope: &dyn Scope) -> Result<Value, Failure> {
    match access {
        Access::Attribute(name) => {
            attribute(item, &name.value, &Location { source: at.location().source, span: name.span })
        }
        Access::Index(key) => index(item, &evaluate(key, scope)?, &key.location()),
    }
}

/// Returns keys and values of what a `for` goes through.
fn entries(over: &Expression, scope: &dyn Scope) -> Result<Vec<(Value, Value)>, Failure> {
    match evaluate(over, scope)? {
        Value::List(items) => Ok(items
            .into_iter()
            .enumerate()
            .map(|(at, item)| (Value::Number(Number(at as f64)), item))
            .collect()),
        Value::Map(map) => Ok(map.into_iter().map(|(key, value)| (Value::String(key), value)).collect()),
        other => Err(fault(
            &over.location(),
            format!("`for` goes through a list or a map, and this is {}", shown(&other)),
        )),
    }
}

fn for_form(form: &For, scope: &dyn Scope) -> Result<Value, Failure> {
    let mut list = Vec::new();
    let mut map: BTreeMap<String, Value> = BTreeMap::new();
    for (key, value) in entries(&form.over, scope)? {
        let mut names = vec![(form.value_name.clone(), value)];
        names.extend(form.key_name.clone().map(|name| (name, key)));
        let inner = Inner { outer: scope, names };
        if let Some(condition) = &form.condition
            && !bool_of(condition, &inner)?
        {
            continue;
        }
        let value = evaluate(&form.value, &inner)?;
        match &form.key {
            None => list.push(value),
            Some(key_form) => {
                let key = text_of(key_form, &inner)?;
                if form.group {
                    match map.entry(key).or_insert_with(|| Value::List(Vec::new())) {
                        Value::List(items) => items.push(value),
                        _ => unreachable!("groups are lists"),
                    }
                } else if map.insert(key.clone(), value).is_some() {
                    let message = format!("two entries have the key {key:?}");
                    let error = *fault(&key_form.location(), message);
                    return Err(Box::new(error.with_help("write `...` behind the value to gather them")));
                }
            }
        }
    }
    Ok(if form.key.is_some() { Value::Map(map) } else { Value::List(list) })
}

fn binary(
    at: &Expression,
    operator: Binary,
    left: &Expression,
    right: &Expression,
    scope: &dyn Scope,
) -> Result<Value, Failure> {
    match operator {
        Binary::Or | Binary::And => {
            let (left, right) = (bool_of(left, scope)?, bool_of(right, scope)?);
            Ok(Value::Bool(if operator == Binary::Or { left || right } else { left && right }))
        }
        Binary::Equal => Ok(Value::Bool(evaluate(left, scope)? == evaluate(right, scope)?)),
        Binary::NotEqual => Ok(Value::Bool(evaluate(left, scope)? != evaluate(right, scope)?)),
        _ => {
            let (a, b) = (number_of(left, scope)?.0, number_of(right, scope)?.0);
            if b == 0.0 && matches!(operator, Binary::Divide | Binary::Modulo) {
                return Err(fault(&right.location(), "division by zero"));
            }
            let number = match operator {
                Binary::Less => return Ok(Value::Bool(a < b)),
                Binary::LessOrEqual => return Ok(Value::Bool(a <= b)),
                Binary::Greater => return Ok(Value::Bool(a > b)),
                Binary::GreaterOrEqual => return Ok(Value::Bool(a >= b)),
                Binary::Add => a + b,
                Binary::Subtract => a - b,
                Binary::Multiply => a * b,
                Binary::Divide => a / b,
                _ => a % b,
            };
            if number.is_finite() {
                Ok(Value::Number(Number(number)))
            } else {
                Err(fault(&at.location(), "this number is too large"))
            }
        }
    }
}

fn call(
    at: &Expression,
    name: &str,
    name_span: Span,
    arguments: &[Expression],
    spread: bool,
    scope: &dyn Scope,
) -> Result<Value, Failure> {
    // The first two look at errors, and the last one at a type, so their arguments are not evaluated for them.
    match name {
        "try" => {
            let mut last = fault(&at.location(), "try needs at least one expression");
            for argument in arguments {
                match evaluate(argument, scope) {
                    Ok(value) => return Ok(value),
                    Err(error) => last = error,
                }
            }
            return Err(last);
        }
        "can" => {
            let [argument] = arguments else {
                return Err(fault(&at.location(), "can takes one expression"));
            };
            return Ok(Value::Bool(evaluate(argument, scope).is_ok()));
        }
        "convert" => {
            let [value, kind] = arguments else {
                return Err(fault(&at.location(), "convert takes a value and a type"));
            };
            let converted = Type::read(kind).map_err(|error| fault(&kind.location(), error))?;
            let converted = converted.convert(evaluate(value, scope)?);
            return converted.map_err(|error| fault(&value.location(), error));
        }
        _ => {}
    }
    let mut values =
        arguments.iter().map(|argument| evaluate(argument, scope)).collect::<Result<Vec<_>, _>>()?;
    if spread {
        let last = values.pop().unwrap_or(Value::Null);
        let Value::List(items) = last else {
            let message = format!("`...` needs a list, and this is {}", shown(&last));
            return Err(fault(
                &arguments.last().map_or_else(|| at.location(), Expression::location),
                message,
            ));
        };
        values.extend(items);
    }
    let place = Location { source: at.location().source, span: Span::new(name_span.start, at.span.end) };
    bounded(scope.call(name, values, &place)?, at)
}

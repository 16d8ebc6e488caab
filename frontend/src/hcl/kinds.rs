//! Types of variables: `string`, `list(number)`, `object({name = string})`.

use std::collections::BTreeMap;

use rbuild_model::truth::parse_bool;

use super::{Expression, ExpressionKind, Key, Part, Value, parse, shown};

/// A type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    Any,
    String,
    Number,
    Bool,
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>),
    Tuple(Vec<Type>),
    Object(BTreeMap<String, (Type, bool)>),
}

impl Type {
    /// Reads a type.
    pub(crate) fn read(expression: &Expression) -> Result<Self, String> {
        let wrong = || "a type is bool, number, string or a form like list(string)".to_owned();
        match &*expression.kind {
            ExpressionKind::Variable(name) => match &**name {
                "any" => Ok(Self::Any),
                "string" => Ok(Self::String),
                "number" => Ok(Self::Number),
                "bool" => Ok(Self::Bool),
                _ => Err(wrong()),
            },
            // In JSON a type is a text with its name.
            ExpressionKind::Template(parts) => match &parts[..] {
                [Part::Text(text)] => {
                    let source = rbuild_model::span::Source::new("type", format!("t = {text}"));
                    let (body, errors) = parse(&source);
                    match body.attributes.first() {
                        Some(attribute) if errors.is_empty() => Self::read(&attribute.value),
                        _ => Err(wrong()),
                    }
                }
                _ => Err(wrong()),
            },
            ExpressionKind::Call { name, arguments, .. } => {
                let [of] = &arguments[..] else { return Err(wrong()) };
                let inner = |of| Self::read(of).map(Box::new);
                match &*name.value {
                    "list" => inner(of).map(Self::List),
                    "set" => inner(of).map(Self::Set),
                    "map" => inner(of).map(Self::Map),
                    "tuple" => match &*of.kind {
                        ExpressionKind::Tuple(items) => {
                            items.iter().map(Self::read).collect::<Result<_, _>>().map(Self::Tuple)
                        }
                        _ => Err(wrong()),
                    },
                    "object" => match &*of.kind {
                        ExpressionKind::Object(entries) => {
                            entries.iter().map(field).collect::<Result<_, _>>().map(Self::Object)
                        }
                        _ => Err(wrong()),
                    },
                    _ => Err(wrong()),
                }
            }
            _ => Err(wrong()),
        }
    }

    /// Brings a value into the type.
    pub(crate) fn convert(&self, value: Value) -> Result<Value, String> {
        if value == Value::Null {
            return Ok(value);
        }
        let needed = |what: &str| format!("a {what} is required, and this is {}", shown(&value));
        match self {
            Self::Any => Ok(value),
            Self::String => value.to_text().map(Value::String).ok_or_else(|| needed("string")),
            Self::Number => value.to_number().map(Value::Number).ok_or_else(|| needed("number")),
            Self::Bool => value.to_bool().map(Value::Bool).ok_or_else(|| needed("bool")),
            Self::List(of) | Self::Set(of) => {
                let Value::List(items) = value else { return Err(needed("list")) };
                let mut items: Vec<Value> =
                    items.into_iter().map(|item| of.convert(item)).collect::<Result<_, _>>()?;
                if matches!(self, Self::Set(_)) {
                    items.sort();
                    items.dedup();
                }
                Ok(Value::List(items))
            }
            Self::Map(of) => {
                let Value::Map(entries) = value else { return Err(needed("map")) };
                let entries = entries.into_iter().map(|(key, value)| Ok((key, of.convert(value)?)));
                Ok(Value::Map(entries.collect::<Result<_, String>>()?))
            }
            Self::Tuple(kinds) => {
                let Value::List(items) = &value else { return Err(needed("tuple")) };
                if items.len() != kinds.len() {
                    return Err(format!(
                        "{} elements are required, and there are {}",
                        kinds.len(),
                        items.len()
                    ));
                }
                let items = items.iter().zip(kinds).map(|(item, kind)| kind.convert(item.clone()));
                Ok(Value::List(items.collect::<Result<_, _>>()?))
            }
            Self::Object(fields) => {
                let Value::Map(entries) = &value else { return Err(needed("object")) };
                let field = |(name, (kind, optional)): (&String, &(Self, bool))| match entries.get(name) {
                    Some(value) => Ok((name.clone(), kind.convert(value.clone())?)),
                    None if *optional => Ok((name.clone(), Value::Null)),
                    None => Err(format!("attribute {name:?} is required")),
                };
                Ok(Value::Map(fields.iter().map(field).collect::<Result<_, _>>()?))
            }
        }
    }

    /// Reads what a variable of the environment holds: a word, or a line of CSV for a list.
    pub(crate) fn parse(&self, text: &str) -> Result<Value, String> {
        match self {
            Self::List(of) | Self::Set(of) => {
                let words = if text.is_empty() { Vec::new() } else { record(text)? };
                let items: Vec<Value> = words.iter().map(|word| of.parse(word)).collect::<Result<_, _>>()?;
                self.convert(Value::List(items))
            }
            Self::Map(_) | Self::Tuple(_) | Self::Object(_) => {
                Err("a value of this type is given as JSON, in a variable whose name ends in _JSON"
                    .to_owned())
            }
            Self::Any => Ok(Value::string(text)),
            Self::Bool => parse_bool(text).map(Value::Bool).ok_or_else(|| format!("{text:?} is no bool")),
            other => other.convert(Value::string(text)),
        }
    }

    /// What a value of the type is called.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Any => "dynamic".to_owned(),
            Self::String => "string".to_owned(),
            Self::Number => "number".to_owned(),
            Self::Bool => "bool".to_owned(),
            Self::List(of) => format!("list of {}", of.name()),
            Self::Set(of) => format!("set of {}", of.name()),
            Self::Map(of) => format!("map of {}", of.name()),
            Self::Tuple(_) => "tuple".to_owned(),
            Self::Object(_) => "object".to_owned(),
        }
    }
}

fn field((key, value): &(Key, Expression)) -> Result<(String, (Type, bool)), String> {
    let name = match key {
        Key::Name(name) => name.value.clone(),
        Key::Expression(_) => return Err("a field of an object has a plain name".to_owned()),
    };
    if let ExpressionKind::Call { name: function, arguments, .. } = &*value.kind
        && function.value == "optional"
    {
        let [kind] = &arguments[..] else {
            return Err("`optional` takes one type".to_owned());
        };
        return Ok((name, (Type::read(kind)?, true)));
    }
    Ok((name, (Type::read(value)?, false)))
}

/// Splits one record of CSV.
pub(crate) fn record(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().expect("there is always one");
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => field.push(letter),
        }
    }
    if quoted { Err(format!("a quote in {text:?} has no end")) } else { Ok(fields) }
}

//! Values, and how one kind becomes another.

use std::collections::BTreeMap;

use super::number::Number;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `null`
    Null,
    /// `true`
    Bool(bool),
    /// `1`
    Number(Number),
    /// `"text"`
    String(String),
    /// A list, a tuple or a set.
    List(Vec<Value>),
    /// A map or an object; its entries are in the order of their keys.
    Map(BTreeMap<String, Value>),
}

impl Value {
    /// Makes a text.
    pub fn string(text: impl Into<String>) -> Self {
        Self::String(text.into())
    }

    /// Makes a list of texts.
    pub fn strings<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::List(texts.into_iter().map(Self::string).collect())
    }

    /// Says what kind of value it is, for messages.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "bool",
            Self::Number(_) => "number",
            Self::String(_) => "string",
            Self::List(_) => "list",
            Self::Map(_) => "map",
        }
    }

    /// Returns the text of it, if it is one, a number or a bool.
    pub fn to_text(&self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(value.to_string()),
            Self::Number(value) => Some(value.to_string()),
            Self::String(value) => Some(value.clone()),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// Returns the number that it is or spells.
    pub fn to_number(&self) -> Option<Number> {
        match self {
            Self::Number(value) => Some(*value),
            Self::String(value) => Number::parse(value),
            _ => None,
        }
    }

    /// Returns the bool that it is or spells.
    pub fn to_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::String(value) => match &**value {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// Returns the elements of a list, or the values of a map.
    pub fn elements(&self) -> Option<Vec<Self>> {
        match self {
            Self::List(items) => Some(items.clone()),
            Self::Map(entries) => Some(entries.values().cloned().collect()),
            _ => None,
        }
    }

    /// Returns about how much memory the value takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Null | Self::Bool(_) | Self::Number(_) => 8,
            Self::String(text) => 8 + text.len(),
            Self::List(items) => 8 + items.iter().map(Self::size).sum::<usize>(),
            Self::Map(entries) => {
                8 + entries.iter().map(|(key, value)| key.len() + value.size()).sum::<usize>()
            }
        }
    }

    /// Returns the value as JSON.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Self::Null => serde_json::Value::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(value) => value.whole().map_or_else(|| value.0.into(), Into::into),
            Self::String(value) => value.clone().into(),
            Self::List(items) => items.iter().map(Self::to_json).collect(),
            Self::Map(entries) => entries.iter().map(|(key, value)| (key.clone(), value.to_json())).collect(),
        }
    }

    /// Makes a value of JSON.
    pub fn from_json(json: &serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(value) => Self::Bool(*value),
            serde_json::Value::Number(value) => Self::Number(Number(value.as_f64().unwrap_or(0.0))),
            serde_json::Value::String(value) => Self::string(value),
            serde_json::Value::Array(items) => Self::List(items.iter().map(Self::from_json).collect()),
            serde_json::Value::Object(entries) => {
                Self::Map(entries.iter().map(|(key, value)| (key.clone(), Self::from_json(value))).collect())
            }
        }
    }
}

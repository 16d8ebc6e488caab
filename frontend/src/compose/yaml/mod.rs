//! The YAML layer: texts to trees that know where each node was written, and trees to text again.
//!
//! A scanner of the YAML 1.2 grammar gives the events; what they mean is decided here, as compose files mean it:
//! booleans are `true` and `false` alone, numbers may be octal in the old spelling (`0644`), keys are strings, a key
//! twice in one mapping is an error, `<<` merges, `!reset` and `!override` are kept as marks for merging, and what
//! aliases unfold to is bounded.

mod composer;
mod emit;
mod natural;
mod number;
mod scalar;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use rbuild_model::span::Location;

pub(crate) use composer::compose;
pub(crate) use emit::{Document, emit};
pub(crate) use natural::natural;
pub(crate) use number::{go_float, json_float};

/// A node of a tree, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// What it is.
    pub(crate) value: Value,
    /// Where it stands; `None` for what was put in by a default.
    pub(crate) at: Option<Location>,
    /// What it does to what earlier files said.
    pub(crate) mark: Mark,
}

/// What a node is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// Nothing.
    Null,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number that is too large to have a sign.
    Wide(u64),
    /// Another number.
    Float(f64),
    /// A text.
    String(String),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping.
    Map(Map),
}

/// What a node does to what earlier files said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mark {
    /// It is merged.
    #[default]
    Merge,
    /// It takes the earlier node away (`!reset`).
    Reset,
    /// It takes the earlier node's place (`!override`).
    Override,
}

/// A mapping by its keys, in their order.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Map(BTreeMap<String, Entry>);

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    key: Option<Location>,
    node: Node,
}

impl Node {
    /// Puts a value and its place together.
    pub(crate) const fn new(value: Value, at: Option<Location>) -> Self {
        Self { value, at, mark: Mark::Merge }
    }

    /// Makes a text, standing where another node does.
    pub(crate) fn text(text: impl Into<String>, like: &Self) -> Self {
        Self::new(Value::String(text.into()), like.at.clone())
    }

    /// Returns the text, if it is one.
    pub(crate) fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the mapping, if it is one.
    pub(crate) const fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the mapping, if it is one.
    pub(crate) const fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Returns the sequence, if it is one.
    pub(crate) fn as_list(&self) -> Option<&[Self]> {
        match &self.value {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// Returns the node at a key, if it is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        self.as_map()?.get(key)
    }

    /// Tells whether it is nothing.
    pub(crate) const fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Returns a scalar as text, as one would write it.
    pub(crate) fn scalar(&self) -> Option<String> {
        self.value.scalar()
    }

    /// Returns the tree without places and marks.
    pub(crate) fn plain(self) -> serde_json::Value {
        match self.value {
            Value::Null => serde_json::Value::Null,
            Value::Bool(value) => value.into(),
            Value::Int(number) => number.into(),
            Value::Wide(number) => number.into(),
            Value::Float(number) => number.into(),
            Value::String(text) => text.into(),
            Value::List(list) => list.into_iter().map(Self::plain).collect(),
            Value::Map(map) => map.into_entries().map(|(key, _, node)| (key, node.plain())).collect(),
        }
    }

    /// Takes all marks away, and with them what was reset.
    pub(crate) fn settle_marks(&mut self) {
        self.mark = Mark::Merge;
        match &mut self.value {
            Value::Map(map) => {
                map.0.retain(|_, entry| entry.node.mark != Mark::Reset);
                map.0.values_mut().for_each(|entry| entry.node.settle_marks());
            }
            Value::List(list) => {
                list.retain(|node| node.mark != Mark::Reset);
                list.iter_mut().for_each(Self::settle_marks);
            }
            _ => {}
        }
    }

    /// Returns how many nodes there are in it, itself included.
    pub(crate) fn count(&self) -> usize {
        1 + match &self.value {
            Value::Map(map) => map.iter().map(|(_, node)| node.count()).sum(),
            Value::List(list) => list.iter().map(Self::count).sum(),
            _ => 0,
        }
    }

    /// Tells whether two nodes say the same, wherever they stand.
    pub(crate) fn same(&self, other: &Self) -> bool {
        match (&self.value, &other.value) {
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().zip(b.iter()).all(|((ka, a), (kb, b))| ka == kb && a.same(b))
            }
            (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.same(b)),
            (a, b) => a == b,
        }
    }
}

impl Value {
    /// Returns a scalar as text, as one would write it.
    pub(crate) fn scalar(&self) -> Option<String> {
        match self {
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Wide(value) => Some(value.to_string()),
            Self::Float(value) if value.is_nan() => Some("NaN".to_owned()),
            Self::Float(value) if value.is_infinite() => {
                Some(if *value > 0.0 { "+Inf" } else { "-Inf" }.to_owned())
            }
            Self::Float(value) => Some(go_float(*value)),
            Self::String(text) => Some(text.clone()),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }
}

impl Map {
    /// Returns the node at a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        self.0.get(key).map(|entry| &entry.node)
    }

    /// Returns the node at a key.
    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.0.get_mut(key).map(|entry| &mut entry.node)
    }

    /// Tells whether there is a key.
    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Puts a node at a key that nobody wrote.
    pub(crate) fn put(&mut self, key: &str, node: Node) {
        self.insert(key.to_owned(), None, node);
    }

    /// Puts a node at a key; a place that is known stays.
    pub(crate) fn insert(&mut self, key: String, at: Option<Location>, node: Node) {
        let at = at.or_else(|| self.0.get(&key).and_then(|entry| entry.key.clone()));
        self.0.insert(key, Entry { key: at, node });
    }

    /// Takes a node out.
    pub(crate) fn remove(&mut self, key: &str) -> Option<Node> {
        self.0.remove(key).map(|entry| entry.node)
    }

    /// Returns where a key was written.
    pub(crate) fn key_at(&self, key: &str) -> Option<&Location> {
        self.0.get(key).and_then(|entry| entry.key.as_ref())
    }

    /// Returns where the last node of a path stands that somebody wrote: a single value itself, what has several lines
    /// by its key. The items of a list are counted.
    pub(crate) fn nearest(&self, path: &[impl AsRef<str>]) -> Option<&Location> {
        let (mut node, mut place) = (None, None);
        for key in path.iter().map(AsRef::as_ref) {
            let (below, key) = match node.map(|node: &Node| &node.value) {
                None => (self.get(key), self.key_at(key)),
                Some(Value::Map(map)) => (map.get(key), map.key_at(key)),
                Some(Value::List(list)) => (key.parse::<usize>().ok().and_then(|at| list.get(at)), None),
                Some(_) => (None, None),
            };
            let Some(below) = below else { break };
            let is_single = !matches!(below.value, Value::Map(_) | Value::List(_));
            let own = if is_single { below.at.as_ref().or(key) } else { key.or(below.at.as_ref()) };
            (node, place) = (Some(below), own.or(place));
        }
        place
    }

    /// Returns the keys and their nodes.
    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Node)> {
        self.0.iter().map(|(key, entry)| (key.as_str(), &entry.node))
    }

    /// Returns the keys and their nodes, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Node)> {
        self.0.iter_mut().map(|(key, entry)| (key.as_str(), &mut entry.node))
    }

    /// Returns the keys, where they were written, and their nodes.
    pub(crate) fn into_entries(self) -> impl Iterator<Item = (String, Option<Location>, Node)> {
        self.0.into_iter().map(|(key, entry)| (key, entry.key, entry.node))
    }

    /// Returns the keys.
    pub(crate) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Keeps the nodes that a rule keeps.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&str, &Node) -> bool) {
        self.0.retain(|key, entry| keep(key, &entry.node));
    }

    /// Returns the number of keys.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is no key.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(String, Node)> for Map {
    fn from_iter<I: IntoIterator<Item = (String, Node)>>(nodes: I) -> Self {
        Self(nodes.into_iter().map(|(key, node)| (key, Entry { key: None, node })).collect())
    }
}

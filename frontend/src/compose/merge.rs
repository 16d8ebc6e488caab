//! One tree over another: several files, several documents, extended services, included projects.
//!
//! Mappings are merged key by key, lists are put one behind the other, the later scalar counts, and nothing leaves what
//! is there. Keys whose table says otherwise have rules of their own. A node marked `!reset` takes away what is there, one
//! marked `!override` takes its place.

use super::fault::{Checked, hinted};
use super::path::Path;
use super::schema::{Field, Merge};
use super::yaml::{Map, Mark, Node, Value};

/// Whether marks are done with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Marks {
    /// They are: nothing earlier follows.
    Settle,
    /// They are not: they count against earlier files too.
    Keep,
}

/// Lays one tree over another.
pub(crate) fn merge(
    base: Node,
    over: Node,
    field: &'static Field,
    path: &Path,
    marks: Marks,
) -> Checked<Node> {
    let mut merged = merge_node(base, over, Some(field), path, marks)?;
    if marks == Marks::Settle {
        merged.settle_marks();
    }
    Ok(merged)
}

fn merge_node(
    base: Node,
    over: Node,
    field: Option<&'static Field>,
    path: &Path,
    marks: Marks,
) -> Checked<Node> {
    if over.mark == Mark::Override || base.is_null() {
        return Ok(over);
    }
    let rule = field.map_or(Merge::Deep, |field| field.merge);
    match rule {
        Merge::Replace => return Ok(over),
        Merge::Listed | Merge::Hosts => {
            [&base, &over].into_iter().try_for_each(|node| flat(node, rule, path))?;
            return Ok(listed(base, over, rule));
        }
        _ if over.is_null() => return Ok(base),
        Merge::Logging => {
            let driver = |node: &Node| node.get("driver").and_then(Node::scalar);
            if let (Some(a), Some(b)) = (driver(&base), driver(&over))
                && a != b
            {
                return Ok(over);
            }
        }
        Merge::Subnets => return Ok(subnets(base, over)),
        Merge::Deep | Merge::Build | Merge::DependsOn | Merge::Keyed => {}
    }
    let (base, over) = (mapped(base, rule), mapped(over, rule));
    let different = |over: &Node| {
        let message = format!("cannot override {}", path.pattern());
        let help = "write it in the form that it has before, or put `!override` in front of it";
        Err(hinted(over.at.as_ref(), message, help))
    };
    match (base.value, over.value) {
        (Value::Map(mut map), Value::Map(other)) => {
            let kind = Node::new(Value::Map(Map::default()), None);
            for (key, at, node) in other.into_entries() {
                if node.mark == Mark::Reset {
                    map.remove(&key);
                    if marks == Marks::Keep {
                        map.insert(key, at, node);
                    }
                    continue;
                }
                let child = field.and_then(|field| field.shape.child(&kind, &key));
                let merged = match map.remove(&key) {
                    Some(earlier) if earlier.mark != Mark::Reset => {
                        merge_node(earlier, node, child, &path.key(&key), marks)?
                    }
                    _ => node,
                };
                map.insert(key, at, merged);
            }
            Ok(Node { value: Value::Map(map), at: over.at.or(base.at), mark: over.mark })
        }
        (Value::List(mut list), Value::List(other)) => {
            list.extend(other);
            Ok(Node { value: Value::List(list), at: over.at.or(base.at), mark: over.mark })
        }
        (Value::Map(_) | Value::List(_), value) => different(&Node { value, at: over.at, mark: over.mark }),
        (_, value) => Ok(Node { value, at: over.at, mark: over.mark }),
    }
}

/// Turns the short form of a mapping into one.
fn mapped(node: Node, rule: Merge) -> Node {
    let value = match (rule, node.value) {
        (Merge::Build, Value::String(text)) => {
            let context = Node::new(Value::String(text), node.at.clone());
            Value::Map(Map::from_iter([("context".to_owned(), context)]))
        }
        (Merge::DependsOn, Value::List(list)) => Value::Map(keyed(&list, started)),
        (Merge::Keyed, Value::List(list)) => Value::Map(keyed(&list, |_| Value::Null)),
        (_, value) => value,
    };
    Node { value, at: node.at, mark: node.mark }
}

/// Turns a list of names into a mapping.
pub(crate) fn keyed(list: &[Node], value: impl Fn(&Node) -> Value) -> Map {
    let mut map = Map::default();
    for node in list {
        if let Some(name) = node.scalar() {
            map.insert(name, node.at.clone(), Node::new(value(node), node.at.clone()));
        }
    }
    map
}

/// Returns the condition that a short `depends_on` stands for.
pub(crate) fn started(like: &Node) -> Value {
    let condition = Node::text("service_started", like);
    let required = Node::new(Value::Bool(true), like.at.clone());
    Value::Map(Map::from_iter([("condition".to_owned(), condition), ("required".to_owned(), required)]))
}

/// Refuses collections where `k=v` has room for a single value: as a list, they could not be seen any more.
fn flat(node: &Node, rule: Merge, path: &Path) -> Checked<()> {
    for (key, value) in node.as_map().into_iter().flat_map(Map::iter) {
        let is_list = value.as_list().is_some();
        if value.as_map().is_some() || (is_list && rule != Merge::Hosts) {
            let message = format!("{} must be a boolean, null, number or string", path.key(key));
            return Err(hinted(value.at.as_ref(), message, "write one value"));
        }
    }
    Ok(())
}

/// Puts two values one behind the other as lists of `k=v`; the keys that the later one resets are left out.
fn listed(base: Node, over: Node, rule: Merge) -> Node {
    let reset: Vec<String> = match &over.value {
        Value::Map(map) => {
            map.iter().filter(|(_, node)| node.mark == Mark::Reset).map(|(key, _)| key.to_owned()).collect()
        }
        _ => Vec::new(),
    };
    let mut list = pairs(base.value, rule);
    list.retain(|node| {
        let text = node.scalar().unwrap_or_default();
        !reset.iter().any(|key| text.split('=').next() == Some(key))
    });
    list.extend(pairs(over.value, rule));
    Node { value: Value::List(list), at: over.at.or(base.at), mark: over.mark }
}

/// Returns a value as a list of `k=v`.
pub(crate) fn pairs(value: Value, rule: Merge) -> Vec<Node> {
    let mut list = Vec::new();
    match value {
        Value::List(items) => return items,
        Value::Map(map) => {
            for (key, at, node) in map.into_entries() {
                if node.mark == Mark::Reset {
                    continue;
                }
                let place = node.at.clone().or(at);
                let pair = |value: &Node| {
                    let text = value.scalar().map_or_else(|| key.clone(), |value| format!("{key}={value}"));
                    Node::new(Value::String(text), place.clone())
                };
                match &node.value {
                    Value::List(values) if rule == Merge::Hosts => {
                        let mut addresses: Vec<Node> = values.iter().map(pair).collect();
                        addresses.sort_by_key(Node::scalar);
                        list.extend(addresses);
                    }
                    _ => list.push(pair(&node)),
                }
            }
        }
        Value::Null => {}
        scalar => list.push(Node::new(scalar, None)),
    }
    list
}

/// Returns the later pools of addresses, each with what the earlier one of its subnet says besides.
fn subnets(base: Node, mut over: Node) -> Node {
    let subnet = |pool: &Node| pool.get("subnet").and_then(Node::scalar);
    let earlier = base.as_list().unwrap_or_default();
    if let Value::List(pools) = &mut over.value {
        for pool in pools {
            let same = earlier.iter().find(|other| subnet(other).is_some() && subnet(other) == subnet(pool));
            if let (Some(same), Value::Map(own)) = (same.and_then(Node::as_map), &mut pool.value) {
                let mut whole = same.clone();
                for (key, at, node) in std::mem::take(own).into_entries() {
                    whole.insert(key, at, node);
                }
                *own = whole;
            }
        }
    }
    over
}

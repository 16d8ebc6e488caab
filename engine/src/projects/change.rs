//! What is different between two canonical forms of a service.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One thing that is different.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Where: keys joined by dots (`environment.PORT`).
    pub path: String,
    /// What it was; `None` if it was not there.
    pub from: Option<Value>,
    /// What it is; `None` if it is gone.
    pub to: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key without a value is like one that is not there, but for being new, or gone.
        let valued = |value: &Option<Value>| value.clone().filter(|value| !value.is_null());
        match (&valued(&self.from), &valued(&self.to)) {
            (None, None) if self.to.is_some() => write!(f, "{} is new", self.path),
            (None, None) => write!(f, "{} is gone", self.path),
            (Some(from), Some(to)) => write!(f, "{} {} -> {}", self.path, Plain(from), Plain(to)),
            (Some(_), None) => write!(f, "{} is gone", self.path),
            (None, Some(to)) => write!(f, "{} is new: {}", self.path, Plain(to)),
        }
    }
}

/// A value as a person writes it: strings without quotes.
struct Plain<'a>(&'a Value);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => f.write_str(text),
            other => write!(f, "{other}"),
        }
    }
}

/// Returns what is different, in the order of the paths. What stands in a list is known by where it leads in the container
/// (`volumes[/data]`, `ports[80]`); other lists are compared as a whole: where an element stands says little to people.
pub fn changes(from: &Value, to: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), Some(from), Some(to), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn compare(path: String, from: Option<&Value>, to: Option<&Value>, found: &mut Vec<Change>) {
    // A mapping with nothing in it says what none says.
    let nothing =
        |value: Option<&Value>| value.is_none_or(|value| value.as_object().is_some_and(Map::is_empty));
    if from == to || (nothing(from) && nothing(to)) {
        return;
    }
    if let (Some(Value::Object(old)), Some(Value::Object(new))) = (from, to) {
        let below = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        for (key, value) in old {
            compare(below(key), Some(value), new.get(key), found);
        }
        for (key, value) in new.iter().filter(|(key, _)| !old.contains_key(*key)) {
            compare(below(key), None, Some(value), found);
        }
        return;
    }
    if let Some((old, new)) = from.and_then(by_target).zip(to.and_then(by_target)) {
        let before = found.len();
        let below = |target: &str| format!("{path}[{target}]");
        for (target, value) in &old {
            compare(below(target), Some(value), new.get(target).copied(), found);
        }
        for (target, value) in new.iter().filter(|(target, _)| !old.contains_key(*target)) {
            compare(below(target), None, Some(value), found);
        }
        if found.len() > before {
            return;
        }
        // Else it is their order.
    }
    found.push(Change { path, from: from.cloned(), to: to.cloned() });
}

/// The elements of a list by their targets, if each has one of its own.
fn by_target(list: &Value) -> Option<BTreeMap<String, &Value>> {
    let Value::Array(elements) = list else { return None };
    let mut known = BTreeMap::new();
    for element in elements {
        let target = Plain(element.get("target")?).to_string();
        if known.insert(target, element).is_some() {
            return None;
        }
    }
    Some(known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_key_without_a_value_is_as_good_as_none() {
        let text = |from: Value, to: Value| {
            changes(&from, &to).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let (none, some) = (json!({"networks": {"a": null}}), json!({"networks": {"a": {"aliases": ["x"]}}}));
        assert_eq!(text(none.clone(), some.clone()), r#"networks.a is new: {"aliases":["x"]}"#);
        assert_eq!(text(some, none.clone()), "networks.a is gone");
        let more = json!({"networks": {"a": null, "b": null}});
        assert_eq!(text(none.clone(), more.clone()), "networks.b is new");
        assert_eq!(text(more, none), "networks.b is gone");
    }

    #[test]
    fn elements_of_lists_are_known_by_where_they_lead() {
        let text = |from: Value, to: Value| {
            changes(&from, &to).iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        };
        let volume = |source: &str, target: &str| json!({"type": "bind", "source": source, "target": target});
        let one = json!({"volumes": [volume("/a", "/x"), volume("/b", "/y")]});
        assert_eq!(
            text(one.clone(), json!({"volumes": [volume("/a", "/x"), volume("/c", "/y")]})),
            "volumes[/y].source /b -> /c"
        );
        assert_eq!(
            text(one.clone(), json!({"volumes": [volume("/a", "/x"), volume("/b", "/z")]})),
            r#"volumes[/y] is gone, volumes[/z] is new: {"type":"bind","source":"/b","target":"/z"}"#
        );
        // Their order alone, elements of one target, and lists of words are told as a whole.
        for (from, to) in [
            (one, json!({"volumes": [volume("/b", "/y"), volume("/a", "/x")]})),
            (
                json!({"ports": [{"target": 80, "published": "1"}]}),
                json!({"ports": [{"target": 80, "published": "1"}, {"target": 80, "published": "2"}]}),
            ),
            (json!({"cap_add": ["A"]}), json!({"cap_add": ["A", "B"]})),
        ] {
            let (key, _) = from.as_object().unwrap().iter().next().unwrap();
            assert_eq!(text(from.clone(), to.clone()), format!("{key} {} -> {}", from[key], to[key]));
        }
        assert_eq!(
            text(
                json!({"ports": [{"target": 80, "published": "1"}]}),
                json!({"ports": [{"target": 80, "published": "2"}]})
            ),
            "ports[80].published 1 -> 2"
        );
    }

    #[test]
    fn nothing_and_an_empty_mapping_are_one() {
        assert_eq!(changes(&json!({"a": 1}), &json!({"a": 1, "environment": {}, "labels": {}})), []);
        assert_eq!(changes(&json!({"command": null}), &json!({"command": []})).len(), 1);
    }
}

//! What is in the files that services are given: kept, as digests, beside what a container was made of, so that a change
//! of it can be seen.
//!
//! Only what was written into a container is kept: a file of the host that is seen where it lies shows its changes itself.

use std::collections::BTreeMap;

use rbuild_model::project::{Project, Service};
use serde_json::Value;

use super::execute::granted;

/// Where digests are kept in what a container was made of; no key of a service is called so.
const KEY: &str = "(contents)";

/// The digests of files, by what they are called (`config app`).
pub type Contents = BTreeMap<String, String>;

/// Returns what is in the files that are written for a service; nothing if it cannot be had.
pub fn contents(project: &Project, service: &Service) -> Option<Contents> {
    Some(granted(project, service).ok()?.contents())
}

/// Returns what a container is made of, with what is in its files.
pub(super) fn with_contents(config: &Value, contents: &Contents) -> Value {
    let mut whole = config.clone();
    if let Some(map) = whole.as_object_mut() {
        map.insert(
            KEY.to_owned(),
            contents.iter().map(|(name, digest)| (name.clone(), digest.clone())).collect(),
        );
    }
    whole
}

/// Returns what a container was made of, without what is in its files.
pub(super) fn without_contents(whole: &Value) -> Value {
    let mut config = whole.clone();
    if let Some(map) = config.as_object_mut() {
        map.remove(KEY);
    }
    config
}

/// Returns the files of which a container has other contents than it would get now; none where nobody knows.
pub(super) fn other_contents(whole: &Value, now: &Contents) -> Vec<String> {
    let Some(was) = whole.get(KEY).and_then(Value::as_object) else { return Vec::new() };
    let differs = |(name, digest): &(&String, &String)| {
        was.get(*name).is_some_and(|was| was.as_str() != Some(digest.as_str()))
    };
    now.iter().filter(differs).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_known_to_be_different_counts() {
        let contents = |one: &str| Contents::from([("config app".to_owned(), one.to_owned())]);
        let config = json!({"image": "x"});
        let whole = with_contents(&config, &contents("a"));
        assert_eq!(without_contents(&whole), config);
        assert_eq!(other_contents(&whole, &contents("a")), [""; 0]);
        assert_eq!(other_contents(&whole, &contents("b")), ["config app"]);
        assert_eq!(other_contents(&config, &contents("b")), [""; 0]);
        let other = Contents::from([("secret key".to_owned(), "a".to_owned())]);
        assert_eq!(other_contents(&whole, &other), [""; 0]);
    }
}

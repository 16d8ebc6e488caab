//! Where a variable's value came from, and what it does.

use std::fmt::Write as _;

use super::discover::place;
use super::environment::{Environment, Origin};
use super::interpolate::Use;
use super::path::Path;
use super::yaml::{Map, Node};

/// Tells all that is known of a variable.
pub(crate) fn explain<'a>(
    name: &str,
    environment: &Environment,
    uses: impl Iterator<Item = &'a Use>,
) -> String {
    let mut text = match environment.variable(name) {
        None => format!("{name} is not set\n"),
        Some(variable) => {
            let origin = match &variable.origin {
                Origin::Caller => "the caller's environment".to_owned(),
                Origin::EnvFile(location) => place(location),
                Origin::ProjectName => "the project's name".to_owned(),
            };
            format!("{name}={}\n  from {origin}\n", variable.value)
        }
    };
    let mut told: Vec<&Use> = Vec::new();
    for used in uses.filter(|used| used.name == name) {
        if told.contains(&used) {
            continue;
        }
        told.push(used);
        let at = used.at.as_ref().map(|at| format!(" ({})", place(at))).unwrap_or_default();
        let how = match &used.value {
            None => " without a value",
            Some(_) => "",
        };
        let _ = writeln!(text, "  used{how} by {}{at}: {:?}", used.path, used.result);
    }
    if told.is_empty() {
        text.push_str("  used nowhere\n");
    }
    text
}

/// The configs and secrets that are the value of a variable. What they come to is theirs alone.
pub(crate) fn contents(top: &Map, name: &str) -> Vec<Use> {
    let mut uses = Vec::new();
    for section in ["configs", "secrets"] {
        let files = top.get(section).and_then(Node::as_map);
        for (key, file) in files.into_iter().flat_map(Map::iter) {
            let Some(node) = file.get("environment").filter(|node| node.as_str() == Some(name)) else {
                continue;
            };
            uses.push(Use {
                name: name.to_owned(),
                path: Path::default().key(section).key(key).key("environment").pattern(),
                at: node.at.clone(),
                value: Some(String::new()),
                result: name.into(),
            });
        }
    }
    uses
}

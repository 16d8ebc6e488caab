//! Relative paths to absolute ones.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use super::schema::{Field, PathRule};
use super::yaml::{Node, Value};
use crate::path::clean;

/// Where relative paths begin.
#[derive(Clone, Debug)]
pub(crate) struct Base<'a> {
    /// The folder; a relative one, for paths that are completed later.
    pub(crate) folder: &'a FilePath,
    /// The user's home.
    pub(crate) home: Option<&'a FilePath>,
    /// Where links of watched paths lead.
    pub(crate) followed: &'a BTreeMap<PathBuf, PathBuf>,
}

/// Resolves the paths of a tree.
pub(crate) fn resolve(node: &mut Node, field: Option<&'static Field>, base: &Base<'_>) {
    let Some(field) = field else { return };
    match field.path {
        PathRule::No => {}
        PathRule::Mount => return base.mount(node),
        PathRule::VolumeDevice => base.device(node),
        rule => {
            base.each(node, rule);
            return;
        }
    }
    let children: Vec<Option<&'static Field>> = match &node.value {
        Value::Map(map) => map.keys().map(|key| field.shape.child(node, key)).collect(),
        Value::List(list) => list.iter().map(|_| field.shape.child(node, "")).collect(),
        _ => return,
    };
    match &mut node.value {
        Value::Map(map) => {
            map.iter_mut().zip(children).for_each(|((_, child), field)| resolve(child, field, base));
        }
        Value::List(list) => {
            list.iter_mut().zip(children).for_each(|(child, field)| resolve(child, field, base))
        }
        _ => {}
    }
}

/// Tells whether a context is at another place than this machine's files.
pub(crate) fn is_remote(context: &str) -> bool {
    const PREFIXES: &[&str] =
        &["https://", "http://", "git://", "ssh://", "github.com/", "git@", "docker-image:", "service:"];
    context.contains("://") || PREFIXES.iter().any(|prefix| context.starts_with(prefix))
}

impl Base<'_> {
    /// Resolves a text, or each text of a collection.
    fn each(&self, node: &mut Node, rule: PathRule) {
        match &mut node.value {
            Value::String(text) => {
                let resolved = match rule {
                    PathRule::Context if is_remote(text) => return,
                    PathRule::Followed => self.follow(text),
                    _ => self.absolute(text),
                };
                *text = resolved;
            }
            Value::List(list) => list.iter_mut().for_each(|node| self.each(node, rule)),
            Value::Map(map) => map.iter_mut().for_each(|(_, node)| self.each(node, rule)),
            _ => {}
        }
    }

    /// Returns an absolute path as it is, and any other below the folder.
    pub(crate) fn absolute(&self, text: &str) -> String {
        if let Some(rest) = text.strip_prefix('~')
            && let Some(home) = self.home
        {
            return clean(&format!("{}/{rest}", home.display()));
        }
        if text.starts_with('/') || text.is_empty() {
            return text.to_owned();
        }
        clean(&format!("{}/{text}", self.folder.display()))
    }

    fn follow(&self, text: &str) -> String {
        let path = self.absolute(text);
        match self.followed.get(FilePath::new(&path)) {
            Some(followed) => followed.display().to_string(),
            None => path,
        }
    }

    fn mount(&self, node: &mut Node) {
        let Some(map) = node.as_map_mut() else { return };
        if map.get("type").and_then(Node::as_str) != Some("bind") {
            return;
        }
        if let Some(Value::String(source)) = map.get_mut("source").map(|node| &mut node.value)
            && !is_windows(source)
        {
            *source = self.absolute(source);
        }
    }

    fn device(&self, node: &mut Node) {
        let Some(map) = node.as_map_mut() else { return };
        let is_local = map.get("driver").and_then(Node::as_str) == Some("local");
        let Some(options) = map.get_mut("driver_opts").and_then(Node::as_map_mut).filter(|_| is_local) else {
            return;
        };
        let is_bind = options.get("o").and_then(Node::as_str) == Some("bind");
        if let Some(Value::String(device)) =
            options.get_mut("device").map(|node| &mut node.value).filter(|_| is_bind)
        {
            *device = self.absolute(device);
        }
    }
}

/// Tells whether what is mounted is a path of Windows.
fn is_windows(text: &str) -> bool {
    text.starts_with("\\\\")
        || matches!(text.as_bytes(), [letter, b':', b'\\' | b'/', ..] if letter.is_ascii_alphabetic())
}

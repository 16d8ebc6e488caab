//! Which variables a project mentions, and how.

use std::collections::BTreeMap;

use super::template::{OperationKind, Piece, pieces};
use super::yaml::{Node, Value};

/// How a variable is mentioned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mention {
    /// Whether it must have a value.
    pub required: bool,
    /// What stands in for it.
    pub default: String,
    /// What is taken where it is set.
    pub alternate: String,
}

/// Returns the variables that a tree mentions.
pub(crate) fn mentioned(node: &Node) -> BTreeMap<String, Mention> {
    let mut mentions = BTreeMap::new();
    visit(node, &mut mentions);
    mentions
}

fn visit(node: &Node, mentions: &mut BTreeMap<String, Mention>) {
    match &node.value {
        Value::String(text) => read(text, mentions),
        Value::List(list) => list.iter().for_each(|node| visit(node, mentions)),
        Value::Map(map) => map.iter().for_each(|(_, node)| visit(node, mentions)),
        _ => {}
    }
}

fn read(template: &str, mentions: &mut BTreeMap<String, Mention>) {
    for piece in pieces(template).unwrap_or_default() {
        let Piece::Variable { name, operation } = piece else { continue };
        let mention = mentions.entry(name.to_owned()).or_default();
        let Some(operation) = operation else { continue };
        match operation.kind {
            OperationKind::Required => mention.required = true,
            OperationKind::Default => mention.default = operation.argument.to_owned(),
            OperationKind::Alternate => mention.alternate = operation.argument.to_owned(),
        }
        read(operation.argument, mentions);
    }
}

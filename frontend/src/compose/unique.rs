//! Items of lists that count as the same: the later one takes the earlier one's place.

use std::collections::HashMap;

use super::fault::{Checked, hinted};
use super::long::MOUNTS;
use super::path::Path;
use super::schema::{Field, Unique};
use super::values::mount;
use super::yaml::{Node, Value};
use crate::path::clean;

/// Leaves one item of each kind, everywhere in a tree.
pub(crate) fn enforce(node: &mut Node, field: Option<&'static Field>, path: &Path) -> Checked<()> {
    let Some(field) = field else { return Ok(()) };
    if field.unique != Unique::No
        && let Value::List(list) = &mut node.value
    {
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut kept: Vec<Node> = Vec::with_capacity(list.len());
        for (at, item) in std::mem::take(list).into_iter().enumerate() {
            match key(&item, field.unique, &path.item(at))? {
                Some(key) => match places.get(&key) {
                    Some(place) => kept[*place] = item,
                    None => {
                        places.insert(key, kept.len());
                        kept.push(item);
                    }
                },
                None => kept.push(item),
            }
        }
        *list = kept;
    }
    let children: Vec<Option<&'static Field>> = match &node.value {
        Value::Map(map) => map.keys().map(|key| field.shape.child(node, key)).collect(),
        Value::List(list) => list.iter().map(|_| field.shape.child(node, "")).collect(),
        _ => return Ok(()),
    };
    match &mut node.value {
        Value::Map(map) => map
            .iter_mut()
            .zip(children)
            .try_for_each(|((key, child), field)| enforce(child, field, &path.key(key))),
        Value::List(list) => list
            .iter_mut()
            .zip(children)
            .enumerate()
            .try_for_each(|(at, (child, field))| enforce(child, field, &path.item(at))),
        _ => Ok(()),
    }
}

/// Returns what an item is known by.
fn key(item: &Node, unique: Unique, path: &Path) -> Checked<Option<String>> {
    let text = |name: &str| item.get(name).and_then(Node::scalar);
    let is_map = item.as_map().is_some();
    Ok(match unique {
        Unique::No => None,
        Unique::Key => item.scalar().map(|text| text.split('=').next().unwrap_or_default().to_owned()),
        Unique::Whole => item.scalar(),
        Unique::Port if is_map => {
            let Some(target) = text("target").filter(|target| target != "0") else {
                let message = format!("service ports {} is missing a target port", path.bracketed());
                return Err(hinted(item.at.as_ref(), message, "write the container's port: `target: 80`"));
            };
            let host = text("host_ip").unwrap_or_else(|| "0.0.0.0".to_owned());
            let published = text("published").unwrap_or_default();
            let protocol = text("protocol").unwrap_or_else(|| "tcp".to_owned());
            Some(format!("{host}:{published}:{target}/{protocol}"))
        }
        Unique::Port => item.scalar(),
        Unique::Mount if is_map => {
            let Some(target) = text("target") else {
                let message = format!("service volume {} is missing a mount target", path.bracketed());
                return Err(hinted(item.at.as_ref(), message, "say where in the container: `target: /PATH`"));
            };
            Some(target)
        }
        Unique::Mount => match item.as_str() {
            Some(short) if !short.contains('$') => {
                let mount = mount::parse(short);
                let mount = mount.map_err(|error| hinted(item.at.as_ref(), error, MOUNTS))?;
                Some(clean(&mount.target))
            }
            _ => item.scalar(),
        },
        Unique::Device if is_map => {
            let Some(target) = text("target") else {
                let message = format!("service device {} is missing a mount target", path.bracketed());
                return Err(hinted(item.at.as_ref(), message, "say where in the container: `target: /PATH`"));
            };
            Some(target).filter(|target| !target.is_empty()).or_else(|| text("source"))
        }
        Unique::Device => item.scalar().map(|text| {
            let mut parts = text.split(':');
            let source = parts.next().unwrap_or_default();
            parts.next().unwrap_or(source).to_owned()
        }),
        Unique::File(folder) if is_map => {
            text("target").or_else(|| text("source").map(|source| format!("{folder}/{source}")))
        }
        Unique::File(folder) => item.scalar().map(|source| format!("{folder}/{source}")),
        Unique::EnvFile if is_map => match text("path") {
            Some(path) => Some(path),
            None => {
                let message = format!("environment path attribute {} is missing", path.bracketed());
                return Err(hinted(item.at.as_ref(), message, "write `path: FILE`"));
            }
        },
        Unique::EnvFile => item.scalar(),
    })
}

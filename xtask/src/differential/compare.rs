//! Two images side by side.

use anyhow::Result;
use serde_json::{Map, Value};

use super::archive::{Archive, Inode, Kind, Tree};

/// What differs, a line each: the place, then theirs and ours. Times since `begin` are all the same.
pub(super) fn images(theirs: &Archive, ours: &Archive, begin: u64) -> Result<Vec<String>> {
    let mut lines = Vec::new();
    configs(&theirs.config, &ours.config, &mut lines);
    let shared =
        theirs.diff_ids().iter().zip(&ours.diff_ids()).take_while(|(left, right)| left == right).count();
    let mut base = Tree::default();
    for index in 0..shared {
        theirs.lay(index, &mut base)?;
    }
    let mut left = base.clone();
    for index in shared..theirs.len() {
        theirs.lay(index, &mut left)?;
    }
    let mut right = base;
    for index in shared..ours.len() {
        ours.lay(index, &mut right)?;
    }
    trees(&left, &right, begin, &mut lines);
    Ok(lines)
}

fn configs(theirs: &Value, ours: &Value, lines: &mut Vec<String>) {
    for key in ["architecture", "os", "variant", "author"] {
        values(key, &theirs[key], &ours[key], lines);
    }
    let empty = Map::new();
    let left = theirs["config"].as_object().unwrap_or(&empty);
    let right = ours["config"].as_object().unwrap_or(&empty);
    let mut keys: Vec<&String> = left.keys().chain(right.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let nothing = Value::Null;
        values(key, left.get(key).unwrap_or(&nothing), right.get(key).unwrap_or(&nothing), lines);
    }
    let history =
        |config: &Value| -> Vec<Value> { config["history"].as_array().cloned().unwrap_or_default() };
    let (left, right) = (history(theirs), history(ours));
    for index in 0..left.len().max(right.len()) {
        for key in ["created_by", "empty_layer", "author", "comment"] {
            let side = |list: &[Value]| list.get(index).map_or(Value::Null, |entry| entry[key].clone());
            values(&format!("history {index} {key}"), &side(&left), &side(&right), lines);
        }
    }
    let count = |config: &Value| Value::from(config["rootfs"]["diff_ids"].as_array().map_or(0, Vec::len));
    values("layers", &count(theirs), &count(ours), lines);
}

/// Compares two values of documents, in which nothing can be said in many ways.
fn values(place: &str, theirs: &Value, ours: &Value, lines: &mut Vec<String>) {
    let nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
        _ => false,
    };
    // Key order is no difference; `preserve_order` does not make it one.
    if theirs != ours && !(nothing(theirs) && nothing(ours)) {
        lines.push(format!("{place}: {theirs} | {ours}"));
    }
}

fn trees(theirs: &Tree, ours: &Tree, begin: u64, lines: &mut Vec<String>) {
    let (left_groups, right_groups) = (theirs.groups(), ours.groups());
    let mut paths: Vec<&String> = theirs.paths.keys().chain(ours.paths.keys()).collect();
    paths.sort();
    paths.dedup();
    for path in paths {
        let (left, right) = match (theirs.paths.get(path), ours.paths.get(path)) {
            (Some(&left), Some(&right)) => (&theirs.inodes[left], &ours.inodes[right]),
            (Some(&left), None) => {
                lines.push(format!("/{path}: {} | nothing", describe(&theirs.inodes[left])));
                continue;
            }
            (None, Some(&right)) => {
                lines.push(format!("/{path}: nothing | {}", describe(&ours.inodes[right])));
                continue;
            }
            (None, None) => continue,
        };
        if left.kind != right.kind {
            lines.push(format!("/{path}: {} | {}", describe(left), describe(right)));
        }
        let link = matches!(left.kind, Kind::Link(_)) && matches!(right.kind, Kind::Link(_));
        if left.mode != right.mode && !link {
            lines.push(format!("/{path}: mode {:04o} | {:04o}", left.mode, right.mode));
        }
        if left.owner != right.owner {
            let ((lu, lg), (ru, rg)) = (left.owner, right.owner);
            lines.push(format!("/{path}: owner {lu}:{lg} | {ru}:{rg}"));
        }
        let now = |time: u64| time >= begin;
        if left.time != right.time && !(now(left.time) && now(right.time)) {
            let time = |time: u64| if now(time) { "now".to_owned() } else { time.to_string() };
            lines.push(format!("/{path}: time {} | {}", time(left.time), time(right.time)));
        }
        if left.attributes != right.attributes {
            lines.push(format!("/{path}: attributes {:?} | {:?}", left.attributes, right.attributes));
        }
        let (left, right) = (left_groups.get(path.as_str()), right_groups.get(path.as_str()));
        if left != right {
            let names = |group: Option<&Vec<&str>>| group.map_or("alone".to_owned(), |group| group.join(" "));
            lines.push(format!("/{path}: linked {} | {}", names(left), names(right)));
        }
    }
}

fn describe(inode: &Inode) -> String {
    let (uid, gid) = inode.owner;
    let kind = match &inode.kind {
        Kind::File { size, hash } => format!("file of {size} bytes {}", &hash.to_hex()[..12]),
        Kind::Folder => "folder".to_owned(),
        Kind::Link(target) => format!("link to {target}"),
        Kind::Device { block, major, minor } => {
            format!("{} device {major}:{minor}", if *block { "block" } else { "character" })
        }
        Kind::Fifo => "fifo".to_owned(),
    };
    format!("{kind}, {:04o} {uid}:{gid}", inode.mode)
}

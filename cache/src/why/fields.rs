//! Two pre-images, field by field.

use rbuild_model::key::{CacheKey, ContentHash, Guarded, PreImage};

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which one: the names of the fields that lead to it, and for items of lists their names or numbers.
    pub field: Vec<String>,
    /// What it was.
    pub before: Value,
    /// What it is.
    pub after: Value,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing.
    Absent,
    /// A text that may be shown.
    Text(String),
    /// The value of a variable, not yet looked up.
    Guarded(Guarded),
    /// The value of a variable that is no longer known.
    Forgotten,
}

/// What a selection held before and after.
pub type BeforeAfter = (Option<ContentHash>, Option<ContentHash>);

/// What differs of two pre-images.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Fields of the definition.
    pub differences: Vec<Difference>,
    /// The place of a selection among all, and its content before and after.
    pub contents: Vec<(usize, BeforeAfter)>,
    /// The new keys of inputs that are others.
    pub inputs: Vec<CacheKey>,
}

/// Compares two pre-images.
pub fn compare(before: &PreImage, after: &PreImage) -> Compared {
    let mut found = Compared::default();
    descend(Some(before), Some(after), &mut Vec::new(), &mut found);
    found
}

fn descend(
    before: Option<&PreImage>,
    after: Option<&PreImage>,
    path: &mut Vec<String>,
    found: &mut Compared,
) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(PreImage::Fields(old)), Some(PreImage::Fields(new))) => {
            let value = |fields: &'_ [(std::borrow::Cow<'static, str>, PreImage)], name: &str| {
                fields.iter().position(|(known, _)| known == name)
            };
            for (name, after) in new {
                let before = value(old, name).map(|at| &old[at].1);
                within(name, path, |path| descend(before, Some(after), path, found));
            }
            for (name, before) in old.iter().filter(|(name, _)| value(new, name).is_none()) {
                within(name, path, |path| descend(Some(before), None, path, found));
            }
        }
        (Some(PreImage::List(old)), Some(PreImage::List(new))) => lists(old, new, path, found),
        (_, Some(PreImage::Key(key))) => found.inputs.push(*key),
        (old @ (Some(PreImage::Content(_)) | None), new @ (Some(PreImage::Content(_)) | None)) => {
            let place = path.last().and_then(|place| place.parse().ok()).unwrap_or_default();
            found.contents.push((place, (content(old), content(new))));
        }
        (before, after) => {
            found.differences.push(Difference {
                field: path.clone(),
                before: shown(before),
                after: shown(after),
            });
        }
    }
}

fn within(name: &str, path: &mut Vec<String>, body: impl FnOnce(&mut Vec<String>)) {
    path.push(name.to_owned());
    body(path);
    path.pop();
}

fn content(image: Option<&PreImage>) -> Option<ContentHash> {
    match image {
        Some(PreImage::Content(hash)) => Some(*hash),
        _ => None,
    }
}

/// The name by which an item of a list is known, so that one more in the middle does not make all others differ.
fn name_of(item: &PreImage) -> Option<&str> {
    let PreImage::Fields(fields) = item else { return None };
    let (_, value) = fields.iter().find(|(name, _)| name == "name" || name == "target")?;
    match value {
        PreImage::Text(text) if !text.is_empty() => Some(text),
        _ => None,
    }
}

fn lists(old: &[PreImage], new: &[PreImage], path: &mut Vec<String>, found: &mut Compared) {
    let all_named = |items: &[PreImage]| items.iter().all(|item| name_of(item).is_some());
    if all_named(old) && all_named(new) {
        let before = found.differences.len();
        for after in new {
            let name = name_of(after).unwrap_or_default();
            let former = old.iter().find(|item| name_of(item) == Some(name));
            within(name, path, |path| descend(former, Some(after), path, found));
        }
        for former in old {
            let name = name_of(former).unwrap_or_default();
            if !new.iter().any(|item| name_of(item) == Some(name)) {
                within(name, path, |path| descend(Some(former), None, path, found));
            }
        }
        if found.differences.len() > before {
            return;
        }
    }
    if old.len() == new.len()
        || [old, new].iter().any(|items| items.iter().any(|item| content(Some(item)).is_some()))
    {
        for at in 0..old.len().max(new.len()) {
            within(&at.to_string(), path, |path| descend(old.get(at), new.get(at), path, found));
        }
        return;
    }
    let whole = |items: &[PreImage]| {
        let words: Vec<String> = items.iter().map(|item| plain(&shown(Some(item)))).collect();
        Value::Text(words.join(" "))
    };
    found.differences.push(Difference { field: path.clone(), before: whole(old), after: whole(new) });
}

fn plain(value: &Value) -> String {
    match value {
        Value::Absent => String::new(),
        Value::Text(text) => text.clone(),
        Value::Guarded(_) | Value::Forgotten => "…".to_owned(),
    }
}

fn shown(image: Option<&PreImage>) -> Value {
    match image {
        None | Some(PreImage::Absent) => Value::Absent,
        Some(PreImage::Flag(value)) => Value::Text(value.to_string()),
        Some(PreImage::Number(value)) => Value::Text(value.to_string()),
        Some(PreImage::Text(text)) => Value::Text(text.clone()),
        Some(PreImage::Guarded(value)) => Value::Guarded(value.clone()),
        Some(PreImage::Key(key)) => Value::Text(key.hex()[..12].to_owned()),
        Some(PreImage::Content(hash)) => Value::Text(hash.hex()[..12].to_owned()),
        Some(PreImage::List(items)) => {
            let words: Vec<String> = items.iter().map(|item| plain(&shown(Some(item)))).collect();
            Value::Text(words.join(" "))
        }
        Some(PreImage::Fields(fields)) => {
            // A variable that came or went is told by its value.
            let value = fields.iter().find(|(name, _)| name == "value");
            match value {
                Some((_, value)) => shown(Some(value)),
                None => {
                    let words: Vec<String> = fields
                        .iter()
                        .map(|(name, value)| format!("{name}={}", plain(&shown(Some(value)))))
                        .collect();
                    Value::Text(words.join(" "))
                }
            }
        }
    }
}

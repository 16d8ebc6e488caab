//! Options written as `key=value,...`, as a map, or as one word: caches, outputs, secrets, agents, attestations.

use std::collections::BTreeMap;

use crate::hcl::Value;

/// One option: its keys and values.
pub type Entry = BTreeMap<String, String>;

/// What kind of option it is: that says what a single word means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `cache-from`, `cache-to`
    Cache,
    /// `output`
    Output,
    /// `secret`
    Secret,
    /// `ssh`
    Ssh,
    /// `attest`
    Attest,
}

/// Reads one option.
pub fn entry(kind: Kind, value: &Value) -> Result<Option<Entry>, String> {
    match value {
        Value::Map(map) => {
            let text = |(key, value): (&String, &Value)| match value {
                Value::Null => Ok(None),
                Value::List(items) => {
                    let parts: Option<Vec<String>> = items.iter().map(Value::to_text).collect();
                    let parts = parts.ok_or_else(|| format!("{key} must be a list of strings"))?;
                    Ok(Some((key.clone(), parts.join(","))))
                }
                other => {
                    let text = other.to_text().ok_or_else(|| format!("{key} must be a string"))?;
                    Ok(Some((key.clone(), text)))
                }
            };
            let entries: Result<Vec<_>, String> = map.iter().map(text).collect();
            Ok(Some(entries?.into_iter().flatten().collect()).filter(|entry: &Entry| !entry.is_empty()))
        }
        other => {
            let text = other.to_text().ok_or_else(|| "an option is a string or a map".to_owned())?;
            written(kind, &text)
        }
    }
}

/// Reads an option that is one text; `None` if it is empty.
pub fn written(kind: Kind, text: &str) -> Result<Option<Entry>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let one = |pairs: &[(&str, &str)]| {
        Ok(Some(pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()))
    };
    if kind == Kind::Ssh {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let mut entry: Entry = [("id".to_owned(), id.to_owned())].into();
        if !paths.is_empty() {
            entry.insert("paths".to_owned(), paths.to_owned());
        }
        return Ok(Some(entry));
    }
    let fields = fields(text)?;
    match (kind, &fields[..]) {
        (Kind::Cache, all) if all.iter().all(|field| !field.contains('=')) => {
            return one(&[("type", "registry"), ("ref", text)]);
        }
        (Kind::Output, [word]) if !word.contains('=') && word == "-" => {
            return one(&[("type", "tar"), ("dest", "-")]);
        }
        (Kind::Output, [word]) if !word.contains('=') => return one(&[("type", "local"), ("dest", word)]),
        (Kind::Attest, [word]) if !word.contains('=') => return one(&[("type", word)]),
        _ => {}
    }
    let mut entry = Entry::new();
    for field in &fields {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("{field:?} is no key=value pair"))?;
        let key = key.trim().to_lowercase();
        let key = match (kind, &*key) {
            (Kind::Secret, "source") => "src".to_owned(),
            _ => key,
        };
        entry.insert(key, value.to_owned());
    }
    if matches!(kind, Kind::Cache | Kind::Output) && !entry.contains_key("type") {
        return Err(format!("type is required for {text:?}"));
    }
    Ok(Some(entry))
}

/// Splits one record of CSV.
fn fields(text: &str) -> Result<Vec<String>, String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        let field = fields.last_mut().expect("there is always one");
        match letter {
            '"' if quoted && letters.next_if_eq(&'"').is_some() => field.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            letter => field.push(letter),
        }
    }
    if quoted { Err(format!("a quote in {text:?} has no end")) } else { Ok(fields) }
}

/// Secrets are written in an order of their own, and their kind shows in their keys.
pub(super) fn settle(kind: Kind, entry: &mut Entry) -> Result<(), String> {
    if kind == Kind::Secret {
        let of = entry.remove("type");
        match of.as_deref() {
            None | Some("file" | "env") => {}
            Some(other) => return Err(format!("unsupported secret type {other:?}: write file or env")),
        }
        if of.as_deref() == Some("env")
            && let Some(name) = entry.remove("src")
        {
            entry.insert("env".to_owned(), name);
        }
        if let Some(key) = entry.keys().find(|key| !matches!(&***key, "id" | "src" | "env")) {
            return Err(format!("unexpected key {key:?} in a secret"));
        }
    }
    Ok(())
}

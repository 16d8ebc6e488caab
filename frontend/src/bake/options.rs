//! Options written as `key=value,...`, as a map, or as one word: caches, outputs, secrets, agents, attestations.

use std::collections::BTreeMap;

use crate::hcl::{Value, record};

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

/// Reads one option: a map, or a text, which may hold several caches or nothing.
pub fn entries(kind: Kind, value: &Value) -> Result<Vec<Entry>, String> {
    match value {
        Value::Map(map) => {
            let text = |(key, value): (&String, &Value)| match value {
                Value::Null => Ok(None),
                Value::List(items) if (kind, &**key) == (Kind::Ssh, "paths") => {
                    let parts: Option<Vec<String>> = items.iter().map(Value::to_text).collect();
                    let parts = parts.ok_or_else(|| format!("{key} must be a list of strings"))?;
                    Ok(Some((key.clone(), parts.join(","))))
                }
                other => {
                    let text = other.to_text().ok_or_else(|| format!("{key} must be a string"))?;
                    Ok(Some((key.clone(), text)))
                }
            };
            let pairs: Result<Vec<_>, String> = map.iter().map(text).collect();
            let entry: Entry = pairs?.into_iter().flatten().collect();
            if entry.is_empty() { Ok(Vec::new()) } else { Ok(vec![settled(kind, entry)?]) }
        }
        other => {
            let text = other.to_text().ok_or_else(|| "an option is a string or a map".to_owned())?;
            written(kind, &text)
        }
    }
}

/// Reads an option that is one text.
pub fn written(kind: Kind, text: &str) -> Result<Vec<Entry>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let one = |pairs: [(&str, &str); 2]| pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    if kind == Kind::Ssh {
        let (id, paths) = text.split_once('=').unwrap_or((text, ""));
        let mut entry: Entry = [("id".to_owned(), id.to_owned())].into();
        if !paths.is_empty() {
            entry.insert("paths".to_owned(), paths.to_owned());
        }
        return Ok(vec![entry]);
    }
    let fields = record(text)?;
    match (kind, &fields[..]) {
        (Kind::Cache, all) if all.iter().all(|field| !field.contains('=')) => {
            return Ok(all.iter().map(|name| one([("type", "registry"), ("ref", name)])).collect());
        }
        (Kind::Output, [word]) if !word.contains('=') && word == "-" => {
            return Ok(vec![one([("type", "tar"), ("dest", "-")])]);
        }
        (Kind::Output, [word]) if !word.contains('=') => {
            return Ok(vec![one([("type", "local"), ("dest", word)])]);
        }
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
    Ok(vec![settled(kind, entry)?])
}

/// Writes what a short form says of an attestation (`true`, `false`, `mode=max`) as an option.
pub fn attest(kind: &str, said: &str) -> String {
    match said {
        "true" | "1" => format!("type={kind}"),
        "false" | "0" => format!("type={kind},disabled=true"),
        more => format!("type={kind},{more}"),
    }
}

/// The kind of a secret shows in its keys.
fn settled(kind: Kind, mut entry: Entry) -> Result<Entry, String> {
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
    Ok(entry)
}

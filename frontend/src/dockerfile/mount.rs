//! The value of `RUN --mount`: one record of comma-separated `key=value` fields.
//!
//! Fields come in any order. What a field's value may be depends on the mount's type, which is why the fields are
//! collected first and judged together.

use rbuild_model::mount::Sharing;
use rbuild_model::span::nearest;

use super::directive::parse_bool;

/// What kind of mount is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MountKind {
    /// Files of the context, a stage or an image.
    #[default]
    Bind,
    /// A folder that lives on between builds.
    Cache,
    /// A folder in memory.
    Tmpfs,
    /// A secret of the client.
    Secret,
    /// The client's ssh agent.
    Ssh,
}

impl MountKind {
    const ALL: [(&'static str, Self); 5] = [
        ("bind", Self::Bind),
        ("cache", Self::Cache),
        ("tmpfs", Self::Tmpfs),
        ("secret", Self::Secret),
        ("ssh", Self::Ssh),
    ];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// A mount as a RUN asks for it; what is not given is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountRequest {
    /// The kind.
    pub kind: MountKind,
    /// Where it is seen.
    pub target: Option<String>,
    /// What is seen, or for secrets the id.
    pub source: Option<String>,
    /// The stage, context or image it is taken from.
    pub from: Option<String>,
    /// Whether writing was asked for, or refused.
    pub writable: Option<bool>,
    /// The name of a cache, secret or agent.
    pub id: Option<String>,
    /// How a cache is shared.
    pub sharing: Option<Sharing>,
    /// The size of a tmpfs in bytes.
    pub size: Option<u64>,
    /// Whether the step fails without the secret or agent.
    pub required: bool,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// The variable that a secret is seen as.
    pub env: Option<String>,
}

/// What is wrong with a mount.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MountError {
    /// Quotes in the record do not fit together.
    #[error("failed to parse csv mounts: quotes do not match in {text:?}")]
    Quotes {
        /// The record.
        text: String,
    },
    /// A field without `=` that needs one.
    #[error("invalid field '{field}' must be a key=value pair")]
    Field {
        /// The field.
        field: String,
    },
    /// A key that does not exist.
    #[error("unexpected key '{key}' in '{field}'{}", suggestion(.near.as_deref()))]
    Key {
        /// The key.
        key: String,
        /// The whole field.
        field: String,
        /// A key that is close.
        near: Option<String>,
    },
    /// A type that does not exist.
    #[error("unsupported mount type {kind:?}{}", suggestion(.near.as_deref()))]
    Kind {
        /// The type.
        kind: String,
        /// A type that is close.
        near: Option<String>,
    },
    /// A value that does not fit its key.
    #[error("invalid value for {key}: {value}{}", suggestion(.near.as_deref()))]
    Value {
        /// The key.
        key: &'static str,
        /// The value.
        value: String,
        /// A value that is close.
        near: Option<String>,
    },
    /// A key that mounts of this type do not have.
    #[error("{key} is not supported for mount type {kind:?}")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// The type.
        kind: &'static str,
    },
    /// A variable in `from`.
    #[error("'from' doesn't support variable expansion, define alias stage instead")]
    FromVariable,
    /// `/` as the target.
    #[error("invalid mount target {target:?}")]
    Target {
        /// The target.
        target: String,
    },
    /// Both names of a secret's id.
    #[error("both id and source can't be set for a secret")]
    TwoIds,
    /// Nothing that names the secret.
    #[error("invalid secret mount. one of source, target, id required")]
    NoId,
    /// The value of a field could not be expanded.
    #[error(transparent)]
    Expand(#[from] super::expand::ExpandError),
}

fn suggestion(near: Option<&str>) -> String {
    near.map(|near| format!(" (did you mean {near}?)")).unwrap_or_default()
}

impl MountError {
    /// Returns what to try.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::Quotes { .. } => Some("a field with a comma is written '\"source=a,b\"'".to_owned()),
            Self::Kind { .. } => Some("the types are bind, cache, tmpfs, secret and ssh".to_owned()),
            Self::Target { .. } => Some("mount below `/`".to_owned()),
            Self::FromVariable => {
                Some("write `FROM $IMAGE AS name` at the top and `from=name` here".to_owned())
            }
            _ => None,
        }
    }
}

/// Replaces the variables of a value.
pub type Expand<'a> = &'a mut dyn FnMut(&str) -> Result<String, super::expand::ExpandError>;

const KEYS: &[&str] = &[
    "type",
    "from",
    "source",
    "src",
    "target",
    "dst",
    "destination",
    "readonly",
    "ro",
    "readwrite",
    "rw",
    "id",
    "sharing",
    "size",
    "required",
    "mode",
    "uid",
    "gid",
    "env",
];

/// Reads a mount. Without an expansion, values that hold variables are passed over.
pub fn parse(text: &str, mut expand: Option<Expand<'_>>) -> Result<MountRequest, MountError> {
    let mut request = MountRequest::default();
    let (mut size_given, mut sharing_given, mut mode_given, mut required_given) =
        (false, false, false, false);
    let mut kind_unknown = false;
    let mut later = Vec::new();
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value.to_owned())),
            None => (field.to_lowercase(), None),
        };
        if !KEYS.contains(&key.as_str()) {
            let near = nearest(&key, KEYS.iter().copied()).map(str::to_owned);
            return Err(if value.is_some() {
                MountError::Key { key, field, near }
            } else {
                MountError::Field { field }
            });
        }
        let Some(value) = value else {
            match key.as_str() {
                "readonly" | "ro" => request.writable = Some(false),
                "readwrite" | "rw" => request.writable = Some(true),
                "required" => (request.required, required_given) = (true, true),
                _ => return Err(MountError::Field { field }),
            }
            continue;
        };
        match key.as_str() {
            "size" => size_given = true,
            "sharing" => sharing_given = true,
            "required" => required_given = true,
            "mode" | "uid" | "gid" => mode_given = true,
            _ => {}
        }
        if key == "from" {
            if value.contains('$') {
                return Err(MountError::FromVariable);
            }
            request.from = Some(value);
            continue;
        }
        let value = match &mut expand {
            Some(expand) => expand(&value)?,
            None if value.contains('$') => {
                kind_unknown |= key == "type";
                continue;
            }
            None => value,
        };
        later.push((key, value));
    }
    for (key, value) in later {
        set(&mut request, &key, value)?;
    }
    if kind_unknown {
        return Ok(request);
    }
    let kind = request.kind;
    let unsupported = |key| Err(MountError::Unsupported { key, kind: kind.name() });
    if size_given && kind != MountKind::Tmpfs {
        return unsupported("size");
    }
    if sharing_given && kind != MountKind::Cache {
        return unsupported("sharing");
    }
    if required_given && !matches!(kind, MountKind::Secret | MountKind::Ssh) {
        return unsupported("required");
    }
    if mode_given && matches!(kind, MountKind::Bind | MountKind::Tmpfs) {
        return unsupported("mode, uid or gid");
    }
    if request.env.is_some() && kind != MountKind::Secret {
        return unsupported("env");
    }
    match kind {
        MountKind::Secret => {
            if request.id.is_some() && request.source.is_some() {
                return Err(MountError::TwoIds);
            }
            let named = request.id.is_some() || request.source.is_some() || request.target.is_some();
            // A name that is a variable has no value yet when there is no expansion.
            if !named && (expand.is_some() || !text.contains('$')) {
                return Err(MountError::NoId);
            }
        }
        MountKind::Ssh if request.source.is_some() => return unsupported("source"),
        _ => {}
    }
    if request.target.as_deref() == Some("/") {
        return Err(MountError::Target { target: "/".to_owned() });
    }
    Ok(request)
}

fn set(request: &mut MountRequest, key: &str, value: String) -> Result<(), MountError> {
    let wrong = |key, value: &str| MountError::Value { key, value: value.to_owned(), near: None };
    let number = |key, value: &str| value.parse::<u32>().map_err(|_| wrong(key, value));
    match key {
        "type" => {
            let name = value.to_lowercase();
            request.kind =
                MountKind::ALL.iter().find(|(known, _)| *known == name).map(|(_, kind)| *kind).ok_or_else(
                    || MountError::Kind {
                        near: nearest(&name, MountKind::ALL.iter().map(|(name, _)| *name)).map(str::to_owned),
                        kind: value,
                    },
                )?;
        }
        "source" | "src" => request.source = Some(value),
        "target" | "dst" | "destination" => request.target = Some(value),
        "readonly" | "ro" => {
            request.writable = Some(!parse_bool(&value).ok_or_else(|| wrong("readonly", &value))?);
        }
        "readwrite" | "rw" => {
            request.writable = Some(parse_bool(&value).ok_or_else(|| wrong("readwrite", &value))?);
        }
        "required" => request.required = parse_bool(&value).ok_or_else(|| wrong("required", &value))?,
        "id" => request.id = Some(value),
        "sharing" => {
            request.sharing = Some(match value.to_lowercase().as_str() {
                "shared" => Sharing::Shared,
                "private" => Sharing::Private,
                "locked" => Sharing::Locked,
                other => {
                    let near = nearest(other, ["shared", "private", "locked"]).map(str::to_owned);
                    return Err(MountError::Value { key: "sharing", value, near });
                }
            });
        }
        "size" => request.size = Some(parse_size(&value).ok_or_else(|| wrong("size", &value))?),
        "mode" => {
            request.mode = Some(
                u32::from_str_radix(&value, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o7777 && !value.starts_with('+'))
                    .ok_or_else(|| wrong("mode", &value))?,
            );
        }
        "uid" => request.uid = Some(number("uid", &value)?),
        "gid" => request.gid = Some(number("gid", &value)?),
        "env" => request.env = Some(value),
        _ => {}
    }
    Ok(())
}

/// Reads a size with an optional unit of 1024: `64m`, `1GiB`, `100`.
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|ch: char| !ch.is_ascii_digit() && ch != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim();
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let number: f64 = number.parse().ok()?;
    let bytes = number * (1_u64 << shift) as f64;
    (bytes.is_finite() && bytes < u64::MAX as f64).then_some(bytes as u64)
}

/// Splits one record of comma-separated values; a field in double quotes may hold commas, and `""` for a quote.
fn fields(text: &str) -> Result<Vec<String>, MountError> {
    let wrong = || MountError::Quotes { text: text.to_owned() };
    let mut fields = Vec::new();
    let mut chars = text.chars().peekable();
    loop {
        let mut field = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next() {
                    None => return Err(wrong()),
                    Some('"') if chars.next_if_eq(&'"').is_some() => field.push('"'),
                    Some('"') => break,
                    Some(ch) => field.push(ch),
                }
            }
            if !matches!(chars.peek(), None | Some(',')) {
                return Err(wrong());
            }
        } else {
            while let Some(ch) = chars.next_if(|ch| *ch != ',') {
                if ch == '"' {
                    return Err(wrong());
                }
                field.push(ch);
            }
        }
        fields.push(field);
        if chars.next().is_none() {
            return Ok(fields);
        }
    }
}

//! The value of `RUN --mount`: one record of comma-separated `key=value` fields.
//!
//! Fields come in any order. What a field's value may be depends on the mount's type, which is why the fields are
//! collected first and judged together. All that is read before variables have values is what the mount is taken from:
//! what is wrong with the rest is told when the step is needed.

use rbuild_model::mount::Sharing;
use rbuild_model::span::nearest;
use rbuild_model::truth::parse_bool;

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
    #[error("invalid value for {key}: {value}")]
    Value {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A mode, user or group that is none.
    #[error("invalid value {value} for {key}")]
    Number {
        /// The key.
        key: String,
        /// The value.
        value: String,
    },
    /// A way of sharing that does not exist.
    #[error("unsupported sharing value {value:?}{}", suggestion(.near.as_deref()))]
    Sharing {
        /// The value.
        value: String,
        /// A value that is close.
        near: Option<String>,
    },
    /// A key that mounts of this type do not have.
    #[error("unexpected key '{key}' for mount type '{kind}'")]
    Unsupported {
        /// The key.
        key: &'static str,
        /// The type.
        kind: &'static str,
    },
    /// A way of sharing for a mount that is no cache.
    #[error("invalid cache sharing set for {kind} mount")]
    SharingOf {
        /// The type.
        kind: &'static str,
    },
    /// A mode or an owner for a mount that has its own.
    #[error("{key} not allowed for {kind:?} type mounts")]
    OwnerOf {
        /// The key.
        key: String,
        /// The type.
        kind: &'static str,
    },
    /// Where a secret or an agent comes from is not written in a Dockerfile.
    #[error("{kind} mount should not have a {key}")]
    Origin {
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
    #[error("both source and id can't be set")]
    TwoIds,
    /// Nothing that names the secret.
    #[error("invalid secret mount. one of source, target required")]
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
            Self::NoId => {
                Some("write the name that --secret id=NAME has: `--mount=type=secret,id=NAME`".to_owned())
            }
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

/// The keys that may stand alone.
const SWITCHES: &[&str] = &["readonly", "ro", "readwrite", "rw", "required"];

/// Returns what a mount is taken from, if it says so.
pub fn source(text: &str) -> Result<Option<String>, MountError> {
    let mut from = None;
    for field in fields(text)? {
        if let Some((key, value)) = field.split_once('=')
            && key.eq_ignore_ascii_case("from")
        {
            if value.contains('$') {
                return Err(MountError::FromVariable);
            }
            from = named(value);
        }
    }
    Ok(from)
}

/// The source that `from=` names; an empty one is the build context.
fn named(from: &str) -> Option<String> {
    (!from.is_empty()).then(|| from.to_owned())
}

/// Reads a mount.
pub fn parse(text: &str, expand: Expand<'_>) -> Result<MountRequest, MountError> {
    let mut request = MountRequest::default();
    let mut given = Vec::new();
    for field in fields(text)? {
        let (key, value) = match field.split_once('=') {
            Some((key, value)) => (key.to_lowercase(), Some(value)),
            None => (field.to_lowercase(), None),
        };
        if !KEYS.contains(&key.as_str()) {
            let near = nearest(&key, KEYS.iter().copied()).map(str::to_owned);
            return Err(match value {
                Some(_) => MountError::Key { key, field, near },
                None => MountError::Field { field },
            });
        }
        match value {
            Some(value) if key == "from" => request.from = named(value),
            Some(value) => set(&mut request, &key, expand(value)?)?,
            None if SWITCHES.contains(&key.as_str()) => set(&mut request, &key, "true".to_owned())?,
            None => return Err(MountError::Field { field }),
        }
        given.push(key);
    }
    judge(&request, &given)?;
    Ok(request)
}

/// Looks at what the keys of a mount come to together.
fn judge(request: &MountRequest, given: &[String]) -> Result<(), MountError> {
    let kind = request.kind;
    let is_given = |wanted: &str| given.iter().any(|key| key == wanted);
    let unsupported = |key| Err(MountError::Unsupported { key, kind: kind.name() });
    if is_given("size") && kind != MountKind::Tmpfs {
        return unsupported("size");
    }
    if is_given("sharing") && kind != MountKind::Cache {
        return Err(MountError::SharingOf { kind: kind.name() });
    }
    if is_given("required") && !matches!(kind, MountKind::Secret | MountKind::Ssh) {
        return unsupported("required");
    }
    if let Some(key) = given.iter().find(|key| matches!(key.as_str(), "mode" | "uid" | "gid"))
        && matches!(kind, MountKind::Bind | MountKind::Tmpfs)
    {
        return Err(MountError::OwnerOf { key: key.clone(), kind: kind.name() });
    }
    let origin = |key| Err(MountError::Origin { key, kind: kind.name() });
    let MountRequest { from, source, target, id, .. } = request;
    match kind {
        MountKind::Secret if from.is_some() => return origin("from"),
        MountKind::Secret if id.is_some() && source.is_some() => return Err(MountError::TwoIds),
        MountKind::Secret if [id, source, target].iter().all(|name| name.is_none()) => {
            return Err(MountError::NoId);
        }
        MountKind::Ssh if source.is_some() => return origin("source"),
        // Nothing is in it yet but its top.
        MountKind::Tmpfs if source.as_deref().is_some_and(|source| !matches!(source, "" | "." | "/")) => {
            return origin("source");
        }
        _ => {}
    }
    if target.as_deref() == Some("/") {
        return Err(MountError::Target { target: "/".to_owned() });
    }
    Ok(())
}

fn set(request: &mut MountRequest, key: &str, value: String) -> Result<(), MountError> {
    let wrong = |value: &str| MountError::Value { key: key.to_owned(), value: value.to_owned() };
    let no_number = |value: &str| MountError::Number { key: key.to_owned(), value: value.to_owned() };
    let number = |value: &str| value.parse::<u32>().map_err(|_| no_number(value));
    let truth = |value: &str| parse_bool(value).ok_or_else(|| wrong(value));
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
        "readonly" | "ro" => request.writable = Some(!truth(&value)?),
        "readwrite" | "rw" => request.writable = Some(truth(&value)?),
        "required" => request.required = truth(&value)?,
        "id" => request.id = Some(value),
        "sharing" => {
            request.sharing = Some(match value.to_lowercase().as_str() {
                "shared" => Sharing::Shared,
                "private" => Sharing::Private,
                "locked" => Sharing::Locked,
                other => {
                    let near = nearest(other, ["shared", "private", "locked"]).map(str::to_owned);
                    return Err(MountError::Sharing { value, near });
                }
            });
        }
        "size" => request.size = Some(parse_size(&value).ok_or_else(|| wrong(&value))?),
        "mode" => {
            request.mode = Some(
                u32::from_str_radix(&value, 8)
                    .ok()
                    .filter(|mode| *mode <= 0o7777 && !value.starts_with('+'))
                    .ok_or_else(|| no_number(&value))?,
            );
        }
        "uid" => request.uid = Some(number(&value)?),
        "gid" => request.gid = Some(number(&value)?),
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

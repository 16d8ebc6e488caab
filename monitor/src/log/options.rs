//! The options of logs, in Docker's words.

use rbuild_model::container::{LogConfig, LogDriver};
use rbuild_model::truth::parse_bool;
use regex_lite::Regex;

use super::Context;
use super::rotate::Rotation;

/// Options that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// The driver has no such option.
    #[error("unknown log opt '{option}' for {driver} log driver")]
    Unknown {
        /// The option.
        option: String,
        /// The driver.
        driver: LogDriver,
    },
    /// A value is not what it has to be.
    #[error("invalid value for log opt '{option}': {why}")]
    Value {
        /// The option.
        option: &'static str,
        /// What is wrong.
        why: String,
    },
    /// Options contradict each other.
    #[error("{0}")]
    Conflict(&'static str),
}

/// What the options come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LogOptions {
    pub(super) rotation: Rotation,
    pub(super) extra: Extra,
}

/// What is added to each line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extra {
    labels: Vec<String>,
    /// What names of further labels look like.
    labels_like: Option<String>,
    env: Vec<String>,
    /// What names of further variables look like.
    env_like: Option<String>,
    tag: Option<String>,
}

/// Checks the options of a log; to be called when a container is made.
pub fn check(config: &LogConfig) -> Result<(), OptionError> {
    LogOptions::of(config).map(drop)
}

impl LogOptions {
    pub(super) fn of(config: &LogConfig) -> Result<Self, OptionError> {
        let driver = config.driver;
        let known: &[&str] = match driver {
            LogDriver::JsonFile => &[
                "max-size",
                "max-file",
                "compress",
                "labels",
                "labels-regex",
                "env",
                "env-regex",
                "tag",
                "mode",
                "max-buffer-size",
            ],
            LogDriver::Local => &["max-size", "max-file", "compress", "mode", "max-buffer-size"],
            LogDriver::None => &[],
        };
        let mut options = Self::default();
        if driver == LogDriver::Local {
            options.rotation = Rotation { size: Some(20 << 20), files: 5, compress: true };
        }
        let list = |text: &str| text.split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect();
        let mut compress = None;
        for (option, value) in &config.options {
            if !known.contains(&option.as_str()) {
                return Err(OptionError::Unknown { option: option.clone(), driver });
            }
            match option.as_str() {
                "max-size" => options.rotation.size = size("max-size", value)?,
                "max-file" => options.rotation.files = files(value)?,
                "compress" => compress = Some(boolean(value)?),
                "labels" => options.extra.labels = list(value),
                "env" => options.extra.env = list(value),
                "labels-regex" => options.extra.labels_like = pattern("labels-regex", value)?,
                "env-regex" => options.extra.env_like = pattern("env-regex", value)?,
                "tag" if value.is_empty() => {}
                "tag" => options.extra.tag = Some(tag(value)?),
                // What is written never waits for a log anyway: both modes come to the same.
                "mode" if matches!(value.as_str(), "" | "blocking" | "non-blocking") => {}
                "mode" => {
                    let why = format!("logger: logging mode not supported: {value}");
                    return Err(OptionError::Value { option: "mode", why });
                }
                _ => {
                    if config.options.get("mode").is_none_or(|mode| mode != "non-blocking") {
                        return Err(OptionError::Conflict(
                            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
                        ));
                    }
                    size("max-buffer-size", value)?;
                }
            }
        }
        if let Some(compress) = compress {
            if compress && driver == LogDriver::JsonFile && options.rotation.size.is_none() {
                return Err(OptionError::Conflict("compress cannot be true when max-size is not set"));
            }
            if compress && options.rotation.files < 2 {
                return Err(OptionError::Conflict(
                    "compress cannot be true when max-file is less than 2 or is not set",
                ));
            }
            options.rotation.compress = compress;
        }
        options.rotation.compress &= options.rotation.files > 1;
        Ok(options)
    }
}

impl Extra {
    /// Finds the values, by name.
    pub(super) fn resolve(&self, context: &Context<'_>) -> std::collections::BTreeMap<String, String> {
        // Patterns were read when the container was made.
        let like = |pattern: &Option<String>| pattern.as_ref().and_then(|text| Regex::new(text).ok());
        let (labels, variables) = (like(&self.labels_like), like(&self.env_like));
        let mut found = std::collections::BTreeMap::new();
        for (label, value) in context.attributes {
            // These two stand beside the labels.
            let is_own = matches!(label.as_str(), "image" | "name");
            if self.labels.contains(label)
                || labels.as_ref().is_some_and(|like| !is_own && like.is_match(label))
            {
                found.insert(label.clone(), value.clone());
            }
        }
        for (name, value) in context.env.iter().filter_map(|entry| entry.split_once('=')) {
            if variables.as_ref().is_some_and(|like| like.is_match(name)) {
                found.insert(name.to_owned(), value.to_owned());
            }
        }
        for name in &self.env {
            let value = context.env.iter().find_map(|entry| entry.strip_prefix(name)?.strip_prefix('='));
            if let Some(value) = value {
                found.insert(name.clone(), value.to_owned());
            }
        }
        if let Some(tag) = &self.tag {
            let id = context.id.to_string();
            let attribute = |name| context.attributes.get(name).map_or("", String::as_str);
            let text = tag
                .replace("{{.ID}}", &id[..12])
                .replace("{{.FullID}}", &id)
                .replace("{{.Name}}", attribute("name"))
                .replace("{{.ImageName}}", attribute("image"));
            found.insert("tag".to_owned(), text);
        }
        found
    }
}

/// Checks a tag: only the plain fields of Docker's template are carried out.
fn tag(value: &str) -> Result<String, OptionError> {
    const FIELDS: [&str; 4] = ["{{.ID}}", "{{.FullID}}", "{{.Name}}", "{{.ImageName}}"];
    let rest = FIELDS.iter().fold(value.to_owned(), |text, field| text.replace(field, ""));
    if rest.contains("{{") {
        let why = format!("`{value}`: only {} are supported", FIELDS.join(", "));
        return Err(OptionError::Value { option: "tag", why });
    }
    Ok(value.to_owned())
}

/// Checks a pattern of names; an empty one asks for nothing.
fn pattern(option: &'static str, value: &str) -> Result<Option<String>, OptionError> {
    if value.is_empty() {
        return Ok(None);
    }
    match Regex::new(value) {
        Ok(_) => Ok(Some(value.to_owned())),
        Err(error) => Err(OptionError::Value { option, why: format!("`{value}`: {error}") }),
    }
}

fn boolean(value: &str) -> Result<bool, OptionError> {
    parse_bool(value).ok_or_else(|| OptionError::Value {
        option: "compress",
        why: format!("`{value}` is neither true nor false"),
    })
}

fn files(value: &str) -> Result<usize, OptionError> {
    match value.parse() {
        Ok(0) => Err(OptionError::Conflict("max-file cannot be less than 1")),
        Ok(files) => Ok(files),
        Err(_) => Err(OptionError::Value { option: "max-file", why: format!("`{value}` is no number") }),
    }
}

/// Reads a size with a unit of powers of 1024; -1 is none.
fn size(option: &'static str, value: &str) -> Result<Option<u64>, OptionError> {
    let wrong = || OptionError::Value { option, why: format!("`{value}` is no size") };
    if value == "-1" {
        return Ok(None);
    }
    let lower = value.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|letter: char| letter.is_ascii_alphabetic()).trim_end();
    let unit = match lower[digits.len()..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: f64 = digits.parse().map_err(|_| wrong())?;
    let bytes =
        number * f64::from(1_u32 << (unit % 30)) * if unit >= 30 { f64::from(1_u32 << 30) } else { 1.0 };
    if !(1.0..9e18).contains(&bytes) {
        return Err(wrong());
    }
    Ok(Some(bytes as u64))
}

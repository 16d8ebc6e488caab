//! Where the output of a container is kept.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the output of a container is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// In which form.
    pub driver: LogDriver,
    /// The form's options, as given; checked when the container is made.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// A form in which output is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogDriver {
    /// Docker's lines of JSON.
    #[default]
    JsonFile,
    /// Docker's compact records.
    Local,
    /// It is not kept.
    None,
}

impl LogDriver {
    /// Returns Docker's word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::JsonFile => "json-file",
            Self::Local => "local",
            Self::None => "none",
        }
    }
}

impl fmt::Display for LogDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The text names no form in which output is kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("logger: no log driver named '{0}' is registered")]
pub struct UnknownLogDriver(pub String);

impl FromStr for LogDriver {
    type Err = UnknownLogDriver;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" | "json-file" => Ok(Self::JsonFile),
            "local" => Ok(Self::Local),
            "none" => Ok(Self::None),
            other => Err(UnknownLogDriver(other.to_owned())),
        }
    }
}

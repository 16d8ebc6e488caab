//! Volumes: trees that outlive containers.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The label that a volume without a given name has.
pub const ANONYMOUS_LABEL: &str = "com.docker.volume.anonymous";

/// The name of a volume: `[a-zA-Z0-9][a-zA-Z0-9_.-]+`, so that it is one entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct VolumeName(String);

/// A text that cannot name a volume.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VolumeNameError {
    /// One character, or none.
    #[error("volume name is too short, names should be at least two alphanumeric characters")]
    TooShort,
    /// Longer than an entry of a folder.
    #[error("volume name is too long: at most 255 characters")]
    TooLong,
    /// Other characters.
    #[error(
        "\"{}\" includes invalid characters for a local volume name, only \"[a-zA-Z0-9][a-zA-Z0-9_.-]\" are allowed. If you intended to pass a host directory, use absolute path",
        .0.escape_debug()
    )]
    Characters(String),
}

impl VolumeName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VolumeName {
    type Err = VolumeNameError;

    fn from_str(text: &str) -> Result<Self, VolumeNameError> {
        if text.len() < 2 {
            return Err(VolumeNameError::TooShort);
        }
        if text.len() > 255 {
            return Err(VolumeNameError::TooLong);
        }
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        if !text.as_bytes()[0].is_ascii_alphanumeric() || !text.bytes().all(good) {
            return Err(VolumeNameError::Characters(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for VolumeName {
    type Error = VolumeNameError;

    fn try_from(text: String) -> Result<Self, VolumeNameError> {
        text.parse()
    }
}

impl From<VolumeName> for String {
    fn from(name: VolumeName) -> Self {
        name.0
    }
}

impl fmt::Display for VolumeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a volume was asked to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeDefinition {
    /// Its name.
    pub name: VolumeName,
    /// Who keeps it; `local` unless a plugin does.
    pub driver: String,
    /// Options of its driver.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was made, in RFC 3339.
    pub created: String,
}

impl VolumeDefinition {
    /// Whether nobody gave it a name.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS_LABEL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain() {
        for good in ["ab", "a-b_c.d", "00"] {
            assert_eq!(good.parse::<VolumeName>().unwrap().as_str(), good);
        }
        for bad in ["", "a", ".", "..", "-ab", "a/b", "a b", "ab\u{fc}", "ab\n", &"a".repeat(256)] {
            assert!(bad.parse::<VolumeName>().is_err(), "{bad:?}");
        }
    }
}

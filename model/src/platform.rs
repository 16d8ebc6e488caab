//! What a program is compiled for: operating system, architecture and variant, as OCI names them.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A normalised platform (`linux/amd64`, `linux/arm/v7`).
///
/// Normal form: lower case; `x86_64` is `amd64`, `aarch64` is `arm64` (without its default variant `v8`),
/// `arm` has `v7` unless it says otherwise, `amd64` drops `v1`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Platform {
    /// The operating system (`linux`).
    pub os: String,
    /// The architecture (`amd64`).
    pub architecture: String,
    /// The variant (`v7`), empty for none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// The text is not a platform.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("failed to parse platform {text:?}: {why}")]
pub struct ParsePlatformError {
    text: String,
    why: &'static str,
}

impl Platform {
    /// Makes a platform of its parts and brings it to normal form.
    pub fn new(os: &str, architecture: &str, variant: &str) -> Self {
        let os = match os.to_ascii_lowercase().as_str() {
            "macos" => "darwin".to_owned(),
            other => other.to_owned(),
        };
        let architecture = architecture.to_ascii_lowercase();
        let variant = variant.to_ascii_lowercase();
        let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
            ("x86_64" | "x86-64" | "amd64", "v1" | "") => ("amd64", ""),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
            ("aarch64" | "arm64", "8" | "v8" | "") => ("arm64", ""),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", _) => ("arm", "v7"),
            ("armel", _) => ("arm", "v6"),
            ("arm", "" | "7") => ("arm", "v7"),
            ("arm", "5") => ("arm", "v5"),
            ("arm", "6") => ("arm", "v6"),
            ("arm", "8") => ("arm", "v8"),
            ("i386" | "i486" | "i586" | "i686" | "386", _) => ("386", ""),
            (a, v) => (a, v),
        };
        Self { os, architecture: architecture.to_owned(), variant: variant.to_owned() }
    }

    /// Returns the platform that this program was compiled for.
    pub fn host() -> Self {
        Self::new(std::env::consts::OS, std::env::consts::ARCH, "")
    }

    /// Returns whether a program for `other` runs on this platform without help.
    pub fn can_run(&self, other: &Self) -> bool {
        self == other
            || (self.os == other.os && self.architecture == "amd64" && other.architecture == "386")
            || (self.os == other.os
                && self.architecture == "amd64"
                && other.architecture == "amd64"
                && other.variant.is_empty())
            || (self.os == other.os
                && self.architecture == "arm"
                && other.architecture == "arm"
                && other.variant <= self.variant)
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if !self.variant.is_empty() {
            write!(f, "/{}", self.variant)?;
        }
        Ok(())
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// Reads `os[(version)]/architecture[/variant]`. A version of the system chooses nothing, as with other builders.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why| ParsePlatformError { text: text.chars().take(100).collect(), why };
        let without_version = without_version(text).ok_or_else(|| {
            wrong("a version stands as `os(version)`, of letters, digits, `_`, `-`, `.` and `+`")
        })?;
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
        };
        let parts: Vec<&str> = without_version.split('/').collect();
        if !parts.iter().all(|part| word(part)) {
            return Err(wrong("use os/architecture[/variant] of letters, digits, `_`, `-` and `.`"));
        }
        match parts[..] {
            ["local"] => Ok(Self::host()),
            ["linux" | "windows" | "darwin" | "freebsd"] => {
                Ok(Self { os: parts[0].to_owned(), ..Self::host() })
            }
            [architecture]
                if matches!(
                    Self::new("linux", architecture, "").architecture.as_str(),
                    "amd64"
                        | "arm64"
                        | "arm"
                        | "386"
                        | "riscv64"
                        | "ppc64le"
                        | "s390x"
                        | "mips64le"
                        | "loong64"
                ) =>
            {
                Ok(Self::new("linux", architecture, ""))
            }
            [_] => Err(wrong("unknown operating system or architecture")),
            [os, architecture] => Ok(Self::new(os, architecture, "")),
            [os, architecture, variant] => Ok(Self::new(os, architecture, variant)),
            _ => Err(wrong("too many parts")),
        }
    }
}

/// Takes the version of the system out of a platform's text; `None` if what stands there is none.
fn without_version(text: &str) -> Option<Cow<'_, str>> {
    let (system, rest) = text.split_at(text.find('/').unwrap_or(text.len()));
    let Some((name, version)) = system.split_once('(') else { return Some(Cow::Borrowed(text)) };
    let version = version.strip_suffix(')')?;
    let is_word =
        version.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'+'));
    is_word.then(|| Cow::Owned(format!("{name}{rest}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_come_to_normal_form() {
        for (text, normal) in [
            ("linux/amd64", "linux/amd64"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("arm64", "linux/arm64"),
            ("Linux/AMD64", "linux/amd64"),
            ("linux/i386", "linux/386"),
            ("windows(10.0.17763)/amd64", "windows/amd64"),
            ("Windows(10.0.1+feat)/x86_64/v2", "windows/amd64/v2"),
            ("windows()/amd64", "windows/amd64"),
        ] {
            assert_eq!(text.parse::<Platform>().unwrap().to_string(), normal, "{text}");
        }
        let versions = ["windows(a b)/amd64", "windows(10)x/amd64", "(10)/amd64", "windows(10/amd64"];
        for wrong in ["", "/", "linux/", "linux/amd64/v1/x", "nosuch", "linux/am d", "linux/amd64(1)"] {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
        for wrong in versions {
            assert!(wrong.parse::<Platform>().is_err(), "{wrong}");
        }
    }
}

//! The names and keys of a project: one type per meaning.

use std::fmt;

/// A name that cannot be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// A project's name is empty.
    #[error("project name must not be empty")]
    Empty,
    /// A project's name has characters it may not have.
    #[error(
        "invalid project name {0:?}: must consist only of lowercase alphanumeric characters, hyphens, and underscores \
         as well as start with a letter or number"
    )]
    Project(String),
    /// A key has characters it may not have.
    #[error("{0:?} is not a key: letters, digits, dots, dashes and underscores are")]
    Key(String),
}

/// The name of a project: lower-case letters, digits, `-` and `_`, beginning with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(String);

impl ProjectName {
    /// Takes a name that has to be right as it is.
    pub fn new(name: &str) -> Result<Self, NameError> {
        if name.is_empty() {
            return Err(NameError::Empty);
        }
        if Self::normal(name) != name {
            return Err(NameError::Project(name.to_owned()));
        }
        Ok(Self(name.to_owned()))
    }

    /// Makes a name of any text: in lower case, without what a name may not have.
    pub fn normalised(text: &str) -> Result<Self, NameError> {
        let name = Self::normal(text);
        if name.is_empty() { Err(NameError::Empty) } else { Ok(Self(name)) }
    }

    fn normal(text: &str) -> String {
        let kept: String = text
            .to_lowercase()
            .chars()
            .filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))
            .collect();
        kept.trim_start_matches(['-', '_']).to_owned()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-'))
}

macro_rules! key {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Takes a key, if it is one.
            pub fn new(key: &str) -> Result<Self, NameError> {
                if is_key(key) { Ok(Self(key.to_owned())) } else { Err(NameError::Key(key.to_owned())) }
            }

            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    )+};
}

key! {
    /// The name of a service in its project.
    ServiceName,
    /// The key of a network in its project.
    NetworkKey,
    /// The key of a volume in its project.
    VolumeKey,
    /// The key of a config in its project.
    ConfigKey,
    /// The key of a secret in its project.
    SecretKey,
    /// The key of a model in its project.
    ModelKey,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_normalised_or_refused() {
        assert_eq!(
            ProjectName::normalised("_My App.2").map(|name| name.to_string()),
            Ok("myapp2".to_owned())
        );
        assert_eq!(ProjectName::normalised("..."), Err(NameError::Empty));
        assert_eq!(ProjectName::new("Big"), Err(NameError::Project("Big".to_owned())));
        assert_eq!(ProjectName::new("a-1_b").map(|name| name.to_string()), Ok("a-1_b".to_owned()));
        assert_eq!(ProjectName::new(""), Err(NameError::Empty));
    }

    #[test]
    fn keys_have_no_blanks() {
        assert!(ServiceName::new("web.1-a_B").is_ok());
        assert!(ServiceName::new("we b").is_err());
        assert!(NetworkKey::new("").is_err());
    }
}

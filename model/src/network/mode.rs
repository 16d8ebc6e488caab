//! Which network a container is in, as Docker's `HostConfig.NetworkMode` says it.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which network a container is in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum NetworkMode {
    /// Nothing was said: the default bridge.
    #[default]
    Default,
    /// The default bridge.
    Bridge,
    /// The host's own.
    Host,
    /// Only a loopback of its own.
    None,
    /// That of another container, by name or id.
    Container(String),
    /// A network, by name or id.
    Named(String),
}

impl NetworkMode {
    /// The name of the network it comes to, if it is a network of its own.
    pub fn network(&self) -> Option<&str> {
        match self {
            Self::Default | Self::Bridge => Some(super::NetworkDefinition::DEFAULT),
            Self::Host => Some("host"),
            Self::None => Some("none"),
            Self::Named(name) => Some(name),
            Self::Container(_) => None,
        }
    }
}

impl FromStr for NetworkMode {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "" | "default" => Self::Default,
            "bridge" => Self::Bridge,
            "host" => Self::Host,
            "none" => Self::None,
            text => match text.strip_prefix("container:") {
                Some(container) => Self::Container(container.to_owned()),
                None => Self::Named(text.to_owned()),
            },
        })
    }
}

impl fmt::Display for NetworkMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Bridge => f.write_str("bridge"),
            Self::Host => f.write_str("host"),
            Self::None => f.write_str("none"),
            Self::Container(container) => write!(f, "container:{container}"),
            Self::Named(name) => f.write_str(name),
        }
    }
}

impl From<String> for NetworkMode {
    fn from(text: String) -> Self {
        let Ok(mode) = text.parse();
        mode
    }
}

impl From<NetworkMode> for String {
    fn from(mode: NetworkMode) -> Self {
        mode.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mode_reads_as_it_is_written() {
        for text in ["default", "bridge", "host", "none", "container:db", "app_net"] {
            assert_eq!(NetworkMode::from(text.to_owned()).to_string(), text);
        }
        assert_eq!(NetworkMode::from(String::new()), NetworkMode::Default);
        assert_eq!(NetworkMode::from("app".to_owned()).network(), Some("app"));
        assert_eq!(NetworkMode::from("container:x".to_owned()).network(), None);
    }
}

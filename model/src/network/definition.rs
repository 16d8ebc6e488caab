//! What a network was asked to be.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Driver {
    /// A bridge of its own.
    #[serde(rename = "bridge")]
    Bridge,
    /// The host's own network namespace.
    #[serde(rename = "host")]
    Host,
    /// Only a loopback link.
    #[serde(rename = "null")]
    Null,
}

impl Driver {
    /// Its name, as Docker writes it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Null => "null",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Driver {
    type Err = UnknownDriver;

    fn from_str(text: &str) -> Result<Self, UnknownDriver> {
        match text {
            "" | "bridge" => Ok(Self::Bridge),
            "host" => Ok(Self::Host),
            "null" | "none" => Ok(Self::Null),
            text => Err(UnknownDriver(text.to_owned())),
        }
    }
}

/// A kind of network that there is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("plugin \"{0}\" not found")]
pub struct UnknownDriver(pub String);

/// Whether a network has something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "bool", into = "bool")]
pub enum Switch {
    /// It has.
    On,
    /// It has not.
    #[default]
    Off,
}

impl Switch {
    /// Whether it is on.
    pub fn is_on(self) -> bool {
        self == Self::On
    }
}

impl From<bool> for Switch {
    fn from(on: bool) -> Self {
        if on { Self::On } else { Self::Off }
    }
}

impl From<Switch> for bool {
    fn from(switch: Switch) -> Self {
        switch.is_on()
    }
}

/// A range of addresses of a network, as texts: what they mean is decided by its driver.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AddressPool {
    /// The whole range; chosen from the pools if empty.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub subnet: String,
    /// What addresses are given out of.
    #[serde(rename = "IPRange", skip_serializing_if = "String::is_empty")]
    pub range: String,
    /// The gateway.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub gateway: String,
    /// Addresses that others have, by what they are called.
    #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "BTreeMap::is_empty")]
    pub auxiliary: BTreeMap<String, IpAddr>,
}

/// Who gives out the addresses of a network, and out of what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ipam {
    /// The one who does; `default` is the only one.
    pub driver: String,
    /// Its options.
    pub options: Option<BTreeMap<String, String>>,
    /// The ranges.
    pub config: Vec<AddressPool>,
}

/// What a network was asked to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkDefinition {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Its name, which may hold anything.
    pub name: String,
    /// When it was made, in RFC 3339.
    pub created: String,
    /// Which kind it is.
    pub driver: Driver,
    /// Whether it has IPv4 addresses.
    pub ipv4: Switch,
    /// Whether it has IPv6 addresses.
    pub ipv6: Switch,
    /// Whether it leads nowhere.
    pub internal: Switch,
    /// Whether containers may be attached by hand; every network here lets them.
    pub attachable: Switch,
    /// Its addresses, all chosen.
    pub ipam: Ipam,
    /// Whether a person chose the subnets: only then may an endpoint choose its address.
    pub chosen_subnets: Switch,
    /// Options of its driver.
    pub options: BTreeMap<String, String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

impl NetworkDefinition {
    /// The network of containers that nobody says a network of.
    pub const DEFAULT: &'static str = "bridge";
    /// The networks that are there without being made.
    pub const PREDEFINED: [&'static str; 3] = [Self::DEFAULT, "host", "none"];

    /// Whether it is there without being made.
    pub fn is_predefined(&self) -> bool {
        Self::PREDEFINED.contains(&self.name.as_str())
    }
}

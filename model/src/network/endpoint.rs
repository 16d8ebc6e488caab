//! What a container wants of a network.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Mac;

/// What a container wants of one network (`EndpointSettings` of Docker's API).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EndpointSettings {
    /// Further names that lead to it in this network.
    pub aliases: Vec<String>,
    /// Names of other containers, for this one alone: `container` or `container:name`.
    pub links: Vec<String>,
    /// Its IPv4 address, if it must be a certain one.
    pub ipv4: Option<Ipv4Addr>,
    /// Its IPv6 address, if it must be a certain one.
    pub ipv6: Option<Ipv6Addr>,
    /// Its addresses on the link alone.
    pub link_local: Vec<IpAddr>,
    /// Its hardware address, if it must be a certain one.
    pub mac: Option<Mac>,
    /// Where it stands in the choice of the default route: the highest wins.
    pub gateway_priority: i64,
    /// Options of the network's driver.
    pub driver_options: BTreeMap<String, String>,
}

/// A network that a container is to be in, and what it wants of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointWish {
    /// The network, by name or id, as it was asked for.
    pub network: String,
    /// What is wanted of it.
    #[serde(flatten)]
    pub settings: EndpointSettings,
}

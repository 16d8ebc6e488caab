//! How addresses of networks and endpoints stand in the file: side by side, those of a family that is not there left out.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::{FourState, SixState};
use crate::address::Subnet;
use crate::families::Families;

/// Those of a network.
pub(super) mod state {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Form {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subnet: Option<Subnet>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        gateway: Option<Ipv4Addr>,
        #[serde(default)]
        range: Option<Subnet>,
        #[serde(default)]
        reserved: Vec<Ipv4Addr>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cursor: Option<Ipv4Addr>,
        #[serde(default)]
        six: Option<SixState>,
    }

    pub(in super::super) fn serialize<S: Serializer>(
        families: &Families<FourState, SixState>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let (four, six) = families.clone().parts();
        let form = match four {
            Some(FourState { subnet, gateway, range, reserved, cursor }) => {
                let (subnet, gateway, cursor) = (Some(subnet), Some(gateway), Some(cursor));
                Form { subnet, gateway, range, reserved, cursor, six }
            }
            None => {
                let (subnet, gateway, range, reserved, cursor) = (None, None, None, Vec::new(), None);
                Form { subnet, gateway, range, reserved, cursor, six }
            }
        };
        form.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Families<FourState, SixState>, D::Error> {
        let Form { subnet, gateway, range, reserved, cursor, six } = Form::deserialize(deserializer)?;
        let four = match (subnet, gateway, cursor) {
            (Some(subnet), Some(gateway), Some(cursor)) => {
                Some(FourState { subnet, gateway, range, reserved, cursor })
            }
            (None, None, None) => None,
            _ => return Err(de::Error::custom("a network with half of its addresses")),
        };
        Families::of(four, six).ok_or_else(|| de::Error::custom("a network without addresses"))
    }
}

/// Those of an endpoint.
pub(super) mod endpoint {
    use super::*;

    #[derive(Serialize, Deserialize)]
    struct Form {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        address: Option<Ipv4Addr>,
        #[serde(default)]
        address6: Option<Ipv6Addr>,
    }

    pub(in super::super) fn serialize<S: Serializer>(
        families: &Families<Ipv4Addr, Ipv6Addr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let (address, address6) = families.parts();
        Form { address, address6 }.serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Families<Ipv4Addr, Ipv6Addr>, D::Error> {
        let Form { address, address6 } = Form::deserialize(deserializer)?;
        Families::of(address, address6).ok_or_else(|| de::Error::custom("an endpoint without an address"))
    }
}

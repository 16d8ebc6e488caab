//! Subnets of IPv6.
//!
//! A network that is to have IPv6 and is given no subnet gets a /64 of its own out of the unique local addresses
//! (RFC 4193): eight bits that say so and 56 that are a hash of store and network. Two networks get the same one
//! as often as two hashes of 56 bits meet; that the host has it already is looked for all the same.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::address::{AddressRange, Mac};
use crate::link::StorePrefix;

/// Why a subnet cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Subnet6Error {
    /// Not of the form `address/length`.
    #[error("`{text}` is not a subnet of IPv6: expected the form fd00:1234::/64")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// There is no room for a gateway and an endpoint.
    #[error("the subnet {subnet} is too small: a gateway and one endpoint need at least a /126")]
    TooSmall {
        /// What was given.
        subnet: String,
    },
    /// It would swallow other networks.
    #[error("the subnet {subnet} is too large: the shortest prefix is /16")]
    TooLarge {
        /// What was given.
        subnet: String,
    },
    /// Not an address that an endpoint may have.
    #[error("the subnet {subnet} is not a range of unicast addresses beyond one link")]
    NotUnicast {
        /// What was given.
        subnet: String,
    },
}

/// A range of IPv6 addresses of a network: its base address and the length of its prefix (16 to 126).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet6 {
    base: u128,
    length: u8,
}

impl Subnet6 {
    /// Makes a subnet of any address in it.
    pub fn new(address: Ipv6Addr, length: u8) -> Result<Self, Subnet6Error> {
        let text = || format!("{address}/{length}");
        if length > 128 {
            return Err(Subnet6Error::Malformed { text: text() });
        }
        if length > 126 {
            return Err(Subnet6Error::TooSmall { subnet: text() });
        }
        if length < 16 {
            return Err(Subnet6Error::TooLarge { subnet: text() });
        }
        let base = u128::from(address) & mask(length);
        let first = Ipv6Addr::from(base);
        if base >> 112 == 0 || first.is_unicast_link_local() || first.is_multicast() {
            return Err(Subnet6Error::NotUnicast { subnet: text() });
        }
        Ok(Self { base, length })
    }

    /// The subnet that a network gets unless it is given one.
    pub fn derived(store: StorePrefix, network: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(store.as_str().as_bytes());
        hasher.update(&[0]);
        hasher.update(network.as_bytes());
        let mut bytes = [0; 16];
        bytes[0] = 0xfd;
        bytes[1..8].copy_from_slice(&hasher.finalize().as_bytes()[..7]);
        Self { base: u128::from_be_bytes(bytes), length: 64 }
    }

    /// The address of the range itself.
    pub fn base(self) -> Ipv6Addr {
        Ipv6Addr::from(self.base)
    }

    /// The length of the prefix.
    pub fn prefix(self) -> u8 {
        self.length
    }

    /// The first address: the gateway, unless another is chosen.
    pub fn first(self) -> Ipv6Addr {
        Ipv6Addr::from(self.base + 1)
    }

    /// The last address.
    pub fn last(self) -> Ipv6Addr {
        Ipv6Addr::from(self.base | !mask(self.length))
    }

    /// Whether an address lies in the range.
    pub fn contains(self, address: Ipv6Addr) -> bool {
        u128::from(address) & mask(self.length) == self.base
    }
}

/// The address on its link that every device gives itself, made of its hardware address (RFC 4291).
pub fn link_local(mac: Mac) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.octets();
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

fn mask(length: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0)
}

impl From<Subnet6> for AddressRange {
    fn from(subnet: Subnet6) -> Self {
        Self::new(subnet.base().into(), subnet.length)
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.length)
    }
}

impl fmt::Debug for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Subnet6 {
    type Err = Subnet6Error;

    fn from_str(text: &str) -> Result<Self, Subnet6Error> {
        let malformed = || Subnet6Error::Malformed { text: text.to_owned() };
        let (address, length) = text.split_once('/').ok_or_else(malformed)?;
        Self::new(address.parse().map_err(|_| malformed())?, length.parse().map_err(|_| malformed())?)
    }
}

impl TryFrom<String> for Subnet6 {
    type Error = Subnet6Error;

    fn try_from(text: String) -> Result<Self, Subnet6Error> {
        text.parse()
    }
}

impl From<Subnet6> for String {
    fn from(subnet: Subnet6) -> Self {
        subnet.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_not_a_subnet_is_refused_with_its_reason() {
        for (text, reason) in [
            ("fd00::", "is not a subnet"),
            ("10.0.0.0/8", "is not a subnet"),
            ("fd00::/129", "is not a subnet"),
            ("fd00::/127", "too small"),
            ("fd00::/8", "too large"),
            ("::/64", "unicast"),
            ("::ffff:10.0.0.0/112", "unicast"),
            ("fe80::/64", "unicast"),
            ("ff02::/64", "unicast"),
        ] {
            let error = text.parse::<Subnet6>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn a_network_has_a_range_of_its_own() {
        let store = StorePrefix::new("0a1b2c3d").unwrap();
        let (one, two) = (Subnet6::derived(store, "one"), Subnet6::derived(store, "two"));
        assert_ne!(one, two);
        assert_eq!((one.base().octets()[0], one.prefix()), (0xfd, 64));
        assert_eq!(one.to_string().parse::<Subnet6>().unwrap(), one);
    }

    #[test]
    fn a_device_names_itself_on_its_link() {
        let address = link_local("02:42:ac:11:00:02".parse().unwrap());
        assert_eq!(address, "fe80::42:acff:fe11:2".parse::<Ipv6Addr>().unwrap());
    }

    proptest! {
        #[test]
        fn subnets_round_trip(address in any::<u128>(), length in 0_u8..=130) {
            if let Ok(range) = Subnet6::new(Ipv6Addr::from(address), length) {
                prop_assert_eq!(range.to_string().parse::<Subnet6>().unwrap(), range);
                prop_assert!(range.contains(Ipv6Addr::from(address)));
                prop_assert!(AddressRange::from(range).contains(Ipv6Addr::from(address).into()));
            }
        }
    }
}

//! Addresses: subnets of IPv4, hardware addresses, and the choice of a free subnet.
//!
//! Subnets of IPv6 are in [`crate::address6`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

pub use rbuild_model::network::{Mac, MacError};
use serde::{Deserialize, Serialize};

/// Why a subnet cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubnetError {
    /// Not of the form `address/length`.
    #[error("`{text}` is not a subnet: expected the form 172.20.0.0/16")]
    Malformed {
        /// What was given.
        text: String,
    },
    /// There is no room for a gateway and an endpoint.
    #[error("the subnet {subnet} is too small: a gateway and one endpoint need at least a /30")]
    TooSmall {
        /// What was given.
        subnet: String,
    },
    /// It would swallow other networks.
    #[error("the subnet {subnet} is too large: the shortest prefix is /8")]
    TooLarge {
        /// What was given.
        subnet: String,
    },
    /// Not an address that an endpoint may have.
    #[error("the subnet {subnet} is not a range of unicast addresses")]
    NotUnicast {
        /// What was given.
        subnet: String,
    },
}

/// A range of IPv4 addresses of a network: its base address and the length of its prefix (8 to 30).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet {
    base: u32,
    length: u8,
}

impl Subnet {
    /// Makes a subnet of any address in it.
    pub fn new(address: Ipv4Addr, length: u8) -> Result<Self, SubnetError> {
        let text = || format!("{address}/{length}");
        if length > 32 {
            return Err(SubnetError::Malformed { text: text() });
        }
        if length > 30 {
            return Err(SubnetError::TooSmall { subnet: text() });
        }
        if length < 8 {
            return Err(SubnetError::TooLarge { subnet: text() });
        }
        let base = u32::from(address) & mask(length);
        let first = Ipv4Addr::from(base);
        if first.octets()[0] == 0 || first.is_loopback() || first.octets()[0] >= 224 {
            return Err(SubnetError::NotUnicast { subnet: text() });
        }
        Ok(Self { base, length })
    }

    /// The address of the range itself.
    pub fn base(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base)
    }

    /// The length of the prefix.
    pub fn prefix(self) -> u8 {
        self.length
    }

    /// The address that reaches every endpoint.
    pub fn broadcast(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base | !mask(self.length))
    }

    /// The first address: the gateway, unless another is chosen.
    pub fn first(self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// The last address an endpoint may have.
    pub fn last(self) -> Ipv4Addr {
        Ipv4Addr::from((self.base | !mask(self.length)) - 1)
    }

    /// Whether an address lies in the range.
    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & mask(self.length) == self.base
    }

    /// Whether two ranges share an address.
    pub fn overlaps(self, other: AddressRange) -> bool {
        AddressRange::from(self).overlaps(other)
    }
}

fn mask(length: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0)
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base(), self.length)
    }
}

impl fmt::Debug for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Subnet {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        let malformed = || SubnetError::Malformed { text: text.to_owned() };
        let (address, length) = text.split_once('/').ok_or_else(malformed)?;
        Self::new(address.parse().map_err(|_| malformed())?, length.parse().map_err(|_| malformed())?)
    }
}

impl TryFrom<String> for Subnet {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Self, SubnetError> {
        text.parse()
    }
}

impl From<Subnet> for String {
    fn from(subnet: Subnet) -> Self {
        subnet.to_string()
    }
}

/// Any range of addresses that is already in use, of any size and either family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AddressRange {
    first: IpAddr,
    last: IpAddr,
}

impl AddressRange {
    /// The range that a route or an address covers.
    pub fn new(address: IpAddr, length: u8) -> Self {
        match address {
            IpAddr::V4(address) => {
                let mask = mask(length.min(32));
                let first = u32::from(address) & mask;
                Self { first: Ipv4Addr::from(first).into(), last: Ipv4Addr::from(first | !mask).into() }
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(length.min(128))).unwrap_or(0);
                let first = u128::from(address) & mask;
                Self { first: Ipv6Addr::from(first).into(), last: Ipv6Addr::from(first | !mask).into() }
            }
        }
    }

    /// Its first address.
    pub fn first(self) -> IpAddr {
        self.first
    }

    /// How many of an address's first bits all of it has in common.
    pub fn prefix(self) -> u8 {
        let common = match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => (u32::from(first) ^ u32::from(last)).leading_zeros(),
            (IpAddr::V6(first), IpAddr::V6(last)) => (u128::from(first) ^ u128::from(last)).leading_zeros(),
            _ => 0,
        };
        u8::try_from(common).unwrap_or(u8::MAX)
    }

    /// Whether two ranges share an address. Those of different families never do.
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// Whether an address lies in the range.
    pub fn contains(self, address: IpAddr) -> bool {
        (self.first..=self.last).contains(&address)
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.prefix())
    }
}

impl From<Subnet> for AddressRange {
    fn from(subnet: Subnet) -> Self {
        Self::new(subnet.base().into(), subnet.length)
    }
}

/// A range that subnets are cut from, and their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// The whole range.
    pub range: Subnet,
    /// The prefix of each subnet.
    pub prefix: u8,
}

/// A pool that has no room for a network of its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no network of size {prefix} can be taken from {range}: a size is from {} to {SMALLEST}", range.length)]
pub struct PoolError {
    range: Subnet,
    prefix: u8,
}

/// The longest prefix of a network: a gateway and an endpoint have addresses.
const SMALLEST: u8 = 30;

impl Pool {
    /// Checks that there is room for one.
    pub fn new(range: Subnet, prefix: u8) -> Result<Self, PoolError> {
        match (range.length..=SMALLEST).contains(&prefix) {
            true => Ok(Self { range, prefix }),
            false => Err(PoolError { range, prefix }),
        }
    }
}

/// The pools that subnets are taken from unless the settings name others: the private ranges that container
/// engines have always used, so that what people know about firewalls and VPNs stays true. The one of Docker's own bridge comes last.
pub fn default_pools() -> Vec<Pool> {
    let pool = |a: u8, b: u8, length: u8, prefix: u8| Pool {
        range: Subnet::new(Ipv4Addr::new(a, b, 0, 0), length).expect("the default pools are valid subnets"),
        prefix,
    };
    vec![
        pool(172, 18, 16, 16),
        pool(172, 19, 16, 16),
        pool(172, 20, 14, 16),
        pool(172, 24, 14, 16),
        pool(172, 28, 14, 16),
        pool(192, 168, 16, 20),
        // What Docker gives its own bridge on every host: who comes first must not take it from the other.
        pool(172, 17, 16, 16),
    ]
}

/// The pools for the steps of builds: small subnets from the far end of the ranges, so that many stores on one
/// machine (those of its tests, say) take nothing from the networks of projects, as long as there is room.
pub fn step_pools() -> Vec<Pool> {
    let (wide, narrow): (Vec<_>, Vec<_>) =
        default_pools().into_iter().partition(|pool| pool.range.length <= 14);
    wide.into_iter().rev().chain(narrow).map(|pool| Pool { prefix: 24, ..pool }).collect()
}

/// Chooses the first subnet of the pools that shares no address with those in use.
pub fn choose_subnet(pools: &[Pool], in_use: &[AddressRange]) -> Option<Subnet> {
    pools
        .iter()
        .flat_map(|pool| subnets(*pool))
        .find(|subnet| !in_use.iter().any(|used| subnet.overlaps(*used)))
}

fn subnets(pool: Pool) -> impl Iterator<Item = Subnet> {
    let prefix = pool.prefix.clamp(pool.range.length, SMALLEST);
    let count = 1_u64 << (prefix - pool.range.length);
    (0..count).map(move |index| Subnet {
        base: pool.range.base | u32::try_from(index << (32 - prefix)).expect("an index within its pool"),
        length: prefix,
    })
}

/// The hardware address that an endpoint gets: a hash of its network and IP address, locally administered. The same
/// place in the same network always has the same one, so that nobody's neighbour table is ever stale.
pub fn derived_mac(network: &str, address: IpAddr) -> Mac {
    let mut hasher = blake3::Hasher::new();
    hasher.update(network.as_bytes());
    hasher.update(&[0]);
    match address {
        IpAddr::V4(address) => hasher.update(&address.octets()),
        IpAddr::V6(address) => hasher.update(&address.octets()),
    };
    Mac::local(hasher.finalize().as_bytes()[..6].try_into().expect("a hash has 32 bytes"))
}

#[cfg(test)]
#[path = "address_tests.rs"]
mod tests;

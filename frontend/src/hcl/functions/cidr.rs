//! Networks of IP addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Function, World, function, many, size, text, whole};
use crate::hcl::Value;

/// The functions.
pub(super) const FUNCTIONS: &[Function] = &[
    function("cidrhost", 2, 2, |a, _| {
        let network = Network::read(&text(a, 0)?)?;
        network.host(whole(a, 1)?).map(|address| Value::string(network.show(address)))
    }),
    function("cidrnetmask", 1, 1, |a, _| {
        let network = Network::read(&text(a, 0)?)?;
        if !network.is_v4 {
            return Err("only IPv4 networks have a netmask".to_owned());
        }
        Ok(Value::string(network.show(network.mask())))
    }),
    function("cidrsubnet", 3, 3, |a, _| {
        let network = Network::read(&text(a, 0)?)?;
        let number = u128::try_from(whole(a, 2)?).map_err(|_| "the number is negative".to_owned())?;
        network.subnet(size(a, 1)?, number).map(|network| Value::string(network.to_string()))
    }),
    many("cidrsubnets", 2, subnets),
];

struct Network {
    is_v4: bool,
    address: u128,
    prefix: usize,
}

impl Network {
    fn read(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no network: write it as 10.0.0.0/8");
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let prefix: usize = prefix.parse().map_err(|_| wrong())?;
        let (is_v4, address) = match address {
            IpAddr::V4(address) => (true, u128::from(u32::from(address))),
            IpAddr::V6(address) => (false, u128::from(address)),
        };
        let mut network = Self { is_v4, address, prefix };
        if prefix > network.bits() {
            return Err(wrong());
        }
        network.address &= network.mask();
        Ok(network)
    }

    fn bits(&self) -> usize {
        if self.is_v4 { 32 } else { 128 }
    }

    /// The bits below the prefix.
    fn below(&self) -> u128 {
        let free = self.bits() - self.prefix;
        if free == 128 { u128::MAX } else { (1 << free) - 1 }
    }

    fn mask(&self) -> u128 {
        let all = if self.is_v4 { u128::from(u32::MAX) } else { u128::MAX };
        all & !self.below()
    }

    fn show(&self, address: u128) -> String {
        if self.is_v4 {
            Ipv4Addr::from(address as u32).to_string()
        } else {
            Ipv6Addr::from(address).to_string()
        }
    }

    fn host(&self, number: i64) -> Result<u128, String> {
        let distance = u128::from(number.unsigned_abs());
        let fits =
            if number < 0 { distance <= self.below().saturating_add(1) } else { distance <= self.below() };
        if !fits {
            return Err(format!("the network {self} has no host {number}"));
        }
        let host = if number < 0 { self.below() - (distance - 1) } else { distance };
        Ok(self.address | host)
    }

    fn subnet(&self, more: usize, number: u128) -> Result<Self, String> {
        let prefix = self.prefix.saturating_add(more);
        if prefix > self.bits() {
            return Err(format!("the network {self} has no room for {more} more bits"));
        }
        if more < 128 && number >> more != 0 {
            return Err(format!("the number {number} needs more than {more} bits"));
        }
        let shift = self.bits() - prefix;
        let offset = if shift >= 128 { 0 } else { number << shift };
        Ok(Self { is_v4: self.is_v4, address: self.address | offset, prefix })
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.show(self.address), self.prefix)
    }
}

fn subnets(arguments: &[Value], _: &World) -> Result<Value, String> {
    let network = Network::read(&text(arguments, 0)?)?;
    let mut next = network.address;
    let mut result = Vec::new();
    for at in 1..arguments.len() {
        let more = size(arguments, at)?;
        let one = network.subnet(more, 0)?;
        let step = one.below().checked_add(1).ok_or("the network is too large")?;
        // Each begins where the one before ends, at a border of its own size.
        let start = next.checked_add(step - 1).ok_or("there is no room left")? & !(step - 1);
        let last = start.checked_add(step - 1).ok_or("there is no room left")?;
        if start & network.mask() != network.address || last & network.mask() != network.address {
            return Err(format!("there is no room left in {network}"));
        }
        result.push(Value::string(format!("{}/{}", network.show(start), one.prefix)));
        next = last.saturating_add(1);
    }
    Ok(Value::List(result))
}

//! Amounts: bytes, processors, limits, rates.

use std::fmt;

/// A number of bytes; `-1` has its own meaning where it is allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub i64);

/// A share of the processors, in billionths of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cpus {
    /// Billionths of a processor.
    pub nanos: u64,
}

impl fmt::Display for Cpus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:09}", self.nanos / 1_000_000_000, self.nanos % 1_000_000_000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// No more than that.
    AtMost(u64),
    /// As much as there is (`-1`).
    Unlimited,
}

/// A resource limit of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ulimit {
    /// What is enforced.
    pub soft: Limit,
    /// What a process may raise it to.
    pub hard: Limit,
}

/// How much a container may do with block devices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlockIo {
    /// The weight, 10 to 1000.
    pub weight: Option<u16>,
    /// Weights of single devices.
    pub weight_device: Vec<DeviceWeight>,
    /// Bytes a second, reading.
    pub device_read_bps: Vec<DeviceRate>,
    /// Operations a second, reading.
    pub device_read_iops: Vec<DeviceRate>,
    /// Bytes a second, writing.
    pub device_write_bps: Vec<DeviceRate>,
    /// Operations a second, writing.
    pub device_write_iops: Vec<DeviceRate>,
}

/// The weight of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceWeight {
    /// The device.
    pub path: String,
    /// The weight, 10 to 1000.
    pub weight: u16,
}

/// The rate of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceRate {
    /// The device.
    pub path: String,
    /// Bytes or operations a second.
    pub rate: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_written_without_needless_digits() {
        assert_eq!(Cpus { nanos: 500_000_000 }.to_string(), "0.5");
        assert_eq!(Cpus { nanos: 2_000_000_000 }.to_string(), "2");
        assert_eq!(Cpus { nanos: 1 }.to_string(), "0.000000001");
    }
}

//! What a container may use of the machine.

use serde::{Deserialize, Serialize};

use crate::step::Ulimit;

/// What a container may use of the machine, as it was asked for. `None` is no limit, or the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resources {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; -1 for no limit; `None` for twice the memory.
    pub memory_swap: Option<i64>,
    /// Bytes of memory that are left to it when memory is short.
    pub memory_reservation: Option<u64>,
    /// How readily its memory is swapped out (0 to 100).
    pub memory_swappiness: Option<u8>,
    /// Processor time in billionths of a processor.
    pub nano_cpus: Option<u64>,
    /// The share of processor time when there is not enough: 1024 is one share.
    pub cpu_shares: Option<u64>,
    /// The period of the processor bandwidth limit, in microseconds.
    pub cpu_period: Option<u64>,
    /// Processor time within a period, in microseconds.
    pub cpu_quota: Option<i64>,
    /// The period of real-time scheduling, in microseconds.
    pub cpu_rt_period: Option<u64>,
    /// What real-time programs may use of it, in microseconds.
    pub cpu_rt_runtime: Option<u64>,
    /// The processors that may be used (`0-2,4`).
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Whether the kernel stops it instead of killing when its memory is used up.
    pub oom_kill_disable: bool,
    /// Its share of input and output (10 to 1000).
    pub blkio_weight: Option<u16>,
    /// The same for single devices.
    pub blkio_weight_device: Vec<BlkioWeight>,
    /// Bytes read from devices a second.
    pub device_read_bps: Vec<BlkioRate>,
    /// Bytes written to devices a second.
    pub device_write_bps: Vec<BlkioRate>,
    /// Reads from devices a second.
    pub device_read_iops: Vec<BlkioRate>,
    /// Writes to devices a second.
    pub device_write_iops: Vec<BlkioRate>,
    /// Rules for devices besides the default ones (`c 1:3 rwm`).
    pub device_rules: Vec<String>,
    /// Limits of its processes.
    pub ulimits: Vec<Ulimit>,
}

/// A share of a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioWeight {
    /// The device's path.
    pub path: String,
    /// The share (10 to 1000).
    pub weight: u16,
}

/// A bound for a device.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlkioRate {
    /// The device's path.
    pub path: String,
    /// The bound, a second.
    pub rate: u64,
}

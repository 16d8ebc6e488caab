//! Limits, and the files that they are written to.

use oci_spec::runtime::LinuxResources;

use super::CgroupError;
use super::folder::Version;

/// What the processes of a group may use together. `None` is no limit.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Limits {
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of memory and swap together; equal to `memory` for no swap.
    pub memory_and_swap: Option<u64>,
    /// Bytes of memory that are left to the group when memory is short.
    pub memory_reservation: Option<u64>,
    /// Processor time in billionths of a processor: 1 500 000 000 is one and a half.
    pub nano_cpus: Option<u64>,
    /// How long the spans are that processor time is counted in, in microseconds; 100 000 if nothing is said.
    #[serde(default)]
    pub cpu_period_us: Option<u64>,
    /// The period of real-time scheduling, in microseconds; only version 1 has it.
    #[serde(default)]
    pub cpu_rt_period_us: Option<u64>,
    /// What real-time programs may use of it, in microseconds; only version 1 has it.
    #[serde(default)]
    pub cpu_rt_runtime_us: Option<u64>,
    /// The share of processor time when there is not enough: 1024 is one share.
    pub cpu_shares: Option<u64>,
    /// The processors that may be used (`0-2,4`).
    pub cpuset_cpus: Option<String>,
    /// The memory nodes that may be used.
    pub cpuset_mems: Option<String>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// How fast devices may be read and written.
    #[serde(default)]
    pub devices: Vec<DeviceRate>,
    /// The share of input and output when there is not enough (10 to 1000); without effect where no scheduler of
    /// devices knows of it.
    #[serde(default)]
    pub io_weight: Option<u16>,
    /// The same for single devices.
    #[serde(default)]
    pub io_weights: Vec<DeviceWeight>,
    /// How readily memory is swapped out (0 to 100); only version 1 has it.
    #[serde(default)]
    pub swappiness: Option<u8>,
    /// What becomes of processes when the memory is used up; only version 1 knows another way than the ordinary.
    #[serde(default)]
    pub out_of_memory: OutOfMemory,
}

/// What becomes of processes when their memory is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutOfMemory {
    /// The kernel kills one of them.
    #[default]
    Kill,
    /// They wait until there is more.
    Wait,
}

/// The share of a device.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceWeight {
    /// The device's numbers, major and minor.
    pub device: (u32, u32),
    /// The share (10 to 1000).
    pub weight: u16,
}

/// How fast a device may be used.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeviceRate {
    /// The device's numbers, major and minor.
    pub device: (u32, u32),
    /// What is counted.
    pub counted: Counted,
    /// The bound, a second.
    pub rate: u64,
}

/// What is counted of the use of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counted {
    /// Bytes that are read.
    BytesRead,
    /// Bytes that are written.
    BytesWritten,
    /// Reads.
    Reads,
    /// Writes.
    Writes,
}

impl Counted {
    /// The file of version 1 and the key of version 2.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::BytesRead => ("blkio.throttle.read_bps_device", "rbps"),
            Self::BytesWritten => ("blkio.throttle.write_bps_device", "wbps"),
            Self::Reads => ("blkio.throttle.read_iops_device", "riops"),
            Self::Writes => ("blkio.throttle.write_iops_device", "wiops"),
        }
    }
}

/// A value for a file of a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: &'static str,
    /// What it limits, in words.
    pub(super) what: &'static str,
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Whether a missing file does no harm.
    pub(super) optional: bool,
}

const CPU_PERIOD_US: u64 = 100_000;
const MIN_CPU_QUOTA_US: u64 = 1000;

impl Limits {
    /// Tells whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Reads the limits of an OCI document.
    pub fn from_oci(resources: &LinuxResources) -> Result<Self, CgroupError> {
        let positive = |value: i64| u64::try_from(value).ok().filter(|value| *value > 0);
        let mut limits = Self::default();
        if let Some(memory) = resources.memory() {
            limits.memory = memory.limit().and_then(positive);
            limits.memory_and_swap = memory.swap().and_then(positive);
            limits.memory_reservation = memory.reservation().and_then(positive);
        }
        if let Some(cpu) = resources.cpu() {
            limits.cpu_shares = cpu.shares().filter(|shares| *shares > 0);
            limits.cpuset_cpus = cpu.cpus().clone().filter(|cpus| !cpus.is_empty());
            limits.cpuset_mems = cpu.mems().clone().filter(|mems| !mems.is_empty());
            if let Some(quota) = cpu.quota().and_then(positive) {
                let period = cpu.period().filter(|period| *period > 0).unwrap_or(CPU_PERIOD_US);
                limits.nano_cpus = Some((u128::from(quota) * 1_000_000_000 / u128::from(period)) as u64);
            }
            limits.cpu_period_us = cpu.period().filter(|period| *period > 0);
        }
        limits.pids = resources.pids().as_ref().and_then(|pids| positive(pids.limit()));
        Ok(limits)
    }

    /// Checks the limits against each other.
    pub(super) fn check(&self) -> Result<(), CgroupError> {
        let wrong = |limit, why: &str| Err(CgroupError::Limit { limit, why: why.to_owned() });
        if let Some(both) = self.memory_and_swap {
            match self.memory {
                None => return wrong("memory and swap", "needs a memory limit too"),
                Some(memory) if both < memory => {
                    return wrong("memory and swap", "must not be less than the memory limit");
                }
                Some(_) => {}
            }
        }
        if let (Some(reservation), Some(memory)) = (self.memory_reservation, self.memory)
            && reservation > memory
        {
            return wrong("memory reservation", "must not be more than the memory limit");
        }
        for (limit, list) in [("processors", &self.cpuset_cpus), ("memory nodes", &self.cpuset_mems)] {
            if let Some(list) = list
                && !list.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b',' | b'-'))
            {
                return wrong(limit, &format!("`{list}` is no list of numbers"));
            }
        }
        Ok(())
    }

    /// Returns the processor time of a period.
    fn quota_us(&self) -> Option<u64> {
        let period = u128::from(self.cpu_period_us.unwrap_or(CPU_PERIOD_US));
        let time = |cpus: u64| (u128::from(cpus) * period / 1_000_000_000) as u64;
        self.nano_cpus.map(|cpus| time(cpus).max(MIN_CPU_QUOTA_US))
    }

    /// Returns what is to be written in version 1 hierarchies, in that order.
    pub(super) fn version_1(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut set = |controller, what, file, value: Option<String>, optional| {
            settings.extend(value.map(|value| Setting { controller, what, file, value, optional }));
        };
        let text = |value: Option<u64>| value.map(|value| value.to_string());
        set("memory", "memory", "memory.limit_in_bytes", text(self.memory), false);
        // Without swap accounting there is no such file, and swap is not limited.
        set("memory", "swap", "memory.memsw.limit_in_bytes", text(self.memory_and_swap), true);
        set("memory", "memory", "memory.soft_limit_in_bytes", text(self.memory_reservation), true);
        let quota = self.quota_us();
        let period = self.cpu_period_us.or(quota.map(|_| CPU_PERIOD_US));
        set("cpu", "processor time", "cpu.cfs_period_us", text(period), false);
        set("cpu", "processor time", "cpu.cfs_quota_us", text(quota), false);
        set(
            "cpu",
            "processor shares",
            "cpu.shares",
            text(self.cpu_shares.map(|shares| shares.max(2))),
            false,
        );
        set("cpu", REAL_TIME, RT_PERIOD, text(self.cpu_rt_period_us), false);
        set("cpu", REAL_TIME, RT_RUNTIME, text(self.cpu_rt_runtime_us), false);
        set("cpuset", "processors", "cpuset.cpus", self.cpuset_cpus.clone(), false);
        set("cpuset", "memory nodes", "cpuset.mems", self.cpuset_mems.clone(), false);
        set("pids", "processes", "pids.max", text(self.pids), false);
        for DeviceRate { device: (major, minor), counted, rate } in &self.devices {
            let value = format!("{major}:{minor} {rate}");
            set("blkio", "the rate of a device", counted.names().0, Some(value), false);
        }
        // Which of the files there is depends on the kernel's schedulers.
        for [all, each] in IO_WEIGHT_1 {
            set("blkio", "the share of devices", all, self.io_weight.map(|weight| weight.to_string()), true);
            for DeviceWeight { device: (major, minor), weight } in &self.io_weights {
                set("blkio", "the share of a device", each, Some(format!("{major}:{minor} {weight}")), true);
            }
        }
        let swappiness = self.swappiness.map(|swappiness| swappiness.to_string());
        set("memory", "swapping", SWAPPINESS, swappiness, true);
        let waits = (self.out_of_memory == OutOfMemory::Wait).then(|| "1".to_owned());
        set("memory", "killing", OOM_CONTROL, waits, true);
        settings
    }

    /// Returns what is to be written in the version 2 hierarchy.
    pub(super) fn version_2(&self) -> Vec<Setting> {
        let mut settings = Vec::new();
        let mut set = |controller, what, file, value: Option<String>, optional| {
            settings.extend(value.map(|value| Setting { controller, what, file, value, optional }));
        };
        let text = |value: Option<u64>| value.map(|value| value.to_string());
        let swap = self.memory_and_swap.map(|both| both.saturating_sub(self.memory.unwrap_or(0)));
        set("memory", "memory", "memory.max", text(self.memory), false);
        set("memory", "swap", "memory.swap.max", text(swap), true);
        set("memory", "memory", "memory.low", text(self.memory_reservation), true);
        let period = self.cpu_period_us.unwrap_or(CPU_PERIOD_US);
        let time = match self.quota_us() {
            Some(quota) => Some(format!("{quota} {period}")),
            None => self.cpu_period_us.map(|period| format!("max {period}")),
        };
        set("cpu", "processor time", "cpu.max", time, false);
        set("cpu", "processor shares", "cpu.weight", text(self.cpu_shares.map(weight)), false);
        set("cpuset", "processors", "cpuset.cpus", self.cpuset_cpus.clone(), false);
        set("cpuset", "memory nodes", "cpuset.mems", self.cpuset_mems.clone(), false);
        set("pids", "processes", "pids.max", text(self.pids), false);
        // There are no such files: an error, and nothing that is forgotten.
        set("cpu", REAL_TIME, RT_PERIOD, text(self.cpu_rt_period_us), false);
        set("cpu", REAL_TIME, RT_RUNTIME, text(self.cpu_rt_runtime_us), false);
        for DeviceRate { device: (major, minor), counted, rate } in &self.devices {
            let value = format!("{major}:{minor} {}={rate}", counted.names().1);
            set("io", "the rate of a device", "io.max", Some(value), false);
        }
        for (file, scaled) in IO_WEIGHT_2 {
            let scale = |weight: u16| if scaled { io_weight(weight) } else { weight.into() };
            let all = self.io_weight.map(|weight| format!("default {}", scale(weight)));
            set("io", "the share of devices", file, all, true);
            for DeviceWeight { device: (major, minor), weight } in &self.io_weights {
                let value = format!("{major}:{minor} {}", scale(*weight));
                set("io", "the share of a device", file, Some(value), true);
            }
        }
        settings
    }

    /// Returns what a group that has other limits is freed of before it gets these: what they say nothing of, which is memory
    /// with swap, processor time and processes; in version 1 also memory with swap, as it may never be below memory alone.
    pub(super) fn lifted(&self, version: Version) -> Vec<(&'static str, &'static str)> {
        let (is_timed, is_counted) = (self.nano_cpus.is_some(), self.pids.is_some());
        let lifted = match version {
            Version::One => [
                (true, (MEMORY_AND_SWAP_1, "-1")),
                (!is_timed, ("cpu.cfs_quota_us", "-1")),
                (!is_counted, ("pids.max", "max")),
            ],
            Version::Two => [
                (self.memory_and_swap.is_none(), ("memory.swap.max", "max")),
                (!is_timed, ("cpu.max", "max")),
                (!is_counted, ("pids.max", "max")),
            ],
        };
        lifted.into_iter().filter_map(|(is_lifted, lift)| is_lifted.then_some(lift)).collect()
    }
}

impl Limits {
    /// Whether what such a file has now has to go before these limits come: memory with swap of version 1, where memory alone is to
    /// have more than that, or nothing is said of it. A group is never without that limit for no reason.
    pub(super) fn is_in_the_way(&self, file: &str, now: &str) -> bool {
        let fits = || {
            let now: u64 = now.parse().ok()?;
            Some(self.memory_and_swap.is_some() && self.memory.is_some_and(|memory| memory <= now))
        };
        file != MEMORY_AND_SWAP_1 || !fits().unwrap_or(false)
    }
}

/// The file of version 1 for memory with swap.
const MEMORY_AND_SWAP_1: &str = "memory.memsw.limit_in_bytes";

/// The files of version 1 for the share of all devices and of each, one pair a scheduler.
pub(super) const IO_WEIGHT_1: [[&str; 2]; 2] =
    [["blkio.weight", "blkio.weight_device"], ["blkio.bfq.weight", "blkio.bfq.weight_device"]];
/// The files of version 2, and whether their scale goes to 10000.
pub(super) const IO_WEIGHT_2: [(&str, bool); 2] = [("io.bfq.weight", false), ("io.weight", true)];
pub(super) const RT_PERIOD: &str = "cpu.rt_period_us";
pub(super) const RT_RUNTIME: &str = "cpu.rt_runtime_us";
pub(super) const REAL_TIME: &str = "real-time programs";
pub(super) const SWAPPINESS: &str = "memory.swappiness";
pub(super) const OOM_CONTROL: &str = "memory.oom_control";

/// Turns a share of devices (10 to 1000) into a weight (1 to 10000), the ends being equal.
pub(super) fn io_weight(share: u16) -> u64 {
    1 + (u64::from(share.clamp(10, 1000)) - 10) * 9999 / 990
}

/// Turns shares (2 to 262144, 1024 by default) into a weight (1 to 10000, 100 by default), the defaults and the ends
/// being equal.
pub(super) fn weight(shares: u64) -> u64 {
    let shares = shares.clamp(2, 262_144);
    let log = (shares as f64).log2();
    let exponent = (log * log + 125.0 * log) / 612.0 - 7.0 / 34.0;
    (10_f64.powf(exponent).ceil() as u64).clamp(1, 10_000)
}

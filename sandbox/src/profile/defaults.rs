//! The values that Docker gives to what nobody asked about.

/// The size of `/dev/shm`.
pub(super) const SHM_SIZE: u64 = 64 << 20;

/// The host name of every step: it ends up in outputs, and must not change them.
pub(super) const STEP_HOSTNAME: &str = "buildkitsandbox";

/// Steps end before the program that runs them.
pub(super) const STEP_OOM_SCORE_ADJ: i32 = 100;

/// Paths that only tell about, or act on, the host.
const MASKED_PATHS: [&str; 13] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
];

/// Paths that can be read and not written.
const READONLY_PATHS: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// In network namespaces of their own, programs of ordinary users may listen on any port.
pub(super) const UNPRIVILEGED_PORTS: (&str, &str) = ("net.ipv4.ip_unprivileged_port_start", "0");

/// And everybody may send pings without rights for raw sockets.
pub(super) const PING_GROUPS: (&str, &str) = ("net.ipv4.ping_group_range", "0 2147483647");

/// Resource limits that programs do see, as name, soft, hard: those of the invoker's shell must not matter.
const LIMITS: [(&str, u64, u64); 4] = [
    ("core", u64::MAX, u64::MAX),
    ("nofile", 1024, 524_288),
    ("nproc", u64::MAX, u64::MAX),
    ("stack", 8 << 20, u64::MAX),
];

/// Returns the default limits for what is not among `given`, as far as this process may set them.
pub(super) fn limits(given: &[(String, u64, u64)]) -> Vec<(String, u64, u64)> {
    let number = crate::limits::number;
    LIMITS
        .iter()
        .filter(|(name, ..)| given.iter().all(|(other, ..)| number(other) != number(name)))
        .filter_map(|&(name, soft, hard)| {
            let own = crate::limits::own_hard(number(name)?)?;
            Some((name.to_owned(), soft.min(own), hard.min(own)))
        })
        .collect()
}

/// Returns the paths that can be read and not written.
pub fn readonly_paths() -> Vec<String> {
    READONLY_PATHS.map(str::to_owned).to_vec()
}

/// Returns the paths to mask, one for each processor among them.
pub fn masked_paths() -> Vec<String> {
    let mut paths = MASKED_PATHS.map(str::to_owned).to_vec();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    paths.extend(
        (1..processors).map(|number| format!("/sys/devices/system/cpu/cpu{number}/thermal_throttle")),
    );
    paths
}

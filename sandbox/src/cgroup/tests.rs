//! Finding, limits as values, and rules; what needs a kernel is in the integration test.

use super::devices::{default_rules, program};
use super::limits::{io_weight, weight};
use super::*;
use crate::sys::EbpfInstruction;

const HYBRID: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda rw
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /jobs /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory,release_agent=/x
36 31 0:33 / /sys/fs/cgroup/with\\040space rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw,nsdelegate
";

#[test]
fn hierarchies_and_own_groups_are_found() {
    let own = "9:name=systemd:/user\n4:memory:/jobs/7\n2:cpu,cpuacct:/a:b\n0::/\n";
    let layout = Layout::parse(HYBRID, own);
    assert_eq!(layout.mode(), Mode::Hybrid);
    let bases: Vec<_> = layout.v1.iter().map(|h| (h.option.as_str(), h.base.to_str().unwrap())).collect();
    assert_eq!(
        bases,
        [
            ("cpu,cpuacct", "/sys/fs/cgroup/cpu,cpuacct/a:b"),
            ("memory", "/sys/fs/cgroup/memory/7"),
            ("name=systemd", "/sys/fs/cgroup/with space/user"),
        ]
    );
    assert_eq!(layout.v2.as_ref().unwrap().own.to_str(), Some("/sys/fs/cgroup/unified"));
    assert_eq!(layout.v2.unwrap().folder, "unified");
}

#[test]
fn a_prefix_is_below_the_own_group_or_a_path_from_the_top() {
    let layout = Layout::parse(HYBRID, "4:memory:/jobs/7\n0::/\n");
    let memory = &layout.v1[0];
    let path = |prefix: &str| memory.parent(prefix).path();
    assert_eq!(path("ours").to_str(), Some("/sys/fs/cgroup/memory/7/ours"));
    assert_eq!(path("/theirs/x").to_str(), Some("/sys/fs/cgroup/memory/theirs/x"));
    assert_eq!(path("./theirs/x").to_str(), Some("/sys/fs/cgroup/memory/7/theirs/x"));
    assert_eq!(
        memory.parent("/theirs/x").steps(),
        ["/sys/fs/cgroup/memory/theirs", "/sys/fs/cgroup/memory/theirs/x"].map(std::path::PathBuf::from)
    );
    assert!(memory.parent("/").steps().is_empty());
}

#[test]
fn a_machine_of_one_version_is_that() {
    let unified = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw\n";
    let layout = Layout::parse(unified, "0::/user.slice/x.scope\n");
    assert_eq!(layout.mode(), Mode::Unified);
    assert_eq!(layout.v2.as_ref().unwrap().own.to_str(), Some("/sys/fs/cgroup/user.slice/x.scope"));
    assert_eq!(layout.v2.unwrap().folder, "");
    let legacy: String =
        HYBRID.lines().filter(|line| !line.contains("cgroup2")).map(|l| format!("{l}\n")).collect();
    assert_eq!(Layout::parse(&legacy, "4:memory:/\n").mode(), Mode::Legacy);
    assert_eq!(Layout::parse("", "").mode(), Mode::None);
    // Names of groups are not ours: such a line is no reason to fail.
    assert_eq!(Layout::parse("x - y", ":::\n::").mode(), Mode::None);
}

fn written(limits: &Limits) -> (Vec<String>, Vec<String>) {
    let lines = |settings: Vec<limits::Setting>| {
        settings.into_iter().map(|s| format!("{}={}", s.file, s.value)).collect()
    };
    (lines(limits.version_1()), lines(limits.version_2()))
}

#[test]
fn limits_become_files_of_both_versions() {
    let limits = Limits {
        memory: Some(64 << 20),
        memory_and_swap: Some(96 << 20),
        memory_reservation: Some(1 << 20),
        nano_cpus: Some(1_500_000_000),
        cpu_period_us: None,
        cpu_shares: Some(1024),
        cpuset_cpus: Some("0-1".to_owned()),
        cpuset_mems: None,
        pids: Some(100),
        devices: vec![
            DeviceRate { device: (8, 0), counted: Counted::BytesRead, rate: 1 << 20 },
            DeviceRate { device: (8, 16), counted: Counted::Writes, rate: 50 },
        ],
        ..Limits::default()
    };
    limits.check().unwrap();
    let (first, second) = written(&limits);
    assert_eq!(
        first,
        [
            "memory.limit_in_bytes=67108864",
            "memory.memsw.limit_in_bytes=100663296",
            "memory.soft_limit_in_bytes=1048576",
            "cpu.cfs_period_us=100000",
            "cpu.cfs_quota_us=150000",
            "cpu.shares=1024",
            "cpuset.cpus=0-1",
            "pids.max=100",
            "blkio.throttle.read_bps_device=8:0 1048576",
            "blkio.throttle.write_iops_device=8:16 50",
        ]
    );
    assert_eq!(
        second,
        [
            "memory.max=67108864",
            "memory.swap.max=33554432",
            "memory.low=1048576",
            "cpu.max=150000 100000",
            "cpu.weight=100",
            "cpuset.cpus=0-1",
            "pids.max=100",
            "io.max=8:0 rbps=1048576",
            "io.max=8:16 wiops=50",
        ]
    );
}

#[test]
fn a_period_is_written_with_and_without_a_quota() {
    let alone = Limits { cpu_period_us: Some(50_000), ..Limits::default() };
    let (first, second) = (vec!["cpu.cfs_period_us=50000".to_owned()], vec!["cpu.max=max 50000".to_owned()]);
    assert_eq!(written(&alone), (first, second));
    let both = Limits { nano_cpus: Some(500_000_000), ..alone };
    let first = vec!["cpu.cfs_period_us=50000".to_owned(), "cpu.cfs_quota_us=25000".to_owned()];
    assert_eq!(written(&both), (first, vec!["cpu.max=25000 50000".to_owned()]));
}

#[test]
fn real_time_is_never_forgotten() {
    let limits =
        Limits { cpu_rt_period_us: Some(500_000), cpu_rt_runtime_us: Some(1000), ..Limits::default() };
    let lines = ["cpu.rt_period_us=500000", "cpu.rt_runtime_us=1000"].map(str::to_owned).to_vec();
    assert_eq!(written(&limits), (lines.clone(), lines));
}

#[test]
fn shares_of_devices_and_what_only_version_1_has_are_written_where_they_are() {
    let limits = Limits {
        io_weight: Some(500),
        io_weights: vec![DeviceWeight { device: (8, 0), weight: 10 }],
        swappiness: Some(0),
        out_of_memory: OutOfMemory::Wait,
        ..Limits::default()
    };
    let (first, second) = written(&limits);
    assert_eq!(
        first,
        [
            "blkio.weight=500",
            "blkio.weight_device=8:0 10",
            "blkio.bfq.weight=500",
            "blkio.bfq.weight_device=8:0 10",
            "memory.swappiness=0",
            "memory.oom_control=1",
        ]
    );
    assert_eq!(
        second,
        ["io.bfq.weight=default 500", "io.bfq.weight=8:0 10", "io.weight=default 4950", "io.weight=8:0 1",]
    );
    assert_eq!((io_weight(10), io_weight(1000)), (1, 10_000));
}

#[test]
fn shares_and_weights_agree_at_the_ends_and_in_the_middle() {
    for (shares, expected) in [(0, 1), (2, 1), (1024, 100), (262_144, 10_000), (u64::MAX, 10_000)] {
        assert_eq!(weight(shares), expected, "{shares}");
    }
}

#[test]
fn limits_that_contradict_each_other_are_refused() {
    for limits in [
        Limits { memory_and_swap: Some(1), ..Limits::default() },
        Limits { memory: Some(2), memory_and_swap: Some(1), ..Limits::default() },
        Limits { memory: Some(1), memory_reservation: Some(2), ..Limits::default() },
        Limits { cpuset_cpus: Some("0\n1".to_owned()), ..Limits::default() },
    ] {
        assert!(matches!(limits.check(), Err(CgroupError::Limit { .. })), "{limits:?}");
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in ["", ".", "..", "a/b", "../x", "cgroup.kill", "a\nb"] {
        let request = CgroupRequest {
            prefix: "rbuild-test".to_owned(),
            name: name.to_owned(),
            limits: Limits::default(),
            devices: Devices::All,
        };
        assert!(
            matches!(Cgroup::create(&Layout::default(), &request), Err(CgroupError::Name { .. })),
            "{name:?}"
        );
    }
    for prefix in ["", ".", "a/b", "/..", "/a//b", "./a/../b", "/a/"] {
        let request = CgroupRequest {
            prefix: prefix.to_owned(),
            name: "x".to_owned(),
            limits: Limits::default(),
            devices: Devices::All,
        };
        assert!(
            matches!(Cgroup::create(&Layout::default(), &request), Err(CgroupError::Name { .. })),
            "{prefix:?}"
        );
    }
}

/// Runs a device program: the few instructions that it is made of.
fn decide(program: &[EbpfInstruction], access: u32, kind: u32, major: u32, minor: u32) -> u64 {
    let context = [access << 16 | kind, major, minor];
    let mut registers = [0_u64; 11];
    let mut next = 0;
    loop {
        let EbpfInstruction { code, registers: names, offset, operand } = program[next];
        next += 1;
        let (destination, source) = (usize::from(names & 15), usize::from(names >> 4));
        match code {
            0x61 => registers[destination] = context[offset as usize / 4].into(),
            0xbf => registers[destination] = registers[source],
            0xb7 => registers[destination] = operand as u64,
            0x57 => registers[destination] &= operand as i64 as u64,
            0x77 => registers[destination] >>= operand,
            0x55 if registers[destination] != operand as i64 as u64 => next += offset as usize,
            0x55 => {}
            0x95 => return registers[0],
            other => panic!("unknown instruction {other:#x}"),
        }
    }
}

#[test]
fn device_programs_allow_exactly_what_is_listed() {
    const MAKE: u32 = 1;
    const READ: u32 = 2;
    const WRITE: u32 = 4;
    const BLOCK: u32 = 1;
    const CHARACTER: u32 = 2;
    let fuse = DeviceRule {
        kind: DeviceKind::Character,
        major: Some(10),
        minor: Some(229),
        access: DeviceAccess::parse("rw").unwrap(),
    };
    let plain = program(&default_rules());
    let with_fuse = program(&[default_rules(), vec![fuse]].concat());
    for (access, kind, major, minor, expected, expected_fuse) in [
        (READ | WRITE, CHARACTER, 1, 3, 1, 1),
        (READ | WRITE | MAKE, CHARACTER, 1, 3, 1, 1),
        (READ, CHARACTER, 1, 1, 0, 0),
        (READ, BLOCK, 1, 3, 0, 0),
        (MAKE, BLOCK, 8, 0, 1, 1),
        (READ | MAKE, BLOCK, 8, 0, 0, 0),
        (WRITE, BLOCK, 8, 0, 0, 0),
        (READ, CHARACTER, 136, 77, 1, 1),
        (READ, CHARACTER, 10, 229, 0, 1),
        (READ | WRITE, CHARACTER, 10, 229, 0, 1),
        (READ, CHARACTER, 10, 200, 0, 0),
    ] {
        assert_eq!(decide(&plain, access, kind, major, minor), expected, "{access} {kind} {major}:{minor}");
        assert_eq!(
            decide(&with_fuse, access, kind, major, minor),
            expected_fuse,
            "{access} {kind} {major}:{minor} fuse"
        );
    }
    assert_eq!(fuse.line(), "c 10:229 rw");
    assert!(DeviceAccess::parse("").is_none() && DeviceAccess::parse("rx").is_none());
}

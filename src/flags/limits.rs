//! Limits and rights of processes: ulimits, processors, devices, kernel parameters, capabilities.

use std::path::PathBuf;

use rbuild_model::step::Ulimit;

use super::{Invalid, Read, unknown};

/// A share of processors, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) u64);

/// A device of the host to hand in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Device {
    /// The path on the host.
    pub(crate) host: PathBuf,
    /// The path in the container.
    pub(crate) container: PathBuf,
    /// What is allowed: of `r`, `w`, `m`.
    pub(crate) rights: String,
}

/// A kernel parameter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sysctl {
    /// The dotted name.
    pub(crate) name: String,
    /// Its value.
    pub(crate) value: String,
}

/// The limits that exist, by Docker's names.
const ULIMITS: &[&str] = &[
    "core",
    "cpu",
    "data",
    "fsize",
    "locks",
    "memlock",
    "msgqueue",
    "nice",
    "nofile",
    "nproc",
    "rss",
    "rtprio",
    "rttime",
    "sigpending",
    "stack",
];

/// The capabilities that exist, without `CAP_`.
const CAPABILITIES: &[&str] = &[
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];

/// Reads `name=soft[:hard]`; -1 is no limit.
pub(crate) fn ulimit(text: &str) -> Read<Ulimit> {
    let (name, limits) = text
        .split_once('=')
        .ok_or_else(|| Invalid::new("write `NAME=SOFT[:HARD]`, as in `nofile=1024:2048`"))?;
    if !ULIMITS.contains(&name) {
        return Err(unknown("limit", name, ULIMITS));
    }
    let number = |part: &str| match part.parse::<i64>() {
        Ok(value) if value >= -1 => Ok(value),
        _ => Err(Invalid::new(format!("`{part}` is not a limit: use a number, or -1 for none"))),
    };
    let (soft, hard) = match limits.split_once(':') {
        Some((soft, hard)) => (number(soft)?, number(hard)?),
        None => (number(limits)?, number(limits)?),
    };
    if hard != -1 && (soft == -1 || soft > hard) {
        return Err(Invalid::new(format!(
            "the soft limit must not be above the hard limit: {soft} > {hard}"
        )));
    }
    Ok(Ulimit { name: name.to_owned(), soft, hard })
}

/// Reads a number of processors (`1.5`).
pub(crate) fn cpus(text: &str) -> Read<Cpus> {
    let wrong = || Invalid::new("not a number of processors: write one like `2` or `1.5`");
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || part.len() > 9 {
        return Err(wrong());
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| wrong())? };
    let part = format!("{part:0<9}").parse::<u64>().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|w| w.checked_add(part)).map(Cpus).ok_or_else(wrong)
}

/// Reads a list of processors (`0-3,7`) and returns it as written.
pub(crate) fn cpuset(text: &str) -> Read<String> {
    let number = |part: &str| part.parse::<u16>().ok();
    let range = |part: &str| match part.split_once('-') {
        Some((first, last)) => matches!((number(first), number(last)), (Some(a), Some(b)) if a <= b),
        None => number(part).is_some(),
    };
    if text.split(',').all(range) {
        Ok(text.to_owned())
    } else {
        Err(Invalid::new("not a list of processors: write one like `0-3` or `0,1`"))
    }
}

/// Reads `HOST[:CONTAINER][:rwm]`.
pub(crate) fn device(text: &str) -> Read<Device> {
    let is_rights = |part: &str| !part.is_empty() && part.bytes().all(|b| matches!(b, b'r' | b'w' | b'm'));
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, rights) = match parts[..] {
        [host] => (host, host, "rwm"),
        [host, rights] if is_rights(rights) => (host, host, rights),
        [host, container] => (host, container, "rwm"),
        [host, container, rights] if is_rights(rights) => (host, container, rights),
        [_, _, rights] => return Err(Invalid::new(format!("`{rights}` are no rights: use some of `rwm`"))),
        _ => return Err(Invalid::new("write `HOST[:CONTAINER][:rwm]`, as in `/dev/fuse`")),
    };
    for path in [host, container] {
        if !path.starts_with('/') {
            return Err(Invalid::new(format!("`{path}` is not an absolute path")));
        }
    }
    Ok(Device { host: host.into(), container: container.into(), rights: rights.to_owned() })
}

/// Reads `name=value` of a kernel parameter.
pub(crate) fn sysctl(text: &str) -> Read<Sysctl> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok(Sysctl { name: name.replace('/', "."), value: value.to_owned() })
        }
        _ => Err(Invalid::new("write `NAME=VALUE`, as in `net.core.somaxconn=1024`")),
    }
}

/// Reads a capability (`CAP_NET_ADMIN`, `net_admin`, `ALL`) and returns its name without `CAP_`, in upper case.
pub(crate) fn capability(text: &str) -> Read<String> {
    let name = rbuild_sandbox::capabilities::canonical(text);
    if name == "ALL" || CAPABILITIES.contains(&name.as_str()) {
        Ok(name)
    } else {
        Err(unknown("capability", &name, CAPABILITIES).or_short("see `man 7 capabilities`"))
    }
}

impl Invalid {
    /// Replaces a long list of what is allowed by where to read it.
    fn or_short(self, instead: &str) -> Self {
        match self.why.split_once(": use one of [") {
            Some((what, _)) => Self::new(format!("{what}: {instead}")),
            None => self,
        }
    }
}

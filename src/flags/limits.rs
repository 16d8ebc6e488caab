//! Limits and rights of processes: ulimits, processors, devices, kernel parameters, capabilities.

use std::collections::BTreeMap;

use rbuild_model::container::{DeviceRequest, DeviceUse};
use rbuild_model::step::Ulimit;

use super::{Invalid, Read, csv, unknown};

/// A share of processors, in billionths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cpus(pub(crate) u64);

/// A device to hand in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Device {
    /// A node of the host.
    Node(DeviceUse),
    /// One that a file describes, by its full name.
    Named(String),
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
    if let Some(number) = text.strip_prefix('-')
        && cpus(number).is_ok()
    {
        return Err(Invalid::new("fewer processors than none: write a number like `2` or `1.5`").late());
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && part.is_empty()) || !digits(whole) || !digits(part) || part.len() > 9 {
        return Err(wrong());
    }
    let whole = if whole.is_empty() { 0 } else { whole.parse::<u64>().map_err(|_| wrong())? };
    let part = format!("{part:0<9}").parse::<u64>().map_err(|_| wrong())?;
    whole.checked_mul(1_000_000_000).and_then(|w| w.checked_add(part)).map(Cpus).ok_or_else(wrong)
}

/// Reads a share of processors.
pub(crate) fn cpu_shares(text: &str) -> Read<u64> {
    let number: i64 = text.parse().map_err(|_| Invalid::new("not a whole number"))?;
    u64::try_from(number).map_err(|_| Invalid::new("a share is a positive number").late())
}

/// Reads how soon the kernel kills somebody when memory is short.
pub(crate) fn oom_score(text: &str) -> Read<i16> {
    let number: i64 = text.parse().map_err(|_| Invalid::new("not a whole number"))?;
    let score = i16::try_from(number).ok().filter(|score| (-1000..=1000).contains(score));
    score.ok_or_else(|| Invalid::new(format!("{number} is not in -1000..=1000")).late())
}

/// Checks a rule for devices (`c 1:3 rwm`) and returns it as written; what it comes to is found where it is applied.
pub(crate) fn device_rule(text: &str) -> Read<String> {
    let wrong = || Invalid::new("write one like `c 1:3 rwm`; a number may be `*`");
    let words: Vec<&str> = text.split(' ').collect();
    let [kind, numbers, access] = words[..] else { return Err(wrong()) };
    let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
    let number = |text: &str| text == "*" || (!text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()));
    let letters = (1..=3).contains(&access.len()) && access.bytes().all(|b| b"rwm".contains(&b));
    let is_rule = matches!(kind, "a" | "b" | "c") && number(major) && number(minor) && letters;
    if is_rule { Ok(text.to_owned()) } else { Err(wrong()) }
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

/// Reads `HOST[:CONTAINER][:rwm]`, or `VENDOR/CLASS=DEVICE`.
pub(crate) fn device(text: &str) -> Read<Device> {
    if rbuild_devices::is_qualified(text) {
        return Ok(Device::Named(text.to_owned()));
    }
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
    Ok(Device::Node(DeviceUse { host: host.into(), container: container.into(), access: rights.to_owned() }))
}

/// Reads `all`, a number, or `device=0`, `count=2`, `driver=...`, `capabilities=...`, `options=...`, several with commas: a field
/// that has some in it stands in quotes.
pub(crate) fn gpus(text: &str) -> Read<DeviceRequest> {
    const KEYS: &[&str] = &["count", "device", "driver", "capabilities", "options"];
    let count = |text: &str| match text {
        "all" => Ok(-1),
        number => number.parse().map_err(|_| {
            Invalid::new(format!("invalid count ({number}): value must be either \"all\" or an integer"))
        }),
    };
    let list = |text: &str| text.split(',').map(str::to_owned).collect::<Vec<_>>();
    let mut request =
        DeviceRequest { capabilities: vec![vec!["gpu".to_owned()]], ..DeviceRequest::default() };
    let mut seen: Vec<&str> = Vec::new();
    let fields = csv::split(text)?;
    for field in &fields {
        let (key, value) = field.split_once('=').unwrap_or(("count", field));
        if seen.contains(&key) {
            return Err(Invalid::new(format!("gpu request key '{key}' can be specified only once")));
        }
        seen.push(key);
        match key {
            "count" => request.count = count(value)?,
            "device" => request.ids = list(value),
            "driver" => value.clone_into(&mut request.driver),
            "capabilities" => {
                let mut capabilities = list(value);
                capabilities.push("gpu".to_owned());
                request.capabilities = vec![capabilities];
            }
            "options" => {
                let option = |field: String| match field.split_once('=') {
                    Some((name, value)) => (name.to_owned(), value.to_owned()),
                    None => (field, String::new()),
                };
                request.options = csv::split(value)?.into_iter().map(option).collect::<BTreeMap<_, _>>();
            }
            other => return Err(unknown("key", other, KEYS)),
        }
    }
    if !seen.contains(&"count") && request.ids.is_empty() {
        request.count = 1;
    }
    Ok(request)
}

/// The kernel parameters that a container may have of its own, and what those begin with that belong to its network and its
/// queues of messages.
const SYSCTLS: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];
const SYSCTL_GROUPS: [&str; 2] = ["net.", "fs.mqueue."];

/// Reads `name=value` of a kernel parameter.
pub(crate) fn sysctl(text: &str) -> Read<Sysctl> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let name = name.replace('/', ".");
            if !SYSCTLS.contains(&&*name) && !SYSCTL_GROUPS.iter().any(|group| name.starts_with(group)) {
                return Err(Invalid::new(format!(
                    "sysctl '{text}' is not allowed: use one of the container's own namespaces, [{}] or one below {}",
                    SYSCTLS.join(", "),
                    SYSCTL_GROUPS.join(", ")
                )));
            }
            Ok(Sysctl { name, value: value.to_owned() })
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

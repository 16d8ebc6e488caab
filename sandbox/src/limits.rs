//! Resource limits by name and number.

/// The kernel's resources, each at the place of its number.
const NAMES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// Returns the lower-case name of a resource (`nofile`).
pub(crate) fn name(number: u32) -> &'static str {
    NAMES.get(number as usize).copied().unwrap_or("unknown")
}

/// Returns the number of a resource named as in `ulimit` options (`nofile`) or in OCI documents (`RLIMIT_NOFILE`).
pub fn number(name: &str) -> Option<u32> {
    let name = name.strip_prefix("RLIMIT_").unwrap_or(name).to_ascii_lowercase();
    NAMES.iter().position(|known| *known == name).map(|place| place as u32)
}

/// Allows this process as many open files as it may have: what is done for many containers at once needs some for each,
/// and sessions begin with few. Programs inside have limits of their own.
pub fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum {
        // With the old limit it does less at once.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

/// Why a program cannot have a limit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// The kernel has none of this name.
    #[error("unknown limit `{name}`: use one of [{}]", NAMES.join(", "))]
    Unknown {
        /// The name.
        name: String,
    },
    /// What is in force is more than the program may raise it to.
    #[error("the soft limit must not be above the hard limit: {} > {}", shown(*soft), shown(*hard))]
    Order {
        /// The limit in force.
        soft: u64,
        /// How far it may be raised.
        hard: u64,
    },
    /// The kernel lets nobody have so many open files.
    #[error("{} is more than the kernel allows: {most} (`fs.nr_open`)", shown(*hard))]
    Files {
        /// What was asked for.
        hard: u64,
        /// How many it allows.
        most: u64,
    },
    /// This process has less itself and no right to raise it.
    #[error("{} is more than {}, which this process has itself: only root of the machine may raise it", shown(*hard), shown(*own))]
    Own {
        /// What was asked for.
        hard: u64,
        /// What it has.
        own: u64,
    },
}

/// A limit as people write it.
fn shown(limit: u64) -> String {
    if limit == u64::MAX { "-1 (no limit)".to_owned() } else { limit.to_string() }
}

/// Tells whether a program that this process starts can have a limit; `u64::MAX` is none.
pub fn possible(name: &str, soft: u64, hard: u64) -> Result<(), LimitError> {
    let number = number(name).ok_or_else(|| LimitError::Unknown { name: name.to_owned() })?;
    if soft > hard {
        return Err(LimitError::Order { soft, hard });
    }
    if self::name(number) == "nofile"
        && let Some(most) = most_files().filter(|most| hard > *most)
    {
        return Err(LimitError::Files { hard, most });
    }
    let own = own_hard(number).filter(|own| hard > *own);
    let may_raise = crate::rootless::in_initial_user_namespace()
        && crate::capabilities::CapabilityMask::held().contains("SYS_RESOURCE");
    own.filter(|_| !may_raise).map_or(Ok(()), |own| Err(LimitError::Own { hard, own }))
}

/// How many open files the kernel lets a process have at most.
fn most_files() -> Option<u64> {
    std::fs::read_to_string("/proc/sys/fs/nr_open").ok()?.trim().parse().ok()
}

/// Returns this process's own hard limit of a resource; `u64::MAX` is none.
pub(crate) fn own_hard(number: u32) -> Option<u64> {
    crate::sys::hard_limit(number).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_kernels() {
        for (text, expected) in
            [("nofile", Some(7)), ("RLIMIT_RTTIME", Some(15)), ("RLIMIT_CPU", Some(0)), ("x", None)]
        {
            assert_eq!(number(text), expected, "{text}");
        }
        assert_eq!(number("nproc"), Some(libc::RLIMIT_NPROC));
        assert_eq!(name(libc::RLIMIT_MEMLOCK), "memlock");
    }

    #[test]
    fn what_nobody_can_have_is_told() {
        let told = |name, soft, hard| possible(name, soft, hard).map_err(|error| error.to_string());
        assert_eq!(told("nofile", 1, 1), Ok(()));
        let why = |text: &str| Err(text.to_owned());
        assert_eq!(told("nofile", 2, 1), why("the soft limit must not be above the hard limit: 2 > 1"));
        let none = "the soft limit must not be above the hard limit: -1 (no limit) > 1";
        assert_eq!(told("core", u64::MAX, 1), why(none));
        let most = most_files().expect("the kernel says it");
        assert_eq!(possible("nofile", 1, most + 1), Err(LimitError::Files { hard: most + 1, most }));
        assert!(matches!(possible("x", 1, 1), Err(LimitError::Unknown { .. })));
    }
}

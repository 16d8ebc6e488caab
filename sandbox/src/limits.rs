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
}

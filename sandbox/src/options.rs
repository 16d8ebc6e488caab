//! Mount options in the words of `mount(8)`, as OCI documents carry them.

use crate::script::Attributes;

/// What a list of options says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    /// The attributes of the mount.
    pub(crate) attributes: Attributes,
    /// Whether it is a bind mount.
    pub(crate) bind: Option<Bind>,
    /// What the file system itself is told.
    pub(crate) data: Vec<(String, Option<String>)>,
}

/// How much a bind mount takes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bind {
    /// The one mount.
    One,
    /// The mounts below it too.
    All,
}

/// Option, attribute bits to set, bits to clear.
const ATTRIBUTES: [(&str, u64, u64); 15] = [
    ("ro", libc::MOUNT_ATTR_RDONLY, 0),
    ("rw", 0, libc::MOUNT_ATTR_RDONLY),
    ("nosuid", libc::MOUNT_ATTR_NOSUID, 0),
    ("suid", 0, libc::MOUNT_ATTR_NOSUID),
    ("nodev", libc::MOUNT_ATTR_NODEV, 0),
    ("dev", 0, libc::MOUNT_ATTR_NODEV),
    ("noexec", libc::MOUNT_ATTR_NOEXEC, 0),
    ("exec", 0, libc::MOUNT_ATTR_NOEXEC),
    ("noatime", libc::MOUNT_ATTR_NOATIME, libc::MOUNT_ATTR__ATIME),
    ("relatime", libc::MOUNT_ATTR_RELATIME, libc::MOUNT_ATTR__ATIME),
    ("strictatime", libc::MOUNT_ATTR_STRICTATIME, libc::MOUNT_ATTR__ATIME),
    ("nodiratime", libc::MOUNT_ATTR_NODIRATIME, 0),
    ("diratime", 0, libc::MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", libc::MOUNT_ATTR_NOSYMFOLLOW, 0),
    ("symfollow", 0, libc::MOUNT_ATTR_NOSYMFOLLOW),
];

const PROPAGATIONS: [(&str, u64); 8] = [
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE),
    ("slave", libc::MS_SLAVE),
    ("rslave", libc::MS_SLAVE),
    ("shared", libc::MS_SHARED),
    ("rshared", libc::MS_SHARED),
    ("unbindable", libc::MS_UNBINDABLE),
    ("runbindable", libc::MS_UNBINDABLE),
];

/// Options without effect on a mount made by descriptors, or that are the default.
const IGNORED: [&str; 4] = ["defaults", "async", "norelatime", "tmpcopyup"];

/// Reads a list of options; the later of two that contradict each other counts.
pub(crate) fn parse(options: &[String]) -> Options {
    let mut result = Options::default();
    for option in options {
        let attributes = &mut result.attributes;
        // `rro` and its like are the recursive forms.
        let plain = option.strip_prefix('r').filter(|rest| *rest != "o" && *rest != "w").unwrap_or(option);
        let known = |name: &str| ATTRIBUTES.iter().find(|(known, ..)| *known == name);
        if let Some((_, set, clear)) = known(option).or_else(|| known(plain)) {
            attributes.set = attributes.set & !clear | set;
            attributes.clear = attributes.clear & !set | clear;
            attributes.recursive |= option.as_str() != plain && known(option).is_none();
        } else if let Some((_, propagation)) = PROPAGATIONS.iter().find(|(name, _)| name == option) {
            attributes.propagation = *propagation;
        } else if option == "bind" {
            result.bind = Some(Bind::One);
        } else if option == "rbind" {
            result.bind = Some(Bind::All);
        } else if !IGNORED.contains(&option.as_str()) {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value.to_owned())),
                None => (option.as_str(), None),
            };
            result.data.push((key.to_owned(), value));
        }
    }
    if result.bind == Some(Bind::All) {
        // Read-only means read-only: also for what is mounted below.
        result.attributes.recursive = true;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &str, set: u64, clear: u64, recursive: bool, data: &str) {
        let options: Vec<String> = options.split(',').map(str::to_owned).collect();
        let parsed = parse(&options);
        assert_eq!((parsed.attributes.set, parsed.attributes.clear), (set, clear), "{options:?}");
        assert_eq!(parsed.attributes.recursive, recursive, "{options:?}");
        let words: Vec<String> = parsed
            .data
            .into_iter()
            .map(|(key, value)| value.map_or(key.clone(), |value| format!("{key}={value}")))
            .collect();
        assert_eq!(words.join(","), data, "{options:?}");
    }

    #[test]
    fn options_are_told_apart() {
        use libc::{MOUNT_ATTR__ATIME as ATIME, MOUNT_ATTR_NOEXEC as NOEXEC, MOUNT_ATTR_RDONLY as RDONLY};
        check("ro,mode=755,size=64m", RDONLY, 0, false, "mode=755,size=64m");
        check("ro,rw", 0, RDONLY, false, "");
        check("rbind,ro", RDONLY, 0, true, "");
        check("rro", RDONLY, 0, true, "");
        check(
            "noexec,strictatime,newinstance",
            NOEXEC | libc::MOUNT_ATTR_STRICTATIME,
            ATIME,
            false,
            "newinstance",
        );
        check("rprivate,bind", 0, 0, false, "");
        check("relatime", libc::MOUNT_ATTR_RELATIME, ATIME, false, "");
    }
}

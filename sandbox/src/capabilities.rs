//! Capabilities by name and number.

use oci_spec::runtime::{Capabilities, Capability};

/// The kernel's names without `CAP_`, each at the place of its number.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// A set of capabilities, as the kernel's bit mask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CapabilityMask(pub u64);

impl CapabilityMask {
    /// What a container has unless it asks for more or less.
    pub const DEFAULT: Self = Self(0xa804_25fb);

    /// Every capability known here.
    pub const ALL: Self = Self((1 << NAMES.len()) - 1);

    /// Returns what this process may hand on at most: its bounding set, as far as known here.
    pub fn held() -> Self {
        let held = |number: u32| {
            let set = rustix::thread::CapabilitySet::from_bits_retain(1 << number);
            rustix::thread::capability_is_in_bounding_set(set).unwrap_or(false)
        };
        Self(
            (0..NAMES.len() as u32).filter(|&number| held(number)).fold(0, |mask, number| mask | 1 << number),
        )
    }

    /// Tells whether a capability is in the set; names with and without `CAP_` in any case.
    pub fn contains(self, name: &str) -> bool {
        number(name).is_some_and(|number| self.0 & (1 << number) != 0)
    }

    /// Returns the names of the set (`CAP_CHOWN`).
    pub fn names(self) -> impl Iterator<Item = String> {
        NAMES
            .iter()
            .enumerate()
            .filter(move |(place, _)| self.0 & (1 << place) != 0)
            .map(|(_, name)| format!("CAP_{name}"))
    }

    /// Returns the set in the form of OCI documents.
    pub fn to_oci(self) -> Capabilities {
        let place = |place: usize| NAMES[place].parse::<Capability>().ok();
        (0..NAMES.len()).filter(|bit| self.0 & (1 << bit) != 0).filter_map(place).collect()
    }

    /// Reads the form of OCI documents.
    pub fn from_oci(capabilities: &Capabilities) -> Self {
        Self(
            capabilities
                .iter()
                .filter_map(|name| number(&name.to_string()))
                .fold(0, |mask, bit| mask | 1 << bit),
        )
    }
}

/// Returns a name in the form that names are kept and compared in: upper case, without `CAP_`; `ALL` stands for all.
pub fn canonical(name: &str) -> String {
    let name = name.to_ascii_uppercase();
    name.strip_prefix("CAP_").map(str::to_owned).unwrap_or(name)
}

/// Returns the number of a capability; names with and without `CAP_` in any case.
pub fn number(name: &str) -> Option<u32> {
    let name = canonical(name);
    NAMES.iter().position(|known| *known == name).map(|place| place as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_set_is_the_fourteen() {
        let names: Vec<String> = CapabilityMask::DEFAULT.names().collect();
        let expected = [
            "CHOWN",
            "DAC_OVERRIDE",
            "FOWNER",
            "FSETID",
            "KILL",
            "SETGID",
            "SETUID",
            "SETPCAP",
            "NET_BIND_SERVICE",
            "NET_RAW",
            "SYS_CHROOT",
            "MKNOD",
            "AUDIT_WRITE",
            "SETFCAP",
        ];
        assert_eq!(names, expected.map(|name| format!("CAP_{name}")));
    }

    #[test]
    fn every_capability_survives_the_oci_form() {
        assert_eq!(CapabilityMask::from_oci(&CapabilityMask::ALL.to_oci()), CapabilityMask::ALL);
        assert_eq!(number("cap_sys_admin"), Some(21));
        assert_eq!(number("bpf"), Some(39));
        assert_eq!(number("CAP_EVERYTHING"), None);
    }

    #[test]
    fn a_name_has_one_form() {
        for spelling in ["NET_ADMIN", "CAP_NET_ADMIN", "net_admin", "cap_net_admin"] {
            assert_eq!(canonical(spelling), "NET_ADMIN");
        }
        assert_eq!(canonical("all"), "ALL");
    }
}

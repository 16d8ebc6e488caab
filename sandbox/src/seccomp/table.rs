//! The numbers of system calls, by architecture.

use std::collections::HashMap;
use std::sync::LazyLock;

/// An instruction set with system calls of its own, in the order of the table's columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Architecture {
    X86_64,
    I386,
    Aarch64,
    Arm,
}

impl Architecture {
    /// Returns the kernel's own number for it (`AUDIT_ARCH_*`).
    pub(super) fn audit_number(self) -> u32 {
        match self {
            Self::X86_64 => 0xc000_003e,
            Self::I386 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Returns what this program was built for; `None` where filters are not offered.
    pub(super) fn native() -> Option<Self> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Self::X86_64),
            "aarch64" => Some(Self::Aarch64),
            _ => None,
        }
    }
}

type Numbers = [Option<u32>; 4];

static TABLE: LazyLock<HashMap<&'static str, Numbers>> = LazyLock::new(|| {
    let mut table = HashMap::new();
    for line in include_str!("syscalls.txt").lines().filter(|line| !line.starts_with('#')) {
        let mut words = line.split(' ');
        let Some(name) = words.next() else { continue };
        let mut numbers = [None; 4];
        for (number, word) in numbers.iter_mut().zip(words) {
            *number = word.parse().ok();
        }
        table.insert(name, numbers);
    }
    table
});

/// The highest numbers below which everything is assigned by the kernel's common scheme; `arm` has private ones above.
static NEWEST: LazyLock<Numbers> = LazyLock::new(|| {
    /// Where the private calls of 32-bit Arm start.
    const ARM_PRIVATE: u32 = 0xf_0000;
    let newest = |column: usize| {
        TABLE.values().filter_map(|numbers| numbers[column]).filter(|n| *n < ARM_PRIVATE).max()
    };
    [newest(0), newest(1), newest(2), newest(3)]
});

/// Returns the number of a system call; `None` where there is no such call.
pub(super) fn number(name: &str, architecture: Architecture) -> Option<u32> {
    TABLE.get(name)?[architecture as usize]
}

/// Returns the newest number that is known here.
pub(super) fn newest(architecture: Architecture) -> u32 {
    NEWEST[architecture as usize].unwrap_or(0)
}

#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    TABLE.keys().copied()
}

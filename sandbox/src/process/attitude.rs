//! What a process does with signals, as `/proc/PID/status` tells (proc_pid_status(5)).

/// Sets of signals: the bit of signal `n` is `n - 1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attitude {
    blocked: u64,
    ignored: u64,
    caught: u64,
}

impl Attitude {
    /// Asks the kernel; none of a process that is gone.
    pub fn of(pid: u32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?)
    }

    fn parse(status: &str) -> Option<Self> {
        let set = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            u64::from_str_radix(line.trim(), 16).ok()
        };
        Some(Self { blocked: set("SigBlk:")?, ignored: set("SigIgn:")?, caught: set("SigCgt:")? })
    }

    /// Whether a signal is ignored.
    pub fn ignores(self, signal: i32) -> bool {
        bit(signal).is_some_and(|bit| self.ignored & bit != 0)
    }

    /// Whether a signal is neither caught nor blocked.
    pub fn is_deaf_to(self, signal: i32) -> bool {
        bit(signal).is_some_and(|bit| (self.blocked | self.caught) & bit == 0)
    }
}

fn bit(signal: i32) -> Option<u64> {
    1_u64.checked_shl(u32::try_from(signal.checked_sub(1)?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_neither_caught_nor_blocked_is_unheard() {
        let status = "Name:\tsleep\nSigQ:\t0/1\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000000000\n\
                      SigCgt:\t0000000000004000\n";
        let attitude = Attitude::parse(status).unwrap();
        assert!(attitude.is_deaf_to(1));
        assert!(!attitude.is_deaf_to(2), "it is blocked");
        assert!(!attitude.is_deaf_to(15), "it is caught");
        assert!(!attitude.is_deaf_to(0) && !attitude.is_deaf_to(65), "there is no such signal");
        assert_eq!(Attitude::parse(""), None, "nothing is known");
    }

    #[test]
    fn what_is_ignored_is_read_from_the_status() {
        // As `nohup` starts a program in the background of a script.
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000003\nSigCgt:\t0000000000004000\n";
        let attitude = Attitude::parse(status).unwrap();
        assert!(attitude.ignores(1) && attitude.ignores(2));
        assert!(!attitude.ignores(15));
    }

    #[test]
    fn the_kernel_tells_of_a_process_that_is_there() {
        assert!(Attitude::of(std::process::id()).is_some());
        assert_eq!(Attitude::of(u32::MAX), None);
    }
}

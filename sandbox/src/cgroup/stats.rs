//! What a group uses now: the numbers behind `stats`, whatever version they come from.

use super::group::Cgroup;

/// What a group uses. What its hierarchies do not count is absent, never zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time, in nanoseconds.
    pub cpu_total_ns: Option<u64>,
    /// The part of it in user mode.
    pub cpu_user_ns: Option<u64>,
    /// The part of it in the kernel.
    pub cpu_system_ns: Option<u64>,
    /// How often it was held back by its limit.
    pub throttling: Throttling,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// The most of it at one time.
    pub memory_peak: Option<u64>,
    /// Its bound; `None` for none.
    pub memory_limit: Option<u64>,
    /// The lines of `memory.stat`.
    pub memory_detail: Vec<(String, u64)>,
    /// Processes and threads.
    pub pids: Option<u64>,
    /// Their bound; `None` for none.
    pub pids_limit: Option<u64>,
    /// Bytes read and written, by device.
    pub block: Vec<BlockTransfer>,
}

/// How often a group was held back by its limit of processor time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    /// Periods that passed.
    pub periods: u64,
    /// Those in which it was held back.
    pub throttled_periods: u64,
    /// For how long in all, in nanoseconds.
    pub throttled_ns: u64,
}

/// Bytes moved from and to one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockTransfer {
    /// The device's major number.
    pub major: u64,
    /// Its minor number.
    pub minor: u64,
    /// Bytes read.
    pub read: u64,
    /// Bytes written.
    pub written: u64,
}

impl Cgroup {
    /// Reads what it uses now.
    pub fn stats(&self) -> Stats {
        let cpu = self.first("cpu.stat").unwrap_or_default();
        let micros = |key| keyed(&cpu, key).map(|us| us.saturating_mul(1000));
        let limit = self.first("memory.max").or_else(|| self.first("memory.limit_in_bytes"));
        let bounded =
            |text: Option<String>| text.and_then(number).filter(|bytes| *bytes < i64::MAX as u64 - 4096);
        let transfers = self.first("io.stat").map(|text| io_stat(&text));
        Stats {
            cpu_total_ns: micros("usage_usec").or_else(|| self.first("cpuacct.usage").and_then(number)),
            cpu_user_ns: micros("user_usec"),
            cpu_system_ns: micros("system_usec"),
            throttling: Throttling {
                periods: keyed(&cpu, "nr_periods").unwrap_or(0),
                throttled_periods: keyed(&cpu, "nr_throttled").unwrap_or(0),
                throttled_ns: micros("throttled_usec").or_else(|| keyed(&cpu, "throttled_time")).unwrap_or(0),
            },
            memory: self.memory(),
            memory_peak: self
                .first("memory.peak")
                .or_else(|| self.first("memory.max_usage_in_bytes"))
                .and_then(number),
            memory_limit: bounded(limit),
            memory_detail: detail(&self.first("memory.stat").unwrap_or_default()),
            pids: self.first("pids.current").and_then(number),
            pids_limit: self.first("pids.max").and_then(number),
            block: transfers
                .or_else(|| {
                    let text = self
                        .first("blkio.throttle.io_service_bytes_recursive")
                        .or_else(|| self.first("blkio.throttle.io_service_bytes"));
                    text.map(|text| blkio(&text))
                })
                .unwrap_or_default(),
        }
    }
}

fn number(text: String) -> Option<u64> {
    text.trim().parse().ok()
}

fn keyed(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(name, _)| *name == key)?.1.trim().parse().ok()
}

fn detail(text: &str) -> Vec<(String, u64)> {
    let lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?))).collect()
}

/// Reads lines of the form `8:0 rbytes=1 wbytes=2 rios=3 ...`.
fn io_stat(text: &str) -> Vec<BlockTransfer> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let mut transfer =
            BlockTransfer { major: major.parse().ok()?, minor: minor.parse().ok()?, read: 0, written: 0 };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            match key {
                "rbytes" => transfer.read = value.parse().ok()?,
                "wbytes" => transfer.written = value.parse().ok()?,
                _ => {}
            }
        }
        Some(transfer)
    };
    text.lines().filter_map(line).collect()
}

/// Reads lines of the form `8:0 Read 1`, one for each kind of operation.
fn blkio(text: &str) -> Vec<BlockTransfer> {
    let mut transfers: Vec<BlockTransfer> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [device, operation, bytes] = words[..] else { continue };
        let Some((major, minor)) = device.split_once(':') else { continue };
        let (Ok(major), Ok(minor), Ok(bytes)) = (major.parse(), minor.parse(), bytes.parse::<u64>()) else {
            continue;
        };
        let place = transfers.iter().position(|known| (known.major, known.minor) == (major, minor));
        let place = place.unwrap_or_else(|| {
            transfers.push(BlockTransfer { major, minor, read: 0, written: 0 });
            transfers.len() - 1
        });
        match operation {
            "Read" => transfers[place].read = bytes,
            "Write" => transfers[place].written = bytes,
            _ => {}
        }
    }
    transfers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_tell_transfers() {
        let expected = [BlockTransfer { major: 8, minor: 16, read: 5, written: 7 }];
        assert_eq!(io_stat("8:16 rbytes=5 wbytes=7 rios=1 wios=2\n\n7:0\nx\n")[..1], expected);
        assert_eq!(blkio("8:16 Read 5\n8:16 Write 7\n8:16 Sync 9\n8:16 Total 12\nTotal 12\n"), expected);
    }

    #[test]
    fn a_word_is_found_whole() {
        assert_eq!(keyed("usage_usec_x 1\nusage_usec 2\n", "usage_usec"), Some(2));
        assert_eq!(detail("anon 4\nfile x\n"), [("anon".to_owned(), 4)]);
    }
}

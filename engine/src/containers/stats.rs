//! `top` and `stats`: the processes of a container, and what they use.

use std::collections::BTreeSet;

use rbuild_model::container::{Definition, Run, State};
use rbuild_sandbox::cgroup::{Cgroup, Layout};

use super::error::ContainerError;
use super::observe::Observed;
use crate::engine::{Engine, io};

/// What a container uses at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Processor time since its start, in microseconds.
    pub cpu_us: u64,
    /// Memory now, in bytes, without what only caches files.
    pub memory: u64,
    /// Bytes of memory that it may use: its limit, or the machine's memory.
    pub memory_limit: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Bytes that came in and went out by its links.
    pub network: (u64, u64),
    /// Bytes that it read from devices and wrote to them.
    pub blocks: (u64, u64),
}

impl Engine {
    /// Looks at what a container uses; `None` if it does not run.
    pub fn sample(&self, definition: &Definition) -> Result<Option<Sample>, ContainerError> {
        let observed = self.observe(definition)?;
        let Some(run) = observed.state.run() else { return Ok(None) };
        let pid = run.init.pid;
        let machine = memory_of_machine()?;
        let mut sample = Sample {
            memory_limit: definition.host.resources.memory.unwrap_or(machine).min(machine),
            network: network(pid),
            ..Sample::default()
        };
        if let Some(group) =
            Cgroup::look(Layout::shared(), &self.cgroups_of(definition), &definition.id.to_string())
        {
            let processes = group.processes();
            sample.pids = processes.iter().map(|pid| threads(*pid)).sum();
            sample.cpu_us = group.usage(Default::default()).cpu_us;
            sample.memory = group.memory().unwrap_or_default();
            for pid in processes {
                let (read, written) = blocks(pid);
                sample.blocks.0 += read;
                sample.blocks.1 += written;
            }
        }
        Ok(Some(sample))
    }

    /// Tells whether the kernel has killed something in a container that runs, as it needed more memory than it may have.
    pub(super) fn was_short_of_memory(&self, definition: &Definition, observed: &Observed) -> bool {
        let look =
            || Cgroup::look(Layout::shared(), &self.cgroups_of(definition), &definition.id.to_string());
        observed.state.run().and_then(|_| look()).is_some_and(|group| group.oom_killed())
    }

    /// Returns the processes of a running container, as the host numbers them.
    pub fn processes(&self, definition: &Definition) -> Result<BTreeSet<i32>, ContainerError> {
        let observed = self.observe(definition)?;
        if let State::Restarting { .. } = observed.state {
            return Err(ContainerError::restarting(definition.id));
        }
        let Some(run) = observed.state.run() else {
            return Err(ContainerError::State(format!("container {} is not running", definition.id)));
        };
        Ok(self.processes_of(definition, run))
    }

    /// Returns the processes of a run: its first one alone, if it has ended since it was looked at.
    pub(crate) fn processes_of(&self, definition: &Definition, run: &Run) -> BTreeSet<i32> {
        let group = Cgroup::look(Layout::shared(), &self.cgroups_of(definition), &definition.id.to_string());
        let mut processes: BTreeSet<i32> = group.iter().flat_map(Cgroup::processes).collect();
        processes.insert(run.init.pid);
        processes
    }
}

fn memory_of_machine() -> Result<u64, ContainerError> {
    let path = "/proc/meminfo";
    let text = std::fs::read_to_string(path).map_err(io("read", path))?;
    Ok(number_after(&text, "MemTotal:").unwrap_or_default() * 1024)
}

/// Returns the number behind a word at the beginning of a line.
fn number_after(text: &str, word: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_whitespace().next()?.parse().ok()
}

fn threads(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    number_after(&status, "Threads:").unwrap_or_default()
}

fn blocks(pid: i32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    (
        number_after(&text, "read_bytes:").unwrap_or_default(),
        number_after(&text, "write_bytes:").unwrap_or_default(),
    )
}

/// Adds up what the links in a process's network namespace carried, the loopback apart.
fn network(pid: i32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let mut sums = (0, 0);
    for line in text.lines().skip(2) {
        let Some((name, numbers)) = line.split_once(':') else { continue };
        let numbers: Vec<u64> = numbers.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        if name.trim() != "lo" && numbers.len() > 8 {
            sums.0 += numbers[0];
            sums.1 += numbers[8];
        }
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_their_words() {
        let text = "Name:\tx\nThreads:\t7\nMemTotal:  1024 kB\n";
        assert_eq!(number_after(text, "Threads:"), Some(7));
        assert_eq!(number_after(text, "MemTotal:"), Some(1024));
        assert_eq!(number_after(text, "Missing:"), None);
    }
}

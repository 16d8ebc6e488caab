//! What is left behind: found by name, so that tests may run beside each other and beside other people's work.
//!
//! Everything the program leaves in the kernel carries the eight characters of its store (links, tables, cgroups) or the
//! path of the test's folder (mounts, open files, working folders), so a look for those two finds it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What belongs to a test, still in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leaks {
    /// Mounts of this mount namespace that name the folder.
    pub mounts: Vec<String>,
    /// Processes that work in the folder, have files of it open, or were started with it.
    pub processes: Vec<String>,
    /// Links with the store's prefix.
    pub links: Vec<String>,
    /// Control groups with the store's prefix.
    pub cgroups: Vec<PathBuf>,
}

impl Leaks {
    /// Looks for everything that belongs to a folder and to the store in it.
    pub fn find(folder: &Path, store8: Option<&str>) -> Self {
        let mut leaks = Self { mounts: mounts(folder), processes: processes(folder), ..Self::default() };
        if let Some(store8) = store8 {
            leaks.links = links(store8);
            leaks.cgroups = cgroups(store8);
        }
        leaks
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        let Self { mounts, processes, links, cgroups } = self;
        mounts.len() + processes.len() + links.len() + cgroups.len()
    }

    /// Fails the test if anything is left.
    ///
    /// # Panics
    /// If anything is left.
    pub fn assert_none(&self) {
        assert!(self.count() == 0, "left behind:\n{self}");
    }
}

impl fmt::Display for Leaks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, entries) in [("mount", &self.mounts), ("process", &self.processes), ("link", &self.links)]
        {
            for entry in entries {
                writeln!(f, "  {kind} {entry}")?;
            }
        }
        for path in &self.cgroups {
            writeln!(f, "  cgroup {}", path.display())?;
        }
        Ok(())
    }
}

fn mounts(folder: &Path) -> Vec<String> {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let wanted = folder.to_string_lossy();
    table.lines().filter(|line| line.contains(wanted.as_ref())).map(str::to_owned).collect()
}

fn processes(folder: &Path) -> Vec<String> {
    let wanted = folder.as_os_str().as_encoded_bytes();
    let contains = |bytes: &[u8]| bytes.windows(wanted.len()).any(|window| window == wanted);
    let own = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
        if id == own {
            continue;
        }
        let links = ["cwd", "exe", "root"].map(|name| entry.path().join(name));
        let open = fs::read_dir(entry.path().join("fd")).into_iter().flatten().flatten().map(|fd| fd.path());
        let named = fs::read(entry.path().join("cmdline")).is_ok_and(|bytes| contains(&bytes))
            || fs::read(entry.path().join("environ")).is_ok_and(|bytes| contains(&bytes))
            || links.into_iter().chain(open).any(|link| {
                fs::read_link(link).is_ok_and(|target| contains(target.as_os_str().as_encoded_bytes()))
            });
        if named {
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.trim_end().ends_with(" promote") && ends(id) {
                continue;
            }
            found.push(format!("{id} {}", command.trim_end()));
        }
    }
    found
}

/// Waits for a process that is meant to outlive its command for a moment: the one that syncs what was built.
fn ends(id: u32) -> bool {
    let Some(pid) = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    let Ok(process) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) else {
        return true;
    };
    let mut wait = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    let limit = rustix::event::Timespec { tv_sec: 30, tv_nsec: 0 };
    rustix::event::poll(&mut wait, Some(&limit)).is_ok_and(|ready| ready > 0)
}

pub(crate) fn links(store8: &str) -> Vec<String> {
    let prefix = format!("rb{store8}");
    let names = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
    let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut found: Vec<String> = names.filter(|name| name.starts_with(&prefix)).collect();
    found.sort();
    found
}

fn cgroups(store8: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().contains(store8) {
                found.push(entry.path());
            } else {
                waiting.push(entry.path());
            }
        }
    }
    found.sort();
    found
}

/// How many descriptors this process has open. Only a test that runs alone in its process can compare.
pub fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count().saturating_sub(1))
}

/// The rules of the packet filter that name a store; nothing where there is no `nft` or no right to ask.
pub fn rules(store8: &str) -> Vec<String> {
    let output = Command::new("nft").args(["list", "tables"]).output();
    let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    text.lines().filter(|line| line.contains(store8)).map(str::to_owned).collect()
}

/// The rules by which a store's links pass the filter of a Docker beside it: family and number of each.
pub(crate) fn passages(store8: &str) -> Vec<(&'static str, String)> {
    let comment = format!("comment \"rbuild {store8}\" # handle ");
    let of = |family: &'static str| {
        let output = Command::new("nft").args(["-a", "list", "chain", family, "filter", "FORWARD"]).output();
        let text =
            output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        let handles = text.lines().filter_map(|line| Some(line.split_once(&comment)?.1.to_owned()));
        handles.map(|handle| (family, handle)).collect::<Vec<_>>()
    };
    ["ip", "ip6"].into_iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_process_that_works_in_the_folder_is_found() {
        let folder = tempfile::tempdir().unwrap();
        Leaks::find(folder.path(), Some("no store")).assert_none();
        let mut child = Command::new("cat").current_dir(folder.path()).stdin(Stdio::piped()).spawn().unwrap();
        let leaks = Leaks::find(folder.path(), None);
        drop(child.stdin.take());
        child.wait().unwrap();
        assert_eq!(leaks.count(), 1, "{leaks}");
        assert!(leaks.processes[0].starts_with(&child.id().to_string()));
        Leaks::find(folder.path(), None).assert_none();
    }
}

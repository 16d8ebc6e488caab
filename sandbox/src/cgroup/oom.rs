//! Being told when a group's memory is used up, at the moment that it is.

use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, PollFlags, eventfd};
use rustix::fs::OFlags;

use super::folder::{Folder, Version};
use super::group::Cgroup;
use super::limits::OOM_CONTROL;

/// What the kernel counts of a group on version 2.
pub(super) const EVENTS: &str = "memory.events";

/// Where a version 1 group is told who wants to know what.
const EVENT_CONTROL: &str = "cgroup.event_control";

/// Tells when the kernel ran out of a group's memory.
#[derive(Debug)]
pub struct OomWatch(Source);

#[derive(Debug)]
enum Source {
    /// Version 1: the kernel counts on a descriptor, right before it kills somebody; a file says how many were killed, and `told` of
    /// how many this was told.
    Counter { counter: OwnedFd, file: OwnedFd, told: u64 },
    /// Version 2: a file that changes, and how many it named when it was read last.
    File { file: OwnedFd, seen: u64 },
}

impl Cgroup {
    /// Watches the group's memory; `None` where the kernel tells nobody, as where no controller is ours.
    pub fn watch_oom(&self) -> Option<OomWatch> {
        self.folders().iter().find_map(|folder| {
            match folder.version {
                Version::One => counter(folder),
                Version::Two => {
                    let file = folder.file(EVENTS, OFlags::RDONLY).ok()?;
                    let seen = count(&file)?;
                    Some(Source::File { file, seen })
                }
            }
            .map(OomWatch)
        })
    }
}

/// Has the kernel count on a descriptor.
fn counter(folder: &Folder) -> Option<Source> {
    let file = folder.file(OOM_CONTROL, OFlags::RDONLY).ok()?;
    let counter = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok()?;
    folder.write(EVENT_CONTROL, &format!("{} {}", counter.as_raw_fd(), file.as_raw_fd())).ok()?;
    let told = count(&file)?;
    Some(Source::Counter { counter, file, told })
}

/// Reads how many processes were killed, from the file's beginning: until then it counts as changed.
fn count(file: &OwnedFd) -> Option<u64> {
    let mut bytes = [0; 512];
    let length = rustix::io::pread(file, &mut bytes, 0).ok()?;
    Some(killed(std::str::from_utf8(bytes.get(..length)?).ok()?))
}

/// Returns the number that stands behind `oom_kill`.
pub(super) fn killed(text: &str) -> u64 {
    let number = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
    number.and_then(|number| number.trim().parse().ok()).unwrap_or(0)
}

impl OomWatch {
    /// Returns what a poll of its descriptor waits for.
    pub fn flags(&self) -> PollFlags {
        match &self.0 {
            Source::Counter { .. } => PollFlags::IN,
            // It can be read at any time.
            Source::File { .. } => PollFlags::PRI,
        }
    }

    /// Tells whether it happened since this was asked last, once or more often.
    pub fn happened(&mut self) -> bool {
        match &mut self.0 {
            Source::Counter { counter, file, told } => {
                if rustix::io::read(&*counter, &mut [0; 8]).is_err() {
                    return false;
                }
                let killed = count(file).unwrap_or(*told);
                // Until the one that this is about is counted, it is told again and again.
                let is_new = *told <= killed;
                *told = (*told).max(killed + 1);
                is_new
            }
            Source::File { file, seen } => {
                let now = count(file).unwrap_or(*seen);
                std::mem::replace(seen, now) < now
            }
        }
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.0 {
            Source::Counter { counter: fd, .. } | Source::File { file: fd, .. } => fd.as_fd(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn each_kill_is_told_once() {
        let text = |kills: u64| format!("low 0\nhigh 0\nmax 17\noom 1\noom_kill {kills}\noom_group_kill 0\n");
        let mut held = tempfile::tempfile().unwrap();
        held.write_all(text(3).as_bytes()).unwrap();
        let file: OwnedFd = held.try_clone().unwrap().into();
        let seen = count(&file).unwrap();
        assert_eq!(seen, 3);
        let mut watch = OomWatch(Source::File { file, seen });
        assert!(!watch.happened(), "what was before is no news");
        rustix::io::pwrite(&held, text(5).as_bytes(), 0).unwrap();
        assert_eq!((watch.happened(), watch.happened()), (true, false));
        assert_eq!(killed("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n"), 2);
        assert_eq!(killed(""), 0);
    }
}

//! Waiting for the kernel to take away what is going: by what it tells of, never by the clock.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::fs::{Mode, OFlags};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::leaks::Leaks;

/// How long a test waits before it says that something stays. Not a measure of speed.
const PATIENCE: Duration = Duration::from_secs(60);
/// The group of messages about links.
const LINKS: u32 = 1;

/// Looks again and again, whenever something of what was found has changed, until nothing is left or nothing changes any
/// more; returns what was found last.
pub fn settle(look: impl Fn() -> Leaks) -> Leaks {
    let until = Instant::now() + PATIENCE;
    loop {
        // Who listens before looking misses nothing.
        let general = [links(), mounts()];
        let left = look();
        if left.count() == 0 {
            return left;
        }
        let mut fds: Vec<OwnedFd> = left.cgroups.iter().filter_map(|group| removals(group)).collect();
        fds.extend(left.processes.iter().filter_map(|process| end_of(process.split(' ').next()?)));
        fds.extend(left.cgroups.iter().flat_map(|group| members(group)).filter_map(|id| end_of(&id)));
        let left = look();
        let rest = until.saturating_duration_since(Instant::now());
        if left.count() == 0 || rest.is_zero() {
            return left;
        }
        let all = general.iter().flatten().chain(&fds).map(OwnedFd::as_fd);
        let mut all: Vec<PollFd<'_>> = all
            .map(|fd: BorrowedFd<'_>| PollFd::from_borrowed_fd(fd, PollFlags::IN | PollFlags::PRI))
            .collect();
        let wait = Timespec::try_from(rest).expect("a minute fits");
        let _ = poll(&mut all, Some(&wait));
    }
}

/// Tells of links that come and go.
fn links() -> Option<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None).ok()?;
    bind(&socket, &SocketAddrNetlink::new(0, LINKS)).ok()?;
    Some(socket)
}

/// Tells of mounts that come and go.
fn mounts() -> Option<OwnedFd> {
    rustix::fs::open("/proc/self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

/// Tells of what is removed beside and in a control group.
fn removals(group: &Path) -> Option<OwnedFd> {
    let watcher = inotify::init(CreateFlags::CLOEXEC).ok()?;
    inotify::add_watch(&watcher, group.parent()?, WatchFlags::DELETE).ok()?;
    // It may be gone by now.
    let _ = inotify::add_watch(&watcher, group, WatchFlags::DELETE);
    Some(watcher)
}

/// The processes of a control group and of those right below it.
fn members(group: &Path) -> Vec<String> {
    let below = std::fs::read_dir(group).into_iter().flatten().flatten().map(|entry| entry.path());
    let folders = std::iter::once(group.to_owned()).chain(below.filter(|path| path.is_dir()));
    let text =
        |folder: std::path::PathBuf| std::fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    folders.map(text).flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// Tells of the end of a process that has not ended yet.
fn end_of(id: &str) -> Option<OwnedFd> {
    let process = pidfd_open(Pid::from_raw(id.parse().ok()?)?, PidfdFlags::empty()).ok()?;
    // One that waits to be reaped has nothing more to tell.
    let mut wait = [PollFd::new(&process, PollFlags::IN)];
    let ended = poll(&mut wait, Some(&Timespec::default())).is_ok_and(|count| count > 0);
    (!ended).then_some(process)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_end_of_a_process_is_awaited() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = Command::new("cat").current_dir(folder.path()).stdin(Stdio::piped()).spawn().unwrap();
        let ends = child.stdin.take();
        let watched = std::thread::spawn({
            let folder = folder.path().to_owned();
            move || settle(|| Leaks::find(&folder, None))
        });
        drop(ends);
        child.wait().unwrap();
        watched.join().unwrap().assert_none();
    }
}

//! Processes by more than their number: a pid and the time of its start, held by a pidfd.
//!
//! A number alone is never trusted: it is given again. What a process that was held before wrote down of another
//! ([`ProcessIdentity`]) finds that very process or nothing. How a process ended that is not a child is read where the kernel
//! keeps it: with its pidfd (6.15 and later), else in `/proc` for as long as nobody has reaped it.

mod attitude;
mod sys;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use rbuild_model::container::ProcessIdentity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

pub use self::attitude::Attitude;
pub use self::sys::trim_heap;
use crate::running::Usage;
use crate::sys::Cloned;

/// Looks at a process that is there.
pub fn identify(pid: i32) -> Option<ProcessIdentity> {
    Some(ProcessIdentity { pid, start_ticks: Stat::read(pid)?.start_ticks })
}

/// Tells whether that very process is there and has not ended.
pub fn is_alive(identity: ProcessIdentity) -> bool {
    Stat::read(identity.pid).is_some_and(|stat| stat.start_ticks == identity.start_ticks && !stat.has_ended())
}

/// Which process it is that goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that called.
    Original,
    /// Its copy.
    Copy,
}

/// Copies this process, which must have one thread; the copy has a session of its own. Errors are the original's.
pub fn copy() -> io::Result<Side> {
    Ok(match crate::sys::fork_alone()? {
        Some(_) => Side::Original,
        None => alone(),
    })
}

/// As [`copy`], born in a group of version 2: entering it later would wait for a grace period of the kernel.
pub(crate) fn copy_born_in(cgroup: BorrowedFd<'_>) -> io::Result<Side> {
    Ok(match crate::sys::clone(0, false, Some(cgroup))? {
        Cloned::Parent(..) => Side::Original,
        Cloned::Child => alone(),
    })
}

/// Gives a copy a session of its own. It leads no group, so only a filter of system calls can forbid that.
fn alone() -> Side {
    if rustix::process::setsid().is_err() {
        crate::sys::exit_now(1);
    }
    Side::Copy
}

/// Reaps the children that have ended; waits for none.
pub fn reap_ended() {
    let waiting = rustix::process::WaitOptions::NOHANG;
    while rustix::process::wait(waiting).is_ok_and(|ended| ended.is_some()) {}
}

/// Reaps every child that has ended or ends soon: for a process that knows that all its children do.
pub fn reap_all() {
    while rustix::process::wait(rustix::process::WaitOptions::empty()).is_ok_and(|ended| ended.is_some()) {}
}

/// Whether a process is ours to reap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kinship {
    Child,
    Stranger,
}

/// A process, held by its pidfd.
#[derive(Debug)]
pub struct Process {
    pid: i32,
    pidfd: OwnedFd,
    kinship: Kinship,
    start_ticks: Option<u64>,
}

/// How a process ended, and what it used, as far as it can be learnt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its exit status; `None` if nobody can tell any more.
    pub status: Option<ExitStatus>,
    /// What it used; zeroes if it was no child.
    pub usage: Usage,
}

impl Process {
    pub(crate) fn child(pid: i32, pidfd: OwnedFd) -> Self {
        let start_ticks = Stat::read(pid).map(|stat| stat.start_ticks);
        Self { pid, pidfd, kinship: Kinship::Child, start_ticks }
    }

    /// Finds a process again, which need not be a child; `None` if it is gone, even if its number is in use.
    pub fn find(identity: ProcessIdentity) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(identity.pid)?, PidfdFlags::empty()).ok()?;
        // Looked at after it is held: until then the number might change hands.
        let stat = Stat::read(identity.pid)?;
        (stat.start_ticks == identity.start_ticks).then_some(Self {
            pid: identity.pid,
            pidfd,
            kinship: Kinship::Stranger,
            start_ticks: Some(identity.start_ticks),
        })
    }

    /// Holds a child of this process, which nobody else waits for.
    pub fn find_child(pid: i32) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Self::child(pid, pidfd))
    }

    /// Its pid, as this process sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What it can be found again by.
    pub fn identity(&self) -> ProcessIdentity {
        ProcessIdentity { pid: self.pid, start_ticks: self.start_ticks.unwrap_or(0) }
    }

    /// Its pidfd: readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Sends a signal by its number, real-time ones included. One that has ended is no failure.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        sys::send_signal(self.pidfd.as_fd(), signal)
    }

    /// Kills it; one that has ended is no failure, and no other is possible for what is ours.
    pub fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Whether it is on its way out, or has ended: the first process of a pid namespace kills all others there before its end
    /// can be seen.
    pub fn is_ending(&self) -> bool {
        Stat::read(self.pid).is_none_or(|stat| Some(stat.start_ticks) != self.start_ticks || stat.is_ending())
    }

    /// Learns how it ended; waits for the end, and reaps a child.
    pub fn reap(&self) -> io::Result<Ended> {
        wait_readable(self.pidfd.as_fd())?;
        match self.kinship {
            Kinship::Child => {
                let pid =
                    Pid::from_raw(self.pid).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
                let waited = crate::sys::wait_with_usage(pid)?;
                let usage = Usage { cpu_us: waited.cpu_us, peak_memory: waited.max_rss_kib << 10 };
                Ok(Ended { status: Some(ExitStatus::from_raw(waited.status)), usage })
            }
            Kinship::Stranger => Ok(Ended { status: self.status_of_stranger(), usage: Usage::default() }),
        }
    }

    fn status_of_stranger(&self) -> Option<ExitStatus> {
        // In this order: a process that is reaped between the two is then found by the second look.
        let kept = || sys::exit_status(self.pidfd.as_fd());
        let zombie = || {
            let stat = Stat::read(self.pid).filter(|stat| Some(stat.start_ticks) == self.start_ticks)?;
            stat.has_ended().then_some(stat.exit_status).flatten()
        };
        kept().or_else(zombie).or_else(kept).map(ExitStatus::from_raw)
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

fn wait_readable(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], None::<&Timespec>) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// What is of interest in `/proc/<pid>/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    /// The kernel's flags of the thread that the process began with.
    flags: u32,
    start_ticks: u64,
    /// The status word, if this process may see it.
    exit_status: Option<i32>,
}

impl Stat {
    fn read(pid: i32) -> Option<Self> {
        Self::parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold anything, also parentheses.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        // The first of these fields is the third of the file.
        let field = |number: usize| fields.get(number - 3);
        Some(Self {
            state: *field(3)?.as_bytes().first()?,
            flags: field(9)?.parse().ok()?,
            start_ticks: field(22)?.parse().ok()?,
            exit_status: field(52).and_then(|field| field.parse().ok()),
        })
    }

    fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X')
    }

    /// Whether it is on its way out (`PF_EXITING`).
    fn is_ending(&self) -> bool {
        const EXITING: u32 = 0x4;
        self.flags & EXITING != 0 || self.has_ended()
    }
}

#[cfg(test)]
mod tests;

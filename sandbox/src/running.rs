//! A program that runs, or is ready to.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::sync::Arc;

use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal};

use crate::cgroup::{Cgroup, CgroupError};
use crate::launcher::{LaunchError, Server};
use crate::process::Process;
use crate::script::{InitMessage, Report, Stub};
use crate::slot::Lifetime;
use crate::stubs;
use crate::sys;
use crate::wire::{self, WireError};

/// A process whose end could not be learnt, or not cleaned up after.
#[derive(Debug, thiserror::Error)]
pub enum WaitError {
    /// The stage that would have told is gone.
    #[error("the end of process {pid} is unknown: its supervising stage died")]
    Lost {
        /// Its pid.
        pid: i32,
    },
    /// Waiting failed.
    #[error("cannot wait for process {pid}")]
    Wait {
        /// Its pid.
        pid: i32,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Mount points that were made for the step could not be removed.
    #[error("cannot remove the mount point `{path}`")]
    Stub {
        /// Its path in the root.
        path: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The cgroup could not be removed.
    #[error("cannot remove the cgroup")]
    Cgroup(#[from] CgroupError),
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit status or the signal that ended it.
    pub status: ExitStatus,
    /// Whether the kernel killed something in its cgroup at the cgroup's own memory limit.
    pub oom_killed: bool,
    /// What it used.
    pub usage: Usage,
}

impl Exit {
    /// Returns the status as shells tell it: the exit code, or 128 and the signal's number.
    pub fn code(&self) -> u8 {
        match (self.status.code(), self.status.signal()) {
            (Some(code), _) => code as u8,
            (None, Some(signal)) => (128 + signal) as u8,
            (None, None) => 255,
        }
    }
}

/// What a program used. Without a cgroup these are the numbers of its reaped processes only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Processor time in microseconds.
    pub cpu_us: u64,
    /// The most memory at one time, in bytes.
    pub peak_memory: u64,
}

/// A program that is ready to be executed. Dropping it ends its process.
#[derive(Debug)]
pub struct Created {
    running: Running,
    order: OwnedFd,
    hold: bool,
    terminal: Option<OwnedFd>,
}

impl Created {
    pub(crate) fn new(running: Running, order: OwnedFd, hold: bool, terminal: Option<OwnedFd>) -> Self {
        Self { running, order, hold, terminal }
    }

    /// Returns the pid of the process, as this process sees it.
    pub fn pid(&self) -> i32 {
        self.running.pid
    }

    /// Returns a pidfd of the process.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.running.pidfd.as_fd()
    }

    /// Takes the master of its terminal, if it has one.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Returns things worth telling that are no failure.
    pub fn notes(&self) -> &[String] {
        &self.running.notes
    }

    /// Executes the program; returns when that has happened.
    pub fn start(self) -> Result<Running, LaunchError> {
        let Self { mut running, order, hold, terminal } = self;
        if hold {
            wire::send(&order, &(), b"", &[])?;
        }
        match wire::receive::<InitMessage>(&order) {
            // The channel closed by the execution of the program.
            Err(WireError::Closed) => {
                running.terminal = terminal;
                Ok(running)
            }
            Ok(answer) => match answer.message {
                InitMessage::Failed(failure) => Err(LaunchError::Stage(failure)),
                InitMessage::Parked | InitMessage::Ready { .. } | InitMessage::Cloned { .. } => {
                    Err(LaunchError::Protocol)
                }
            },
            Err(error) => Err(error.into()),
        }
    }
}

/// A program that runs. If it is [bound](Lifetime::Bound), dropping this kills it.
#[derive(Debug)]
pub struct Running {
    /// Keeps the supervising stage alive.
    _server: Arc<Server>,
    report: OwnedFd,
    pidfd: OwnedFd,
    pid: i32,
    cgroup: Option<Cgroup>,
    lifetime: Lifetime,
    own_pids: bool,
    root: OwnedFd,
    stubs: Vec<Stub>,
    notes: Vec<String>,
    terminal: Option<OwnedFd>,
}

impl Running {
    #[expect(clippy::too_many_arguments, reason = "one caller, which takes a slot apart")]
    pub(crate) fn new(
        server: Arc<Server>,
        report: OwnedFd,
        pidfd: OwnedFd,
        pid: i32,
        cgroup: Option<Cgroup>,
        lifetime: Lifetime,
        own_pids: bool,
        root: OwnedFd,
        stubs: Vec<Stub>,
        notes: Vec<String>,
    ) -> Self {
        Self {
            _server: server,
            report,
            pidfd,
            pid,
            cgroup,
            lifetime,
            own_pids,
            root,
            stubs,
            notes,
            terminal: None,
        }
    }

    /// Returns the pid of the process, as this process sees it.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns a pidfd of the process: readable once it has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Returns the cgroup that it runs in.
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// Returns things worth telling that are no failure.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Takes the master of its terminal, if it has one.
    pub fn take_terminal(&mut self) -> Option<OwnedFd> {
        self.terminal.take()
    }

    /// Sends a signal to the program; one that has ended is no failure.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match pidfd_send_signal(&self.pidfd, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Kills the program and everything that it started.
    pub fn kill_all(&self) -> Result<(), WaitError> {
        if let Some(cgroup) = &self.cgroup {
            cgroup.kill()?;
        }
        // The end of pid 1 is the end of its pid namespace.
        self.signal(Signal::KILL).map_err(|source| WaitError::Wait { pid: self.pid, source })
    }

    /// Lets go of an [independent](Lifetime::Independent) program: what is left is a child of this process, and its
    /// cgroup. The launcher is no longer needed for it.
    pub fn release(self) -> (Process, Option<Cgroup>) {
        debug_assert_eq!(self.lifetime, Lifetime::Independent, "a bound program ends with its launcher");
        (Process::child(self.pid, self.pidfd), self.cgroup)
    }

    /// Waits for the end, then removes the mount points made for it and its cgroup.
    ///
    /// When this returns, no process of it is left and nothing writes to its root any more. Everything is tried, the
    /// first failure is reported.
    pub fn wait(mut self) -> Result<Exit, WaitError> {
        let ended = self.ended();
        if !self.own_pids
            && let Some(cgroup) = &self.cgroup
        {
            cgroup.kill()?;
        }
        let stubs = stubs::remove(self.root.as_fd(), &self.stubs);
        let mut exit = ended?;
        if let Some(cgroup) = self.cgroup.take() {
            exit.oom_killed = cgroup.oom_killed();
            exit.usage = cgroup.usage(exit.usage);
            cgroup.remove()?;
        }
        stubs?;
        Ok(exit)
    }

    fn ended(&self) -> Result<Exit, WaitError> {
        let pid = self.pid;
        let (status, usage) = match self.lifetime {
            Lifetime::Bound => match wire::receive::<Report>(&self.report).map(|report| report.message) {
                Ok(Report::Ended { status, cpu_us, max_rss_kib }) => {
                    (ExitStatus::from_raw(status), Usage { cpu_us, peak_memory: max_rss_kib << 10 })
                }
                _ => return Err(WaitError::Lost { pid }),
            },
            Lifetime::Independent => {
                // Wait for the end first, so that the reaping does not block with a status half read.
                rustix::io::retry_on_intr(|| {
                    rustix::process::waitid(
                        WaitId::PidFd(self.pidfd.as_fd()),
                        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
                    )
                })
                .map_err(|errno| WaitError::Wait { pid, source: errno.into() })?;
                let pid_number = rustix::process::Pid::from_raw(pid).ok_or(WaitError::Lost { pid })?;
                let waited =
                    sys::wait_with_usage(pid_number).map_err(|source| WaitError::Wait { pid, source })?;
                let usage = Usage { cpu_us: waited.cpu_us, peak_memory: waited.max_rss_kib << 10 };
                (ExitStatus::from_raw(waited.status), usage)
            }
        };
        Ok(Exit { status, oom_killed: false, usage })
    }
}

impl AsFd for Running {
    /// Returns a descriptor that is readable once [`wait`](Running::wait) will not block.
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self.lifetime {
            Lifetime::Bound => self.report.as_fd(),
            Lifetime::Independent => self.pidfd.as_fd(),
        }
    }
}

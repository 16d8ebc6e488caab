//! A program beside a running one: in its cgroup and namespaces, with rights of its own spec.
//!
//! The namespaces are entered by the init's pidfd in one call, so they are those of that very process or none. What
//! runs so is a child of the caller, not of the init; the end of the init's pid namespace is its end too, and the init
//! ends only when the caller has reaped it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use oci_spec::runtime::Spec;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::process::Pid;

use crate::cgroup::Cgroup;
use crate::compile;
use crate::launcher::{LaunchError, Launcher};
use crate::order::Stdio;
use crate::process::Process;
use crate::script::{EnterScript, InitMessage, Report, Role, SpawnRequest};
use crate::sys;
use crate::wire::{self, WireError};

/// A program that is to run beside another.
#[derive(Debug)]
pub struct EnterRequest<'a> {
    /// The process whose namespaces are entered: the init.
    pub init: &'a Process,
    /// The cgroup that the program is born into.
    pub cgroup: Option<&'a Cgroup>,
    /// What it is and may do: `process` and `linux.seccomp` are used, its namespaces say which are the init's own.
    pub spec: &'a Spec,
    /// Its standard streams.
    pub stdio: Stdio,
}

/// A program that runs beside another.
#[derive(Debug)]
pub struct Entered {
    /// Its process, a child of this one.
    pub process: Process,
    /// The master of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
}

impl Launcher {
    /// Runs a program in the namespaces of another; returns when it was executed.
    pub fn enter(&self, request: EnterRequest<'_>) -> Result<Entered, LaunchError> {
        let pair = || {
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(|errno| LaunchError::Socket(errno.into()))
        };
        let compiled = compile::compile_entry(request.spec, request.init.pidfd(), request.stdio)?;
        let (report, report_far) = pair()?;
        let (order, order_far) = pair()?;
        let joins = request.cgroup.map(Cgroup::entries).transpose()?.unwrap_or_default();
        let unified = request.cgroup.and_then(Cgroup::unified);
        let oom_score_adj =
            request.spec.process().as_ref().and_then(oci_spec::runtime::Process::oom_score_adj);
        let message = SpawnRequest {
            role: Role::Entrant,
            namespaces: 0,
            cgroup_namespace: false,
            bound: false,
            oom_score_adj,
            cgroup: unified.is_some(),
            pid: false,
            joins: joins.len(),
            loopback: false,
        };
        let mut fds = vec![report_far.as_fd(), order_far.as_fd()];
        fds.extend(unified);
        fds.extend(joins.iter().map(AsFd::as_fd));
        Arc::clone(self.server()).send(&message, &fds)?;
        drop((report_far, order_far));
        let answer = wire::receive::<Report>(&report)?;
        let entrant = match answer.message {
            Report::Spawned { pid } => Pid::from_raw(pid).ok_or(LaunchError::Protocol)?,
            Report::Failed(failure) => return Err(LaunchError::Stage(failure)),
            Report::Ended { .. } => return Err(LaunchError::Protocol),
        };
        let fds: Vec<BorrowedFd<'_>> = compiled.fds.iter().map(AsFd::as_fd).collect();
        let sent = wire::send(&order, &compiled.script, &compiled.blob, &fds);
        let cloned = sent.and_then(|()| wire::receive::<InitMessage>(&order));
        // It has ended, or ends now: its last act is to tell.
        let _ = sys::wait_with_usage(entrant);
        let mut cloned = cloned?;
        let process = match (cloned.message, cloned.fds.pop()) {
            (InitMessage::Cloned { pid }, Some(pidfd)) => Process::child(pid, pidfd),
            (InitMessage::Failed(failure), _) => return Err(LaunchError::Stage(failure)),
            _ => return Err(LaunchError::Protocol),
        };
        match speak(&order, process.pid()) {
            Ok(terminal) => Ok(Entered { process, terminal }),
            Err(error) => {
                process.kill();
                let _ = process.reap();
                Err(error)
            }
        }
    }
}

/// Lets the guest go on, and follows it up to the execution of its program.
fn speak(order: &OwnedFd, pid: i32) -> Result<Option<OwnedFd>, LaunchError> {
    let died = |error| match error {
        WireError::Closed => LaunchError::Died { pid },
        error => error.into(),
    };
    wire::send(order, &(), b"", &[]).map_err(died)?;
    let mut ready = wire::receive::<InitMessage>(order).map_err(died)?;
    match ready.message {
        InitMessage::Ready { .. } => {}
        InitMessage::Failed(failure) => return Err(LaunchError::Stage(failure)),
        InitMessage::Parked | InitMessage::Cloned { .. } => return Err(LaunchError::Protocol),
    }
    match wire::receive::<InitMessage>(order) {
        // The channel closed by the execution of the program.
        Err(WireError::Closed) => Ok(ready.fds.pop()),
        Ok(answer) => match answer.message {
            InitMessage::Failed(failure) => Err(LaunchError::Stage(failure)),
            _ => Err(LaunchError::Protocol),
        },
        Err(error) => Err(error.into()),
    }
}

/// A script of an entrant with everything it refers to.
pub(crate) struct CompiledEntry {
    pub(crate) script: EnterScript,
    pub(crate) blob: Vec<u8>,
    pub(crate) fds: Vec<OwnedFd>,
}

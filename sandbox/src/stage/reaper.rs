//! A small first process: passes signals on to the program, and reaps what its pid namespace leaves to it.
//!
//! It is the init itself, which does not execute the program but has a child do so: nothing of ours needs to lie in the
//! container's tree. It keeps the rights, the filter and the standard streams of the program, and has nothing else open.
//! It cannot be traced, and its program (`/proc/1/exe`) is the sealed one.

use std::os::fd::OwnedFd;

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use rustix::process::{Pid, Signal};

use super::{Act, Doing, attributes};
use crate::script::ScriptProgram;
use crate::sys;

/// The status of a reaper that cannot do its work.
const LOST: i32 = 125;

/// Signals that are this process's own business: its end of children, and what a terminal sends to a background group.
const OWN: [i32; 3] = [libc::SIGCHLD, libc::SIGTTIN, libc::SIGTTOU];

/// Splits this process: the child returns with the channel, to execute the program; this process stays as its reaper
/// and never returns.
pub(super) fn split(channel: OwnedFd, program: &ScriptProgram) -> Act<OwnedFd> {
    let act = || "make the process beside the init".to_owned();
    let first = rustix::process::getpid() == Pid::INIT;
    if !first {
        // In a pid namespace of others, orphans come here only if asked for.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).doing(act)?;
    }
    let mut before = SigSet::empty();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), Some(&mut before))
        .map_err(std::io::Error::from)
        .doing(act)?;
    match sys::fork().doing(act)? {
        None => {
            // A group of its own, in the foreground: what the terminal sends reaches the program once.
            rustix::process::setpgid(None, None).doing(act)?;
            if program.terminal.is_some() {
                rustix::termios::tcsetpgrp(rustix::stdio::stdin(), rustix::process::getpid()).doing(act)?;
            }
            if !first {
                rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).doing(act)?;
            }
            sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)
                .map_err(std::io::Error::from)
                .doing(act)?;
            Ok(channel)
        }
        Some(child) => {
            show(program);
            // The channel's end is what tells that the program was executed.
            let alone = sys::keep_standard().is_ok() && attributes::lose_as_executed(program).is_ok();
            sys::exit_now(if alone { tend(child) } else { LOST })
        }
    }
}

/// Has lists of processes show what this is, and for which program.
fn show(program: &ScriptProgram) {
    let _ = rustix::thread::set_name(c"rbuild-init");
    sys::show_as(&format!("rbuild-init -- {}", program.args.join(" ")));
}

/// Serves until the program has ended; returns the status to end with.
fn tend(child: Pid) -> i32 {
    let Ok(signals) = SignalFd::with_flags(&SigSet::all(), SfdFlags::SFD_CLOEXEC) else { return LOST };
    loop {
        let signal = match signals.read_signal() {
            Ok(Some(told)) => told.ssi_signo as i32,
            Ok(None) | Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return LOST,
        };
        if signal == libc::SIGCHLD {
            if let Some(status) = reap(child) {
                return status;
            }
        } else if !OWN.contains(&signal) {
            sys::kill(child, signal);
        }
    }
}

/// Reaps all that have ended; returns the program's status if it is among them.
fn reap(child: Pid) -> Option<i32> {
    let program = nix::unistd::Pid::from_raw(child.as_raw_nonzero().get());
    let mut ended = None;
    // A kernel thread's child or a traced one is not asked for; no child at all is an error, and the end of it.
    while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
        match status {
            WaitStatus::StillAlive => break,
            WaitStatus::Exited(pid, code) if pid == program => ended = Some(code),
            WaitStatus::Signaled(pid, signal, _) if pid == program => ended = Some(128 + signal as i32),
            _ => {}
        }
    }
    ended
}

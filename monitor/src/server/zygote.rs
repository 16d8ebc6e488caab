//! The process that monitors are copies of: this program, executed once for a command that starts several.
//!
//! Executing a program of this size and relocating it costs more than all that a monitor does until it is told who it is. A
//! copy shares what was relocated, with its maker and with all other copies, until it is written to.
//!
//! It knows nothing of any container: each copy gets a channel on which it is told. So that no copy has what is another's, it
//! makes no random numbers either. It has one thread, a session of its own, and ends with the command.

use std::ffi::OsString;
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;

use rbuild_sandbox::cgroup::{self, Copied, Layout, Residence};
use rbuild_sandbox::process::{self, Side};
use rbuild_sandbox::{LauncherConfig, SealedProgram};
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::protocol::Begun;
use crate::protocol::frame::{self, Frame};

/// A monitor that knows nothing yet.
pub(super) struct Born {
    /// Where it is told.
    pub(super) channel: OwnedFd,
    /// The group that it lives in.
    pub(super) residence: Option<Residence>,
    /// What its first launcher is made of: sealed once for all copies. Kept longer, it would keep its mount.
    pub(super) program: Option<SealedProgram>,
}

/// Makes copies until nobody wants any more. Returns in each copy, and at the end, with the exit status.
pub(super) fn serve(arguments: impl Iterator<Item = OsString>) -> Result<Born, u8> {
    let Ok(channel) = prepare() else { return Err(1) };
    let mut arguments = arguments.filter_map(|argument| argument.into_string().ok());
    let residence = arguments.next().zip(arguments.next());
    // Where this fails, the start tells why.
    let program = SealedProgram::new(&LauncherConfig::default().program).ok();
    loop {
        let Some(wanted) = receive(&channel) else { return Err(0) };
        process::reap_ended();
        match copy(residence.as_ref()) {
            Ok(Copy::Copy(residence)) => return Ok(Born { channel: wanted, residence, program }),
            Ok(Copy::Original) => {}
            Err(error) => {
                let failed = Begun::Failed(format!("cannot copy a process: {error}"));
                // Who is not there to hear it needs no monitor.
                let _ = Frame::message(&failed).and_then(|frame| frame::send(&wanted, &frame, &[]));
            }
        }
    }
}

/// Makes this process nobody's but its channel's, and as every monitor has to be.
fn prepare() -> Result<OwnedFd, Errno> {
    // Here and not by who makes this process: the standard library would copy that one for it (`fork`).
    rustix::process::chdir("/")?;
    let _ = rustix::thread::set_name(c"rbuild-zygote");
    // What the terminal tells the command is not for monitors.
    let _ = rustix::process::setsid();
    // Each client, and what is carried for the networks, is one.
    rbuild_sandbox::limits::raise_open_files();
    // Whatever the caller's was: the modes of what is made here are given with it.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let channel = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), 3)?;
    rustix::stdio::dup2_stdin(rustix::stdio::stdout())?;
    Ok(channel)
}

/// Receives the channel of the next copy; `None` when there will be no more.
fn receive(channel: &OwnedFd) -> Option<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    loop {
        let mut byte = [0];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::CMSG_CLOEXEC;
        match recvmsg(channel, &mut [IoSliceMut::new(&mut byte)], &mut ancillary, flags) {
            Ok(received) if received.bytes == 0 => return None,
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return None,
        }
        let fds = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        // Without one (no descriptor was free) who asked sees its channel closed.
        if let Some(fd) = fds.flatten().next() {
            return Some(fd);
        }
    }
}

enum Copy {
    Original,
    Copy(Option<Residence>),
}

/// Copies this process, out of the group of the command if another one is named.
fn copy(residence: Option<&(String, String)>) -> io::Result<Copy> {
    Ok(match residence {
        Some((prefix, name)) => match cgroup::copy_into(Layout::shared(), prefix, name)? {
            Copied::Original => Copy::Original,
            Copied::Copy(residence) => Copy::Copy(Some(residence)),
        },
        // Staying in the command's group costs it only its life when the session of that is ended.
        None => match process::copy()? {
            Side::Original => Copy::Original,
            Side::Copy => Copy::Copy(None),
        },
    })
}

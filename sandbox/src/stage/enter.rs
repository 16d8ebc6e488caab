//! A process that enters the namespaces of another one, to run a program beside it.
//!
//! ```text
//! server --clone--> entrant: cgroup, untraceable, order; all namespaces in one call (by the init's pidfd)
//!                      | clone with CLONE_PARENT: only a child is in the pid namespace
//!                      '--> guest: waits for a word, terminal, rights, execve
//! ```
//!
//! Both are children of the program that asked. The entrant ends as soon as it has told the guest's pidfd; the word
//! that the guest waits for keeps their messages apart, which go over one channel.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{AtFlags, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::process::DumpableBehavior;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::console::Terminal;
use super::init::{Prepared, become_program};
use super::mounts::Cargo;
use super::park::{Inherited, write_file};
use super::{Act, Doing, refuse};
use crate::script::{EnterScript, InitMessage, SpawnRequest};
use crate::sys::{self, Cloned};
use crate::wire::{self, Received, WireError};

const DEVPTS_MAGIC: u64 = 0x1cd1;
/// The device number of `ptmx`.
const PTMX: (u32, u32) = (5, 2);

/// Turns this process, just cloned, into an entrant; never returns.
pub(super) fn become_entrant(request: &SpawnRequest, inherited: &Inherited<'_>) -> ! {
    let failure = match sys::close_all_but(&inherited.numbers()).doing(|| "close descriptors".to_owned()) {
        Ok(()) => match enter(request, inherited) {
            Ok(never) => match never {},
            Err(failure) => failure,
        },
        Err(failure) => failure,
    };
    let _ = wire::send(&inherited.order, &InitMessage::Failed(failure), b"", &[]);
    sys::exit_now(125)
}

fn enter(request: &SpawnRequest, inherited: &Inherited<'_>) -> Act<std::convert::Infallible> {
    let _ = rustix::process::setsid();
    if let Some(value) = request.oom_score_adj {
        write_file("/proc/self/oom_score_adj", &value.to_string())
            .doing(|| format!("set oom_score_adj to {value}"))?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(|| "make this process untraceable".to_owned())?;
    let _ = sys::join_new_keyring();
    for join in &inherited.joins {
        rustix::io::write(join, b"0").doing(|| "enter a cgroup".to_owned())?;
    }
    let Received { message: script, blob, fds } = match wire::receive::<EnterScript>(&inherited.order) {
        Ok(order) => order,
        Err(WireError::Closed) => sys::exit_now(0),
        Err(error) => return refuse("read the order", error.to_string()),
    };
    let cargo = Cargo { blob: &blob, fds: &fds };
    let setgroups_denied = setgroups_denied();
    let namespaces = ThreadNameSpaceType::from_bits_retain(script.namespaces);
    match move_into_thread_name_spaces(cargo.fd(script.target)?, namespaces) {
        Err(Errno::PERM) if !crate::rootless::in_initial_user_namespace() => {
            return refuse(
                "enter the namespaces of the container",
                "they are of a user namespace whose keeper was killed; restart the container".to_owned(),
            );
        }
        entered => entered.doing(|| "enter the namespaces of the container".to_owned())?,
    }
    match sys::clone(0, true, None).doing(|| "make a process in the container".to_owned())? {
        Cloned::Parent(pid, pidfd) => {
            let told = InitMessage::Cloned { pid: pid.as_raw_nonzero().get() };
            let _ = wire::send(&inherited.order, &told, b"", &[pidfd.as_fd()]);
            sys::exit_now(0)
        }
        Cloned::Child => {}
    }
    match wire::receive::<()>(&inherited.order) {
        Ok(_) => {}
        Err(_) => sys::exit_now(125),
    }
    let _ = rustix::process::setsid();
    let program = &script.program;
    let terminal = program.terminal.map(|size| open_terminal(size, program.uid)).transpose()?;
    let channel = rustix::io::fcntl_dupfd_cloexec(&inherited.order, 3)
        .doing(|| "keep the order's channel".to_owned())?;
    become_program(Prepared {
        program,
        cargo: &cargo,
        terminal,
        null: None,
        setgroups_denied,
        channel,
        bound: false,
        hold: false,
        stubs: Vec::new(),
        notes: Vec::new(),
    })
}

fn setgroups_denied() -> bool {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let mut text = [0; 8];
    let read = rustix::fs::open("/proc/self/setgroups", flags, Mode::empty())
        .and_then(|file| rustix::io::read(&file, &mut text));
    read.is_ok_and(|count| text[..count].starts_with(b"deny"))
}

/// Opens a pty of the container's own devpts: what the image has in its place is not trusted.
fn open_terminal(size: (u16, u16), uid: u32) -> Act<Terminal> {
    let act = || "open a terminal".to_owned();
    let folder = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = rustix::fs::ResolveFlags::IN_ROOT | rustix::fs::ResolveFlags::NO_SYMLINKS;
    let root = rustix::fs::open("/", folder, Mode::empty()).doing(act)?;
    let devpts = rustix::fs::openat2(&root, "dev/pts", folder, Mode::empty(), resolve).doing(act)?;
    let filesystem = rustix::fs::fstatfs(&devpts).doing(act)?;
    if filesystem.f_type as u64 != DEVPTS_MAGIC {
        return refuse(act(), "there is no pty file system on `/dev/pts`");
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let stat = rustix::fs::statat(&devpts, "ptmx", AtFlags::SYMLINK_NOFOLLOW).doing(act)?;
    if (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)) != PTMX {
        return refuse(act(), "`/dev/pts/ptmx` is something else");
    }
    let master = super::console::opened(rustix::fs::openat(&devpts, "ptmx", flags, Mode::empty()))?;
    rustix::pty::unlockpt(&master).doing(act)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave: OwnedFd = rustix::pty::ioctl_tiocgptpeer(&master, flags).doing(act)?;
    if size != (0, 0) {
        let size = Winsize { ws_col: size.0, ws_row: size.1, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).doing(act)?;
    }
    rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), None::<Gid>).doing(act)?;
    Ok(Terminal { master, slave })
}

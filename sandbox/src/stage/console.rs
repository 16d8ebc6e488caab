//! A terminal of the container's own: a fresh pty of its own devpts, never the caller's terminal.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

use super::targets::{Kind, Tree};
use super::{Act, Doing, refuse};
use crate::mounts::{Depth, attach, clone_mount};

/// The two ends of a terminal.
pub(super) struct Terminal {
    pub(super) master: OwnedFd,
    pub(super) slave: OwnedFd,
}

/// Names the machine's limit where that is why there is no terminal.
pub(super) fn opened(master: rustix::io::Result<OwnedFd>) -> Act<OwnedFd> {
    let act = || "open a terminal".to_owned();
    match master {
        Err(Errno::NOSPC) => refuse(act(), "the machine has no more of them: raise `kernel.pty.max`"),
        other => other.doing(act),
    }
}

/// Opens a pty in an attached devpts, and puts its slave on `/dev/console`.
pub(super) fn open(devpts: &OwnedFd, size: (u16, u16), uid: u32, tree: &mut Tree<'_>) -> Act<Terminal> {
    let act = || "open a terminal".to_owned();
    // Through the descriptor of the devpts itself: no name in the image is involved.
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = opened(rustix::fs::openat(devpts, "ptmx", flags, Mode::empty()))?;
    rustix::pty::unlockpt(&master).doing(act)?;
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = rustix::pty::ioctl_tiocgptpeer(&master, flags).doing(act)?;
    if size != (0, 0) {
        let size = Winsize { ws_col: size.0, ws_row: size.1, ws_xpixel: 0, ws_ypixel: 0 };
        rustix::termios::tcsetwinsize(&master, size).doing(act)?;
    }
    // The group stays what the devpts gives.
    rustix::fs::fchown(&slave, Some(Uid::from_raw(uid)), None::<Gid>).doing(act)?;
    let act = || "put the terminal on `/dev/console`".to_owned();
    let target = tree.provide("/dev/console", Kind::File, true)?;
    let mount = clone_mount(slave.as_fd(), Depth::One).doing(act)?;
    attach(mount.as_fd(), target.as_fd()).doing(act)?;
    Ok(Terminal { master, slave })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_of_terminals_is_named() {
        let told = |errno| format!("{:?}", opened(Err(errno)).map(drop));
        assert!(told(Errno::NOSPC).contains("raise `kernel.pty.max`"), "{}", told(Errno::NOSPC));
        assert!(!told(Errno::ACCESS).contains("kernel.pty.max"), "{}", told(Errno::ACCESS));
    }
}

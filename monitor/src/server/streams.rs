//! The container's streams, as the monitor has them.
//!
//! Output pipes have names in the run folder, and the program has them open for reading too: when the monitor is gone
//! it waits at a full pipe instead of being told that nobody listens, and the next monitor opens the same pipes. Standard
//! input has only one writer, the monitor, so that closing it is its end.

use std::os::fd::{AsFd, OwnedFd};

use rbuild_sandbox::Stdio;
use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::termios::Winsize;

use crate::place::Place;
use crate::plan::Stdin;

/// What waits to be read by the program is bounded by this; more is not taken from clients.
pub(super) const WAITING: usize = 64 << 10;

/// The near ends of a program's streams.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Standard output, or the terminal.
    pub(super) stdout: Option<OwnedFd>,
    pub(super) stderr: Option<OwnedFd>,
    pub(super) input: Input,
    pub(super) is_terminal: bool,
}

impl Streams {
    /// Takes the near ends of pipes.
    pub(super) fn of_pipes(stdout: Option<OwnedFd>, stderr: Option<OwnedFd>, stdin: Option<OwnedFd>) -> Self {
        Self { stdout, stderr, input: Input { fd: stdin, ..Input::default() }, is_terminal: false }
    }
}

/// What is written to a program.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) fd: Option<OwnedFd>,
    pub(super) waiting: Vec<u8>,
    /// Whether it is closed when nothing waits any more.
    pub(super) ending: bool,
}

impl Input {
    /// Adds bytes, for a program that still reads.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        if self.fd.is_some() && !self.ending {
            self.waiting.extend_from_slice(bytes);
        }
    }

    /// Tells whether more may be taken from clients.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < WAITING
    }

    /// Writes as much as the program takes.
    pub(super) fn flush(&mut self) {
        while let (Some(fd), false) = (&self.fd, self.waiting.is_empty()) {
            match rustix::io::write(fd, &self.waiting) {
                Ok(count) if count == self.waiting.len() => self.waiting = Vec::new(),
                Ok(count) => drop(self.waiting.drain(..count)),
                Err(Errno::INTR) => {}
                Err(Errno::WOULDBLOCK) => return,
                Err(_) => *self = Self::default(),
            }
        }
        if self.ending && self.waiting.is_empty() {
            self.fd = None;
        }
    }
}

/// Makes new pipes with names; returns the near ends and the program's.
pub(super) fn make(place: &Place, stdin: Stdin, owner: (u32, u32)) -> Result<(Streams, Stdio), Errno> {
    let run = place.open_run().map_err(|_| Errno::NOENT)?;
    let output = |name: &str| -> Result<(OwnedFd, OwnedFd), Errno> {
        make_fifo(&run, name, owner)?;
        let far = open(&run, name, OFlags::RDWR)?;
        Ok((open(&run, name, OFlags::RDONLY | OFlags::NONBLOCK)?, far))
    };
    let (stdout, out) = output("stdout")?;
    let (stderr, err) = output("stderr")?;
    let (input, far) = if stdin == Stdin::Closed {
        (None, None)
    } else {
        make_fifo(&run, "stdin", owner)?;
        // Neither end can be opened before the other one is, but by one who opens both.
        let both = open(&run, "stdin", OFlags::RDWR | OFlags::NONBLOCK)?;
        let far = open(&run, "stdin", OFlags::RDONLY)?;
        let near = open(&run, "stdin", OFlags::WRONLY | OFlags::NONBLOCK)?;
        drop(both);
        (Some(near), Some(far))
    };
    let streams = Streams::of_pipes(Some(stdout), Some(stderr), input);
    Ok((streams, Stdio { stdin: far, stdout: Some(out), stderr: Some(err) }))
}

/// Opens the pipes of a program that runs.
pub(super) fn reopen(place: &Place) -> Streams {
    let Ok(run) = place.open_run() else { return Streams::default() };
    let stdout = open(&run, "stdout", OFlags::RDONLY | OFlags::NONBLOCK).ok();
    let stderr = open(&run, "stderr", OFlags::RDONLY | OFlags::NONBLOCK).ok();
    // Fails if nobody reads it: the program closed it, or saw its end when the last monitor went.
    let input = open(&run, "stdin", OFlags::WRONLY | OFlags::NONBLOCK).ok();
    Streams::of_pipes(stdout, stderr, input)
}

/// Takes the master of a terminal.
pub(super) fn of_terminal(master: OwnedFd) -> Result<Streams, Errno> {
    rustix::io::ioctl_fionbio(&master, true)?;
    let input = rustix::io::fcntl_dupfd_cloexec(&master, 3)?;
    Ok(Streams {
        stdout: Some(master),
        stderr: None,
        input: Input { fd: Some(input), ..Input::default() },
        is_terminal: true,
    })
}

/// Sets the size of a terminal.
pub(super) fn resize(master: impl AsFd, columns: u16, rows: u16) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    // One that has just ended needs none.
    let _ = rustix::termios::tcsetwinsize(master, size);
}

fn make_fifo(run: &OwnedFd, name: &str, (uid, gid): (u32, u32)) -> Result<(), Errno> {
    match rustix::fs::unlinkat(run, name, rustix::fs::AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno),
    }
    rustix::fs::mknodat(run, name, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    // Programs open their own streams by name (/dev/stdout), as their user.
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW;
    match rustix::fs::chownat(run, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags) {
        // The user does not exist in this user namespace.
        Ok(()) | Err(Errno::INVAL | Errno::PERM) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn open(run: &OwnedFd, name: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(run, name, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

/// Reads what is there; `None` if nothing more ever comes.
pub(super) fn read_some(fd: impl AsFd, buffer: &mut [u8]) -> Option<usize> {
    loop {
        match rustix::io::read(&fd, &mut *buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(count),
            Err(Errno::INTR) => {}
            Err(Errno::WOULDBLOCK) => return Some(0),
            // A terminal whose last user is gone says so by an error.
            Err(_) => return None,
        }
    }
}

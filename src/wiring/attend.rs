//! A container in the foreground: bytes between its streams and ours, its terminal and ours, signals.
//!
//! Without a terminal of its own, the container writes into pipes that threads empty; with one, our terminal becomes
//! raw for as long as it runs, and follows changes of its size. The terminal is restored when this value goes, on
//! whatever road.

use std::fs::File;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::Context as _;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask, raise};
use rbuild_engine::{Attendant, Streams};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::termios::{OptionalActions, Termios, Winsize, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

use crate::terminal::Terminal;

/// The signals that go to the container's program, as docker forwards them; and the one that tells of a new size.
const FORWARDED: [Signal; 8] = [
    Signal::SIGINT,
    Signal::SIGTERM,
    Signal::SIGHUP,
    Signal::SIGQUIT,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
    Signal::SIGWINCH,
];

/// Returns columns and rows of our terminal; zeroes where there is none.
pub(super) fn window() -> (u16, u16) {
    let size = tcgetwinsize(io::stdout()).or_else(|_| tcgetwinsize(io::stdin()));
    size.map_or((0, 0), |size| (size.ws_col, size.ws_row))
}

/// Attends a container in the foreground.
pub(super) struct Foreground {
    tty: bool,
    terminal: Terminal,
    receiver: Arc<Mutex<Option<Receiver>>>,
    raw: Option<Termios>,
    outputs: Vec<JoinHandle<()>>,
    over: Arc<OwnedFd>,
}

impl Foreground {
    /// Prepares; must be called before any other thread is started.
    pub(super) fn new(tty: bool, terminal: Terminal) -> anyhow::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in FORWARDED {
            signals.add(signal);
        }
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)
            .context("failed to hold back signals")?;
        let over = eventfd(0, EventfdFlags::CLOEXEC).context("failed to make an event")?;
        let receiver = Arc::new(Mutex::new(None));
        let shared = Arc::clone(&receiver);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || take_signals(signals, &shared))
            .context("failed to watch for signals")?;
        Ok(Self { tty, terminal, receiver, raw: None, outputs: Vec::new(), over: Arc::new(over) })
    }

    fn make_raw(&mut self) -> io::Result<()> {
        if !self.tty || !io::stdin().is_terminal() {
            return Ok(());
        }
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
        self.raw = Some(before);
        Ok(())
    }

    fn restore(&mut self) {
        if let Some(before) = self.raw.take() {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
        }
    }

    fn output(&mut self, from: OwnedFd, to: impl Write + Send + 'static) -> io::Result<()> {
        let thread = thread::Builder::new().name("output".to_owned()).spawn(move || pass_on(from, to))?;
        self.outputs.push(thread);
        Ok(())
    }

    /// Moves our standard input to the container until either ends.
    fn input(&self, to: OwnedFd) -> io::Result<()> {
        let over = Arc::clone(&self.over);
        thread::Builder::new().name("input".to_owned()).spawn(move || feed(File::from(to), &over))?;
        Ok(())
    }

    /// Lets signals go to a process from now on.
    fn forward(&self, process: OwnedFd, terminal: Option<OwnedFd>) {
        *self.receiver.lock().unwrap_or_else(PoisonError::into_inner) = Some(Receiver { process, terminal });
    }
}

/// Where signals go.
struct Receiver {
    process: OwnedFd,
    terminal: Option<OwnedFd>,
}

/// Takes signals for as long as the program lives. Before there is a container they do what they always do: everything
/// that is under way then can be interrupted at any moment.
fn take_signals(signals: SigSet, receiver: &Mutex<Option<Receiver>>) {
    while let Ok(signal) = signals.wait() {
        let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*receiver, signal) {
            (Some(Receiver { terminal, .. }), Signal::SIGWINCH) => resize(terminal.as_ref()),
            (Some(Receiver { process, .. }), signal) => {
                if let Some(signal) = rustix::process::Signal::from_named_raw(signal as i32) {
                    let _ = rustix::process::pidfd_send_signal(process, signal);
                }
            }
            (None, Signal::SIGWINCH | Signal::SIGCONT) => {}
            (None, signal) => {
                let _ = pthread_sigmask(SigmaskHow::SIG_UNBLOCK, Some(&signals), None);
                let _ = raise(signal);
            }
        }
    }
}

impl Attendant for Foreground {
    fn started(&mut self, process: BorrowedFd<'_>, streams: Streams) -> io::Result<()> {
        let process = process.try_clone_to_owned()?;
        match streams {
            Streams::Terminal(master) => {
                resize(Some(&master));
                self.make_raw()?;
                self.forward(process, Some(master.try_clone()?));
                self.input(master.try_clone()?)?;
                self.output(master, io::stdout())
            }
            Streams::Pipes { stdin, stdout, stderr } => {
                self.forward(process, None);
                if let Some(stdin) = stdin {
                    self.input(stdin)?;
                }
                self.output(stdout, io::stdout())?;
                self.output(stderr, io::stderr())
            }
        }
    }

    fn ended(&mut self) {
        let _ = rustix::io::write(&*self.over, &1_u64.to_ne_bytes());
        for output in self.outputs.drain(..) {
            let _ = output.join();
        }
        self.restore();
    }

    fn note(&mut self, text: &str) {
        self.terminal.tell(&format!("note: {}\n", crate::text::one_line(text)));
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.over, &1_u64.to_ne_bytes());
        self.restore();
    }
}

fn resize(master: Option<&OwnedFd>) {
    let (columns, rows) = window();
    if let Some(master) = master
        && columns > 0
    {
        let _ = tcsetwinsize(master, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 });
    }
}

/// Moves bytes until the last writer is gone. A terminal's master says so by an error.
fn pass_on(from: OwnedFd, mut to: impl Write) {
    let mut buffer = vec![0; 64 << 10];
    let mut gone = false;
    loop {
        match rustix::io::read(&from, &mut buffer[..]) {
            Ok(0) => return,
            Ok(count) => {
                // Where nobody reads us any more, the container must not stand still: the rest is read and dropped.
                gone = gone || to.write_all(&buffer[..count]).and_then(|()| to.flush()).is_err();
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return,
        }
    }
}

/// Moves our standard input into `to` until it ends, or the container has.
fn feed(mut to: File, over: &OwnedFd) {
    let stdin = io::stdin();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let mut waits = [
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(over.as_fd(), PollFlags::IN),
        ];
        match poll(&mut waits, None) {
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
            Ok(_) => {}
        }
        if !waits[1].revents().is_empty() {
            return;
        }
        match rustix::io::read(stdin.as_fd(), &mut buffer[..]) {
            Ok(0) => return,
            Ok(count) if to.write_all(&buffer[..count]).is_ok() => {}
            Err(rustix::io::Errno::INTR) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

//! A container or an execution in the foreground: bytes between its streams and ours, its terminal and ours, signals.
//!
//! With a terminal of its own and our input attached, our terminal becomes raw for as long as it runs, and the other
//! follows changes of its size. The terminal is restored when this value goes, on whatever road. Signals are taken by a
//! thread; before there is something to send them to they do what they always do.

use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::Context as _;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask};
use rbuild_model::container::Signal as ContainerSignal;
use rbuild_monitor::client::SessionWriter;
use rbuild_monitor::{Client, Session, SessionEvent};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use crate::flags::DetachKeys;
use crate::report::Unwritten;

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

/// How something is attended.
#[derive(Clone, Debug)]
pub(super) struct Manner {
    /// Whether it has a terminal.
    pub(super) tty: bool,
    /// Whether our input goes to it.
    pub(super) input: bool,
    /// Keys that leave it running; none for no such keys.
    pub(super) detach: DetachKeys,
}

/// How the attendance ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The streams ended.
    Ended,
    /// The execution ended with this status.
    Exited(i32),
    /// The user left it running.
    Detached,
    /// Nobody reads us any more; it runs on.
    Unread,
}

/// Where signals go.
#[derive(Default)]
struct Receiver {
    /// Who sends them to the program; nobody where they are not passed on.
    client: Option<Client>,
    /// Who sets the size of its terminal.
    terminal: Option<SessionWriter>,
    active: bool,
}

/// Attends something in the foreground.
pub(super) struct Foreground {
    receiver: Arc<Mutex<Receiver>>,
    raw: Option<Termios>,
    redraws: bool,
}

impl Foreground {
    /// Prepares; must be called before any other thread is started.
    pub(super) fn new() -> anyhow::Result<Self> {
        let mut signals = SigSet::empty();
        for signal in FORWARDED {
            signals.add(signal);
        }
        pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)
            .context("failed to hold back signals")?;
        let receiver = Arc::new(Mutex::new(Receiver::default()));
        let shared = Arc::clone(&receiver);
        thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || take_signals(signals, &shared))
            .context("failed to watch for signals")?;
        Ok(Self { receiver, raw: None, redraws: false })
    }

    /// Has a program that runs already draw itself anew: it does where its terminal gets another size, so it gets one for a moment.
    pub(super) fn redrawn(mut self) -> Self {
        self.redraws = true;
        self
    }

    /// Ends the attendance, and returns the client that signals went to.
    pub(super) fn leave(self) -> Option<Client> {
        self.receiver.lock().unwrap_or_else(PoisonError::into_inner).client.take()
    }

    /// Passes bytes on until the streams end or the user leaves. With a client, signals go to the container.
    pub(super) fn attend(
        &mut self,
        mut session: Session,
        manner: &Manner,
        client: Option<Client>,
    ) -> anyhow::Result<Ending> {
        let mut writer = session.writer()?;
        if manner.tty {
            let (columns, rows) = window();
            if columns > 0 {
                if self.redraws {
                    writer.resize(columns.saturating_add(1), rows.saturating_add(1))?;
                }
                writer.resize(columns, rows)?;
            }
        }
        {
            let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
            *receiver = Receiver {
                client,
                terminal: if manner.tty { Some(session.writer()?) } else { None },
                active: true,
            };
        }
        let left = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context("failed to make an event")?);
        let over = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context("failed to make an event")?);
        if manner.input {
            if manner.tty {
                self.make_raw().context("failed to set up the terminal")?;
            }
            let (left, over) = (Arc::clone(&left), Arc::clone(&over));
            let keys = if manner.tty { manner.detach.0.clone() } else { Vec::new() };
            thread::Builder::new()
                .name("input".to_owned())
                .spawn(move || feed(writer, &keys, &left, &over))
                .context("failed to pass the input on")?;
        }
        let ending = pass_on(&mut session, &left);
        let _ = rustix::io::write(&*over, &1_u64.to_ne_bytes());
        self.restore();
        ending
    }

    fn make_raw(&mut self) -> io::Result<()> {
        if !io::stdin().is_terminal() {
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
        // The client stays: what its connection stands for may outlast the streams.
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        receiver.active = false;
        receiver.terminal = None;
    }
}

impl Drop for Foreground {
    fn drop(&mut self) {
        self.restore();
    }
}

/// Takes signals for as long as the program lives.
fn take_signals(signals: SigSet, receiver: &Mutex<Receiver>) {
    while let Ok(signal) = signals.wait() {
        let mut receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
        match (receiver.active, signal) {
            (true, Signal::SIGWINCH) => {
                let (columns, rows) = window();
                if let (Some(writer), true) = (&mut receiver.terminal, columns > 0) {
                    let _ = writer.resize(columns, rows);
                }
            }
            (true, signal) if receiver.client.is_some() => {
                if let (Some(client), Some(signal)) =
                    (&mut receiver.client, ContainerSignal::from_number(signal as i32))
                {
                    // One that has ended takes no signal.
                    let _ = client.kill(signal);
                }
            }
            (_, Signal::SIGWINCH | Signal::SIGCONT) => {}
            // Nobody takes it: everything that is under way can be interrupted at any moment.
            (_, signal) => super::signals::end_by(signal),
        }
    }
}

/// Passes output on until it ends, or `left` says that the user leaves.
fn pass_on(session: &mut Session, left: &OwnedFd) -> anyhow::Result<Ending> {
    let mut lost = None;
    loop {
        let mut waits = [
            PollFd::from_borrowed_fd(session.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(left.as_fd(), PollFlags::IN),
        ];
        if !session.has_event() {
            match poll(&mut waits, None) {
                Err(rustix::io::Errno::INTR) => continue,
                Err(errno) => return Err(errno).context("failed to wait for output"),
                Ok(_) => {}
            }
            if !waits[1].revents().is_empty() {
                return Ok(Ending::Detached);
            }
        }
        // Where there is no room for more, the container must not stand still: the rest is read and dropped.
        let mut write = |result: io::Result<()>| lost = lost.take().or(result.err());
        match session.next_event()? {
            SessionEvent::Stdout(bytes) => {
                let mut out = io::stdout().lock();
                write(out.write_all(&bytes).and_then(|()| out.flush()));
            }
            SessionEvent::Stderr(bytes) => write(io::stderr().lock().write_all(&bytes)),
            SessionEvent::Ended(_) => return passed_on(lost).map(|()| Ending::Ended),
            SessionEvent::ExecEnded(code) => return passed_on(lost).map(|()| Ending::Exited(code)),
        }
        if lost.as_ref().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
            return Ok(Ending::Unread);
        }
    }
}

/// Makes an error of what could not be written.
fn passed_on(lost: Option<io::Error>) -> anyhow::Result<()> {
    lost.map_or(Ok(()), |error| Err(Unwritten(error).into()))
}

/// Moves our standard input to the container until it ends, the container has ended, or the user leaves.
fn feed(mut writer: SessionWriter, keys: &[u8], left: &OwnedFd, over: &OwnedFd) {
    let stdin = io::stdin();
    let mut buffer = vec![0; 16 << 10];
    let mut pressed = 0;
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
        let count = match rustix::io::read(stdin.as_fd(), &mut buffer[..]) {
            Ok(0) => {
                let _ = writer.close();
                return;
            }
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        };
        let (bytes, leaves) = without_keys(&buffer[..count], keys, &mut pressed);
        if writer.send(&bytes).is_err() {
            return;
        }
        if leaves {
            let _ = rustix::io::write(left, &1_u64.to_ne_bytes());
            return;
        }
    }
}

/// Returns the bytes that are meant for the container, and whether the keys to leave were pressed; keys that only began
/// are held back until it is clear what they mean.
fn without_keys(bytes: &[u8], keys: &[u8], pressed: &mut usize) -> (Vec<u8>, bool) {
    let mut meant = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if keys.get(*pressed) == Some(byte) {
            *pressed += 1;
            if *pressed == keys.len() {
                return (meant, true);
            }
            continue;
        }
        meant.extend_from_slice(&keys[..*pressed]);
        *pressed = 0;
        if keys.first() == Some(byte) {
            *pressed = 1;
        } else {
            meant.push(*byte);
        }
    }
    (meant, false)
}

#[cfg(test)]
mod tests {
    use super::without_keys;

    #[test]
    fn keys_that_only_began_are_passed_on_later() {
        let keys = [0x10, 0x11];
        let mut pressed = 0;
        assert_eq!(without_keys(b"a\x10", &keys, &mut pressed), (b"a".to_vec(), false));
        assert_eq!(without_keys(b"b\x10\x10", &keys, &mut pressed), (b"\x10b\x10".to_vec(), false));
        assert_eq!(without_keys(b"\x11rest", &keys, &mut pressed), (Vec::new(), true));
        assert_eq!(without_keys(b"\x10\x11", &[], &mut 0), (b"\x10\x11".to_vec(), false));
    }
}

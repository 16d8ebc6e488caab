//! The keys that an attached `up` offers on a terminal, and the line that says so.
//!
//! | Key | |
//! |---|---|
//! | `w` | files are watched from now on, or not any more |
//! | `d` | `up` ends, and the containers go on |
//! | Enter | an empty line: what comes is seen apart from what was there |

use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Context as _;
use rbuild_frontend::compose::is_on;
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use rustix::process::getpgrp;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcsetattr,
};

use super::super::project::Meant;
use crate::cli::compose::up::Up;
use crate::commands::Context;
use crate::flags::Mode;
use crate::terminal::{Paint, StreamKind, set_footer};

/// A window with fewer columns has no room for the line.
const NARROW: u16 = 32;

/// A key that means something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Watch,
    Detach,
    Enter,
}

impl Key {
    const fn of(byte: u8) -> Option<Self> {
        match byte {
            b'w' => Some(Self::Watch),
            b'd' => Some(Self::Detach),
            b'\r' | b'\n' => Some(Self::Enter),
            _ => None,
        }
    }
}

/// Whether keys are offered: as the flag says, else as COMPOSE_MENU does; never where nobody sees what they are.
pub(super) fn is_wanted(up: &Up, meant: &Meant, context: &Context) -> bool {
    let said = || meant.variable("COMPOSE_MENU", context).map(|text| is_on(Some(&text)));
    context.terminal.out().kind == StreamKind::Terminal && up.menu.or_else(said).unwrap_or(true)
}

/// Keys that are heard as they are pressed, for as long as this lives.
pub(super) struct Menu {
    /// How the terminal was before; nothing once it is so again.
    before: Mutex<Option<Termios>>,
    over: Arc<OwnedFd>,
}

impl Menu {
    /// Begins to hear keys, if there is a terminal and it is ours.
    pub(super) fn open(heard: impl Fn(Key) + Send + 'static) -> anyhow::Result<Option<Self>> {
        // Another job's terminal would stop us.
        if tcgetpgrp(io::stdin()).ok() != Some(getpgrp()) {
            return Ok(None);
        }
        let failed = "failed to set up the terminal";
        let before = tcgetattr(io::stdin()).context(failed)?;
        let mut now = before.clone();
        // Signals still come of keys: Ctrl-C is one.
        now.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO);
        now.special_codes[SpecialCodeIndex::VMIN] = 1;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        let over = Arc::new(eventfd(0, EventfdFlags::CLOEXEC).context("failed to make an event")?);
        tcsetattr(io::stdin(), OptionalActions::Now, &now).context(failed)?;
        let menu = Self { before: Mutex::new(Some(before)), over: Arc::clone(&over) };
        let listen = move || {
            // Whoever cannot read keys offers none.
            let _ = listen(&over, heard);
        };
        thread::Builder::new().name("keys".to_owned()).spawn(listen).context("failed to hear keys")?;
        Ok(Some(menu))
    }

    fn before(&self) -> MutexGuard<'_, Option<Termios>> {
        self.before.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what keys there are, if they are offered any more.
    pub(super) fn show(&self, watching: Mode, context: &Context) {
        let before = self.before();
        if before.is_none() {
            return;
        }
        let (columns, _) = crate::wiring::window();
        let colour = context.terminal.out().colour;
        let watch = if watching == Mode::On { " Disable Watch" } else { " Enable Watch" };
        let item =
            |key, text| format!("{}{}", colour.paint(Paint::Bold, key), colour.paint(Paint::Dim, text));
        let line = format!("{}   {}", item("w", watch), item("d", " Detach"));
        set_footer(if columns >= NARROW { &line } else { "" });
    }

    /// Offers no keys any more, and leaves the terminal as it was.
    pub(super) fn close(&self) {
        let mut before = self.before();
        let Some(was) = before.take() else { return };
        set_footer("");
        // Nobody can be told that the terminal is gone.
        let _ = rustix::io::write(&*self.over, &1_u64.to_ne_bytes());
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &was);
    }
}

impl Drop for Menu {
    fn drop(&mut self) {
        self.close();
    }
}

/// Hears keys until it is over, or the terminal is gone.
fn listen(over: &OwnedFd, heard: impl Fn(Key)) -> rustix::io::Result<()> {
    let stdin = io::stdin();
    loop {
        let mut fds = [PollFd::new(&stdin, PollFlags::IN), PollFd::new(over, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        if !fds[1].revents().is_empty() {
            return Ok(());
        }
        if fds[0].revents().is_empty() {
            continue;
        }
        let mut bytes = [0_u8; 64];
        match rustix::io::read(&stdin, &mut bytes) {
            Ok(0) => return Ok(()),
            Ok(count) => bytes[..count].iter().filter_map(|byte| Key::of(*byte)).for_each(&heard),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(errno),
        }
    }
}

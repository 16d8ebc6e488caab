//! What is shown of a build while it runs.
//!
//! ```text
//! worker threads --Event--> bounded channel --> display thread: Tasks (what is known) + one View (how it is shown)
//! ```
//!
//! One thread owns everything; it wakes for events and ten times a second for views that move. The channel is
//! bounded, so a terminal that does not keep up slows the build down instead of filling memory; views hold at most
//! what is queued for tasks that are not in front. A view cannot fail: when nobody reads, the build goes on.
//!
//! | Mode | View | Shows |
//! |---|---|---|
//! | `tty` | [`tty`] | all tasks, redrawn in place, with tails of the logs of those that run |
//! | `plain` | [`plain`] | a line for everything, never redrawn |
//! | `rawjson` | [`json`] | one JSON object a line, in BuildKit's words |
//! | `quiet`, `none` | [`quiet`] | nothing |

mod json;
mod plain;
mod quiet;
mod tasks;
#[cfg(test)]
mod tests;
mod tty;

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rbuild_model::event::{Event, Events, Listener};

use crate::report::Mistake;
use crate::terminal::{Colour, FooterAway, StreamKind, Terminal};
use crate::text::Sgr;

pub(crate) use tasks::Tasks;

/// How progress is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// `tty` on a terminal, `plain` otherwise
    #[default]
    Auto,
    /// A live view
    Tty,
    /// Lines of text
    Plain,
    /// Only the result
    Quiet,
    /// Nothing
    None,
    /// One JSON object a line
    Rawjson,
}

/// How a view shows what happens. Called by one thread; `now` is the time since the build began.
trait View: Send {
    /// Something happened; `tasks` knows it already. `lines` are the log lines that became whole by it.
    fn event(&mut self, event: &Event, lines: &[String], tasks: &Tasks, now: Duration);
    /// Time went by.
    fn tick(&mut self, tasks: &Tasks, now: Duration);
    /// The build is over.
    fn finish(&mut self, tasks: &Tasks, now: Duration, end: End);
}

/// How a build ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// There is a result.
    Succeeded,
    /// There is none.
    Failed,
    /// Somebody asked it to stop.
    Cancelled,
}

/// A display at work. Dropped without [`Display::finish`], it clears itself away.
#[derive(Debug)]
pub(crate) struct Display {
    sender: Arc<Sender>,
    thread: Option<JoinHandle<Tasks>>,
    /// Views write past it.
    _footer: FooterAway,
}

enum Message {
    Happened(Event),
    Over(End),
}

#[derive(Debug)]
struct Sender(Mutex<Option<SyncSender<Message>>>);

/// How many events may wait to be shown. The queue is made whole at once: a longer one costs each build more than it saves.
const QUEUE: usize = 512;
/// How often views that move are redrawn.
const TICK: Duration = Duration::from_millis(100);

impl Display {
    /// Begins to show.
    pub(crate) fn start(mode: Mode, terminal: Terminal) -> Result<Self, Mistake> {
        let err = terminal.err();
        let mode = match mode {
            Mode::Auto if err.kind == StreamKind::Terminal => Mode::Tty,
            Mode::Auto => Mode::Plain,
            other => other,
        };
        if mode == Mode::Tty && err.kind != StreamKind::Terminal {
            return Err(Mistake::usage(
                "`--progress tty` needs a terminal on standard error that is not dumb",
            )
            .hint("use `--progress plain`"));
        }
        let sgr = if err.colour == Colour::On { Sgr::Keep } else { Sgr::Drop };
        let view: Box<dyn View> = match mode {
            Mode::Auto | Mode::Plain => Box::new(plain::Plain::new(Whole::new(io::stderr()), err.colour)),
            Mode::Tty => Box::new(tty::Tty::new(err.colour)),
            Mode::Rawjson => Box::new(json::RawJson::new(Whole::new(io::stderr()), jiff::Timestamp::now())),
            Mode::Quiet | Mode::None => Box::new(quiet::Quiet),
        };
        Ok(Self::with(view, sgr))
    }

    fn with(view: Box<dyn View>, sgr: Sgr) -> Self {
        // Before the view writes.
        let footer = FooterAway::new();
        let (sender, receiver) = sync_channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("display".to_owned())
            .spawn(move || run(&receiver, view, Tasks::new(sgr)))
            .ok();
        Self { sender: Arc::new(Sender(Mutex::new(Some(sender)))), thread, _footer: footer }
    }

    /// Returns where events go.
    pub(crate) fn events(&self) -> Events {
        Arc::clone(&self.sender) as Events
    }

    /// Shows the end and returns what is known of the tasks.
    pub(crate) fn finish(mut self, end: End) -> Tasks {
        self.close(end)
    }

    fn close(&mut self, end: End) -> Tasks {
        let sender = self.sender.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(sender) = sender {
            let _ = sender.send(Message::Over(end));
        }
        let tasks = self.thread.take().and_then(|thread| thread.join().ok());
        tasks.unwrap_or_else(|| Tasks::new(Sgr::Drop))
    }
}

impl Drop for Display {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.close(End::Cancelled);
        }
    }
}

impl Listener for Sender {
    fn event(&self, event: Event) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Behind the end nobody listens any more.
        if let Some(sender) = sender {
            let _ = sender.send(Message::Happened(event));
        }
    }
}

fn run(receiver: &Receiver<Message>, mut view: Box<dyn View>, mut tasks: Tasks) -> Tasks {
    let begun = Instant::now();
    let mut next = TICK;
    let mut end = End::Cancelled;
    loop {
        let wait = next.saturating_sub(begun.elapsed());
        match receiver.recv_timeout(wait) {
            Ok(Message::Happened(event)) => {
                let now = begun.elapsed();
                let lines = tasks.take(&event, now);
                view.event(&event, &lines, &tasks, now);
            }
            Ok(Message::Over(how)) => {
                end = how;
                break;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let now = begun.elapsed();
        if now >= next {
            view.tick(&tasks, now);
            next = now + TICK;
        }
    }
    let now = begun.elapsed();
    tasks.finish();
    view.finish(&tasks, now, end);
    tasks
}

/// A writer that writes in one piece what it holds when it is flushed, and whose failures do not matter.
struct Whole<W> {
    out: W,
    held: Vec<u8>,
}

impl<W> Whole<W> {
    fn new(out: W) -> Self {
        Self { out, held: Vec::new() }
    }
}

impl<W: Write> Write for Whole<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = self.out.write_all(&self.held);
        self.held.clear();
        Ok(())
    }
}

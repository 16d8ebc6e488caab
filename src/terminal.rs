//! Standard output and standard error: the only place that writes to them.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The program's own output channels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    out: Stream,
    err: Stream,
}

/// What is known of an output channel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stream {
    /// Whether people read it.
    pub(crate) kind: StreamKind,
    /// Whether it takes colours.
    pub(crate) colour: Colour,
}

/// What an output channel leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StreamKind {
    /// A terminal.
    Terminal,
    /// A terminal that can only go on to the next line (`TERM=dumb`).
    Dumb,
    /// A file, a pipe, or nothing.
    Other,
}

impl StreamKind {
    /// Whether people read it.
    pub(crate) const fn is_terminal(self) -> bool {
        matches!(self, Self::Terminal | Self::Dumb)
    }
}

/// What a terminal can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ability {
    /// What was written can be written over.
    Moving,
    /// It is a roll of paper.
    Rolling,
}

/// Whether colours are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Colour {
    /// They are.
    On,
    /// They are not.
    Off,
}

/// What the user says about colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ColourChoice {
    /// On terminals.
    Auto,
    /// Always (`CLICOLOR_FORCE`).
    Always,
    /// Never (`NO_COLOR`, `TERM=dumb`).
    Never,
}

impl Terminal {
    /// Looks at the channels.
    pub(crate) fn new(choice: ColourChoice, ability: Ability) -> Self {
        let stream = |terminal: bool| Stream {
            kind: match ability {
                _ if !terminal => StreamKind::Other,
                Ability::Moving => StreamKind::Terminal,
                Ability::Rolling => StreamKind::Dumb,
            },
            colour: match choice {
                ColourChoice::Always => Colour::On,
                ColourChoice::Auto if terminal => Colour::On,
                ColourChoice::Auto | ColourChoice::Never => Colour::Off,
            },
        };
        Self { out: stream(io::stdout().is_terminal()), err: stream(io::stderr().is_terminal()) }
    }

    /// Returns what is known of standard output.
    pub(crate) const fn out(self) -> Stream {
        self.out
    }

    /// Returns what is known of standard error.
    pub(crate) const fn err(self) -> Stream {
        self.err
    }

    /// Writes a result to standard output.
    pub(crate) fn print(self, text: &str) -> io::Result<()> {
        self.write(text.as_bytes())
    }

    /// Writes bytes to standard output.
    pub(crate) fn write(self, bytes: &[u8]) -> io::Result<()> {
        write_out(bytes).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
        })
    }

    /// Writes a remark to standard error. Nobody can be told if that fails.
    pub(crate) fn tell(self, text: &str) {
        let _ = write_err(text.as_bytes());
    }
}

/// What stays below everything that is written, as long as it is there: one line on a terminal.
struct Footer {
    line: String,
    /// How many write to the terminal by themselves, and have it away meanwhile.
    absences: usize,
}

impl Footer {
    fn shown(&self) -> &str {
        if self.absences == 0 { &self.line } else { "" }
    }
}

static FOOTER: Mutex<Footer> = Mutex::new(Footer { line: String::new(), absences: 0 });

/// Goes to the line's beginning, and takes it away.
const WIPE: &[u8] = b"\r\x1b[K";

fn footer() -> MutexGuard<'static, Footer> {
    FOOTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows a line on standard output that stays below everything that is written; an empty one takes it away.
pub(crate) fn set_footer(line: &str) {
    let mut footer = footer();
    if footer.line == line {
        return;
    }
    line.clone_into(&mut footer.line);
    if footer.absences == 0 {
        // Nobody can be told if that fails.
        let _ = put(&mut io::stdout(), &[WIPE, line.as_bytes()]);
    }
}

/// No footer is shown as long as this lives: whoever has it writes to the terminal by itself.
#[derive(Debug)]
pub(crate) struct FooterAway(());

impl FooterAway {
    /// Takes the footer away.
    pub(crate) fn new() -> Self {
        let mut footer = footer();
        if !footer.shown().is_empty() {
            let _ = put(&mut io::stdout(), &[WIPE]);
        }
        footer.absences += 1;
        Self(())
    }
}

impl Drop for FooterAway {
    fn drop(&mut self) {
        let mut footer = footer();
        footer.absences -= 1;
        if !footer.shown().is_empty() {
            let _ = put(&mut io::stdout(), &[footer.shown().as_bytes()]);
        }
    }
}

/// Writes bytes to standard output.
pub(crate) fn write_out(bytes: &[u8]) -> io::Result<()> {
    above_footer(&mut io::stdout(), bytes)
}

/// Writes bytes to standard error.
pub(crate) fn write_err(bytes: &[u8]) -> io::Result<()> {
    above_footer(&mut io::stderr(), bytes)
}

/// Writes with the footer taken away meanwhile.
fn above_footer(stream: &mut dyn Write, bytes: &[u8]) -> io::Result<()> {
    let footer = footer();
    if footer.shown().is_empty() {
        // Whoever waits for a reader keeps nobody else from writing.
        drop(footer);
        return put(stream, &[bytes]);
    }
    put(&mut io::stdout(), &[WIPE])?;
    put(stream, &[bytes])?;
    put(&mut io::stdout(), &[footer.shown().as_bytes()])
}

fn put(stream: &mut dyn Write, pieces: &[&[u8]]) -> io::Result<()> {
    pieces.iter().try_for_each(|piece| stream.write_all(piece))?;
    stream.flush()
}

/// A colour or weight of text.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Paint {
    Red,
    Yellow,
    Blue,
    Cyan,
    Bold,
    Dim,
}

impl Colour {
    /// Returns the text in a colour, or as it is.
    pub(crate) fn paint(self, paint: Paint, text: &str) -> String {
        let code = match paint {
            Paint::Red => "1;31",
            Paint::Yellow => "33",
            Paint::Blue => "34",
            Paint::Cyan => "36",
            Paint::Bold => "1",
            Paint::Dim => "2",
        };
        match self {
            Self::On => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Off => text.to_owned(),
        }
    }
}

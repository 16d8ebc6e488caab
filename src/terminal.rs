//! Standard output and standard error: the only place that writes to them.

use std::io::{self, IsTerminal, Write};

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
        let mut out = io::stdout().lock();
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))
        })
    }

    /// Writes a remark to standard error. Nobody can be told if that fails.
    pub(crate) fn tell(self, text: &str) {
        let _ = io::stderr().lock().write_all(text.as_bytes());
    }
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

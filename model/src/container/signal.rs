//! Signals, as people name them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signal by its number on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signal(i32);

/// Names in the order of their numbers, which are those of x86, ARM, RISC-V, s390x and POWER.
const NAMES: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
    "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ",
    "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];
/// Other names of the same signals.
const ALIASES: [(&str, i32); 4] = [("IOT", 6), ("CLD", 17), ("POLL", 29), ("UNUSED", 31)];
/// The real-time signals that programs may use.
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;

impl Signal {
    /// Ends a process without asking it.
    pub const KILL: Self = Self(9);
    /// Asks a process to end.
    pub const TERM: Self = Self(15);

    /// Returns a signal by its number, if there is one.
    pub fn from_number(number: i32) -> Option<Self> {
        ((1..=31).contains(&number) || REAL_TIME.contains(&number)).then_some(Self(number))
    }

    /// Returns its number.
    pub const fn number(self) -> i32 {
        self.0
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.get(self.0.unsigned_abs() as usize - 1) {
            Some(name) => write!(f, "SIG{name}"),
            None if self.0 == *REAL_TIME.start() => f.write_str("SIGRTMIN"),
            None => write!(f, "SIGRTMIN+{}", self.0 - REAL_TIME.start()),
        }
    }
}

/// The text names no signal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid signal: {0}")]
pub struct ParseSignalError(pub String);

impl FromStr for Signal {
    type Err = ParseSignalError;

    /// Reads `15`, `TERM`, `SIGTERM`, `RTMIN+2`, `RTMAX-1`, in letters of any case.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseSignalError(text.to_owned());
        if let Ok(number) = text.parse() {
            return Self::from_number(number).ok_or_else(wrong);
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let number = if let Some(at) = NAMES.iter().position(|known| *known == name) {
            at as i32 + 1
        } else if let Some((_, number)) = ALIASES.iter().find(|(known, _)| *known == name) {
            *number
        } else if let Some(offset) = name.strip_prefix("RTMIN") {
            let offset = if offset.is_empty() { Some(0) } else { digits(offset, '+') };
            REAL_TIME.start() + offset.ok_or_else(wrong)?
        } else if let Some(offset) = name.strip_prefix("RTMAX") {
            let offset = if offset.is_empty() { Some(0) } else { digits(offset, '-') };
            REAL_TIME.end() - offset.ok_or_else(wrong)?
        } else {
            return Err(wrong());
        };
        Self::from_number(number).ok_or_else(wrong)
    }
}

/// Reads a small number behind a sign.
fn digits(text: &str, sign: char) -> Option<i32> {
    text.strip_prefix(sign)?.parse().ok().filter(|number| (0..=30).contains(number))
}

impl TryFrom<String> for Signal {
    type Error = ParseSignalError;

    fn try_from(text: String) -> Result<Self, ParseSignalError> {
        text.parse()
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

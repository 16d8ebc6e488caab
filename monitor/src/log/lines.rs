//! Cutting output into records: at line ends, and where a line gets too long.

use rbuild_model::hex::Hex;
use rustix::rand::GetRandomFlags;
use serde::{Deserialize, Serialize};

use super::{Partial, Record};

/// The longest record.
pub(crate) const LONGEST: usize = 16 << 10;

/// Where output came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// Standard output, or the terminal.
    Stdout,
    /// The error output.
    Stderr,
}

impl Source {
    /// Its name in logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// Cuts the bytes of one stream into records. Bytes that end no line wait for more, as long as they fit into one.
#[derive(Debug)]
pub(crate) struct Lines {
    source: Source,
    waiting: Vec<u8>,
    /// The line whose pieces were written already: its time, and what its pieces share.
    open: Option<(i64, String, u32)>,
}

impl Lines {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, waiting: Vec::new(), open: None }
    }

    /// Takes bytes that were written at `time`; hands over what is complete.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], time: i64, mut take: impl FnMut(Record)) {
        while !bytes.is_empty() {
            let room = LONGEST - self.waiting.len();
            let window = &bytes[..bytes.len().min(room)];
            match window.iter().position(|byte| *byte == b'\n') {
                Some(end) => {
                    self.waiting.extend_from_slice(&window[..end]);
                    bytes = &bytes[end + 1..];
                    take(self.line(time));
                }
                None => {
                    self.waiting.extend_from_slice(window);
                    bytes = &bytes[window.len()..];
                    if self.waiting.len() == LONGEST {
                        take(self.piece(time));
                    }
                }
            }
        }
        if self.waiting.is_empty() {
            // A long line is no reason to keep its room.
            self.waiting = Vec::new();
        }
    }

    /// The stream is at its end: what waits is the beginning of a line that never ended.
    pub(crate) fn finish(&mut self, time: i64) -> Option<Record> {
        let rest = !self.waiting.is_empty();
        let record = rest.then(|| self.piece(time));
        self.open = None;
        record
    }

    fn line(&mut self, time: i64) -> Record {
        let bytes = std::mem::take(&mut self.waiting);
        match self.open.take() {
            Some((time, id, ordinal)) => {
                let partial = Some(Partial { id, ordinal: ordinal + 1, last: true });
                Record { source: self.source, time, bytes, partial }
            }
            None => Record { source: self.source, time, bytes, partial: None },
        }
    }

    fn piece(&mut self, time: i64) -> Record {
        let bytes = std::mem::take(&mut self.waiting);
        let (time, id, ordinal) = self.open.take().unwrap_or_else(|| (time, fresh_id(), 0));
        let partial = Some(Partial { id: id.clone(), ordinal: ordinal + 1, last: false });
        self.open = Some((time, id, ordinal + 1));
        Record { source: self.source, time, bytes, partial }
    }
}

/// Draws 64 hex digits.
pub(crate) fn fresh_id() -> String {
    let mut bytes = [0_u8; 32];
    let mut filled = 0;
    while filled < bytes.len() {
        // The kernel has randomness whenever it runs programs.
        filled += rustix::rand::getrandom(&mut bytes[filled..], GetRandomFlags::empty()).unwrap_or(0);
    }
    Hex(&bytes).to_string()
}

//! Lines, put together from what logs and streams hand over.

use rbuild_monitor::log::{Entry, Source};

/// A line that nobody ends is handed over in pieces of this size.
const LONGEST: usize = 1 << 20;

/// A line of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// When its beginning was written, in nanoseconds since 1970.
    pub(crate) time: i64,
    /// Which stream it was written to.
    pub(crate) source: Source,
    /// What was written, without the line's end.
    pub(crate) bytes: Vec<u8>,
}

/// The lines of one container that are not complete yet, one a stream at most.
#[derive(Debug, Default)]
pub(crate) struct Unfinished {
    lines: [Option<Line>; 2],
}

impl Unfinished {
    /// Takes a piece of a log; returns the line that it ends.
    pub(crate) fn take_entry(&mut self, entry: Entry) -> Option<Line> {
        let Entry { source, time, mut bytes, .. } = entry;
        let ended = bytes.last() == Some(&b'\n');
        if ended {
            bytes.pop();
        }
        let slot = &mut self.lines[source as usize];
        let line = match slot.take() {
            Some(mut line) => {
                line.bytes.extend_from_slice(&bytes);
                line
            }
            None => Line { time, source, bytes },
        };
        if ended || line.bytes.len() >= LONGEST {
            return Some(line);
        }
        *slot = Some(line);
        None
    }

    /// Takes bytes as they were written; hands over the lines that they end.
    pub(crate) fn take_bytes(&mut self, source: Source, time: i64, bytes: &[u8], mut give: impl FnMut(Line)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let entry =
                Entry { source, time, bytes: piece.to_vec(), attributes: Vec::new(), begins_line: false };
            if let Some(line) = self.take_entry(entry) {
                give(line);
            }
        }
    }

    /// Hands over what will not be ended any more.
    pub(crate) fn finish(&mut self) -> impl Iterator<Item = Line> {
        let mut rest: Vec<Line> = self.lines.iter_mut().filter_map(Option::take).collect();
        rest.sort_by_key(|line| line.time);
        rest.into_iter()
    }
}

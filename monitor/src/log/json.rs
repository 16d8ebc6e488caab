//! Docker's lines of JSON: `{"log":"text\n","stream":"stdout","attrs":{...},"time":"..."}`.
//!
//! Bytes that are no UTF-8 become U+FFFD, and so do those of a character that was cut by the bound of a record: so
//! it is with Docker.

use jiff::Timestamp;

use super::lines::Source;
use super::options::Extra;
use super::{Context, Record};

/// What every line ends with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tail {
    /// `,"attrs":{...}` or nothing.
    attributes: Vec<u8>,
    /// The last time that was written, in both forms: what is read at once is of one time.
    time: Option<(i64, String)>,
}

impl Tail {
    pub(super) fn new(extra: &Extra, context: &Context<'_>) -> Self {
        let found = extra.resolve(context);
        if found.is_empty() {
            return Self::default();
        }
        let mut attributes = b",\"attrs\":{".to_vec();
        for (at, (key, value)) in found.iter().enumerate() {
            if at > 0 {
                attributes.push(b',');
            }
            string(key.as_bytes(), &mut attributes);
            attributes.push(b':');
            string(value.as_bytes(), &mut attributes);
        }
        attributes.push(b'}');
        Self { attributes, time: None }
    }

    fn time(&mut self, nanos: i64) -> &str {
        if self.time.as_ref().is_none_or(|(known, _)| *known != nanos) {
            self.time = Some((nanos, time_text(nanos)));
        }
        self.time.as_ref().map_or("", |(_, text)| text)
    }
}

/// Appends the line of a record.
pub(super) fn encode(record: &Record, tail: &mut Tail, line: &mut Vec<u8>) {
    line.extend_from_slice(b"{\"log\":\"");
    escape(&record.bytes, line);
    if record.ends_line() {
        line.extend_from_slice(b"\\n");
    }
    line.extend_from_slice(b"\",\"stream\":\"");
    line.extend_from_slice(record.source.word().as_bytes());
    line.push(b'"');
    line.extend_from_slice(&tail.attributes);
    line.extend_from_slice(b",\"time\":\"");
    line.extend_from_slice(tail.time(record.time).as_bytes());
    line.extend_from_slice(b"\"}\n");
}

/// The RFC 3339 form with as many digits as it takes.
pub(crate) fn time_text(nanos: i64) -> String {
    Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn string(bytes: &[u8], into: &mut Vec<u8>) {
    into.push(b'"');
    escape(bytes, into);
    into.push(b'"');
}

fn escape(bytes: &[u8], into: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        escape_text(chunk.valid().as_bytes(), into);
        // One for each byte.
        for _ in chunk.invalid() {
            into.extend_from_slice(b"\\ufffd");
        }
    }
}

/// Appends text; what needs no escape is copied in one piece.
fn escape_text(text: &[u8], into: &mut Vec<u8>) {
    let (mut copied, mut at) = (0, 0);
    while let Some(byte) = text.get(at) {
        let Escape { text: usual, length } = &ESCAPES[usize::from(*byte)];
        if *length == 0 {
            at += 1;
            continue;
        }
        let (escape, taken) = match text[at..] {
            // Which end lines in JavaScript.
            [SEPARATOR, 0x80, 0xa8, ..] => (&b"\\u2028"[..], 3),
            [SEPARATOR, 0x80, 0xa9, ..] => (&b"\\u2029"[..], 3),
            _ => (&usual[..*length], 1),
        };
        into.extend_from_slice(&text[copied..at]);
        into.extend_from_slice(escape);
        at += taken;
        copied = at;
    }
    into.extend_from_slice(&text[copied..]);
}

/// What stands for a byte; nothing for the byte itself.
#[derive(Clone, Copy)]
struct Escape {
    text: [u8; 6],
    length: usize,
}

/// The first byte of U+2028 and U+2029, among others.
const SEPARATOR: u8 = 0xe2;

static ESCAPES: [Escape; 256] = {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut escapes = [Escape { text: [0; 6], length: 0 }; 256];
    let mut byte = 0;
    while byte < escapes.len() {
        let (high, low) = (HEX[byte >> 4], HEX[byte & 0xf]);
        escapes[byte] = match byte as u8 {
            short @ (b'"' | b'\\') => Escape { text: [b'\\', short, 0, 0, 0, 0], length: 2 },
            b'\n' => Escape { text: *b"\\n\0\0\0\0", length: 2 },
            b'\r' => Escape { text: *b"\\r\0\0\0\0", length: 2 },
            0..=0x1f | b'<' | b'>' | b'&' => Escape { text: [b'\\', b'u', b'0', b'0', high, low], length: 6 },
            SEPARATOR => Escape { text: [SEPARATOR, 0, 0, 0, 0, 0], length: 1 },
            _ => escapes[byte],
        };
        byte += 1;
    }
    escapes
};

/// A line that was read back.
#[derive(Debug, serde::Deserialize)]
struct Line {
    #[serde(default)]
    log: String,
    stream: Source,
    #[serde(default)]
    attrs: std::collections::BTreeMap<String, String>,
    time: Timestamp,
}

/// Reads a line; `None` if it is none.
pub(super) fn decode(line: &[u8]) -> Option<super::read::Piece> {
    let Line { log, stream, attrs, time } = serde_json::from_slice(line).ok()?;
    let ended = log.ends_with('\n');
    let time = i64::try_from(time.as_nanosecond()).ok()?;
    let attributes = attrs.into_iter().collect();
    Some(super::read::Piece { source: stream, time, bytes: log.into_bytes(), ended, attributes })
}

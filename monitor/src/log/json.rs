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
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| may_need_escape(*byte)) {
        into.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        let mut length = 1;
        match byte {
            b'"' => into.extend_from_slice(b"\\\""),
            b'\\' => into.extend_from_slice(b"\\\\"),
            b'\n' => into.extend_from_slice(b"\\n"),
            b'\r' => into.extend_from_slice(b"\\r"),
            SEPARATOR => match rest[at..] {
                // U+2028 and U+2029, which end lines in JavaScript.
                [_, 0x80, last @ (0xa8 | 0xa9), ..] => {
                    into.extend_from_slice(b"\\u202");
                    into.push(HEX[usize::from(last & 0xf)]);
                    length = 3;
                }
                _ => into.push(byte),
            },
            _ => {
                into.extend_from_slice(b"\\u00");
                into.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 0xf)]]);
            }
        }
        rest = &rest[at + length..];
    }
    into.extend_from_slice(rest);
}

/// The first byte of the line separators of Unicode, among others.
const SEPARATOR: u8 = 0xe2;

fn may_need_escape(byte: u8) -> bool {
    matches!(byte, 0..=0x1f | b'"' | b'\\' | b'<' | b'>' | b'&' | SEPARATOR)
}

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

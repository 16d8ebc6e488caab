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
    attributes: String,
}

impl Tail {
    pub(super) fn new(extra: &Extra, context: &Context<'_>) -> Self {
        let found = extra.resolve(context);
        if found.is_empty() {
            return Self::default();
        }
        let mut attributes = ",\"attrs\":{".to_owned();
        for (at, (key, value)) in found.iter().enumerate() {
            if at > 0 {
                attributes.push(',');
            }
            string(key.as_bytes(), &mut attributes);
            attributes.push(':');
            string(value.as_bytes(), &mut attributes);
        }
        attributes.push('}');
        Self { attributes }
    }
}

/// Makes the line of a record.
pub(super) fn encode(record: &Record, tail: &Tail) -> Vec<u8> {
    let mut line = String::with_capacity(record.bytes.len() + 96 + tail.attributes.len());
    line.push_str("{\"log\":\"");
    escape(&record.bytes, &mut line);
    if record.ends_line() {
        line.push_str("\\n");
    }
    line.push_str("\",\"stream\":\"");
    line.push_str(record.source.word());
    line.push('"');
    line.push_str(&tail.attributes);
    line.push_str(",\"time\":\"");
    line.push_str(&time_text(record.time));
    line.push_str("\"}\n");
    line.into_bytes()
}

/// The RFC 3339 form with as many digits as it takes.
pub(crate) fn time_text(nanos: i64) -> String {
    Timestamp::from_nanosecond(nanos.into()).unwrap_or(Timestamp::UNIX_EPOCH).to_string()
}

fn string(bytes: &[u8], into: &mut String) {
    into.push('"');
    escape(bytes, into);
    into.push('"');
}

fn escape(bytes: &[u8], into: &mut String) {
    use std::fmt::Write as _;
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '"' => into.push_str("\\\""),
                '\\' => into.push_str("\\\\"),
                '\n' => into.push_str("\\n"),
                '\r' => into.push_str("\\r"),
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                    write!(into, "\\u{:04x}", letter as u32).expect("writing to a string");
                }
                letter => into.push(letter),
            }
        }
        // One for each byte.
        for _ in chunk.invalid() {
            into.push_str("\\ufffd");
        }
    }
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

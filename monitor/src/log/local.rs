//! Docker's compact records: a protocol buffer between two lengths, so that a file can be read from either end.
//!
//! ```text
//! length (4 bytes, big endian) | source = 1, time = 2, line = 3, partial = 4, {last = 1, id = 2, ordinal = 3} = 5 | length
//! ```

use super::lines::Source;
use super::read::Piece;
use super::{Partial, Record};

/// No record is longer, with its length fields.
pub(super) const LONGEST: usize = 1 << 20;

/// Appends the frame of a record.
pub(super) fn encode(record: &Record, into: &mut Vec<u8>) {
    let mut body = Vec::with_capacity(record.bytes.len() + 32);
    field(1, record.source.word().as_bytes(), &mut body);
    body.push(2 << 3);
    varint(record.time as u64, &mut body);
    if !record.bytes.is_empty() {
        field(3, &record.bytes, &mut body);
    }
    if let Some(Partial { id, ordinal, last }) = &record.partial {
        body.extend_from_slice(&[4 << 3, 1]);
        let mut inner = Vec::new();
        if *last {
            inner.extend_from_slice(&[1 << 3, 1]);
        }
        field(2, id.as_bytes(), &mut inner);
        inner.push(3 << 3);
        varint((*ordinal).into(), &mut inner);
        field(5, &inner, &mut body);
    }
    let length = (body.len() as u32).to_be_bytes();
    into.extend_from_slice(&length);
    into.extend_from_slice(&body);
    into.extend_from_slice(&length);
}

fn field(number: u8, bytes: &[u8], into: &mut Vec<u8>) {
    into.push(number << 3 | 2);
    varint(bytes.len() as u64, into);
    into.extend_from_slice(bytes);
}

fn varint(mut value: u64, into: &mut Vec<u8>) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// Reads the record between the two lengths; `None` if it is none.
pub(super) fn decode(body: &[u8]) -> Option<Piece> {
    let mut piece =
        Piece { source: Source::Stdout, time: 0, bytes: Vec::new(), ended: true, attributes: Vec::new() };
    let (mut partial, mut last) = (false, false);
    for (number, value) in fields(body)? {
        match (number, value) {
            (1, Value::Bytes(b"stdout")) => piece.source = Source::Stdout,
            (1, Value::Bytes(b"stderr")) => piece.source = Source::Stderr,
            (1, _) => return None,
            (2, Value::Number(time)) => piece.time = time as i64,
            (3, Value::Bytes(bytes)) => piece.bytes = bytes.to_vec(),
            (4, Value::Number(number)) => partial = number != 0,
            (5, Value::Bytes(inner)) => {
                last = fields(inner)?
                    .into_iter()
                    .any(|(number, value)| number == 1 && value == Value::Number(1));
            }
            _ => {}
        }
    }
    piece.ended = !partial || last;
    if piece.ended {
        piece.bytes.push(b'\n');
    }
    Some(piece)
}

#[derive(Debug, PartialEq, Eq)]
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn fields(mut bytes: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let key = take_varint(&mut bytes)?;
        let value = match key & 7 {
            0 => Value::Number(take_varint(&mut bytes)?),
            2 => {
                let length = usize::try_from(take_varint(&mut bytes)?).ok()?;
                let (value, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Value::Bytes(value)
            }
            _ => return None,
        };
        found.push((key >> 3, value));
    }
    Some(found)
}

fn take_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

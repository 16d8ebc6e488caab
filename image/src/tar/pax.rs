//! PAX records: `LENGTH KEY=VALUE\n`, and what they say about the entry that follows.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::error::EntryProblem;
use super::number::decimal;
use super::{Limits, Timestamp, Xattr};

const SCHILY_XATTR: &[u8] = b"SCHILY.xattr.";
const LIBARCHIVE_XATTR: &[u8] = b"LIBARCHIVE.xattr.";

/// Base 64 with or without padding, as programs write either.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// What a block of PAX records says about its entry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Extension {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(super) sparse: SparseRecords,
}

/// What PAX records say about a sparse file, in the three forms of GNU tar.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct SparseRecords {
    pub(super) major: Option<u64>,
    pub(super) minor: Option<u64>,
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) realsize: Option<u64>,
    pub(super) map: Option<Vec<(u64, u64)>>,
    /// Form 0.0: offsets and lengths in turn.
    pub(super) pairs: Vec<(u64, u64)>,
    pending_offset: Option<u64>,
    numblocks: Option<u64>,
}

/// Splits a block into keys and values.
pub(super) fn records(mut block: &[u8]) -> impl Iterator<Item = Result<(&[u8], &[u8]), EntryProblem>> {
    std::iter::from_fn(move || {
        if block.is_empty() {
            return None;
        }
        let Some((key, value, rest)) = record(block) else {
            block = &[];
            return Some(Err(EntryProblem::PaxRecord));
        };
        block = rest;
        Some(Ok((key, value)))
    })
}

fn record(block: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = block.iter().take(21).position(|&byte| byte == b' ')?;
    let length = usize::try_from(decimal(&block[..space])?).ok()?;
    if length > block.len() || length < space + 2 {
        return None;
    }
    let (record, rest) = block.split_at(length);
    let text = record[space + 1..].strip_suffix(b"\n")?;
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let key = &text[..equals];
    if key.is_empty() || key.contains(&0) {
        return None;
    }
    Some((key, &text[equals + 1..], rest))
}

impl Extension {
    /// Reads the records of one entry.
    pub(super) fn parse(block: &[u8], limits: &Limits) -> Result<Self, EntryProblem> {
        let mut extension = Self::default();
        let mut xattr_bytes = 0;
        for record in records(block) {
            let (key, value) = record?;
            if let Some(name) = key.strip_prefix(SCHILY_XATTR) {
                charge(&mut xattr_bytes, name, value, limits)?;
                extension.xattrs.insert(name.to_vec(), value.to_vec());
            } else if let Some(name) = key.strip_prefix(LIBARCHIVE_XATTR) {
                let name = percent_decoded(name).ok_or(EntryProblem::Xattr)?;
                let value = BASE64.decode(value).map_err(|_| EntryProblem::Xattr)?;
                charge(&mut xattr_bytes, &name, &value, limits)?;
                // Programs that write both forms write one value twice.
                extension.xattrs.entry(name).or_insert(value);
            } else {
                extension.take(key, value, limits)?;
            }
        }
        if extension.sparse.pending_offset.is_some() {
            return Err(EntryProblem::SparseMap);
        }
        Ok(extension)
    }

    fn take(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), EntryProblem> {
        match key {
            b"path" => once(&mut self.path, key, text(key, value)?),
            b"linkpath" => once(&mut self.linkpath, key, text(key, value)?),
            b"size" => once(&mut self.size, key, number(key, value)?),
            b"uid" => once(&mut self.uid, key, number(key, value)?),
            b"gid" => once(&mut self.gid, key, number(key, value)?),
            b"mtime" => once(&mut self.mtime, key, time(value).ok_or(EntryProblem::Number("mtime"))?),
            _ => match key.strip_prefix(b"GNU.sparse.") {
                Some(rest) => self.sparse.take(rest, value, limits),
                None => Ok(()),
            },
        }
    }

    /// Returns the extended attributes, ordered by name.
    pub(super) fn take_xattrs(&mut self) -> Vec<Xattr> {
        std::mem::take(&mut self.xattrs).into_iter().map(|(name, value)| Xattr { name, value }).collect()
    }
}

impl SparseRecords {
    /// Returns whether the records make their entry a sparse file.
    pub(super) fn is_sparse(&self) -> bool {
        *self != Self::default()
    }

    fn take(&mut self, key: &[u8], value: &[u8], limits: &Limits) -> Result<(), EntryProblem> {
        match key {
            b"major" => once(&mut self.major, key, number(key, value)?),
            b"minor" => once(&mut self.minor, key, number(key, value)?),
            b"name" => once(&mut self.name, key, text(key, value)?),
            b"size" => once(&mut self.size, key, number(key, value)?),
            b"realsize" => once(&mut self.realsize, key, number(key, value)?),
            b"numblocks" => once(&mut self.numblocks, key, number(key, value)?),
            b"map" => {
                let mut map = Vec::new();
                let mut numbers = value.split(|&byte| byte == b',').map(decimal);
                while let Some(offset) = numbers.next() {
                    // An empty map is one empty text.
                    if value.is_empty() {
                        break;
                    }
                    let length = numbers.next().flatten().ok_or(EntryProblem::SparseMap)?;
                    push(&mut map, offset.ok_or(EntryProblem::SparseMap)?, length, limits)?;
                }
                once(&mut self.map, key, map)
            }
            b"offset" => once(&mut self.pending_offset, key, number(key, value)?),
            b"numbytes" => {
                let offset = self.pending_offset.take().ok_or(EntryProblem::SparseMap)?;
                push(&mut self.pairs, offset, number(key, value)?, limits)
            }
            _ => Err(EntryProblem::SparseMap),
        }
    }
}

fn push(map: &mut Vec<(u64, u64)>, offset: u64, length: u64, limits: &Limits) -> Result<(), EntryProblem> {
    if map.len() >= limits.sparse_regions {
        return Err(EntryProblem::SparseMap);
    }
    map.push((offset, length));
    Ok(())
}

fn once<T>(place: &mut Option<T>, key: &[u8], value: T) -> Result<(), EntryProblem> {
    if place.replace(value).is_some() { Err(bad_key(key)) } else { Ok(()) }
}

fn bad_key(key: &[u8]) -> EntryProblem {
    EntryProblem::PaxKey(key.escape_ascii().to_string())
}

fn text(key: &[u8], value: &[u8]) -> Result<Vec<u8>, EntryProblem> {
    if value.is_empty() || value.contains(&0) { Err(bad_key(key)) } else { Ok(value.to_vec()) }
}

fn number(key: &[u8], value: &[u8]) -> Result<u64, EntryProblem> {
    decimal(value).ok_or_else(|| bad_key(key))
}

fn charge(total: &mut usize, name: &[u8], value: &[u8], limits: &Limits) -> Result<(), EntryProblem> {
    *total += name.len() + value.len();
    let name_fits = !name.is_empty() && name.len() <= 255 && !name.contains(&0);
    if name_fits && value.len() <= limits.xattr_value_bytes && *total <= limits.xattrs_bytes {
        Ok(())
    } else {
        Err(EntryProblem::Xattr)
    }
}

/// Reads seconds with an optional fraction; digits beyond the ninth are cut, seconds beyond 64 bits clamped.
pub(super) fn time(value: &[u8]) -> Option<Timestamp> {
    let (negative, value) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let (whole, fraction) = match value.iter().position(|&byte| byte == b'.') {
        Some(dot) => (&value[..dot], &value[dot + 1..]),
        None => (value, &b""[..]),
    };
    let digits = |text: &[u8]| text.iter().all(u8::is_ascii_digit);
    if whole.is_empty() || !digits(whole) || !digits(fraction) || value.len() > 64 {
        return None;
    }
    let seconds = whole
        .iter()
        .fold(0_i64, |sum, &digit| sum.saturating_mul(10).saturating_add(i64::from(digit - b'0')));
    let nanoseconds = (0..9)
        .fold(0_u32, |sum, place| sum * 10 + fraction.get(place).map_or(0, |&digit| u32::from(digit - b'0')));
    Some(match (negative, nanoseconds) {
        (false, _) => Timestamp { seconds, nanoseconds },
        (true, 0) => Timestamp { seconds: -seconds, nanoseconds: 0 },
        (true, _) => {
            Timestamp { seconds: (-seconds).saturating_sub(1), nanoseconds: 1_000_000_000 - nanoseconds }
        }
    })
}

fn percent_decoded(name: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(name.len());
    let mut rest = name.iter();
    while let Some(&byte) = rest.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(*rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        decoded.push((high * 16 + low) as u8);
    }
    Some(decoded)
}

/// Writes one record, whose length counts itself.
pub(super) fn write_record(block: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let fixed = key.len() + value.len() + 3;
    let mut length = fixed + 1;
    while length != fixed + length.to_string().len() {
        length = fixed + length.to_string().len();
    }
    block.extend_from_slice(length.to_string().as_bytes());
    block.push(b' ');
    block.extend_from_slice(key);
    block.push(b'=');
    block.extend_from_slice(value);
    block.push(b'\n');
}

/// Writes the record of an extended attribute.
///
/// A name with `=` cannot be a key of the plain form, so it takes libarchive's, which encodes names and values.
pub(super) fn write_xattr(block: &mut Vec<u8>, xattr: &Xattr) {
    if xattr.name.contains(&b'=') {
        let mut key = LIBARCHIVE_XATTR.to_vec();
        for &byte in &xattr.name {
            if byte.is_ascii_graphic() && !matches!(byte, b'%' | b'=') {
                key.push(byte);
            } else {
                key.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
        write_record(block, &key, BASE64.encode(&xattr.value).as_bytes());
    } else {
        write_record(block, &[SCHILY_XATTR, &xattr.name].concat(), &xattr.value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_keep_fractions_and_never_overflow() {
        let at = |seconds, nanoseconds| Some(Timestamp { seconds, nanoseconds });
        for (text, wanted) in [
            ("0", at(0, 0)),
            ("12.5", at(12, 500_000_000)),
            ("12.1234567899", at(12, 123_456_789)),
            ("-1", at(-1, 0)),
            ("-1.25", at(-2, 750_000_000)),
            ("-0.5", at(-1, 500_000_000)),
            ("9223372036854775808", at(i64::MAX, 0)),
            ("-99999999999999999999.9", at(i64::MIN, 100_000_000)),
            ("1e9", None),
            ("", None),
            (".5", None),
            ("--1", None),
            ("+1", None),
        ] {
            assert_eq!(time(text.as_bytes()), wanted, "{text}");
        }
    }

    #[test]
    fn lying_records_are_refused() {
        for block in [
            &b"99 path=abc\n"[..],
            b"12 path=ab\n",
            b"8 path=a",
            b"6 path\n",
            b"5 =a\n",
            b"1\n",
            b"0 =\n",
            b" 9 path=a\n",
            b"+9 path=a\n",
            b"99999999999999999999999 path=a\n",
            b"\0\0\0",
        ] {
            let refused = Extension::parse(block, &Limits::default());
            assert_eq!(refused, Err(EntryProblem::PaxRecord), "{}", block.escape_ascii());
        }
        assert_eq!(
            Extension::parse(b"9 path=a\n", &Limits::default()).unwrap().path,
            Some(b"a".to_vec()),
            "a right record is read"
        );
    }

    #[test]
    fn records_that_decide_are_neither_doubled_nor_empty() {
        for block in [
            &b"9 path=a\n9 path=b\n"[..],
            b"8 path=\n",
            b"11 path=a\0\n",
            b"9 size=1\n9 size=1\n",
            b"11 size=-1\n",
        ] {
            let problem = Extension::parse(block, &Limits::default()).unwrap_err();
            assert!(matches!(problem, EntryProblem::PaxKey(_)), "{problem:?}");
        }
    }

    #[test]
    fn attributes_of_both_forms_are_read() {
        let mut block = Vec::new();
        write_record(&mut block, b"LIBARCHIVE.xattr.user.a%20b", b"aGk=");
        write_record(&mut block, b"SCHILY.xattr.user.c", b"\0=\n");
        let mut extension = Extension::parse(&block, &Limits::default()).unwrap();
        assert_eq!(
            extension.take_xattrs(),
            [
                Xattr { name: b"user.a b".to_vec(), value: b"hi".to_vec() },
                Xattr { name: b"user.c".to_vec(), value: b"\0=\n".to_vec() }
            ]
        );
        let tight = Limits { xattrs_bytes: 8, ..Limits::default() };
        assert_eq!(Extension::parse(&block, &tight), Err(EntryProblem::Xattr));
        let tight = Limits { xattr_value_bytes: 2, ..Limits::default() };
        assert_eq!(Extension::parse(&block, &tight), Err(EntryProblem::Xattr));
    }

    proptest! {
        #[test]
        fn written_records_are_read_back(pairs in prop::collection::vec(("[a-z.]{1,120}", prop::collection::vec(any::<u8>(), 0..1200)), 0..6)) {
            let mut block = Vec::new();
            for (key, value) in &pairs {
                write_record(&mut block, key.as_bytes(), value);
            }
            let read: Vec<_> = records(&block).map(|record| record.unwrap()).collect();
            prop_assert_eq!(read.len(), pairs.len());
            for ((key, value), (read_key, read_value)) in pairs.iter().zip(read) {
                prop_assert_eq!(key.as_bytes(), read_key);
                prop_assert_eq!(&value[..], read_value);
            }
        }

        #[test]
        fn attributes_survive(name in prop::collection::vec(1..=255_u8, 1..40), value in prop::collection::vec(any::<u8>(), 0..200)) {
            let xattr = Xattr { name, value };
            let mut block = Vec::new();
            write_xattr(&mut block, &xattr);
            prop_assert_eq!(Extension::parse(&block, &Limits::default()).unwrap().take_xattrs(), [xattr]);
        }

        #[test]
        fn no_block_makes_the_parser_panic(block in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Extension::parse(&block, &Limits::default());
        }
    }
}

//! gzip, one member after the other, or many at a time where they are small.
//!
//! What this program packs is a sequence of members of at most [`GZIP_CHUNK`] bytes, which are decoded by several threads.
//! A member does not say how long it is, so the beginnings of members are looked for, which are nine of the same ten bytes
//! in the whole stream. What looks like a beginning may be content: then what stands before it is no whole member, and from
//! there on all is decoded in order, as every other stream is.
//!
//! libdeflate reads a member whole or not at all and checks its sum and length; it does not tell where the member ended.
//! Bytes between two members that repeat the end of the first one are therefore not noticed. What comes out is the same.

use std::io::{self, BufRead, Read};

use memchr::memmem;

use super::input::Input;
use super::many::{Form, Look, Many, Worker};
use super::{DecodeError, GZIP_CHUNK};

/// The length of a member's head without a name.
const HEAD: usize = 10;
/// What all heads of libdeflate begin with: no flags, no time.
const START: [u8; 8] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0];
/// What they end with: an unknown system.
const END: u8 = 0xff;
/// The length of its sum and length.
const TAIL: usize = 8;
/// No member of a chunk is longer: what cannot be compressed grows by less.
const MAX_MEMBER: usize = GZIP_CHUNK + GZIP_CHUNK / 8;

/// Reads the members of a stream and refuses anything else behind them.
pub(super) struct Gzip<'a> {
    state: State<'a>,
    limit: u64,
}

enum State<'a> {
    Fresh(Input<'a>),
    InOrder(Box<InOrder<'a>>),
    Many(Box<Many<'a>>),
    /// Only while one state becomes another, and after an error.
    Gone,
}

impl<'a> Gzip<'a> {
    pub(super) const fn new(input: Input<'a>, limit: u64) -> Self {
        Self { state: State::Fresh(input), limit }
    }

    /// Reads the first bytes and decides how to go on.
    fn begin(&self, mut input: Input<'a>) -> io::Result<State<'a>> {
        let mut start = Vec::with_capacity(HEAD);
        (&mut input).take(HEAD as u64).read_to_end(&mut start)?;
        let is_ours = is_head(&start) == Some(true);
        input.give_back(start);
        Ok(if is_ours {
            State::Many(Box::new(Many::new(Heads::default(), input, self.limit)))
        } else {
            State::InOrder(Box::new(InOrder::new(input, 1, self.limit)))
        })
    }
}

impl Read for Gzip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.state {
                State::InOrder(members) => return members.read(buffer),
                State::Many(many) => {
                    if let Some(count) = many.read(buffer)? {
                        return Ok(count);
                    }
                    if let State::Many(many) = std::mem::replace(&mut self.state, State::Gone) {
                        let (input, members) = many.into_rest();
                        self.state = State::InOrder(Box::new(InOrder::new(input, members + 1, self.limit)));
                    }
                }
                State::Fresh(_) => {
                    if let State::Fresh(input) = std::mem::replace(&mut self.state, State::Gone) {
                        self.state = self.begin(input)?;
                    }
                }
                State::Gone => return Err(io::Error::other("it could not be read before")),
            }
        }
    }
}

/// Decodes one member after the other.
struct InOrder<'a> {
    member: Option<flate2::bufread::GzDecoder<Input<'a>>>,
    members: u64,
    limit: u64,
}

impl<'a> InOrder<'a> {
    fn new(input: Input<'a>, members: u64, limit: u64) -> Self {
        Self { member: Some(flate2::bufread::GzDecoder::new(input)), members, limit }
    }
}

impl Read for InOrder<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let count = member.read(buffer)?;
            if count > 0 {
                return Ok(count);
            }
            let Some(ended) = self.member.take() else { break };
            let mut input = ended.into_inner();
            match input.fill_buf()? {
                [] => break,
                [0x1f, ..] => {}
                _ => return Err(DecodeError::Trailing.into()),
            }
            self.members += 1;
            if self.members > self.limit {
                return Err(DecodeError::TooManyMembers(self.limit).into());
            }
            self.member = Some(flate2::bufread::GzDecoder::new(input));
        }
        Ok(0)
    }
}

/// Finds members by the heads of those behind them.
struct Heads {
    /// Up to where no further beginning is.
    looked: usize,
}

impl Default for Heads {
    fn default() -> Self {
        Self { looked: 1 }
    }
}

impl Heads {
    fn next(&mut self, read: &[u8]) -> Option<usize> {
        while let Some(found) = memmem::find(read.get(self.looked..)?, &START) {
            self.looked += found;
            match is_head(&read[self.looked..]) {
                Some(true) => return Some(self.looked),
                Some(false) => self.looked += 1,
                None => return None,
            }
        }
        // The beginning of one may be what was read last.
        self.looked = self.looked.max(read.len().saturating_sub(HEAD - 1));
        None
    }
}

impl Form for Heads {
    fn look(&mut self, read: &[u8], is_end: bool) -> Look {
        let length = match self.next(read) {
            Some(next) => next,
            None if read.len() > MAX_MEMBER || is_end && read.is_empty() => return Look::Never,
            None if is_end => read.len(),
            None => return Look::More,
        };
        *self = Self::default();
        Look::Part { length, most: GZIP_CHUNK }
    }

    fn worker(&self) -> Worker {
        let mut decompressor = libdeflater::Decompressor::new();
        Box::new(move |packed, decoded| decode(&mut decompressor, packed, decoded))
    }
}

/// Whether bytes begin with a head of libdeflate's, whatever effort that tells of; nothing if they are too few to know.
fn is_head(bytes: &[u8]) -> Option<bool> {
    let head = bytes.first_chunk::<HEAD>()?;
    Some(head.starts_with(&START) && head[HEAD - 1] == END)
}

/// Decodes a whole member of a chunk; nothing if it is something else.
fn decode(decompressor: &mut libdeflater::Decompressor, packed: &[u8], decoded: &mut Vec<u8>) -> Option<()> {
    if packed.len() < HEAD + TAIL {
        return None;
    }
    let size = packed.last_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
    let size = usize::try_from(size).ok().filter(|size| *size <= GZIP_CHUNK)?;
    decoded.resize(size, 0);
    let length = decompressor.gzip_decompress(packed, decoded).ok()?;
    (length == size).then_some(())
}

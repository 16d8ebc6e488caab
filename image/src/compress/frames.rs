//! zstd, one frame after the other, or many at a time where there are many.
//!
//! The first frame is decoded in order, as most streams have no other; only what stands behind it is decoded by several
//! threads. A frame says how long it is block by block (RFC 8878, section 3.1.1), and so does what its blocks can come to at
//! most, whatever size its head claims. Frames that need a dictionary, a larger window than is allowed, or more memory than
//! one may have here end that, as all else that is no frame: from there on everything is decoded in order, and refused there
//! if it has to be.

use std::io::{self, BufRead, Read};

use super::input::Input;
use super::many::{Form, LARGE, Look, Many, SMALL, Worker};

/// What a frame begins with.
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// What a frame that holds something else begins with, behind a first byte of which half is free.
const SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// The length of a skippable frame's head.
const SKIPPABLE_HEAD: usize = 8;
/// The length of a block's head.
const BLOCK_HEAD: usize = 3;
/// No block comes to more.
const MAX_BLOCK: u64 = 128 << 10;

type InOrder<'a> = zstd::stream::read::Decoder<'static, Input<'a>>;

/// Reads the frames of a stream and refuses anything else behind them.
pub(super) struct Zstd<'a> {
    state: State<'a>,
    window_log: u32,
}

enum State<'a> {
    First(InOrder<'a>),
    Many(Box<Many<'a>>),
    Rest(InOrder<'a>),
    /// Only while one state becomes another, and after an error.
    Gone,
}

impl<'a> Zstd<'a> {
    /// Decodes with windows of no more than a power of two.
    pub(super) fn new(input: Input<'a>, window_log: u32) -> io::Result<Self> {
        let first = in_order(input, window_log)?.single_frame();
        Ok(Self { state: State::First(first), window_log })
    }
}

fn in_order(input: Input<'_>, window_log: u32) -> io::Result<InOrder<'_>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(input)?;
    decoder.window_log_max(window_log)?;
    Ok(decoder)
}

impl Read for Zstd<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.state {
                State::First(frame) => {
                    let count = frame.read(buffer)?;
                    if count > 0 || frame.get_mut().fill_buf()?.is_empty() {
                        return Ok(count);
                    }
                }
                State::Many(many) => {
                    if let Some(count) = many.read(buffer)? {
                        return Ok(count);
                    }
                }
                State::Rest(frames) => return frames.read(buffer),
                State::Gone => return Err(io::Error::other("it could not be read before")),
            }
            self.state = match std::mem::replace(&mut self.state, State::Gone) {
                State::First(frame) => {
                    let frames = Frames::new(1 << self.window_log);
                    State::Many(Box::new(Many::new(frames, frame.into_inner(), u64::MAX)))
                }
                State::Many(many) => State::Rest(in_order(many.into_rest().0, self.window_log)?),
                other => other,
            };
        }
    }
}

/// Follows frames from head to head: a part is as many of them as weigh little, or a large one.
#[derive(Default)]
struct Frames {
    /// The largest window.
    window: u64,
    /// Where the next head is, of a frame or of a block; it may not be read yet.
    at: usize,
    /// Where the last whole frame ended.
    whole: usize,
    /// What comes out of the whole frames at most.
    most: u64,
    /// The frame that is not whole.
    frame: Option<Frame>,
}

/// A frame on the way.
struct Frame {
    /// What it says to hold.
    content: Option<u64>,
    /// What comes out of its blocks at most.
    most: u64,
    /// What comes out of one of them at most.
    block: u64,
    /// The length of the sum behind the last block.
    sum: usize,
    /// Whether its last block was seen.
    is_over: bool,
}

impl Frame {
    fn most(&self) -> u64 {
        self.content.map_or(self.most, |content| content.min(self.most))
    }
}

/// What became of a step; that more has to be read is none.
enum Step {
    Done,
    /// This is not a frame, or none that can be decoded here.
    Never,
}

impl Frames {
    fn new(window: u64) -> Self {
        Self { window, ..Self::default() }
    }

    /// Goes on to the next head; nothing if that is not read yet.
    fn step(&mut self, read: &[u8]) -> Option<Step> {
        let rest = read.get(self.at..)?;
        let Some(frame) = &mut self.frame else {
            return self.begin(rest);
        };
        if frame.is_over {
            self.most += frame.most();
            self.whole = self.at;
            self.frame = None;
            return Some(Step::Done);
        }
        let [low, middle, high] = *rest.first_chunk::<BLOCK_HEAD>()?;
        let head = u32::from_le_bytes([low, middle, high, 0]);
        let size = head >> 3;
        let (length, most) = match head >> 1 & 3 {
            0 => (size, size.into()),
            1 => (1, size.into()),
            2 => (size, frame.block),
            _ => return Some(Step::Never),
        };
        if u64::from(size) > frame.block {
            return Some(Step::Never);
        }
        frame.most += most;
        frame.is_over = head & 1 == 1;
        self.at += BLOCK_HEAD + length as usize + if frame.is_over { frame.sum } else { 0 };
        Some(Step::Done)
    }

    /// Reads the head of a frame.
    fn begin(&mut self, rest: &[u8]) -> Option<Step> {
        let magic = *rest.first_chunk::<4>()?;
        if magic[0] & 0xf0 == 0x50 && magic[1..] == SKIPPABLE {
            self.at += SKIPPABLE_HEAD + number(rest.get(4..SKIPPABLE_HEAD)?) as usize;
            self.frame = Some(Frame { content: Some(0), most: 0, block: 0, sum: 0, is_over: true });
            return Some(Step::Done);
        }
        let descriptor = *rest.get(4)?;
        if magic != MAGIC || descriptor & 8 != 0 {
            return Some(Step::Never);
        }
        let is_single = descriptor & 0x20 != 0;
        let window = if is_single { None } else { Some(u64::from(*rest.get(5)?)) };
        let dictionary_at = if is_single { 5 } else { 6 };
        let content_at = dictionary_at + [0, 1, 2, 4][usize::from(descriptor & 3)];
        let dictionary = number(rest.get(dictionary_at..content_at)?);
        let end = content_at + [usize::from(is_single), 2, 4, 8][usize::from(descriptor >> 6)];
        let content = number(rest.get(content_at..end)?);
        let content = match end - content_at {
            0 => None,
            2 => Some(content + 256),
            _ => Some(content),
        };
        let window = match window {
            Some(window) => (8 + (window & 7)) << (7 + (window >> 3)),
            None => content.unwrap_or(0),
        };
        if dictionary != 0 || window > self.window {
            return Some(Step::Never);
        }
        let sum = if descriptor & 4 == 0 { 0 } else { 4 };
        self.at += end;
        self.frame = Some(Frame { content, most: 0, block: window.min(MAX_BLOCK), sum, is_over: false });
        Some(Step::Done)
    }

    /// Whether this is more than a part may weigh.
    fn is_heavy(&self) -> bool {
        let most = self.most + self.frame.as_ref().map_or(0, Frame::most);
        let limit = if self.whole == 0 { LARGE } else { SMALL };
        self.at as u64 + most > limit as u64
    }

    /// Ends the part behind the last whole frame. What was seen of the next one is looked at again.
    fn end(&mut self) -> Look {
        let Self { window, whole, most, .. } = std::mem::take(self);
        *self = Self::new(window);
        match usize::try_from(most) {
            Ok(most) if whole > 0 => Look::Part { length: whole, most },
            _ => Look::Never,
        }
    }
}

impl Form for Frames {
    fn look(&mut self, read: &[u8], is_end: bool) -> Look {
        loop {
            match self.step(read) {
                Some(Step::Done) if !self.is_heavy() => {}
                None if !is_end => return Look::More,
                _ => return self.end(),
            }
        }
    }

    fn worker(&self) -> Worker {
        let mut decompressor = zstd::bulk::Decompressor::default();
        Box::new(move |packed, decoded| decompressor.decompress_to_buffer(packed, decoded).ok().map(|_| ()))
    }
}

/// A number of at most eight bytes.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests;

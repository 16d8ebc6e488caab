//! One member of a gzip stream.
//!
//! What can be searched is left to libdeflate, which makes it smaller and sooner than others, but takes a member as a whole.
//! Noise would cost it as much time as anything else, and would spoil the codes of what stands beside it. So a long run of
//! noise becomes a member of its own, stored as it is: behind it, nothing of before could be referred to anyhow. Where short
//! runs and other contents take turns, zlib-rs makes the member: noise stands in stored blocks between those that it makes,
//! and in its window.

use std::io;
use std::ops::Range;

use flate2::{Compress, FlushCompress};

use super::noise;

/// What each member begins with: no name, no time, an unknown system, and nothing about the effort. All that are alike can
/// be told by it.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// Where the head says which effort was made.
const EFFORT: usize = 8;
/// From this length on a run of noise is a member of its own: a stored block holds no more.
const LONG: usize = 64 << 10;
/// Noise that is less than this share of a member is searched with the rest.
const SHARE: usize = 3;
/// And so is noise between which there is less than this, as between the small pictures of a folder: codes of its own for each
/// head of a file are larger than those of all together.
const LEAST: usize = 2 << 10;
/// The level of zlib-rs: level 6 takes twice as long here, for 0.2 % fewer bytes.
const BETWEEN: u32 = 4;
/// What a border between noise and other contents takes at most.
const BORDER: usize = 16;
/// The lengths of an empty stored block.
const EMPTY: [u8; 4] = [0, 0, 0xff, 0xff];

/// Makes members of chunks.
pub(super) struct Encoder {
    whole: libdeflater::Compressor,
    stored: libdeflater::Compressor,
    /// For noise and other contents in turn, unless an effort was insisted on.
    turns: Option<Compress>,
}

impl Encoder {
    pub(super) fn new(level: u8) -> Self {
        let compressor = |level: u8| {
            let level = libdeflater::CompressionLvl::new(i32::from(level.min(12))).unwrap_or_default();
            libdeflater::Compressor::new(level)
        };
        // Who asks for more than the usual effort gets it everywhere.
        let turns = (2..=6).contains(&level).then(|| Compress::new(flate2::Compression::new(BETWEEN), false));
        Self { whole: compressor(level), stored: compressor(0), turns }
    }

    /// Makes a member of a chunk, or several.
    pub(super) fn encode(&mut self, chunk: &[u8]) -> io::Result<Vec<u8>> {
        let runs = if self.turns.is_some() { noise::runs(chunk) } else { Vec::new() };
        let mut out = Vec::new();
        let mut from = 0;
        let mut short = Vec::new();
        for run in runs {
            if run.len() < LONG {
                short.push(run);
                continue;
            }
            if from < run.start {
                self.mixed(chunk, from..run.start, &short, &mut out)?;
            }
            member(&mut self.stored, &chunk[run.clone()], &mut out)?;
            short.clear();
            from = run.end;
        }
        if from < chunk.len() || chunk.is_empty() {
            self.mixed(chunk, from..chunk.len(), &short, &mut out)?;
        }
        Ok(out)
    }

    /// Makes a member of a part of a chunk with short runs of noise in it.
    fn mixed(
        &mut self,
        chunk: &[u8],
        part: Range<usize>,
        noise: &[Range<usize>],
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let noisy: usize = noise.iter().map(Range::len).sum();
        let pays = noisy > part.len() / SHARE && part.len() - noisy >= noise.len() * LEAST;
        match &mut self.turns {
            Some(turns) if pays => in_turns(turns, chunk, part, noise, out),
            _ => member(&mut self.whole, &chunk[part], out),
        }
    }
}

fn member(compressor: &mut libdeflater::Compressor, bytes: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.resize(start + compressor.gzip_compress_bound(bytes.len()), 0);
    let size = compressor.gzip_compress(bytes, &mut out[start..]).map_err(io::Error::other)?;
    out.truncate(start + size);
    out[start + EFFORT] = HEAD[EFFORT];
    Ok(())
}

fn in_turns(
    stream: &mut Compress,
    chunk: &[u8],
    part: Range<usize>,
    noise: &[Range<usize>],
    out: &mut Vec<u8>,
) -> io::Result<()> {
    let bytes = &chunk[part.clone()];
    out.reserve(HEAD.len() + bytes.len() + bytes.len() / 8 + (noise.len() + 2) * BORDER);
    out.extend(HEAD);
    stream.reset();
    let mut from = part.start;
    for run in noise {
        deflate(stream, &chunk[from..run.start], FlushCompress::Sync, out)?;
        store(stream, &chunk[run.clone()], out)?;
        from = run.end;
    }
    deflate(stream, &chunk[from..part.end], FlushCompress::Finish, out)?;
    out.extend(libdeflater::crc32(bytes).to_le_bytes());
    out.extend((bytes.len() as u32).to_le_bytes());
    Ok(())
}

/// Goes on with a stream; there is room for all that comes out.
fn deflate(stream: &mut Compress, bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) -> io::Result<()> {
    let before = stream.total_in();
    stream.compress_vec(bytes, out, flush).map_err(io::Error::other)?;
    if stream.total_in() - before == bytes.len() as u64 {
        Ok(())
    } else {
        Err(io::Error::other("a stream of deflate took less than there was room for"))
    }
}

/// Fills the empty stored block with which a flush ends, and puts into the window what is stored there.
fn store(stream: &mut Compress, run: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    if !out.ends_with(&EMPTY) {
        return Err(io::Error::other("a stream of deflate was not flushed"));
    }
    out.truncate(out.len() - EMPTY.len());
    let length = run.len() as u16;
    out.extend(length.to_le_bytes());
    out.extend((!length).to_le_bytes());
    out.extend(run);
    stream.set_dictionary(run).map_err(io::Error::other)?;
    Ok(())
}

//! Where in a chunk nothing can be found again: pictures, archives, keys.
//!
//! Of random bytes nearly all values turn up in a block, of text, programs and base64 half of them at most. In a run of such
//! blocks they turn up alike often; lists of hashes, say, are told apart by that. Counting costs little beside a search that
//! finds nothing.

use std::ops::Range;

use memchr::memmem;

/// The size of what is told apart: contents begin at such borders in a tar.
const BLOCK: usize = 512;
/// How many values a block of noise has at least. Of 512 random bytes 221 differ, give or take five.
const VALUES: usize = 200;
/// The shortest run that is worth a border on either side.
const SHORTEST: usize = 4 * BLOCK;
/// How far back a deflate stream refers.
const WINDOW: usize = 32 << 10;
/// Of every so many bytes of a run some are looked for in what stands before.
const PROBE_EVERY: usize = 8 << 10;
const PROBE: usize = 16;

/// Finds the runs of noise in a chunk, in order.
pub(super) fn runs(chunk: &[u8]) -> Vec<Range<usize>> {
    let blocks: Vec<bool> = chunk.chunks_exact(BLOCK).map(is_noise).collect();
    let mut runs = Vec::new();
    let mut at = 0;
    for alike in blocks.chunk_by(|one, next| one == next) {
        let run = at..at + alike.len() * BLOCK;
        at = run.end;
        if alike[0] && run.len() >= SHORTEST && is_even(&chunk[run.clone()]) && !is_known(chunk, &run) {
            runs.push(run);
        }
    }
    runs
}

fn is_noise(block: &[u8]) -> bool {
    let mut seen = [0_u8; 256];
    for byte in block {
        seen[usize::from(*byte)] = 1;
    }
    seen.iter().map(|seen| usize::from(*seen)).sum::<usize>() >= VALUES
}

/// Whether no value turns up so often that shorter codes for some would make a run smaller by three in a thousand: the sum of
/// the squares of counts is then near that of random bytes (a chi-squared test with 255 degrees of freedom).
fn is_even(run: &[u8]) -> bool {
    let mut counts = [0_u64; 256];
    for byte in run {
        counts[usize::from(*byte)] += 1;
    }
    let length = run.len() as u64;
    let squares: u64 = counts.iter().map(|count| count * count).sum();
    256 * squares <= length * (length + length / 32 + 320)
}

/// Whether a run repeats what stands before or in it: the same picture twice is noise only once.
fn is_known(chunk: &[u8], run: &Range<usize>) -> bool {
    run.clone().step_by(PROBE_EVERY).any(|at| {
        let probe = &chunk[at..at + PROBE];
        memmem::find(&chunk[at.saturating_sub(WINDOW)..at], probe).is_some()
    })
}

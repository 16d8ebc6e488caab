//! Parallel encoding whose bytes do not depend on the number of threads.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::num::NonZeroUsize;
use std::sync::mpsc;
use std::thread;

use zstd::zstd_safe::CParameter;

use super::member::Encoder;

/// How many bytes of contents one gzip member holds at most.
///
/// Each member starts with an empty window; at this size that costs less than the encoder gains over others.
pub const GZIP_CHUNK: usize = 1 << 20;

/// How many bytes of contents a thread makes zstd of at a time. Each thread keeps what goes in and what comes out: twice as
/// many would be a quarter of a percent smaller.
const ZSTD_JOB: u32 = 4 << 20;
/// How many threads make zstd at most: so many are faster than what takes it, and more are only memory.
const MOST_ZSTD_THREADS: usize = 4;

/// How many threads make gzip at most. Each comes to five chunks (one on its way in, one at work with what it becomes, two
/// that wait for their turn) and its encoders, some 6 MiB: 16 are about 100 MiB, and faster than a tar is written and hashed.
const MOST_GZIP_THREADS: usize = 16;

/// What to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// The contents as they are.
    Plain,
    /// gzip, of a level from 0 to 12.
    Gzip {
        /// The effort.
        level: u8,
    },
    /// zstd, of a level from 1 to 22.
    Zstd {
        /// The effort.
        level: u8,
    },
}

impl Encoding {
    /// The gzip that layers are packed with unless asked otherwise; what is packed already is stored.
    pub const GZIP: Self = Self::Gzip { level: 6 };
    /// The zstd that layers are packed with unless asked otherwise.
    pub const ZSTD: Self = Self::Zstd { level: 3 };
}

/// How many threads encode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Threads(pub NonZeroUsize);

impl Threads {
    /// As many as the machine runs at once.
    pub fn available() -> Self {
        Self(thread::available_parallelism().unwrap_or(NonZeroUsize::MIN))
    }
}

/// Encodes all of a reader and returns how many bytes were read.
pub fn compress(
    mut contents: impl Read,
    mut out: impl Write,
    encoding: Encoding,
    threads: Threads,
) -> io::Result<u64> {
    encode(&mut contents, &mut out, encoding, threads)
}

fn encode(
    mut contents: &mut dyn Read,
    mut out: &mut dyn Write,
    encoding: Encoding,
    threads: Threads,
) -> io::Result<u64> {
    let read = match encoding {
        Encoding::Plain => io::copy(&mut contents, &mut out)?,
        Encoding::Gzip { level } => gzip(contents, out, level, threads.0.get().min(MOST_GZIP_THREADS))?,
        Encoding::Zstd { level } => {
            let mut encoder = zstd::stream::write::Encoder::new(&mut *out, i32::from(level.clamp(1, 22)))?;
            encoder.include_checksum(true)?;
            // With one worker or many the jobs are cut alike; without workers they would not be.
            encoder.multithread(threads.0.get().min(MOST_ZSTD_THREADS) as u32)?;
            encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
            let read = copy(contents, &mut encoder)?;
            encoder.finish()?;
            read
        }
    };
    out.flush()?;
    Ok(read)
}

fn copy(contents: &mut dyn Read, out: &mut dyn Write) -> io::Result<u64> {
    let mut buffer = vec![0; 128 << 10];
    let mut total = 0;
    loop {
        let count = fill(contents, &mut buffer)?;
        if count == 0 {
            return Ok(total);
        }
        out.write_all(&buffer[..count])?;
        total += count as u64;
    }
}

/// Reads until the buffer is full or the reader has ended.
fn fill(contents: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match contents.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

struct Job {
    chunk: Vec<u8>,
    done: mpsc::SyncSender<io::Result<Vec<u8>>>,
}

fn gzip(contents: &mut dyn Read, out: &mut dyn Write, level: u8, threads: usize) -> io::Result<u64> {
    let (jobs, queue) = mpsc::sync_channel::<Job>(threads);
    let queue = std::sync::Mutex::new(queue);
    thread::scope(|scope| {
        // The sender lives in this closure: however it ends, the workers see the end of the queue.
        let jobs = jobs;
        for _ in 0..threads {
            scope.spawn(|| {
                let mut encoder = Encoder::new(level);
                loop {
                    let next = queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).recv();
                    let Ok(Job { chunk, done }) = next else { break };
                    // Nobody waits any more after an error elsewhere.
                    let _ = done.send(encoder.encode(&chunk));
                }
            });
        }
        let mut waiting: VecDeque<mpsc::Receiver<io::Result<Vec<u8>>>> = VecDeque::new();
        let mut total = 0;
        loop {
            let mut chunk = vec![0; GZIP_CHUNK];
            let count = fill(contents, &mut chunk)?;
            // The empty stream is one empty member.
            if count == 0 && total > 0 {
                break;
            }
            chunk.truncate(count);
            total += count as u64;
            let (done, result) = mpsc::sync_channel(1);
            jobs.send(Job { chunk, done }).map_err(|_| gone())?;
            waiting.push_back(result);
            if waiting.len() > threads * 2
                && let Some(first) = waiting.pop_front()
            {
                out.write_all(&first.recv().map_err(|_| gone())??)?;
            }
            if count == 0 {
                break;
            }
        }
        for result in waiting {
            out.write_all(&result.recv().map_err(|_| gone())??)?;
        }
        Ok(total)
    })
}

fn gone() -> io::Error {
    io::Error::other("a compressing thread ended early")
}

//! gzip, one member after the other, or many at a time where they are small.
//!
//! What this program packs is a sequence of members of at most [`GZIP_CHUNK`] bytes, which are decoded by several threads.
//! A member does not say how long it is, so the beginnings of members are looked for, which are the same ten bytes in
//! the whole stream. What looks like a beginning may be content: then what stands before it is no whole member, and from
//! there on all is decoded in order, as every other stream is. In flight are a few members, whatever the stream says.
//!
//! libdeflate reads a member whole or not at all and checks its sum and length; it does not tell where the member ended.
//! Bytes between two members that repeat the end of the first one are therefore not noticed. What comes out is the same.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use memchr::memmem;

use super::{DecodeError, GZIP_CHUNK};

/// The length of a member's head without a name.
const HEAD: usize = 10;
/// The length of its sum and length.
const TAIL: usize = 8;
/// No member of a chunk is longer: what cannot be compressed grows by less.
const MAX_MEMBER: usize = GZIP_CHUNK + GZIP_CHUNK / 8;
/// How much is read at a time while beginnings are looked for.
const STEP: usize = 256 << 10;
/// How many threads decode at most; a layer is written as fast as a few can decode.
const MAX_THREADS: usize = 3;

/// Reads the members of a stream and refuses anything else behind them.
pub(super) struct Gzip<B> {
    state: State<B>,
    limit: u64,
}

/// A stream that is decoded in order, and what was read of it before.
type Ordered<B> = InOrder<BufReader<io::Chain<Cursor<Vec<u8>>, B>>>;

enum State<B> {
    Fresh(B),
    InOrder(Box<Ordered<B>>),
    Many(Box<Many<B>>),
    /// Only while one state becomes another, and after an error.
    Gone,
}

impl<B: BufRead> Gzip<B> {
    pub(super) fn new(input: B, limit: u64) -> Self {
        Self { state: State::Fresh(input), limit }
    }

    /// Reads the first bytes and decides how to go on.
    fn begin(&mut self, mut input: B) -> io::Result<State<B>> {
        let mut start = Vec::with_capacity(HEAD);
        (&mut input).take(HEAD as u64).read_to_end(&mut start)?;
        let head = <[u8; HEAD]>::try_from(&start[..]).ok();
        // No flags, no time, an unknown system: so libdeflate writes.
        let head = head.filter(|head| head[..8] == [0x1f, 0x8b, 8, 0, 0, 0, 0, 0] && head[9] == 0xff);
        Ok(match head {
            Some(head) => State::Many(Box::new(Many::new(start, head, input, self.limit))),
            None => State::InOrder(Box::new(in_order(start, input, 1, self.limit))),
        })
    }
}

impl<B: BufRead> Read for Gzip<B> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match &mut self.state {
                State::InOrder(members) => return members.read(buffer),
                State::Many(many) => {
                    if let Some(count) = many.read(buffer)? {
                        return Ok(count);
                    }
                    if let State::Many(many) = std::mem::replace(&mut self.state, State::Gone) {
                        self.state = State::InOrder(Box::new(many.into_order(self.limit)));
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

fn in_order<B: BufRead>(start: Vec<u8>, input: B, members: u64, limit: u64) -> Ordered<B> {
    let input = BufReader::with_capacity(64 << 10, Cursor::new(start).chain(input));
    InOrder { member: Some(flate2::bufread::GzDecoder::new(input)), members, limit }
}

/// Decodes one member after the other.
struct InOrder<B> {
    member: Option<flate2::bufread::GzDecoder<B>>,
    members: u64,
    limit: u64,
}

impl<B: BufRead> Read for InOrder<B> {
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

/// Decodes many members at a time.
struct Many<B> {
    input: B,
    /// What each member begins with.
    head: [u8; HEAD],
    /// What was read.
    read: Vec<u8>,
    /// Where in it the next member begins: what stands before is cut already.
    from: usize,
    /// Up to where no further beginning is.
    looked: usize,
    /// Whether there is nothing more to read, or to cut.
    is_over: bool,
    flying: VecDeque<Flying>,
    threads: usize,
    pool: Option<Pool>,
    decoded: Vec<u8>,
    at: usize,
    members: u64,
    limit: u64,
}

/// A member that somebody decodes.
struct Flying {
    packed: Arc<Vec<u8>>,
    decoded: mpsc::Receiver<Option<Vec<u8>>>,
}

impl<B: BufRead> Many<B> {
    fn new(start: Vec<u8>, head: [u8; HEAD], input: B, limit: u64) -> Self {
        Self {
            input,
            head,
            read: start,
            from: 0,
            looked: 1,
            is_over: false,
            flying: VecDeque::new(),
            threads: thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
            pool: None,
            decoded: Vec::new(),
            at: 0,
            members: 0,
            limit,
        }
    }

    /// As [`Read::read`]; nothing if the stream has to be decoded in order from here on.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        while self.at == self.decoded.len() {
            while !self.is_over && self.flying.len() <= self.threads {
                let Some(packed) = self.cut()? else { break };
                let packed = Arc::new(packed);
                let pool = self.pool.get_or_insert_with(|| Pool::new(self.threads));
                let decoded = pool.decode(Arc::clone(&packed));
                self.flying.push_back(Flying { packed, decoded });
            }
            let Some(first) = self.flying.front() else {
                return Ok(if self.from == self.read.len() { Some(0) } else { None });
            };
            // A thread that is gone has decoded nothing.
            let Ok(Some(decoded)) = first.decoded.recv() else { return Ok(None) };
            self.flying.pop_front();
            self.members += 1;
            if self.members > self.limit {
                return Err(DecodeError::TooManyMembers(self.limit).into());
            }
            (self.decoded, self.at) = (decoded, 0);
        }
        let count = buffer.len().min(self.decoded.len() - self.at);
        buffer[..count].copy_from_slice(&self.decoded[self.at..self.at + count]);
        self.at += count;
        Ok(Some(count))
    }

    /// Cuts the next member off; nothing at the end, and where none of a chunk can be.
    fn cut(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(next) = self.next_head() {
                return Ok(Some(self.cut_until(next)));
            }
            if self.read.len() - self.from > MAX_MEMBER {
                self.is_over = true;
                return Ok(None);
            }
            // What is cut goes when more comes, and not with each member, of which there may be many.
            self.read.drain(..self.from);
            self.looked -= std::mem::take(&mut self.from);
            let before = self.read.len();
            (&mut self.input).take(STEP as u64).read_to_end(&mut self.read)?;
            if self.read.len() == before {
                self.is_over = true;
                return Ok((before > 0).then(|| self.cut_until(before)));
            }
        }
    }

    fn cut_until(&mut self, end: usize) -> Vec<u8> {
        let member = self.read[self.from..end].to_vec();
        (self.from, self.looked) = (end, end + 1);
        member
    }

    fn next_head(&mut self) -> Option<usize> {
        if let Some(found) = memmem::find(self.read.get(self.looked..)?, &self.head) {
            self.looked += found;
            return Some(self.looked);
        }
        // The beginning of one may be what was read last.
        self.looked = self.looked.max(self.read.len().saturating_sub(HEAD - 1));
        None
    }

    /// Decodes in order what is not decoded yet.
    fn into_order(self, limit: u64) -> Ordered<B> {
        let mut start = Vec::new();
        for flying in &self.flying {
            start.extend_from_slice(&flying.packed);
        }
        start.extend_from_slice(&self.read[self.from..]);
        in_order(start, self.input, self.members + 1, limit)
    }
}

struct Job {
    packed: Arc<Vec<u8>>,
    done: mpsc::SyncSender<Option<Vec<u8>>>,
}

/// Threads that decode members; they end with this.
struct Pool {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn new(threads: usize) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let work = |queue: Arc<Mutex<mpsc::Receiver<Job>>>| {
            move || {
                let mut decompressor = libdeflater::Decompressor::new();
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { packed, done }) = next else { break };
                    // Nobody waits any more after an error elsewhere.
                    let _ = done.send(decode(&mut decompressor, &packed));
                }
            }
        };
        let threads = (0..threads.max(1)).map(|_| thread::spawn(work(Arc::clone(&queue)))).collect();
        Self { jobs: Some(jobs), threads }
    }

    fn decode(&self, packed: Arc<Vec<u8>>) -> mpsc::Receiver<Option<Vec<u8>>> {
        let (done, decoded) = mpsc::sync_channel(1);
        if let Some(jobs) = &self.jobs {
            // Without threads nothing comes, which the receiver shows.
            let _ = jobs.send(Job { packed, done });
        }
        decoded
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Decodes a whole member of a chunk; nothing if it is something else.
fn decode(decompressor: &mut libdeflater::Decompressor, packed: &[u8]) -> Option<Vec<u8>> {
    if packed.len() < HEAD + TAIL {
        return None;
    }
    let size = packed.last_chunk().map(|bytes| u32::from_le_bytes(*bytes))?;
    let size = usize::try_from(size).ok().filter(|size| *size <= GZIP_CHUNK)?;
    let mut decoded = vec![0; size];
    let length = decompressor.gzip_decompress(packed, &mut decoded).ok()?;
    (length == size).then_some(decoded)
}

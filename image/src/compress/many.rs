//! Parts of a stream that need nothing of each other, decoded side by side.
//!
//! A form says where its parts end ([`Form::look`]) and how one is decoded ([`Form::worker`]). Whatever does not come out that
//! way, because it is large, damaged or something else, is given back from there on and decoded in order: what comes out and
//! what is refused does not depend on whether anything was decoded here.
//!
//! In flight are a few parts, whatever the stream says. What they weigh is bounded: each may weigh [`SMALL`] bytes, and what
//! is more comes out of one purse for all decoders of the program. Nobody waits for it: a decoder may be read only after
//! another one that it would wait for.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::{self, JoinHandle};

use super::input::Input;
use super::{DecodeError, GZIP_CHUNK};

/// How much is read at a time while ends of parts are looked for.
const STEP: usize = 256 << 10;
/// How many threads decode at most; a layer is written as fast as a few can decode.
const MAX_THREADS: usize = 3;
/// What every part may weigh, packed and decoded: a member of gzip weighs less.
pub(super) const SMALL: usize = 2 * GZIP_CHUNK + GZIP_CHUNK / 4;
/// What all parts in flight may weigh together beyond that.
const PURSE: usize = 24 << 20;
/// What a part may weigh: two of them can be in flight.
pub(super) const LARGE: usize = SMALL + PURSE / 2;

/// A form whose streams consist of parts.
pub(super) trait Form {
    /// Looks for the end of the part that begins what was read. Called with the same bytes and more of them until it says
    /// something else than [`Look::More`], which it does at the latest when there are no more.
    fn look(&mut self, read: &[u8], is_end: bool) -> Look;

    /// Makes what decodes parts in a thread.
    fn worker(&self) -> Worker;
}

/// What begins a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// A part.
    Part {
        /// How many bytes it has.
        length: usize,
        /// How many come out of it at most.
        most: usize,
    },
    /// More has to be read to know.
    More,
    /// Nothing that can be decoded here.
    Never,
}

/// Decodes a part into an empty buffer that has room for the most that may come out; nothing if it is something else.
pub(super) type Worker = Box<dyn FnMut(&[u8], &mut Vec<u8>) -> Option<()> + Send>;

/// Decodes many parts at a time.
pub(super) struct Many<'a> {
    form: Box<dyn Form + 'a>,
    input: Input<'a>,
    /// What was read.
    read: Vec<u8>,
    /// Where in it the next part begins: what stands before is cut already.
    from: usize,
    /// Whether all of the stream was read.
    is_end: bool,
    /// Whether there is nothing more to cut.
    is_over: bool,
    /// What is cut and has to wait for the purse.
    next: Option<Part>,
    flying: VecDeque<Flying>,
    threads: usize,
    pool: Option<Pool>,
    landed: Landed,
    parts: u64,
    limit: u64,
}

/// A part that is cut off.
struct Part {
    packed: Arc<Vec<u8>>,
    most: usize,
}

/// A part that somebody decodes.
struct Flying {
    packed: Arc<Vec<u8>>,
    decoded: mpsc::Receiver<Option<Vec<u8>>>,
    share: Share,
}

/// A part that is decoded, and how much of it was read.
#[derive(Default)]
struct Landed {
    decoded: Vec<u8>,
    at: usize,
    _share: Option<Share>,
}

impl<'a> Many<'a> {
    /// Decodes no more than so many parts.
    pub(super) fn new(form: impl Form + 'a, input: Input<'a>, limit: u64) -> Self {
        Self {
            form: Box::new(form),
            input,
            read: Vec::new(),
            from: 0,
            is_end: false,
            is_over: false,
            next: None,
            flying: VecDeque::new(),
            threads: thread::available_parallelism().map_or(1, usize::from).min(MAX_THREADS),
            pool: None,
            landed: Landed::default(),
            parts: 0,
            limit,
        }
    }

    /// As [`Read::read`]; nothing if the stream has to be decoded in order from here on.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        while self.landed.at == self.landed.decoded.len() {
            let spare = std::mem::take(&mut self.landed).decoded;
            self.start(spare)?;
            let Some(first) = self.flying.front() else {
                let is_done = self.next.is_none() && self.from == self.read.len();
                return Ok(is_done.then_some(0));
            };
            // A thread that is gone has decoded nothing.
            let Ok(Some(decoded)) = first.decoded.recv() else { return Ok(None) };
            let share = self.flying.pop_front().map(|first| first.share);
            self.parts += 1;
            if self.parts > self.limit {
                return Err(DecodeError::TooManyMembers(self.limit).into());
            }
            self.landed = Landed { decoded, at: 0, _share: share };
        }
        let count = (&self.landed.decoded[self.landed.at..]).read(buffer)?;
        self.landed.at += count;
        Ok(Some(count))
    }

    /// Has as many parts decoded as may be in flight, one of them into a buffer that was read.
    fn start(&mut self, mut spare: Vec<u8>) -> io::Result<()> {
        while self.flying.len() <= self.threads {
            if self.next.is_none() {
                self.next = self.cut()?;
            }
            let Some(part) = self.next.take() else { break };
            let Some(share) = Share::take(part.packed.len() + part.most) else {
                self.next = Some(part);
                break;
            };
            let packed = Arc::clone(&part.packed);
            let pool = self.pool.get_or_insert_with(|| Pool::new(&*self.form, self.threads));
            let decoded = pool.decode(part, std::mem::take(&mut spare));
            self.flying.push_back(Flying { packed, decoded, share });
        }
        Ok(())
    }

    /// Cuts the next part off; nothing at the end, and where none is.
    fn cut(&mut self) -> io::Result<Option<Part>> {
        while !self.is_over {
            match self.form.look(&self.read[self.from..], self.is_end) {
                Look::Part { length, most } => {
                    return Ok(Some(Part { packed: Arc::new(self.take(length)), most }));
                }
                Look::Never => self.is_over = true,
                Look::More => {
                    // What is cut goes when more comes, and not with each part, of which there may be many.
                    self.read.drain(..self.from);
                    self.from = 0;
                    let count = (&mut self.input).take(STEP as u64).read_to_end(&mut self.read)?;
                    self.is_end = count == 0;
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        if self.from == 0 && length > SMALL {
            // Two copies of a large part would be more than it weighs.
            let rest = self.read.split_off(length);
            return std::mem::replace(&mut self.read, rest);
        }
        let end = self.from + length;
        let part = self.read[self.from..end].to_vec();
        self.from = end;
        part
    }

    /// Gives back what is not decoded yet, with the number of parts that are.
    pub(super) fn into_rest(mut self) -> (Input<'a>, u64) {
        let mut rest = Vec::new();
        for flying in self.flying.drain(..) {
            rest.extend_from_slice(&flying.packed);
        }
        if let Some(next) = self.next.take() {
            rest.extend_from_slice(&next.packed);
        }
        rest.extend_from_slice(&self.read[self.from..]);
        self.input.give_back(rest);
        (self.input, self.parts)
    }
}

/// What a part in flight takes from the purse.
pub(super) struct Share(usize);

static PURSE_LEFT: AtomicUsize = AtomicUsize::new(PURSE);

impl Share {
    /// Takes what a part of a weight needs, if there is so much.
    pub(super) fn take(weight: usize) -> Option<Self> {
        let share = weight.saturating_sub(SMALL);
        PURSE_LEFT
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(share))
            .ok()
            .map(|_| Self(share))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        PURSE_LEFT.fetch_add(self.0, Ordering::Relaxed);
    }
}

struct Job {
    packed: Arc<Vec<u8>>,
    into: Vec<u8>,
    done: mpsc::SyncSender<Option<Vec<u8>>>,
}

/// Threads that decode parts; they end with this.
struct Pool {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    fn new(form: &dyn Form, threads: usize) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let work = |queue: Arc<Mutex<mpsc::Receiver<Job>>>, mut decode: Worker| {
            move || {
                loop {
                    let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(Job { packed, mut into, done }) = next else { break };
                    let decoded = decode(&packed, &mut into).map(|()| into);
                    // Nobody waits any more after an error elsewhere.
                    let _ = done.send(decoded);
                }
            }
        };
        let threads =
            (0..threads.max(1)).map(|_| thread::spawn(work(Arc::clone(&queue), form.worker()))).collect();
        Self { jobs: Some(jobs), threads }
    }

    fn decode(&self, part: Part, spare: Vec<u8>) -> mpsc::Receiver<Option<Vec<u8>>> {
        let (done, decoded) = mpsc::sync_channel(1);
        if let Some(jobs) = &self.jobs {
            // Without threads nothing comes, which the receiver shows.
            let _ = jobs.send(Job { packed: part.packed, into: buffer(spare, part.most), done });
        }
        decoded
    }
}

/// Makes an empty buffer with room for so many bytes and little more: large ones that are freed do not all go back to the
/// system, and new ones come from there page by page.
fn buffer(mut spare: Vec<u8>, most: usize) -> Vec<u8> {
    if (most..=most.max(SMALL)).contains(&spare.capacity()) {
        spare.clear();
        return spare;
    }
    drop(spare);
    Vec::with_capacity(most)
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

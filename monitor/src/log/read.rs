//! Reading a log, also while it is written: straight from its files, without the monitor.
//!
//! Files that gave way are read first, the oldest before the others. A file is held once it was opened, so that one that
//! gives way meanwhile is read to its end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rbuild_model::container::{ContainerId, LogConfig, LogDriver};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify;
use rustix::io::Errno;

use super::lines::Source;
use super::rotate::{FORMS, numbered, open_own};
use super::{json, local};
use crate::protocol::LogPosition;

/// A log that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The driver keeps nothing.
    #[error("configured logging driver does not support reading")]
    Unreadable,
    /// A file of it.
    #[error("cannot {act} the log `{}`", path.display())]
    File {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What of a log is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this stream; both without one.
    pub source: Option<Source>,
    /// Only what was written from then on, in nanoseconds since 1970.
    pub since: Option<i64>,
    /// Only what was written up to then.
    pub until: Option<i64>,
    /// How much of the end.
    pub tail: Tail,
    /// Nothing that was written after this place.
    pub end: Option<LogPosition>,
}

/// How much of the end of a log is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tail {
    /// All of it.
    #[default]
    All,
    /// So many lines.
    Lines(usize),
}

/// A line, or a piece of one that was too long for one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it came from.
    pub source: Source,
    /// When it was written, in nanoseconds since 1970.
    pub time: i64,
    /// The bytes, with the line's end if it has one.
    pub bytes: Vec<u8>,
    /// What the log's options added to it.
    pub attributes: Vec<(String, String)>,
    /// Whether a line begins with it.
    pub begins_line: bool,
}

/// A record that was read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) source: Source,
    pub(super) time: i64,
    pub(super) bytes: Vec<u8>,
    pub(super) ended: bool,
    pub(super) attributes: Vec<(String, String)>,
}

/// What ended a wait for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// There may be more.
    More,
    /// The descriptor to stop by became readable.
    Stopped,
}

/// Reads a log from its beginning, or what the filter says.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    driver: LogDriver,
    filter: Filter,
    /// What is still to be read, the oldest first; the last is the one that was written when this began.
    files: VecDeque<Open>,
    /// Lines that were read for the sake of the tail.
    ahead: VecDeque<Entry>,
    /// Whether a line of each stream is unfinished.
    unfinished: [bool; 2],
    watch: Option<OwnedFd>,
}

/// A file that is read.
struct Open {
    content: Content,
    inode: u64,
    read: u64,
    pending: Vec<u8>,
    /// How much of that was handed over.
    taken: usize,
}

enum Content {
    Plain(File),
    Gzip(Box<MultiGzDecoder<File>>),
}

/// So much of a file is read at once.
const PORTION: u64 = 64 << 10;

/// A line of one stream that so much of the other interrupts may be taken for two, where only the end is read.
const INTERRUPTED: u64 = 4 << 20;

/// The end of a log.
#[derive(Default)]
struct Last {
    /// The lines that were asked for, if there are as many.
    kept: VecDeque<Entry>,
    /// How many lines were read.
    lines: usize,
    /// How many of them, from the end, are surely lines of their own.
    sure: usize,
}

impl Open {
    /// Reads the next portion, and returns its length. What was handed over goes once a portion, not with each record.
    fn read_more(&mut self, limit: u64) -> io::Result<usize> {
        self.pending.drain(..std::mem::take(&mut self.taken));
        let held = self.pending.len();
        let content: &mut dyn io::Read = match &mut self.content {
            Content::Plain(file) => file,
            Content::Gzip(file) => file,
        };
        self.pending.resize(held + limit.min(PORTION) as usize, 0);
        let count = content.read(&mut self.pending[held..]);
        self.pending.truncate(held + count.as_ref().copied().unwrap_or(0));
        self.read += self.pending.len().saturating_sub(held) as u64;
        count
    }
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Open {{ inode: {}, read: {} }}", self.inode, self.read)
    }
}

/// Opens the log of a container.
pub fn read(
    folder: &Path,
    id: &ContainerId,
    config: &LogConfig,
    filter: Filter,
) -> Result<Reader, ReadError> {
    if config.driver == LogDriver::None {
        return Err(ReadError::Unreadable);
    }
    let path = super::path(folder, id, config.driver);
    let tail = filter.tail;
    let mut reader = Reader {
        files: VecDeque::new(),
        driver: config.driver,
        filter,
        ahead: VecDeque::new(),
        unfinished: [false; 2],
        watch: None,
        path,
    };
    reader.open_all()?;
    if let Tail::Lines(count) = tail {
        reader.skip_to_tail(count)?;
    }
    Ok(reader)
}

impl Reader {
    /// Reads the next entry; `None` if there is none now.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        if let Some(entry) = self.ahead.pop_front() {
            return Ok(Some(entry));
        }
        self.read_entry()
    }

    /// Returns the folder in which something changes whenever something is written.
    pub fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("/"))
    }

    /// Waits until something was written, or `stop` is readable.
    pub fn wait(&mut self, stop: Option<BorrowedFd<'_>>) -> Result<Follow, ReadError> {
        let folder = self.folder().to_owned();
        let failed =
            |errno: Errno| ReadError::File { act: "watch", path: folder.clone(), source: errno.into() };
        if self.watch.is_none() {
            let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
            let watch = inotify::init(flags).map_err(failed)?;
            let events =
                inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO;
            inotify::add_watch(&watch, &folder, events).map_err(failed)?;
            self.watch = Some(watch);
            // What was written before the watch began is told by nobody.
            return Ok(Follow::More);
        }
        let Some(watch) = &self.watch else { return Ok(Follow::More) };
        let mut fds = vec![PollFd::new(watch, PollFlags::IN)];
        if let Some(stop) = &stop {
            fds.push(PollFd::from_borrowed_fd(*stop, PollFlags::IN));
        }
        loop {
            match poll(&mut fds, None) {
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(failed(errno)),
            }
        }
        let stopped = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        let mut buffer = [0; 4096];
        while rustix::io::read(watch, &mut buffer).is_ok_and(|count| count > 0) {}
        Ok(if stopped { Follow::Stopped } else { Follow::More })
    }

    fn open_all(&mut self) -> Result<(), ReadError> {
        let mut number = 1;
        let mut found = VecDeque::new();
        found.extend(open(&self.path, Form::Plain)?);
        // Names in between are never missing for longer than a rename.
        let mut missing = 0;
        while missing < 2 {
            let mut opened = None;
            for form in FORMS {
                let kind = if form.is_empty() { Form::Plain } else { Form::Gzip };
                opened = opened.or(open(&numbered(&self.path, number, form), kind)?);
            }
            missing = if opened.is_some() { 0 } else { missing + 1 };
            if let Some(opened) =
                opened.filter(|file| found.iter().all(|known: &Open| known.inode != file.inode))
            {
                found.push_front(opened);
            }
            number += 1;
        }
        self.files = found;
        Ok(())
    }

    /// Reads on to the last lines. Logs grow without a limit where none was set, so they are looked for near the end first.
    fn skip_to_tail(&mut self, count: usize) -> Result<(), ReadError> {
        let mut span = PORTION;
        loop {
            let is_whole = !self.begin_near_end(span)?;
            let Last { kept, lines, sure } = self.last_lines(count)?;
            if is_whole || sure >= count || (span >= INTERRUPTED && lines > count) {
                self.ahead = kept;
                return Ok(());
            }
            span = span.saturating_mul(8);
            self.unfinished = [false; 2];
            self.open_all()?;
        }
    }

    /// Reads everything that is left, and keeps the last lines of that.
    fn last_lines(&mut self, count: usize) -> Result<Last, ReadError> {
        let mut last = Last::default();
        let mut kept_lines = 0;
        let mut known = [false; 2];
        while let Some(entry) = self.read_entry()? {
            let begins = usize::from(entry.begins_line);
            last.lines += begins;
            // The first of a stream may be the rest of a line that began before.
            last.sure = if std::mem::replace(&mut known[entry.source as usize], true) {
                last.sure + begins
            } else {
                0
            };
            kept_lines += begins;
            last.kept.push_back(entry);
            while kept_lines > count {
                kept_lines -= usize::from(last.kept.pop_front().is_some_and(|entry| entry.begins_line));
                while last.kept.front().is_some_and(|entry| !entry.begins_line) {
                    last.kept.pop_front();
                }
            }
        }
        Ok(last)
    }

    /// Leaves out all but so many bytes of the file that is written now; false if that cannot be done, and nothing is left out.
    fn begin_near_end(&mut self, span: u64) -> Result<bool, ReadError> {
        // Records of the other driver are found from their beginning, and its files are small.
        let (LogDriver::JsonFile, Some(last)) = (self.driver, self.files.back_mut()) else {
            return Ok(false);
        };
        let Content::Plain(file) = &mut last.content else { return Ok(false) };
        let size = file.metadata().map_or(0, |facts| facts.len());
        let end = match self.filter.end {
            None => size,
            Some(end) if end.file == last.inode => end.offset.min(size),
            Some(_) => return Ok(false),
        };
        let Some(from) = end.checked_sub(span).filter(|from| *from > 0) else { return Ok(false) };
        // The byte before it may end a record.
        let mut begin = from - 1;
        let found = loop {
            let mut portion = [0; 4096];
            match file.read_at(&mut portion, begin) {
                Ok(0) => break None,
                Ok(count) => match portion[..count].iter().position(|byte| *byte == b'\n') {
                    Some(at) => break Some(begin + at as u64 + 1),
                    None => begin += count as u64,
                },
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(self.failed("read", source)),
            }
        };
        let Some(begin) = found.filter(|begin| *begin < end) else { return Ok(false) };
        if let Err(source) = file.seek(io::SeekFrom::Start(begin)) {
            return Err(self.failed("read", source));
        }
        last.read = begin;
        self.files.drain(..self.files.len() - 1);
        Ok(true)
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, ReadError> {
        while let Some(piece) = self.read_piece()? {
            let Piece { source, time, bytes, ended, attributes } = piece;
            let unfinished = &mut self.unfinished[source as usize];
            let begins_line = !*unfinished;
            *unfinished = !ended;
            if self.filter.until.is_some_and(|until| time > until) {
                // Lines of one stream are in order; those of the other may be a moment older.
                continue;
            }
            let wanted = self.filter.source.is_none_or(|wanted| wanted == source);
            if wanted && self.filter.since.is_none_or(|since| time >= since) {
                return Ok(Some(Entry { source, time, bytes, attributes, begins_line }));
            }
        }
        Ok(None)
    }

    fn read_piece(&mut self) -> Result<Option<Piece>, ReadError> {
        loop {
            let Some(file) = self.files.front_mut() else {
                // The first file may come later.
                match open(&self.path, Form::Plain)? {
                    Some(file) => self.files.push_back(file),
                    None => return Ok(None),
                }
                continue;
            };
            let pending = &file.pending[file.taken..];
            if let Some((start, end, next)) = record_in(pending, self.driver) {
                let piece = match self.driver {
                    LogDriver::Local => local::decode(&pending[start..end]),
                    _ => json::decode(&pending[start..end]),
                };
                file.taken += next;
                match piece {
                    Some(piece) => return Ok(Some(piece)),
                    // A damaged record does not hide what comes after it.
                    None => continue,
                }
            }
            let limit = match self.filter.end {
                Some(end) if end.file == file.inode => end.offset.saturating_sub(file.read),
                _ => u64::MAX,
            };
            let count = file.read_more(limit).map_err(|source| self.failed("read", source))?;
            if count == 0 && !self.next_file()? {
                return Ok(None);
            }
        }
    }

    /// Goes on to the next file, if there is one after the present one.
    fn next_file(&mut self) -> Result<bool, ReadError> {
        let Some(file) = self.files.front() else { return Ok(false) };
        if self.filter.end.is_some_and(|end| end.file == file.inode) {
            return Ok(false);
        }
        if self.files.len() > 1 {
            self.files.pop_front();
            return Ok(true);
        }
        let own = file.inode;
        let Some(current) = open(&self.path, Form::Plain)? else { return Ok(false) };
        if current.inode == own {
            return Ok(false);
        }
        // It gave way. What came between it and the present one gave way too.
        let mut newer = VecDeque::from([current]);
        for number in 1.. {
            let found = open(&numbered(&self.path, number, ""), Form::Plain)?;
            match found {
                Some(file) if file.inode != own => newer.push_front(file),
                Some(_) => break,
                // Compressed already, and with it ours: the present one comes next.
                None => break,
            }
        }
        // One more look: what was written between our last read and the rename.
        let mut rest = Vec::new();
        if let Some(Open { content: Content::Plain(file), pending, read, .. }) = self.files.front_mut() {
            let count = file.read_to_end(&mut rest).unwrap_or(0);
            *read += count as u64;
            pending.extend_from_slice(&rest);
        }
        if rest.is_empty() {
            self.files = newer;
        }
        Ok(true)
    }

    fn failed(&self, act: &'static str, source: io::Error) -> ReadError {
        ReadError::File { act, path: self.path.clone(), source }
    }
}

#[derive(Clone, Copy)]
enum Form {
    Plain,
    Gzip,
}

fn open(path: &Path, form: Form) -> Result<Option<Open>, ReadError> {
    let file = match open_own(File::options().read(true), path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file.map_err(|source| ReadError::File { act: "open", path: path.to_owned(), source })?,
    };
    let inode = file.metadata().map_or(0, |facts| facts.ino());
    let content = match form {
        Form::Plain => Content::Plain(file),
        Form::Gzip => Content::Gzip(Box::new(MultiGzDecoder::new(file))),
    };
    Ok(Some(Open { content, inode, read: 0, pending: Vec::new(), taken: 0 }))
}

/// Finds the first whole record: its begin, its end, and where the next one begins.
fn record_in(bytes: &[u8], driver: LogDriver) -> Option<(usize, usize, usize)> {
    match driver {
        LogDriver::Local => {
            let head: [u8; 4] = bytes.get(..4)?.try_into().ok()?;
            let length = u32::from_be_bytes(head) as usize;
            if length > local::LONGEST {
                // Damaged: nothing after it can be found.
                return None;
            }
            (bytes.len() >= length + 8).then_some((4, 4 + length, length + 8))
        }
        _ => {
            let end = bytes.iter().position(|byte| *byte == b'\n')?;
            Some((0, end, end + 1))
        }
    }
}

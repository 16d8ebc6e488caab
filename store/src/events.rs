//! What happened, told to whoever reads: append-only segments.
//!
//! ```text
//! events/
//!   lock                    held while appending
//!   00000000000000000001    lines; the name counts up
//!   00000000000000000002
//! ```
//!
//! An event is one line (JSON, by convention; here any bytes without a line break). Writers append under a `flock`;
//! readers take no lock and stop before a line that is not complete yet. A [`Position`] names a place between two
//! lines, so a reader can stop and resume later; if the segment was dropped meanwhile, reading goes on at the oldest
//! one and says so. What a killed writer left half written is cut off by the next one. Events are not synced.

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::fs::{FlockOperation, inotify};
use rustix::io::Errno;

use crate::Store;
use crate::crash;
use crate::error::{Context, FileError};

/// A segment that reached this size is followed by a new one.
const SEGMENT_BYTES: u64 = 4 << 20;

/// So many segments are kept.
const SEGMENTS: usize = 8;

/// No event is longer.
pub const MAX_EVENT_BYTES: usize = 1 << 20;

/// A place between two events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    segment: u64,
    offset: u64,
}

impl Position {
    /// The place before the oldest event that is kept.
    pub const OLDEST: Self = Self { segment: 0, offset: 0 };

    /// Reads the form that [`fmt::Display`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (segment, offset) = text.split_once('.')?;
        Some(Self { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.segment, self.offset)
    }
}

/// Events as they were read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The events, oldest first, each with the place after it.
    pub events: Vec<(Position, Vec<u8>)>,
    /// Whether events between the position asked for and the first one here are gone.
    pub gap: bool,
}

/// The events of one store.
#[derive(Clone, Debug)]
pub struct Events {
    folder: PathBuf,
}

impl Store {
    /// Returns the events.
    pub fn events(&self) -> Events {
        Events { folder: self.layout().events() }
    }
}

impl Events {
    /// Names the events in a folder, for a process that has not opened the store.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Appends one event and returns the place after it.
    pub fn append(&self, event: &[u8]) -> Result<Position, FileError> {
        if event.contains(&b'\n') || event.len() > MAX_EVENT_BYTES {
            let error = io::Error::new(io::ErrorKind::InvalidInput, "an event is one line of at most 1 MiB");
            return Err(FileError::new("append to", &self.folder, error));
        }
        let _lock = self.lock()?;
        let segments = self.segments()?;
        let mut number = segments.last().copied().unwrap_or(1);
        let mut path = self.path(number);
        let mut file = open_segment(&path)?;
        let mut end = whole_lines(&file).at("read", &path)?;
        if end >= SEGMENT_BYTES {
            number += 1;
            path = self.path(number);
            file = open_segment(&path)?;
            end = 0;
            crash::point("events.rotated");
            for old in segments.iter().rev().skip(SEGMENTS - 1) {
                let old = self.path(*old);
                fs::remove_file(&old).at("remove", &old)?;
            }
        }
        let mut line = Vec::with_capacity(event.len() + 1);
        line.extend_from_slice(event);
        line.push(b'\n');
        file.write_all(&line).at("append to", &path)?;
        crash::point("events.appended");
        Ok(Position { segment: number, offset: end + line.len() as u64 })
    }

    /// Returns the place after the newest event.
    pub fn end(&self) -> Result<Position, FileError> {
        let Some(segment) = self.segments()?.last().copied() else { return Ok(Position::OLDEST) };
        let path = self.path(segment);
        let file = File::open(&path).at("open", &path)?;
        Ok(Position { segment, offset: last_break(&file).at("read", &path)? })
    }

    /// Reads events after a place, at most about `limit` bytes of them but at least one.
    pub fn read(&self, after: Position, limit: usize) -> Result<Batch, FileError> {
        let segments = self.segments()?;
        let mut batch = Batch::default();
        let Some(&oldest) = segments.first() else { return Ok(batch) };
        batch.gap = after != Position::OLDEST && after.segment < oldest;
        let mut room = limit.max(1);
        for &segment in segments.iter().filter(|&&segment| segment >= after.segment) {
            let offset = if segment == after.segment { after.offset } else { 0 };
            let path = self.path(segment);
            let file = match File::open(&path) {
                // Dropped by a writer since the folder was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    batch.gap = true;
                    continue;
                }
                opened => opened.at("open", &path)?,
            };
            read_lines(&file, segment, offset, &mut room, &mut batch.events).at("read", &path)?;
            if room == 0 {
                break;
            }
        }
        Ok(batch)
    }

    /// Begins to watch for appended events; what is appended from now on wakes [`Watch::wait`].
    pub fn watch(&self) -> Result<Watch, FileError> {
        let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)
            .at("watch", &self.folder)?;
        let flags = inotify::WatchFlags::MODIFY | inotify::WatchFlags::CREATE;
        inotify::add_watch(&fd, &self.folder, flags).at("watch", &self.folder)?;
        Ok(Watch { fd, folder: self.folder.clone() })
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(format!("{segment:020}"))
    }

    fn lock(&self) -> Result<File, FileError> {
        let path = self.folder.join("lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .at("open", &path)?;
        loop {
            match rustix::fs::flock(&file, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::INTR) => {}
                Err(error) => return Err(FileError::new("lock", path, error)),
            }
        }
    }

    fn segments(&self) -> Result<Vec<u64>, FileError> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder).at("list", &self.folder)? {
            let name = entry.at("list", &self.folder)?.file_name();
            let number =
                name.to_str().filter(|name| name.len() == 20).and_then(|name| name.parse::<u64>().ok());
            found.extend(number);
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// A watch on the events of a store.
#[derive(Debug)]
pub struct Watch {
    fd: OwnedFd,
    folder: PathBuf,
}

impl Watch {
    /// Waits until something was appended, or the time is over; tells which.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<bool, FileError> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut polled = [PollFd::new(&self.fd, PollFlags::IN)];
        match poll(&mut polled, timeout.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(FileError::new("watch", &self.folder, error)),
        }
        let mut buffer = [0u8; 4096];
        // The notices only say "look again"; they are taken away so that the next wait waits.
        while rustix::io::read(&self.fd, &mut buffer).is_ok_and(|length| length > 0) {}
        Ok(true)
    }

    /// Returns the descriptor, readable when something was appended, for a caller's own event loop.
    pub fn as_fd(&self) -> rustix::fd::BorrowedFd<'_> {
        rustix::fd::AsFd::as_fd(&self.fd)
    }
}

fn open_segment(path: &std::path::Path) -> Result<File, FileError> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).at("open", path)
}

/// Returns the length of the file, having cut off what a killed writer left half written.
fn whole_lines(file: &File) -> io::Result<u64> {
    let length = file.metadata()?.len();
    let end = last_break(file)?;
    if end != length {
        file.set_len(end)?;
    }
    Ok(end)
}

/// Returns the place after the last line break.
fn last_break(file: &File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut buffer = [0u8; 4096];
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let piece = &mut buffer[..(end - start) as usize];
        file.read_exact_at(piece, start)?;
        if let Some(place) = piece.iter().rposition(|&byte| byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

fn read_lines(
    file: &File,
    segment: u64,
    mut offset: u64,
    room: &mut usize,
    events: &mut Vec<(Position, Vec<u8>)>,
) -> io::Result<()> {
    let mut pending: Vec<u8> = Vec::new();
    let mut at = offset;
    let mut buffer = vec![0u8; 64 * 1024];
    while *room > 0 {
        let length = file.read_at(&mut buffer, at)?;
        if length == 0 {
            break;
        }
        at += length as u64;
        for piece in buffer[..length].split_inclusive(|&byte| byte == b'\n') {
            pending.extend_from_slice(piece);
            if piece.last() != Some(&b'\n') {
                break;
            }
            offset += pending.len() as u64;
            *room = room.saturating_sub(pending.len());
            pending.pop();
            events.push((Position { segment, offset }, std::mem::take(&mut pending)));
            if *room == 0 {
                break;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;

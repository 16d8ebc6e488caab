//! A log file that gives way to a new one when it is full.
//!
//! Before a write to a file that has reached its bound, `x.1` becomes `x.2` and so on, the file becomes `x.1`, and the
//! oldest goes. Compression of `x.1` runs on a thread of its own: what is written never waits for it, unless the next
//! file is full before it is done.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::protocol::LogPosition;

/// When files give way, and how many there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rotation {
    /// A file that has reached this size gives way; none for never.
    pub(super) size: Option<u64>,
    /// So many files are kept, the one that is written among them.
    pub(super) files: usize,
    /// Whether those that gave way are compressed.
    pub(super) compress: bool,
}

impl Default for Rotation {
    fn default() -> Self {
        Self { size: None, files: 1, compress: false }
    }
}

/// The room for records is kept up to this.
const KEPT: usize = 1 << 20;

/// A log that is written.
#[derive(Debug)]
pub(crate) struct Rotating {
    path: PathBuf,
    file: File,
    inode: u64,
    size: u64,
    /// Whole records that are still to be written.
    pending: Vec<u8>,
    rotation: Rotation,
    compressing: Option<JoinHandle<()>>,
}

impl Rotating {
    /// Opens a log; what a killed writer left half written at its end is cut off where a record begins.
    pub(super) fn open(path: PathBuf, rotation: Rotation) -> io::Result<Self> {
        let file = create(&path)?;
        let facts = file.metadata()?;
        let (inode, size) = (facts.ino(), facts.len());
        Ok(Self { path, file, inode, size, pending: Vec::new(), rotation, compressing: None })
    }

    /// Returns what the next record, which is never split over two files, is to be appended to.
    pub(super) fn next_record(&mut self) -> io::Result<&mut Vec<u8>> {
        let full = |size| self.size + self.pending.len() as u64 >= size;
        if self.rotation.size.is_some_and(full) {
            self.flush()?;
            self.rotate()?;
        }
        Ok(&mut self.pending)
    }

    /// Writes the records that are still to be written. What cannot be written is forgotten.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        self.file.write_all_at(&pending, self.size)?;
        self.size += pending.len() as u64;
        if pending.len() <= KEPT {
            self.pending = pending;
            self.pending.clear();
        }
        Ok(())
    }

    /// Returns the place after the last record.
    pub(super) fn position(&self) -> LogPosition {
        LogPosition { file: self.inode, offset: self.size }
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.wait_for_compression();
        let older = self.rotation.files - 1;
        for form in FORMS {
            remove(&numbered(&self.path, older.max(1), form))?;
        }
        for number in (1..older).rev() {
            for form in FORMS {
                rename(&numbered(&self.path, number, form), &numbered(&self.path, number + 1, form))?;
            }
        }
        if older == 0 {
            remove(&self.path)?;
        } else {
            rename(&self.path, &numbered(&self.path, 1, ""))?;
        }
        self.file = create(&self.path)?;
        self.inode = self.file.metadata()?.ino();
        self.size = 0;
        if self.rotation.compress {
            let path = numbered(&self.path, 1, "");
            let thread = std::thread::Builder::new().name("compress".to_owned());
            // What cannot be compressed stays as it is, and is read so.
            self.compressing = thread.spawn(move || drop(compress(&path))).ok();
        }
        Ok(())
    }

    fn wait_for_compression(&mut self) {
        if let Some(thread) = self.compressing.take() {
            // A panic of the thread was told when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Rotating {
    fn drop(&mut self) {
        self.wait_for_compression();
    }
}

/// The endings of files that gave way.
pub(super) const FORMS: [&str; 2] = ["", ".gz"];

/// Returns the name of a file that gave way.
pub(super) fn numbered(path: &Path, number: usize, form: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}{form}"));
    name.into()
}

fn create(path: &Path) -> io::Result<File> {
    open_own(File::options().create(true).write(true).read(true).truncate(false).mode(0o640), path)
}

/// Opens a file of a log. A link in its place, as a copy of a store from elsewhere may have, is not followed, and nothing
/// but a regular file is waited for, read or written.
pub(super) fn open_own(options: &mut OpenOptions, path: &Path) -> io::Result<File> {
    let no_file = || io::Error::other("it is no regular file");
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    match options.custom_flags(flags.bits().cast_signed()).open(path) {
        Err(error) if error.raw_os_error() == Some(Errno::LOOP.raw_os_error()) => Err(no_file()),
        Ok(file) if !file.metadata()?.is_file() => Err(no_file()),
        opened => opened,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match std::fs::rename(from, to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn compress(path: &Path) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".gz");
    let (whole, temporary) = (PathBuf::from(&name), {
        name.push(".new");
        PathBuf::from(name)
    });
    let mut from = open_own(File::options().read(true), path)?;
    let to = open_own(File::options().create(true).truncate(true).write(true).mode(0o640), &temporary)?;
    let mut encoder = GzEncoder::new(to, Compression::default());
    io::copy(&mut from, &mut encoder)?;
    encoder.finish()?.flush()?;
    std::fs::rename(&temporary, &whole)?;
    std::fs::remove_file(path)
}

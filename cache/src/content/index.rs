//! The stat index: what the files of a context held when they were last hashed.
//!
//! One file per context folder, derived data: a file that is missing, of another version, too large or damaged is an
//! empty index. It holds only entries that were [settled](super::node::Trust) when they were hashed, so an entry
//! vouches for a file of equal size, mtime, ctime, device and inode. If the clock now stands before the latest mark
//! of the index, it was set back, and nothing is believed.
//!
//! ```text
//! magic "rbuild stat idx\n"   version u32   blake3 of all that follows [32]
//! latest mark: seconds i64, nanos u32       directories u32
//! directory, sorted by path:  path length u32, path, entries u32, bytes of entries u32, entries
//! entry, sorted by name:      name length u32, name, size u64, mtime i64 u32, ctime i64 u32, dev u64, ino u64, blake3 [32]
//! ```
//! Numbers are little-endian. The file is replaced by rename, unsynced: a torn one fails its checksum.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use rbuild_confined::Time;

use super::node::{FileDigest, Stamp};

const MAGIC: &[u8; 16] = b"rbuild stat idx\n";
const VERSION: u32 = 1;
const HEADER: usize = MAGIC.len() + 4 + 32;
/// The length of an entry whose name is as short as can be.
const SHORTEST_ENTRY: usize = 4 + 1 + 8 + 12 + 12 + 8 + 8 + 32;
/// The largest index that is read or written: some ten million files.
const SIZE_LIMIT: u64 = 1 << 30;

/// The index cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} stat index `{}`", path.display())]
pub struct IndexError {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// An index as it was read.
#[derive(Debug, Default)]
pub(crate) struct StatIndex {
    bytes: Vec<u8>,
    mark: Time,
    /// Where the entries of each directory are; the keys are where its path is.
    directories: HashMap<Box<[u8]>, Range<usize>>,
}

/// One file of an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Known<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) stamp: Stamp,
    pub(crate) digest: FileDigest,
}

impl StatIndex {
    /// Reads the index; whatever is wrong with it makes it empty.
    pub(crate) fn load(path: &Path) -> Self {
        Self::read(path).unwrap_or_default()
    }

    fn read(path: &Path) -> Option<Self> {
        let file = File::open(path).ok()?;
        let size = file.metadata().ok()?.len();
        if size > SIZE_LIMIT {
            return None;
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).ok()? + 1);
        file.take(SIZE_LIMIT).read_to_end(&mut bytes).ok()?;
        Self::parse(bytes)
    }

    pub(crate) fn parse(bytes: Vec<u8>) -> Option<Self> {
        let (header, body) = bytes.split_at_checked(HEADER)?;
        let (magic, rest) = header.split_at(MAGIC.len());
        let (version, checksum) = rest.split_at(4);
        if magic != MAGIC || version != VERSION.to_le_bytes() || checksum != blake3::hash(body).as_bytes() {
            return None;
        }
        let mut reader = Reader { bytes: &bytes, at: HEADER };
        let mark = reader.time()?;
        let mut directories = HashMap::new();
        for _ in 0..reader.u32()? {
            let path = reader.bytes()?.into();
            let _count = reader.u32()?;
            let length = reader.u32()? as usize;
            let start = reader.at;
            reader.take(length)?;
            directories.insert(path, start..reader.at);
        }
        (reader.at == bytes.len()).then_some(Self { mark, directories, bytes })
    }

    /// Returns the latest mark that entries were compared with.
    pub(crate) fn mark(&self) -> Time {
        self.mark
    }

    /// Returns the paths of the directories that have entries.
    pub(crate) fn directories(&self) -> impl Iterator<Item = &[u8]> {
        self.directories.keys().map(|path| &**path)
    }

    /// Returns the entries of a directory, sorted by name.
    pub(crate) fn directory(&self, path: &[u8]) -> Vec<Known<'_>> {
        let Some(range) = self.directories.get(path) else { return Vec::new() };
        let mut reader = Reader { bytes: &self.bytes[..range.end], at: range.start };
        let mut entries = Vec::with_capacity(range.len() / SHORTEST_ENTRY);
        while let Some(known) = reader.known() {
            entries.push(known);
        }
        entries
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(length)?;
        let taken = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn time(&mut self) -> Option<Time> {
        Some(Time { seconds: self.array().map(i64::from_le_bytes)?, nanos: self.u32()? })
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u32()? as usize;
        self.take(length)
    }

    fn known(&mut self) -> Option<Known<'a>> {
        let name = self.bytes()?;
        let stamp = Stamp {
            size: self.u64()?,
            mtime: self.time()?,
            ctime: self.time()?,
            dev: self.u64()?,
            ino: self.u64()?,
        };
        Some(Known { name, stamp, digest: FileDigest(self.array()?) })
    }
}

/// An index in the making: directories by path, each with its entries sorted by name.
#[derive(Default)]
pub(crate) struct IndexWriter<'a> {
    directories: BTreeMap<&'a [u8], Vec<Known<'a>>>,
}

impl<'a> IndexWriter<'a> {
    /// Whether a directory was added.
    pub(crate) fn has(&self, path: &[u8]) -> bool {
        self.directories.contains_key(path)
    }

    /// Adds a directory; one without entries is left out.
    pub(crate) fn add(&mut self, path: &'a [u8], entries: Vec<Known<'a>>) {
        if !entries.is_empty() {
            self.directories.insert(path, entries);
        }
    }

    pub(crate) fn encode(&self, mark: Time) -> Vec<u8> {
        fn put_time(out: &mut Vec<u8>, time: Time) {
            out.extend_from_slice(&time.seconds.to_le_bytes());
            out.extend_from_slice(&time.nanos.to_le_bytes());
        }
        fn put_u32(out: &mut Vec<u8>, number: usize) {
            out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        let mut body = Vec::new();
        put_time(&mut body, mark);
        put_u32(&mut body, self.directories.len());
        let mut block = Vec::new();
        for (path, entries) in &self.directories {
            block.clear();
            for Known { name, stamp: Stamp { size, mtime, ctime, dev, ino }, digest } in entries {
                put_u32(&mut block, name.len());
                block.extend_from_slice(name);
                block.extend_from_slice(&size.to_le_bytes());
                put_time(&mut block, *mtime);
                put_time(&mut block, *ctime);
                block.extend_from_slice(&dev.to_le_bytes());
                block.extend_from_slice(&ino.to_le_bytes());
                block.extend_from_slice(&digest.0);
            }
            put_u32(&mut body, path.len());
            body.extend_from_slice(path);
            put_u32(&mut body, entries.len());
            put_u32(&mut body, block.len());
            body.extend_from_slice(&block);
        }
        let mut out = Vec::with_capacity(HEADER + body.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(blake3::hash(&body).as_bytes());
        out.extend_from_slice(&body);
        out
    }

    /// Replaces the file at `path`; an index that grew beyond what would be read is not written.
    pub(crate) fn write(&self, path: &Path, mark: Time) -> Result<(), IndexError> {
        let bytes = self.encode(mark);
        if bytes.len() as u64 > SIZE_LIMIT {
            return Ok(());
        }
        let failed = |act, source| IndexError { act, path: path.to_owned(), source };
        let (mut file, temporary) = create_beside(path).map_err(|source| failed("create", source))?;
        let written = file.write_all(&bytes).map_err(|source| failed("write", source));
        let placed = written
            .and_then(|()| std::fs::rename(&temporary, path).map_err(|source| failed("replace", source)));
        if placed.is_err() {
            // The write's own error is the one to tell.
            let _ = std::fs::remove_file(&temporary);
        }
        placed
    }
}

/// Makes a new file in the folder of `path`, which it will replace.
fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    for attempt in 0_u32.. {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.{attempt}.tmp", std::process::id()));
        let temporary = path.with_file_name(name);
        match File::options().write(true).create_new(true).open(&temporary) {
            Ok(file) => return Ok((file, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && attempt < 100 => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

//! The stat index: what the files of a context held when they were last hashed.
//!
//! One file per context folder, derived data: a file that is missing, of another version, too large or damaged is an
//! empty index. The entries of a directory are read when somebody asks for them, by the thread that does; damaged ones are
//! none. It holds only entries that were [settled](super::node::Trust) when they were hashed, so an entry
//! vouches for a file of equal size, mtime, ctime, device and inode. If the clock now stands before the latest mark
//! of the index, it was set back, and nothing is believed.
//!
//! ```text
//! magic "rbuild stat idx\n"   version u32   blake3 of the table [32]   bytes of the table u32
//! the table:                  latest mark: seconds i64, nanos u32   directories u32
//! directory, sorted by path:  path length u32, path, bytes of entries u32, blake3 of entries [32]
//! behind the table, in its order, of each directory
//! entry, sorted by name:      name length u32, name, size u64, mtime i64 u32, ctime i64 u32, dev u64, ino u64, blake3 [32]
//! ```
//! Numbers are little-endian. The file is replaced by rename, unsynced: a torn one fails its checksum.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rbuild_confined::Time;

use super::node::{FileDigest, Stamp};

const MAGIC: &[u8; 16] = b"rbuild stat idx\n";
const VERSION: u32 = 2;
const HEADER: usize = MAGIC.len() + 4 + 32 + 4;
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
    file: Option<File>,
    mark: Time,
    directories: HashMap<Box<[u8]>, Entries>,
}

/// The entries of a directory.
#[derive(Debug)]
struct Entries {
    start: u64,
    length: usize,
    checksum: [u8; 32],
    bytes: OnceLock<Vec<u8>>,
}

impl Entries {
    /// Returns their bytes, read at the first call; none of damaged ones.
    fn bytes(&self, file: &File) -> &[u8] {
        self.bytes.get_or_init(|| {
            let mut bytes = vec![0; self.length];
            let read = file.read_exact_at(&mut bytes, self.start);
            if read.is_ok() && self.checksum == *blake3::hash(&bytes).as_bytes() { bytes } else { Vec::new() }
        })
    }
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
        let mut header = [0; HEADER];
        file.read_exact_at(&mut header, 0).ok()?;
        let mut header = Reader { bytes: &header, at: 0 };
        let (magic, version): ([u8; MAGIC.len()], u32) = (header.array()?, header.u32()?);
        let checksum: [u8; 32] = header.array()?;
        let length = u64::from(header.u32()?);
        let mut start = HEADER as u64 + length;
        if magic != *MAGIC || version != VERSION || size > SIZE_LIMIT || start > size {
            return None;
        }
        let mut table = vec![0; usize::try_from(length).ok()?];
        file.read_exact_at(&mut table, HEADER as u64).ok()?;
        if checksum != *blake3::hash(&table).as_bytes() {
            return None;
        }
        let mut reader = Reader { bytes: &table, at: 0 };
        let mark = reader.time()?;
        let mut directories = HashMap::new();
        for _ in 0..reader.u32()? {
            let path = reader.bytes()?.into();
            let (length, checksum) = (reader.u32()?, reader.array()?);
            let entries = Entries { start, length: length as usize, checksum, bytes: OnceLock::new() };
            directories.insert(path, entries);
            start += u64::from(length);
        }
        (reader.at == table.len() && start == size).then_some(Self { file: Some(file), mark, directories })
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
        let (Some(file), Some(entries)) = (&self.file, self.directories.get(path)) else { return Vec::new() };
        let mut reader = Reader { bytes: entries.bytes(file), at: 0 };
        let mut entries = Vec::with_capacity(reader.bytes.len() / SHORTEST_ENTRY);
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
        let mut table = Vec::new();
        put_time(&mut table, mark);
        put_u32(&mut table, self.directories.len());
        let mut all = Vec::new();
        for (path, entries) in &self.directories {
            let start = all.len();
            for Known { name, stamp: Stamp { size, mtime, ctime, dev, ino }, digest } in entries {
                put_u32(&mut all, name.len());
                all.extend_from_slice(name);
                all.extend_from_slice(&size.to_le_bytes());
                put_time(&mut all, *mtime);
                put_time(&mut all, *ctime);
                all.extend_from_slice(&dev.to_le_bytes());
                all.extend_from_slice(&ino.to_le_bytes());
                all.extend_from_slice(&digest.0);
            }
            put_u32(&mut table, path.len());
            table.extend_from_slice(path);
            put_u32(&mut table, all.len() - start);
            table.extend_from_slice(blake3::hash(&all[start..]).as_bytes());
        }
        let mut out = Vec::with_capacity(HEADER + table.len() + all.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(blake3::hash(&table).as_bytes());
        put_u32(&mut out, table.len());
        out.extend_from_slice(&table);
        out.extend_from_slice(&all);
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

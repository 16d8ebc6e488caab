//! Files that are read here and there: a database may be large, and what is wanted of it small.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// A file that is read in pieces.
pub trait Pieces {
    /// How many bytes it has.
    fn length(&self) -> u64;

    /// Reads from a place; fewer bytes than asked for only at the end.
    fn piece(&self, at: u64, most: usize) -> io::Result<Vec<u8>>;
}

impl Pieces for &[u8] {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn piece(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(self.len());
        let to = from.saturating_add(most).min(self.len());
        Ok(self[from..to].to_vec())
    }
}

/// An open file, as long as it was when it was looked at.
#[derive(Debug)]
pub struct Opened {
    file: File,
    length: u64,
}

impl Opened {
    /// Takes a file that is open for reading.
    pub fn new(file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self { file, length })
    }
}

impl Pieces for Opened {
    fn length(&self) -> u64 {
        self.length
    }

    fn piece(&self, at: u64, most: usize) -> io::Result<Vec<u8>> {
        let left = usize::try_from(self.length.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; most.min(left)];
        let mut filled = 0;
        while filled < bytes.len() {
            match self.file.read_at(&mut bytes[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// Why a file was not read to its end.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It could not be read.
    Io(io::Error),
    /// It is not what its name promises.
    Form(&'static str),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads exactly so many bytes.
pub(super) fn exactly(file: &dyn Pieces, at: u64, count: usize) -> Result<Vec<u8>, Trouble> {
    let bytes = file.piece(at, count)?;
    if bytes.len() == count { Ok(bytes) } else { Err(Trouble::Form("cut short")) }
}

/// Pages that were read: who reads each but once ends, whatever they say of each other.
pub(super) struct Seen(Vec<u64>, u64);

impl Seen {
    /// Expects pages with numbers below a count.
    pub(super) fn new(count: u64) -> Self {
        Self(vec![0; usize::try_from(count / 64 + 1).unwrap_or_default()], count)
    }

    /// Notes a page; refuses one that was there, or that is none.
    pub(super) fn visit(&mut self, page: u64) -> Result<(), Trouble> {
        if page >= self.1 {
            return Err(Trouble::Form("a page that is not there is named"));
        }
        let (word, bit) = (usize::try_from(page / 64).unwrap_or_default(), 1 << (page % 64));
        if self.0[word] & bit != 0 {
            return Err(Trouble::Form("a page is named twice"));
        }
        self.0[word] |= bit;
        Ok(())
    }
}

/// Reads a number in the order that networks have; `None` behind the end.
pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_be_bytes)
}

/// Reads a number in the other order; `None` behind the end.
pub(super) fn le32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_le_bytes)
}

/// Reads a short number in the order that networks have; `None` behind the end.
pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_be_bytes)
}

/// Reads a short number in the other order; `None` behind the end.
pub(super) fn le16(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at.checked_add(2)?)?.try_into().ok().map(u16::from_le_bytes)
}

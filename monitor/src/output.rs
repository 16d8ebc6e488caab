//! What readers that are attached have not taken yet.
//!
//! Each has an outbox of bounded size. One that does not keep up is served from a spool, a file without a name beside
//! the container's log, at its own pace: the program is never held back by it, and no byte is changed (the log's own
//! forms change what is no text). The spool goes when nobody lags any more.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::protocol::frame::{Kind, encode};

/// An outbox of this size takes no more from the program itself.
pub(crate) const HIGH: usize = 256 << 10;
/// Readers that would need a longer spool are let go.
const LONGEST: u64 = 1 << 30;
const HEAD: usize = 5;

/// Output that at least one reader has still to get.
#[derive(Debug, Default)]
pub(crate) struct Spool {
    file: Option<File>,
    end: u64,
}

impl Spool {
    /// Returns the place at which the next frame will be.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Tells whether readers have to be let go for want of room.
    pub(crate) fn is_full(&self) -> bool {
        self.end > LONGEST
    }

    /// Appends a piece of output.
    pub(crate) fn append(&mut self, folder: &Path, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_none() {
            let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
            self.file = Some(rustix::fs::open(folder, flags, Mode::RUSR | Mode::WUSR)?.into());
            self.end = 0;
        }
        let mut frame = Vec::with_capacity(bytes.len() + HEAD);
        encode(kind, bytes, &mut frame);
        if let Some(file) = &self.file {
            file.write_all_at(&frame, self.end)?;
            self.end += frame.len() as u64;
        }
        Ok(())
    }

    /// Moves whole frames from a place into an outbox until that is full, or there are no more; returns the place
    /// after them.
    pub(crate) fn take(
        &self,
        mut place: u64,
        wanted: impl Fn(Kind) -> bool,
        into: &mut Vec<u8>,
    ) -> io::Result<u64> {
        let Some(file) = &self.file else { return Ok(self.end) };
        while place < self.end && into.len() < HIGH {
            let mut head = [0; HEAD];
            file.read_exact_at(&mut head, place)?;
            let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
            let kind = if head[4] == Kind::Stderr as u8 { Kind::Stderr } else { Kind::Stdout };
            if wanted(kind) {
                let start = into.len();
                into.extend_from_slice(&head);
                into.resize(start + HEAD + length, 0);
                file.read_exact_at(&mut into[start + HEAD..], place + HEAD as u64)?;
            }
            place += (HEAD + length) as u64;
        }
        Ok(place)
    }

    /// Lets everything go: nobody lags.
    pub(crate) fn clear(&mut self) {
        self.file = None;
        self.end = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::{Decoder, Frame};

    #[test]
    fn what_lags_gets_all_in_order_and_only_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::default();
        let piece = |number: u32| vec![number as u8; 60_000];
        for number in 0..20 {
            let kind = if number % 2 == 0 { Kind::Stdout } else { Kind::Stderr };
            spool.append(folder.path(), kind, &piece(number)).unwrap();
        }
        let (mut place, mut got) = (0, Vec::new());
        while place < spool.end() {
            let mut outbox = Vec::new();
            place = spool.take(place, |kind| kind == Kind::Stderr, &mut outbox).unwrap();
            assert!(outbox.len() < HIGH + 70_000);
            let mut decoder = Decoder::default();
            decoder.feed(&outbox);
            while let Some(frame) = decoder.next_frame().unwrap() {
                got.push(frame);
            }
        }
        let expected: Vec<Frame> =
            (0..20).filter(|n| n % 2 == 1).map(|n| Frame { kind: Kind::Stderr, bytes: piece(n) }).collect();
        assert_eq!(got, expected);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it has no name");
        spool.clear();
        assert_eq!(spool.end(), 0);
    }
}

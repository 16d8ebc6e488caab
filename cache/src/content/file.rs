//! Hashing one file, and when a look at it says enough.
//!
//! Before and after its bytes are read a file is inspected; if it did not stay the same it is read again, at most
//! [`ATTEMPTS`] times. The result is [`Trust::Settled`] only if the file's ctime is older than a *mark*, a time that
//! was taken, before the reading began, from the clock that the file's own file system stamps with: any change after
//! the reading gets a ctime that is not older than the mark, hence another one than the file had. One hole is known and
//! shared with every such cache: writes through a mapping that was already dirty when the file was read change no time
//! until they are written back.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::{Mutex, PoisonError};

use rbuild_confined::{Kind, Metadata, Time};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::time::ClockId;

use super::error::{Error, Result};
use super::node::{FileDigest, FileFacts, Stamp, Trust};

/// How often a file that changes under the reading is read.
const ATTEMPTS: usize = 3;
/// How much is read at a time.
const CHUNK: usize = 1 << 20;
/// The size from which one file is work for all threads.
const PARALLEL_FROM: u64 = 16 << 20;
/// The longest value of an extended attribute.
const XATTR_MAX: usize = 64 << 10;

/// Whether `security.capability` is read with the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capabilities {
    Read,
    Ignore,
}

/// How files are read.
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    /// The mark of the file system; `None` where no stamp proves anything.
    pub(crate) mark: Option<Time>,
    pub(crate) capabilities: Capabilities,
    /// How many threads a large file may have.
    pub(crate) threads: usize,
    /// Whether nobody wants to know any more.
    pub(crate) stop: &'a (dyn Fn() -> bool + Sync),
}

/// A regular file as it was when it was hashed.
pub(crate) struct Hashed {
    pub(crate) metadata: Metadata,
    pub(crate) facts: FileFacts,
}

/// Hashes the file `name` of directory `dir`; `path` is where that is, for messages. `None` if it is gone.
pub(crate) fn hash(
    dir: BorrowedFd<'_>,
    name: &[u8],
    path: &dyn Fn() -> Vec<u8>,
    reading: Reading<'_>,
    buffer: &mut Vec<u8>,
) -> Result<Option<Hashed>> {
    for _ in 0..ATTEMPTS {
        if (reading.stop)() {
            return Err(Error::Stopped);
        }
        let fd = match open(dir, name) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(None),
            // It has just become a link or a socket.
            Err(Errno::LOOP | Errno::NXIO) => return Err(Error::changed(&path())),
            Err(errno) => return Err(Error::io("open", &path(), errno)),
        };
        let failed = |act| move |errno: Errno| (act, errno);
        let attempt = (|| {
            let before = Metadata::from_stat(&rustix::fs::fstat(&fd).map_err(failed("inspect"))?);
            if before.kind != Kind::File {
                return Ok(None);
            }
            let digest = read(&fd, before.size, reading, buffer).map_err(failed("read"))?;
            let capability = match reading.capabilities {
                Capabilities::Read => capability(&fd).map_err(failed("read capabilities of"))?,
                Capabilities::Ignore => None,
            };
            let after = Metadata::from_stat(&rustix::fs::fstat(&fd).map_err(failed("inspect"))?);
            Ok(Some((before, digest, capability, after)))
        })();
        match attempt {
            Err((_, Errno::CANCELED)) => return Err(Error::Stopped),
            Err((act, errno)) => return Err(Error::io(act, &path(), errno)),
            Ok(None) => return Err(Error::changed(&path())),
            Ok(Some((before, Some(digest), capability, after))) if before == after => {
                let stamp = Stamp::of(&before);
                let settled = reading.mark.is_some_and(|mark| stamp.ctime < mark);
                let trust = if settled { Trust::Settled } else { Trust::Young };
                let linked = before.nlink > 1;
                let facts = FileFacts { digest, stamp, trust, capability, linked };
                return Ok(Some(Hashed { metadata: before, facts }));
            }
            Ok(Some(_)) => {}
        }
    }
    Err(Error::changed(&path()))
}

fn open(dir: BorrowedFd<'_>, name: &[u8]) -> std::result::Result<OwnedFd, Errno> {
    // Should a pipe or device have taken the file's place, opening it must not wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    loop {
        match rustix::fs::openat(dir, OsStr::from_bytes(name), flags, Mode::empty()) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Hashes `size` bytes; `None` if there are fewer, `CANCELED` if it was stopped. That there are not more is told by the file's size afterwards.
fn read(
    fd: &OwnedFd,
    size: u64,
    reading: Reading<'_>,
    buffer: &mut Vec<u8>,
) -> std::result::Result<Option<FileDigest>, Errno> {
    if reading.threads > 1 && size >= PARALLEL_FROM {
        return super::large::hash(fd, size, reading.threads, reading.stop);
    }
    let small = usize::try_from(size).ok().filter(|&size| size <= CHUNK);
    let wanted = small.unwrap_or(CHUNK);
    if buffer.len() < wanted {
        buffer.resize(wanted.next_power_of_two().max(64 << 10), 0);
    }
    let mut hasher = None;
    let mut left = size;
    while left > 0 {
        if small.is_none() && (reading.stop)() {
            return Err(Errno::CANCELED);
        }
        let most = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        let mut filled = 0;
        while filled < most {
            match rustix::io::read(fd, &mut buffer[filled..most]) {
                Ok(0) => return Ok(None),
                Ok(count) => filled += count,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        if small.is_some() {
            return Ok(Some(FileDigest::of(&buffer[..filled])));
        }
        hasher.get_or_insert_with(blake3::Hasher::new).update(&buffer[..filled]);
        left -= filled as u64;
    }
    Ok(Some(hasher.map_or_else(|| FileDigest::of(b""), |hasher| FileDigest(*hasher.finalize().as_bytes()))))
}

fn capability(fd: &OwnedFd) -> std::result::Result<Option<Box<[u8]>>, Errno> {
    let mut value = [0_u8; 64];
    match rustix::fs::fgetxattr(fd, "security.capability", &mut value) {
        Ok(length) => Ok(Some(value[..length].into())),
        Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(None),
        Err(Errno::RANGE) => {
            let mut value = vec![0; XATTR_MAX];
            let length = rustix::fs::fgetxattr(fd, "security.capability", &mut value)?;
            Ok(Some(value[..length].into()))
        }
        Err(errno) => Err(errno),
    }
}

/// The clocks of the file systems that a tree lies on.
#[derive(Debug, Default)]
pub(crate) struct Clocks {
    devices: Mutex<HashMap<u64, Clock>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    local: Option<bool>,
    mark: Option<Time>,
}

impl Clocks {
    /// Whether the file system of `dir`, which is device `dev`, can be believed: it is in this kernel's hands alone.
    #[allow(clippy::unnecessary_cast, reason = "the field's width differs between architectures")]
    pub(crate) fn is_local(&self, dir: BorrowedFd<'_>, dev: u64) -> bool {
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = devices.entry(dev).or_default();
        *clock.local.get_or_insert_with(|| {
            rustix::fs::fstatfs(dir)
                .is_ok_and(|fs| LOCAL_FILE_SYSTEMS.contains(&(fs.f_type as i64 & 0xffff_ffff)))
        })
    }

    /// Returns the mark of the file system of `dir`, taken at the first call; `None` where no mark proves anything.
    pub(crate) fn mark(&self, dir: BorrowedFd<'_>, dev: u64) -> Option<Time> {
        if !self.is_local(dir, dev) {
            return None;
        }
        let mut devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        let clock = devices.entry(dev).or_default();
        Some(*clock.mark.get_or_insert_with(|| mark_by_file(dir).unwrap_or_else(mark_by_clock)))
    }

    /// Returns the latest mark that was taken.
    pub(crate) fn latest(&self) -> Option<Time> {
        let devices = self.devices.lock().unwrap_or_else(PoisonError::into_inner);
        devices.values().filter_map(|clock| clock.mark).max()
    }
}

/// File systems whose times come from this kernel's clock and whose files only this kernel changes (magic numbers of
/// `statfs(2)`). All others (NFS, SMB, 9p, FUSE and virtiofs, cluster file systems) are hashed always.
const LOCAL_FILE_SYSTEMS: [i64; 13] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0x0102_1994, // tmpfs
    0x8584_58f6, // ramfs
    0x794c_7630, // overlayfs
    0xf2f5_2010, // f2fs
    0x2fc1_2fc1, // zfs
    0xca45_1a4e, // bcachefs
    0x3153_464a, // jfs
    0x3434,      // nilfs
    0xe0f5_e1e2, // erofs
    0x7371_7368, // squashfs
];

/// Takes the time from a nameless file, whose ctime comes from the file system's own clock.
fn mark_by_file(dir: BorrowedFd<'_>) -> Option<Time> {
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, ".", flags, Mode::RUSR | Mode::WUSR).ok()?;
    rustix::fs::fstat(&fd).ok().map(|stat| Metadata::from_stat(&stat).ctime)
}

/// Takes the time from the clock that file systems stamp with, rounded down to the coarsest step that one keeps.
fn mark_by_clock() -> Time {
    let seconds = rustix::time::clock_gettime(ClockId::RealtimeCoarse).tv_sec;
    Time { seconds: seconds - seconds.rem_euclid(2), nanos: 0 }
}

/// Returns the time, which no file has a later one than. The coarse clock will not do: a file system with
/// multi-grain times (Linux 6.13) is at times ahead of it, within a tick.
pub(crate) fn now() -> Time {
    let now = rustix::time::clock_gettime(ClockId::Realtime);
    Time { seconds: now.tv_sec, nanos: u32::try_from(now.tv_nsec).unwrap_or(0) }
}

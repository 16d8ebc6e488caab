//! Moving a file's bytes.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::Ordering;

use rbuild_confined::Metadata;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::hand::{Hand, io};
use super::{CopyError, Result, WatchFile};

const BUFFER: usize = 128 << 10;

/// How much the kernel copies before somebody is asked whether to stop.
const RANGE: usize = 64 << 20;

impl Hand<'_> {
    /// Copies exactly the bytes that the file had when it was opened.
    pub(super) fn data(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        meta: &Metadata,
        path: &Path,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        if let Some(watch) = self.watch {
            return self.through_memory(from, Some(to), meta, path, watch.file(path, meta), buffer);
        }
        if meta.size == 0 {
            return Ok(());
        }
        if meta.blocks * 512 < meta.size {
            return self.sparse(from, to, meta, path, buffer);
        }
        self.range(from, to, 0, meta.size, path, buffer)
    }

    /// Shows the bytes of a file that is not copied because it is another name of one that was.
    pub(super) fn show(
        &self,
        from: &OwnedFd,
        meta: &Metadata,
        path: &Path,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        match self.watch {
            Some(watch) => self.through_memory(from, None, meta, path, watch.file(path, meta), buffer),
            None => Ok(()),
        }
    }

    fn through_memory(
        &self,
        from: &OwnedFd,
        to: Option<&OwnedFd>,
        meta: &Metadata,
        path: &Path,
        mut watch: Box<dyn WatchFile + '_>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        buffer.resize(BUFFER, 0);
        let mut position = 0;
        while position <= meta.size && meta.size > 0 {
            self.check_stop()?;
            // One byte more than there should be: a short answer is the end.
            let wanted =
                usize::try_from(meta.size - position).unwrap_or(usize::MAX).saturating_add(1).min(BUFFER);
            let count = match rustix::io::read(from, &mut buffer[..wanted]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(io("read", path, errno)),
            };
            let bytes = &buffer[..count];
            watch.data(bytes);
            if let Some(to) = to {
                write_all(to, bytes, position).map_err(|errno| io("write", path, errno))?;
            }
            position += count as u64;
            if count < wanted && position == meta.size {
                break;
            }
        }
        if position != meta.size {
            return Err(CopyError::Changed { path: path.to_owned() });
        }
        watch.end();
        Ok(())
    }

    /// Lets the kernel copy a range, which shares the blocks where the file system can.
    fn range(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        start: u64,
        end: u64,
        path: &Path,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let (mut from_at, mut to_at) = (start, start);
        while from_at < end {
            if !self.ranges.load(Ordering::Relaxed) {
                return self.read_and_write(from, to, from_at, end, path, buffer);
            }
            let left = usize::try_from(end - from_at).unwrap_or(usize::MAX).min(RANGE);
            self.check_stop()?;
            match rustix::fs::copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), left) {
                Ok(0) => return Err(CopyError::Changed { path: path.to_owned() }),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    self.ranges.store(false, Ordering::Relaxed);
                }
                Err(errno) => return Err(io("copy", path, errno)),
            }
        }
        Ok(())
    }

    fn read_and_write(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        start: u64,
        end: u64,
        path: &Path,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        buffer.resize(BUFFER, 0);
        let mut position = start;
        while position < end {
            self.check_stop()?;
            let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(BUFFER);
            match rustix::io::pread(from, &mut buffer[..wanted], position) {
                Ok(0) => return Err(CopyError::Changed { path: path.to_owned() }),
                Ok(count) => {
                    write_all(to, &buffer[..count], position).map_err(|errno| io("write", path, errno))?;
                    position += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io("read", path, errno)),
            }
        }
        Ok(())
    }

    /// Copies only what is not a hole.
    fn sparse(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        meta: &Metadata,
        path: &Path,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        rustix::fs::ftruncate(to, meta.size).map_err(|errno| io("write", path, errno))?;
        let mut position = 0;
        while position < meta.size {
            let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
                Ok(start) => start,
                Err(Errno::NXIO) => return Ok(()),
                Err(Errno::INVAL) => return self.range(from, to, position, meta.size, path, buffer),
                Err(errno) => return Err(io("read", path, errno)),
            };
            let end = rustix::fs::seek(from, SeekFrom::Hole(start))
                .map_err(|errno| io("read", path, errno))?
                .min(meta.size);
            self.range(from, to, start, end, path, buffer)?;
            position = end;
        }
        Ok(())
    }
}

fn write_all(to: &OwnedFd, bytes: &[u8], position: u64) -> std::result::Result<(), Errno> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::pwrite(to, &bytes[written..], position + written as u64) {
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

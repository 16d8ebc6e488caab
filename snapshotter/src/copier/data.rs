//! Moving a file's bytes.

use std::os::fd::OwnedFd;
use std::path::Path;

use rbuild_confined::Metadata;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{Copier, CopyError, Result, io};

const BUFFER: usize = 128 << 10;

/// How much the kernel copies before somebody is asked whether to stop.
const RANGE: usize = 64 << 20;

impl Copier<'_> {
    /// Copies exactly the bytes that the file had when it was opened.
    pub(super) fn data(&mut self, from: &OwnedFd, to: &OwnedFd, meta: &Metadata, path: &Path) -> Result<()> {
        if meta.size == 0 {
            return Ok(());
        }
        if self.watch.is_some() {
            return self.through_memory(from, Some(to), meta, path);
        }
        if meta.blocks * 512 < meta.size {
            return self.sparse(from, to, meta, path);
        }
        self.range(from, to, 0, meta.size, path)
    }

    /// Shows the bytes of a file that is not copied because it is another name of one that was.
    pub(super) fn show(&mut self, from: &OwnedFd, meta: &Metadata, path: &Path) -> Result<()> {
        if self.watch.is_none() || meta.size == 0 {
            return Ok(());
        }
        self.through_memory(from, None, meta, path)
    }

    fn through_memory(
        &mut self,
        from: &OwnedFd,
        to: Option<&OwnedFd>,
        meta: &Metadata,
        path: &Path,
    ) -> Result<()> {
        self.buffer.resize(BUFFER, 0);
        let mut position = 0;
        loop {
            self.check_stop()?;
            let count = match rustix::io::read(from, &mut self.buffer[..]) {
                Ok(0) => break,
                Ok(count) => count,
                Err(Errno::INTR) => continue,
                Err(errno) => return Err(io("read", path, errno)),
            };
            let bytes = &self.buffer[..count];
            if let Some(watch) = self.watch.as_deref_mut() {
                watch.data(bytes);
            }
            if let Some(to) = to {
                write_all(to, bytes, position).map_err(|errno| io("write", path, errno))?;
            }
            position += count as u64;
            if position > meta.size {
                break;
            }
        }
        if position == meta.size { Ok(()) } else { Err(CopyError::Changed { path: path.to_owned() }) }
    }

    /// Lets the kernel copy a range, which shares the blocks where the file system can.
    fn range(&mut self, from: &OwnedFd, to: &OwnedFd, start: u64, end: u64, path: &Path) -> Result<()> {
        let (mut from_at, mut to_at) = (start, start);
        while from_at < end {
            if !self.ranges {
                return self.read_and_write(from, to, from_at, end, path);
            }
            let left = usize::try_from(end - from_at).unwrap_or(usize::MAX).min(RANGE);
            self.check_stop()?;
            match rustix::fs::copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), left) {
                Ok(0) => return Err(CopyError::Changed { path: path.to_owned() }),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::XDEV | Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::PERM) => {
                    self.ranges = false;
                }
                Err(errno) => return Err(io("copy", path, errno)),
            }
        }
        Ok(())
    }

    fn read_and_write(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        start: u64,
        end: u64,
        path: &Path,
    ) -> Result<()> {
        self.buffer.resize(BUFFER, 0);
        let mut position = start;
        while position < end {
            self.check_stop()?;
            let wanted = usize::try_from(end - position).unwrap_or(usize::MAX).min(BUFFER);
            match rustix::io::pread(from, &mut self.buffer[..wanted], position) {
                Ok(0) => return Err(CopyError::Changed { path: path.to_owned() }),
                Ok(count) => {
                    write_all(to, &self.buffer[..count], position)
                        .map_err(|errno| io("write", path, errno))?;
                    position += count as u64;
                }
                Err(Errno::INTR) => {}
                Err(errno) => return Err(io("read", path, errno)),
            }
        }
        Ok(())
    }

    /// Copies only what is not a hole.
    fn sparse(&mut self, from: &OwnedFd, to: &OwnedFd, meta: &Metadata, path: &Path) -> Result<()> {
        rustix::fs::ftruncate(to, meta.size).map_err(|errno| io("write", path, errno))?;
        let mut position = 0;
        while position < meta.size {
            let start = match rustix::fs::seek(from, SeekFrom::Data(position)) {
                Ok(start) => start,
                Err(Errno::NXIO) => return Ok(()),
                Err(Errno::INVAL) => return self.range(from, to, position, meta.size, path),
                Err(errno) => return Err(io("read", path, errno)),
            };
            let end = rustix::fs::seek(from, SeekFrom::Hole(start))
                .map_err(|errno| io("read", path, errno))?
                .min(meta.size);
            self.range(from, to, start, end, path)?;
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

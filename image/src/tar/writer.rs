//! Writes archives in the canonical form.

use std::io::{self, Read, Write};

use super::error::{EntryProblem, TarError};
use super::number::write_octal;
use super::path::ShownName;
use super::{BLOCK, Device, Entry, EntryKind, padding, pax};

/// How an archive is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The latest time that an entry may have, in seconds: later ones are clamped to it.
    pub epoch: Option<i64>,
}

/// Writes entries in the order in which they come; equal entries make equal bytes.
///
/// The order is the caller's: parents before children, whiteouts before the names beside them. The caller also
/// ends a file's contents; the writer refuses contents that are not as long as the entry says.
pub struct Writer<W> {
    inner: W,
    options: Options,
    before: &'static [u8],
    buffer: Vec<u8>,
}

const COPY_BUFFER: usize = 128 << 10;

/// The name of the headers that hold PAX records.
const PAX_NAME: &[u8] = b"PaxHeader";

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(inner: W, options: Options) -> Self {
        Self { inner, options, before: b"", buffer: Vec::new() }
    }

    /// Has every name begin with `./`, as in archives of what is in a folder.
    #[must_use]
    pub fn from_here(self) -> Self {
        Self { before: b"./", ..self }
    }

    /// Writes an entry and, for a file, its contents.
    pub fn append(&mut self, entry: &Entry, contents: &mut dyn Read) -> Result<(), TarError> {
        self.header(entry)?;
        let EntryKind::File { size } = entry.kind else { return Ok(()) };
        self.buffer.resize(COPY_BUFFER, 0);
        let mut left = size;
        while left > 0 {
            let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(self.buffer.len());
            let count = read(contents, &mut self.buffer[..wanted], entry)?;
            if count == 0 {
                return Err(size_mismatch(entry));
            }
            self.inner.write_all(&self.buffer[..count]).map_err(TarError::Write)?;
            left -= count as u64;
        }
        if read(contents, &mut self.buffer[..1], entry)? != 0 {
            return Err(size_mismatch(entry));
        }
        self.pad(size)
    }

    /// Writes an entry whose contents are at hand; anything but a file has none.
    pub fn append_bytes(&mut self, entry: &Entry, contents: &[u8]) -> Result<(), TarError> {
        if entry.size() != contents.len() as u64 {
            return Err(size_mismatch(entry));
        }
        self.header(entry)?;
        self.inner.write_all(contents).map_err(TarError::Write)?;
        self.pad(entry.size())
    }

    /// Writes the end of the archive and gives the writer below back.
    pub fn finish(mut self) -> Result<W, TarError> {
        self.inner.write_all(&[0; 2 * BLOCK]).map_err(TarError::Write)?;
        self.inner.flush().map_err(TarError::Write)?;
        Ok(self.inner)
    }

    fn pad(&mut self, size: u64) -> Result<(), TarError> {
        let zeros = [0; BLOCK];
        self.inner.write_all(&zeros[..padding(size) as usize]).map_err(TarError::Write)
    }

    fn header(&mut self, entry: &Entry) -> Result<(), TarError> {
        let mut records = Vec::new();
        let header = header(entry, self.options, self.before, &mut records)
            .map_err(|problem| TarError::Entry { offset: 0, name: shown(entry), problem })?;
        if !records.is_empty() {
            let block = records.len() as u64;
            let mut extended = tar::Header::new_ustar();
            let fields = extended.as_old_mut();
            fields.name[..PAX_NAME.len()].copy_from_slice(PAX_NAME);
            fields.linkflag = [b'x'];
            write_numbers(&mut extended, 0o644, 0, 0, block, 0);
            checksum(&mut extended);
            self.inner.write_all(extended.as_bytes()).map_err(TarError::Write)?;
            self.inner.write_all(&records).map_err(TarError::Write)?;
            self.pad(block)?;
        }
        self.inner.write_all(header.as_bytes()).map_err(TarError::Write)
    }
}

fn shown(entry: &Entry) -> ShownName {
    ShownName(entry.path.as_bytes().to_vec())
}

fn size_mismatch(entry: &Entry) -> TarError {
    TarError::SizeMismatch { name: shown(entry), expected: entry.size() }
}

fn read(contents: &mut dyn Read, buffer: &mut [u8], entry: &Entry) -> Result<usize, TarError> {
    loop {
        match contents.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done.map_err(|error| TarError::Content(shown(entry), error)),
        }
    }
}

/// Makes the header of an entry; what does not fit goes into PAX records, ordered by key.
fn header(
    entry: &Entry,
    options: Options,
    before: &[u8],
    records: &mut Vec<u8>,
) -> Result<tar::Header, EntryProblem> {
    let mut header = tar::Header::new_ustar();
    let mut extras: Vec<(&[u8], Vec<u8>)> = Vec::new();

    let (flag, target, device) = match &entry.kind {
        EntryKind::File { .. } => (b'0', None, None),
        EntryKind::Hardlink { target } => (b'1', Some([before, target.as_bytes()].concat()), None),
        EntryKind::Symlink { target } => (b'2', Some(target.clone()), None),
        EntryKind::CharDevice(device) => (b'3', None, Some(device)),
        EntryKind::BlockDevice(device) => (b'4', None, Some(device)),
        EntryKind::Directory => (b'5', None, None),
        EntryKind::Fifo => (b'6', None, None),
    };
    header.as_old_mut().linkflag = [flag];

    let mut name =
        if entry.path.is_root() { b".".to_vec() } else { [before, entry.path.as_bytes()].concat() };
    if entry.kind == EntryKind::Directory {
        name.push(b'/');
    }
    if !write_name(&mut header, &name) {
        let cut = name.len().min(100);
        header.as_old_mut().name[..cut].copy_from_slice(&name[..cut]);
        extras.push((b"path", name));
    }
    if let Some(target) = target {
        if target.is_empty() || target.contains(&0) {
            return Err(EntryProblem::EmptyTarget);
        }
        let cut = target.len().min(100);
        header.as_old_mut().linkname[..cut].copy_from_slice(&target[..cut]);
        if cut < target.len() {
            extras.push((b"linkpath", target));
        }
    }

    let size = entry.size();
    let seconds = options.epoch.map_or(entry.mtime.seconds, |epoch| entry.mtime.seconds.min(epoch));
    let mut fit = |key: &'static [u8], value: i128, digits: u32| {
        if value < 0 || value >= 1 << (3 * digits) {
            extras.push((key, value.to_string().into_bytes()));
            0
        } else {
            value as u64
        }
    };
    let uid = fit(b"uid", entry.uid.into(), 7);
    let gid = fit(b"gid", entry.gid.into(), 7);
    let size = fit(b"size", size.into(), 11);
    let mtime = fit(b"mtime", seconds.into(), 11);
    write_numbers(&mut header, entry.mode & 0o7777, uid, gid, size, mtime);
    if let Some(Device { major, minor }) = device {
        let fields = header.as_ustar_mut().ok_or(EntryProblem::Magic)?;
        write_octal(&mut fields.dev_major, (*major).into()).ok_or(EntryProblem::Number("device"))?;
        write_octal(&mut fields.dev_minor, (*minor).into()).ok_or(EntryProblem::Number("device"))?;
    }
    checksum(&mut header);

    extras.sort();
    for (key, value) in extras {
        pax::write_record(records, key, &value);
    }
    let mut xattrs: Vec<_> = entry.xattrs.iter().collect();
    xattrs.sort();
    for xattr in xattrs {
        pax::write_xattr(records, xattr);
    }
    Ok(header)
}

/// Puts a name into the name field, or splits it at a slash over prefix and name; says whether it fits.
fn write_name(header: &mut tar::Header, name: &[u8]) -> bool {
    if name.len() <= 100 {
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        return true;
    }
    // The earliest slash that leaves a name of 100 bytes; a slash at the very end is the folder's own.
    let earliest = name.len().saturating_sub(101);
    let Some(slash) = (earliest..name.len() - 1).find(|&at| name[at] == b'/') else { return false };
    if slash == 0 || slash > 155 {
        return false;
    }
    let Some(fields) = header.as_ustar_mut() else { return false };
    fields.prefix[..slash].copy_from_slice(&name[..slash]);
    fields.name[..name.len() - slash - 1].copy_from_slice(&name[slash + 1..]);
    true
}

/// Writes numbers that are known to fit their fields.
fn write_numbers(header: &mut tar::Header, mode: u32, uid: u64, gid: u64, size: u64, mtime: u64) {
    let fields = header.as_old_mut();
    let fits = write_octal(&mut fields.mode, mode.into())
        .and(write_octal(&mut fields.uid, uid))
        .and(write_octal(&mut fields.gid, gid))
        .and(write_octal(&mut fields.size, size))
        .and(write_octal(&mut fields.mtime, mtime));
    debug_assert!(fits.is_some(), "numbers were checked against their fields");
    if let Some(fields) = header.as_ustar_mut() {
        fields.dev_major = *b"0000000\0";
        fields.dev_minor = *b"0000000\0";
    }
}

/// Writes the checksum as ustar has it: six digits, NUL, space.
fn checksum(header: &mut tar::Header) {
    header.as_old_mut().cksum = [b' '; 8];
    let sum: u64 = header.as_bytes().iter().map(|&byte| u64::from(byte)).sum();
    let mut field = [b' '; 8];
    // 512 bytes of 255 are fewer than 8⁶.
    let _ = write_octal(&mut field[..7], sum);
    header.as_old_mut().cksum = field;
}

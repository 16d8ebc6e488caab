//! Making files, links, devices and directories from entries.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rbuild_confined::{Kind, Metadata, Owner, Time, chmod_nofollow, open_subdir};
use rbuild_image::tar::{Chunk, Device, Entry, EntryKind, Reader, Xattr};
use rustix::fs::{AtFlags, FallocateFlags, FileType, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;

use super::{ExtractError, Extractor, Result, io, place::Missing};
use crate::merged::Found;
use crate::xattr;

/// Files of this size are given their space at once: a full disk is told before the work.
const PREALLOCATE: u64 = 8 << 20;

/// Whether a file was just made, with mode 0600 and by this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fresh {
    Yes,
    No,
}

/// What an object gets besides its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Attributes {
    owner: Owner,
    mode: u32,
    /// Without one, the time is left alone.
    mtime: Option<Time>,
    xattrs: Vec<Xattr>,
    /// Whether a directory was only copied up to hold something: the archive has no entry for it.
    pub(super) carrier: bool,
}

impl Attributes {
    /// What a directory has that no entry describes.
    pub(super) fn implied(mtime: Option<Time>) -> Self {
        Self { owner: Owner::ROOT, mode: 0o755, mtime, xattrs: Vec::new(), carrier: false }
    }

    /// What an object of a lower layer has.
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            owner: meta.owner,
            mode: meta.mode,
            mtime: Some(meta.mtime),
            xattrs: Vec::new(),
            carrier: false,
        }
    }

    /// What a directory has that is copied up.
    pub(super) fn carrier(meta: &Metadata) -> Self {
        Self { carrier: true, ..Self::of(meta) }
    }
}

impl Extractor {
    pub(super) fn attributes(&mut self, entry: &Entry) -> Attributes {
        let kept = |xattr: &&Xattr| match &xattr.name[..] {
            b"security.capability" => is_plain_capability(&xattr.value),
            name => name.starts_with(b"user.") && !name.starts_with(b"user.overlay."),
        };
        let xattrs: Vec<Xattr> = entry.xattrs.iter().filter(kept).cloned().collect();
        self.extracted.dropped_attributes += (entry.xattrs.len() - xattrs.len()) as u64;
        Attributes {
            owner: self.rules.owner.unwrap_or(Owner::new(entry.uid, entry.gid)),
            mode: entry.mode,
            mtime: Some(Time { seconds: entry.mtime.seconds, nanos: entry.mtime.nanoseconds }),
            xattrs,
            carrier: false,
        }
    }

    /// Makes `name` a directory, or gives an existing one the entry's attributes.
    pub(super) fn directory(&mut self, name: &OsStr, entry: &Entry) -> Result<()> {
        let attributes = self.attributes(entry);
        self.make_dir(name, attributes)
    }

    pub(super) fn make_dir(&mut self, name: &OsStr, attributes: Attributes) -> Result<()> {
        let path = self.trail_path().join(name);
        match rustix::fs::mkdirat(self.here()?, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                if !self.written(name)?.is_some_and(|meta| meta.is_dir()) {
                    // What stands there, a whiteout perhaps, hides what lower layers have, and so does the directory.
                    let hides = matches!(self.below(name)?, Found::Directory { .. });
                    self.clear(name)?;
                    rustix::fs::mkdirat(self.here()?, name, Mode::RWXU)
                        .map_err(|errno| io("make directory", &path, errno))?;
                    if hides {
                        self.make_opaque(name)?;
                    }
                }
            }
            Err(errno) => return Err(io("make directory", &path, errno)),
        }
        self.dirs.insert(path, attributes);
        Ok(())
    }

    /// Hides what lower layers have in the directory `name`.
    pub(super) fn make_opaque(&mut self, name: &OsStr) -> Result<()> {
        let Some(marks) = self.marks else { return Ok(()) };
        let path = self.trail_path().join(name);
        let dir = open_subdir(self.here()?, name).map_err(|errno| io("open", &path, errno))?;
        xattr::set(&dir, marks.opaque.as_bytes(), b"y")
            .map_err(|errno| io("mark as opaque", &path, errno))?;
        self.forget_whiteouts(dir, &path)
    }

    /// Makes anything but a directory or a hard link.
    pub(super) fn node(
        &mut self,
        name: &OsStr,
        entry: &Entry,
        tar: &mut Reader<dyn Read + '_>,
    ) -> Result<()> {
        let attributes = self.attributes(entry);
        let path = self.trail_path().join(name);
        match &entry.kind {
            EntryKind::File { size } => {
                let file = self.create(name, &path)?;
                self.fill(&file, *size, &path, tar)?;
                self.finish_file(&file, &attributes, &path, Fresh::Yes)
            }
            EntryKind::Symlink { target } => {
                let target = OsStr::from_bytes(target);
                self.replacing(name, &path, "make link", |dir| rustix::fs::symlinkat(target, dir, name))?;
                self.finish_by_name(name, &attributes, &path, Kind::Symlink)
            }
            EntryKind::CharDevice(Device { major, minor }) => {
                self.device(name, &attributes, &path, Kind::CharDevice, (*major, *minor))
            }
            EntryKind::BlockDevice(Device { major, minor }) => {
                self.device(name, &attributes, &path, Kind::BlockDevice, (*major, *minor))
            }
            EntryKind::Fifo => self.device(name, &attributes, &path, Kind::Fifo, (0, 0)),
            EntryKind::Directory | EntryKind::Hardlink { .. } => Ok(()),
        }
    }

    /// Runs `make`, and once more after making room if the name is taken.
    fn replacing<T>(
        &mut self,
        name: &OsStr,
        path: &Path,
        act: &'static str,
        make: impl Fn(std::os::fd::BorrowedFd<'_>) -> std::result::Result<T, Errno>,
    ) -> Result<T> {
        match make(self.here()?) {
            Err(Errno::EXIST) => {
                self.clear(name)?;
                make(self.here()?).map_err(|errno| io(act, path, errno))
            }
            done => done.map_err(|errno| io(act, path, errno)),
        }
    }

    fn create(&mut self, name: &OsStr, path: &Path) -> Result<OwnedFd> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        self.replacing(name, path, "create", |dir| rustix::fs::openat(dir, name, flags, mode))
    }

    fn fill(
        &mut self,
        file: &OwnedFd,
        size: u64,
        path: &Path,
        tar: &mut Reader<dyn Read + '_>,
    ) -> Result<()> {
        let mut position = 0;
        // A sparse file is not given space for its holes.
        let mut reserved = size < PREALLOCATE || tar.is_sparse();
        loop {
            match tar.chunk(&mut self.buffer)? {
                Chunk::Data(count) => {
                    if !reserved && size / 2 > count as u64 {
                        reserve(file, size).map_err(|errno| io("reserve space for", path, errno))?;
                    }
                    reserved = true;
                    write_at(file, &self.buffer[..count], position)
                        .map_err(|errno| io("write", path, errno))?;
                    position += count as u64;
                }
                Chunk::Hole(length) => {
                    position += length;
                    rustix::fs::ftruncate(file, position).map_err(|errno| io("write", path, errno))?;
                }
                Chunk::End => return Ok(()),
            }
        }
    }

    /// Sets attributes in the order that keeps them: to change the owner takes set-user-id and capabilities away.
    fn finish_file(
        &mut self,
        file: &OwnedFd,
        attributes: &Attributes,
        path: &Path,
        fresh: Fresh,
    ) -> Result<()> {
        let Attributes { owner, mode, mtime, xattrs, carrier: _ } = attributes;
        let own = fresh == Fresh::Yes && self.private && self.as_root;
        if !(own && *owner == Owner::ROOT) {
            rustix::fs::fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                .map_err(|errno| cannot_own(path, *owner, errno))?;
        }
        for xattr in xattrs {
            match xattr::set(file, &xattr.name, &xattr.value) {
                Ok(()) => {}
                Err(Errno::OPNOTSUPP) if xattr.name != xattr::CAPABILITY.as_bytes() => {
                    self.extracted.dropped_attributes += 1;
                }
                Err(errno) => return Err(io("set an attribute of", path, errno)),
            }
        }
        if fresh == Fresh::No || *mode != 0o600 {
            rustix::fs::fchmod(file, Mode::from_raw_mode(*mode))
                .map_err(|errno| io("set the mode of", path, errno))?;
        }
        if let Some(mtime) = mtime {
            rustix::fs::futimens(file, &times(*mtime)).map_err(|errno| io("set the time of", path, errno))?;
        }
        Ok(())
    }

    fn finish_by_name(
        &mut self,
        name: &OsStr,
        attributes: &Attributes,
        path: &Path,
        kind: Kind,
    ) -> Result<()> {
        let Attributes { owner, mode, mtime, xattrs, carrier: _ } = attributes;
        self.extracted.dropped_attributes += xattrs.len() as u64;
        let dir = self.here()?;
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        rustix::fs::chownat(dir, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| cannot_own(path, *owner, errno))?;
        if kind != Kind::Symlink {
            chmod_nofollow(dir, name, kind, Mode::from_raw_mode(*mode))
                .map_err(|errno| io("set the mode of", path, errno))?;
        }
        if let Some(mtime) = mtime {
            rustix::fs::utimensat(dir, name, &times(*mtime), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| io("set the time of", path, errno))?;
        }
        Ok(())
    }

    fn device(
        &mut self,
        name: &OsStr,
        attributes: &Attributes,
        path: &Path,
        kind: Kind,
        (major, minor): (u32, u32),
    ) -> Result<()> {
        let file_type = match kind {
            Kind::BlockDevice => FileType::BlockDevice,
            Kind::CharDevice => FileType::CharacterDevice,
            _ => FileType::Fifo,
        };
        let number = rustix::fs::makedev(major, minor);
        let mode = Mode::RUSR | Mode::WUSR;
        let made = self.replacing(name, path, "make device", |dir| {
            rustix::fs::mknodat(dir, name, file_type, mode, number)
        });
        match made {
            Ok(()) => self.finish_by_name(name, attributes, path, kind),
            Err(ExtractError::Tree(error)) if error.errno() == Some(Errno::PERM) && kind != Kind::Fifo => {
                self.extracted.devices.push(path.to_owned());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Makes `name` in the directory `parent` another name of `target`; both are paths of the archive.
    pub(super) fn hardlink(&mut self, name: &OsStr, parent: &[u8], target: &[u8]) -> Result<()> {
        let path = PathBuf::from(OsStr::from_bytes(parent)).join(name);
        let target_path = Path::new(OsStr::from_bytes(target));
        let refuse = || ExtractError::Hardlink { path: path.clone(), target: target_path.to_owned() };
        let (target_dir, target_name) = match target.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&target[..slash], &target[slash + 1..]),
            None => (&b""[..], target),
        };
        let target_name = OsStr::from_bytes(target_name);
        if target_name.is_empty() || !self.enter(target_dir, Missing::Stop)? {
            return Err(refuse());
        }
        let dir = self.trail_path();
        let found = self.merged.lookup(&dir, self.layers(), target_name)?;
        let original = dir.join(target_name);
        self.enter(parent, Missing::Make)?;
        let here = self.trail_path().join(name);
        match found {
            Found::Absent | Found::Directory { .. } => Err(refuse()),
            // To make room for the name would take the target away.
            Found::Other { .. } if original != here && original.starts_with(&here) => Err(refuse()),
            Found::Other { layer: 0, .. } if original == here => Ok(()),
            Found::Other { layer: 0, .. } => self.link(name, &original, &here),
            Found::Other { layer, meta } => {
                if let Some(copy) = self.copies.get(&original).cloned()
                    && self.upper.find_nofollow(&copy)?.is_some()
                {
                    return self.link(name, &copy, &here);
                }
                self.copy_up(name, layer, &original, &meta, &here)?;
                self.copies.insert(original, here);
                Ok(())
            }
        }
    }

    fn link(&mut self, name: &OsStr, original: &Path, path: &Path) -> Result<()> {
        let (from_dir, from_name) = self.upper.parent(original)?;
        self.replacing(name, path, "link", |dir| {
            rustix::fs::linkat(&from_dir, &from_name, dir, name, AtFlags::empty())
        })
    }

    /// Copies a file, link or node of a lower layer.
    fn copy_up(&mut self, name: &OsStr, layer: usize, from: &Path, meta: &Metadata, to: &Path) -> Result<()> {
        let mut attributes = Attributes::of(meta);
        match meta.kind {
            Kind::File => {
                let source = self.merged.open_file(layer, from)?;
                if let Some(value) =
                    xattr::get(&source, xattr::CAPABILITY).map_err(|errno| io("inspect", from, errno))?
                {
                    attributes.xattrs.push(Xattr { name: xattr::CAPABILITY.into(), value });
                }
                let file = self.create(name, to)?;
                let mut file = File::from(file);
                std::io::copy(&mut File::from(source), &mut file)
                    .map_err(|error| rbuild_confined::Error::io("copy", to, error))?;
                self.finish_file(&file.into(), &attributes, to, Fresh::Yes)
            }
            Kind::Symlink => {
                let target = self.merged.read_link(layer, from)?;
                self.replacing(name, to, "make link", |dir| rustix::fs::symlinkat(&target, dir, name))?;
                self.finish_by_name(name, &attributes, to, Kind::Symlink)
            }
            kind => {
                let number = (rustix::fs::major(meta.rdev), rustix::fs::minor(meta.rdev));
                self.device(name, &attributes, to, kind, number)
            }
        }
    }

    /// Gives all directories their attributes, the deepest first.
    pub(super) fn finish_dirs(&mut self) -> Result<()> {
        for (path, attributes) in std::mem::take(&mut self.dirs).into_iter().rev() {
            // A later entry may have replaced the directory.
            let Some(handle) = self.upper.find_nofollow(&path).or_else(below_file)? else { continue };
            if !handle.metadata()?.is_dir() {
                continue;
            }
            let dir = handle.open_dir()?;
            self.finish_file(&dir, &attributes, &path, Fresh::No)?;
        }
        Ok(())
    }
}

/// A directory may have been replaced together with those above it.
fn below_file(
    error: rbuild_confined::Error,
) -> std::result::Result<Option<rbuild_confined::Handle>, rbuild_confined::Error> {
    if error.is_not_a_directory() { Ok(None) } else { Err(error) }
}

fn cannot_own(path: &Path, owner: Owner, errno: Errno) -> ExtractError {
    match errno {
        Errno::INVAL => ExtractError::Unmapped { path: path.to_owned(), owner },
        errno => io("set the owner of", path, errno),
    }
}

fn times(mtime: Time) -> Timestamps {
    Timestamps { last_access: mtime.timespec(), last_modification: mtime.timespec() }
}

fn reserve(file: &OwnedFd, size: u64) -> std::result::Result<(), Errno> {
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Ok(()) | Err(Errno::OPNOTSUPP | Errno::NOSYS) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn write_at(file: impl AsFd, bytes: &[u8], position: u64) -> std::result::Result<(), Errno> {
    let mut written = 0;
    while written < bytes.len() {
        match rustix::io::pwrite(&file, &bytes[written..], position + written as u64) {
            Ok(count) => written += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Whether capabilities are of the first or second form: the third belongs to one user namespace.
fn is_plain_capability(value: &[u8]) -> bool {
    matches!((value.len(), value.get(3)), (12, Some(1)) | (20, Some(2)))
}

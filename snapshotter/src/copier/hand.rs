//! Copying one object, by whichever thread.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rbuild_confined::{Error as TreeError, Kind, Metadata, Owner, Root, chmod_nofollow};
use rbuild_image::tar::Xattr;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timestamps, Uid};
use rustix::io::Errno;

use super::links::{Known, Links};
use super::{Capabilities, CopyError, CopyRules, Result, Sockets, Watch};
use crate::xattr;

/// What all who copy share.
pub(super) struct Hand<'a> {
    pub(super) rules: CopyRules<'a>,
    pub(super) watch: Option<&'a dyn Watch>,
    pub(super) stop: Option<&'a (dyn Fn() -> bool + Sync)>,
    as_root: bool,
    /// Whether the kernel has not yet refused to copy between these two file systems.
    pub(super) ranges: AtomicBool,
    pub(super) links: Links,
}

/// A place at the destination.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) dir: BorrowedFd<'a>,
    pub(super) name: &'a OsStr,
    /// For messages.
    pub(super) path: &'a Path,
    /// Whether new files get the directory's group.
    pub(super) inherits: bool,
}

impl<'a> Hand<'a> {
    pub(super) fn new(rules: CopyRules<'a>) -> Self {
        Self {
            rules,
            watch: None,
            stop: None,
            as_root: rustix::process::geteuid().is_root() && rustix::process::getegid().is_root(),
            ranges: AtomicBool::new(true),
            links: Links::default(),
        }
    }

    pub(super) fn check_stop(&self) -> Result<()> {
        if self.stop.is_some_and(|stop| stop()) { Err(CopyError::Stopped) } else { Ok(()) }
    }

    /// Copies a regular file of a folder; its other names are looked for in `tree`.
    pub(super) fn file_at(
        &self,
        source: &OwnedFd,
        place: Place<'_>,
        tree: &Root,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(source, place.name, flags, Mode::empty())
            .map_err(|errno| io("open", place.path, errno))?;
        self.file(&file, place, place.path, Some(tree), buffer)
    }

    /// Copies the link `name` of a folder.
    pub(super) fn link_at(&self, source: impl AsFd, meta: &Metadata, place: Place<'_>) -> Result<()> {
        let target = rustix::fs::readlinkat(source, place.name, Vec::new())
            .map_err(|errno| io("read link", place.path, errno))?;
        let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
        self.link(&target, meta, place, place.path)
    }

    /// Copies an open file; `links` is the tree in which its other names are, if they are to be kept.
    pub(super) fn file(
        &self,
        source: &OwnedFd,
        place: Place<'_>,
        path: &Path,
        links: Option<&Root>,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        self.check_stop()?;
        let stat = rustix::fs::fstat(source).map_err(|errno| io("inspect", path, errno))?;
        let meta = Metadata::from_stat(&stat);
        if meta.kind != Kind::File {
            return Err(TreeError::NotRegular { path: path.to_owned() }.into());
        }
        let inode = (meta.dev, meta.ino);
        let Some(tree) = links.filter(|_| meta.nlink > 1) else {
            return self.copy_file(source, &meta, place, path, buffer);
        };
        let claim = match self.links.find(inode) {
            Known::Mine(claim) => Some(claim),
            Known::At(original) => {
                let (dir, name) = tree.parent(&original)?;
                let linked = replacing(place, |place| {
                    rustix::fs::linkat(&dir, &name, place.dir, place.name, AtFlags::empty())
                });
                match linked {
                    Ok(()) => return self.show(source, &meta, path, buffer),
                    // A file system bounds the names of a file: this one is a file of its own.
                    Err(CopyError::Tree(error)) if error.errno() == Some(Errno::MLINK) => None,
                    Err(error) => return Err(error),
                }
            }
        };
        self.copy_file(source, &meta, place, path, buffer)?;
        if let Some(claim) = claim {
            claim.settle_at(place.path);
        }
        Ok(())
    }

    fn copy_file(
        &self,
        source: &OwnedFd,
        meta: &Metadata,
        place: Place<'_>,
        path: &Path,
        buffer: &mut Vec<u8>,
    ) -> Result<()> {
        let file = create(place)?;
        self.data(source, &file, meta, path, buffer)?;
        let own = || -> std::result::Result<Vec<Xattr>, Errno> {
            Ok(match self.rules.capabilities {
                Capabilities::Keep => {
                    let value = xattr::get(source, xattr::CAPABILITY)?;
                    let name = || xattr::CAPABILITY.as_bytes().to_vec();
                    value.into_iter().map(|value| Xattr { name: name(), value }).collect()
                }
                Capabilities::All => xattr::xattrs_of(source)?,
                Capabilities::Drop => Vec::new(),
            })
        };
        let attributes = own().map_err(|errno| io("inspect", path, errno))?;
        self.finish_file(&file, meta, place, &attributes)
    }

    /// Gives a new directory the attributes of its source, where they are wanted.
    pub(super) fn attributes_of_dir(&self, source: impl AsFd, dir: impl AsFd, path: &Path) -> Result<()> {
        if self.rules.capabilities != Capabilities::All {
            return Ok(());
        }
        xattr::copy_xattrs(source, dir).map_err(|errno| io("copy the attributes of", path, errno))
    }

    /// Gives a new file its attributes, in the order that keeps them.
    fn finish_file(
        &self,
        file: &OwnedFd,
        meta: &Metadata,
        place: Place<'_>,
        attributes: &[Xattr],
    ) -> Result<()> {
        let owner = self.rules.owner.unwrap_or(meta.owner);
        if place.inherits || !self.as_root || owner != Owner::ROOT {
            rustix::fs::fchown(file, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
                .map_err(|errno| cannot_own(place.path, owner, errno))?;
        }
        xattr::give(file, attributes)
            .map_err(|errno| io("set the capabilities and attributes of", place.path, errno))?;
        let mode = self.mode(Kind::File, meta.mode);
        if mode != 0o600 {
            rustix::fs::fchmod(file, Mode::from_raw_mode(mode))
                .map_err(|errno| io("set the mode of", place.path, errno))?;
        }
        rustix::fs::futimens(file, &self.times(meta))
            .map_err(|errno| io("set the time of", place.path, errno))
    }

    pub(super) fn finish_dir(&self, dir: &OwnedFd, meta: &Metadata, path: &Path) -> Result<()> {
        let owner = self.rules.owner.unwrap_or(meta.owner);
        rustix::fs::fchown(dir, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))
            .map_err(|errno| cannot_own(path, owner, errno))?;
        let mode = self.mode(Kind::Directory, meta.mode);
        rustix::fs::fchmod(dir, Mode::from_raw_mode(mode))
            .map_err(|errno| io("set the mode of", path, errno))?;
        rustix::fs::futimens(dir, &self.times(meta)).map_err(|errno| io("set the time of", path, errno))
    }

    pub(super) fn link(&self, target: &Path, meta: &Metadata, place: Place<'_>, path: &Path) -> Result<()> {
        if let Some(watch) = self.watch {
            watch.entry(path, meta, Some(target));
        }
        replacing(place, |place| rustix::fs::symlinkat(target, place.dir, place.name))?;
        self.finish_by_name(meta, place)
    }

    pub(super) fn special(&self, meta: &Metadata, place: Place<'_>, path: &Path) -> Result<()> {
        let file_type = match meta.kind {
            Kind::Socket if self.rules.sockets == Sockets::Skip => return Ok(()),
            Kind::Socket => FileType::RegularFile,
            Kind::CharDevice => FileType::CharacterDevice,
            Kind::BlockDevice => FileType::BlockDevice,
            _ => FileType::Fifo,
        };
        if let Some(watch) = self.watch {
            watch.entry(path, meta, None);
        }
        if file_type == FileType::RegularFile {
            let file = create(place)?;
            return self.finish_file(&file, meta, place, &[]);
        }
        let mode = Mode::RUSR | Mode::WUSR;
        replacing(place, |place| rustix::fs::mknodat(place.dir, place.name, file_type, mode, meta.rdev))?;
        let mode = Mode::from_raw_mode(self.mode(meta.kind, meta.mode));
        self.finish_by_name(meta, place)?;
        chmod_nofollow(place.dir, place.name, meta.kind, mode)
            .map_err(|errno| io("set the mode of", place.path, errno))
    }

    /// Gives what cannot be opened its owner and time.
    fn finish_by_name(&self, meta: &Metadata, place: Place<'_>) -> Result<()> {
        let owner = self.rules.owner.unwrap_or(meta.owner);
        let (uid, gid) = (Uid::from_raw(owner.uid), Gid::from_raw(owner.gid));
        if place.inherits || !self.as_root || owner != Owner::ROOT {
            rustix::fs::chownat(place.dir, place.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
                .map_err(|errno| cannot_own(place.path, owner, errno))?;
        }
        rustix::fs::utimensat(place.dir, place.name, &self.times(meta), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| io("set the time of", place.path, errno))
    }

    /// The times that the copy of an object gets.
    pub(super) fn times(&self, meta: &Metadata) -> Timestamps {
        let time = self.rules.mtime.unwrap_or(meta.mtime).timespec();
        Timestamps { last_access: time, last_modification: time }
    }

    fn mode(&self, kind: Kind, mode: u32) -> u32 {
        self.rules.mode.map_or(mode, |rule| rule(kind, mode) & 0o7777)
    }
}

fn create(place: Place<'_>) -> Result<OwnedFd> {
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::WRONLY | OFlags::CLOEXEC;
    let mode = Mode::RUSR | Mode::WUSR;
    replacing(place, |place| rustix::fs::openat(place.dir, place.name, flags, mode))
}

/// Runs `make`, and once more after the old file is unlinked if there is one; a directory is an error.
fn replacing<T>(place: Place<'_>, make: impl Fn(Place<'_>) -> std::result::Result<T, Errno>) -> Result<T> {
    match make(place) {
        Err(Errno::EXIST) => {
            match rustix::fs::unlinkat(place.dir, place.name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(Errno::ISDIR) => {
                    return Err(CopyError::OntoDirectory { path: place.path.to_owned() });
                }
                Err(errno) => return Err(io("replace", place.path, errno)),
            }
            make(place).map_err(|errno| io("create", place.path, errno))
        }
        done => done.map_err(|errno| io("create", place.path, errno)),
    }
}

pub(super) fn io(act: &'static str, path: &Path, errno: Errno) -> CopyError {
    TreeError::io(act, path, errno).into()
}

fn cannot_own(path: &Path, owner: Owner, errno: Errno) -> CopyError {
    match errno {
        Errno::INVAL => CopyError::Unmapped { path: path.to_owned(), owner },
        errno => io("set the owner of", path, errno),
    }
}

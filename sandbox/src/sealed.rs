//! A copy of our own program that nobody can change.
//!
//! A process that runs our code is visible from within a container (`/proc/<pid>/exe`), and whoever can open that
//! file could overwrite the program of the host. So the stages run from a copy that cannot be opened for writing: a
//! detached read-only overlay over the program's folder (no bytes are copied, the page cache is shared), else a
//! sealed file in memory.

use std::io::{self, Write as _};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, MemfdFlags, Mode, OFlags, SealFlags, StatxFlags};
use rustix::mount::MountAttrFlags;

use crate::mounts::{Filesystem, MountError};

/// A program that could not be copied.
#[derive(Debug, thiserror::Error)]
#[error("cannot make a sealed copy of the program `{}`: {act}", path.display())]
pub struct SealError {
    path: PathBuf,
    act: &'static str,
    #[source]
    source: io::Error,
}

/// A sealed program, ready to be executed by descriptor.
#[derive(Debug)]
pub struct SealedProgram {
    program: OwnedFd,
}

impl SealedProgram {
    /// Seals the program at a path.
    pub fn new(path: &Path) -> Result<Self, SealError> {
        let program = match overlay(path) {
            Some(program) => program,
            None => memory(path).map_err(|(act, source)| SealError { path: path.to_owned(), act, source })?,
        };
        Ok(Self { program })
    }

    /// Returns the path that this process can execute it by.
    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.program.as_raw_fd()))
    }
}

/// Mounts the program's folder read-only; `None` wherever that is not possible.
fn overlay(path: &Path) -> Option<OwnedFd> {
    let path = std::fs::canonicalize(path).ok()?;
    let (folder, name) = (path.parent()?, path.file_name()?);
    // An overlay without an upper wants two lowers: the second is an empty tmpfs.
    let empty =
        Filesystem::open("tmpfs").and_then(|tmpfs| tmpfs.mount(MountAttrFlags::MOUNT_ATTR_RDONLY)).ok()?;
    let folder =
        rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let mount = || -> Result<OwnedFd, MountError> {
        let overlay = Filesystem::open("overlay")?;
        // One string of two short names: this works on every kernel that knows fsopen.
        let lowers = format!("/proc/self/fd/{}:/proc/self/fd/{}", folder.as_raw_fd(), empty.as_raw_fd());
        overlay.set("lowerdir", &lowers)?;
        overlay.mount(MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV)
    };
    let mount = mount().ok()?;
    let program =
        rustix::fs::openat(&mount, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .ok()?;
    let same = |fd: &OwnedFd| rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::BASIC_STATS).ok();
    let original = rustix::fs::statx(CWD, &path, AtFlags::empty(), StatxFlags::BASIC_STATS).ok()?;
    let copy = same(&program)?;
    let facts = |stat: &rustix::fs::Statx| {
        (stat.stx_size, stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec, stat.stx_ino)
    };
    (facts(&original) == facts(&copy)).then_some(program)
}

fn memory(path: &Path) -> Result<OwnedFd, (&'static str, io::Error)> {
    let mut original = std::fs::File::open(path).map_err(|source| ("open it", source))?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = rustix::fs::memfd_create("rbuild", flags | MemfdFlags::EXEC)
        // Kernels before 6.3 know no flag for what they allow anyway.
        .or_else(|_| rustix::fs::memfd_create("rbuild", flags))
        .map_err(|errno| ("make a file in memory", errno.into()))?;
    let mut copy = std::fs::File::from(copy);
    io::copy(&mut original, &mut copy).and_then(|_| copy.flush()).map_err(|source| ("copy it", source))?;
    rustix::fs::fchmod(&copy, Mode::from_raw_mode(0o555))
        .map_err(|errno| ("make it executable", errno.into()))?;
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&copy, seals).map_err(|errno| ("seal it", errno.into()))?;
    let present = rustix::fs::fcntl_get_seals(&copy).map_err(|errno| ("verify its seals", errno.into()))?;
    if !present.contains(seals) {
        return Err(("verify its seals", io::Error::other("the kernel did not keep them")));
    }
    // A program that is open for writing cannot be executed.
    let path = format!("/proc/self/fd/{}", copy.as_fd().as_raw_fd());
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| ("open it again", errno.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(program: &OwnedFd, expected: &[u8]) {
        let path = format!("/proc/self/fd/{}", program.as_raw_fd());
        assert_eq!(std::fs::read(&path).unwrap(), expected);
        // A sealed file in memory can be opened for writing, and nothing else.
        let written =
            std::fs::OpenOptions::new().write(true).open(&path).and_then(|mut file| file.write_all(b"x"));
        let error = written.unwrap_err();
        assert!(matches!(error.raw_os_error(), Some(libc::EROFS | libc::EPERM | libc::EACCES)), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), expected);
    }

    #[test]
    fn a_sealed_program_is_the_same_and_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        std::fs::write(&path, b"#!/bin/true\n").unwrap();
        check(&memory(&path).unwrap(), b"#!/bin/true\n");
        match overlay(&path) {
            Some(program) => check(&program, b"#!/bin/true\n"),
            None => assert!(!rustix::process::geteuid().is_root(), "root can mount an overlay"),
        }
    }
}

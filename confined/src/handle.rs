//! One object inside a tree.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::metadata::Metadata;
use crate::root::Root;

/// A descriptor (`O_PATH`) of one object in a tree: it names the object, not its path.
#[derive(Debug)]
pub struct Handle {
    fd: OwnedFd,
    path: PathBuf,
}

impl Handle {
    pub(crate) fn new(fd: OwnedFd, path: PathBuf) -> Self {
        Self { fd, path }
    }

    /// Returns the path that the object was asked for by, for messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Inspects the object.
    pub fn metadata(&self) -> Result<Metadata> {
        match rustix::fs::fstat(&self.fd) {
            Ok(stat) => Ok(Metadata::from_stat(&stat)),
            Err(errno) => Err(Error::io("inspect", &self.path, errno)),
        }
    }

    /// Opens the directory for reading.
    pub fn open_dir(&self) -> Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, ".", flags, Mode::empty())
            .map_err(|errno| Error::io("open", &self.path, errno))
    }

    /// Opens the regular file for reading. Anything else is refused before it is opened: to open a device or a pipe
    /// can block or have effects.
    pub fn open_file(&self) -> Result<File> {
        if !self.metadata()?.is_file() {
            return Err(Error::NotRegular { path: self.path.clone() });
        }
        Ok(File::from(self.reopen(OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?))
    }

    /// Opens the same object anew with other flags, through the process's own descriptor table; what comes back is
    /// checked to be the same object.
    pub fn reopen(&self, flags: OFlags) -> Result<OwnedFd> {
        let failed = |errno: Errno| Error::io("open", &self.path, errno);
        let link = format!("/proc/self/fd/{}", self.fd.as_raw_fd());
        let fd = rustix::fs::openat(CWD, link, flags | OFlags::CLOEXEC, Mode::empty()).map_err(failed)?;
        let opened = Metadata::from_stat(&rustix::fs::fstat(&fd).map_err(failed)?);
        if !opened.same_object(&self.metadata()?) {
            return Err(Error::Moved { path: self.path.clone() });
        }
        Ok(fd)
    }

    /// Reads the target of the link that this object is.
    pub fn read_link(&self) -> Result<PathBuf> {
        match rustix::fs::readlinkat(&self.fd, "", Vec::new()) {
            Ok(target) => Ok(PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes()))),
            // An empty path names the descriptor itself only if that is a link.
            Err(Errno::NOENT) => Err(Error::io("read link", &self.path, Errno::INVAL)),
            Err(errno) => Err(Error::io("read link", &self.path, errno)),
        }
    }

    /// Inspects the entry `name` of this directory without following it; `None` if there is none.
    pub fn entry(&self, name: impl AsRef<std::ffi::OsStr>) -> Result<Option<Metadata>> {
        let name = name.as_ref();
        match rustix::fs::statat(&self.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(Metadata::from_stat(&stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(Error::io("inspect", self.path.join(name), errno)),
        }
    }

    /// Makes a root of this directory.
    pub fn into_root(self) -> Result<Root> {
        Root::from_fd(self.fd)
    }

    /// Duplicates the descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|error| Error::io("duplicate", &self.path, error))?;
        Ok(Self { fd, path: self.path.clone() })
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Handle> for OwnedFd {
    fn from(handle: Handle) -> Self {
        handle.fd
    }
}

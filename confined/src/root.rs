//! A tree that paths cannot leave.

use std::ffi::OsString;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::metadata::Metadata;
use crate::resolve::{self, Last};

/// Who walks the paths of a [`Root`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolver {
    /// The kernel, with `openat2`.
    Kernel,
    /// This crate, one component after the other.
    Emulated,
}

/// Whether a path may lead into another mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mounts {
    /// Mounts inside the tree are part of it.
    Cross,
    /// A path through another mount fails with `EXDEV`.
    Refuse,
}

/// A directory that is `/` for every path resolved through it.
///
/// Paths may be absolute or relative; both start at the root. Nothing here follows a link out of the tree.
#[derive(Debug)]
pub struct Root {
    fd: OwnedFd,
    path: PathBuf,
    resolver: Resolver,
    mounts: Mounts,
}

impl Root {
    /// Opens the tree at `path` of the host. The path itself is trusted, and its links are followed.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fd = rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|errno| Error::io("open", path, errno))?;
        Ok(Self::new(fd, path.to_owned()))
    }

    /// Makes a root of a descriptor of a directory, for instance of a mount that has no path.
    pub fn from_fd(fd: OwnedFd) -> Result<Self> {
        let stat = rustix::fs::fstat(&fd).map_err(|errno| Error::io("inspect", "/", errno))?;
        if !Metadata::from_stat(&stat).is_dir() {
            return Err(Error::io("open as a tree", "/", Errno::NOTDIR));
        }
        Ok(Self::new(fd, PathBuf::from("/")))
    }

    fn new(fd: OwnedFd, path: PathBuf) -> Self {
        static KERNEL_CAN: OnceLock<bool> = OnceLock::new();
        let kernel = *KERNEL_CAN.get_or_init(|| resolve::kernel_can(fd.as_fd()));
        let resolver = if kernel { Resolver::Kernel } else { Resolver::Emulated };
        Self { fd, path, resolver, mounts: Mounts::Cross }
    }

    /// Chooses who walks; meant for tests, as the choice makes no difference.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Resolver) -> Self {
        self.resolver = resolver;
        self
    }

    /// Chooses whether paths may cross into other mounts; by default they may.
    #[must_use]
    pub fn with_mounts(mut self, mounts: Mounts) -> Self {
        self.mounts = mounts;
        self
    }

    /// Duplicates the descriptor.
    pub fn try_clone(&self) -> Result<Self> {
        let fd = self.fd.try_clone().map_err(|error| Error::io("duplicate", &self.path, error))?;
        Ok(Self { fd, path: self.path.clone(), resolver: self.resolver, mounts: self.mounts })
    }

    /// Returns the path that the tree was opened by, for messages; `/` if it was opened by descriptor.
    pub fn host_path(&self) -> &Path {
        &self.path
    }

    /// Resolves `path` and follows every link inside the tree, the last component's too.
    pub fn resolve(&self, path: impl AsRef<Path>) -> Result<Handle> {
        self.walk(path.as_ref(), Last::Follow)
    }

    /// Resolves `path`; a link that is the last component is the result. A trailing `/` follows it all the same.
    pub fn resolve_nofollow(&self, path: impl AsRef<Path>) -> Result<Handle> {
        self.walk(path.as_ref(), Last::Keep)
    }

    /// Like [`Root::resolve`], but nothing there is `None` and not an error.
    pub fn find(&self, path: impl AsRef<Path>) -> Result<Option<Handle>> {
        absent_is_none(self.resolve(path))
    }

    /// Like [`Root::resolve_nofollow`], but nothing there is `None` and not an error.
    pub fn find_nofollow(&self, path: impl AsRef<Path>) -> Result<Option<Handle>> {
        absent_is_none(self.resolve_nofollow(path))
    }

    /// Resolves `path` free of links and dots and says where that is, relative to the root.
    ///
    /// This is for messages and for keys; another process may move things at any time.
    pub fn canonicalize(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        let path = path.as_ref();
        match resolve::walk(self.fd.as_fd(), path, Last::Follow, self.mounts, None) {
            Ok(found) => Ok(found.path),
            Err(errno) => Err(Error::io("resolve", path, errno)),
        }
    }

    fn walk(&self, path: &Path, last: Last) -> Result<Handle> {
        let emulated = || resolve::walk(self.fd.as_fd(), path, last, self.mounts, None).map(|found| found.fd);
        let fd = match self.resolver {
            Resolver::Kernel => match resolve::kernel(self.fd.as_fd(), path, last, self.mounts) {
                // The kernel gives up on a `..` while anything on the machine is being renamed; our walk does not.
                Err(Errno::AGAIN) => emulated(),
                done => done,
            },
            Resolver::Emulated => emulated(),
        };
        match fd {
            Ok(fd) => Ok(Handle::new(fd, path.to_owned())),
            Err(errno) => Err(Error::io("open", path, errno)),
        }
    }

    /// Resolves the directory that holds the last component of `path`, and returns it with that component's name.
    ///
    /// The name is for `*at` calls that do not follow: it may be missing or may be a link.
    pub fn parent(&self, path: impl AsRef<Path>) -> Result<(Handle, OsString)> {
        let path = path.as_ref();
        let (parent, name) = split(path).ok_or_else(|| Error::NoName { path: path.to_owned() })?;
        let dir = self.resolve(&parent)?;
        if !dir.metadata()?.is_dir() {
            return Err(Error::io("open", parent, Errno::NOTDIR));
        }
        Ok((dir, name))
    }

    /// Opens a regular file for reading, following links inside the tree; fails at once on anything else.
    pub fn open_file(&self, path: impl AsRef<Path>) -> Result<std::fs::File> {
        self.resolve(path)?.open_file()
    }

    /// Reads a regular file of at most `limit` bytes.
    pub fn read(&self, path: impl AsRef<Path>, limit: u64) -> Result<Vec<u8>> {
        let path = path.as_ref();
        let too_large = || Error::TooLarge { path: path.to_owned(), limit };
        let handle = self.resolve(path)?;
        let size = handle.metadata()?.size;
        let mut file = handle.open_file()?;
        if size > limit {
            return Err(too_large());
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
        file.by_ref()
            .take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(|error| Error::io("read", path, error))?;
        if bytes.len() as u64 > limit {
            return Err(too_large());
        }
        Ok(bytes)
    }

    /// Reads the target of the link at `path`, following links on the way to it.
    pub fn read_link(&self, path: impl AsRef<Path>) -> Result<PathBuf> {
        self.resolve_nofollow(path)?.read_link()
    }

    /// Inspects `path`, following links inside the tree.
    pub fn metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.resolve(path)?.metadata()
    }

    /// Inspects `path`; a link that is the last component is what is inspected.
    pub fn symlink_metadata(&self, path: impl AsRef<Path>) -> Result<Metadata> {
        self.resolve_nofollow(path)?.metadata()
    }
}

impl AsFd for Root {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<Root> for OwnedFd {
    fn from(root: Root) -> Self {
        root.fd
    }
}

fn absent_is_none(result: Result<Handle>) -> Result<Option<Handle>> {
    match result {
        Ok(handle) => Ok(Some(handle)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Splits off the last component by text; `None` if it is no name.
fn split(path: &Path) -> Option<(PathBuf, OsString)> {
    let mut bytes = path.as_os_str().as_bytes();
    while let [rest @ .., b'/'] = bytes {
        bytes = rest;
    }
    let start = bytes.iter().rposition(|&byte| byte == b'/').map_or(0, |slash| slash + 1);
    let (parent, name) = bytes.split_at(start);
    if matches!(name, b"" | b"." | b"..") {
        return None;
    }
    Some((PathBuf::from(OsString::from_vec(parent.to_vec())), OsString::from_vec(name.to_vec())))
}

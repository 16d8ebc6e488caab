//! Walks over a tree that need neither recursion nor a descriptor per level.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::metadata::{Kind, Metadata};
use crate::resolve::mount_of;

/// How many of the deepest levels keep their descriptor open.
const OPEN_LEVELS: usize = 48;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct DirEntry {
    /// The name: bytes without `/` and NUL, never `.` or `..`.
    pub name: OsString,
    /// The kind, where the file system tells it with the name.
    pub kind: Option<Kind>,
}

/// Reads all names of a directory, sorted by bytes, from its beginning.
pub fn read_dir(dir: impl AsFd) -> std::result::Result<Vec<DirEntry>, Errno> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 16 * 1024];
    let dir = dir.as_fd();
    rustix::fs::seek(dir, SeekFrom::Start(0))?;
    let mut entries = Vec::new();
    let mut raw = RawDir::new(dir, &mut buffer);
    while let Some(entry) = raw.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            entries.push(DirEntry {
                name: OsStr::from_bytes(name).to_owned(),
                kind: Kind::from_file_type(entry.file_type()),
            });
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

/// Opens the directory `name` in `dir` for reading, without following it.
pub fn open_subdir(dir: impl AsFd, name: impl AsRef<OsStr>) -> std::result::Result<OwnedFd, Errno> {
    rustix::fs::openat(
        dir,
        name.as_ref(),
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

/// The directories between a root and where a walk is, of which only the deepest stay open.
///
/// On the way back up a closed one is opened again as `..` and checked to be the directory that it was, so that a
/// concurrent rename cannot lead a walk out of its tree.
#[derive(Debug)]
pub struct DirStack {
    levels: Vec<Level>,
}

#[derive(Debug)]
enum Level {
    Open(OwnedFd),
    Closed { dev: u64, ino: u64 },
}

impl DirStack {
    /// Starts at `root`, which stays open.
    pub fn new(root: OwnedFd) -> Self {
        Self { levels: vec![Level::Open(root)] }
    }

    /// Returns the deepest directory.
    pub fn top(&self) -> BorrowedFd<'_> {
        match self.levels.last() {
            Some(Level::Open(fd)) => fd.as_fd(),
            _ => unreachable!("the deepest level is always open"),
        }
    }

    /// Returns how many directories lie below the root.
    pub fn depth(&self) -> usize {
        self.levels.len() - 1
    }

    /// Goes down into `dir`, which must lie in the deepest directory.
    pub fn push(&mut self, dir: OwnedFd) -> std::result::Result<(), Errno> {
        self.levels.push(Level::Open(dir));
        if self.levels.len() > OPEN_LEVELS + 1 {
            let at = self.levels.len() - 1 - OPEN_LEVELS;
            if at > 0
                && let Level::Open(fd) = &self.levels[at]
            {
                let stat = Metadata::from_stat(&rustix::fs::fstat(fd)?);
                self.levels[at] = Level::Closed { dev: stat.dev, ino: stat.ino };
            }
        }
        Ok(())
    }

    /// Goes up one level; `None` says that the directory there is not the one the walk came from.
    /// The root itself is never left.
    pub fn pop(&mut self) -> std::result::Result<Option<OwnedFd>, Errno> {
        if self.levels.len() == 1 {
            return Ok(None);
        }
        let Some(Level::Open(left)) = self.levels.pop() else {
            unreachable!("the deepest level is always open")
        };
        if let Some(level @ Level::Closed { .. }) = self.levels.last_mut() {
            let parent = open_subdir(left.as_fd(), OsStr::new(".."))?;
            let stat = Metadata::from_stat(&rustix::fs::fstat(&parent)?);
            if !matches!(*level, Level::Closed { dev, ino } if (dev, ino) == (stat.dev, stat.ino)) {
                return Ok(None);
            }
            *level = Level::Open(parent);
        }
        Ok(Some(left))
    }
}

/// What a walk meets next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// An entry of the current directory. To see what is below a directory, [`Walk::enter`] it now.
    Entry(DirEntry),
    /// All of the directory that was entered has been seen; the walk is back in its parent.
    Leave,
}

/// A walk over a tree in depth-first order; the names of a directory come sorted by bytes.
///
/// The caller decides at each directory whether to go in. Links are never followed.
#[derive(Debug)]
pub struct Walk {
    dirs: DirStack,
    pending: Vec<std::vec::IntoIter<DirEntry>>,
    path: PathBuf,
    /// Whether `path` ends with the name of the last entry, and not with the directory that the walk is in.
    at_entry: bool,
    mount: Option<u64>,
}

impl Walk {
    /// Starts in `dir`, a directory open for reading.
    pub fn new(dir: OwnedFd) -> Result<Self> {
        let entries = read_dir(&dir).map_err(|errno| Error::io("read directory", ".", errno))?;
        Ok(Self {
            dirs: DirStack::new(dir),
            pending: vec![entries.into_iter()],
            path: PathBuf::new(),
            at_entry: false,
            mount: None,
        })
    }

    /// Starts in `dir` and refuses to enter other mounts, with `EXDEV`.
    pub fn within_mount(dir: OwnedFd) -> Result<Self> {
        let mount = mount_of(dir.as_fd()).map_err(|errno| Error::io("inspect", ".", errno))?;
        Ok(Self { mount: Some(mount), ..Self::new(dir)? })
    }

    /// Returns the directory that the walk is in.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dirs.top()
    }

    /// Returns the path, relative to the start, of the last step's entry or of the directory just left.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how deep below the start the walk is.
    pub fn depth(&self) -> usize {
        self.dirs.depth()
    }

    /// Returns the entries of the current directory that the walk has yet to meet.
    pub fn pending(&self) -> &[DirEntry] {
        self.pending.last().map_or(&[], |entries| entries.as_slice())
    }

    /// Goes to the next entry, or back up; `None` at the end.
    #[allow(
        clippy::should_implement_trait,
        reason = "the walk is a cursor, not an iterator: it can be entered"
    )]
    pub fn next(&mut self) -> Result<Option<Step>> {
        if self.at_entry {
            self.path.pop();
            self.at_entry = false;
        }
        let Some(entries) = self.pending.last_mut() else { return Ok(None) };
        if let Some(entry) = entries.next() {
            self.path.push(&entry.name);
            self.at_entry = true;
            return Ok(Some(Step::Entry(entry)));
        }
        self.pending.pop();
        if self.pending.is_empty() {
            return Ok(None);
        }
        match self.dirs.pop() {
            Ok(Some(_)) => {}
            Ok(None) => return Err(Error::Moved { path: self.path.clone() }),
            Err(errno) => return Err(Error::io("walk", &self.path, errno)),
        }
        self.at_entry = true;
        Ok(Some(Step::Leave))
    }

    /// Inspects the last entry without following it.
    pub fn metadata(&self) -> Result<Metadata> {
        let name = self.path.file_name().unwrap_or(OsStr::new("."));
        match rustix::fs::statat(self.dir(), name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Metadata::from_stat(&stat)),
            Err(errno) => Err(Error::io("inspect", &self.path, errno)),
        }
    }

    /// Goes into the directory that the last entry is.
    pub fn enter(&mut self) -> Result<()> {
        let name = self.path.file_name().unwrap_or(OsStr::new("."));
        let fd = open_subdir(self.dir(), name).map_err(|errno| Error::io("open", &self.path, errno))?;
        self.enter_fd(fd)
    }

    /// Goes into `dir`, the last entry opened for reading by the caller.
    pub fn enter_fd(&mut self, dir: OwnedFd) -> Result<()> {
        let failed = |act, errno: Errno| Error::io(act, &self.path, errno);
        if let Some(mount) = self.mount
            && mount_of(dir.as_fd()).map_err(|errno| failed("inspect", errno))? != mount
        {
            return Err(failed("enter", Errno::XDEV));
        }
        let entries = read_dir(&dir).map_err(|errno| failed("read directory", errno))?;
        self.dirs.push(dir).map_err(|errno| Error::io("walk", &self.path, errno))?;
        self.pending.push(entries.into_iter());
        self.at_entry = false;
        Ok(())
    }
}

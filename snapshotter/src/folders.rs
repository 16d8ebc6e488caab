//! The places in the store that snapshots are kept in.

use std::path::{Path, PathBuf};

use rbuild_confined::{Error as TreeError, Root, remove_tree};
use rbuild_model::snapshot::SnapshotId;
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timestamps};
use rustix::io::Errno;

use crate::error::{Error, Result};

/// The folders that a snapshotter works in: absolute paths on one file system, closed to other users.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Folders {
    /// Where committed snapshots lie, a folder for each format.
    pub snapshots: PathBuf,
    /// Where active snapshots lie.
    pub tmp: PathBuf,
    /// Where removed ones wait until their files are gone.
    pub trash: PathBuf,
}

/// A snapshot that is out of sight, but whose files are still there.
#[derive(Debug)]
#[must_use = "the files stay until they are reclaimed"]
pub struct Condemned {
    trash: PathBuf,
    name: String,
}

impl Condemned {
    /// Deletes the files. To do this twice is no error.
    pub fn reclaim(self) -> Result<()> {
        Ok(remove_tree(Root::open(&self.trash)?, &self.name)?)
    }
}

/// The folders of one format, opened.
#[derive(Debug, Clone)]
pub struct Place {
    committed: PathBuf,
    tmp: PathBuf,
    trash: PathBuf,
}

impl Place {
    /// Opens the folders and makes those that are missing.
    pub(crate) fn open(folders: &Folders, format: &str) -> Result<Self> {
        for path in [&folders.snapshots, &folders.tmp, &folders.trash] {
            if !path.is_absolute() {
                return Err(Error::Relative { path: path.clone() });
            }
            make_dir(path, 0o700)?;
        }
        let committed = folders.snapshots.join(format);
        let empty = committed.join("empty");
        // The empty tree looks the same everywhere. Its time is set last, so a folder that has it is complete.
        let zero = rbuild_confined::Time::default().timespec();
        if !rustix::fs::stat(&empty).is_ok_and(|stat| stat.st_mtime == zero.tv_sec && stat.st_mtime_nsec == 0)
        {
            make_dir(&committed, 0o700)?;
            make_dir(&empty, 0o755)?;
            let times = Timestamps { last_access: zero, last_modification: zero };
            rustix::fs::utimensat(CWD, &empty, &times, AtFlags::empty())
                .map_err(|errno| TreeError::io("set the time of", empty, errno))?;
        }
        Ok(Self { committed, tmp: folders.tmp.clone(), trash: folders.trash.clone() })
    }

    /// Returns the folder that is always empty.
    pub(crate) fn empty(&self) -> PathBuf {
        self.committed.join("empty")
    }

    /// Returns the tree of a committed snapshot, which may be missing.
    pub(crate) fn tree(&self, id: SnapshotId) -> PathBuf {
        self.committed(id).join("fs")
    }

    /// Opens the tree of a committed snapshot.
    pub(crate) fn open_tree(&self, id: SnapshotId) -> Result<Root> {
        Root::open(self.tree(id)).map_err(|error| missing(id, error))
    }

    /// Returns the folder of a committed snapshot.
    pub(crate) fn committed(&self, id: SnapshotId) -> PathBuf {
        self.committed.join(id.to_string())
    }

    /// Notes beside the tree of an active snapshot that it is complete from now on.
    pub(crate) fn set_mark(&self, id: SnapshotId) -> Result<()> {
        let path = self.active(id).join("mark");
        rustix::fs::mknodat(CWD, &path, FileType::RegularFile, Mode::RUSR, 0)
            .map_err(|errno| TreeError::io("make", path, errno).into())
    }

    /// Returns the folder of an active snapshot.
    pub(crate) fn active(&self, id: SnapshotId) -> PathBuf {
        self.tmp.join(id.to_string())
    }

    /// Opens the tree of an active snapshot.
    pub(crate) fn open_active(&self, id: SnapshotId) -> Result<Root> {
        Root::open(self.active(id).join("fs")).map_err(|error| missing(id, error))
    }

    /// Makes the folder of a new active snapshot with a free name, and in it `fs`, whose attributes are not set yet.
    pub(crate) fn prepare(&self) -> Result<SnapshotId> {
        let mut bits = [0; 16];
        // The crate for this would open a file for it, in a program that is linked statically.
        rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty())
            .map_err(|errno| Error::Random(errno.into()))?;
        let id = SnapshotId::from_bytes(bits);
        let folder = self.active(id);
        make_dir(&folder, 0o700)?;
        make_dir(&folder.join("fs"), 0o700)?;
        Ok(id)
    }

    /// Moves an active snapshot among the committed ones.
    pub(crate) fn commit(&self, id: SnapshotId) -> Result<()> {
        let from = self.active(id);
        remove_tree(Root::open(&from).map_err(|error| missing(id, error))?, "work")?;
        rename(&from, &self.committed(id)).map_err(|error| missing(id, error))
    }

    /// Moves an active snapshot out of sight; `None` if it is not there.
    pub(crate) fn discard(&self, id: SnapshotId) -> Result<Option<Condemned>> {
        self.to_trash(&self.active(id), id)
    }

    /// Moves a committed snapshot out of sight; `None` if it is not there.
    pub(crate) fn condemn(&self, id: SnapshotId) -> Result<Option<Condemned>> {
        self.to_trash(&self.committed(id), id)
    }

    fn to_trash(&self, from: &Path, id: SnapshotId) -> Result<Option<Condemned>> {
        let name = id.to_string();
        match rename(from, &self.trash.join(&name)) {
            Ok(()) => Ok(Some(Condemned { trash: self.trash.clone(), name })),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn missing(id: SnapshotId, error: TreeError) -> Error {
    if error.is_not_found() { Error::Missing { id } } else { error.into() }
}

fn rename(from: &Path, to: &Path) -> std::result::Result<(), TreeError> {
    rustix::fs::rename(from, to).map_err(|errno| TreeError::io("move", from, errno))
}

pub(crate) fn make_dir(path: &Path, mode: u32) -> Result<()> {
    match rustix::fs::mkdirat(CWD, path, Mode::from_raw_mode(mode)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(TreeError::io("make directory", path, errno).into()),
    }
}

//! Putting files and trees under their names, with one of two promises.
//!
//! - [`Store::derived`]: what can be made again. It appears whole or not at all, survives `kill -9`, and costs no
//!   sync; its row carries a [`Stamp`](crate::promotion::Stamp) until promotion.
//! - [`Store::precious`]: what cannot. It is on the disk, with its name, before success is reported.
//!
//! Each offers the acts that somebody needs. Precious blobs and layers are published as derived ones and promoted by
//! [`Store::promote`] before their verb succeeds, which syncs all of them at once.
//!
//! A file is written without a name (`O_TMPFILE`) and linked when it is complete. Where the file system cannot do
//! that, and where an existing name is replaced, it is written in the process's folder under `tmp` and renamed. A
//! failed sync is final: the pages may be marked clean, so the file is dropped and never synced again.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::Store;
use crate::crash;
use crate::error::{Context, FileError};
use crate::layout::is_plain_name;

/// Who may do what with a published file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Content-addressed and never changed again: 0444.
    ReadOnly,
    /// The owner's alone: 0600.
    Private,
}

impl Access {
    pub(crate) fn mode(self) -> Mode {
        match self {
            Self::ReadOnly => Mode::RUSR | Mode::RGRP | Mode::ROTH,
            Self::Private => Mode::RUSR | Mode::WUSR,
        }
    }
}

/// Whether a name was free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The name was free and is ours.
    New,
    /// Somebody published the same object first; theirs stays.
    Existing,
}

/// A file that has no final name yet; dropping it removes it.
#[derive(Debug)]
pub struct TempFile {
    file: File,
    /// Where the file lies if the file system cannot hold files without a name.
    named: Option<PathBuf>,
}

impl TempFile {
    /// Returns the descriptor.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Returns how long the file is.
    pub fn size(&self) -> io::Result<u64> {
        Ok(rustix::fs::fstat(&self.file)?.st_size as u64)
    }

    fn link(&self, target: &Path) -> Result<(), Errno> {
        match &self.named {
            Some(path) => rustix::fs::linkat(CWD, path, CWD, target, AtFlags::empty()),
            None => {
                let path = format!("/proc/self/fd/{}", rustix::fd::AsRawFd::as_raw_fd(&self.file));
                rustix::fs::linkat(CWD, path, CWD, target, AtFlags::SYMLINK_FOLLOW)
            }
        }
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if let Some(path) = &self.named {
            // What stays is in the process's folder, which recovery empties.
            let _ = rustix::fs::unlink(path);
        }
    }
}

impl Write for TempFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for TempFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Seek for TempFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.seek(to)
    }
}

impl AsFd for TempFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// A folder that has no final name yet; dropping it throws it into the trash.
#[derive(Debug)]
pub struct TempTree {
    store: Store,
    path: PathBuf,
    /// Opened before the work began, so that `syncfs` on it reports every write error since.
    witness: OwnedFd,
    published: bool,
}

impl TempTree {
    /// Returns where the folder lies meanwhile.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempTree {
    fn drop(&mut self) {
        if !self.published {
            // What stays is in the process's folder, which recovery empties.
            let _ = self.store.discard(&self.path);
        }
    }
}

/// Publishing what can be made again.
#[derive(Clone, Copy)]
pub struct Derived<'a>(&'a Store);

/// Publishing what cannot be made again.
#[derive(Clone, Copy)]
pub struct Precious<'a>(&'a Store);

impl Derived<'_> {
    /// Gives a complete file its name; a name that is taken by a file of the same size is left as it is.
    pub fn publish(
        &self,
        file: TempFile,
        folder: &Path,
        name: &str,
        access: Access,
    ) -> Result<Published, FileError> {
        let target = checked_target(folder, name)?;
        rustix::fs::fchmod(&file.file, access.mode()).at("set the mode of", &target)?;
        let size = file.size().at("stat", &target)?;
        let published = loop {
            match file.link(&target) {
                Ok(()) => break Published::New,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(FileError::new("publish", &target, error)),
            }
            if stands(self.0, &target, size)? {
                break Published::Existing;
            }
        };
        crash::point("publish.linked");
        Ok(published)
    }

    /// Gives a complete tree its name, which must be free.
    ///
    /// All writers must have ended and nothing may be mounted in it.
    pub fn publish_tree(&self, tree: TempTree, folder: &Path, name: &str) -> Result<(), FileError> {
        rename_tree(tree, &checked_target(folder, name)?)
    }
}

impl Precious<'_> {
    /// Writes a small file, replacing what has that name; readers see the old or the new text.
    pub fn replace(&self, folder: &Path, name: &str, bytes: &[u8], access: Access) -> Result<(), FileError> {
        let target = checked_target(folder, name)?;
        let (mut file, path) = self.0.named_temp_file()?;
        file.write_all(bytes).at("write", &target)?;
        rustix::fs::fchmod(&file.file, access.mode()).at("set the mode of", &target)?;
        rustix::fs::fsync(&file.file).at("sync", &target)?;
        rustix::fs::rename(&path, &target).at("replace", &target)?;
        file.named = None;
        crash::point("replace.renamed");
        sync_folder(folder)
    }

    /// As [`Derived::publish_tree`], with all that is in the tree.
    ///
    /// All writers must have ended and nothing may be mounted in it.
    pub fn publish_tree(&self, tree: TempTree, folder: &Path, name: &str) -> Result<(), FileError> {
        let target = checked_target(folder, name)?;
        sync_tree(&tree.path, &tree.witness)?;
        rename_tree(tree, &target)?;
        sync_folder(folder)
    }

    /// Creates a folder if it is missing, and its missing parents below the root.
    pub fn create_folder(&self, path: &Path) -> Result<(), FileError> {
        if path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().filter(|parent| parent.starts_with(self.0.layout().root()));
        if let Some(parent) = parent {
            self.create_folder(parent)?;
        }
        create_private_folder(path)?;
        parent.map_or(Ok(()), sync_folder)
    }

    /// Removes a name for good; what had it goes into the trash. Repeatable.
    pub fn remove(&self, path: &Path) -> Result<(), FileError> {
        if self.0.discard(path)? {
            sync_folder(path.parent().unwrap_or(Path::new("/")))?;
        }
        Ok(())
    }
}

impl Store {
    /// Publishes what can be made again.
    pub fn derived(&self) -> Derived<'_> {
        Derived(self)
    }

    /// Publishes what cannot be made again.
    pub fn precious(&self) -> Precious<'_> {
        Precious(self)
    }

    /// Opens a file without a name on the file system of `folder`, in which it is to be published.
    pub fn temp_file(&self, folder: &Path) -> Result<TempFile, FileError> {
        let mode = Mode::RUSR | Mode::WUSR;
        match rustix::fs::open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
            Ok(file) => Ok(TempFile { file: file.into(), named: None }),
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => Ok(self.named_temp_file()?.0),
            Err(error) => Err(FileError::new("open a temporary file in", folder, error)),
        }
    }

    fn named_temp_file(&self) -> Result<(TempFile, PathBuf), FileError> {
        let path = self.temp_path()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
        let file = rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR).at("create", &path)?;
        Ok((TempFile { file: file.into(), named: Some(path.clone()) }, path))
    }

    /// Creates an empty folder for a tree that is to be published; it is private to the owner until then.
    pub fn temp_tree(&self) -> Result<TempTree, FileError> {
        let path = self.temp_path()?;
        let witness = open_folder(self.layout().root())?;
        create_private_folder(&path)?;
        Ok(TempTree { store: self.clone(), path, witness, published: false })
    }
}

/// Returns the path of a name in a folder, which cannot lead out of it.
pub(crate) fn checked_target(folder: &Path, name: &str) -> Result<PathBuf, FileError> {
    if is_plain_name(name) {
        return Ok(folder.join(name));
    }
    let error = io::Error::new(io::ErrorKind::InvalidInput, format!("not a plain file name: {name:?}"));
    Err(FileError::new("publish in", folder, error))
}

/// Whether the same object has its name, as somebody published it first; where it is gone again, or damaged, the name is
/// free.
pub(crate) fn stands(store: &Store, target: &Path, size: u64) -> Result<bool, FileError> {
    let theirs = match std::fs::metadata(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        stat => stat.at("stat", target)?,
    };
    if theirs.len() == size {
        return Ok(true);
    }
    // The same object has one size: the other file is damaged, so it makes room and is kept for inspection.
    store.quarantine(target)?;
    Ok(false)
}

fn rename_tree(mut tree: TempTree, target: &Path) -> Result<(), FileError> {
    rustix::fs::renameat_with(CWD, &tree.path, CWD, target, RenameFlags::NOREPLACE).at("publish", target)?;
    tree.published = true;
    crash::point("tree.renamed");
    Ok(())
}

/// Opens a folder for syncing.
pub(crate) fn open_folder(path: &Path) -> Result<OwnedFd, FileError> {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .at("open", path)
}

/// Makes the names in a folder survive a power loss.
pub(crate) fn sync_folder(path: &Path) -> Result<(), FileError> {
    rustix::fs::fsync(open_folder(path)?).at("sync", path)
}

/// Makes a tree, to which nobody writes any more, survive a power loss.
///
/// `witness` lies on its file system, and had better be opened before the tree was written, so that it hears of all
/// errors. Of a small tree each file and folder is synced for itself, as syncing the file system waits for what everybody
/// else has written there.
pub fn sync_tree(root: &Path, witness: impl AsFd) -> Result<(), FileError> {
    match sync_each(root, 100) {
        Ok(true) => Ok(()),
        // What belongs to a user of a container is not ours to open.
        Err(error) if error.source.kind() != io::ErrorKind::PermissionDenied => Err(error),
        Ok(false) | Err(_) => rustix::fs::syncfs(witness).at("sync the file system of", root),
    }
}

/// Syncs files and folders of a tree, what is in a folder before the folder itself; false if there are more than `most`.
/// What else there is (links, devices) has no content but in its folder.
fn sync_each(root: &Path, most: usize) -> Result<bool, FileError> {
    let (mut files, mut folders) = (Vec::new(), vec![root.to_owned()]);
    let mut next = 0;
    while let Some(folder) = folders.get(next).cloned() {
        for entry in std::fs::read_dir(&folder).at("list", &folder)? {
            let entry = entry.at("list", &folder)?;
            let kind = entry.file_type().at("stat", entry.path())?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
            if files.len() + folders.len() > most {
                return Ok(false);
            }
        }
        next += 1;
    }
    for file in &files {
        rustix::fs::fsync(File::open(file).at("open", file)?).at("sync", file)?;
    }
    folders.iter().rev().try_for_each(|folder| sync_folder(folder)).map(|()| true)
}

/// Creates a folder that only the owner may enter, if it is missing.
pub(crate) fn create_private_folder(path: &Path) -> Result<bool, FileError> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) => Ok(true),
        Err(Errno::EXIST) => Ok(false),
        Err(error) => Err(FileError::new("create", path, error)),
    }
}

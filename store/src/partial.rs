//! Files that are written over several attempts, also by several processes one after another.
//!
//! Such a file has a name from its first byte on, so that what a killed process wrote is found again. Nothing vouches
//! for what is in it: whoever goes on reads it from the beginning. Writers exclude each other by a lock of their own.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::Store;
use crate::crash;
use crate::durable::{Access, Published, checked_target, create_private_folder, stands};
use crate::error::{Context, FileError};

/// A file that an earlier attempt may have begun; an empty one goes when this is dropped, any other stays.
#[derive(Debug)]
pub struct PartialFile {
    file: File,
    path: PathBuf,
}

impl Store {
    /// Opens the file that earlier attempts wrote to under a name, or begins it. The folder is made at first need.
    pub fn partial_file(&self, folder: &Path, name: &str) -> Result<PartialFile, FileError> {
        let path = checked_target(folder, name)?;
        create_private_folder(folder)?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let open = || rustix::fs::open(&path, flags, Mode::RUSR | Mode::WUSR);
        let opened = match open() {
            // Of one who was killed just before it got its name for good.
            Err(Errno::ACCESS) => {
                rustix::fs::unlink(&path).at("remove", &path)?;
                open()
            }
            opened => opened,
        };
        Ok(PartialFile { file: opened.at("open", &path)?.into(), path })
    }
}

impl PartialFile {
    /// Returns the descriptor.
    pub fn as_file(&self) -> &File {
        &self.file
    }

    /// Throws away what is in it.
    pub fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        Ok(())
    }

    /// Gives the file, which is whole by now, its name as derived data; a name that is taken by a file of the same size
    /// is left as it is.
    pub fn publish(
        self,
        store: &Store,
        folder: &Path,
        name: &str,
        access: Access,
    ) -> Result<Published, FileError> {
        let target = checked_target(folder, name)?;
        rustix::fs::fchmod(&self.file, access.mode()).at("set the mode of", &target)?;
        let size = self.file.metadata().at("stat", &target)?.len();
        let published = loop {
            match rustix::fs::renameat_with(CWD, &self.path, CWD, &target, RenameFlags::NOREPLACE) {
                Ok(()) => break Published::New,
                Err(Errno::EXIST) => {}
                Err(error) => return Err(FileError::new("publish", &target, error)),
            }
            if stands(store, &target, size)? {
                rustix::fs::unlink(&self.path).at("remove", &self.path)?;
                break Published::Existing;
            }
        };
        crash::point("publish.linked");
        Ok(published)
    }
}

impl Read for PartialFile {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.read(bytes)
    }
}

impl Write for PartialFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for PartialFile {
    fn drop(&mut self) {
        // One that was published has another name; what cannot be removed is swept one day.
        if self.file.metadata().is_ok_and(|stat| stat.len() == 0) {
            let _ = rustix::fs::unlink(&self.path);
        }
    }
}

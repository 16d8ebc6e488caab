//! What the kernel tells of changes in folders (inotify): one instance for any number of them.

use std::ffi::OsString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt as _;
use std::path::Path;

use rustix::fs::inotify;
use rustix::io::Errno;

pub(crate) use rustix::fs::inotify::{ReadFlags as Happened, WatchFlags as Wanted};

/// Changes in folders that are watched.
#[derive(Debug)]
pub(crate) struct Notices {
    fd: OwnedFd,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The number of the folder, as [`Notices::add`] returned it; -1 where notices were lost.
    pub(crate) folder: i32,
    /// What happened.
    pub(crate) what: Happened,
    /// To what in the folder; nothing for the folder itself.
    pub(crate) name: Option<OsString>,
}

impl Notices {
    /// Begins; nothing is watched yet.
    pub(crate) fn new() -> io::Result<Self> {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        Ok(Self { fd: inotify::init(flags)? })
    }

    /// Watches a folder or file; returns its number. One that is watched already keeps its number.
    pub(crate) fn add(&self, path: &Path, wanted: Wanted) -> io::Result<i32> {
        Ok(inotify::add_watch(&self.fd, path, wanted)?)
    }

    /// Takes what has come until now; waits for nothing.
    pub(crate) fn take(&self) -> io::Result<Vec<Notice>> {
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        let mut notices = Vec::new();
        loop {
            match reader.next() {
                Ok(event) => notices.push(Notice {
                    folder: event.wd(),
                    what: event.events(),
                    name: event.file_name().map(|name| OsString::from_vec(name.to_bytes().to_vec())),
                }),
                Err(Errno::WOULDBLOCK) => return Ok(notices),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl AsFd for Notices {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_told_by_folder_and_name() {
        let folder = tempfile::tempdir().unwrap();
        let notices = Notices::new().unwrap();
        let number = notices.add(folder.path(), Wanted::CREATE).unwrap();
        assert_eq!(notices.take().unwrap(), []);
        std::fs::write(folder.path().join("a"), "").unwrap();
        let told = notices.take().unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].folder, told[0].name.as_deref()), (number, Some("a".as_ref())));
        assert_eq!(notices.add(folder.path(), Wanted::CREATE).unwrap(), number);
    }
}

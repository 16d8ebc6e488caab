//! The mode of an entry that others may exchange at any time.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use crate::metadata::Kind;

/// Sets the mode of the entry `name` of `dir`, which has to be of one kind; a link is never followed.
///
/// The kernel's own call for a name follows links, so a name that was made a moment ago may lead anywhere by now. Here
/// the object is held by a descriptor that opens nothing (`O_PATH`: pipes do not block, devices have no effects), and
/// what is held is looked at and changed. Something of another kind is left as it is and `ESTALE`.
pub fn chmod_nofollow(dir: BorrowedFd<'_>, name: &OsStr, kind: Kind, mode: Mode) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let object = rustix::fs::openat(dir, name, flags, Mode::empty())?;
    let found = FileType::from_raw_mode(rustix::fs::fstat(&object)?.st_mode);
    if Kind::from_file_type(found) != Some(kind) {
        return Err(Errno::STALE);
    }
    rustix::fs::chmodat(CWD, format!("/proc/self/fd/{}", object.as_raw_fd()), mode, AtFlags::empty())
}

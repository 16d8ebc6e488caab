//! Files of the run folder that are replaced whole: readers see the old text or the new one. None of it is of use after the
//! machine's end, so nothing is synced. A run folder that lies on a disk may hold empty ones after a power loss: they count as none.

use std::io;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, RenameFlags};
use rustix::io::Errno;

/// Puts a file in the place of another one, which is removed, or where there is none.
///
/// Some file systems begin to write a file that is renamed over another one to the disk (ext4, lest a power loss leave an
/// empty one), 0.1 ms and more. That the two are exchanged and the old one goes is no such case. A process that is
/// killed in between leaves the old one under the name of the fresh one.
pub fn put(fresh: &Path, path: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, fresh, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(rustix::fs::unlinkat(CWD, fresh, AtFlags::empty())?),
        // There is none yet, or the file system knows no exchange.
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => Ok(rustix::fs::rename(fresh, path)?),
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_comes_whole_and_nothing_is_left_of_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let (fresh, path) = (folder.path().join("fresh"), folder.path().join("file"));
        for text in ["one", "two"] {
            std::fs::write(&fresh, text).unwrap();
            put(&fresh, &path).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert!(!fresh.exists());
        }
        assert_eq!(put(&fresh, &path).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
    }
}

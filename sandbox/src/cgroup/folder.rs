//! A group's folder in one hierarchy: its files, and the lock that says whose it is.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::CgroupError;
use super::limits::Setting;

/// The group's folder in one hierarchy.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) version: Version,
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
}

/// A folder that was [claimed](Folder::claim), until this is dropped.
#[derive(Debug)]
pub(super) struct Claim(pub(super) Folder);

impl Drop for Claim {
    fn drop(&mut self) {
        // By closing alone it would last as long as a process that was begun meanwhile has the folder.
        let _ = rustix::fs::flock(&self.0.fd, FlockOperation::Unlock);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// The file by which a thread enters a group of version 1, with a `0` for itself.
///
/// For a process of one thread that is the whole process. By `cgroup.procs` it would wait for a grace period of the kernel, up
/// to twenty milliseconds: no process may be made or end while a whole one is moved.
pub(super) const OWN_THREAD: &str = "tasks";

impl Folder {
    pub(super) fn open(version: Version, path: PathBuf) -> Result<Self, CgroupError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::openat(CWD, &path, flags, Mode::empty())
            .map_err(|errno| CgroupError::file("open the cgroup", &path, errno))?;
        Ok(Self { version, path, fd })
    }

    /// Says, for as long as this process lives, that the group is somebody's; false if it was taken away meanwhile.
    pub(super) fn hold(&self) -> bool {
        // Waits for one who is just taking it away. Where there are no such locks, nobody takes anything away.
        let _ = rustix::fs::flock(&self.fd, FlockOperation::LockShared);
        let inode = |stat: rustix::fs::Stat| stat.st_ino;
        rustix::fs::stat(&self.path).map(inode) == rustix::fs::fstat(&self.fd).map(inode)
    }

    /// Tells whether nobody holds it; from then on others wait with making one of this name.
    pub(super) fn is_free(&self) -> bool {
        rustix::fs::flock(&self.fd, FlockOperation::NonBlockingLockExclusive).is_ok()
    }

    /// Keeps all others who ask for it from changing what the groups below it share.
    pub(super) fn claim(self) -> Claim {
        // Where there are no such locks, it is done all the same.
        let _ = rustix::fs::flock(&self.fd, FlockOperation::LockExclusive);
        Claim(self)
    }

    pub(super) fn file(&self, name: &str, access: OFlags) -> Result<OwnedFd, CgroupError> {
        rustix::fs::openat(&self.fd, name, access | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|errno| CgroupError::file("open", self.path.join(name), errno))
    }

    /// Kills who is in this hierarchy's group: a process that was being put into all of them may be in one only.
    pub(super) fn kill_each(&self) {
        for pid in self.read("cgroup.procs").unwrap_or_default().lines() {
            let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else { continue };
            if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            }
        }
    }

    pub(super) fn read(&self, name: &str) -> Option<String> {
        read_all(&self.file(name, OFlags::RDONLY).ok()?).ok()
    }

    pub(super) fn write(&self, name: &str, value: &str) -> Result<(), CgroupError> {
        let file = self.file(name, OFlags::WRONLY)?;
        rustix::io::write(&file, value.as_bytes())
            .map(drop)
            .map_err(|errno| CgroupError::file("write to", self.path.join(name), errno))
    }

    pub(super) fn set(&self, setting: &Setting) -> Result<(), CgroupError> {
        match self.write(setting.file, &setting.value) {
            Err(CgroupError::File { source, .. })
                if setting.optional && source.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            result => result,
        }
    }
}

pub(super) fn read_all(file: &OwnedFd) -> Result<String, Errno> {
    let mut bytes = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        match rustix::io::read(file, &mut bytes[length..])? {
            0 => break,
            count => length += count,
        }
        if length == bytes.len() {
            bytes.resize(2 * length, 0);
        }
    }
    bytes.truncate(length);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

pub(super) fn make_folder(path: &Path) -> Result<(), CgroupError> {
    match rustix::fs::mkdir(path, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(CgroupError::file("make the cgroup", path, errno)),
    }
}

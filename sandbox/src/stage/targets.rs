//! Finding and making places within the new root.
//!
//! A place is found by one `openat2` that cannot leave the root. What is missing is made component by component on
//! descriptors: symlinks are read and walked as text, `..` goes back along the descriptors walked, so that no other
//! process can move the walk out of the root by exchanging names. What was made is remembered with its identity, so
//! that a build step can leave its layer without the mount points that the mounts needed.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::{Act, Doing, refuse};
use crate::mounts::retry_again;
use crate::script::Stub;

const MAX_LINKS: usize = 40;

/// What a missing place is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// The tree that a container or step will see.
pub(super) struct Tree<'init> {
    root: &'init OwnedFd,
    device: u64,
    stubs: Vec<Stub>,
}

impl<'init> Tree<'init> {
    /// Looks at a root: the top of an attached mount.
    pub(super) fn new(root: &'init OwnedFd) -> Act<Self> {
        let device = rustix::fs::fstat(root).doing(|| "look at the root".to_owned())?.st_dev;
        Ok(Self { root, device, stubs: Vec::new() })
    }

    /// Gives up what was made for mounts, parents first.
    pub(super) fn into_stubs(self) -> Vec<Stub> {
        self.stubs
    }

    /// Opens a place (`O_PATH`) by a path that is resolved within the root.
    pub(super) fn find(&self, path: &str) -> Result<OwnedFd, Errno> {
        find_in(self.root.as_fd(), path)
    }

    /// Opens a place and makes what is missing of it; what was made is a stub unless `keep`.
    pub(super) fn provide(&mut self, path: &str, kind: Kind, keep: bool) -> Act<OwnedFd> {
        match self.find(path) {
            Err(Errno::NOENT) => {}
            result => {
                let place = result.doing(|| format!("open `{path}` within the root"))?;
                let (here, root) = (rustix::fs::fstat(&place), rustix::fs::fstat(self.root));
                if let (Ok(here), Ok(root)) = (here, root)
                    && (here.st_dev, here.st_ino) == (root.st_dev, root.st_ino)
                {
                    return refuse(format!("mount on `{path}`"), "it is the root itself");
                }
                return Ok(place);
            }
        }
        let mut made = Vec::new();
        let place =
            self.make(path, kind, (0, 0), &mut made).doing(|| format!("make `{path}` within the root"));
        if !keep {
            self.stubs.append(&mut made);
        }
        place
    }

    /// Opens a folder and makes what is missing of it, owned by `owner`, to stay.
    pub(super) fn provide_folder(&mut self, path: &str, owner: (u32, u32)) -> Act<OwnedFd> {
        match self.find(path) {
            Err(Errno::NOENT) => {}
            result => return result.doing(|| format!("open `{path}` within the root")),
        }
        self.make(path, Kind::Directory, owner, &mut Vec::new())
            .doing(|| format!("make `{path}` within the root"))
    }

    fn make(
        &self,
        path: &str,
        kind: Kind,
        owner: (u32, u32),
        made: &mut Vec<Stub>,
    ) -> Result<OwnedFd, Errno> {
        let mut ahead: VecDeque<String> = path.split('/').map(str::to_owned).collect();
        // The folders walked below the root, each with its name.
        let mut walked: Vec<(String, OwnedFd)> = Vec::new();
        let mut links = 0;
        while let Some(name) = ahead.pop_front() {
            match name.as_str() {
                "" | "." => continue,
                ".." => {
                    walked.pop();
                    continue;
                }
                _ => {}
            }
            let here = walked.last().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd());
            let last = ahead.iter().all(|name| name.is_empty() || name == ".");
            let (place, stat) = match open_here(here, &name) {
                Ok(found) => found,
                Err(Errno::NOENT) => {
                    let as_file = last && kind == Kind::File;
                    let (place, stat) = make_here(here, &name, as_file, owner)?;
                    if rustix::fs::fstat(here)?.st_dev == self.device {
                        let parents = walked.iter().map(|(name, _)| name.as_str());
                        let path = parents.chain([name.as_str()]).collect::<Vec<_>>().join("/");
                        made.push(Stub {
                            path,
                            device: stat.st_dev,
                            inode: stat.st_ino,
                            directory: !as_file,
                        });
                    }
                    (place, stat)
                }
                Err(errno) => return Err(errno),
            };
            match FileType::from_raw_mode(stat.st_mode) {
                FileType::Symlink => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(Errno::LOOP);
                    }
                    let target = rustix::fs::readlinkat(&place, "", Vec::new())?;
                    let target = target.into_string().map_err(|_| Errno::INVAL)?;
                    if target.starts_with('/') {
                        walked.clear();
                    }
                    for name in target.split('/').rev() {
                        ahead.push_front(name.to_owned());
                    }
                }
                FileType::Directory => walked.push((name, place)),
                _ if last => return Ok(place),
                _ => return Err(Errno::NOTDIR),
            }
        }
        match walked.pop() {
            Some((_, place)) => Ok(place),
            None => rustix::io::fcntl_dupfd_cloexec(self.root, 3),
        }
    }
}

/// Opens a place (`O_PATH`) by a path that is resolved within `root`.
pub(super) fn find_in(root: BorrowedFd<'_>, path: &str) -> Result<OwnedFd, Errno> {
    let relative = path.trim_start_matches('/');
    let relative = if relative.is_empty() { "." } else { relative };
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    retry_again(|| {
        rustix::fs::openat2(root, relative, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), resolve)
    })
}

/// Requires a real folder at a path of one or two components, with no symlink on the way.
pub(super) fn require_folder(tree: &Tree<'_>, path: &str) -> Act {
    let relative = path.trim_start_matches('/');
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_SYMLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    match retry_again(|| rustix::fs::openat2(tree.root, relative, flags, Mode::empty(), resolve)) {
        Ok(_) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::LOOP | Errno::NOTDIR) => {
            refuse(format!("mount on `{path}`"), "the image has no real folder there")
        }
        Err(errno) => Err(errno).doing(|| format!("open `{path}` within the root")),
    }
}

fn open_here(here: BorrowedFd<'_>, name: &str) -> Result<(OwnedFd, Stat), Errno> {
    let place =
        rustix::fs::openat(here, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&place)?;
    Ok((place, stat))
}

fn make_here(
    here: BorrowedFd<'_>,
    name: &str,
    as_file: bool,
    owner: (u32, u32),
) -> Result<(OwnedFd, Stat), Errno> {
    if as_file {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
        match rustix::fs::openat(here, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        return open_here(here, name);
    }
    match rustix::fs::mkdirat(here, name, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let (place, stat) = open_here(here, name)?;
    if owner != (0, 0) {
        let (uid, gid) = (rustix::fs::Uid::from_raw(owner.0), rustix::fs::Gid::from_raw(owner.1));
        rustix::fs::chownat(&place, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    }
    Ok((place, stat))
}

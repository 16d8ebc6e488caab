//! Masked and read-only paths.
//!
//! All of it happens on descriptors of the new root, after everything else is mounted. A folder is covered by one
//! shared empty tmpfs, a file by the verified null device.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::targets::Tree;
use super::{Act, Doing, devices, refuse};
use crate::mounts::{Depth, Filesystem, attach, clone_mount};
use crate::sys::{MountAttr, mount_setattr};

fn quiet_and_readonly() -> u64 {
    let flags = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    flags.bits().into()
}

/// Makes paths read-only, with everything mounted below them.
pub(super) fn make_readonly(paths: &[String], tree: &Tree<'_>) -> Act {
    for path in paths {
        let act = || format!("make `{path}` read-only");
        let Some(place) = existing(tree, path)? else { continue };
        let mount = clone_mount(place.as_fd(), Depth::All).doing(act)?;
        let attr =
            MountAttr { set: quiet_and_readonly(), propagation: libc::MS_PRIVATE, ..MountAttr::default() };
        mount_setattr(mount.as_fd(), true, &attr).doing(act)?;
        attach(mount.as_fd(), place.as_fd()).doing(act)?;
    }
    Ok(())
}

/// Covers paths, so that nothing of them can be read.
pub(super) fn mask(paths: &[String], tree: &Tree<'_>) -> Act {
    let mut cover: Option<OwnedFd> = None;
    for path in paths {
        let act = || format!("mask `{path}`");
        let Some(place) = existing(tree, path)? else { continue };
        let stat = rustix::fs::fstat(&place).doing(act)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            let first = match &cover {
                Some(attached) => clone_mount(attached.as_fd(), Depth::One).doing(act)?,
                None => empty_folder().doing(act)?,
            };
            attach(first.as_fd(), place.as_fd()).doing(act)?;
            cover.get_or_insert(first);
        } else {
            let Some(null) = devices::null(tree) else {
                return refuse(act(), "`/dev/null` within the root is not the null device");
            };
            let mount = devices::null_mount(&null).doing(act)?;
            // Without nodev: the cover is a device, and must stay one that can be opened.
            let set = (MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC).bits().into();
            let attr = MountAttr { set, propagation: libc::MS_PRIVATE, ..MountAttr::default() };
            mount_setattr(mount.as_fd(), false, &attr).doing(act)?;
            attach(mount.as_fd(), place.as_fd()).doing(act)?;
            let now = tree.find(path).and_then(rustix::fs::fstat).doing(act)?;
            if now.st_rdev != rustix::fs::makedev(1, 3) {
                return refuse(act(), "what covers it now is not the null device");
            }
        }
    }
    Ok(())
}

fn existing(tree: &Tree<'_>, path: &str) -> Act<Option<OwnedFd>> {
    match tree.find(path) {
        Ok(place) => Ok(Some(place)),
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(errno) => Err(errno).doing(|| format!("open `{path}` within the root")),
    }
}

fn empty_folder() -> Result<OwnedFd, crate::mounts::MountError> {
    let tmpfs = Filesystem::open("tmpfs")?;
    for (key, value) in [("mode", "0755"), ("nr_blocks", "1"), ("nr_inodes", "2")] {
        tmpfs.set(key, value)?;
    }
    let mut flags = MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NOSUID;
    flags |= MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    tmpfs.mount(flags)
}

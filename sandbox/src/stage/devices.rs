//! The contents of `/dev`: device nodes and the well-known links.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::mounts::Cargo;
use super::targets::{Kind, Tree};
use super::{Act, Doing, refuse};
use crate::mounts::{Depth, attach, clone_mount};
use crate::script::ScriptDevice;

/// Links in `/dev`, in all containers.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

/// Makes the nodes, or binds the host's where nodes cannot be made.
pub(super) fn make<'a>(
    devices: impl Iterator<Item = &'a ScriptDevice>,
    cargo: &Cargo<'_>,
    proc: &OwnedFd,
    tree: &mut Tree<'_>,
) -> Act {
    for device in devices {
        let path = &device.path;
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let parent = tree.provide(folder, Kind::Directory, true)?;
        match make_node(&parent, name, device, proc) {
            Ok(()) => {}
            Err(Errno::PERM) if device.host.is_some() => bind_node(device, cargo, tree)?,
            Err(errno) => return Err(errno).doing(|| format!("make the device `{path}`")),
        }
    }
    Ok(())
}

fn make_node(parent: &OwnedFd, name: &str, device: &ScriptDevice, proc: &OwnedFd) -> Result<(), Errno> {
    let kind = if device.block { FileType::BlockDevice } else { FileType::CharacterDevice };
    let number = rustix::fs::makedev(device.major, device.minor);
    match rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(device.mode), number) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let node =
        rustix::fs::openat(parent, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = rustix::fs::fstat(&node)?;
    if FileType::from_raw_mode(stat.st_mode) != kind || stat.st_rdev != number {
        return Err(Errno::EXIST);
    }
    let (uid, gid) = (Uid::from_raw(device.uid), Gid::from_raw(device.gid));
    rustix::fs::chownat(&node, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    // One that was there has another mode. Not by name: in a volume another container may put a link in its place.
    let object = format!("self/fd/{}", node.as_raw_fd());
    rustix::fs::chmodat(proc, object, Mode::from_raw_mode(device.mode), AtFlags::empty())
}

fn bind_node(device: &ScriptDevice, cargo: &Cargo<'_>, tree: &mut Tree<'_>) -> Act {
    let path = &device.path;
    let Some(index) = device.host else { return Ok(()) };
    let host = cargo.fd(index)?;
    let target = tree.provide(path, Kind::File, true)?;
    attach(host, target.as_fd()).doing(|| format!("bind the device `{path}`"))
}

/// Makes the links, where the folder is ours.
pub(super) fn link(tree: &Tree<'_>) -> Act {
    let dev = tree.find("/dev").doing(|| "open `/dev` within the root".to_owned())?;
    for (name, target) in LINKS {
        match rustix::fs::symlinkat(target, &dev, name) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let present = rustix::fs::readlinkat(&dev, name, Vec::new());
                if present.is_ok_and(|present| present.as_bytes() == target.as_bytes()) {
                    continue;
                }
                return refuse(format!("make the link `/dev/{name}`"), "something else is there");
            }
            Err(errno) => return Err(errno).doing(|| format!("make the link `/dev/{name}`")),
        }
    }
    Ok(())
}

/// Opens the null device within the root, verified.
pub(super) fn null(tree: &Tree<'_>) -> Option<OwnedFd> {
    let place = tree.find("/dev/null").ok()?;
    let stat = rustix::fs::fstat(&place).ok()?;
    let is_null = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
        && stat.st_rdev == rustix::fs::makedev(1, 3);
    is_null.then_some(place)
}

/// Clones the null device's own mount, for covering files with it.
pub(super) fn null_mount(null: &OwnedFd) -> Result<OwnedFd, Errno> {
    clone_mount(null.as_fd(), Depth::One)
}

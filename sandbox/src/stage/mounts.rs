//! The mounts of a script, attached one after the other within the new root.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;

use super::park::Parked;
use super::targets::{Kind, Tree, find_in, require_folder};
use super::{Act, Doing, refuse};
use crate::mounts::{Depth, Filesystem, attach, clone_mount};
use crate::script::{Attributes, FdIndex, NewFilesystem, ScriptMount, ScriptSource};
use crate::sys::{MountAttr, mount_setattr};

/// What came with a script.
pub(super) struct Cargo<'frame> {
    pub(super) blob: &'frame [u8],
    pub(super) fds: &'frame [OwnedFd],
}

impl<'frame> Cargo<'frame> {
    /// Returns the descriptor at a place.
    pub(super) fn fd(&self, index: FdIndex) -> Act<BorrowedFd<'frame>> {
        match self.fds.get(usize::from(index)) {
            Some(fd) => Ok(fd.as_fd()),
            None => refuse("read the order", format!("descriptor {index} is missing")),
        }
    }
}

const PROC_MAGIC: i64 = 0x9fa0;

/// Attaches the mounts in their order; `devpts` gets the last pty file system of them.
pub(super) fn attach_all(
    mounts: &[ScriptMount],
    cargo: &Cargo<'_>,
    parked: &Parked,
    tree: &mut Tree<'_>,
) -> Act<Option<OwnedFd>> {
    let mut devpts = None;
    for (place, mount) in mounts.iter().enumerate() {
        let path = &mount.target;
        let (detached, kind) = match &mount.source {
            ScriptSource::Fd(index) => {
                let fd = cargo.fd(*index)?;
                let fd = rustix::io::fcntl_dupfd_cloexec(fd, 3)
                    .doing(|| format!("take the mount for `{path}`"))?;
                let kind = kind_of(&fd, path)?;
                (fd, kind)
            }
            ScriptSource::Within { root, path: inner } => {
                let root = cargo.fd(*root)?;
                let fd = within(root, inner, place, parked)?;
                let kind = kind_of(&fd, path)?;
                (fd, kind)
            }
            ScriptSource::New { kind, options } => {
                if *kind == NewFilesystem::Sysfs {
                    require_folder(tree, path)?;
                }
                let mode =
                    covered_mode(*kind, options, tree, path).map(|mode| ("mode".to_owned(), Some(mode)));
                let fd = new_filesystem(*kind, options.iter().chain(&mode), parked, path)?;
                if *kind == NewFilesystem::Devpts {
                    devpts =
                        Some(rustix::io::fcntl_dupfd_cloexec(&fd, 3).doing(|| "keep the devpts".to_owned())?);
                }
                (fd, Kind::Directory)
            }
            ScriptSource::Proc => {
                require_folder(tree, path)?;
                let fd = rustix::io::fcntl_dupfd_cloexec(&parked.proc, 3)
                    .doing(|| "take the procfs".to_owned())?;
                (fd, Kind::Directory)
            }
            ScriptSource::Cgroup { v1, v2 } => {
                attach_cgroups(v1, v2.as_deref(), mount, tree)?;
                continue;
            }
            ScriptSource::File { content, mode, uid, gid } => {
                let Some(bytes) = content.of(cargo.blob) else {
                    return refuse("read the order", "a file's content is missing");
                };
                (file(bytes, *mode, (*uid, *gid), place, parked, path)?, Kind::File)
            }
        };
        set_attributes(&detached, &mount.attributes)
            .doing(|| format!("set attributes of the mount on `{path}`"))?;
        let target = tree.provide(path, kind, mount.keep_target)?;
        attach(detached.as_fd(), target.as_fd()).doing(|| format!("mount on `{path}`"))?;
        if matches!(mount.source, ScriptSource::Proc) {
            verify_proc(tree, path)?;
        }
    }
    Ok(devpts)
}

fn kind_of(fd: &OwnedFd, path: &str) -> Act<Kind> {
    let stat = rustix::fs::fstat(fd).doing(|| format!("look at the mount for `{path}`"))?;
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        _ => Kind::File,
    })
}

pub(super) fn set_attributes(mount: &OwnedFd, attributes: &Attributes) -> std::io::Result<()> {
    let propagation = if attributes.propagation == 0 { libc::MS_PRIVATE } else { attributes.propagation };
    let Attributes { set, clear, recursive, .. } = *attributes;
    let spread = attributes.spread.unwrap_or(recursive);
    if spread == recursive {
        return mount_setattr(mount.as_fd(), recursive, &MountAttr { set, clear, propagation, userns: 0 });
    }
    // What is said of the mounts below differs, so it takes two calls.
    mount_setattr(mount.as_fd(), spread, &MountAttr { propagation, ..MountAttr::default() })?;
    if set == 0 && clear == 0 {
        return Ok(());
    }
    mount_setattr(mount.as_fd(), recursive, &MountAttr { set, clear, ..MountAttr::default() })
}

/// Makes a folder in the staging tmpfs.
fn staging_folder(parked: &Parked, name: &str) -> Result<OwnedFd, Errno> {
    rustix::fs::mkdirat(&parked.staging, name, Mode::from_raw_mode(0o700))?;
    rustix::fs::openat(
        &parked.staging,
        name,
        OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY,
        Mode::empty(),
    )
}

/// Clones one path of a root that is not attached: it is attached out of sight for that.
fn within(root: BorrowedFd<'_>, path: &str, place: usize, parked: &Parked) -> Act<OwnedFd> {
    let name = format!("tree{place}");
    let act = || format!("take `{path}` from another root");
    // One root may be the source of several mounts: each gets a clone.
    let folder = staging_folder(parked, &name).doing(act)?;
    attach(root, folder.as_fd()).doing(act)?;
    let top = rustix::fs::openat(&parked.staging, &name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
        .doing(act)?;
    let inner = find_in(top.as_fd(), path).doing(act)?;
    clone_mount(inner.as_fd(), Depth::One).doing(act)
}

/// A file system's option: its name, and its value if it is no flag.
type NewOption = (String, Option<String>);

/// Says which mode the top of a tmpfs has that is given none: that of the folder that it covers.
fn covered_mode(kind: NewFilesystem, options: &[NewOption], tree: &Tree<'_>, path: &str) -> Option<String> {
    if kind != NewFilesystem::Tmpfs || options.iter().any(|(key, _)| key == "mode") {
        return None;
    }
    let stat = rustix::fs::fstat(tree.find(path).ok()?).ok()?;
    let folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    folder.then(|| format!("{:o}", stat.st_mode & 0o7777))
}

fn new_filesystem<'o>(
    kind: NewFilesystem,
    options: impl Iterator<Item = &'o NewOption>,
    parked: &Parked,
    path: &str,
) -> Act<OwnedFd> {
    let act = || format!("make the {} for `{path}`", kind.name());
    if kind == NewFilesystem::Sysfs {
        return match &parked.sysfs {
            Some(sysfs) => rustix::io::fcntl_dupfd_cloexec(sysfs, 3).doing(act),
            None => refuse(
                act(),
                "the kernel allows none in this user namespace without a network namespace of its own",
            ),
        };
    }
    let filesystem = Filesystem::open(kind.name()).doing(act)?;
    for (key, value) in options {
        match value {
            Some(value) => filesystem.set(key, value),
            None => filesystem.set_flag(key),
        }
        .doing(act)?;
    }
    filesystem.mount(MountAttrFlags::empty()).doing(act)
}

fn file(
    bytes: &[u8],
    mode: u32,
    owner: (u32, u32),
    place: usize,
    parked: &Parked,
    path: &str,
) -> Act<OwnedFd> {
    let act = || format!("make the file for `{path}`");
    let name = format!("file{place}");
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&parked.staging, &name, flags, Mode::from_raw_mode(0o600)).doing(act)?;
    let mut rest = bytes;
    while !rest.is_empty() {
        let count = rustix::io::write(&file, rest).doing(act)?;
        rest = &rest[count..];
    }
    rustix::fs::fchown(&file, Some(Uid::from_raw(owner.0)), Some(Gid::from_raw(owner.1))).doing(act)?;
    // The mode last: a change of owner takes bits away.
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).doing(act)?;
    clone_mount(file.as_fd(), Depth::One).doing(act)
}

fn verify_proc(tree: &Tree<'_>, path: &str) -> Act {
    let proc = tree.find(path).doing(|| format!("open `{path}` again"))?;
    let kind = rustix::fs::fstatfs(&proc).doing(|| format!("look at `{path}`"))?.f_type as i64;
    let inode = rustix::fs::fstat(&proc).doing(|| format!("look at `{path}`"))?.st_ino;
    if kind != PROC_MAGIC || inode != 1 {
        return refuse(format!("mount on `{path}`"), "what is there now is no procfs");
    }
    Ok(())
}

/// Shows the cgroup namespace: one version 2 mount, or a tmpfs with a mount for each hierarchy.
fn attach_cgroups(
    v1: &[(String, String)],
    v2: Option<&str>,
    mount: &ScriptMount,
    tree: &mut Tree<'_>,
) -> Act {
    let path = &mount.target;
    let act = |name: &str| format!("mount the cgroup hierarchy `{name}` below `{path}`");
    let target = tree.provide(path, Kind::Directory, mount.keep_target)?;
    if v2 == Some("") {
        let cgroup2 =
            Filesystem::open("cgroup2").and_then(|fs| fs.mount(MountAttrFlags::empty())).doing(|| act(""))?;
        set_attributes(&cgroup2, &mount.attributes).doing(|| act(""))?;
        return attach(cgroup2.as_fd(), target.as_fd()).doing(|| act(""));
    }
    let tmpfs = Filesystem::open("tmpfs").doing(|| act(""))?;
    for (key, value) in [("mode", "0755"), ("size", "64k"), ("nr_inodes", "64")] {
        tmpfs.set(key, value).doing(|| act(""))?;
    }
    let top = tmpfs.mount(MountAttrFlags::empty()).doing(|| act(""))?;
    attach(top.as_fd(), target.as_fd()).doing(|| act(""))?;
    let hierarchies = v1
        .iter()
        .map(|(name, option)| (name.as_str(), Some(option.as_str())))
        .chain(v2.map(|name| (name, None)));
    for (name, option) in hierarchies {
        let filesystem =
            Filesystem::open(if option.is_some() { "cgroup" } else { "cgroup2" }).doing(|| act(name))?;
        match option.map(|option| option.split_once('=').ok_or(option)) {
            Some(Ok((key, value))) => filesystem.set(key, value).doing(|| act(name))?,
            Some(Err(options)) => {
                for controller in options.split(',') {
                    filesystem.set_flag(controller).doing(|| act(name))?;
                }
            }
            None => {}
        }
        let hierarchy = filesystem.mount(MountAttrFlags::empty()).doing(|| act(name))?;
        set_attributes(&hierarchy, &mount.attributes).doing(|| act(name))?;
        rustix::fs::mkdirat(&top, name, Mode::from_raw_mode(0o755)).doing(|| act(name))?;
        let place = rustix::fs::openat(&top, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .doing(|| act(name))?;
        attach(hierarchy.as_fd(), place.as_fd()).doing(|| act(name))?;
        for controller in
            v1.iter().filter(|(folder, _)| folder == name).flat_map(|(_, option)| option.split(','))
        {
            if controller != name && !controller.contains('=') {
                rustix::fs::symlinkat(name, &top, controller).doing(|| act(name))?;
            }
        }
    }
    set_attributes(&top, &mount.attributes).doing(|| act(""))
}

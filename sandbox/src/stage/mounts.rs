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
/// The files of a procfs that something may cover: those that tell of the whole machine, so that a container may be
/// told of its own part instead.
const PROC_FILES: [&str; 10] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// What became of the mounts.
#[derive(Default)]
pub(super) struct Attached {
    /// The last pty file system among them.
    pub(super) devpts: Option<OwnedFd>,
    /// The devices of the file systems in memory that were made for them.
    made: Vec<u64>,
}

impl Attached {
    /// Whether `/dev` is a file system that was made for this program, and not a folder that others have too.
    pub(super) fn has_own_dev(&self, tree: &Tree<'_>) -> bool {
        let dev = tree.find("/dev").and_then(rustix::fs::fstat);
        dev.is_ok_and(|dev| self.made.contains(&dev.st_dev))
    }
}

/// Attaches the mounts in their order.
pub(super) fn attach_all(
    mounts: &[ScriptMount],
    cargo: &Cargo<'_>,
    parked: &Parked,
    tree: &mut Tree<'_>,
) -> Act<Attached> {
    let mut attached = Attached::default();
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
                match kind {
                    NewFilesystem::Devpts => {
                        let kept = rustix::io::fcntl_dupfd_cloexec(&fd, 3);
                        attached.devpts = Some(kept.doing(|| "keep the devpts".to_owned())?);
                    }
                    NewFilesystem::Tmpfs => {
                        let stat = rustix::fs::fstat(&fd);
                        attached.made.push(stat.doing(|| format!("look at the mount for `{path}`"))?.st_dev);
                    }
                    _ => {}
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
        check_place(&detached, kind, &target, path)?;
        attach(detached.as_fd(), target.as_fd()).doing(|| format!("mount on `{path}`"))?;
        if matches!(mount.source, ScriptSource::Proc) {
            verify_proc(tree, path)?;
        }
    }
    Ok(attached)
}

/// Looks whether something may be mounted on a place: on a folder if it is a folder, and on nothing of a procfs, which
/// programs trust to be the kernel's.
fn check_place(mount: &OwnedFd, kind: Kind, place: &OwnedFd, path: &str) -> Act {
    let act = || format!("mount on `{path}`");
    match (kind, kind_of(place, path)?) {
        (Kind::File, Kind::Directory) => {
            return refuse(
                act(),
                "a file was to be mounted on a folder: is the path on the host the right one?",
            );
        }
        (Kind::Directory, Kind::File) => {
            return refuse(
                act(),
                "a folder was to be mounted on a file: is the path on the host the right one?",
            );
        }
        _ => {}
    }
    let top = |place: &OwnedFd| -> Act<Option<bool>> {
        let in_proc = rustix::fs::fstatfs(place).doing(act)?.f_type as i64 == PROC_MAGIC;
        Ok(if in_proc { Some(rustix::fs::fstat(place).doing(act)?.st_ino == 1) } else { None })
    };
    match top(place)? {
        None => Ok(()),
        Some(_) if PROC_FILES.contains(&path) => Ok(()),
        // A procfs in the place of another, as it is.
        Some(true) if top(mount)? == Some(true) => Ok(()),
        Some(_) => refuse(act(), "it is in `/proc`, where only the kernel says what is true"),
    }
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
    // What is said of the mounts below differs, so it takes two calls; and a third where they would stay peers of the
    // host's: what is mounted in them would be seen there, and only a shared mount may do that.
    if !spread && propagation != libc::MS_SHARED {
        let follow = MountAttr { propagation: libc::MS_SLAVE, ..MountAttr::default() };
        mount_setattr(mount.as_fd(), true, &follow)?;
    }
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

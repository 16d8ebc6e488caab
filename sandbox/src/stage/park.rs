//! An init up to its parking: everything that does not depend on what it will run.
//!
//! Making namespaces takes its time, and copying and dropping the host's mount table costs with its length: that happens
//! here, ahead of the order. A parked init holds no mount of the
//! host: its root is an empty tmpfs in which the order's mounts will be put together.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::mount::{MountAttrFlags, MountPropagationFlags, UnmountFlags};
use rustix::process::{DumpableBehavior, Signal};
use rustix::thread::UnshareFlags;

use super::{Act, Doing, init, refuse};
use crate::mounts::{Depth, Filesystem, attach, clone_mount};
use crate::script::{InitMessage, Script, SpawnRequest, StageFailure};
use crate::sys;
use crate::wire::{self, WireError};

/// What an init has from the server.
pub(super) struct Inherited<'server> {
    /// Where its order comes from.
    pub(super) order: OwnedFd,
    /// A pidfd of the server.
    pub(super) maker: &'server OwnedFd,
    /// `tasks` files of version 1 cgroups.
    pub(super) joins: Vec<OwnedFd>,
    /// Namespaces.
    pub(super) enter: Vec<OwnedFd>,
}

/// What a parked init holds.
pub(super) struct Parked {
    /// Where orders come from and failures go to.
    pub(super) channel: OwnedFd,
    /// The top of its root, the staging tmpfs.
    pub(super) staging: OwnedFd,
    /// The procfs of its pid namespace, detached: for its own needs, then for the container's `/proc`.
    pub(super) proc: OwnedFd,
    /// The sysfs of its network namespace, detached, if it could be made.
    pub(super) sysfs: Option<OwnedFd>,
    /// Whether it is to die with the server.
    pub(super) bound: bool,
    /// Things worth telling that are no failure.
    pub(super) notes: Vec<String>,
}

/// Turns this process, just cloned, into an init; never returns.
pub(super) fn become_init(request: &SpawnRequest, inherited: Inherited<'_>) -> ! {
    let failure = match sys::close_all_but(&inherited.numbers()) {
        Ok(()) => match park(request, &inherited) {
            Ok((staging, proc, sysfs, notes)) => {
                let Ok(channel) = rustix::io::fcntl_dupfd_cloexec(&inherited.order, 3) else {
                    sys::exit_now(125)
                };
                let parked = Parked { channel, staging, proc, sysfs, bound: request.bound, notes };
                obey(parked)
            }
            Err(failure) => failure,
        },
        Err(error) => match Err::<(), _>(error).doing(|| "close the server's descriptors".to_owned()) {
            Err(failure) => failure,
            Ok(()) => sys::exit_now(125),
        },
    };
    let _ = wire::send(&inherited.order, &InitMessage::Failed(failure), b"", &[]);
    sys::exit_now(125)
}

/// Waits for the order and carries it out; returns only if that fails.
fn obey(parked: Parked) -> StageFailure {
    let told = wire::send(&parked.channel, &InitMessage::Parked, b"", &[]);
    match told.and_then(|()| wire::receive::<Script>(&parked.channel)) {
        Ok(order) => match init::run(parked, order) {
            Err(failure) => failure,
            Ok(never) => match never {},
        },
        // The maker is gone, or has no use for this init after all.
        Err(WireError::Closed) => sys::exit_now(0),
        Err(error) => StageFailure { act: "read the order".to_owned(), cause: error.into(), program: None },
    }
}

type Trees = (OwnedFd, OwnedFd, Option<OwnedFd>, Vec<String>);

fn park(request: &SpawnRequest, inherited: &Inherited<'_>) -> Act<Trees> {
    let mut notes = Vec::new();
    if request.bound {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .doing(|| "set the parent-death signal".to_owned())?;
        // The server may have died before the signal was set; its pid says nothing in another pid namespace.
        let mut server = [PollFd::new(inherited.maker, PollFlags::IN)];
        if poll(&mut server, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap_or(0) > 0 {
            sys::exit_now(125);
        }
    }
    let _ = rustix::process::setsid();
    if let Some(value) = request.oom_score_adj {
        // While still dumpable: afterwards the file belongs to the root of the initial user namespace.
        write_file("/proc/self/oom_score_adj", &value.to_string())
            .doing(|| format!("set oom_score_adj to {value}"))?;
    }
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .doing(|| "make this process untraceable".to_owned())?;
    if sys::join_new_keyring().is_err() {
        notes.push("no session keyring of its own".to_owned());
    }
    for join in &inherited.joins {
        rustix::io::write(join, b"0").doing(|| "enter a cgroup".to_owned())?;
    }
    if request.cgroup_namespace {
        unshare(UnshareFlags::NEWCGROUP).doing(|| "make a cgroup namespace".to_owned())?;
    }
    for namespace in &inherited.enter {
        rustix::thread::move_into_link_name_space(namespace.as_fd(), None)
            .doing(|| "enter a namespace".to_owned())?;
    }
    if request.loopback {
        sys::loopback_up().doing(|| "set the loopback link up".to_owned())?;
    }
    let (staging, proc, sysfs) = leave_host_tree()?;
    Ok((staging, proc, sysfs, notes))
}

fn unshare(flags: UnshareFlags) -> Result<(), rustix::io::Errno> {
    // The same system call, under its new name where this version of rustix calls it unsafe only for file tables.
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for the sake of CLONE_FILES, which is not used here"
    )]
    rustix::thread::unshare(flags)
}

/// Swaps the copy of the host's mounts for an empty tmpfs.
///
/// procfs and sysfs are made first: in a user namespace they may be mounted only while other ones are in sight.
fn leave_host_tree() -> Act<(OwnedFd, OwnedFd, Option<OwnedFd>)> {
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .doing(|| "stop mounts from reaching the host".to_owned())?;
    let proc =
        Filesystem::open("proc").and_then(|proc| proc.mount(quiet)).doing(|| "make a procfs".to_owned())?;
    let sysfs = Filesystem::open("sysfs").and_then(|sysfs| sysfs.mount(quiet)).ok().or_else(host_sysfs);
    let staging = staging_tmpfs(quiet)?;
    cover_root(&staging)?;
    Ok((staging, proc, sysfs))
}

/// Leaves the host's mounts but for `/proc`, once for all inits of a server: each copies and drops what is in sight.
///
/// Not within a user namespace, where what is in sight decides what may be mounted.
pub(super) fn leave_host_mounts() -> Act {
    unshare(UnshareFlags::NEWNS).doing(|| "make a mount namespace".to_owned())?;
    rustix::mount::mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .doing(|| "stop mounts from reaching the host".to_owned())?;
    let open = |folder: BorrowedFd<'_>, path: &str| {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
        rustix::fs::openat(folder, path, flags, Mode::empty()).doing(|| format!("open `{path}`"))
    };
    let proc = open(CWD, "/proc")?;
    let proc = clone_mount(proc.as_fd(), Depth::One).doing(|| "copy the mount of `/proc`".to_owned())?;
    let staging = staging_tmpfs(MountAttrFlags::MOUNT_ATTR_NOSUID)?;
    rustix::fs::mkdirat(&staging, "proc", Mode::from_raw_mode(0o755)).doing(|| "make `/proc`".to_owned())?;
    cover_root(&staging)?;
    let place = open(staging.as_fd(), "proc")?;
    attach(proc.as_fd(), place.as_fd()).doing(|| "attach `/proc`".to_owned())
}

fn staging_tmpfs(attributes: MountAttrFlags) -> Act<OwnedFd> {
    let act = || "make the staging tmpfs".to_owned();
    let tmpfs = Filesystem::open("tmpfs").doing(act)?;
    for (key, value) in [("mode", "0755"), ("size", "16m"), ("nr_inodes", "4096")] {
        tmpfs.set(key, value).doing(act)?;
    }
    tmpfs.mount(attributes).doing(act)
}

/// Puts a detached mount in the place of the root.
fn cover_root(staging: &OwnedFd) -> Act {
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY, Mode::empty())
        .doing(|| "open the host's root".to_owned())?;
    attach(staging.as_fd(), old.as_fd()).doing(|| "attach the staging tmpfs".to_owned())?;
    swap_root(staging, &old)
}

/// Takes the host's sysfs with all that is mounted in it, read-only throughout.
///
/// Only whoever owns the network namespace may mount a new one: an ordinary user's program in the host's network
/// sees the host's.
fn host_sysfs() -> Option<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    let place = rustix::fs::open("/sys", flags, Mode::empty()).ok()?;
    let tree = clone_mount(place.as_fd(), Depth::All).ok()?;
    let closed =
        libc::MOUNT_ATTR_RDONLY | libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV | libc::MOUNT_ATTR_NOEXEC;
    let attr = sys::MountAttr { set: closed, ..sys::MountAttr::default() };
    sys::mount_setattr(tree.as_fd(), true, &attr).ok()?;
    Some(tree)
}

/// Makes `new`, the top of an attached mount, the root, and drops `old` with everything below it.
pub(super) fn swap_root(new: &OwnedFd, old: &OwnedFd) -> Act {
    rustix::process::fchdir(new).doing(|| "enter the new root".to_owned())?;
    match rustix::process::pivot_root(".", ".") {
        Err(rustix::io::Errno::INVAL) => {
            refuse("make the new root the root", "the present root is an initramfs, or its mount is shared")?;
        }
        result => result.doing(|| "make the new root the root".to_owned())?,
    }
    rustix::process::fchdir(old).doing(|| "enter the old root".to_owned())?;
    rustix::mount::mount_change(".", MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM)
        .doing(|| "stop mounts from reaching the old root".to_owned())?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).doing(|| "drop the old root".to_owned())?;
    rustix::process::chdir("/").doing(|| "enter the root".to_owned())
}

pub(super) fn write_file(path: &str, text: &str) -> Result<(), rustix::io::Errno> {
    let file = rustix::fs::openat(CWD, path, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, text.as_bytes()).map(drop)
}

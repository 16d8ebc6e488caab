//! Mounts made by descriptor: nothing here touches a mount table until somebody moves a mount into one.
//!
//! A detached mount lives as long as its descriptor, so a crash leaves nothing behind. Overlays are configured
//! key by key (`lowerdir+`, one call a layer), because the classic option string is bounded by a page and by an
//! escaping of its own; kernels before 6.8 know only the string, which then holds short `/proc/self/fd` names.

use std::ffi::CString;
use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rbuild_model::container::Propagation;
use rbuild_model::rootfs::{OverlayUpper, OverlayXattr, RootPlan};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, openat2};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
    move_mount, open_tree,
};
use rustix::thread::{ThreadNameSpaceType, UnshareFlags, move_into_thread_name_spaces};

use crate::process::Process;
use crate::sys::{MountAttr, mount_setattr};

/// A mount that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// The kernel refused an act on a path.
    #[error("cannot {act} `{}`", path.display())]
    Path {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The kernel refused an act on a file system.
    #[error("cannot {act} a {kind} file system{log}")]
    Filesystem {
        /// What was tried.
        act: &'static str,
        /// The file system's type.
        kind: &'static str,
        /// What the kernel says about it, if it says something.
        log: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// What is made there later cannot spread as it is asked for.
    #[error("path {} is mounted on {} but it is not a {wanted} mount", path.display(), mountpoint.display())]
    NotSpreading {
        /// What is to be bound.
        path: PathBuf,
        /// The mount that it is in.
        mountpoint: PathBuf,
        /// How that mount would have to be.
        wanted: &'static str,
    },
    /// The thread that mounts aside failed.
    #[error("cannot mount in a thread of its own")]
    Thread(#[source] io::Error),
    /// The kernel knows only the old, short way to name layers.
    #[error(
        "{layers} layers are too many for this kernel (lowerdir+ needs Linux 6.8): merge RUN steps, or copy the result into an \
         empty stage (`FROM scratch`, `COPY --from=STAGE / /`)"
    )]
    TooManyLayers {
        /// How many there are.
        layers: usize,
    },
}

impl MountError {
    pub(crate) fn path(act: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::Path { act, path: path.as_ref().to_owned(), source: source.into() }
    }
}

/// Mounts a root file system without attaching it anywhere; the mount ends with the last descriptor in it.
///
/// Device nodes and setuid bits in it have no effect: this is for callers that do file work in a merged tree.
pub fn mount_detached(plan: &RootPlan) -> Result<OwnedFd, MountError> {
    mount_root(plan, MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID)
}

/// Mounts the root file system that a program is to get, without attaching it anywhere: for callers that look at it before.
pub fn mount_for_program(plan: &RootPlan) -> Result<OwnedFd, MountError> {
    mount_root(plan, MountAttrFlags::empty())
}

pub(crate) fn mount_root(plan: &RootPlan, attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
    match plan {
        RootPlan::Directory { path, readonly } => directory(path, *readonly, attributes),
        RootPlan::Overlay { lowers, upper: None, .. } if lowers.len() == 1 => {
            directory(&lowers[0], true, attributes)
        }
        // Overlayfs wants something below; over nothing, the upper folder is the whole tree.
        RootPlan::Overlay { lowers, upper: Some(upper), .. } if lowers.is_empty() => {
            directory(&upper.upper, false, attributes)
        }
        RootPlan::Overlay { lowers, upper, xattr } => overlay(lowers, upper.as_ref(), *xattr, attributes),
    }
}

/// Adds attributes to those that a mount has.
pub(crate) fn add_attributes(mount: &OwnedFd, attributes: MountAttrFlags) -> Result<(), MountError> {
    let attr = MountAttr { set: attributes.bits().into(), ..MountAttr::default() };
    mount_setattr(mount.as_fd(), false, &attr)
        .map_err(|source| MountError::path("set attributes of the mount of", "/", source))
}

fn directory(path: &Path, readonly: bool, mut attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let mount =
        open_tree(CWD, path, flags).map_err(|errno| MountError::path("clone the mount at", path, errno))?;
    if readonly {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    let attr =
        MountAttr { set: attributes.bits().into(), propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    mount_setattr(mount.as_fd(), false, &attr)
        .map_err(|source| MountError::path("set attributes of the mount at", path, source))?;
    Ok(mount)
}

fn overlay(
    lowers: &[PathBuf],
    upper: Option<&OverlayUpper>,
    xattr: OverlayXattr,
    mut attributes: MountAttrFlags,
) -> Result<OwnedFd, MountError> {
    /// Whether this kernel turned out to know only the option string.
    static OLD: AtomicBool = AtomicBool::new(false);
    if upper.is_none() {
        attributes |= MountAttrFlags::MOUNT_ATTR_RDONLY;
    }
    if !OLD.load(Ordering::Relaxed) {
        match overlay_by_keys(lowers, upper, xattr, attributes) {
            // Old kernels take any key, and fail when they come to use it.
            Err(MountError::Filesystem { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {}
            result => return result,
        }
    }
    let mount = overlay_by_string(lowers, upper, xattr, attributes)?;
    OLD.store(true, Ordering::Relaxed);
    Ok(mount)
}

/// The options of every overlay: their defaults are module parameters that differ between distributions.
const OVERLAY_OPTIONS: [(&str, &str); 3] =
    [("redirect_dir", "nofollow"), ("index", "off"), ("metacopy", "off")];

fn overlay_by_keys(
    lowers: &[PathBuf],
    upper: Option<&OverlayUpper>,
    xattr: OverlayXattr,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, MountError> {
    let filesystem = Filesystem::open("overlay")?;
    for (key, value) in OVERLAY_OPTIONS {
        filesystem.set(key, value)?;
    }
    if xattr == OverlayXattr::User {
        filesystem.set_flag("userxattr")?;
    }
    for lower in lowers {
        match fsconfig_set_string(&filesystem.context, "lowerdir+", lower) {
            Err(Errno::INVAL) => return Err(filesystem.error("configure", Errno::INVAL)),
            result => result.map_err(|errno| MountError::path("use as an overlay layer", lower, errno))?,
        }
    }
    if let Some(OverlayUpper { upper, work, volatile }) = upper {
        filesystem.set_path("upperdir", upper)?;
        filesystem.set_path("workdir", work)?;
        if *volatile {
            filesystem.set_flag("volatile")?;
        }
    }
    filesystem.mount(attributes)
}

/// Mounts by one string of options, at most a page long, with short names for the layers.
///
/// `fsconfig` cuts values at 256 bytes, so it takes `mount(2)`, which wants a place: a thread makes itself a mount
/// namespace for that, and takes the mount out of it.
fn overlay_by_string(
    lowers: &[PathBuf],
    upper: Option<&OverlayUpper>,
    xattr: OverlayXattr,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, MountError> {
    let aside = || mount_aside(lowers, upper, xattr, attributes);
    on_a_thread(aside)
}

/// Does something on a thread of its own, which ends with it.
fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T, MountError> + Send) -> Result<T, MountError> {
    std::thread::scope(|scope| {
        // Where there is no process to spare, the short way panics.
        let thread = std::thread::Builder::new().spawn_scoped(scope, work).map_err(MountError::Thread)?;
        thread.join().unwrap_or_else(|_| Err(MountError::Thread(io::Error::other("it ended early"))))
    })
}

/// Mounts an overlay in a mount namespace of this thread alone, and returns it detached.
fn mount_aside(
    lowers: &[PathBuf],
    upper: Option<&OverlayUpper>,
    xattr: OverlayXattr,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, MountError> {
    /// What the kernel copies of the string, with its NUL.
    const PAGE: usize = 4096;
    /// A folder that is always there; what is in it is not used.
    const PLACE: &str = "/proc";
    let failed = |act| move |errno: Errno| MountError::path(act, PLACE, errno);
    #[expect(
        deprecated,
        reason = "the replacement is unsafe for the sake of CLONE_FILES, which is not used here"
    )]
    rustix::thread::unshare(UnshareFlags::NEWNS).map_err(failed("make a mount namespace to mount on"))?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)
        .map_err(failed("make a mount namespace to mount on"))?;
    // Opened only now: layers must be in the mount namespace that they are used in.
    let mut held = Vec::new();
    let mut name = |path: &Path| -> Result<String, MountError> {
        let fd = open_path(path)?;
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        held.push(fd);
        Ok(name)
    };
    let layers = lowers.iter().map(|lower| name(lower)).collect::<Result<Vec<_>, _>>()?;
    let mut options = format!("lowerdir={}", layers.join(":"));
    for (key, value) in OVERLAY_OPTIONS {
        write!(options, ",{key}={value}").expect("writing to a string");
    }
    if xattr == OverlayXattr::User {
        options.push_str(",userxattr");
    }
    if let Some(OverlayUpper { upper, work, volatile }) = upper {
        let (upper, work) = (name(upper)?, name(work)?);
        write!(options, ",upperdir={upper},workdir={work}").expect("writing to a string");
        options.push_str(if *volatile { ",volatile" } else { "" });
    }
    if options.len() >= PAGE {
        return Err(MountError::TooManyLayers { layers: lowers.len() });
    }
    let options = CString::new(options).expect("only short names of ours");
    rustix::mount::mount("overlay", PLACE, "overlay", MountFlags::empty(), options.as_c_str())
        .map_err(failed("mount an overlay, in a namespace of its own, on"))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(CWD, PLACE, flags).map_err(failed("take the overlay from"))?;
    let attr = MountAttr { set: attributes.bits().into(), ..MountAttr::default() };
    mount_setattr(mount.as_fd(), false, &attr)
        .map_err(|source| MountError::path("set attributes of the overlay on", PLACE, source))?;
    Ok(mount)
}

/// Opens a path of the store without following a final symlink.
fn open_path(path: &Path) -> Result<OwnedFd, MountError> {
    rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
        .map_err(|errno| MountError::path("open", path, errno))
}

/// Looks whether the mount of the host that a path is in spreads as a bind of it is to.
pub(crate) fn check_spreads(path: &Path, propagation: Propagation) -> Result<(), MountError> {
    const MOUNTS: &str = "/proc/self/mountinfo";
    let wanted = match propagation {
        Propagation::Private | Propagation::RPrivate => return Ok(()),
        Propagation::Shared | Propagation::RShared => "shared",
        Propagation::Slave | Propagation::RSlave => "shared or slave",
    };
    let seen = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID)
        .map_err(|errno| MountError::path("look at", path, errno))?;
    let text = std::fs::read_to_string(MOUNTS)
        .map_err(|source| MountError::path("read", Path::new(MOUNTS), source))?;
    let id = seen.stx_mnt_id.to_string();
    let line = text.lines().find(|line| line.split(' ').next() == Some(id.as_str())).unwrap_or_default();
    let mut fields = line.split(' ');
    let mountpoint = fields.nth(4).unwrap_or("/");
    // Between the options of the mount and a dash stand its peers.
    let mut peers = fields.skip(1).take_while(|field| *field != "-");
    let spreads =
        peers.any(|peer| peer.starts_with("shared:") || wanted != "shared" && peer.starts_with("master:"));
    if spreads {
        return Ok(());
    }
    Err(MountError::NotSpreading { path: path.to_owned(), mountpoint: mountpoint.into(), wanted })
}

/// The kernel's flag for a propagation, and whether the mounts below get it too.
pub(crate) fn propagation_flags(propagation: Propagation) -> (u64, bool) {
    match propagation {
        Propagation::Private => (libc::MS_PRIVATE, false),
        Propagation::RPrivate => (libc::MS_PRIVATE, true),
        Propagation::Slave => (libc::MS_SLAVE, false),
        Propagation::RSlave => (libc::MS_SLAVE, true),
        Propagation::Shared => (libc::MS_SHARED, false),
        Propagation::RShared => (libc::MS_SHARED, true),
    }
}

/// How much of a mount tree a clone takes along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The one mount.
    One,
    /// The mounts below it too.
    All,
}

/// Clones the mount that `place` is in, from `place` down.
pub(crate) fn clone_mount(place: BorrowedFd<'_>, depth: Depth) -> Result<OwnedFd, Errno> {
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if depth == Depth::All {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    open_tree(place, "", flags)
}

/// Takes a copy of the mount that a process sees at a path, detached. No link in the path is followed.
pub fn mount_of(process: &Process, path: &Path) -> Result<OwnedFd, MountError> {
    let aside = || {
        let failed = |act| move |errno: Errno| MountError::path(act, path, errno);
        #[expect(
            deprecated,
            reason = "the replacement is unsafe for the sake of CLONE_FILES, which is not used here"
        )]
        rustix::thread::unshare(UnshareFlags::FS).map_err(failed("leave the root, to reach"))?;
        move_into_thread_name_spaces(process.pidfd(), ThreadNameSpaceType::MOUNT)
            .map_err(failed("enter the mount namespace that has"))?;
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let place = openat2(CWD, path, flags, Mode::empty(), resolve).map_err(failed("open"))?;
        clone_mount(place.as_fd(), Depth::One).map_err(failed("take the mount from"))
    };
    on_a_thread(aside)
}

/// Attaches a detached mount on the place that `target` names.
pub(crate) fn attach(mount: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    move_mount(
        mount,
        "",
        target,
        "",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// A file system being configured.
pub(crate) struct Filesystem {
    context: OwnedFd,
    kind: &'static str,
}

impl Filesystem {
    pub(crate) fn open(kind: &'static str) -> Result<Self, MountError> {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| MountError::Filesystem {
            act: "open",
            kind,
            log: String::new(),
            source: errno.into(),
        })?;
        // The first column of mount tables; not every kernel lets every file system have one.
        let _ = fsconfig_set_string(&context, "source", kind);
        Ok(Self { context, kind })
    }

    pub(crate) fn set(&self, key: &str, value: &str) -> Result<(), MountError> {
        fsconfig_set_string(&self.context, key, value).map_err(|errno| self.error("configure", errno))
    }

    pub(crate) fn set_flag(&self, key: &str) -> Result<(), MountError> {
        fsconfig_set_flag(&self.context, key).map_err(|errno| self.error("configure", errno))
    }

    fn set_path(&self, key: &str, path: &Path) -> Result<(), MountError> {
        fsconfig_set_string(&self.context, key, path)
            .map_err(|errno| MountError::path("use for an overlay", path, errno))
    }

    pub(crate) fn mount(self, attributes: MountAttrFlags) -> Result<OwnedFd, MountError> {
        fsconfig_create(&self.context).map_err(|errno| self.error("create", errno))?;
        fsmount(&self.context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
            .map_err(|errno| self.error("mount", errno))
    }

    /// Reads the kernel's own words about the last failure.
    fn error(&self, act: &'static str, errno: Errno) -> MountError {
        let mut buffer = [0; 512];
        let mut log = String::new();
        if let Ok(count) = rustix::io::read(&self.context, &mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..count]);
            let text =
                text.trim_end().trim_start_matches(|letter: char| letter.is_ascii_lowercase()).trim_start();
            let _ = write!(log, " ({text})");
        }
        MountError::Filesystem { act, kind: self.kind, log, source: errno.into() }
    }
}

/// Repeats an `openat2` that lost a race with a rename (`EAGAIN`), a bounded number of times.
pub(crate) fn retry_again<T>(mut act: impl FnMut() -> Result<T, Errno>) -> Result<T, Errno> {
    for _ in 0..32 {
        match act() {
            Err(Errno::AGAIN) => {}
            result => return result,
        }
    }
    act()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_string_of_old_kernels_makes_the_same_tree() {
        if !rbuild_testkit::privilege::is_root("the option string of old kernels") {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let lowers: Vec<PathBuf> =
            (0..60).map(|number| folder.path().join(format!("layer, with: odd\\name{number}"))).collect();
        for (number, lower) in lowers.iter().enumerate() {
            std::fs::create_dir(lower).unwrap();
            std::fs::write(lower.join("top"), number.to_string()).unwrap();
            std::fs::write(lower.join(number.to_string()), "").unwrap();
        }
        let upper =
            OverlayUpper { upper: folder.path().join("u"), work: folder.path().join("w"), volatile: true };
        std::fs::create_dir(&upper.upper).unwrap();
        std::fs::create_dir(&upper.work).unwrap();
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        let plain = MountAttrFlags::empty();
        let mount = overlay_by_string(&lowers, Some(&upper), OverlayXattr::Trusted, plain).unwrap();
        let path = PathBuf::from(format!("/proc/self/fd/{}", mount.as_raw_fd()));
        assert_eq!(std::fs::read_to_string(path.join("top")).unwrap(), "0");
        assert_eq!(std::fs::read_dir(&path).unwrap().count(), 61);
        std::fs::write(path.join("new"), "").unwrap();
        assert!(upper.upper.join("new").exists());
        assert_eq!(mounts(), before);
    }
}

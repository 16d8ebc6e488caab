//! A group of ours, in as many hierarchies as it needs.

mod fill;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::CgroupError;
use super::devices::Devices;
use super::find::{Hierarchy, Layout, Unified};
use super::folder::{Folder, OWN_THREAD, Version, read_all};
use super::limits::{Limits, OOM_CONTROL, Setting};
use super::oom;
use crate::running::Usage;

/// What a group is made with.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct CgroupRequest {
    /// The folder that all groups of one store are in. With `/` before it, it is a path from the top of each hierarchy, with
    /// `./` one from the caller's own group there: somebody else's, which stays.
    pub prefix: String,
    /// The group's own name in it.
    pub name: String,
    /// What its processes may use.
    pub limits: Limits,
    /// Which devices they may open.
    pub devices: Devices,
}

/// A group. Dropping it ends its processes and removes it, unless it was [left](Self::leave).
#[derive(Debug)]
pub struct Cgroup {
    prefix: String,
    name: String,
    folders: Vec<Folder>,
    controls_devices: bool,
    owned: bool,
}

/// What [`Cgroup::reclaim`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reclaimed {
    /// How many groups are gone.
    pub removed: usize,
    /// How many somebody holds.
    pub held: usize,
}

/// How long an emptying group is waited for, each of [`ATTEMPTS`] times.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const ATTEMPTS: usize = 100;

impl Cgroup {
    /// Makes a group; `None` if it has no limits and there are no rights to make one, or nothing to make it in.
    pub fn create(layout: &Layout, request: &CgroupRequest) -> Result<Option<Self>, CgroupError> {
        let CgroupRequest { prefix, name, limits, devices: _ } = request;
        check_name(layout, name)?;
        match prefix.split_once('/') {
            Some(("" | ".", "")) => {}
            Some(("" | ".", path)) => path.split('/').try_for_each(|part| check_name(layout, part))?,
            _ => check_name(layout, prefix)?,
        }
        limits.check()?;
        let mut group = Self::of(prefix, name, Vec::new());
        match group.fill(layout, request) {
            Ok(()) if group.folders.is_empty() => Ok(None),
            Ok(()) => Ok(Some(group)),
            Err(error) if error.is_refusal() => match limits.version_2().into_iter().next() {
                // Somebody else's group bounds it: it does not run without.
                None if is_foreign(prefix) => Err(error),
                None => Ok(None),
                Some(Setting { what, controller, .. }) => {
                    Err(CgroupError::Denied { what, controller, source: Box::new(error) })
                }
            },
            Err(error) => Err(error),
        }
    }

    /// Opens a group that was [left](Self::leave); `None` if there is nothing of it.
    pub fn open(layout: &Layout, prefix: &str, name: &str) -> Option<Self> {
        let group = Self::found(layout, prefix, name);
        for folder in &group.folders {
            folder.hold();
        }
        (!group.folders.is_empty()).then_some(group)
    }

    /// Opens a group that somebody else holds, to look at it or to change its limits; `None` if there is nothing of it.
    pub fn look(layout: &Layout, prefix: &str, name: &str) -> Option<Self> {
        let mut group = Self::found(layout, prefix, name);
        group.owned = false;
        (!group.folders.is_empty()).then_some(group)
    }

    fn of(prefix: &str, name: &str, folders: Vec<Folder>) -> Self {
        let (prefix, name) = (prefix.to_owned(), name.to_owned());
        Self { prefix, name, folders, controls_devices: false, owned: true }
    }

    fn found(layout: &Layout, prefix: &str, name: &str) -> Self {
        let open = |(version, parent): (Version, PathBuf)| Folder::open(version, parent.join(name)).ok();
        let folders = parents(layout, prefix).filter_map(open).collect();
        let mut group = Self::of(prefix, name, folders);
        group.controls_devices = true;
        group
    }

    /// Ends and removes the groups of a prefix that nobody holds: their makers were killed.
    ///
    /// Whoever makes or [opens](Self::open) a group holds a lock on its folders, which ends with the process and with those
    /// that it began: right after a kill, these may still be on their way out.
    pub fn reclaim(layout: &Layout, prefix: &str) -> Result<Reclaimed, CgroupError> {
        let mut left: BTreeMap<OsString, Option<Vec<Folder>>> = BTreeMap::new();
        for (version, parent) in parents(layout, prefix) {
            let Ok(entries) = std::fs::read_dir(parent) else { continue };
            for entry in entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
                let folders = left.entry(entry.file_name()).or_insert_with(|| Some(Vec::new()));
                let free = Folder::open(version, entry.path()).ok().filter(Folder::is_free);
                // One that is held in any hierarchy is left alone in all.
                *folders = folders.take().zip(free).map(|(mut folders, folder)| {
                    folders.push(folder);
                    folders
                });
            }
        }
        let mut reclaimed =
            Reclaimed { removed: 0, held: left.values().filter(|free| free.is_none()).count() };
        let mut outcome = Ok(());
        let free = left.into_iter().filter_map(|(name, folders)| Some((name, folders?)));
        for (name, folders) in free {
            let removed = Self::of(prefix, &name.to_string_lossy(), folders).remove();
            reclaimed.removed += usize::from(removed.is_ok());
            outcome = outcome.and(removed);
        }
        outcome.map(|()| reclaimed)
    }

    /// Returns the files by which a process that has one thread enters version 1 hierarchies.
    pub(crate) fn entries(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let v1 = self.folders.iter().filter(|folder| folder.version == Version::One);
        v1.map(|folder| folder.file(OWN_THREAD, OFlags::WRONLY)).collect()
    }

    /// Returns the version 2 folder, for processes to be born in.
    pub(crate) fn unified(&self) -> Option<BorrowedFd<'_>> {
        self.folders.iter().find(|folder| folder.version == Version::Two).map(|folder| folder.fd.as_fd())
    }

    /// Tells whether it decides which devices can be opened.
    pub(crate) fn controls_devices(&self) -> bool {
        self.controls_devices
    }

    /// Moves another process into the group.
    pub fn enter(&self, pid: i32) -> Result<(), CgroupError> {
        self.folders.iter().try_for_each(|folder| folder.write("cgroup.procs", &pid.to_string()))
    }

    /// Tells whether the kernel killed something in it at the group's own memory limit.
    pub fn oom_killed(&self) -> bool {
        let files = self.folders.iter().map(|folder| match folder.version {
            Version::One => folder.read(OOM_CONTROL),
            Version::Two => folder.read(oom::EVENTS),
        });
        files.flatten().any(|text| oom::killed(&text) > 0)
    }

    pub(super) fn folders(&self) -> &[Folder] {
        &self.folders
    }

    /// Returns what it used; what it does not count is taken from `otherwise`.
    pub fn usage(&self, otherwise: Usage) -> Usage {
        let first = |file| self.folders.iter().find_map(|folder| folder.read(file));
        let number = |text: String| text.trim().parse::<u64>().ok();
        let peak = first("memory.peak").or_else(|| first("memory.max_usage_in_bytes")).and_then(number);
        let cpu = first("cpu.stat").and_then(|text| {
            text.lines().find_map(|line| line.strip_prefix("usage_usec "))?.trim().parse().ok()
        });
        Usage { cpu_us: cpu.unwrap_or(otherwise.cpu_us), peak_memory: peak.unwrap_or(otherwise.peak_memory) }
    }

    /// Returns the memory in use now, in bytes.
    pub fn memory(&self) -> Option<u64> {
        let first = |file| self.folders.iter().find_map(|folder| folder.read(file));
        let text = first("memory.current").or_else(|| first("memory.usage_in_bytes"))?;
        text.trim().parse().ok()
    }

    /// Reads a file of the first hierarchy that has it.
    pub(super) fn first(&self, file: &str) -> Option<String> {
        self.folders.iter().find_map(|folder| folder.read(file))
    }

    /// Returns the processes in it.
    pub fn processes(&self) -> Vec<i32> {
        let text = self.folders.first().and_then(|folder| folder.read("cgroup.procs")).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills every process in it: at once on version 2, else again and again until none is left.
    pub fn kill(&self) -> Result<(), CgroupError> {
        if let Some(unified) = self.folders.iter().find(|folder| folder.version == Version::Two) {
            match unified.write("cgroup.kill", "1") {
                Ok(()) => return Ok(()),
                // Kernels before 5.14 have no such file.
                Err(CgroupError::File { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        for _ in 0..ATTEMPTS {
            let processes = self.processes();
            if processes.is_empty() {
                return Ok(());
            }
            for pid in processes.into_iter().filter_map(Pid::from_raw) {
                let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
                let _ = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&PATIENCE));
            }
        }
        match self.folders.first() {
            Some(folder) => Err(CgroupError::Busy { path: folder.path.clone() }),
            None => Ok(()),
        }
    }

    /// Stops or continues every process in it.
    pub fn freeze(&self, state: Freeze) -> Result<(), CgroupError> {
        let Some(folder) = self.folders.iter().find(|folder| folder.version == Version::Two) else {
            return Err(CgroupError::NoController { what: "pausing", controller: "cgroup2" });
        };
        let value = match state {
            Freeze::Frozen => "1",
            Freeze::Thawed => "0",
        };
        folder.write("cgroup.freeze", value)?;
        for _ in 0..ATTEMPTS {
            let events = folder.file("cgroup.events", OFlags::RDONLY)?;
            let text = read_all(&events).unwrap_or_default();
            if text.lines().any(|line| line == format!("frozen {value}")) {
                return Ok(());
            }
            let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&PATIENCE));
        }
        // Never left half frozen.
        folder.write("cgroup.freeze", "0")?;
        Err(CgroupError::Busy { path: folder.path.clone() })
    }

    /// Gives it up without ending anything: it stays, for [`open`](Self::open).
    pub fn leave(mut self) {
        self.owned = false;
    }

    /// Ends what runs in it and removes it.
    pub fn remove(mut self) -> Result<(), CgroupError> {
        self.owned = false;
        self.take_away()
    }

    fn take_away(&self) -> Result<(), CgroupError> {
        let mut first = Ok(());
        for folder in self.folders.iter().rev() {
            let removed = self.take_folder_away(folder);
            first = first.and(removed);
            if let Some(parent) = folder.path.parent().filter(|_| !is_foreign(&self.prefix)) {
                // Fails as long as other groups are in it.
                let _ = rustix::fs::rmdir(parent);
            }
        }
        first
    }

    fn take_folder_away(&self, folder: &Folder) -> Result<(), CgroupError> {
        for attempt in 0..ATTEMPTS {
            match rustix::fs::rmdir(&folder.path) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::BUSY) => {}
                Err(errno) => return Err(CgroupError::file("remove the cgroup", &folder.path, errno)),
            }
            // A folder that is gone already has nobody to kill, and is no reason to leave the others.
            let _ = self.kill();
            folder.kill_each();
            if let Some(unified) = self.folders.iter().find(|folder| folder.version == Version::Two)
                && let Ok(events) = unified.file("cgroup.events", OFlags::RDONLY)
                && read_all(&events).is_ok_and(|text| text.contains("populated 1"))
            {
                let _ = poll(&mut [PollFd::new(&events, PollFlags::PRI)], Some(&PATIENCE));
            } else {
                // Version 1 holds a group a moment longer, and says nothing when it lets go: a millisecond at first,
                // ten in the end, a second in all.
                let tv_nsec = 1_000_000 * (attempt as i64 + 1).min(10);
                let _ = poll(&mut [], Some(&Timespec { tv_sec: 0, tv_nsec }));
            }
        }
        Err(CgroupError::Busy { path: folder.path.clone() })
    }
}

/// Whether a group's processes run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freeze {
    /// They stand still.
    Frozen,
    /// They run.
    Thawed,
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if self.owned {
            let _ = self.take_away();
        }
    }
}

/// Tells whether a prefix is a path, to a group that is somebody else's.
fn is_foreign(prefix: &str) -> bool {
    prefix.contains('/')
}

fn check_name(layout: &Layout, name: &str) -> Result<(), CgroupError> {
    let plain =
        !name.is_empty() && !name.contains(['/', '\0', '\n']) && !name.starts_with('.') && name.len() <= 255;
    // Files of the hierarchy itself are named so.
    let file = name
        .split_once('.')
        .is_some_and(|(first, _)| layout.controllers().iter().any(|known| known == first));
    if !plain || file || name.starts_with("cgroup.") {
        return Err(CgroupError::Name { name: name.to_owned() });
    }
    Ok(())
}

/// Returns the folders that groups of a prefix are in, one for each hierarchy.
fn parents<'a>(layout: &'a Layout, prefix: &'a str) -> impl Iterator<Item = (Version, PathBuf)> + 'a {
    let v1 = layout.v1.iter().map(|hierarchy| (Version::One, hierarchy.parent(prefix).path()));
    v1.chain(layout.v2.iter().map(|unified| (Version::Two, unified.parent(prefix).path())))
}

/// Where groups are made in a hierarchy.
pub(super) struct Parent<'a> {
    /// What is there anyway.
    pub(super) base: PathBuf,
    /// What is made below it.
    pub(super) below: &'a Path,
}

impl Parent<'_> {
    fn of<'a>(mount: &Path, base: PathBuf, prefix: &'a str) -> Parent<'a> {
        match prefix.split_once('/') {
            Some(("", path)) => Parent { base: mount.to_owned(), below: Path::new(path) },
            Some((_, path)) => Parent { base, below: Path::new(path) },
            None => Parent { base, below: Path::new(prefix) },
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.base.join(self.below)
    }

    /// Returns the folders on the way down, without the first and with the last.
    pub(super) fn steps(&self) -> Vec<PathBuf> {
        let mut path = self.base.clone();
        self.below
            .components()
            .map(|part| {
                path.push(part);
                path.clone()
            })
            .collect()
    }
}

impl Hierarchy {
    /// Returns where the groups of a prefix are.
    pub(super) fn parent<'a>(&self, prefix: &'a str) -> Parent<'a> {
        Parent::of(&self.mount, self.base.clone(), prefix)
    }
}

impl Unified {
    /// Returns where the groups of a prefix are.
    pub(super) fn parent<'a>(&self, prefix: &'a str) -> Parent<'a> {
        Parent::of(&self.mount, base_of(self), prefix)
    }
}

/// Returns where version 2 groups are made: at the top for root of the machine, else in what was delegated to this user.
///
/// That is the highest group above the own one which the user may write to. It is the same for all of the user's terminals, and is not
/// ended with one of them; and it has no processes itself, as one that a program was started in has.
pub(super) fn base_of(unified: &Unified) -> PathBuf {
    if rustix::process::geteuid().is_root() && crate::rootless::in_initial_user_namespace() {
        return unified.mount.clone();
    }
    highest(&unified.mount, &unified.own, is_ours)
}

/// Whether this user may make groups in a group and move processes between them: that needs the right to the list of the group that
/// both places are in.
pub(super) fn is_ours(folder: &Path) -> bool {
    let may_write = |path: &Path| accessat(CWD, path, Access::WRITE_OK, AtFlags::EACCESS).is_ok();
    may_write(folder) && may_write(&folder.join("cgroup.procs"))
}

/// Whether there are processes in a group itself. Then it takes no controllers of processes for the groups in it, and those of threads (`cpu`,
/// `pids`) make a group of threads of it, in which no process can be born any more: see "Threads" in the kernel's cgroup-v2.rst. The
/// top, which is no such group, has no type.
pub(super) fn is_inhabited(folder: &Path) -> bool {
    folder.join("cgroup.type").exists()
        && std::fs::read_to_string(folder.join("cgroup.procs")).is_ok_and(|processes| !processes.is_empty())
}

/// Returns the last group on the way up from the own one to the top of which something holds; the own one if it does not
/// hold there.
fn highest(mount: &Path, own: &Path, holds: impl Fn(&Path) -> bool) -> PathBuf {
    let way = own.ancestors().take_while(|folder| folder.starts_with(mount));
    way.take_while(|folder| holds(folder)).last().unwrap_or(own).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_made_in_the_highest_that_is_the_users() {
        let (mount, own) = (Path::new("/sys/fs/cgroup"), Path::new("/sys/fs/cgroup/user/1000/app/term"));
        let of = |users: &str| highest(mount, own, |folder| folder.starts_with(users));
        for users in ["/sys/fs/cgroup/user/1000", "/sys/fs/cgroup/user/1000/app/term", "/sys/fs/cgroup"] {
            assert_eq!(of(users), Path::new(users));
        }
        assert_eq!(of("/sys"), mount, "nothing is looked for above the hierarchy");
        assert_eq!(of("/elsewhere"), own);
        // What is the user's above what is not is out of reach.
        let gap = |folder: &Path| folder != Path::new("/sys/fs/cgroup/user/1000/app");
        assert_eq!(highest(mount, own, gap), own);
    }

    #[test]
    fn processes_in_a_group_itself_are_seen_and_the_top_is_no_group() {
        let folder = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| std::fs::write(folder.path().join(file), text).unwrap();
        write("cgroup.procs", "1\n");
        assert!(!is_inhabited(folder.path()), "the top has no type");
        write("cgroup.type", "domain\n");
        assert!(is_inhabited(folder.path()));
        write("cgroup.procs", "");
        assert!(!is_inhabited(folder.path()));
    }
}

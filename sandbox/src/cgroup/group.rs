//! A group of ours, in as many hierarchies as it needs.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::CgroupError;
use super::devices::{self, Devices};
use super::find::{Layout, Unified};
use super::limits::{Limits, Setting};
use crate::running::Usage;

/// What a group is made with.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct CgroupRequest {
    /// The folder that all groups of one store are in.
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

/// The group's folder in one hierarchy.
#[derive(Debug)]
pub(super) struct Folder {
    version: Version,
    pub(super) path: PathBuf,
    fd: OwnedFd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// How long an emptying group is waited for, each of [`ATTEMPTS`] times.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
const ATTEMPTS: usize = 100;

impl Cgroup {
    /// Makes a group; `None` if it has no limits and there are no rights to make one, or nothing to make it in.
    pub fn create(layout: &Layout, request: &CgroupRequest) -> Result<Option<Self>, CgroupError> {
        for name in [&request.prefix, &request.name] {
            let plain = !name.is_empty()
                && !name.contains(['/', '\0', '\n'])
                && !name.starts_with('.')
                && name.len() <= 255;
            // Files of the hierarchy itself are named so.
            let file = name
                .split_once('.')
                .is_some_and(|(first, _)| layout.controllers().iter().any(|known| known == first));
            if !plain || file || name.starts_with("cgroup.") {
                return Err(CgroupError::Name { name: name.clone() });
            }
        }
        request.limits.check()?;
        let mut group = Self { folders: Vec::new(), controls_devices: false, owned: true };
        match group.fill(layout, request) {
            Ok(()) if group.folders.is_empty() => Ok(None),
            Ok(()) => Ok(Some(group)),
            Err(error) if error.is_refusal() => match request.limits.version_2().into_iter().next() {
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
        let mut group = Self { folders: Vec::new(), controls_devices: true, owned: true };
        let v1 = layout.v1.iter().map(|hierarchy| (Version::One, hierarchy.base.clone()));
        let v2 = layout.v2.iter().map(|unified| (Version::Two, base_of(unified)));
        for (version, base) in v1.chain(v2) {
            if let Ok(folder) = Folder::open(version, base.join(prefix).join(name)) {
                folder.hold();
                group.folders.push(folder);
            }
        }
        (!group.folders.is_empty()).then_some(group)
    }

    /// Opens a group that somebody else holds, to look at it or to change its limits; `None` if there is nothing of it.
    pub fn look(layout: &Layout, prefix: &str, name: &str) -> Option<Self> {
        let mut group = Self { folders: Vec::new(), controls_devices: true, owned: false };
        let v1 = layout.v1.iter().map(|hierarchy| (Version::One, hierarchy.base.clone()));
        let v2 = layout.v2.iter().map(|unified| (Version::Two, base_of(unified)));
        for (version, base) in v1.chain(v2) {
            group.folders.extend(Folder::open(version, base.join(prefix).join(name)));
        }
        (!group.folders.is_empty()).then_some(group)
    }

    /// Ends and removes the groups of a prefix that nobody holds: their makers were killed.
    ///
    /// Whoever makes or [opens](Self::open) a group holds a lock on its folders, which ends with the process and with those
    /// that it began: right after a kill, these may still be on their way out.
    pub fn reclaim(layout: &Layout, prefix: &str) -> Result<Reclaimed, CgroupError> {
        let v1 = layout.v1.iter().map(|hierarchy| (Version::One, hierarchy.base.clone()));
        let v2 = layout.v2.iter().map(|unified| (Version::Two, base_of(unified)));
        let mut left: BTreeMap<OsString, Option<Vec<Folder>>> = BTreeMap::new();
        for (version, base) in v1.chain(v2) {
            let Ok(entries) = std::fs::read_dir(base.join(prefix)) else { continue };
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
        for folders in left.into_values().flatten() {
            let removed = Self { folders, controls_devices: false, owned: true }.remove();
            reclaimed.removed += usize::from(removed.is_ok());
            outcome = outcome.and(removed);
        }
        outcome.map(|()| reclaimed)
    }

    fn fill(&mut self, layout: &Layout, request: &CgroupRequest) -> Result<(), CgroupError> {
        let CgroupRequest { prefix, name, limits, devices } = request;
        let mut on_v2 = Vec::new();
        if let Some(unified) = &layout.v2 {
            let base = base_of(unified);
            let wanted = if layout.v1.is_empty() { limits.version_2() } else { Vec::new() };
            if layout.v1.is_empty() {
                on_v2 = enable(&base, prefix)?;
            }
            match self.add(Version::Two, &base, prefix, name) {
                // Without controllers the version 2 group is a help, not a need.
                Err(error) if error.is_refusal() && !layout.v1.is_empty() => {}
                result => result?,
            }
            if layout.v1.is_empty() {
                self.write(Version::Two, &wanted, |setting| {
                    on_v2.iter().any(|known| known == setting.controller)
                })?;
            }
        }
        let rules = match devices {
            Devices::All => None,
            Devices::DefaultAnd(more) => Some([devices::default_rules(), more.clone()].concat()),
        };
        if let (Some(rules), Some(group)) = (&rules, self.unified()) {
            self.controls_devices = devices::attach(group, rules).is_ok();
        }
        if rules.is_none() {
            self.controls_devices = true;
        }
        self.fill_v1(layout, request)?;
        if let Some(rules) = rules.filter(|_| !self.controls_devices)
            && let Some(hierarchy) = layout.v1.iter().find(|hierarchy| hierarchy.has("devices"))
        {
            self.add(Version::One, &hierarchy.base, prefix, name)?;
            let folder = self.folders.last().expect("just added");
            folder.write("devices.deny", "a")?;
            for rule in &rules {
                folder.write("devices.allow", &rule.line())?;
            }
            self.controls_devices = true;
        }
        Ok(())
    }

    fn fill_v1(&mut self, layout: &Layout, request: &CgroupRequest) -> Result<(), CgroupError> {
        if layout.v1.is_empty() {
            return Ok(());
        }
        let CgroupRequest { prefix, name, limits, .. } = request;
        let settings = limits.version_1();
        for hierarchy in &layout.v1 {
            let limited = settings.iter().any(|setting| hierarchy.has(setting.controller));
            // Memory is always counted: its peak and its kills are told.
            let counted = hierarchy.has("memory");
            if !limited && !counted {
                continue;
            }
            match self.add(Version::One, &hierarchy.base, prefix, name) {
                Err(error) if error.is_refusal() && !limited => continue,
                result => result?,
            }
            let folder = self.folders.last().expect("just added");
            if hierarchy.has("cpuset") {
                inherit_cpuset(&hierarchy.base, prefix, folder)?;
            }
            for setting in settings.iter().filter(|setting| hierarchy.has(setting.controller)) {
                folder.set(setting)?;
            }
        }
        match settings
            .iter()
            .find(|setting| !layout.v1.iter().any(|hierarchy| hierarchy.has(setting.controller)))
        {
            Some(Setting { what, controller, .. }) => Err(CgroupError::NoController { what, controller }),
            None => Ok(()),
        }
    }

    fn write(
        &self,
        version: Version,
        settings: &[Setting],
        available: impl Fn(&Setting) -> bool,
    ) -> Result<(), CgroupError> {
        let Some(folder) = self.folders.iter().find(|folder| folder.version == version) else {
            return Ok(());
        };
        for setting in settings {
            if !available(setting) {
                return Err(CgroupError::NoController { what: setting.what, controller: setting.controller });
            }
            folder.set(setting)?;
        }
        Ok(())
    }

    fn add(&mut self, version: Version, base: &Path, prefix: &str, name: &str) -> Result<(), CgroupError> {
        let parent = base.join(prefix);
        let path = parent.join(name);
        // The last group of somebody else takes the prefix folder along, and who takes remains away may see a group
        // before it is held: make it again.
        for attempt in 0.. {
            make_folder(&parent)?;
            match rustix::fs::mkdir(&path, Mode::from_raw_mode(0o755)) {
                Ok(()) => {}
                Err(Errno::NOENT) if attempt < 16 => continue,
                Err(errno) => return Err(CgroupError::file("make the cgroup", &path, errno)),
            }
            match Folder::open(version, path.clone()) {
                Ok(folder) if attempt == 16 || folder.hold() => {
                    self.folders.push(folder);
                    break;
                }
                Ok(_) => {}
                Err(error) if attempt < 16 && error.is_absence() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the files that a process enters version 1 hierarchies by.
    pub(crate) fn entries(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let v1 = self.folders.iter().filter(|folder| folder.version == Version::One);
        v1.map(|folder| folder.file("cgroup.procs", OFlags::WRONLY)).collect()
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
        let count = |text: String| {
            let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "))?;
            line.trim().parse::<u64>().ok()
        };
        let killed =
            |file| self.folders.iter().filter_map(|folder| folder.read(file)).filter_map(count).sum::<u64>();
        killed("memory.oom_control") + killed("memory.events") > 0
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

    /// Changes its limits. Hierarchies of version 1 that it was not in, for want of a limit, are entered now.
    pub fn update(&mut self, layout: &Layout, limits: &Limits) -> Result<(), CgroupError> {
        limits.check()?;
        let unified = layout.v1.is_empty();
        let settings = if unified { limits.version_2() } else { limits.version_1() };
        for setting in &settings {
            let has_it = |folder: &&Folder| folder.path.join(setting.file).exists();
            let missing = CgroupError::NoController { what: setting.what, controller: setting.controller };
            if !self.folders.iter().any(|folder| has_it(&folder)) && !setting.optional {
                let hierarchy = layout.v1.iter().find(|hierarchy| hierarchy.has(setting.controller));
                let Some(hierarchy) = hierarchy else { return Err(missing) };
                self.enter_late(&hierarchy.base, hierarchy.has("cpuset"))?;
            }
            let found = self
                .folders
                .iter()
                .find(has_it)
                .or_else(|| self.folders.first().filter(|_| setting.optional));
            match found {
                Some(folder) => folder.set(setting)?,
                None => return Err(missing),
            }
        }
        Ok(())
    }

    /// Takes the group with all of its processes into one more hierarchy of version 1.
    fn enter_late(&mut self, base: &Path, cpuset: bool) -> Result<(), CgroupError> {
        let own = self.folders.first().map(|folder| folder.path.clone()).unwrap_or_default();
        let part = |path: Option<&Path>| {
            path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let (prefix, name) = (part(own.parent()), part(Some(&own)));
        self.add(Version::One, base, &prefix, &name)?;
        let folder = self.folders.last().expect("just added");
        if cpuset {
            inherit_cpuset(base, &prefix, folder)?;
        }
        // What a process makes while it is moved may be left behind: until a look finds nobody new.
        let mut moved = std::collections::BTreeSet::new();
        loop {
            let fresh: Vec<i32> = self.processes().into_iter().filter(|pid| moved.insert(*pid)).collect();
            if fresh.is_empty() {
                return Ok(());
            }
            for pid in fresh {
                match folder.write("cgroup.procs", &pid.to_string()) {
                    Err(CgroupError::File { source, .. }) if source.raw_os_error() == Some(libc::ESRCH) => {}
                    result => result?,
                }
            }
        }
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
            if let Some(parent) = folder.path.parent() {
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

    fn file(&self, name: &str, access: OFlags) -> Result<OwnedFd, CgroupError> {
        rustix::fs::openat(&self.fd, name, access | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
            .map_err(|errno| CgroupError::file("open", self.path.join(name), errno))
    }

    /// Kills who is in this hierarchy's group: a process that was being put into all of them may be in one only.
    fn kill_each(&self) {
        for pid in self.read("cgroup.procs").unwrap_or_default().lines() {
            let Some(pid) = pid.parse().ok().and_then(Pid::from_raw) else { continue };
            if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
                let _ = pidfd_send_signal(&pidfd, Signal::KILL);
            }
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        read_all(&self.file(name, OFlags::RDONLY).ok()?).ok()
    }

    pub(super) fn write(&self, name: &str, value: &str) -> Result<(), CgroupError> {
        let file = self.file(name, OFlags::WRONLY)?;
        rustix::io::write(&file, value.as_bytes())
            .map(drop)
            .map_err(|errno| CgroupError::file("write to", self.path.join(name), errno))
    }

    fn set(&self, setting: &Setting) -> Result<(), CgroupError> {
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

fn read_all(file: &OwnedFd) -> Result<String, Errno> {
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

/// Returns where version 2 groups are made: at the top for root of the machine, else below the own group.
pub(super) fn base_of(unified: &Unified) -> PathBuf {
    if rustix::process::geteuid().is_root() && crate::rootless::in_initial_user_namespace() {
        unified.mount.clone()
    } else {
        unified.own.clone()
    }
}

/// Enables controllers on the way down to the groups; returns those that groups will have.
fn enable(base: &Path, prefix: &str) -> Result<Vec<String>, CgroupError> {
    const WANTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
    let mut available = Vec::new();
    for folder in [base.to_owned(), base.join(prefix)] {
        make_folder(&folder)?;
        let control = folder.join("cgroup.subtree_control");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let offered = read(&folder.join("cgroup.controllers"));
        let enabled = read(&control);
        let has = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
        available = WANTED.iter().filter(|name| has(&enabled, name)).map(|name| (*name).to_owned()).collect();
        for name in WANTED.into_iter().filter(|name| has(&offered, name) && !has(&enabled, name)) {
            // One by one: a controller that is refused must not take the others along.
            if std::fs::write(&control, format!("+{name}")).is_ok() {
                available.push(name.to_owned());
            }
        }
    }
    Ok(available)
}

/// Gives new version 1 cpusets what their parents have: an empty one cannot be entered.
fn inherit_cpuset(base: &Path, prefix: &str, folder: &Folder) -> Result<(), CgroupError> {
    let parent = base.join(prefix);
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        let value = read(base);
        if read(&parent).trim().is_empty() {
            std::fs::write(parent.join(file), value.trim())
                .map_err(|source| CgroupError::file("write to", parent.join(file), source))?;
        }
        folder.write(file, read(&parent).trim())?;
    }
    Ok(())
}

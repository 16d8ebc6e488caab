//! Making a group: its folders in the hierarchies that have something to do, what enables them, and its limits.

use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::io::Errno;

use super::{Cgroup, CgroupRequest, Parent, is_foreign, is_inhabited};
use crate::cgroup::CgroupError;
use crate::cgroup::devices::{self, Devices};
use crate::cgroup::find::{Hierarchy, Layout};
use crate::cgroup::folder::{Claim, Folder, Version, make_folder};
use crate::cgroup::limits::{Limits, RT_PERIOD, RT_RUNTIME, Setting};

impl Cgroup {
    pub(super) fn fill(&mut self, layout: &Layout, request: &CgroupRequest) -> Result<(), CgroupError> {
        let CgroupRequest { prefix, name, limits, devices } = request;
        let mut on_v2 = Vec::new();
        if let Some(unified) = &layout.v2 {
            let parent = unified.parent(prefix);
            let wanted = if layout.v1.is_empty() { limits.version_2() } else { Vec::new() };
            if layout.v1.is_empty() {
                on_v2 = enable(&parent)?;
            }
            match self.add(Version::Two, &parent, name).and_then(|()| self.check_place()) {
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
            if self.folder_in(hierarchy).is_none() {
                self.add(Version::One, &hierarchy.parent(prefix), name)?;
            }
            let folder = self.folder_in(hierarchy).expect("just added");
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
            // What bounds somebody else's group bounds it, whatever is asked for it alone.
            if !limited && !counted && !is_foreign(prefix) {
                continue;
            }
            let parent = hierarchy.parent(prefix);
            match self.add(Version::One, &parent, name) {
                Err(error) if error.is_refusal() && !limited => continue,
                result => result?,
            }
            let folder = self.folders.last().expect("just added");
            if hierarchy.has("cpuset") {
                inherit_cpuset(&parent, folder)?;
            }
            let _claim = self.admit_real_time(hierarchy, limits)?;
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

    /// Whether processes can be born in the version 2 group: not below a group that somebody made one of threads.
    fn check_place(&mut self) -> Result<(), CgroupError> {
        let folder = self.folders.last().expect("just added");
        if folder.read("cgroup.type").is_none_or(|kind| kind.trim() != "domain invalid") {
            return Ok(());
        }
        let folder = self.folders.pop().expect("just looked at");
        let _ = rustix::fs::rmdir(&folder.path);
        Err(CgroupError::file("use", &folder.path, Errno::BUSY))
    }

    /// Returns its folder in a hierarchy, if it is in it.
    fn folder_in(&self, hierarchy: &Hierarchy) -> Option<&Folder> {
        self.folders.iter().find(|folder| folder.path.starts_with(&hierarchy.mount))
    }

    fn add(&mut self, version: Version, parent: &Parent<'_>, name: &str) -> Result<(), CgroupError> {
        let path = parent.path().join(name);
        // The last group of somebody else takes the prefix folder along, and who takes remains away may see a group
        // before it is held: make it again.
        for attempt in 0.. {
            parent.steps().iter().try_for_each(|step| make_folder(step))?;
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

    /// Gives it other limits, which are all that it has then. Hierarchies of version 1 that it was not in, for want of a limit, are entered now.
    pub fn update(&mut self, layout: &Layout, limits: &Limits) -> Result<(), CgroupError> {
        limits.check()?;
        let unified = layout.v1.is_empty();
        let settings = if unified { limits.version_2() } else { limits.version_1() };
        let claims = layout.v1.iter().map(|hierarchy| self.admit_real_time(hierarchy, limits));
        let _claims = claims.collect::<Result<Vec<_>, _>>()?;
        let lifted = self.lift(limits)?;
        let outcome = self.impose(layout, &settings);
        if outcome.is_err() {
            // What is refused takes nothing away: the last limit comes back first.
            for (path, before) in lifted.iter().rev() {
                let _ = std::fs::write(path, before);
            }
        }
        outcome
    }

    /// Frees it of what other limits say nothing of, or what is in their way; returns what there was.
    fn lift(&self, limits: &Limits) -> Result<Vec<(PathBuf, String)>, CgroupError> {
        let mut lifted = Vec::new();
        for folder in &self.folders {
            for (file, value) in limits.lifted(folder.version) {
                let path = folder.path.join(file);
                let Ok(before) = std::fs::read_to_string(&path) else { continue };
                if limits.is_in_the_way(file, before.trim()) {
                    folder.write(file, value)?;
                    lifted.push((path, before));
                }
            }
        }
        Ok(lifted)
    }

    fn impose(&mut self, layout: &Layout, settings: &[Setting]) -> Result<(), CgroupError> {
        for setting in settings {
            let has_it = |folder: &&Folder| folder.path.join(setting.file).exists();
            let missing = CgroupError::NoController { what: setting.what, controller: setting.controller };
            if !self.folders.iter().any(|folder| has_it(&folder)) && !setting.optional {
                let hierarchy = layout.v1.iter().find(|hierarchy| hierarchy.has(setting.controller));
                let Some(hierarchy) = hierarchy else { return Err(missing) };
                self.enter_late(hierarchy)?;
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

    /// Gives the folder that all groups are in as much time for real-time programs as they have together, with what this one is
    /// to have: groups have none of themselves. Nobody else changes it until what comes back is dropped, which is when this
    /// group has its own.
    fn admit_real_time(&self, hierarchy: &Hierarchy, limits: &Limits) -> Result<Option<Claim>, CgroupError> {
        const PERIOD_US: u64 = 1_000_000;
        let Some(runtime) = limits.cpu_rt_runtime_us else { return Ok(None) };
        if !hierarchy.has("cpu") || is_foreign(&self.prefix) {
            return Ok(None);
        }
        let path = hierarchy.parent(&self.prefix).path();
        make_folder(&path)?;
        let claim = Folder::open(Version::One, path.clone())?.claim();
        let number = |folder: &Path, file: &str| -> Option<u64> {
            std::fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
        };
        let period = number(&path, RT_PERIOD).unwrap_or(PERIOD_US);
        let share = |runtime: u64, of: Option<u64>| {
            runtime.saturating_mul(period).div_ceil(of.unwrap_or(PERIOD_US).max(1))
        };
        let others = std::fs::read_dir(&path).into_iter().flatten().flatten();
        let others = others.filter(|entry| entry.file_name() != *self.name).map(|entry| entry.path());
        let used =
            others.filter_map(|group| Some(share(number(&group, RT_RUNTIME)?, number(&group, RT_PERIOD))));
        let sum = used.fold(share(runtime, limits.cpu_rt_period_us), u64::saturating_add);
        claim.0.write(RT_RUNTIME, &sum.to_string())?;
        Ok(Some(claim))
    }

    /// Takes the group with all of its processes into one more hierarchy of version 1.
    fn enter_late(&mut self, hierarchy: &Hierarchy) -> Result<(), CgroupError> {
        let (prefix, name) = (self.prefix.clone(), self.name.clone());
        let parent = hierarchy.parent(&prefix);
        self.add(Version::One, &parent, &name)?;
        let folder = self.folders.last().expect("just added");
        if hierarchy.has("cpuset") {
            inherit_cpuset(&parent, folder)?;
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
}

/// Enables controllers on the way down to the groups; returns those that groups will have.
fn enable(parent: &Parent<'_>) -> Result<Vec<String>, CgroupError> {
    const WANTED: [&str; 5] = ["cpu", "cpuset", "io", "memory", "pids"];
    let mut available = Vec::new();
    for folder in std::iter::once(parent.base.clone()).chain(parent.steps()) {
        make_folder(&folder)?;
        let control = folder.join("cgroup.subtree_control");
        let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
        let offered = read(&folder.join("cgroup.controllers"));
        let enabled = read(&control);
        let has = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
        available = WANTED.iter().filter(|name| has(&enabled, name)).map(|name| (*name).to_owned()).collect();
        if is_inhabited(&folder) {
            continue;
        }
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
fn inherit_cpuset(parent: &Parent<'_>, folder: &Folder) -> Result<(), CgroupError> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        let read = |folder: &Path| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        let mut value = read(&parent.base);
        for step in parent.steps() {
            let own = read(&step);
            if own.trim().is_empty() {
                write(&step, file, value.trim())?;
            } else {
                value = own;
            }
        }
        folder.write(file, value.trim())?;
    }
    Ok(())
}

fn write(folder: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
    let path = folder.join(file);
    std::fs::write(&path, value).map_err(|source| CgroupError::file("write to", path, source))
}

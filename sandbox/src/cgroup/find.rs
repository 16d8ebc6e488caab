//! Where the hierarchies are, and where this process is in them.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::{group, limits};
use crate::script::ScriptSource;

/// Which versions are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Version 2 only.
    Unified,
    /// Version 1 for limits, version 2 for processes.
    Hybrid,
    /// Version 1 only.
    Legacy,
    /// None is mounted.
    None,
}

/// A version 1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hierarchy {
    /// The folder's name (`cpu,cpuacct`).
    pub(super) folder: String,
    /// What it is mounted by: controllers with commas, or `name=systemd`.
    pub(super) option: String,
    /// Its top.
    pub(super) mount: PathBuf,
    /// Where groups of ours are made.
    pub(super) base: PathBuf,
}

impl Hierarchy {
    /// Tells whether a controller is attached to it.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.option.split(',').any(|name| name == controller)
    }
}

/// The version 2 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unified {
    /// The folder's name beside the version 1 hierarchies; empty if it is the only one.
    pub(super) folder: String,
    /// Its top.
    pub(super) mount: PathBuf,
    /// The caller's own group in it.
    pub(super) own: PathBuf,
}

/// The control groups of a machine, as this process sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub(super) v1: Vec<Hierarchy>,
    pub(super) v2: Option<Unified>,
}

impl Layout {
    /// Reads the mount table and the own groups. Never fails: what cannot be read is not there.
    pub fn read() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self::parse(&mounts, &own)
    }

    /// Returns the layout as it was when this process first asked.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Layout> = OnceLock::new();
        SHARED.get_or_init(Self::read)
    }

    /// Returns which versions are in use.
    pub fn mode(&self) -> Mode {
        match (self.v1.is_empty(), &self.v2) {
            (true, Some(_)) => Mode::Unified,
            (false, Some(_)) => Mode::Hybrid,
            (false, None) => Mode::Legacy,
            (true, None) => Mode::None,
        }
    }

    /// Tells whether groups have a share of input and output: some scheduler of devices has to know of it.
    pub fn weighs_devices(&self) -> bool {
        let one = limits::IO_WEIGHT_1.iter().flatten().any(|file| self.has_file("blkio", file));
        one || self.v1.is_empty() && limits::IO_WEIGHT_2.iter().any(|(file, _)| self.has_file("io", file))
    }

    /// Tells whether groups have a swappiness of their own.
    pub fn has_swappiness(&self) -> bool {
        self.has_file("memory", limits::SWAPPINESS)
    }

    /// Tells whether the kernel can be kept from killing in a group whose memory is used up.
    pub fn can_wait_for_memory(&self) -> bool {
        self.has_file("memory", limits::OOM_CONTROL)
    }

    /// Tells whether processor time for real-time programs can be given to groups.
    pub fn has_real_time(&self) -> bool {
        !self.v1.is_empty() && self.has_file("cpu", limits::RT_RUNTIME)
    }

    /// Tells whether groups have a file: some are not at the top, so the groups there are looked at too.
    fn has_file(&self, controller: &str, file: &str) -> bool {
        let base = match self.v1.iter().find(|hierarchy| hierarchy.has(controller)) {
            Some(hierarchy) => hierarchy.base.clone(),
            None => match &self.v2 {
                Some(unified) if self.v1.is_empty() => group::base_of(unified),
                _ => return false,
            },
        };
        let groups = std::fs::read_dir(&base).into_iter().flatten().flatten().map(|entry| entry.path());
        std::iter::once(base.clone()).chain(groups).any(|folder| folder.join(file).exists())
    }

    /// Returns the controllers that limits can be set with.
    pub fn controllers(&self) -> Vec<String> {
        let mut controllers: Vec<String> = self
            .v1
            .iter()
            .filter(|hierarchy| !hierarchy.option.contains('='))
            .flat_map(|hierarchy| hierarchy.option.split(',').map(str::to_owned))
            .collect();
        if let Some(unified) = &self.v2 {
            let text = std::fs::read_to_string(unified.mount.join("cgroup.controllers")).unwrap_or_default();
            controllers.extend(text.split_whitespace().map(str::to_owned));
        }
        controllers.sort();
        controllers.dedup();
        controllers
    }

    /// Returns those controllers whose groups this user may make.
    pub fn usable_controllers(&self) -> Vec<String> {
        let ours = self.v1.iter().filter(|hierarchy| group::is_ours(&hierarchy.base));
        let v1 = Self { v1: ours.cloned().collect(), v2: None }.controllers();
        let Some(unified) = self.v2.as_ref().filter(|_| self.v1.is_empty()) else { return v1 };
        let base = group::base_of(unified);
        let file = match (group::is_ours(&base), group::is_inhabited(&base)) {
            (false, _) => return v1,
            (true, true) => "cgroup.subtree_control",
            (true, false) => "cgroup.controllers",
        };
        let text = std::fs::read_to_string(base.join(file)).unwrap_or_default();
        text.split_whitespace().map(str::to_owned).collect()
    }

    pub(super) fn parse(mounts: &str, own: &str) -> Self {
        let mut layout = Self::default();
        for line in mounts.lines() {
            let Some(mount) = MountLine::parse(line) else { continue };
            let folder =
                mount.point.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            match mount.kind {
                "cgroup2" if layout.v2.is_none() => {
                    let own = own_path(own, "").map_or_else(|| mount.point.clone(), |own| mount.place(&own));
                    layout.v2 = Some(Unified { folder, mount: mount.point, own });
                }
                "cgroup" => {
                    let option = mount.hierarchy();
                    let Some(own) = own_path(own, &option) else { continue };
                    if layout.v1.iter().all(|known| known.option != option) {
                        let base = mount.place(&own);
                        layout.v1.push(Hierarchy { folder, mount: mount.point, base, option });
                    }
                }
                _ => {}
            }
        }
        if layout.v1.is_empty()
            && let Some(unified) = &mut layout.v2
        {
            unified.folder = String::new();
        }
        layout
    }

    pub(super) fn visible(&self) -> ScriptSource {
        ScriptSource::Cgroup {
            v1: self
                .v1
                .iter()
                .map(|hierarchy| (hierarchy.folder.clone(), hierarchy.option.clone()))
                .collect(),
            v2: self.v2.as_ref().map(|unified| unified.folder.clone()),
        }
    }
}

/// Returns the own path in the hierarchy with given controllers; without any, in version 2.
fn own_path(own: &str, option: &str) -> Option<PathBuf> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let same = if option.is_empty() {
            number == "0" && controllers.is_empty()
        } else {
            controllers.split(',').any(|name| option.split(',').any(|other| other == name))
        };
        same.then(|| PathBuf::from(path))
    })
}

/// What is of interest in a line of `mountinfo`.
struct MountLine<'line> {
    root: PathBuf,
    point: PathBuf,
    kind: &'line str,
    options: &'line str,
}

impl<'line> MountLine<'line> {
    fn parse(line: &'line str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let (root, point) = (unescape(left.next()?), unescape(left.next()?));
        let mut right = right.split(' ');
        let kind = right.next()?;
        let options = right.nth(1)?;
        Some(Self { root: root.into(), point: point.into(), kind, options })
    }

    /// Returns the controllers or the name of a version 1 hierarchy.
    fn hierarchy(&self) -> String {
        const GENERAL: [&str; 6] = ["rw", "ro", "xattr", "noprefix", "clone_children", "cpuset_v2_mode"];
        let words = self.options.split(',').filter(|word| {
            !GENERAL.contains(word)
                && !word.starts_with("release_agent=")
                && !matches!(*word, "favordynmods" | "none")
        });
        words.collect::<Vec<_>>().join(",")
    }

    /// Returns the folder of a group: its path below what is mounted. A group that is not in sight counts as the top.
    fn place(&self, group: &Path) -> PathBuf {
        match group.strip_prefix(&self.root) {
            Ok(below) if below.as_os_str().is_empty() => self.point.clone(),
            Ok(below) => self.point.join(below),
            Err(_) => self.point.clone(),
        }
    }
}

/// Undoes the octal escapes of `mountinfo`.
fn unescape(text: &str) -> String {
    let mut result = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut place = 0;
    while place < bytes.len() {
        let code = bytes.get(place + 1..place + 4).and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            Some(byte) if bytes[place] == b'\\' => {
                result.push(byte);
                place += 4;
            }
            _ => {
                result.push(bytes[place]);
                place += 1;
            }
        }
    }
    String::from_utf8_lossy(&result).into_owned()
}

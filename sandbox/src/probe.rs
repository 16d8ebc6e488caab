//! What works on this machine: each answer is a real try, never a version compared.
//!
//! Kernels of distributions take things in early and forbid things late, and containers around us forbid more; so
//! every probe does the thing itself, on detached mounts and temporary descriptors that leave nothing.

use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use rbuild_model::rootfs::{OverlayUpper, OverlayXattr, RootPlan};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::mount::{FsOpenFlags, OpenTreeFlags, fsconfig_set_string, fsopen, open_tree};
use rustix::process::{PidfdFlags, pidfd_open};

use crate::capabilities::CapabilityMask;
use crate::cgroup::{Layout, Mode as Versions};
use crate::mounts::mount_detached;
use crate::{rootless, sys};

/// How well something works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Fully.
    Works,
    /// With something missing.
    Degraded {
        /// What is missing.
        cause: String,
        /// What would make it work.
        fix: String,
    },
    /// Not at all.
    Missing {
        /// Why.
        cause: String,
        /// What would make it work.
        fix: String,
    },
}

/// One thing that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, in short (`overlay`).
    pub name: &'static str,
    /// How well it works.
    pub state: State,
    /// Facts worth showing (`hybrid: cpu, memory, pids`).
    pub detail: String,
}

/// Tries everything that isolation depends on. `scratch` is a folder of the store's file system: overlays are tried
/// in it, and nothing stays.
pub fn all(scratch: &Path) -> Vec<Finding> {
    let probes: [fn(&Path) -> Finding; 10] = [
        privilege,
        mount_api,
        overlay,
        overlay_layers,
        resolution,
        processes,
        cgroups,
        device_control,
        seccomp,
        limits,
    ];
    probes.iter().map(|probe| probe(scratch)).collect()
}

fn finding(name: &'static str, state: State, detail: impl Into<String>) -> Finding {
    Finding { name, state, detail: detail.into() }
}

fn missing(cause: impl ToString, fix: &str) -> State {
    State::Missing { cause: cause.to_string(), fix: fix.to_owned() }
}

fn degraded(cause: impl ToString, fix: &str) -> State {
    State::Degraded { cause: cause.to_string(), fix: fix.to_owned() }
}

fn privilege(_scratch: &Path) -> Finding {
    let held = CapabilityMask::held();
    let lacking: Vec<String> = CapabilityMask::ALL.names().filter(|name| !held.contains(name)).collect();
    let who = if rootless::in_initial_user_namespace() { "initial user namespace" } else { "user namespace" };
    let detail = format!("uid {} in the {who}", rustix::process::geteuid().as_raw());
    let state = if !held.contains("SYS_ADMIN") {
        missing("this process may not make namespaces", "run as root, or rootless in a user namespace")
    } else if lacking.is_empty() {
        State::Works
    } else {
        degraded(
            format!("without {}", lacking.join(", ")),
            "give the surrounding container these capabilities",
        )
    };
    finding("privilege", state, detail)
}

fn mount_api(scratch: &Path) -> Finding {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let attr = sys::MountAttr { set: libc::MOUNT_ATTR_RDONLY, ..sys::MountAttr::default() };
    // Not `/`: a user namespace may not take it from the mounts below.
    let result = open_tree(CWD, scratch, flags)
        .map_err(std::io::Error::from)
        .and_then(|mount| sys::mount_setattr(std::os::fd::AsFd::as_fd(&mount), false, &attr));
    let state = match result {
        Ok(()) => State::Works,
        Err(error) => missing(error, "Linux 5.12 or newer, and CAP_SYS_ADMIN"),
    };
    finding("mounts by descriptor", state, "open_tree, mount_setattr")
}

/// Makes a temporary folder with the parts of an overlay, for the time of a try.
struct Scratch(PathBuf);

impl Scratch {
    fn new(scratch: &Path) -> std::io::Result<Self> {
        let folder = scratch.join(format!(".probe-{}", std::process::id()));
        let made = Self(folder);
        for part in ["lower", "upper", "work"] {
            std::fs::create_dir_all(made.0.join(part))?;
        }
        Ok(made)
    }

    fn plan(&self, xattr: OverlayXattr) -> RootPlan {
        let upper = OverlayUpper { upper: self.0.join("upper"), work: self.0.join("work"), volatile: true };
        RootPlan::Overlay { lowers: vec![self.0.join("lower")], upper: Some(upper), xattr }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Tries to mount an overlay over a folder's file system, with all that layers need; tells why it cannot be.
pub fn try_overlay(scratch: &Path, xattr: OverlayXattr) -> Result<(), String> {
    let parts = Scratch::new(scratch).map_err(|error| error.to_string())?;
    std::fs::create_dir(parts.0.join("lower/folder")).map_err(|error| error.to_string())?;
    std::fs::write(parts.0.join("lower/folder/file"), "").map_err(|error| error.to_string())?;
    let told = |error: &dyn std::error::Error| {
        error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
    };
    let mount = mount_detached(&parts.plan(xattr)).map_err(|error| told(&error))?;
    // The removal of a folder of a lower layer needs whiteouts, its replacement needs extended attributes.
    let folder = |act: fn(&Path) -> std::io::Result<()>, what: &str| {
        let path = PathBuf::from(format!("/proc/self/fd/{}/folder", mount.as_raw_fd()));
        act(&path).map_err(|error| format!("{what}: {error}"))
    };
    folder(|path| std::fs::remove_dir_all(path), "no whiteouts")?;
    folder(|path| std::fs::create_dir(path), "no opaque folders")
}

fn overlay(scratch: &Path) -> Finding {
    let trusted = rootless::in_initial_user_namespace();
    let xattr = if trusted { OverlayXattr::Trusted } else { OverlayXattr::User };
    let result = try_overlay(scratch, xattr);
    let detail = if trusted { "trusted marks" } else { "user marks" };
    let state = match result {
        Ok(()) => State::Works,
        Err(cause) => missing(cause, "keep the store on ext4, xfs or btrfs, and load the module `overlay`"),
    };
    finding("overlay", state, detail)
}

fn overlay_layers(scratch: &Path) -> Finding {
    let tried = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)
        .and_then(|context| fsconfig_set_string(&context, "lowerdir+", scratch));
    let state = match tried {
        Ok(()) => State::Works,
        Err(errno) => degraded(format!("long chains of layers: {errno}"), "Linux 6.8 or newer"),
    };
    finding("overlay with many layers", state, "lowerdir+")
}

fn resolution(_scratch: &Path) -> Finding {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let state = match rustix::fs::openat2(CWD, ".", flags, Mode::empty(), resolve) {
        Ok(_) => State::Works,
        Err(errno) => missing(errno, "Linux 5.6 or newer, and a seccomp filter that knows openat2"),
    };
    finding("confined paths", state, "openat2")
}

fn processes(_scratch: &Path) -> Finding {
    let state = match pidfd_open(rustix::process::getpid(), PidfdFlags::empty()) {
        Ok(_) => State::Works,
        Err(errno) => missing(errno, "Linux 5.3 or newer"),
    };
    finding("process descriptors", state, "pidfd_open")
}

fn cgroups(_scratch: &Path) -> Finding {
    let layout = Layout::read();
    let controllers = layout.controllers();
    let name = match layout.mode() {
        Versions::Unified => "version 2",
        Versions::Hybrid => "hybrid",
        Versions::Legacy => "version 1",
        Versions::None => "none",
    };
    let usable = layout.usable_controllers();
    let lacking: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|wanted| !usable.iter().any(|has| has == wanted))
        .collect();
    let state = if layout.mode() == Versions::None {
        missing("no hierarchy is mounted", "mount cgroup2 on /sys/fs/cgroup")
    } else if lacking.is_empty() {
        State::Works
    } else {
        degraded(
            format!("no limits of {}", lacking.join(", ")),
            "delegate a group with these controllers to this user; where systemd runs, `systemd-run --user --scope` \
             starts a program in one",
        )
    };
    finding("cgroups", state, format!("{name}: {}", controllers.join(", ")))
}

fn device_control(_scratch: &Path) -> Finding {
    let layout = Layout::read();
    let state = match crate::cgroup::try_device_program() {
        Ok(()) if matches!(layout.mode(), Versions::Unified | Versions::Hybrid) => State::Works,
        _ if layout.controllers().iter().any(|name| name == "devices") => State::Works,
        Ok(()) => missing("no cgroup to put the program on", "mount cgroup2"),
        Err(error) => degraded(
            format!("no BPF: {error}; device nodes in images cannot be opened at all"),
            "CAP_BPF or root of the machine",
        ),
    };
    finding("device control", state, "")
}

fn seccomp(_scratch: &Path) -> Finding {
    const RET_ERRNO: u32 = 0x0005_0000;
    const RET_KILL_PROCESS: u32 = 0x8000_0000;
    let state = if sys::seccomp_action_available(RET_ERRNO) && sys::seccomp_action_available(RET_KILL_PROCESS)
    {
        State::Works
    } else {
        missing("the kernel or an outer filter refuses seccomp(2)", "a kernel with CONFIG_SECCOMP_FILTER")
    };
    finding("seccomp", state, std::env::consts::ARCH)
}

fn limits(_scratch: &Path) -> Finding {
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let detail = hard.map_or_else(|| "unlimited open files".to_owned(), |hard| format!("{hard} open files"));
    let state = match hard {
        Some(hard) if hard < 4096 => degraded("few open files", "raise the hard limit `nofile` to 65536"),
        _ => State::Works,
    };
    finding("resource limits", state, detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_probe_answers_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let before = mounts();
        let findings = all(folder.path());
        assert_eq!(findings.len(), 10);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(mounts(), before);
        let names: std::collections::HashSet<_> = findings.iter().map(|finding| finding.name).collect();
        assert_eq!(names.len(), findings.len());
        if rustix::process::geteuid().is_root() && rootless::in_initial_user_namespace() {
            let mounts = findings.iter().find(|finding| finding.name == "mounts by descriptor").unwrap();
            assert_eq!(mounts.state, State::Works);
        }
    }
}

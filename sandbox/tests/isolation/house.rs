//! A root file system to run things in, and a look at what they leave behind.

use std::fs;
use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rbuild_model::rootfs::{OverlayUpper, OverlayXattr, RootPlan};
use rbuild_sandbox::cgroup::{Cgroup, CgroupRequest, Devices, Layout, Limits};
use rbuild_sandbox::mounts::mount_for_program;
use rbuild_sandbox::profile::{self, Options};
use rbuild_sandbox::{
    Exit, LaunchError, Launcher, LauncherConfig, Lifetime, Mount, Namespaces, Order, RootSource, Running,
    Slot, SlotRequest, Stdio, Stubs,
};

/// The folder of all cgroups of this process.
pub(crate) fn prefix() -> String {
    format!("rbuild-test-{}", std::process::id())
}

/// A temporary folder with a base layer, and a launcher.
pub(crate) struct House {
    pub(crate) launcher: Launcher,
    folder: tempfile::TempDir,
    next: AtomicU32,
}

/// What a program printed, and how it ended.
pub(crate) struct Outcome {
    pub(crate) exit: Exit,
    pub(crate) output: String,
    pub(crate) upper: PathBuf,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let base = folder.path().join("base");
        for name in ["bin", "etc", "tmp", "data"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", base.join("bin/busybox")).expect("a static busybox in /bin");
        for name in [
            "sh", "true", "ls", "cat", "id", "sleep", "stat", "mknod", "stty", "readlink", "dd", "mkdir",
            "touch", "tty", "mkfifo", "grep", "cmp", "head",
        ] {
            symlink("busybox", base.join("bin").join(name)).unwrap();
        }
        fs::copy("/proc/self/exe", base.join("bin/guest")).unwrap();
        fs::write(base.join("etc/kept"), "kept\n").unwrap();
        let launcher = Launcher::new(&LauncherConfig::default()).expect("a launcher");
        Self { launcher, folder, next: AtomicU32::new(0) }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn base(&self) -> PathBuf {
        self.folder.path().join("base")
    }

    /// Makes a new writable root over the base; returns it with its upper folder.
    pub(crate) fn root(&self) -> (RootSource, PathBuf) {
        let (plan, upper) = self.plan();
        (plan.into(), upper)
    }

    /// Describes a new writable root over the base; returns it with its upper folder.
    pub(crate) fn plan(&self) -> (RootPlan, PathBuf) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let (upper, work) =
            (self.folder.path().join(format!("u{number}")), self.folder.path().join(format!("w{number}")));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let plan = RootPlan::Overlay {
            lowers: vec![self.base()],
            upper: Some(OverlayUpper { upper: upper.clone(), work, volatile: true }),
            xattr: OverlayXattr::Trusted,
        };
        (plan, upper)
    }

    pub(crate) fn cgroup(&self, limits: Limits) -> Option<Cgroup> {
        let name = format!("step{}", self.next.fetch_add(1, Ordering::Relaxed));
        let request =
            CgroupRequest { prefix: prefix(), name, limits, devices: Devices::DefaultAnd(Vec::new()) };
        Cgroup::create(Layout::shared(), &request).expect("a cgroup")
    }

    pub(crate) fn slot(&self, limits: Limits, lifetime: Lifetime) -> Slot {
        let request = SlotRequest {
            cgroup: self.cgroup(limits),
            namespaces: Namespaces::default(),
            lifetime,
            oom_score_adj: Some(100),
        };
        self.launcher.slot(request).expect("a slot")
    }

    /// Starts a program in a new root.
    pub(crate) fn start(
        &self,
        options: Options,
        mounts: Vec<Mount>,
    ) -> Result<(Running, OwnedFd, PathBuf), LaunchError> {
        self.start_with(options, mounts, Limits::default())
    }

    pub(crate) fn start_with(
        &self,
        options: Options,
        mounts: Vec<Mount>,
        limits: Limits,
    ) -> Result<(Running, OwnedFd, PathBuf), LaunchError> {
        let (plan, upper) = self.plan();
        let root = RootSource::Mounted(mount_for_program(&plan).expect("a mount"));
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let stdio = Stdio { stdin: None, stdout: Some(writer.try_clone().unwrap()), stderr: Some(writer) };
        let spec = profile::step(options).expect("a spec");
        let order = Order { spec, root, mounts, stubs: Stubs::Remove };
        let running = self.slot(limits, Lifetime::Bound).launch(order, stdio)?;
        Ok((running, reader, upper))
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, options: Options, mounts: Vec<Mount>) -> Outcome {
        self.try_run(options, mounts, Limits::default()).unwrap_or_else(|error| panic!("{}", chain(&error)))
    }

    pub(crate) fn try_run(
        &self,
        options: Options,
        mounts: Vec<Mount>,
        limits: Limits,
    ) -> Result<Outcome, LaunchError> {
        let (running, reader, upper) = self.start_with(options, mounts, limits)?;
        let mut output = String::new();
        fs::File::from(reader).read_to_string(&mut output).unwrap();
        let exit = running.wait().unwrap_or_else(|error| panic!("{}", chain(&error)));
        Ok(Outcome { exit, output, upper })
    }

    /// Runs a shell script that must succeed; returns its output.
    pub(crate) fn shell(&self, script: &str) -> String {
        let outcome = self.run(shell(script), Vec::new());
        assert_eq!(outcome.exit.code(), 0, "{script}: {}", outcome.output);
        outcome.output
    }
}

/// Options for a shell script.
pub(crate) fn shell(script: &str) -> Options {
    let mut options = Options::new(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
    options.env = vec!["PATH=/bin".to_owned()];
    options
}

/// Options for this very program as a guest.
pub(crate) fn guest(words: &[&str]) -> Options {
    Options::new(["/bin/guest", "guest"].iter().chain(words).map(|word| (*word).to_owned()).collect())
}

/// Writes an error with its causes.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}

/// What of a process can leak: mounts, descriptors, children, cgroups.
#[derive(Debug)]
pub(crate) struct Traces {
    mounts: Vec<String>,
    descriptors: Vec<String>,
    children: String,
    groups: Vec<PathBuf>,
}

impl Traces {
    pub(crate) fn take() -> Self {
        let names = |path: &str| {
            let entries = fs::read_dir(path).into_iter().flatten().flatten();
            let mut links: Vec<String> = entries
                .filter_map(|entry| fs::read_link(entry.path()).ok())
                .map(|link| link.to_string_lossy().into_owned())
                .filter(|link| !link.contains("bpf-prog") && !link.starts_with("/proc/"))
                .collect();
            links.sort();
            links
        };
        let hierarchies =
            fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten().map(|entry| entry.path());
        let tops: Vec<PathBuf> = hierarchies.chain([PathBuf::from("/sys/fs/cgroup")]).collect();
        Self {
            mounts: fs::read_to_string("/proc/self/mountinfo")
                .unwrap()
                .lines()
                .filter(|line| line.contains(".tmp"))
                .map(str::to_owned)
                .collect(),
            descriptors: names("/proc/self/fd"),
            children: fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id()))
                .unwrap_or_default(),
            groups: tops.into_iter().map(|top| top.join(prefix())).filter(|path| path.exists()).collect(),
        }
    }

    /// Tells what there is that was not there before.
    pub(crate) fn compare(&self, after: &Self) -> String {
        let mut found = Vec::new();
        if self.mounts != after.mounts {
            found.push(format!("mounts {:?}", after.mounts));
        }
        if self.descriptors != after.descriptors {
            found.push(format!("descriptors {:?}, before {:?}", after.descriptors, self.descriptors));
        }
        if self.children != after.children {
            found.push(format!("children {}", after.children));
        }
        if !after.groups.is_empty() {
            found.push(format!("cgroups {:?}", after.groups));
        }
        found.join("; ")
    }
}

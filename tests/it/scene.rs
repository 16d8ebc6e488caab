//! What scenarios share: a store with a base image in it, builds and runs in the project's folder, and what their
//! output says of each step.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::leaks::Leaks;
use rbuild_testkit::settle::settle;
use rbuild_testkit::{leaks, privilege, rootfs};

/// The base image of all scenarios as a tar, made once.
pub(crate) fn base() -> &'static [u8] {
    static BASE: OnceLock<Vec<u8>> = OnceLock::new();
    BASE.get_or_init(|| {
        let folder = tempfile::tempdir().expect("a temporary folder");
        rootfs::busybox(folder.path());
        let tar = Command::new("tar")
            .args(["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "-C"])
            .arg(folder.path())
            .args(["-cf", "-", "."])
            .output()
            .expect("there is a tar program");
        assert!(tar.status.success(), "{tar:?}");
        tar.stdout
    })
}

/// Whether a scenario can run here. If not, it says so.
fn possible(test: &str) -> bool {
    if rootfs::find_busybox().is_none() {
        privilege::missing(test, "no static busybox");
        return false;
    }
    privilege::is_root(test)
}

/// A place with a store that holds the image `busybox`, or nothing where scenarios cannot run.
pub(crate) fn scene(test: &str) -> Option<TestContext> {
    if !possible(test) {
        return None;
    }
    let context = rbuild_testkit::context!();
    furnish(&context);
    Some(context)
}

/// Puts the base image into a store.
pub(crate) fn furnish(context: &TestContext) {
    context.rbuild(["import", "-", "busybox"]).input(base()).run().assert_success();
}

/// Runs a command that has to succeed, and returns what it said, byte by byte but for the end of its last line.
#[track_caller]
pub(crate) fn said<const N: usize>(context: &TestContext, arguments: [&str; N]) -> String {
    let output = context.rbuild(arguments).run();
    output.assert_success();
    String::from_utf8_lossy(&output.raw_stdout).trim_end().to_owned()
}

/// Builds the project's folder, told line by line.
#[track_caller]
pub(crate) fn build<const N: usize>(context: &TestContext, arguments: [&str; N]) -> Output {
    let mut all = vec!["build", "--progress", "plain"];
    all.extend(arguments);
    all.push(".");
    context.rbuild(all).run()
}

/// Builds the project's folder, which has to succeed.
#[track_caller]
pub(crate) fn built<const N: usize>(context: &TestContext, arguments: [&str; N]) -> Output {
    let output = build(context, arguments);
    output.assert_success();
    output
}

/// Writes a Dockerfile and builds it, which has to succeed.
#[track_caller]
pub(crate) fn built_from<const N: usize>(context: &TestContext, text: &str, arguments: [&str; N]) -> Output {
    context.write("Dockerfile", text);
    built(context, arguments)
}

/// A file of the project.
#[track_caller]
pub(crate) fn file(context: &TestContext, path: &str) -> String {
    let path = context.project().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The steps that a build told of, with what became of each: `DONE`, `CACHED`, `ERROR` and so on.
pub(crate) fn steps(output: &Output) -> Vec<(String, String)> {
    let mut steps: Vec<(String, String, String)> = Vec::new();
    for line in output.stderr.lines() {
        let Some((number, rest)) = line.strip_prefix('#').and_then(|line| line.split_once(' ')) else {
            continue;
        };
        match steps.iter_mut().find(|step| step.0 == number) {
            None => steps.push((number.to_owned(), rest.to_owned(), String::new())),
            Some(step) => {
                let word = rest.split([' ', ':']).next().unwrap_or_default();
                if matches!(word, "DONE" | "CACHED" | "ERROR" | "CANCELED" | "CANCELLED") {
                    word.clone_into(&mut step.2);
                }
            }
        }
    }
    steps.into_iter().map(|(_, name, state)| (name, state)).collect()
}

/// What became of the one step whose name contains a text.
#[track_caller]
pub(crate) fn state(output: &Output, name: &str) -> String {
    let found: Vec<_> = steps(output).into_iter().filter(|step| step.0.contains(name)).collect();
    assert_eq!(found.len(), 1, "one step that contains {name:?}: {found:?}\n{output}");
    found[0].1.clone()
}

/// The states of all steps of stages but their FROM, in the order of their numbers, as one line.
pub(crate) fn states(output: &Output) -> String {
    let steps = steps(output);
    let own =
        |name: &str| name.starts_with('[') && !name.starts_with("[internal]") && !name.contains("] FROM ");
    let stages = steps.iter().filter(|(name, _)| own(name));
    stages.map(|(_, state)| state.as_str()).collect::<Vec<_>>().join(" ")
}

/// How many lines a file in a cache mount of the store has: steps append one whenever they really run.
pub(crate) fn lines_in_cache_mounts(context: &TestContext, name: &str) -> usize {
    fn visit(folder: &Path, name: &str, sum: &mut usize) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                visit(&entry.path(), name, sum);
            } else if entry.file_name() == name {
                *sum += fs::read_to_string(entry.path()).unwrap_or_default().lines().count();
            }
        }
    }
    let mut sum = 0;
    visit(&context.root(), name, &mut sum);
    sum
}

/// Opens the other end of a pipe that a step made in a cache mount, and lets the step go on.
pub(crate) fn open_gate(context: &TestContext) {
    let mounts = context.root().join("mounts");
    let found =
        Command::new("find").arg(&mounts).args(["-name", "gate"]).output().expect("there is a find program");
    let path = String::from_utf8(found.stdout).expect("paths of a store are text");
    fs::write(path.trim_end(), "go on\n").expect("a step waits at its gate");
}

/// Nothing is left in the kernel but the networks themselves, which the next command uses again; nothing half done is
/// in the store, and it is sound.
#[track_caller]
pub(crate) fn assert_clean(context: &TestContext) {
    assert_no_leaks(context);
    assert_sound(context);
}

/// Nothing is left in the kernel but the bridges and the tables of the store's networks, and the group that monitors
/// live in.
#[track_caller]
pub(crate) fn assert_no_leaks(context: &TestContext) {
    let store8 = context.store8().unwrap_or_default();
    let bridges = format!("rb{store8}b");
    let left = || {
        let mut leaks = context.leaks();
        leaks.links.retain(|link| !link.starts_with(&bridges));
        leaks.cgroups.retain(|group| !is_residence(group));
        leaks
    };
    // Links go with their namespace, which the kernel takes down in the background; a monitor leaves behind the command
    // that removed its container.
    settle(left).assert_none();
    let tables = leaks::rules(&store8);
    let known = ["inet", "bridge"].map(|family| format!("table {family} rbuild_{store8}"));
    assert!(tables.iter().all(|table| known.contains(table)), "tables of the packet filter: {tables:?}");
    for bridge in context.leaks().links {
        let members = fs::read_dir(format!("/sys/class/net/{bridge}/brif")).into_iter().flatten().count();
        assert_eq!(members, 0, "{bridge} has members");
    }
}

/// Whether a group holds nothing but the empty one that the store's monitors live in, which the next one uses again.
pub(crate) fn is_residence(group: &Path) -> bool {
    let folders = |path: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    };
    // One that has just left is a zombie until it is reaped.
    let lives = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).is_ok();
    let is_empty = |path: &Path| {
        let processes = fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
        !processes.lines().any(lives)
    };
    let home = group.join("monitors");
    folders(group) == [home.clone()] && folders(&home).is_empty() && is_empty(group) && is_empty(&home)
}

/// Waits for the end of all processes that belong to a test. The kernel kills them when their parent dies; that they
/// are gone shows a moment later.
#[track_caller]
pub(crate) fn assert_processes_end(context: &TestContext) {
    let left = || Leaks { links: Vec::new(), cgroups: Vec::new(), ..context.leaks() };
    settle(left).assert_none();
}

/// The store is sound, and holds nothing that is half done, nor anything of a container or volume that is gone.
#[track_caller]
pub(crate) fn assert_sound(context: &TestContext) {
    // A command may have left a promotion behind it, which works in a folder of its own and empties the trash last.
    assert_processes_end(context);
    let output = context.rbuild(["doctor"]).run();
    // Its status also tells of the machine, which may lack something.
    assert!(output.stdout.ends_with(": good\n"), "{output}");
    let run = format!("/run/rbuild/{}/containers", context.store8().unwrap_or_default());
    for (folders, verb) in [
        (vec![context.root().join("containers"), run.into()], &["ps", "-aq", "--no-trunc"][..]),
        (vec![context.root().join("volumes")], &["volume", "ls", "-q"]),
    ] {
        let is_empty = |folder: &PathBuf| fs::read_dir(folder).map_or(true, |mut all| all.next().is_none());
        if folders.iter().all(is_empty) {
            continue;
        }
        let listed = context.rbuild(verb).run();
        let known = String::from_utf8_lossy(&listed.raw_stdout).into_owned();
        for entry in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            assert!(known.lines().any(|line| line == name), "{} is nobody's", entry.path().display());
        }
    }
    assert_processes_end(context);
    for name in ["tmp", "trash", "bad"] {
        let folder = context.root().join(name);
        let left: Vec<_> =
            fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        assert!(left.is_empty(), "left in {}: {left:?}", folder.display());
    }
}

/// The names of the store's images.
pub(crate) fn images(context: &TestContext) -> String {
    let output = context.rbuild(["images", "--format", "{{.Repository}}:{{.Tag}}"]).run();
    output.assert_success();
    let mut names: Vec<&str> = output.stdout.lines().collect();
    names.sort_unstable();
    names.join(" ")
}

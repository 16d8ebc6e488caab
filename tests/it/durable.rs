//! What was done lasts: it is there after the machine went down, whichever command did it.

use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_testkit::context::TestContext;
use rbuild_testkit::leaks::Leaks;
use rbuild_testkit::privilege;
use rbuild_testkit::registry::Registry;
use rbuild_testkit::settle::settle;
use tempfile::TempDir;

use crate::scene::{assert_no_leaks, built_from, furnish, images, scene};

/// The names of a store's images as a machine sees them that was started again: with another boot id.
#[track_caller]
fn images_under_another_boot(context: &TestContext, root: &Path) -> String {
    let boot = context.write("boot-id", "00000000-0000-4000-8000-000000000001\n");
    let script = format!(
        "mount --bind '{}' /proc/sys/kernel/random/boot_id && exec '{}' images --format '{{{{.Repository}}}}:{{{{.Tag}}}}'",
        boot.display(),
        env!("CARGO_BIN_EXE_rbuild")
    );
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .env("RBUILD_ROOT", root)
        .env("HOME", context.home())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut names: Vec<&str> = text.lines().collect();
    names.sort_unstable();
    names.join(" ")
}

#[track_caller]
fn images_after_a_reboot(context: &TestContext) -> String {
    // Promotion goes on in the background; the machine goes down when it is through.
    assert_no_leaks(context);
    images_under_another_boot(context, &context.root())
}

#[test]
fn what_every_verb_did_is_there_after_a_reboot() {
    let name = "what_every_verb_did_is_there_after_a_reboot";
    let Some(context) = scene(name) else { return };
    context.rbuild(["tag", "busybox", "tagged"]).run().assert_success();
    assert_eq!(images_after_a_reboot(&context), "busybox:latest tagged:latest");
    built_from(&context, "FROM busybox\nRUN echo x > /x\n", ["-t", "built"]);
    assert_eq!(images_after_a_reboot(&context), "built:latest busybox:latest tagged:latest");
    let Some(registry) = Registry::start(name) else { return };
    context.rbuild(["save", "-o", "app.tar", "built"]).run().assert_success();
    let filled = |name: &str| {
        let target = format!("docker://{}/{name}", registry.host());
        let archive = format!("docker-archive:{}", context.project().join("app.tar").display());
        let copied = Command::new("skopeo")
            .args(["copy", "--quiet", "--dest-tls-verify=false", &archive, &target])
            .output();
        copied.is_ok_and(|output| output.status.success())
    };
    if !filled("pulled:1") || !filled("run:1") {
        return privilege::missing(name, "skopeo cannot fill a registry");
    }
    let there = rbuild_testkit::context!();
    let (pulled, run) = (format!("{}/pulled:1", registry.host()), format!("{}/run:1", registry.host()));
    there.rbuild(["pull", &pulled]).run().assert_success();
    assert_eq!(images_after_a_reboot(&there), pulled);
    let ran = there.rbuild(["run", "--rm", "--network", "none", &run, "cat", "/x"]).run();
    assert_eq!(ran.assert_success().stdout, "x\n");
    assert_eq!(images_after_a_reboot(&there), format!("{pulled} {run}"));
    assert_eq!(images(&there), format!("{pulled} {run}"));
}

/// A disk that can lose its power: a file with a file system on it, which is mounted beside it.
struct Disk(TempDir);

impl Disk {
    fn new(test: &str) -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        std::fs::create_dir(disk.folder()).unwrap();
        std::fs::File::create(disk.0.path().join("file")).unwrap().set_len(1 << 30).unwrap();
        if !disk.call("mkfs.ext4", &["-q", "file"]) {
            privilege::missing(test, "no file system can be made");
            return None;
        }
        if !disk.call("mount", &["-o", "loop", "file", "disk"]) {
            privilege::skipped(test, "a file cannot be mounted here");
            return None;
        }
        Some(disk)
    }

    fn folder(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn call(&self, program: &str, arguments: &[&str]) -> bool {
        let status = Command::new(program).args(arguments).current_dir(self.0.path()).status();
        status.is_ok_and(|status| status.success())
    }

    /// Whatever was not synced is lost.
    #[track_caller]
    fn lose_power(&self) {
        // EXT4_IOC_SHUTDOWN without writing the journal: nothing reaches the file from now on.
        let script = "open(my $disk, '<', 'disk') or die $!; my $how = pack('L', 2); \
                      ioctl($disk, 0x8004587d, $how) or die $!";
        assert!(self.call("perl", &["-e", script]));
        // Who works in the background may have files open.
        settle(|| Leaks { mounts: Vec::new(), ..Leaks::find(&self.folder(), None) }).assert_none();
        assert!(self.call("umount", &["disk"]) && self.call("mount", &["-o", "loop", "file", "disk"]));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.call("umount", &["--quiet", "--lazy", "disk"]);
    }
}

/// What makes images that have to last.
type Verb<'a> = &'a dyn Fn(&TestContext);

#[test]
fn precious_results_survive_a_power_loss_at_once() {
    let name = "precious_results_survive_a_power_loss_at_once";
    // The store that the archive is made in.
    let Some(other) = scene(name) else { return };
    other.rbuild(["save", "-o", "app.tar", "busybox"]).run().assert_success();
    let archive = std::fs::read(other.project().join("app.tar")).unwrap();
    let verbs: [(Verb<'_>, &str); 3] = [
        (&|context| furnish(context), "busybox:latest"),
        (
            &|context| {
                context.rbuild(["load"]).input(archive.clone()).run().assert_success();
            },
            "busybox:latest",
        ),
        (
            &|context| {
                furnish(context);
                context.rbuild(["create", "--name", "cc", "busybox", "true"]).run().assert_success();
                context.rbuild(["commit", "-c", "ENV A=b", "cc", "made:1"]).run().assert_success();
            },
            "busybox:latest made:1",
        ),
    ];
    for (verb, names) in verbs {
        let Some(disk) = Disk::new(name) else { return };
        let store = disk.folder().join("store");
        let mut context = rbuild_testkit::context!();
        context.set("RBUILD_ROOT", &store);
        verb(&context);
        disk.lose_power();
        assert_eq!(images_under_another_boot(&context, &store), names);
    }
}

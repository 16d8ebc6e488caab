//! A disk that fills up: one clear error, a sound store, and work that goes on when there is room again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rbuild_testkit::context::TestContext;
use rbuild_testkit::leaks::Leaks;
use rbuild_testkit::settle::settle;

use crate::scene::{build, built_from, furnish, images, is_residence, scene};

/// A small file system in memory, unmounted at the end.
struct Small(PathBuf);

impl Small {
    fn mount(at: &Path, size: &str) -> Self {
        fs::create_dir_all(at).unwrap();
        let status = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0700"), "small"])
            .arg(at)
            .status();
        assert!(status.unwrap().success());
        Self(at.to_owned())
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(&self.0).status();
    }
}

/// Nothing of a build is left in the kernel but the small file system itself.
#[track_caller]
fn assert_sound(context: &TestContext) {
    // A monitor leaves behind the command that removed its container; the group of monitors stays for the next.
    let left = || {
        let mut leaks = Leaks { links: Vec::new(), ..context.leaks() };
        leaks.mounts.retain(|line| !line.contains(" - tmpfs small "));
        leaks.cgroups.retain(|group| !is_residence(group));
        leaks
    };
    settle(left).assert_none();
    let doctor = context.rbuild(["doctor"]).run();
    assert!(doctor.stdout.ends_with(": good\n") || doctor.stdout.contains("no room is reserved"), "{doctor}");
}

#[test]
fn a_store_without_room() {
    let Some(mut context) = scene("a_store_without_room") else { return };
    let root = context.folder().join("small");
    let small = Small::mount(&root, "40m");
    context.set("RBUILD_ROOT", root.join("store"));
    furnish(&context);
    built_from(&context, "FROM busybox\nRUN echo kept > /kept\n", ["-t", "kept"]);

    // A step that fills it: the program's own message, and ours.
    context.write(
        "Dockerfile",
        "FROM busybox\nRUN echo before > /before\nRUN dd if=/dev/zero of=/big bs=1M count=100\n",
    );
    let step = build(&context, ["-t", "never"]);
    step.assert_code(1);
    assert!(
        step.stderr.contains("No space left on device") && step.stderr.contains("Dockerfile:3"),
        "{step}"
    );
    assert_sound(&context);

    // We fill it.
    context.write("large", vec![7; 60 << 20]);
    context.write("Dockerfile", "FROM busybox\nRUN echo before > /before\nCOPY large /large\n");
    let copy = build(&context, ["-t", "never"]);
    copy.assert_code(1);
    assert!(copy.stderr.to_lowercase().contains("no space left"), "{copy}");
    assert!(copy.stderr.contains("Dockerfile:3"), "{copy}");
    assert_eq!(copy.stderr.matches("error:").count(), 1, "one error: {copy}");
    assert_sound(&context);
    assert_eq!(images(&context), "busybox:latest kept:latest");

    // Also with nothing left at all, what is there can be looked at and swept.
    let filler = root.join("filler");
    let _ = fs::write(&filler, vec![1; 64 << 20]);
    context.rbuild(["images"]).run().assert_success();
    context.rbuild(["prune", "--force"]).run().assert_success();
    let full = build(&context, ["-t", "never"]);
    full.assert_code(1);
    assert!(full.stderr.to_lowercase().contains("no space left"), "{full}");

    // With room again, work goes on, and what had been done before is there.
    fs::remove_file(&filler).unwrap();
    let output =
        built_from(&context, "FROM busybox\nRUN echo after > /after\nRUN cat /after\n", ["-t", "after"]);
    assert!(output.stderr.contains("DONE"), "{output}");
    for name in ["kept", "after"] {
        let ran =
            context.rbuild(["run", "--rm", "--network", "none", name, "cat", &format!("/{name}")]).run();
        assert_eq!(ran.assert_success().stdout, format!("{name}\n"));
    }
    context.rbuild(["prune", "--force"]).run().assert_success();
    assert_sound(&context);
    drop(small);
}

#[test]
fn a_small_disk_that_is_full_is_looked_at_and_emptied() {
    let Some(mut context) = scene("a_small_disk_that_is_full_is_looked_at_and_emptied") else { return };
    // Each with a reserve of its own: who used it up has it again when there is room.
    for (name, prune) in [
        ("one", &["system", "prune", "--all", "--force", "--volumes"][..]),
        ("two", &["prune", "--all", "--force"]),
    ] {
        let root = context.folder().join(name);
        let small = Small::mount(&root, "8m");
        context.set("RBUILD_ROOT", root.join("store"));
        furnish(&context);
        let _ = fs::write(root.join("filler"), vec![1; 8 << 20]);
        assert!(!images(&context).is_empty());
        context.rbuild(prune).run().assert_success();
        assert_eq!(images(&context), "");
        assert_sound(&context);
        drop(small);
    }
}

#[test]
fn a_container_that_fills_the_disk_is_stopped_and_removed() {
    let Some(mut context) = scene("a_container_that_fills_the_disk_is_stopped_and_removed") else { return };
    let root = context.folder().join("small");
    let small = Small::mount(&root, "40m");
    context.set("RBUILD_ROOT", root.join("store"));
    furnish(&context);
    let script = "trap 'exit 7' TERM; cat /dev/zero > /full; echo full; sleep 1000 & wait";
    for (verb, last) in
        [(&["stop", "cc"][..], "exited 7"), (&["kill", "cc"], "exited 137"), (&["rm", "-f", "cc"], "")]
    {
        let run =
            ["run", "-d", "--name", "cc", "--restart", "always", "--network", "none", "-v", "/anonymous"];
        let run = [&run[..], &["--log-driver", "none", "busybox", "sh", "-c", script]].concat();
        context.rbuild(run).run().assert_success();
        // Until the last byte is gone.
        while rustix::fs::statvfs(&root).unwrap().f_bavail > 0 {
            std::thread::yield_now();
        }
        context.rbuild(verb).run().assert_success();
        if !last.is_empty() {
            let state = ["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "cc"];
            assert_eq!(context.rbuild(state).run().stdout.trim_end(), last);
            context.rbuild(["rm", "-v", "cc"]).run().assert_success();
        }
        assert_eq!(context.rbuild(["ps", "-aq"]).run().stdout, "");
    }
    context.rbuild(["volume", "prune", "-af"]).run().assert_success();
    drop(small);
}

//! What the whole takes, what can go, and what comes back after the machine was restarted.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rbuild_testkit::context::TestContext;
use rbuild_testkit::settle::settle;
use rustix::process::Signal;

use crate::scene::{assert_clean, said, scene};

/// Runs a container in the background.
#[track_caller]
fn running(context: &TestContext, name: &str, policy: &str) -> String {
    said(
        context,
        ["run", "-d", "--name", name, "--network", "none", "--restart", policy, "busybox", "sleep", "1000"],
    )
}

/// Takes the machine down, as far as containers can tell: everything that runs is killed at once, without a word to
/// anybody, and what does not survive a reboot is gone.
fn power_off(context: &TestContext) {
    let run = Path::new("/run/rbuild").join(context.store8().unwrap());
    let mut pids = Vec::new();
    for entry in fs::read_dir(run.join("containers")).unwrap().flatten() {
        let Ok(text) = fs::read_to_string(entry.path().join("state.json")) else { continue };
        let (_, record) = text.split_once('\n').unwrap();
        let record: serde_json::Value = serde_json::from_str(record).unwrap();
        // Monitors first: the dead tell nothing.
        for (order, place) in [(0, "/monitor/pid"), (1, "/state/init/pid")] {
            let pid = record.pointer(place).and_then(serde_json::Value::as_i64);
            pids.extend(pid.map(|pid| (order, pid)));
        }
    }
    pids.sort_unstable();
    assert!(!pids.is_empty(), "nothing runs in {}", run.display());
    for (_, pid) in pids {
        let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
    }
    // Groups go with the machine too; here they can be taken away once the kernel is through with the dead. What a
    // command still does in the background puts something into the folder until it is through.
    let left = settle(|| {
        let mut left = context.leaks();
        left.cgroups.retain(|group| !remove_group(Path::new(group)));
        left
    });
    let _ = fs::remove_dir_all(&run);
    assert!(left.cgroups.is_empty() && !run.exists(), "the machine does not go down: {left:?}");
}

/// Removes a control group with those in it; tells whether it is gone.
fn remove_group(group: &Path) -> bool {
    for entry in fs::read_dir(group).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_group(&entry.path());
        }
    }
    fs::remove_dir(group).is_ok() || !group.exists()
}

/// Runs a script as on a machine that was started again: with another boot id. `$R` is the program.
fn after_a_reboot(context: &TestContext, script: &str) -> String {
    let boot = context.write("boot-id", "00000000-0000-4000-8000-000000000001\n");
    let script =
        format!("set -e; mount --bind '{}' /proc/sys/kernel/random/boot_id\n{script}", boot.display());
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .env("R", env!("CARGO_BIN_EXE_rbuild"))
        .env("RBUILD_ROOT", context.root())
        .env("HOME", context.home())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn what_its_policy_wants_back_comes_back() {
    let Some(context) = scene("what_its_policy_wants_back_comes_back") else { return };
    for (name, policy) in [
        ("a-always", "always"),
        ("b-stopped", "always"),
        ("c-unless", "unless-stopped"),
        ("d-left", "unless-stopped"),
        ("e-failed", "on-failure"),
        ("f-once", "no"),
    ] {
        running(&context, name, policy);
    }
    said(&context, ["create", "--name", "g-never", "--restart", "always", "busybox", "true"]);
    said(&context, ["stop", "-t", "0", "b-stopped", "d-left"]);
    power_off(&context);
    let told = after_a_reboot(
        &context,
        "$R system boot | sort\n\
         echo --\n\
         $R ps -a --format '{{.Names}} {{.State}}' | sort\n\
         echo --\n\
         $R stop -t 0 a-always >/dev/null\n\
         $R system boot\n\
         $R inspect --format '{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}' f-once a-always\n\
         $R ps -aq | xargs $R rm -f >/dev/null\n",
    );
    assert_eq!(
        told,
        "a-always\nb-stopped\nc-unless\ne-failed\n--\n\
         a-always running\nb-stopped running\nc-unless running\nd-left exited\ne-failed running\n\
         f-once exited\ng-never created\n--\n\
         exited 255 the machine was restarted\nexited 137 \n"
    );
}

#[test]
fn what_cannot_come_back_comes_back_the_next_time() {
    let Some(context) = scene("what_cannot_come_back_comes_back_the_next_time") else { return };
    let program = context.write("bin/program", "#!/bin/sh\nexec sleep 1000\n");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let mount = format!("{}:/bound", context.project().join("bin").display());
    let run = ["run", "-d", "--name", "bound", "--network", "none", "--restart", "always", "-v", &mount];
    context.rbuild(run.iter().chain(&["busybox", "/bound/program"])).run().assert_success();
    power_off(&context);
    let next = context.write("next", "00000000-0000-4000-8000-000000000002\n");
    let told = after_a_reboot(
        &context,
        &format!(
            "mv '{program}' '{program}.away'\n\
             $R system boot 2>/dev/null || echo $?\n\
             $R inspect --format '{{{{.State.Status}}}} {{{{.State.ExitCode}}}}' bound\n\
             mv '{program}.away' '{program}'\n\
             mount --bind '{}' /proc/sys/kernel/random/boot_id\n\
             $R system boot\n\
             $R inspect --format '{{{{.State.Status}}}}' bound\n\
             $R rm -f bound >/dev/null\n",
            next.display(),
            program = program.display(),
        ),
    );
    assert_eq!(told, "1\nexited 127\nbound\nrunning\n");
    assert_clean(&context);
}

#[test]
fn what_others_need_comes_back_before_them() {
    let Some(context) = scene("what_others_need_comes_back_before_them") else { return };
    let always = |name: &str, sharing: &[&str]| {
        let arguments =
            [&["run", "-d", "--restart", "always", "--name", name], sharing, &["busybox", "sleep", "1000"]];
        context.rbuild(arguments.concat()).run().assert_success();
    };
    always("linked", &["--network", "bridge"]);
    always("lender", &["--network", "none"]);
    always("network", &["--network", "container:lender"]);
    always("processes", &["--network=none", "--pid=container:network"]);
    always("late", &["--network", "container:processes"]);
    always("links", &["--link", "linked:other"]);
    // One that was made anew is younger than who lives with it.
    said(&context, ["rm", "-f", "linked"]);
    always("linked", &["--network", "bridge"]);
    power_off(&context);
    let told = after_a_reboot(&context, "$R system boot\n$R ps -aq | xargs $R rm -f >/dev/null\n");
    assert_eq!(told, "lender\nnetwork\nprocesses\nlate\nlinked\nlinks\n");
    assert_clean(&context);
}

#[test]
fn a_restart_of_what_was_removed_meanwhile_says_so() {
    let Some(context) = scene("a_restart_of_what_was_removed_meanwhile_says_so") else { return };
    let script = "trap 'echo asked' TERM; while :; do sleep 0.05; done";
    said(&context, ["run", "-d", "--name", "gone", "--network", "none", "busybox", "sh", "-c", script]);
    let log = context.rbuild(["logs", "-f", "gone"]).start();
    let restart = context.rbuild(["restart", "-t", "1000", "gone"]).start();
    log.until("asked");
    restart.signal(Signal::STOP);
    said(&context, ["rm", "-f", "gone"]);
    restart.signal(Signal::CONT);
    let ended = restart.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(ended.stderr, "error: No such container: gone\n");
    log.wait();
    assert_clean(&context);
}

#[test]
fn the_unit_calls_boot_on_this_store() {
    let Some(context) = scene("the_unit_calls_boot_on_this_store") else { return };
    let told = said(&context, ["system", "enable", "--dry-run"]);
    let path = format!("/etc/systemd/system/rbuild-boot-{}.service", context.store8().unwrap());
    assert!(told.starts_with(&format!("{path}\n\n[Unit]\n")), "{told}");
    let root = context.root().display().to_string();
    assert!(told.contains(&format!(" --root \"{root}\" system boot\n")), "{told}");
    assert!(!Path::new(&path).exists());
    if !Path::new("/run/systemd/system").exists() {
        let refused = context.rbuild(["system", "enable"]).run();
        refused.assert_code(1);
        assert!(refused.stderr.contains("systemd does not run this machine"), "{refused}");
        assert!(!Path::new(&path).exists());
    }
}

#[test]
fn what_takes_space_is_told_and_can_go() {
    let Some(context) = scene("what_takes_space_is_told_and_can_go") else { return };
    // What the cache holds is told too, and counted by others.
    let rows = |context: &TestContext| {
        let rows = said(context, ["system", "df", "--format", "{{.Type}}|{{.TotalCount}}|{{.Active}}"]);
        let (rows, cache) = rows.rsplit_once('\n').unwrap();
        assert!(cache.starts_with("Build Cache|"), "{cache}");
        rows.to_owned()
    };
    assert_eq!(rows(&context), "Images|1|0\nContainers|0|0\nLocal Volumes|0|0");
    said(
        &context,
        [
            "run",
            "-d",
            "--name",
            "one",
            "--network",
            "none",
            "-v",
            "named:/n",
            "-v",
            "/anonymous",
            "busybox",
            "sleep",
            "1000",
        ],
    );
    said(&context, ["create", "--name", "two", "--network", "none", "busybox", "true"]);
    said(&context, ["network", "create", "net"]);
    assert_eq!(rows(&context), "Images|1|1\nContainers|2|1\nLocal Volumes|2|2");
    let table = said(&context, ["system", "df"]);
    assert!(
        table.starts_with("TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE\nImages "),
        "{table}"
    );
    let verbose = said(&context, ["system", "df", "-v"]);
    for part in ["Images space usage:\n\nREPOSITORY", "Containers space usage:\n\nCONTAINER ID", "\nnamed "] {
        assert!(verbose.contains(part), "{part}: {verbose}");
    }
    // What a volume in use has mounted takes no room of the store.
    said(
        &context,
        ["volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "mounted"],
    );
    said(
        &context,
        ["run", "-d", "--name", "three", "--network", "none", "-v", "mounted:/m", "busybox", "sleep", "1000"],
    );
    for told in [&["system", "df"][..], &["system", "df", "-v"], &["du"]] {
        context.rbuild(told).run().assert_code(0);
    }
    said(&context, ["rm", "-f", "three"]);
    said(&context, ["volume", "rm", "mounted"]);
    // The one that runs keeps what it has.
    let pruned = said(&context, ["system", "prune", "--force", "--all", "--volumes"]);
    assert!(
        pruned.starts_with("Deleted Containers:\n") && pruned.contains("Deleted Networks:\nnet\n"),
        "{pruned}"
    );
    assert!(!pruned.contains("Deleted Volumes") && !pruned.contains("Deleted: sha256"), "{pruned}");
    said(&context, ["rm", "-f", "one"]);
    let pruned = said(&context, ["system", "prune", "-af", "--volumes"]);
    assert!(pruned.contains("Deleted Volumes:\n") && pruned.contains("Untagged: busybox:latest"), "{pruned}");
    assert_eq!(rows(&context), "Images|0|0\nContainers|0|0\nLocal Volumes|1|0");
    let refused = context.rbuild(["system", "prune"]).run();
    refused.assert_code(1);
    assert!(refused.stderr.contains("use `--force`"), "{refused}");
    assert_clean(&context);
}

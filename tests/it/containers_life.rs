//! Containers that stay: made, started, looked at, stopped, removed.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use rbuild_testkit::context::{Output, TestContext};
use rustix::fs::{CWD, FileType, Mode};

use crate::scene::{assert_clean, said, scene};

/// Runs a command that has to fail with a status and a text.
#[track_caller]
fn refused<const N: usize>(context: &TestContext, arguments: [&str; N], code: i32, text: &str) -> Output {
    let output = context.rbuild(arguments).run();
    output.assert_code(code);
    assert!(output.stderr.contains(text), "{text}\n{output}");
    output
}

/// A container's state and status.
fn state(context: &TestContext, name: &str) -> String {
    said(context, ["inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", name])
}

#[test]
fn from_made_to_removed() {
    let Some(context) = scene("from_made_to_removed") else { return };
    let id = said(
        &context,
        [
            "create",
            "--name",
            "one",
            "--network",
            "none",
            "--label",
            "a=b",
            "busybox",
            "sh",
            "-c",
            "echo out; echo err >&2; exit 3",
        ],
    );
    assert_eq!(id.len(), 64);
    assert_eq!(state(&context, "one"), "created 0");
    assert_eq!(said(&context, ["ps", "-q"]), "");
    assert_eq!(said(&context, ["ps", "-aq", "--no-trunc", "--filter", "label=a=b"]), id);
    let started = context.rbuild(["start", "-a", &id[..8]]).run();
    started.assert_code(3);
    assert_eq!((started.stdout.as_str(), started.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!(state(&context, "one"), "exited 3");
    assert_eq!(said(&context, ["wait", "one"]), "3");
    assert_eq!(said(&context, ["logs", "one"]), "out");
    assert_eq!(
        said(&context, ["ps", "-a", "--format", "{{.Names}} {{.State}}", "--filter", "exited=3"]),
        "one exited"
    );
    assert_eq!(said(&context, ["rm", "one"]), "one");
    refused(&context, ["rm", "one"], 1, "No such container: one");
    assert_clean(&context);
}

#[test]
fn in_the_background() {
    let Some(context) = scene("in_the_background") else { return };
    let script = "trap 'echo asked; exit 7' TERM; echo ready; sleep 1000 & wait";
    let id =
        said(&context, ["run", "-d", "--name", "back", "--network", "none", "busybox", "sh", "-c", script]);
    let logs = context.rbuild(["logs", "-f", "back"]).start();
    logs.until("ready");
    assert_eq!(said(&context, ["ps", "-q", "--no-trunc"]), id);
    refused(&context, ["rm", "back"], 1, "stop the container before removing or force remove");
    refused(
        &context,
        ["run", "-d", "--name", "back", "--network", "none", "busybox"],
        125,
        "is already in use by container",
    );
    assert_eq!(said(&context, ["exec", "back", "sh", "-c", "echo $HOSTNAME; exit 0"]), id[..12]);
    context.rbuild(["exec", "back", "sh", "-c", "exit 9"]).run().assert_code(9);
    // Who is given no input is at its end.
    assert_eq!(said(&context, ["exec", "back", "cat"]), "");
    context.rbuild(["exec", "back", "no-such-program"]).run().assert_code(127);
    refused(&context, ["exec", "-d", "back", "no-such-program"], 1, "cannot execute `no-such-program`");
    let nothing = context.rbuild(["rm", "-f", "nowhere"]).run();
    nothing.assert_success();
    assert!(nothing.stderr.contains("no such container: nowhere"), "{nothing}");
    assert_eq!(said(&context, ["pause", "back"]), "back");
    assert!(state(&context, "back").starts_with("paused"));
    refused(&context, ["exec", "back", "true"], 1, "container back is paused");
    assert_eq!(said(&context, ["unpause", "back"]), "back");
    refused(&context, ["unpause", "back"], 1, "is not paused");
    assert_eq!(said(&context, ["rename", "back", "fore"]), "");
    assert_eq!(said(&context, ["stop", "fore"]), "fore");
    assert_eq!(state(&context, "fore"), "exited 7");
    assert!(logs.wait().stdout.ends_with("asked\n"));
    refused(&context, ["kill", "fore"], 1, "is not running");
    assert_eq!(said(&context, ["restart", "fore"]), "fore");
    assert!(state(&context, "fore").starts_with("running"));
    assert_eq!(said(&context, ["rm", "-f", "fore"]), "fore");
    assert_clean(&context);
}

#[test]
fn what_happened_is_told() {
    let Some(context) = scene("what_happened_is_told") else { return };
    said(&context, ["run", "-d", "--name", "told", "--network", "none", "busybox", "sleep", "1000"]);
    said(&context, ["kill", "told"]);
    said(&context, ["wait", "told"]);
    said(&context, ["rm", "told"]);
    let told = said(
        &context,
        [
            "events",
            "--since",
            "10m",
            "--until",
            "0s",
            "--filter",
            "container=told",
            "--format",
            "{{.Action}}",
        ],
    );
    assert_eq!(told, "create\nstart\nkill\ndie\ndestroy");
    // Its networks are left with the program.
    said(&context, ["run", "--rm", "--name", "connected", "busybox", "true"]);
    let format = "{{.Action}} {{.Actor.Attributes.name}} {{.Actor.Attributes.none}}";
    let arguments = ["--since", "10m", "--until", "0s", "--filter", "type=network", "--format", format];
    let told = context.rbuild([&["events"][..], &arguments].concat()).run().stdout;
    assert_eq!(told, "connect bridge <no value>\ndisconnect bridge <no value>\n");
    said(&context, ["tag", "busybox", "named:1"]);
    said(&context, ["rmi", "named:1"]);
    let format = "{{.Type}} {{.Action}} {{.Actor.Attributes.name}}";
    let of = |filter| {
        let arguments = ["events", "--since", "10m", "--until", "0s", "--filter", filter, "--format", format];
        said(&context, arguments)
    };
    assert_eq!(of("image=named:1"), "image tag named:1");
    // By its id, as Docker tells it.
    let id = said(&context, ["inspect", "--format", "{{.Id}}", "busybox"]);
    assert_eq!(of("event=untag"), format!("image untag {id}"));
    assert_clean(&context);
}

/// A limit of a container's group as the kernel has it: of the controller's own hierarchy, or of the common one.
fn limit(pid: &str, controller: &str, [own, common]: [&str; 2]) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let mut files = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        match controllers {
            "" => Some(format!("/sys/fs/cgroup{path}/{common}")),
            _ if controllers.split(',').any(|one| one == controller) => {
                Some(format!("/sys/fs/cgroup/{controllers}{path}/{own}"))
            }
            _ => None,
        }
    });
    files.find_map(|file| Some(fs::read_to_string(file).ok()?.trim().to_owned()))
}

#[test]
fn limits_change_and_go_while_it_runs() {
    let Some(context) = scene("limits_change_and_go_while_it_runs") else { return };
    let flags = ["run", "-d", "--name", "held", "--network", "none", "--cpus", "0.5", "--pids-limit", "50"];
    let memory = ["-m", "64m", "--memory-swap", "128m", "busybox", "sleep", "1000"];
    context.rbuild([&flags[..], &memory].concat()).run().assert_success();
    let pid = said(&context, ["inspect", "--format", "{{.State.Pid}}", "held"]);
    let time = || limit(&pid, "cpu", ["cpu.cfs_quota_us", "cpu.max"]).unwrap();
    let processes = || limit(&pid, "pids", ["pids.max", "pids.max"]).unwrap();
    let bytes = || limit(&pid, "memory", ["memory.limit_in_bytes", "memory.max"]).unwrap();
    let swap = || limit(&pid, "memory", ["memory.memsw.limit_in_bytes", "memory.swap.max"]);
    assert_eq!((time().split(' ').next(), &*processes(), &*bytes()), (Some("50000"), "50", "67108864"));
    // Both at once, as one is never above the other.
    said(&context, ["update", "-m", "256m", "--memory-swap", "512m", "--pids-limit", "7", "held"]);
    assert_eq!((&*processes(), &*bytes()), ("7", "268435456"));
    said(&context, ["update", "--memory-swap", "-1", "--pids-limit", "-1", "--cpu-quota", "-1", "held"]);
    let free = time();
    assert!(["-1", "max 100000"].contains(&&*free), "{free}");
    assert_eq!(processes(), "max");
    // Not every kernel counts swap. Version 1 says "unlimited" with the largest number of pages.
    let swap = swap().unwrap_or_else(|| "max".to_owned());
    assert!(swap == "max" || swap.len() > 15, "{swap}");
    let told = "{{.HostConfig.MemorySwap}} {{json .HostConfig.PidsLimit}} {{.HostConfig.NanoCpus}}";
    assert_eq!(said(&context, ["inspect", "--format", told, "held"]), "-1 null 0");
    said(&context, ["rm", "-f", "held"]);

    // What is refused takes nothing away. Version 2 refuses none: it kills.
    let memory = ["-m", "64m", "--memory-swap", "64m", "busybox", "sleep", "1000"];
    context
        .rbuild([&["run", "-d", "--name", "full", "--network", "none"][..], &memory].concat())
        .run()
        .assert_success();
    said(&context, ["exec", "full", "sh", "-c", "head -c 30000000 /dev/zero > /dev/shm/x"]);
    let pid = said(&context, ["inspect", "--format", "{{.State.Pid}}", "full"]);
    let swap = || limit(&pid, "memory", ["memory.memsw.limit_in_bytes"; 2]);
    if swap().is_some() {
        refused(&context, ["update", "-m", "8m", "--memory-swap", "8m", "full"], 1, "busy");
        assert_eq!(swap().as_deref(), Some("67108864"));
    }
    said(&context, ["rm", "-f", "full"]);
    assert_clean(&context);
}

/// Where a copy lands: docker's table, and what links and dots do to it.
#[test]
fn a_copy_lands_where_dockers_does() {
    let Some(context) = scene("a_copy_lands_where_dockers_does") else { return };
    let there = "mkdir -p /t/dir; echo old > /t/file; cd /t; ln -s /t/dir ld; ln -s file lf; ln -s none lb";
    said(&context, ["run", "--name", "to", "--network", "none", "busybox", "sh", "-c", there]);
    context.write("f", "new\n");
    context.write("d/sub/f", "below\n");
    std::os::unix::fs::symlink("d", context.project().join("l")).unwrap();
    for (source, target) in [
        ("f", "to:/t/lf"),        // onto what the link leads to
        ("f", "to:/t/lb"),        // as that, where there is nothing
        ("f", "to:/t/ld"),        // into it
        ("f", "to:/t/a/../dots"), // by the letter
        ("l", "to:/t/link"),
        ("l/", "to:/t/slash"), // what the link leads to
        ("l/.", "to:/t/dot"),
    ] {
        said(&context, ["cp", source, target]);
    }
    refused(&context, ["cp", "f/.", "to:/t/x"], 1, "Not a directory");
    refused(&context, ["cp", "f", "to:"], 1, "the container's path is empty");
    let packed =
        Command::new("tar").args(["-czf", "-", "-C"]).arg(context.project()).arg("d").output().unwrap();
    let unpacked = context.rbuild(["cp", "-", "to:/t/dir"]).input(packed.stdout).run();
    unpacked.assert_success();
    let tar = context.rbuild(["cp", "to:/t", "-"]).run();
    fs::write(context.project().join("t.tar"), tar.raw_stdout).unwrap();
    let listed = told(Command::new("tar").arg("-tf").arg(context.project().join("t.tar")));
    let mut names: Vec<_> = listed.lines().collect();
    names.sort_unstable();
    let expected = "t/ t/dir/ t/dir/d/ t/dir/d/sub/ t/dir/d/sub/f t/dir/f t/dot/ t/dot/sub/ t/dot/sub/f t/dots \
                    t/file t/lb t/ld t/lf t/link t/none t/slash/ t/slash/sub/ t/slash/sub/f";
    assert_eq!(names.join(" "), expected);
    said(&context, ["cp", "to:/t/file", "back"]);
    assert_eq!(fs::read_to_string(context.project().join("back")).unwrap(), "new\n");
    said(&context, ["rm", "to"]);
    assert_clean(&context);
}

#[test]
fn files_go_in_and_out() {
    let Some(context) = scene("files_go_in_and_out") else { return };
    said(
        &context,
        [
            "create",
            "--name",
            "files",
            "--network",
            "none",
            "-v",
            "kept:/kept",
            "busybox",
            "cat",
            "/in/f",
            "/kept/g",
        ],
    );
    context.write("in/f", "from here\n");
    said(&context, ["cp", "in", "files:/in"]);
    said(&context, ["cp", "in/f", "files:/kept/g"]);
    let output = context.rbuild(["start", "-a", "files"]).run();
    output.assert_success();
    assert_eq!(output.stdout, "from here\nfrom here\n");
    said(&context, ["cp", "files:/kept/g", "out"]);
    assert_eq!(std::fs::read_to_string(context.project().join("out")).unwrap(), "from here\n");
    let tar = context.rbuild(["cp", "files:/in/.", "-"]).run();
    fs::write(context.project().join("in.tar"), tar.raw_stdout).unwrap();
    let listed = Command::new("tar").arg("-tf").arg(context.project().join("in.tar")).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "./\n./f\n");
    refused(&context, ["cp", "files:/none", "x"], 1, "Could not find the file /none in container files");
    assert!(said(&context, ["diff", "files"]).contains("A /in/f"));
    refused(&context, ["rmi", "busybox"], 1, "is using its referenced image");
    let image = said(&context, ["commit", "-c", "CMD [\"cat\", \"/in/f\"]", "files", "made:1"]);
    assert!(image.starts_with("sha256:"), "{image}");
    assert_eq!(said(&context, ["run", "--rm", "--network", "none", "made:1"]), "from here");
    said(&context, ["rm", "-v", "files"]);
    // What comes while a container starts is there.
    said(&context, ["create", "--name", "racing", "--network", "none", "busybox", "sleep", "1000"]);
    for round in ["1", "2", "3"] {
        let starting = context.rbuild(["start", "racing"]).start();
        context.write("round", round);
        said(&context, ["cp", "round", "racing:/round"]);
        assert!(starting.wait().status.success());
        assert_eq!(said(&context, ["exec", "racing", "cat", "/round"]), round);
        said(&context, ["stop", "--timeout", "0", "racing"]);
    }
    said(&context, ["rm", "racing"]);
    assert_clean(&context);
}

/// What Docker's commands take as it is, and when they find out what is wrong with it.
#[test]
fn odd_values_are_taken_and_refused_as_dockers() {
    let Some(context) = scene("odd_values_are_taken_and_refused_as_dockers") else { return };
    let run = |flags: &[&str], script: &str| {
        let mut line = vec!["run", "--rm", "--network", "none"];
        line.extend(flags);
        line.extend(["busybox", "sh", "-c", script]);
        let output = context.rbuild(line).run();
        output.assert_success();
        output.stdout.trim().to_owned()
    };
    assert_eq!(run(&["-v", "a:/x", "-v", "rel", "-v", ":"], "ls -d /a:/x /rel /:"), "/:\n/a:/x\n/rel");
    let options = "/t:size=10%,nr_inodes=100,noatime,nodiratime,sync,exec";
    let mounted = run(&["--tmpfs", options], "grep ' /t ' /proc/mounts");
    for part in ["sync", "noatime", "nodiratime", "nr_inodes=100", "size="] {
        assert!(mounted.contains(part), "{part}: {mounted}");
    }
    assert!(!mounted.contains("noexec") && mounted.contains("nosuid"), "{mounted}");
    assert!(
        run(&["--tmpfs", "/t:strictatime"], "grep ' /t ' /proc/mounts").contains("tmpfs /t tmpfs rw,nosuid")
    );
    for (flag, value, code, told) in [
        ("-v", "", 125, "invalid empty volume spec"),
        ("-v", "/a:/b:/c:/d", 125, "too many colons"),
        ("-v", "ab:/", 1, "nothing can be mounted over `/`"),
        ("--name", "-x", 1, "invalid value `-x` of `--name`"),
        ("--network-alias", "q", 125, "only supported for user-defined networks"),
        ("--dns-search", "", 125, "not a valid domain"),
        ("--network", "container:", 1, "invalid container format container:<name|id>"),
        ("--log-opt", "max-buffer-size=1k", 1, "only supported with 'mode=non-blocking'"),
    ] {
        refused(&context, ["create", flag, value, "busybox", "true"], code, told);
    }
    // Whose network is shared has to be there when it is: at the start.
    said(&context, ["create", "--name", "guest", "--network", "container:host", "busybox", "true"]);
    refused(
        &context,
        ["start", "guest"],
        1,
        "joining network namespace of container: No such container: host",
    );
    said(&context, ["run", "-d", "--name", "host", "--network", "none", "busybox", "sleep", "1000"]);
    said(&context, ["start", "-a", "guest"]);
    refused(&context, ["exec", "host", ""], 127, "cannot execute ``: No such file or directory");
    refused(
        &context,
        ["run", "--rm", "--network", "none", "busybox", ""],
        127,
        "cannot execute ``: No such file",
    );
    refused(&context, ["stop", "-s", "BOGUS", "host"], 1, "invalid signal: BOGUS");
    said(&context, ["kill", "host"]);
    said(&context, ["wait", "host"]);
    said(&context, ["stop", "-s", "BOGUS", "host"]);
    let limited = context.rbuild(["update", "--kernel-memory", "10m", "host"]).run();
    limited.assert_success();
    assert!(limited.stderr.contains("`--kernel-memory` is deprecated"), "{limited}");
    let passed =
        context.rbuild(["events", "--until", "0s", "--filter", "bogus=x", "--filter", "event=kill"]).run();
    passed.assert_success();
    assert!(passed.stdout.contains(" container kill "), "{passed}");
    assert!(passed.stderr.contains("no filter of events is called `bogus`"), "{passed}");
    refused(&context, ["inspect", "-f", "{{", "host"], 64, "this action is not closed");
    refused(&context, ["inspect", "-f", "{{.Nope}}", "host"], 1, "there is no field `Nope`");
    said(&context, ["rm", "host", "guest"]);
    // Between two runs there is nothing to look into.
    let again =
        ["run", "-d", "--name", "again", "--restart", "always", "--network", "none", "busybox", "false"];
    said(&context, again);
    loop {
        let top = context.rbuild(["top", "again"]).run();
        if top.stderr.contains("is restarting, wait until the container is running") {
            break;
        }
    }
    said(&context, ["rm", "-f", "again"]);
    assert_clean(&context);
}

/// What is mounted counts as files where it is the container's, and only while it is there.
#[test]
fn a_copy_takes_the_containers_files_and_not_the_kernels() {
    let Some(context) = scene("a_copy_takes_the_containers_files_and_not_the_kernels") else { return };
    context.write("bound/f", "bound\n");
    context.write("f", "new\n");
    let bound = format!("{}:/bound:ro", context.project().join("bound").display());
    said(
        &context,
        [
            "run",
            "-d",
            "--name",
            "of",
            "--network",
            "none",
            "-v",
            &bound,
            "--tmpfs",
            "/mem",
            "busybox",
            "sleep",
            "1000",
        ],
    );
    said(&context, ["cp", "f", "of:/mem/f"]);
    said(&context, ["cp", "of:/", "whole"]);
    let whole = context.project().join("whole");
    assert_eq!(fs::read_to_string(whole.join("bound/f")).unwrap(), "bound\n");
    assert_eq!(fs::read_to_string(whole.join("mem/f")).unwrap(), "new\n");
    for folder in ["dev", "proc", "sys"] {
        assert_eq!(fs::read_dir(whole.join(folder)).unwrap().count(), 0, "{folder}");
    }
    for path in ["of:/proc/version", "of:/proc/self", "of:/sys/kernel/"] {
        refused(&context, ["cp", path, "x"], 1, "Could not find the file");
    }
    refused(&context, ["cp", "f", "of:/bound/f"], 1, "mounted volume is marked read-only");
    // Onto a link here: into what it leads to.
    context.write("there", "old\n");
    std::os::unix::fs::symlink("there", context.project().join("link")).unwrap();
    said(&context, ["cp", "of:/mem/f", "link"]);
    assert!(context.project().join("link").is_symlink());
    assert_eq!(fs::read_to_string(context.project().join("there")).unwrap(), "new\n");
    said(&context, ["kill", "of"]);
    said(&context, ["wait", "of"]);
    // What was in memory is gone; there is the folder that it was mounted on.
    refused(&context, ["cp", "of:/mem/f", "x"], 1, "Could not find the file /mem/f");
    said(&context, ["cp", "f", "of:/mem/below"]);
    said(&context, ["cp", "of:/mem/below", "back"]);
    assert_eq!(fs::read_to_string(context.project().join("back")).unwrap(), "new\n");
    said(&context, ["rm", "of"]);
    assert_clean(&context);
}

/// What a system's program prints.
#[track_caller]
fn told(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    String::from_utf8(output.stdout).expect("text")
}

/// All that is in a folder, with kinds, modes, owners, sizes and times.
fn listed(folder: &Path) -> Vec<String> {
    let all = told(Command::new("find").arg(folder).args(["-printf", "%p %y %m %U:%G %s %T@\n"]));
    let mut lines: Vec<_> = all.lines().map(str::to_owned).collect();
    lines.sort_unstable();
    lines
}

/// What `cp` meets where the program in the container is against it.
#[test]
fn what_a_container_exchanges_leads_cp_nowhere_else() {
    let Some(context) = scene("what_a_container_exchanges_leads_cp_nowhere_else") else { return };
    context.write("in/f", "from here\n");
    context.write("in/d/f", "from here\n");
    let pipe = context.project().join("in/p");
    rustix::fs::mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR, 0).unwrap();
    fs::set_permissions(&pipe, Permissions::from_mode(0o777)).unwrap();
    let host = context.folder().join("host");
    fs::create_dir_all(host.join("in/d")).unwrap();
    for path in ["f", "in/f", "in/p", "in/d/f"] {
        fs::write(host.join(path), "of the host\n").unwrap();
    }
    let before = listed(&host);
    assert_eq!(before.len(), 7, "{before:?}");
    // By turns `/a` is a folder, nothing, a link and nothing; its pipe becomes a link again and again. In the container
    // there is something as well where the links lead.
    let script = format!(
        "mkdir -p /a/in /l {host}/in; echo inside | tee /a/f > {host}/f; ln -s {host} /l/a; echo ready
        while mv /a /l/folder && mv /l/a /a && mv /a /l/a && mv /l/folder /a; do
            ln -s {host}/f /l/p; mv -f /l/p /a/in/p
        done",
        host = host.display()
    );
    said(&context, ["run", "-d", "--name", "against", "--network", "none", "busybox", "sh", "-c", &script]);
    context.rbuild(["logs", "-f", "against"]).start().until("ready");
    let mut copied = 0;
    for _ in 0..4 {
        for [from, to] in [
            ["in/.", "against:/a/in"],
            ["in/f", "against:/a/f2"],
            ["against:/a/f", "out/"],
            ["against:/a/in", "out/"],
        ] {
            fs::create_dir_all(context.project().join("out")).unwrap();
            // Where something is gone that was there a moment ago, a copy fails.
            copied += usize::from(context.rbuild(["cp", from, to]).run().status.success());
        }
    }
    assert_ne!(copied, 0);
    assert!(state(&context, "against").starts_with("running"));
    assert_eq!(listed(&host), before);
    let out = context.project().join("out");
    assert_eq!(told(Command::new("grep").args(["-r", "of the host"]).arg(&out)), "");
    said(&context, ["rm", "-f", "against"]);
    assert_clean(&context);
}

#[test]
fn what_removes_itself_leaves_nothing() {
    let Some(context) = scene("what_removes_itself_leaves_nothing") else { return };
    for _ in 0..3 {
        let output = context
            .rbuild([
                "run",
                "--rm",
                "--name",
                "gone",
                "--network",
                "none",
                "-v",
                "/anonymous",
                "busybox",
                "true",
            ])
            .run();
        output.assert_success();
    }
    // Nothing in it has to last, so its end waits for no disk; and its root may be written before it runs.
    let script = "! grep ' / overlay ' /proc/mounts | grep -qv volatile";
    said(&context, ["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]);
    said(&context, ["create", "--rm", "--name", "gone", "--network", "none", "busybox", "cat", "/f", "/g"]);
    context.write("f", "from here\n");
    said(&context, ["cp", "f", "gone:/f"]);
    said(&context, ["cp", "f", "gone:/g"]);
    assert_eq!(
        context.rbuild(["start", "-a", "gone"]).run().assert_success().stdout,
        "from here\nfrom here\n"
    );
    context.rbuild(["run", "--rm", "--network", "none", "busybox", "no-such-program"]).run().assert_code(127);
    assert_eq!(said(&context, ["ps", "-aq"]), "");
    let left: Vec<_> = std::fs::read_dir(context.root().join("containers")).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    assert_clean(&context);
}

#[test]
fn namespaces_of_other_containers() {
    let Some(context) = scene("namespaces_of_other_containers") else { return };
    let lender = ["run", "-d", "--name", "lender", "--ipc", "shareable", "--hostname", "there", "busybox"];
    context.rbuild([&lender[..], &["sleep", "1000"]].concat()).run().assert_success();
    let shared = ["run", "--rm", "--network", "container:lender", "--pid", "container:lender", "--ipc"];
    let script = "hostname; grep -c there /etc/hosts; ps -o args | grep -cx 'sleep 1000'; echo kept > /dev/shm/x; ls /sys/class/net";
    let words = [&shared[..], &["container:lender", "busybox", "sh", "-c", script]].concat();
    let seen = context.rbuild(&words).run();
    let own = said(&context, ["exec", "lender", "ls", "/sys/class/net"]);
    assert_eq!(seen.assert_success().stdout.trim_end(), format!("there\n1\n1\n{own}"));
    assert_eq!(said(&context, ["exec", "lender", "cat", "/dev/shm/x"]), "kept");
    said(&context, ["run", "-d", "--name", "private", "--network", "none", "busybox", "sleep", "1000"]);
    for (flag, mode, text) in [
        ("--pid", "container:nobody", "No such container: nobody"),
        ("--ipc", "container:private", "non-shareable IPC"),
    ] {
        refused(&context, ["create", flag, mode, "busybox", "true"], 1, text);
    }
    refused(&context, ["create", "--uts", "container:private", "busybox", "true"], 125, "unknown mode");
    // One that outlives its lender: it starts again only with it.
    said(
        &context,
        ["create", "--name", "guest", "--pid", "container:lender", "--network", "none", "busybox", "ps"],
    );
    said(&context, ["stop", "-t", "0", "lender"]);
    refused(&context, ["start", "guest"], 1, "failed to join PID namespace: container");
    said(&context, ["start", "lender"]);
    assert!(context.rbuild(["start", "-a", "guest"]).run().assert_success().stdout.contains("sleep 1000"));
    said(&context, ["rm", "-f", "guest", "lender", "private"]);
    assert_clean(&context);
}

#[test]
fn the_file_of_an_id_is_there_before_the_container() {
    let Some(context) = scene("the_file_of_an_id_is_there_before_the_container") else { return };
    let id = said(&context, ["create", "--cidfile", "id", "--network", "none", "busybox", "true"]);
    assert_eq!(std::fs::read_to_string(context.project().join("id")).unwrap(), id);
    refused(
        &context,
        ["create", "--cidfile", "none/id", "--name", "nn", "busybox", "true"],
        1,
        "container ID file",
    );
    refused(
        &context,
        ["run", "--cidfile", "none/id", "--name", "nn", "busybox", "true"],
        125,
        "container ID file",
    );
    assert_eq!(said(&context, ["ps", "-aq", "--filter", "name=^nn$"]), "");
    // What is there stays as it is, and a link in its place is not followed.
    std::os::unix::fs::symlink("elsewhere", context.project().join("link")).unwrap();
    for (verb, code) in [("create", 1), ("run", 125)] {
        refused(&context, [verb, "--cidfile", "id", "--name", "nn", "busybox", "true"], code, "exists");
        refused(&context, [verb, "--cidfile", "link", "--name", "nn", "busybox", "true"], code, "exists");
    }
    assert_eq!(std::fs::read_to_string(context.project().join("id")).unwrap(), id);
    assert!(!context.project().join("elsewhere").exists());
    assert_eq!(said(&context, ["ps", "-aq", "--filter", "name=^nn$"]), "");
    // Without a container there is no file.
    refused(&context, ["run", "--cidfile", "other", "--pull", "never", "nothing-here"], 125, "nothing-here");
    assert!(!context.project().join("other").exists());
    said(&context, ["rm", &id]);
    assert_clean(&context);
}

#[test]
fn use_is_shown_until_the_last_one_goes() {
    let Some(context) = scene("use_is_shown_until_the_last_one_goes") else { return };
    for name in ["one", "two"] {
        said(&context, ["run", "-d", "--name", name, "-m", "64m", "busybox", "sleep", "1000"]);
    }
    let once = |name| {
        said(
            &context,
            ["stats", "--no-stream", "--format", "{{.Container}} {{.Name}} {{.PIDs}} {{.MemUsage}}", name],
        )
    };
    let id = said(&context, ["inspect", "--format", "{{.Id}}", "one"]);
    let (used, limit) = once(&id[..9]).split_once(" / ").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    assert!(used.starts_with(&format!("{} one 1 ", &id[..9])), "{used}");
    assert_eq!(limit, "64MiB");
    refused(&context, ["stats", "--no-stream", "one", "nosuch"], 1, "No such container: nosuch");

    let stats = context.rbuild(["stats", "--format", "{{.Container}} has {{.PIDs}}.", "one", "two"]).start();
    stats.until("one has 1.\ntwo has 1.\n");
    said(&context, ["rm", "-f", "one"]);
    stats.until("two has 1.\ntwo has 1.\n");
    said(&context, ["rm", "-f", "two"]);
    let ended = stats.wait();
    assert!(ended.status.success() && ended.stderr.is_empty(), "{ended:?}");
    assert_clean(&context);
}

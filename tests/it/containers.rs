//! `rbuild run`: what a program is given, what becomes of its status, streams, signals and terminal.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use rbuild_testkit::context::{Output, TestContext};
use rustix::process::Signal;

use crate::scene::{assert_clean, built_from, scene};

/// Runs a container of the base image without a network, removed afterwards.
#[track_caller]
fn run(context: &TestContext, flags: &[&str], command: &[&str]) -> Output {
    let mut all = vec!["run", "--rm", "--network", "none"];
    all.extend(flags);
    all.push("busybox");
    all.extend(command);
    context.rbuild(all).run()
}

/// What a shell script in a container printed.
#[track_caller]
fn said(context: &TestContext, flags: &[&str], script: &str) -> String {
    let output = run(context, flags, &["sh", "-c", script]);
    output.assert_success();
    String::from_utf8_lossy(&output.raw_stdout).into_owned()
}

#[test]
fn statuses() {
    let Some(context) = scene("statuses") else { return };
    for (script, code) in [
        ("true", 0),
        ("exit 42", 42),
        ("sh -c 'kill -9 $$'; exit $?", 137),
        ("sh -c 'kill -TERM $$'; exit $?", 143),
    ] {
        run(&context, &[], &["sh", "-c", script]).assert_code(code);
    }
    let absent = run(&context, &[], &["no-such-program"]);
    absent.assert_code(127);
    assert!(absent.stderr.contains("no-such-program"), "{absent}");
    let folder = run(&context, &[], &["/etc"]);
    folder.assert_code(126);
    let text = run(&context, &[], &["/etc/passwd"]);
    text.assert_code(126);
    assert!(text.stderr.contains("/etc/passwd"), "{text}");
    run(&context, &["--no-such-flag"], &["true"]).assert_code(125);
    let user = run(&context, &["-u", "nobody-knows"], &["true"]);
    user.assert_code(125);
    assert!(user.stderr.contains("nobody-knows"), "{user}");
    let image = context.rbuild(["run", "--rm", "--pull", "never", "absent", "true"]).run();
    image.assert_code(125);
    assert!(image.stderr.contains("absent"), "{image}");
    assert_clean(&context);
}

#[test]
fn what_a_program_is_given() {
    let Some(context) = scene("what_a_program_is_given") else { return };
    context.write("vars", "# comment\nFILE=from file\nPASSED\n");
    context.write("shared/f", "shared\n");
    let output = context
        .rbuild([
            "run",
            "--rm",
            "--network",
            "none",
            "-e",
            "A=b c",
            "-e",
            "MINE",
            "--env-file",
            "vars",
            "busybox",
            "env",
        ])
        .env("MINE", "my own")
        .env("PASSED", "passed on")
        .run();
    output.assert_success();
    for line in ["A=b c", "MINE=my own", "FILE=from file", "PASSED=passed on"] {
        assert!(output.stdout.lines().any(|found| found == line), "{line}: {output}");
    }
    assert!(!output.stdout.contains("RBUILD_ROOT"), "nothing of ours reaches it: {output}");
    assert_eq!(said(&context, &["-w", "/made/up"], "pwd"), "/made/up\n");
    assert_eq!(said(&context, &["-u", "nobody"], "id -u; id -g"), "65534\n65534\n");
    assert_eq!(said(&context, &["-u", "1234:99"], "id -u; id -g"), "1234\n99\n");
    let named = context
        .rbuild(["run", "--rm", "-h", "box", "busybox", "sh", "-c", "hostname; grep -c box /etc/hosts"])
        .run();
    assert_eq!(named.assert_success().stdout, "box\n1\n");
    let project = context.project();
    let shared = project.join("shared");
    let volume = format!("{}:/v", shared.display());
    assert_eq!(said(&context, &["-v", &volume], "cat /v/f && echo new > /v/new"), "shared\n");
    assert_eq!(fs::read_to_string(shared.join("new")).unwrap(), "new\n");
    assert_eq!(
        said(&context, &["-v", "./shared:/v:ro"], "touch /v/x 2>/dev/null || echo refused"),
        "refused\n"
    );
    let mount = format!("type=bind,source={},target=/m,readonly", shared.display());
    assert_eq!(
        said(&context, &["--mount", &mount], "cat /m/f; touch /m/x 2>/dev/null || echo refused"),
        "shared\nrefused\n"
    );
    let absent = run(&context, &["--mount", "type=bind,source=/not/there,target=/m"], &["true"]);
    absent.assert_code(125);
    assert!(absent.stderr.contains("/not/there"), "{absent}");
    assert_eq!(said(&context, &["--entrypoint", "echo"], "x"), "-c x\n".replace("-c", "sh -c"));
    let read_only = said(
        &context,
        &["--read-only", "--tmpfs", "/tmp:size=1m"],
        "touch /x 2>/dev/null || echo refused; touch /tmp/x && echo ok",
    );
    assert_eq!(read_only, "refused\nok\n");
    assert_eq!(
        said(&context, &["--ipc", "none"], "ls /dev/shm 2>/dev/null || ls -d /dev/mqueue"),
        "/dev/mqueue\n"
    );
    assert_eq!(
        said(&context, &["--init"], "head -n 1 /proc/1/comm; tr '\\0' ' ' < /proc/1/cmdline | cut -c 1-20"),
        "rbuild-init\nrbuild-init -- sh -c\n",
        "its own init is told by its name"
    );
    assert_eq!(said(&context, &["-v", "data:/d"], "echo kept > /d/f"), "");
    assert_eq!(said(&context, &["-v", "data:/d"], "cat /d/f"), "kept\n", "a named volume lasts");
    assert_clean(&context);
}

#[test]
fn devices_by_name_and_a_group_around_it() {
    let Some(context) = scene("devices_by_name_and_a_group_around_it") else { return };
    context.write(
        "cdi/zero.yaml",
        "cdiVersion: 0.6.0\nkind: example.com/zero\ndevices:\n- name: first\n  containerEdits:\n    env: [GIVEN=yes]\n    \
         deviceNodes: [{path: /dev/first, hostPath: /dev/zero}]\n    additionalGids: [4444]\n",
    );
    context.write("config.toml", format!("[steps]\ndevices = [{:?}]\n", context.project().join("cdi")));
    let config = context.project().join("config.toml");
    let with = |flags: &[&str], script: &str| {
        let mut all = vec!["--config", config.to_str().unwrap(), "run", "--rm", "--network", "none"];
        all.extend(flags);
        all.extend(["busybox", "sh", "-c", script]);
        context.rbuild(all).run()
    };
    let given = with(
        &["--device", "example.com/zero=first", "-e", "GIVEN=no"],
        "echo $GIVEN; id -G | grep -cw 4444; head -c 3 /dev/first | wc -c",
    );
    assert_eq!(given.assert_success().stdout, "yes\n1\n3\n");
    for (flags, why) in [
        (["--device", "example.com/zero=second"], "unresolvable CDI devices example.com/zero=second"),
        (["--gpus", "all"], "could not select device driver \"\" with capabilities: [[gpu]]"),
    ] {
        let refused = with(&flags, "true");
        refused.assert_code(125);
        assert!(refused.stderr.contains(why), "{refused}");
    }
    let around = format!("/rbuild-it-{}", std::process::id());
    let below = with(&["--cgroupns", "host", "--cgroup-parent", &around], "cat /proc/self/cgroup");
    let below = &below.assert_success().stdout;
    assert!(below.lines().all(|line| line.split(':').nth(2).unwrap().starts_with(&around)), "{below}");
    remove_groups(&around);
    assert_clean(&context);
}

/// Removes a control group that a container was below, which stays when the container goes.
fn remove_groups(path: &str) {
    let top = std::path::Path::new("/sys/fs/cgroup");
    let folders = fs::read_dir(top).unwrap().map(|entry| entry.unwrap().path());
    for folder in std::iter::once(top.to_owned()).chain(folders) {
        let _ = fs::remove_dir(folder.join(path.trim_start_matches('/')));
    }
}

#[test]
fn networks() {
    let Some(context) = scene("networks") else { return };
    let links = |mode: &str| {
        let output =
            context.rbuild(["run", "--rm", "--network", mode, "busybox", "ls", "/sys/class/net"]).run();
        output.assert_success();
        output.stdout.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(links("none"), ["lo"]);
    let mut host: Vec<String> = fs::read_dir("/sys/class/net")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    host.retain(|name| name == "lo" || name.starts_with("eth"));
    let seen = links("host");
    assert!(host.iter().all(|name| seen.contains(name)), "{host:?} in {seen:?}");
    let bridged = context
        .rbuild([
            "run",
            "--rm",
            "busybox",
            "sh",
            "-c",
            "ip -4 -o addr show eth0 | wc -l; ip route | grep -c default",
        ])
        .run();
    assert_eq!(bridged.assert_success().stdout, "1\n1\n", "{bridged}");
    assert_clean(&context);
}

#[test]
fn a_filter_of_system_calls_from_a_file() {
    let Some(context) = scene("a_filter_of_system_calls_from_a_file") else { return };
    let rule = r#"{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}"#;
    context.write("filter.json", format!(r#"{{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{rule}]}}"#));
    let flags = ["--security-opt", "seccomp=filter.json"];
    let output = run(&context, &flags, &["sh", "-c", "echo well; mkdir /x"]);
    assert_eq!(output.stdout, "well\n", "{output}");
    assert!(output.stderr.contains("No space left on device"), "{output}");
    context.write("wrong.json", r#"{"defaultAction": "SCMP_ACT_ALOW"}"#);
    for (file, said) in
        [("none.json", "failed to read the seccomp profile `none.json`"), ("wrong.json", "SCMP_ACT_ALOW")]
    {
        let refused = run(&context, &["--security-opt", &format!("seccomp={file}")], &["true"]);
        refused.assert_code(125);
        assert!(refused.stderr.contains(said), "{refused}");
    }
    assert_clean(&context);
}

#[test]
fn a_program_killed_for_memory() {
    let Some(context) = scene("a_program_killed_for_memory") else { return };
    let output = run(&context, &["-m", "24m"], &["sh", "-c", "dd if=/dev/zero of=/dev/null bs=200M count=1"]);
    output.assert_code(137);
    assert!(
        output.stderr.contains("memory") && output.stderr.contains("24"),
        "what happened, and the limit: {output}"
    );
    assert_clean(&context);
}

#[test]
fn standard_input() {
    let Some(context) = scene("standard_input") else { return };
    let large: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
    let call = |flags: &[&str]| {
        let mut all = vec!["run", "--rm", "--network", "none"];
        all.extend(flags);
        all.extend(["busybox", "cat"]);
        context.rbuild(all).input(large.clone()).run()
    };
    let echoed = call(&["-i"]);
    echoed.assert_success();
    assert!(echoed.raw_stdout == large, "{} of {} bytes", echoed.raw_stdout.len(), large.len());
    let nothing = call(&[]);
    nothing.assert_success();
    assert_eq!(nothing.raw_stdout, b"", "without -i there is nothing to read");
    let both = run(&context, &[], &["sh", "-c", "echo out; echo err >&2"]);
    assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"));
    assert_clean(&context);
}

#[test]
fn signals_reach_the_program() {
    let Some(context) = scene("signals_reach_the_program") else { return };
    let script = "trap 'echo got term; exit 9' TERM; echo ready; sleep 1000 & wait";
    let running = context.rbuild(["run", "--rm", "--network", "none", "busybox", "sh", "-c", script]).start();
    running.until("ready");
    running.signal(Signal::TERM);
    let ended = running.wait();
    assert_eq!(
        (ended.status.code(), ended.stdout.as_str()),
        (Some(9), "ready\ngot term\n"),
        "{}",
        ended.stderr
    );
    assert_clean(&context);
}

#[test]
fn a_terminal() {
    let Some(context) = scene("a_terminal") else { return };
    let script = "test -t 0 && test -t 1 && stty size && read line && echo \"got $line\" && exit 5";
    let (mut master, mut child) =
        at_terminal(&context, &["run", "--rm", "-it", "--network", "none", "busybox", "sh", "-c", script]);
    master.write_all(b"typed\r").unwrap();
    let text = shown(&mut master, None);
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(5), "{text}");
    assert!(text.contains("33 101") && text.contains("got typed"), "{text:?}");
    assert_clean(&context);
}

/// Who comes back to a terminal sees what is on it: the program is made to draw it anew.
#[test]
fn a_terminal_is_drawn_anew_for_who_comes_back() {
    let Some(context) = scene("a_terminal_is_drawn_anew_for_who_comes_back") else { return };
    let script = "read line; trap 'echo drawn' WINCH; echo ready; while :; do sleep 1000 & wait; done";
    let arguments = ["run", "-it", "--name", "back", "--network", "none", "busybox", "sh", "-c", script];
    let (mut master, mut child) = at_terminal(&context, &arguments);
    master.write_all(b"\r").unwrap();
    shown(&mut master, Some("ready"));
    let leave = |mut master: File, child: &mut Child| {
        master.write_all(b"\x10\x11").unwrap();
        shown(&mut master, None);
        child.wait().unwrap().code()
    };
    assert_eq!(leave(master, &mut child), Some(0));
    let (mut master, mut child) = at_terminal(&context, &["attach", "back"]);
    shown(&mut master, Some("drawn"));
    assert_eq!(leave(master, &mut child), Some(1));
    context.rbuild(["rm", "-f", "back"]).run().assert_success();
    assert_clean(&context);
}

/// Returns what is shown at a terminal up to a text, or up to the end of all who use it.
fn shown(master: &mut File, until: Option<&str>) -> String {
    let mut text = String::new();
    let mut buffer = [0; 4096];
    // A master without slaves answers with an error.
    while let Ok(count @ 1..) = master.read(&mut buffer) {
        text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        if until.is_some_and(|until| text.contains(until)) {
            return text;
        }
    }
    assert!(until.is_none(), "{text:?}");
    text
}

/// Starts the program at a terminal of 101 columns and 33 rows.
fn at_terminal(context: &TestContext, arguments: &[&str]) -> (File, Child) {
    let master =
        rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let slave: OwnedFd = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap().into();
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    let stream = || Stdio::from(slave.try_clone().unwrap());
    let child = Command::new(env!("CARGO_BIN_EXE_rbuild"))
        .args(arguments)
        .env_clear()
        .env("RBUILD_ROOT", context.root())
        .env("HOME", context.home())
        .env("TERM", "dumb")
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    (File::from(master), child)
}

#[test]
fn output_that_nobody_reads_any_more() {
    let Some(context) = scene("output_that_nobody_reads_any_more") else { return };
    let mut child = Command::new(env!("CARGO_BIN_EXE_rbuild"))
        .args(["run", "--name", "endless", "--log-driver", "none", "--network", "none", "busybox", "yes"])
        .env_clear()
        .env("RBUILD_ROOT", context.root())
        .env("HOME", context.home())
        .env("XDG_RUNTIME_DIR", context.runtime())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 2];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    assert_eq!(&first, b"y\n");
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{told}");
    assert!(told.contains("container endless runs on"), "{told}");
    let running = context.rbuild(["ps", "-q"]).run();
    assert_eq!(running.stdout.lines().count(), 1, "{running}");
    context.rbuild(["rm", "-f", "endless"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn what_is_made_is_told_whether_it_starts_or_not() {
    let Some(context) = scene("what_is_made_is_told_whether_it_starts_or_not") else { return };
    let call = |arguments: &[&str]| context.rbuild(arguments).run();
    let dead = call(&["run", "-d", "--network", "none", "--name", "dead", "busybox", "/no/program"]);
    dead.assert_code(127);
    let id = call(&["inspect", "-f", "{{.Id}} {{.State.Status}}", "dead"]).stdout;
    assert_eq!(id, format!("{} created\n", dead.stdout.trim()), "{dead}");

    // Input that comes later ends with whoever brings it.
    let kept =
        call(&["create", "-i", "--runtime", "runc", "--network", "none", "--name", "kept", "busybox", "cat"]);
    kept.assert_success();
    let streams =
        "{{.Config.OpenStdin}} {{.Config.StdinOnce}} {{.Config.AttachStdin}} {{.Config.AttachStdout}}";
    assert_eq!(call(&["inspect", "-f", streams, "kept"]).stdout, "true true true true\n");
    let said = context.rbuild(["start", "-ai", "kept"]).input(b"hello").run();
    said.assert_success();
    assert_eq!(said.stdout, "hello");

    // A port that only neighbours reach is none of the machine's.
    call(&["network", "create", "--internal", "inside"]).assert_success();
    call(&[
        "run",
        "-d",
        "--name",
        "in",
        "--network",
        "inside",
        "--expose",
        "6379",
        "busybox",
        "sleep",
        "1000",
    ])
    .assert_success();
    let ports = || call(&["ps", "--filter", "name=in", "--format", "[{{.Ports}}]"]).stdout;
    assert_eq!(ports(), "[]\n");
    assert_eq!(call(&["inspect", "-f", "{{.Config.ExposedPorts}}", "in"]).stdout, "map[6379/tcp:{}]\n");
    call(&["network", "connect", "bridge", "in"]).assert_success();
    assert_eq!(ports(), "[6379/tcp]\n");

    // What is missing is another failure than what cannot be read.
    for (arguments, code) in [
        (&["run"][..], 1),
        (&["exec", "in"], 1),
        (&["wait"], 1),
        (&["run", "-it", "busybox", "true"], 1),
        (&["run", "-d", "-a", "stdout", "busybox"], 1),
        (&["logs", "--since", "bad", "in"], 1),
        (&["system", "prune", "-f", "--filter", "until=bogus"], 1),
        (&["run", "--runtime", "kata", "busybox"], 125),
    ] {
        call(arguments).assert_code(code);
    }
    call(&["rm", "-f", "dead", "kept", "in"]).assert_success();
    call(&["network", "rm", "inside"]).assert_success();
    assert_clean(&context);
}

#[test]
fn a_name_in_use() {
    let Some(context) = scene("a_name_in_use") else { return };
    let call = |command: &[&str]| {
        let mut all = vec!["run", "--rm", "--network", "none", "--name", "taken", "busybox"];
        all.extend(command);
        context.rbuild(all)
    };
    let running = call(&["sh", "-c", "echo ready; exec sleep 1000"]).start();
    running.until("ready");
    let second = call(&["true"]).run();
    second.assert_code(125);
    assert!(second.stderr.contains("taken"), "{second}");
    running.signal(Signal::KILL);
    drop(running.wait());
    // It goes on without the one that started it, and keeps its name until it ends.
    call(&["true"]).run().assert_code(125);
    context.rbuild(["rm", "-f", "taken"]).run().assert_success();
    call(&["true"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn what_an_image_says() {
    let Some(context) = scene("what_an_image_says") else { return };
    let text = "\
FROM busybox
ENV GREETING=hello
WORKDIR /here
USER nobody
ENTRYPOINT [\"sh\", \"-c\", \"echo $GREETING $0 $@ $(pwd) $(id -u)\"]
CMD [\"zero\", \"one\"]
";
    built_from(&context, text, ["-t", "app"]);
    let call = |arguments: &[&str]| {
        let mut all = vec!["run", "--rm", "--network", "none"];
        all.extend(arguments);
        let output = context.rbuild(all).run();
        output.assert_success();
        output.stdout
    };
    assert_eq!(call(&["app"]), "hello zero one /here 65534\n");
    assert_eq!(call(&["-e", "GREETING=bye", "app", "two"]), "bye two /here 65534\n");
    assert_eq!(call(&["--entrypoint", "pwd", "app"]), "/here\n");
    assert_clean(&context);
}

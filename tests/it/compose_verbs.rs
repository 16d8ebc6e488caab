//! The verbs of projects that look at services and reach into them, as their users meet them: one project, all of them.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::running::Running;
use rustix::process::Signal;

use crate::scene::{assert_clean, scene};

/// Runs a verb of the project.
#[track_caller]
fn compose<const N: usize>(context: &TestContext, arguments: [&str; N]) -> Output {
    context.rbuild(["compose"].into_iter().chain(arguments)).run()
}

/// Runs a verb that has to succeed; returns what it printed, byte by byte.
#[track_caller]
fn said<const N: usize>(context: &TestContext, arguments: [&str; N]) -> String {
    let output = compose(context, arguments);
    output.assert_success();
    String::from_utf8_lossy(&output.raw_stdout).trim_end().to_owned()
}

/// Runs a verb that has to fail with a status and a text.
#[track_caller]
fn refused<const N: usize>(context: &TestContext, arguments: [&str; N], code: i32, text: &str) {
    let output = compose(context, arguments);
    output.assert_code(code);
    assert!(output.stderr.contains(text), "{text}\n{output}");
}

/// Ends a verb as a person does.
fn interrupted(running: Running) {
    running.signal(Signal::INT);
    running.wait();
}

const PROJECT: &str = "\
name: shop
services:
  web:
    image: busybox
    command: sh -c 'trap \"exit 5\" TERM; echo up; echo oops >&2; sleep 2000 & wait'
    network_mode: none
    volumes: [\"data:/data\"]
  two:
    image: busybox
    command: sh -c 'echo hello; exec sleep 1000'
    network_mode: none
    init: true
    deploy: { replicas: 2 }
  job:
    image: busybox
    command: sh -c 'echo first; sleep 0.2; printf last; exit 3'
    network_mode: none
  beat:
    image: busybox
    command: sh -c 'grep gate /etc/hosts; sleep 0.2; exit 4'
    network_mode: host
    extra_hosts: [\"gate:host-gateway\"]
    restart: always
    profiles: [beat]
volumes: { data: {} }
";

#[test]
fn a_project_is_looked_at_and_reached_into() {
    let Some(context) = scene("a_project_is_looked_at_and_reached_into") else { return };
    context.write("compose.yaml", PROJECT);
    compose(&context, ["up", "-d"]).assert_success();
    // It ends with the job.
    let job = said(&context, ["logs", "-f", "--no-log-prefix", "job"]);
    assert!(job.starts_with("first\nlast"), "{job}");
    lists(&context);
    output(&context);
    programs(&context);
    files(&context);
    ends(&context);
    compose(&context, ["down", "-v", "-t", "0"]).assert_success();
    assert_eq!(said(&context, ["ls", "-a", "-q"]), "");
    assert_clean(&context);
}

#[test]
fn verbs_are_about_what_the_project_has() {
    let Some(context) = scene("verbs_are_about_what_the_project_has") else { return };
    let head = "name: own\nx-quick: &quick { image: busybox, stop_signal: SIGKILL }\nservices:\n  \
                a: { <<: *quick, network_mode: none, command: sh -c 'echo a; exec sleep 1000' }\n  \
                off: { <<: *quick, networks: [ side ], command: sleep 1000, profiles: [ off ] }\n";
    let before = "  gone: { <<: *quick, network_mode: none, command: sh -c 'echo gone; exec sleep 1000' }\n";
    context.write("before.yaml", format!("{head}{before}networks: {{ side: {{}} }}\n"));
    context.write("compose.yaml", format!("{head}networks: {{ side: {{}} }}\n"));
    said(&context, ["-f", "before.yaml", "--profile", "off", "up", "-d"]);
    let states = || said(&context, ["-p", "own", "ps", "-a", "--format", "{{.Service}} {{.State}}"]);
    assert_eq!(states(), "a running\ngone running\noff running");
    context.rbuild(["logs", "-f", "own-a-1"]).start().until("a\n");
    // What is gone from the project, or off, is left as it is, and says nothing.
    assert_eq!(said(&context, ["logs"]), "a-1  | a");
    for (verb, state) in [
        (&["pause"][..], "paused"),
        (&["unpause"], "running"),
        (&["restart"], "running"),
        (&["kill"], "exited"),
        (&["start"], "running"),
        (&["stop"], "exited"),
    ] {
        context.rbuild([&["compose"], verb].concat()).run().assert_success();
        assert_eq!(states(), format!("a {state}\ngone running\noff running"), "{verb:?}");
    }
    let up = context.rbuild(["compose", "up"]).start();
    up.until("Attaching to a-1");
    interrupted(up);
    assert_eq!(states(), "a exited\ngone running\noff running");
    refused(&context, ["-p", "nosuch", "start"], 1, "no container found for project \"nosuch\"");
    said(&context, ["-p", "own", "stop"]);
    assert_eq!(said(&context, ["rm", "-f"]), "Going to remove own-a-1");
    assert_eq!(states(), "gone exited\noff exited");
    // A network that only they have use of is theirs.
    let down = compose(&context, ["down", "--remove-orphans"]);
    down.assert_success();
    assert!(!down.stderr.contains("own_side"), "{down}");
    let left = "warning: own-off-1: left alone, as the profile is off (`compose --profile off down`)";
    assert!(down.stderr.contains(left), "{down}");
    assert_eq!(states(), "off exited");
    let down = compose(&context, ["--profile", "off", "down"]);
    down.assert_success();
    assert!(down.stderr.contains("Network own_side  Removed"), "{down}");
    assert!(!down.stderr.contains("left alone"), "{down}");
    let version = said(&context, ["version"]);
    assert_eq!(version, format!("rbuild compose version {}", env!("CARGO_PKG_VERSION")));
    assert_eq!([said(&context, ["-v"]), said(&context, ["--version"])], [version.clone(), version]);
    assert_clean(&context);
}

#[test]
fn variables_say_how_verbs_work() {
    let Some(context) = scene("variables_say_how_verbs_work") else { return };
    let quick = "image: busybox, network_mode: none, stop_signal: SIGKILL, command: sleep 1000";
    let services = |names: &[&str]| {
        let lines: String = names.iter().map(|name| format!("  {name}: {{ {quick} }}\n")).collect();
        format!("name: vars\nservices:\n{lines}")
    };
    context.write("before.yaml", services(&["a", "gone"]));
    context.write("compose.yaml", services(&["a"]));
    let left = || said(&context, ["-p", "vars", "ps", "-a", "--format", "{{.Service}}"]);
    let with = |name: &str, value: &str, verb: &[&str]| {
        context.rbuild([&["compose"], verb].concat()).env(name, value).run()
    };
    said(&context, ["-f", "before.yaml", "up", "-d"]);
    for (name, value, told) in [
        (
            "COMPOSE_PROGRESS",
            "foo",
            "`foo` is no value of COMPOSE_PROGRESS\nhint: it takes: auto, tty, plain",
        ),
        ("COMPOSE_ANSI", "foo", "`foo` is no value of COMPOSE_ANSI\nhint: it takes: never, always, auto"),
        ("COMPOSE_PARALLEL_LIMIT", "x", "COMPOSE_PARALLEL_LIMIT: "),
    ] {
        let up = with(name, value, &["up", "-d"]);
        up.assert_code(1);
        assert!(up.stderr.contains(told), "{up}");
    }
    let up = with("COMPOSE_STATUS_STDOUT", "1", &["up", "-d"]);
    up.assert_success();
    assert_eq!(up.stdout, " Container vars-a-1  Running\n");
    assert!(!up.stderr.contains("Running"), "{up}");
    // Those beside the project count, but for what `down` takes along.
    context.write(".env", "COMPOSE_PARALLEL_LIMIT=y\n");
    let up = compose(&context, ["up", "-d"]);
    up.assert_code(1);
    assert!(up.stderr.contains("COMPOSE_PARALLEL_LIMIT: "), "{up}");
    context.write(".env", "COMPOSE_IGNORE_ORPHANS=1\n");
    let up = compose(&context, ["up", "-d"]);
    up.assert_success();
    assert!(!up.stderr.contains("orphan"), "{up}");
    context.write(".env", "COMPOSE_REMOVE_ORPHANS=1\n");
    said(&context, ["down"]);
    assert_eq!(left(), "gone");
    said(&context, ["up", "-d"]);
    assert_eq!(left(), "a");
    context.write(".env", "");
    said(&context, ["-f", "before.yaml", "up", "-d"]);
    with("COMPOSE_REMOVE_ORPHANS", "1", &["down"]).assert_success();
    assert_eq!(left(), "");
    assert_clean(&context);
}

#[test]
fn replicas_that_fail_alike_show_their_line_once() {
    let Some(context) = scene("replicas_that_fail_alike_show_their_line_once") else { return };
    let service = "{ image: busybox, network_mode: none, user: nosuch, scale: 3, command: sleep 1000 }";
    context.write("compose.yaml", format!("name: many\nservices:\n  a: {service}\n"));
    // All are there, and start at once; how many have failed before the others are given up is theirs.
    said(&context, ["create"]);
    let up = compose(&context, ["up", "-d"]);
    up.assert_code(1);
    assert!(up.stderr.contains(": unable to find user nosuch"), "{up}");
    assert_eq!(up.stderr.matches(">>>").count(), 1, "{up}");
    said(&context, ["down"]);
    assert_clean(&context);
}

#[test]
fn a_folder_with_two_names_is_told_of() {
    let Some(context) = scene("a_folder_with_two_names_is_told_of") else { return };
    let services = "services:\n  web: { image: busybox, network_mode: none, command: sleep 1000 }\n";
    context.write("real/compose.yaml", services);
    std::os::unix::fs::symlink("real", context.project().join("link")).unwrap();
    let at = |folder: &str, verb: &[&str]| {
        let file = format!("{folder}/compose.yaml");
        context.rbuild([&["compose", "-f", &file][..], verb].concat()).run()
    };
    assert!(!at("link", &["create"]).assert_success().stderr.contains("other name"));
    let note =
        "project real has no containers; this folder has some under its other name: `-p link` is about those";
    for verb in [&["ps", "-a"][..], &["logs"], &["stop"], &["rm", "-f"], &["down"], &["up", "--dry-run"]] {
        let told = at("real", verb);
        assert!(told.assert_success().stderr.contains(note), "{verb:?}: {told}");
    }
    let told = at("real", &["exec", "web", "true"]);
    told.assert_code(1);
    assert!(told.stderr.contains("hint: this folder has some under its other name"), "{told}");
    // Who has both is told nothing.
    at("real", &["create"]).assert_success();
    assert_eq!(at("real", &["ps"]).assert_success().stderr, "");
    for folder in ["real", "link"] {
        at(folder, &["down"]).assert_success();
    }
    assert_clean(&context);
}

/// What lists show.
fn lists(context: &TestContext) {
    let format = "{{.Name}} {{.Service}} {{.State}} {{.ExitCode}}";
    assert_eq!(
        said(context, ["ps", "--format", format]),
        "shop-two-1 two running 0\nshop-two-2 two running 0\nshop-web-1 web running 0"
    );
    assert_eq!(said(context, ["ps", "--status", "exited", "--format", format]), "shop-job-1 job exited 3");
    assert_eq!(said(context, ["ps", "-a", "--services"]), "job\ntwo\nweb");
    assert_eq!(said(context, ["ps", "-q", "two"]).lines().map(str::len).collect::<Vec<_>>(), [64, 64]);
    let table = said(context, ["ps", "web"]);
    let mut lines = table.lines();
    let titles: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(titles, ["NAME", "IMAGE", "COMMAND", "SERVICE", "CREATED", "STATUS", "PORTS"]);
    assert!(lines.next().unwrap().contains("\"sh -c 'trap \\\"exit 5…\""), "{table}");
    refused(context, ["ps", "nosuch"], 1, "no such service: nosuch");
    refused(context, ["ps", "--filter", "name=x"], 1, "unknown filter name");
    // By labels alone.
    let elsewhere = context.rbuild(["compose", "-p", "shop", "ps", "--services"]).in_folder("..").run();
    assert_eq!(elsewhere.assert_success().stdout, "two\nweb\n");
    let json: serde_json::Value =
        serde_json::from_str(&said(context, ["ls", "--all", "--format", "json"])).unwrap();
    assert_eq!((&json[0]["Name"], &json[0]["Status"]), (&"shop".into(), &"exited(1), running(3)".into()));
    let images = said(context, ["images"]);
    assert!(images.starts_with("CONTAINER           REPOSITORY          TAG "), "{images}");
    assert_eq!(images.lines().count(), 5, "{images}");
    assert_eq!(said(context, ["images", "-q"]).len(), 64);
    assert_eq!(said(context, ["volumes"]), "DRIVER    VOLUME NAME\nlocal     shop_data");
    assert_eq!(said(context, ["volumes", "-q", "two"]), "");
    assert_eq!(said(context, ["version", "--short"]), env!("CARGO_PKG_VERSION"));
    let stats = said(context, ["stats", "--no-stream", "--format", "{{.Name}}"]);
    assert_eq!(stats, "shop-two-1\nshop-two-2\nshop-web-1");
    if Command::new("ps").arg("-ef").output().is_ok_and(|output| output.status.success()) {
        let top = said(context, ["top", "two"]);
        assert!(top.starts_with("SERVICE  #   UID "), "{top}");
        let of_init = |line: &&str| line.contains("  rbuild-init -- sh -c ");
        assert_eq!(top.lines().filter(of_init).count(), 2, "{top}");
        assert_eq!(top.lines().filter(|line| line.ends_with("  sleep 1000")).count(), 2, "{top}");
        assert_eq!(said(context, ["top", "nosuch"]), "");
    }
    refused(context, ["port", "web", "80"], 1, "no port 80/tcp for container shop-web-1: it publishes none");
    for unknown in [["ps", "--status", "runing"], ["ps", "--filter", "status=runing"]] {
        refused(
            context,
            unknown,
            1,
            "no container can have the status `runing`\nhint: did you mean `running`?",
        );
    }
    refused(context, ["port", "job", "80"], 1, "service \"job\" is not running");
    let events = said(context, ["events", "--json", "--since", "10m", "--until", "0s", "job"]);
    let last: serde_json::Value = serde_json::from_str(events.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["action"], &last["service"], &last["attributes"]["exitCode"]),
        (&"die".into(), &"job".into(), &"3".into())
    );
    assert!(!events.contains("com.docker.compose"), "{events}");
}

/// What containers wrote.
fn output(context: &TestContext) {
    let logs = compose(context, ["logs"]);
    logs.assert_success();
    let mut lines: Vec<&str> = logs.stdout.lines().collect();
    // Two that began at the same time may have written in any order; each wrote in its own.
    let job: Vec<&str> = lines.iter().filter(|line| line.starts_with("job")).copied().collect();
    assert_eq!(job, ["job-1  | first", "job-1  | last"]);
    lines.sort_unstable();
    let hello = ["two-1  | hello", "two-2  | hello"];
    assert_eq!(lines, [&job[..], &hello, &["web-1  | oops", "web-1  | up"]].concat());
    assert_eq!(logs.stderr, "");
    assert_eq!(said(context, ["logs", "--no-log-prefix", "-n", "1", "job"]), "last");
    let timed = said(context, ["logs", "-t", "--index", "2", "two"]);
    assert!(timed.starts_with("two-2  | 20") && timed.ends_with("Z hello"), "{timed}");
    refused(context, ["logs", "--index", "2"], 1, "only one service can be specified when using --index");
    refused(context, ["logs", "--index", "7", "two"], 1, "service \"two\" is not running container #7");
    refused(context, ["logs", "nosuch"], 1, "no such service: nosuch");
    // What comes while it is followed, up to the end of the last one.
    let following = context.rbuild(["compose", "logs", "-f", "two"]).start();
    following.until("hello");
    compose(context, ["kill", "two"]).assert_success();
    let followed = following.wait();
    assert!(followed.status.success());
    let text = followed.stdout;
    assert!(
        text.contains("two-1 exited with code 137\n") && text.contains("two-2 exited with code 137\n"),
        "{text}"
    );
    compose(context, ["start", "two"]).assert_success();
}

/// Programs in containers.
fn programs(context: &TestContext) {
    assert_eq!(
        said(context, ["exec", "-e", "A=b", "-w", "/tmp", "two", "sh", "-c", "pwd; echo $A"]),
        "/tmp\nb"
    );
    let fed = context.rbuild(["compose", "exec", "-T", "--index", "2", "two", "cat"]).input("fed\n").run();
    assert_eq!(fed.assert_success().stdout, "fed\n");
    let given = |flags: &[&str], program: &str| {
        let all = [&["compose", "exec"][..], flags, &["two", program]].concat();
        context.rbuild(all).input("fed\n").run()
    };
    assert_eq!(given(&["-i=false"], "cat").assert_success().stdout, "");
    let blind = given(&["-T=false"], "tty");
    blind.assert_code(1);
    assert!(blind.stderr.contains("stdin is not a terminal"), "{blind}");
    assert_eq!(given(&["-T=false", "-i=false"], "tty").assert_success().stdout, "/dev/pts/0\r\n");
    compose(context, ["exec", "web", "sh", "-c", "exit 7"]).assert_code(7);
    compose(context, ["exec", "web", "nosuch"]).assert_code(127);
    refused(context, ["exec", "job", "ls"], 1, "service \"job\" is not running");
    refused(context, ["exec", "--index", "7", "two", "ls"], 1, "service \"two\" is not running container #7");
    refused(context, ["exec", "nosuch", "ls"], 1, "service \"nosuch\" is not running");
    one_offs(context);
    let attached = context.rbuild(["compose", "attach", "--no-stdin", "--sig-proxy=false", "web"]).start();
    // Only what is written from then on is seen: it is written until it is seen.
    let script = "while ! test -e /seen; do echo said > /proc/1/fd/1; sleep 0.05; done";
    compose(context, ["exec", "-d", "web", "sh", "-c", script]).assert_success();
    attached.until("said");
    compose(context, ["exec", "web", "sh", "-c", "echo > /seen"]).assert_success();
    interrupted(attached);
}

/// Variables of files, and lists in which those of `run` are.
fn one_offs(context: &TestContext) {
    context.write("first", "A=\"of the file\"\nexport B=$A/b # said\nC=$NONE\nHOST\nD='$A'\n");
    context.write("second", "A=too late\nE=${B}/e\n");
    let run =
        ["run", "--name", "once", "--no-deps", "-T", "--env-from-file", "first", "--env-from-file", "second"];
    let shown = "echo \"$A,$B,$C,$D,$E,${HOST-none}\"";
    let one_off = |flag: &str| {
        let words = ["compose"].into_iter().chain(run).chain(["-e", flag, "two", "sh", "-c", shown]);
        let ran = context.rbuild(words).env("HOST", "ours").env("NONE", "ours").run();
        let shown = ran.assert_success().stdout.clone();
        let listed = said(context, ["ps", "--status", "exited", "--services"]);
        assert_eq!(listed, "two\njob");
        context.rbuild(["rm", "-v", "once"]).run().assert_success();
        shown
    };
    assert_eq!(one_off("X=y"), "of the file,of the file/b,,$A,of the file/b/e,none\n");
    assert_eq!(one_off("A=ours"), "ours,ours/b,,$A,ours/b/e,none\n");
    context.write("first", "A=1\nB=\"open\n");
    let wrong = compose(context, ["run", "--rm", "--env-from-file", "first", "two", "true"]);
    wrong.assert_code(1);
    assert!(
        wrong.stderr.contains("first:2") && wrong.stderr.contains("unterminated quoted value"),
        "{wrong}"
    );
    refused(context, ["run", "--env-from-file", "none", "two"], 1, "failed to read `--env-from-file none`");
}

/// Files of containers.
fn files(context: &TestContext) {
    context.write("in/a.txt", "text\n");
    compose(context, ["cp", "in/a.txt", "two:/a.txt"]).assert_success();
    for index in ["1", "2"] {
        assert_eq!(said(context, ["exec", "--index", index, "two", "cat", "/a.txt"]), "text");
    }
    compose(context, ["cp", "--index", "2", "two:/a.txt", "out.txt"]).assert_success();
    assert_eq!(fs::read_to_string(context.project().join("out.txt")).unwrap(), "text\n");
    let tar = compose(context, ["cp", "two:/a.txt", "-"]);
    tar.assert_success();
    assert!(tar.raw_stdout.starts_with(b"a.txt"));
    let again = context.rbuild(["compose", "cp", "-", "two:/tmp"]).input(tar.raw_stdout).run();
    again.assert_success();
    for index in ["1", "2"] {
        assert_eq!(said(context, ["exec", "--index", index, "two", "cat", "/tmp/a.txt"]), "text");
    }
    refused(context, ["cp", "web:/a", "two:/b"], 1, "copying between services is not supported");
    refused(context, ["cp", "--index", "7", "b", "two:/a"], 1, "service \"two\" has no container #7");
    refused(context, ["cp", "nosuch:/a", "b"], 1, "no container found for service \"nosuch\"");
    compose(context, ["export", "-o", "two.tar", "two"]).assert_success();
    let listed = Command::new("tar").args(["-tf"]).arg(context.project().join("two.tar")).output().unwrap();
    assert!(String::from_utf8_lossy(&listed.stdout).lines().any(|line| line.ends_with("a.txt")));
    assert!(said(context, ["commit", "-c", "ENV A=b", "two", "kept:1"]).starts_with("sha256:"));
    let kept = context
        .rbuild(["run", "--rm", "--network", "none", "kept:1", "sh", "-c", "cat /a.txt; echo $A"])
        .run();
    assert_eq!(kept.assert_success().stdout, "text\nb\n");
    context.rbuild(["rmi", "kept:1"]).run().assert_success();
}

/// Waiting for services, and what cannot be had.
fn ends(context: &TestContext) {
    refused(context, ["wait", "job"], 1, "no containers for project \"shop\"");
    // One that ends again and again: when its end is told, the wait has seen both of them running.
    compose(context, ["--profile", "beat", "up", "-d", "beat"]).assert_success();
    let waiting = context.rbuild(["compose", "wait", "beat", "web"]).start();
    waiting.until("exited with status code 4\n");
    let beat = said(context, ["--profile", "beat", "logs", "--no-log-prefix", "beat"]);
    assert_eq!(beat.lines().next(), Some("127.0.0.1\tgate"));
    compose(context, ["stop", "-t", "5", "web"]).assert_success();
    let waited = waiting.wait();
    assert_eq!(waited.status.code(), Some(5), "{waited:?}");
    assert!(waited.stdout.ends_with("exited with status code 5\n"), "{waited:?}");
    compose(context, ["--profile", "beat", "rm", "-sf", "beat"]).assert_success();
    let watched = compose(context, ["watch"]);
    watched.assert_code(1);
    assert!(watched.stderr.contains("none of the selected services is configured for watch"), "{watched}");
}

#[test]
fn changes_of_files_are_brought_into_services() {
    let Some(context) = scene("changes_of_files_are_brought_into_services") else { return };
    context.write("src/a.txt", "one\n");
    context.write("conf/web.conf", "port 1\n");
    context.write("Dockerfile", "FROM busybox\nCOPY version /version\n");
    context.write("version", "1\n");
    context.write(
        "compose.yaml",
        "\
name: watched
services:
  web:
    build: .
    command: sh -c 'echo began; cat /version; exec sleep 1000'
    network_mode: none
    init: true
    develop:
      watch:
        - { path: src, action: sync, target: /app/src, ignore: [skipped/], initial_sync: true }
        - { path: conf/web.conf, action: sync+restart, target: /etc/web.conf }
        - { path: told, action: sync+exec, target: /told, exec: { command: cat /told } }
        - { path: version, action: rebuild }
",
    );
    let watching = context.rbuild(["compose", "watch"]).start();
    watching.until("Watch enabled");
    let inside = |script: &str| said(&context, ["exec", "web", "sh", "-c", script]);
    assert_eq!(inside("cat /app/src/a.txt"), "one");
    context.write("src/deep/b.txt", "two\n");
    context.write("src/skipped/c.txt", "three\n");
    fs::remove_file(context.project().join("src/a.txt")).unwrap();
    watching.until("Syncing service \"web\" after");
    // It is said before it is done: the next batch begins when this one is through.
    context.write("conf/web.conf", "port 2\n");
    watching.until("service(s) [\"web\"] restarted");
    assert_eq!(inside("cat /etc/web.conf /app/src/deep/b.txt; ls /app/src"), "port 2\ntwo\ndeep");
    context.write("told", "a tale\n");
    watching.until("\na tale\n");
    context.write("version", "2\n");
    watching.until("service(s) [\"web\"] successfully built");
    assert_eq!(inside("cat /version"), "2");
    let second = compose(&context, ["watch", "--no-up"]);
    second.assert_code(1);
    assert!(second.stderr.contains("cannot take exclusive lock for project"), "{second}");
    interrupted(watching);
    // The same beside what is written, until Ctrl-C stops both.
    let up = context.rbuild(["compose", "up", "--watch", "-t", "0"]).start();
    up.until("Watch enabled");
    context.write("version", "3\n");
    up.until("service(s) [\"web\"] successfully built");
    up.until("| 3\n");
    assert_eq!(inside("cat /version"), "3");
    up.signal(Signal::INT);
    let up = up.wait();
    assert_eq!(up.status.code(), Some(130));
    assert!(up.stdout.contains("Watch disabled\n"), "{up:?}");
    assert_eq!(said(&context, ["ps", "-q"]), "");
    compose(&context, ["down", "-t", "0"]).assert_success();
    assert_clean(&context);
}

#[test]
fn keys_of_an_attached_up() {
    let Some(context) = scene("keys_of_an_attached_up") else { return };
    context.write("src/x", "x");
    context.write(
        "compose.yaml",
        "\
name: keys
services:
  web:
    image: busybox
    command: sleep 1000
    init: true
    network_mode: none
    develop: {watch: [{path: ./src, action: sync, target: /src}]}
",
    );
    let flags = rustix::pty::OpenptFlags::RDWR | rustix::pty::OpenptFlags::NOCTTY;
    let master = rustix::pty::openpt(flags).unwrap();
    rustix::pty::grantpt(&master).unwrap();
    rustix::pty::unlockpt(&master).unwrap();
    let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
    let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
    let size = rustix::termios::Winsize { ws_row: 33, ws_col: 101, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&master, size).unwrap();
    let before = rustix::termios::tcgetattr(&slave).unwrap().local_modes;
    let stream = || Stdio::from(slave.try_clone().unwrap());
    // Keys are read where the terminal is the session's own.
    let child = Command::new("setsid")
        .args(["--ctty", "--wait", env!("CARGO_BIN_EXE_rbuild"), "compose", "up"])
        .current_dir(context.project())
        .env_clear()
        .env("RBUILD_ROOT", context.root())
        .env("HOME", context.home())
        .env("XDG_RUNTIME_DIR", context.runtime())
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("TERM", "xterm")
        .stdin(stream())
        .stdout(stream())
        .stderr(stream())
        .spawn()
        .unwrap();
    let mut child = Ended(child);
    let mut master = File::from(master);
    let mut text = String::new();
    for (key, shown) in [("", "Enable Watch"), ("w", "Watch enabled"), ("w", "Watch disabled"), ("d", "")] {
        master.write_all(key.as_bytes()).unwrap();
        let from = text.len();
        let mut buffer = [0; 4096];
        while !text[from..].contains(shown) {
            let count = master.read(&mut buffer).unwrap();
            text.push_str(&String::from_utf8_lossy(&buffer[..count]));
        }
    }
    assert_eq!(child.0.wait().unwrap().code(), Some(0), "{text:?}");
    assert_eq!(rustix::termios::tcgetattr(&slave).unwrap().local_modes, before);
    assert_eq!(said(&context, ["ps", "--format", "{{.Name}} {{.State}}"]), "keys-web-1 running");
    said(&context, ["down", "-t", "0"]);
    assert_clean(&context);
}

#[test]
fn strict_checks_are_asked_no_earlier_than_they_say() {
    let Some(context) = scene("strict_checks_are_asked_no_earlier_than_they_say") else { return };
    let check = "image: busybox\n    network_mode: none\n    command: [sleep, '1000']\n    healthcheck: { test: [CMD, 'true'], interval: 1h }";
    context.write(
        "compose.yaml",
        format!("name: strict\nservices:\n  late:\n    {check}\n  early:\n    {check}\n"),
    );
    said(&context, ["up", "-d", "--strict-health", "late"]);
    // It is healthy long before its hour is over, when the other one had as much time as it.
    said(&context, ["up", "-d", "--wait", "early"]);
    let health = |name| {
        let state = "{{.State.Health.Status}} {{len .State.Health.Log}}";
        crate::compose_up::inspected(&context, name, state)
    };
    assert_eq!(
        (health("strict-early-1"), health("strict-late-1")),
        ("healthy 1".into(), "starting 0".into())
    );
    said(&context, ["down", "-t", "0"]);
    assert_clean(&context);
}

/// A program that does not outlast its test.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

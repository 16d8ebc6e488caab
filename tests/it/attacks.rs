//! Projects and networks that mean harm, or ask for what nobody can have: each is refused with its reason, or stays in
//! its place. `docs/security.md` says which row is shown where.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

use rbuild_testkit::context::{Output, TestContext};

use crate::containers_lost::{kill, state};
use crate::networks::in_a_network_of_its_own;
use crate::scene::{assert_clean, scene};

#[track_caller]
fn refused(context: &TestContext, arguments: &[&str], why: &str) {
    let output: Output = context.rbuild(arguments).run();
    assert!(!output.status.success(), "{output}");
    assert!(output.stderr.contains(why), "{why}\n{output}");
}

#[track_caller]
fn done(context: &TestContext, arguments: &[&str]) -> Output {
    let output = context.rbuild(arguments).run();
    output.assert_success();
    output
}

fn containers(context: &TestContext) -> Vec<String> {
    let mut names: Vec<String> =
        done(context, &["ps", "-a", "--format", "{{.Names}}"]).stdout.lines().map(str::to_owned).collect();
    names.sort_unstable();
    names
}

#[test]
fn files_of_projects_that_mean_harm() {
    let context = rbuild_testkit::context!();
    let is_refused = |text: &str, why: &str| {
        context.write("compose.yaml", text);
        refused(&context, &["compose", "config", "-q"], why);
    };
    let many: String = (0..200_000).map(|n| format!("  k{n}: v\n")).collect();
    is_refused(
        &format!("x-many:\n{many}services: {{ a: {{ image: x }} }}\n"),
        "a file may have 100000 nodes",
    );
    for depth in [200, 100_000] {
        let deep = format!("x-deep: {}{}\n", "[".repeat(depth), "]".repeat(depth));
        is_refused(
            &deep,
            if depth == 200 { "nested more than 128 deep" } else { "recursion limit exceeded" },
        );
    }
    is_refused(&format!("x-long: {}\n", "a".repeat(9 << 20)), "it has more than 8388608 bytes");

    symlink("compose.yaml", context.project().join("self.yaml")).unwrap();
    is_refused("include: [ self.yaml ]\nservices: { a: { image: x } }\n", "include cycle detected");
    for name in ["../x", "a/b", "a b"] {
        is_refused(&format!("services: {{ \"{name}\": {{ image: x }} }}\n"), "not allowed");
    }
    is_refused("services: { a: { image: x, container_name: ../x } }\n", "does not match pattern");
    for project in ["../x", "a b", "A"] {
        refused(&context, &["compose", "-p", project, "config"], "invalid project name");
    }

    // A file of variables is read and never run; one without an end is not read to its end.
    context.write("x.env", "A=$(touch pwned)\nB=`touch pwned`\n");
    context.write("compose.yaml", "services: { a: { image: x, env_file: x.env } }\n");
    context.rbuild(["compose", "config"]).run();
    assert!(!context.project().join("pwned").exists());
    is_refused("services: { a: { image: x, env_file: /dev/zero } }\n", "it has more than 8388608 bytes");
    fs::create_dir(context.project().join("folder")).unwrap();
    is_refused("services: { a: { image: x, env_file: folder } }\n", "is a directory");
}

#[test]
fn projects_that_ask_for_what_nobody_can_have() {
    let Some(context) = scene("projects_that_ask_for_what_nobody_can_have") else { return };
    let is_refused = |services: &str, why: &str| {
        context.write("compose.yaml", format!("name: wants\n{services}"));
        refused(&context, &["compose", "up", "-d"], why);
        assert_eq!(containers(&context), [""; 0], "{services}");
    };
    is_refused(
        "services: { a: { image: busybox, command: sleep 9, scale: 100000 } }\n",
        "service a: 100000 containers are wanted, a service has at most 1023",
    );
    is_refused(
        "services: { a: { image: busybox, command: sleep 9, scale: 2, ports: [ '127.0.0.1:8099:80' ] } }\n",
        "is given to wants-a-",
    );
    is_refused(
        "services: { a: { image: busybox, command: sleep 9, volumes: [ 'v:/v' ] } }\nvolumes: { v: { name: ../../etc } }\n",
        "includes invalid characters for a local volume name",
    );
    is_refused(
        "services: { a: { image: busybox, command: sleep 9, healthcheck: { test: 'true', interval: 1ns } } }\n",
        "Interval in Healthcheck cannot be less than",
    );
    // What nobody can have is told with its line, before a network is made for it.
    let networks = || done(&context, &["network", "ls", "-q"]).stdout;
    let before = networks();
    for (key, why) in [
        ("isolation: hyperv", "services.a.isolation: works on Windows only"),
        ("secrets: [ nowhere ]", "bind source path does not exist"),
        ("build: ./nowhere", "unable to prepare context: path"),
        (
            "networks: [ other ]",
            "network theirs declared as external, but could not be found\nhint: `rbuild network create theirs` makes it",
        ),
    ] {
        let services = format!("services: {{ a: {{ image: busybox, {key} }} }}\n");
        let more = "secrets: { nowhere: { file: ./nowhere } }\nnetworks: { other: { external: true, name: theirs } }\n";
        context.write("compose.yaml", format!("name: wants\n{services}{more}"));
        let output = context.rbuild(["compose", "up", "-d", "--build"]).run();
        assert!(output.stderr.contains(why) && output.stderr.contains("compose.yaml:"), "{why}\n{output}");
        assert_eq!(networks(), before, "{key}");
    }
    // Without a check there is nothing to wait for.
    context.write(
        "compose.yaml",
        "
name: wants
x-quick: &quick { image: busybox, command: sleep 1000, stop_signal: SIGKILL }
services:
  a: { <<: *quick, depends_on: { b: { condition: service_healthy } } }
  b: *quick
",
    );
    refused(&context, &["compose", "up", "-d"], "has no healthcheck configured");
    done(&context, &["down"]);

    // Programs that end at once are started again and again, and yet go at once.
    context.write(
        "compose.yaml",
        "name: wants\nservices: { a: { image: busybox, command: 'false', restart: always, scale: 5 } }\n",
    );
    done(&context, &["up", "-d"]);
    // Some end just while it is looked at how they are to be stopped.
    done(&context, &["up", "-d", "--force-recreate"]);
    done(&context, &["down"]);
    assert_eq!(containers(&context), [""; 0]);
    assert_clean(&context);
}

#[test]
fn images_cannot_give_their_containers_to_a_project() {
    let Some(context) = scene("images_cannot_give_their_containers_to_a_project") else { return };
    context.write(
        "Dockerfile",
        "FROM busybox
LABEL com.docker.compose.project=victim com.docker.compose.service=web com.docker.compose.oneoff=False \
com.docker.compose.container-number=1 com.docker.compose.config-hash=0 org.example.kept=yes
CMD sleep 1000
STOPSIGNAL KILL
",
    );
    done(&context, &["build", "-q", "-t", "spoof", "."]);
    done(&context, &["run", "-d", "--name", "mine", "spoof"]);
    let labels = done(&context, &["inspect", "--format", "{{json .Config.Labels}}", "mine"]);
    assert_eq!(labels.stdout, "{\"org.example.kept\":\"yes\"}\n");
    done(&context, &["compose", "-p", "victim", "down", "-t", "0"]);
    assert_eq!(containers(&context), ["mine"]);
    // What its maker says counts.
    let label = "com.docker.compose.project=asked-for";
    done(&context, &["create", "--name", "told", "--label", label, "spoof"]);
    let asked = done(&context, &["ps", "-aq", "--filter", &format!("label={label}")]);
    assert_eq!(asked.stdout.lines().count(), 1, "{asked}");
    done(&context, &["rm", "-f", "mine", "told"]);
    assert_clean(&context);
}

#[test]
fn configs_and_secrets_stay_in_the_container() {
    let Some(context) = scene("configs_and_secrets_stay_in_the_container") else { return };
    let canary = context.write("canary", "untouched");
    let mode = fs::Permissions::from_mode(0o604);
    fs::set_permissions(&canary, mode.clone()).unwrap();
    let outside = canary.display();
    let climbing = format!("{}{outside}", "../".repeat(20));
    context.write(
        "Dockerfile",
        format!(
            "FROM busybox
RUN mkdir -p /run/secrets && ln -s {outside} /etc/absolute && ln -s {climbing} /etc/climbing \
 && ln -s / /up && ln -s /proc/self/root{outside} /etc/magic && ln -s {outside} /run/secrets/token
CMD sleep 1000
STOPSIGNAL KILL
"
        ),
    );
    context.write(
        "compose.yaml",
        format!(
            "
name: files
services:
  a:
    build: .
    configs:
      - {{ source: c, target: /etc/absolute }}
      - {{ source: c, target: /etc/climbing }}
      - {{ source: c, target: /up{outside} }}
    secrets: [ token ]
configs: {{ c: {{ content: overwritten }} }}
secrets: {{ token: {{ environment: TOKEN }} }}
"
        ),
    );
    context.rbuild(["compose", "up", "-d"]).env("TOKEN", "overwritten").run().assert_success();
    let magic = fs::read_to_string(context.project().join("compose.yaml")).unwrap();
    context.write("compose.yaml", magic.replace("/etc/climbing", "/etc/magic"));
    // Refused or kept inside; either is fine.
    context.rbuild(["compose", "up", "-d"]).env("TOKEN", "overwritten").run();
    assert_eq!(fs::read_to_string(&canary).unwrap(), "untouched");
    assert_eq!(fs::metadata(&canary).unwrap().permissions().mode() & 0o777, mode.mode() & 0o777);
    done(&context, &["down", "--rmi", "local"]);
    assert_clean(&context);
}

#[test]
fn two_that_bring_up_one_project_agree() {
    let Some(context) = scene("two_that_bring_up_one_project_agree") else { return };
    context.write(
        "compose.yaml",
        "
name: twice
services:
  a:
    image: busybox
    command: sh -c 'cat /word /shared/word; echo; exec sleep 1000'
    stop_signal: SIGKILL
    scale: 3
    volumes: [ 'shared:/shared' ]
    configs: [ { source: word, target: /word }, { source: word, target: /shared/word } ]
configs: { word: { content: here } }
volumes: { shared: {} }
",
    );
    let both = [(); 3].map(|()| context.rbuild(["compose", "up", "-d"]).start());
    for one in both {
        let ended = one.wait();
        assert!(ended.status.success(), "{ended:?}");
    }
    assert_eq!(containers(&context), ["twice-a-1", "twice-a-2", "twice-a-3"]);
    for name in containers(&context) {
        context.rbuild(["logs", "-f", &name]).start().until("herehere\n");
    }
    done(&context, &["down", "-v"]);
    assert_clean(&context);
}

#[test]
fn names_and_ports_of_networks() {
    in_a_network_of_its_own("names_and_ports_of_networks", |context| {
        // Names never reach the kernel or its rules as they are.
        let name = "a \"b\"; }\n drop {";
        done(context, &["network", "create", name]);
        let alias = "x; flush ruleset";
        let line = ["run", "--rm", "--network", name, "--network-alias", alias, "busybox", "ip", "addr"];
        assert!(done(context, &line).stdout.contains("eth0"));
        done(context, &["network", "rm", name]);
        for host in ["a\nb", "a b", "a#b"] {
            let line = ["run", "--rm", "--hostname", host, "busybox", "true"];
            assert!(!context.rbuild(line).run().status.success(), "{host:?}");
        }

        // Nobody in a network without IPv6 has any, or listens to routers.
        for (setting, value) in [("disable_ipv6", "1"), ("accept_ra", "0")] {
            let path = format!("/proc/sys/net/ipv6/conf/eth0/{setting}");
            if Path::new("/proc/sys/net/ipv6").exists() {
                let inside = done(context, &["run", "--rm", "busybox", "cat", &path]);
                assert_eq!(inside.stdout.trim(), value, "{setting}");
            }
        }

        // One port for several who come at once: one has it, the others are told who.
        let all = ["p1", "p2", "p3"].map(|name| {
            let port = ["-p", "8098:80", "--stop-signal", "KILL", "busybox", "sleep", "1000"];
            context.rbuild([&["run", "-d", "--name", name], &port[..]].concat()).start()
        });
        let ended = all.map(|one| one.wait());
        assert_eq!(ended.iter().filter(|one| one.status.success()).count(), 1, "{ended:?}");
        for one in ended.iter().filter(|one| !one.status.success()) {
            assert!(one.stderr.contains("8098/tcp is already in use by"), "{one:?}");
        }

        // A container in the machine's own network finds no socket of ours without a file and its mode.
        let line = ["run", "--rm", "--network", "host", "busybox", "cat", "/proc/net/unix"];
        let sockets = done(context, &line);
        assert!(
            !sockets.stdout.lines().any(|line| line.contains("@") && line.contains("rbuild")),
            "{sockets}"
        );
        let id = done(context, &["ps", "-q", "--no-trunc"]).raw_stdout;
        let folder = state(context, String::from_utf8_lossy(&id).trim()).0;
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder.join("control")), 0o600, "{}", folder.display());
        for above in folder.ancestors().take_while(|above| *above != Path::new("/run")) {
            assert_eq!(mode(above), 0o700, "{}", above.display());
        }
        done(context, &["rm", "-f", "p1", "p2", "p3"]);
    });
}

#[test]
fn what_containers_do_and_what_is_done_to_them_ends_with_them() {
    in_a_network_of_its_own("what_containers_do_and_what_is_done_to_them_ends_with_them", |context| {
        let start = |name: &str, flags: &[&str], program: &[&str]| {
            let line =
                [&["run", "-d", "--name", name, "--stop-signal", "KILL"], flags, &["busybox"], program];
            done(context, &line.concat());
        };
        // A fork bomb has no more processes than it may, and goes as a whole.
        let bomb = "echo armed; bomb() { bomb | bomb & }; bomb; sleep 1000";
        start("bomb", &["--network", "none", "--pids-limit", "32"], &["sh", "-c", bomb]);
        context.rbuild(["logs", "-f", "bomb"]).start().until("can't fork");
        done(context, &["rm", "-f", "bomb"]);

        // One that is paused goes, too, though nobody looks after it any more.
        start("frozen", &["--network", "none"], &["sleep", "1000"]);
        done(context, &["pause", "frozen"]);
        let id = done(context, &["inspect", "--format", "{{.Id}}", "frozen"]).raw_stdout;
        kill(&state(context, String::from_utf8_lossy(&id).trim()).1["monitor"]);
        assert!(done(context, &["ps", "--format", "{{.Status}}"]).stdout.contains("(Paused)"));
        done(context, &["rm", "-f", "frozen"]);

        // Somebody takes its link away: its next start has one again, and everything else of it stays.
        done(context, &["network", "create", "cut"]);
        start("web", &["--network", "cut"], &["sleep", "1000"]);
        let links = Command::new("ip").args(["-o", "link", "show", "type", "veth"]).output().unwrap();
        let links = String::from_utf8(links.stdout).unwrap();
        let link = links.split(": ").nth(1).unwrap().split('@').next().unwrap();
        assert!(Command::new("ip").args(["link", "delete", link]).status().unwrap().success());
        let addresses = ["exec", "web", "ip", "-o", "-4", "addr", "show", "dev", "eth0"];
        assert!(!context.rbuild(addresses).run().status.success());
        done(context, &["restart", "web"]);
        assert!(done(context, &addresses).stdout.contains("inet "));

        // Several commands at once on one container: each does its part or says why not, and none waits for ever.
        let verbs: [&[&str]; 6] = [
            &["restart", "web"],
            &["stop", "web"],
            &["start", "web"],
            &["kill", "web"],
            &["exec", "web", "true"],
            &["restart", "web"],
        ];
        for line in verbs.map(|verb| context.rbuild(verb).start()) {
            let ended = line.wait();
            assert!(ended.status.code().is_some() && !ended.stderr.contains("panicked"), "{ended:?}");
        }
        done(context, &["start", "web"]);
        assert_eq!(done(context, &["exec", "web", "echo", "here"]).stdout, "here\n");
        done(context, &["rm", "-f", "web"]);
        assert_eq!(containers(context), [""; 0]);
    });
}

#[test]
fn programs_beside_have_no_more_than_the_containers_own() {
    let Some(context) = scene("programs_beside_have_no_more_than_the_containers_own") else { return };
    // The same words for the container's own program, for one that is run in it, and for its health check.
    let facts = "grep -E '^(Cap|NoNewPrivs|Seccomp:|Uid|Gid)' /proc/self/status; cat /proc/self/oom_score_adj; \
                 cat /proc/self/cgroup; ls -1 /proc/self/fd | wc -l";
    let restrictions = ["--cap-drop", "ALL", "--cap-add", "CHOWN", "--security-opt", "no-new-privileges"];
    let check = format!("({facts}) > /tmp/check.new && mv /tmp/check.new /tmp/check");
    for user in ["0:0", "1000:1000"] {
        let program = format!("({facts}) > /tmp/own; exec sleep 1000");
        let line = [
            &["run", "-d", "--name", "beside", "--network", "none", "--user", user, "--stop-signal", "KILL"]
                [..],
            &["--tmpfs", "/tmp:mode=1777", "--health-cmd", &check, "--health-interval", "1s"],
            &restrictions[..],
            &["busybox", "sh", "-c", &program],
        ];
        let id = done(&context, &line.concat()).raw_stdout;
        // Of this one: the one before had its name.
        let its = format!("container={}", String::from_utf8_lossy(&id).trim());
        let filters = ["--filter", "event=health_status", "--filter", &its];
        let health = context.rbuild([&["events", "--since", "0"][..], &filters].concat()).start();
        health.until("health_status: healthy");
        health.kill();
        let own = done(&context, &["exec", "beside", "cat", "/tmp/own"]).stdout;
        let none = if user == "0:0" { "CapEff:\t0000000000000001" } else { "CapEff:\t0000000000000000" };
        for word in
            [none, "CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(own.contains(word), "{user}: {word}\n{own}");
        }
        assert_eq!(
            done(&context, &["exec", "beside", "cat", "/tmp/check"]).stdout,
            own,
            "{user}: its health check"
        );
        assert_eq!(done(&context, &["exec", "beside", "sh", "-c", facts]).stdout, own, "{user}: exec");
        done(&context, &["rm", "-f", "beside"]);
    }
    assert_clean(&context);
}

//! Projects from `up` to `down`.

use std::net::TcpListener;
use std::process::Command;

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::running::Running;
use rustix::process::Signal;

use crate::scene::{assert_clean, scene};

/// Calls `rbuild compose` with these arguments.
#[track_caller]
pub(crate) fn compose<const N: usize>(context: &TestContext, arguments: [&str; N]) -> Output {
    let mut all = vec!["compose"];
    all.extend(arguments);
    context.rbuild(all).run()
}

/// The same, and it has to succeed.
#[track_caller]
pub(crate) fn composed<const N: usize>(context: &TestContext, arguments: [&str; N]) -> Output {
    let output = compose(context, arguments);
    output.assert_success();
    output
}

/// All containers: `name state`, by name.
#[track_caller]
pub(crate) fn containers(context: &TestContext) -> Vec<String> {
    let output = context.rbuild(["ps", "-a", "--format", "{{.Names}} {{.State}}"]).run();
    output.assert_success();
    let mut lines: Vec<String> = output.stdout.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Something of a container, byte by byte.
#[track_caller]
pub(crate) fn inspected(context: &TestContext, name: &str, template: &str) -> String {
    let output = context.rbuild(["inspect", "--format", template, name]).run();
    output.assert_success();
    String::from_utf8_lossy(&output.raw_stdout).trim().to_owned()
}

fn id(context: &TestContext, name: &str) -> String {
    inspected(context, name, "{{.Id}}")
}

/// The names of networks and volumes that the project made.
fn resources(context: &TestContext) -> Vec<String> {
    let mut names = Vec::new();
    for kind in ["network", "volume"] {
        let output = context.rbuild([kind, "ls", "--format", "{{.Name}}"]).run();
        output.assert_success();
        let own = output.stdout.lines().filter(|name| !["bridge", "host", "none"].contains(name));
        names.extend(own.map(str::to_owned));
    }
    names
}

const CHAIN: &str = "
name: shop
x-quick: &quick { image: busybox, stop_signal: SIGKILL }
services:
  db:
    <<: *quick
    command: sh -c 'echo ready to serve; touch /tmp/ready; exec sleep 1000'
    healthcheck: { test: test -e /tmp/ready, interval: 1s }
    volumes: [ 'data:/data', /scratch ]
  migrate:
    <<: *quick
    command: sh -c 'echo migrated > /data/schema'
    volumes: [ 'data:/data' ]
    depends_on: { db: { condition: service_healthy } }
  web:
    <<: *quick
    command: sh -c 'cat /data/schema; exec sleep 1000'
    environment: { PORT: '80' }
    volumes: [ 'data:/data:ro', /cache ]
    depends_on:
      db: { condition: service_healthy }
      migrate: { condition: service_completed_successfully }
volumes: { data: {} }
";

#[test]
fn a_project_goes_up_follows_its_file_and_goes_down() {
    let Some(context) = scene("a_project_goes_up_follows_its_file_and_goes_down") else { return };
    context.write("compose.yaml", CHAIN);

    let dry = composed(&context, ["--dry-run", "up", "-d"]);
    assert!(dry.stdout.contains("create network shop_default: there is none\n"), "{dry}");
    assert!(dry.stdout.contains("wait for db (service_healthy): migrate needs service_healthy\n"), "{dry}");
    assert_eq!(containers(&context), [""; 0]);

    let up = composed(&context, ["up", "-d"]);
    let places: Vec<usize> = [
        " Network shop_default  Created\n",
        " Container shop-db-1  Created\n",
        " Container shop-db-1  Started\n",
        " Container shop-db-1  Healthy\n",
        " Container shop-migrate-1  Started\n",
        " Container shop-migrate-1  Exited\n",
        " Container shop-web-1  Started\n",
    ]
    .iter()
    .map(|line| up.stderr.find(line).unwrap_or_else(|| panic!("{line:?} is told\n{up}")))
    .collect();
    assert!(places.is_sorted(), "{up}");
    assert_eq!(containers(&context), ["shop-db-1 running", "shop-migrate-1 exited", "shop-web-1 running"]);
    assert_eq!(
        inspected(&context, "shop-web-1", "{{index .Config.Labels \"com.docker.compose.service\"}}"),
        "web"
    );
    context.rbuild(["logs", "-f", "shop-web-1"]).start().until("migrated\n");

    // Again: nothing but the step that is done anew each time.
    let before = [id(&context, "shop-db-1"), id(&context, "shop-web-1")];
    let again = composed(&context, ["up", "-d"]);
    assert!(again.stderr.contains(" Container shop-web-1  Running\n"), "{again}");
    assert!(!again.stderr.contains("Creat"), "{again}");
    assert_eq!(before, [id(&context, "shop-db-1"), id(&context, "shop-web-1")]);

    // What changed comes anew, with its volumes, and nothing else does.
    context.write("compose.yaml", CHAIN.replace("PORT: '80'", "PORT: '81'"));
    let dry = composed(&context, ["--dry-run", "up", "-d"]);
    assert!(dry.stdout.contains("recreate shop-web-1: environment.PORT 80 -> 81\n"), "{dry}");
    let volumes = "{{range .Mounts}}{{.Destination}}={{.Name}} {{end}}";
    let mounts = inspected(&context, "shop-web-1", volumes);
    let changed = composed(&context, ["up", "-d"]);
    assert!(changed.stderr.contains(" Container shop-web-1  Recreated\n"), "{changed}");
    assert_eq!(before[0], id(&context, "shop-db-1"));
    assert_ne!(before[1], id(&context, "shop-web-1"));
    assert_eq!(mounts, inspected(&context, "shop-web-1", volumes));

    composed(&context, ["up", "-d", "--scale", "web=3"]);
    assert_eq!(containers(&context).iter().filter(|line| line.contains("-web-")).count(), 3);
    composed(&context, ["up", "-d", "--wait", "--no-deps", "--scale", "web=1", "web"]);
    assert_eq!(containers(&context), ["shop-db-1 running", "shop-migrate-1 exited", "shop-web-1 running"]);

    // A network that changed is made anew, and the containers that are in it are in the new one.
    let labelled = format!("{CHAIN}networks: {{ default: {{ labels: {{ colour: red }} }} }}\n");
    context.write("compose.yaml", &labelled);
    let network = ["network", "inspect", "--format", "{{.Labels.colour}}", "shop_default"];
    let address = "{{range $name, $end := .NetworkSettings.Networks}}{{$name}} {{$end.NetworkID}}{{end}}";
    composed(&context, ["up", "-d"]);
    assert_eq!(context.rbuild(network).run().stdout, "red\n");
    let made = id(&context, "shop_default");
    for name in ["shop-db-1", "shop-web-1"] {
        assert_eq!(inspected(&context, name, address), format!("shop_default {made}"));
    }

    // A service that is gone is named, and goes when it is to.
    let (head, _) = CHAIN.split_once("  web:").expect("there is a web");
    context.write("compose.yaml", format!("{head}volumes: {{ data: {{}} }}\n"));
    let orphaned = composed(&context, ["up", "-d", "db"]);
    assert!(
        orphaned.stderr.contains("Found orphan containers ([shop-web-1]) for this project"),
        "{orphaned}"
    );
    composed(&context, ["up", "-d", "--remove-orphans", "db"]);
    assert_eq!(containers(&context), ["shop-db-1 running", "shop-migrate-1 exited"]);

    // Volumes without a name stay when a container goes by itself, as by docker.
    context.rbuild(["volume", "prune", "-f"]).run().assert_success();
    // Who keeps something from going is named.
    let reader =
        ["run", "-d", "--name", "reader", "--network", "shop_default", "-v", "shop_data:/d", "busybox"];
    context.rbuild(reader.iter().chain(&["sleep", "1000"])).run().assert_success();
    let kept = context.rbuild(["down", "-p", "shop", "-v"]).in_folder("..").run();
    kept.assert_success();
    for text in [
        " Volume shop_data  Resource is still in use\n",
        "warning: volume shop_data is in use by reader\n",
        "warning: error while removing network: network shop_default has active endpoints (name:\"reader\" ",
    ] {
        assert!(kept.stderr.contains(text), "{kept}");
    }
    context.rbuild(["rm", "-f", "reader"]).run().assert_success();
    composed(&context, ["up", "-d", "db"]);
    // Without any file: labels say what belongs to it.
    let down = context.rbuild(["down", "-p", "shop", "-v"]).in_folder("..").run();
    down.assert_success();
    assert!(down.stderr.contains(" Container shop-db-1  Stopped\n"), "{down}");
    assert!(down.stderr.contains(" Network shop_default  Removed\n"), "{down}");
    assert!(down.stderr.contains(" Volume shop_data  Removed\n"), "{down}");
    assert_eq!(containers(&context), [""; 0]);
    assert_eq!(resources(&context), [""; 0]);
    let nothing = composed(&context, ["-p", "shop", "down"]);
    assert!(nothing.stderr.contains("No resource found to remove for project \"shop\""), "{nothing}");
    assert_clean(&context);
}

#[test]
fn containers_that_are_there_are_stopped_started_and_removed() {
    let Some(context) = scene("containers_that_are_there_are_stopped_started_and_removed") else { return };
    context.write(
        "compose.yaml",
        "
name: life
x-quick: &quick { image: busybox, stop_signal: SIGKILL, command: sleep 1000 }
services:
  db: { <<: *quick }
  web:
    <<: *quick
    depends_on: { db: { condition: service_started, restart: true } }
    post_start: [ { command: [ sh, -c, 'echo begun >> /hooks' ] } ]
    pre_stop: [ { command: [ sh, -c, 'echo ended >> /hooks' ] } ]
",
    );
    let missing = compose(&context, ["start"]);
    missing.assert_code(1);
    assert!(missing.stderr.contains("service \"db\" has no container to start"), "{missing}");

    composed(&context, ["create"]);
    assert_eq!(containers(&context), ["life-db-1 created", "life-web-1 created"]);
    composed(&context, ["start", "web", "--wait"]);
    assert_eq!(containers(&context), ["life-db-1 running", "life-web-1 running"]);
    composed(&context, ["pause", "db"]);
    let twice = compose(&context, ["pause", "db"]);
    assert!(twice.stderr.contains("already paused"), "{twice}");
    composed(&context, ["unpause"]);
    let again = compose(&context, ["unpause", "db"]);
    assert!(again.stderr.contains("not paused"), "{again}");
    let restarted = composed(&context, ["restart", "db"]);
    // Who restarts with it does, and its hooks ran around that.
    assert!(restarted.stderr.contains(" Container life-web-1  Restarting\n"), "{restarted}");
    let hooks = context.rbuild(["exec", "life-web-1", "cat", "/hooks"]).run();
    assert_eq!(hooks.stdout, "begun\nended\nbegun\n", "{hooks}");
    let meant = composed(&context, ["rm", "-s", "--dry-run", "web"]);
    let lines: Vec<&str> = meant.stdout.lines().map(|line| line.split(':').next().unwrap()).collect();
    assert_eq!(lines, ["Going to remove life-web-1", "stop life-web-1", "remove life-web-1"], "{meant}");
    composed(&context, ["stop", "web"]);
    assert_eq!(containers(&context), ["life-db-1 running", "life-web-1 exited"]);
    composed(&context, ["kill"]);
    assert_eq!(containers(&context), ["life-db-1 exited", "life-web-1 exited"]);
    let nothing = composed(&context, ["kill"]);
    assert!(nothing.stderr.contains("No container to kill"), "{nothing}");
    let removed = composed(&context, ["rm", "-f", "web"]);
    assert_eq!(removed.stdout, "Going to remove life-web-1\n", "{removed}");
    assert!(!removed.stderr.contains("Stopp"), "{removed}");
    assert_eq!(containers(&context), ["life-db-1 exited"]);
    context.rbuild(["down"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn a_failure_names_the_service_why_and_its_last_words() {
    let Some(context) = scene("a_failure_names_the_service_why_and_its_last_words") else { return };
    let base = "
name: bad
x-quick: &quick { image: busybox, stop_signal: SIGKILL }
services:
  web: { <<: *quick, command: sleep 1000, depends_on: { db: { condition: CONDITION } } }
  db: { <<: *quick, command: COMMAND, healthcheck: { test: TEST, interval: 50ms, retries: 2 } }
";
    let file = |condition: &str, command: &str, test: &str| {
        let text = base.replace("CONDITION", condition).replace("COMMAND", command).replace("TEST", test);
        context.write("compose.yaml", text);
    };
    file("service_healthy", "sh -c 'echo no disk; exec sleep 1000'", "'echo no route; exit 7'");
    let unhealthy = compose(&context, ["up", "-d"]);
    unhealthy.assert_code(1);
    assert!(
        unhealthy.stderr.contains("dependency failed to start: container bad-db-1 is unhealthy"),
        "{unhealthy}"
    );
    assert!(unhealthy.stderr.contains("the last lines of bad-db-1:\n  no disk\n"), "{unhealthy}");
    let check = "the last health check of bad-db-1 ended with 7:\n  no route\n";
    assert!(unhealthy.stderr.contains(check), "{unhealthy}");
    assert_eq!(containers(&context), ["bad-db-1 running", "bad-web-1 created"]);

    file("service_completed_successfully", "sh -c 'echo no schema >&2; exit 3'", "'true'");
    let failed = compose(&context, ["up", "-d"]);
    failed.assert_code(1);
    assert!(failed.stderr.contains("service \"db\" didn't complete successfully: exit 3"), "{failed}");
    // Of what it wrote, that of this time: the same once more is not told twice.
    for failed in [failed, compose(&context, ["up", "-d"])] {
        assert!(failed.stderr.contains("the last lines of bad-db-1:\n  no schema\nerror: "), "{failed}");
    }

    // What was left is gone on from.
    file("service_completed_successfully", "'true'", "'true'");
    composed(&context, ["up", "-d"]);
    assert_eq!(containers(&context), ["bad-db-1 exited", "bad-web-1 running"]);

    // Who ends at once never was ready.
    context.write("compose.yaml", "name: bad\nservices: { once: { image: busybox, command: 'true' } }\n");
    let ended = compose(&context, ["up", "-d", "--wait"]);
    ended.assert_code(1);
    assert!(ended.stderr.contains("container bad-once-1 exited (0)"), "{ended}");

    // A taken port is told before anything is made or stopped.
    let listener = TcpListener::bind("0.0.0.0:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    context.write(
        "compose.yaml",
        format!(
            "name: bad\nservices: {{ web: {{ image: busybox, command: sleep 9, ports: [ '{port}:80' ] }} }}\n"
        ),
    );
    let before = containers(&context);
    let taken = compose(&context, ["up", "-d"]);
    taken.assert_code(1);
    assert!(taken.stderr.contains("is already in use by"), "{taken}");
    assert!(taken.stderr.contains("compose.yaml:2\n"), "{taken}");
    assert_eq!(containers(&context), before);
    // Who only asks for the plan has it, and is told.
    let plan = composed(&context, ["up", "--dry-run"]);
    assert!(plan.stdout.contains("start bad-web-1: new\n"), "{plan}");
    assert!(plan.stderr.contains("warning: service web: the port"), "{plan}");

    // So is a name that somebody else's container has, and what a build cannot be given.
    context
        .rbuild(["create", "--name", "held", "--network", "none", "busybox", "true"])
        .run()
        .assert_success();
    context.write("Dockerfile", "FROM busybox\n");
    let (before, made) = (containers(&context), resources(&context));
    for (text, line, why) in [
        ("image: busybox\n    container_name: held\n", 5, "The container name \"/held\" is already in use"),
        ("build:\n      context: .\n      extra_hosts: [ 'q:zz' ]\n", 6, "invalid host q=zz"),
    ] {
        context.write("compose.yaml", format!("name: bad\nservices:\n  web:\n    {text}"));
        let refused = compose(&context, ["up", "-d"]);
        refused.assert_code(1);
        assert!(
            refused.stderr.contains(&format!("compose.yaml:{line}\n")) && refused.stderr.contains(why),
            "{refused}"
        );
        assert_eq!((containers(&context), resources(&context)), (before.clone(), made.clone()));
    }
    context.rbuild(["rm", "held"]).run().assert_success();

    let conflict = compose(&context, ["up", "-d", "--force-recreate", "--no-recreate"]);
    conflict.assert_code(1);
    assert!(conflict.stderr.contains("--force-recreate and --no-recreate are incompatible"), "{conflict}");
    context.rbuild(["down", "--remove-orphans"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn what_services_need_is_waited_for_each_time() {
    let Some(context) = scene("what_services_need_is_waited_for_each_time") else { return };
    let steps = "
name: each
x-quick: &quick { image: busybox, network_mode: none, stop_signal: SIGKILL }
services:
  init: { <<: *quick, command: test ! -e /gate/shut, volumes: [ './gate:/gate' ] }
  web: { <<: *quick, command: sleep 1000, depends_on: { init: { condition: service_completed_successfully } } }
";
    context.write("compose.yaml", steps);
    context.write("gate/kept", "");
    composed(&context, ["up", "-d"]);
    context.write("gate/shut", "");
    // Who needs the step runs already: that it fails this time is told all the same.
    let failed = "service \"init\" didn't complete successfully: exit 1";
    for verb in [&["up", "-d"][..], &["up"], &["start"]] {
        let output = context.rbuild([&["compose"], verb].concat()).run();
        output.assert_code(1);
        assert!(output.stderr.contains(failed), "{verb:?}\n{output}");
    }
    composed(&context, ["up", "-d", "--no-deps", "web"]);
    // A restart leaves nobody down for it, unless the two restart together.
    composed(&context, ["restart"]);
    assert_eq!(containers(&context), ["each-init-1 exited", "each-web-1 running"]);
    composed(&context, ["down"]);

    // One that is sick fails all, and keeps nobody from starting who can do without it.
    let sick = "
name: each
x-quick: &quick { image: busybox, network_mode: none, stop_signal: SIGKILL, command: sleep 1000 }
services:
  sick: { <<: *quick, healthcheck: { test: 'false', interval: 50ms, retries: 1 } }
  web: { <<: *quick, depends_on: { sick: { condition: service_healthy, required: false } } }
";
    context.write("compose.yaml", sick);
    let output = compose(&context, ["up", "-d", "--wait", "web"]);
    output.assert_code(1);
    assert!(output.stderr.contains("container each-sick-1 is unhealthy"), "{output}");
    assert_eq!(containers(&context), ["each-sick-1 running", "each-web-1 running"]);
    composed(&context, ["down"]);

    // Those that were named and what they need have the same time, whoever waits for it.
    for need in ["service_started", "service_healthy"] {
        let text = format!(
            "name: each\nx-quick: &quick {{ image: busybox, network_mode: none, stop_signal: SIGKILL, command: sleep 1000 }}\n\
             services:\n  db: {{ <<: *quick, healthcheck: {{ test: test -e /no, interval: 50ms, retries: 100000 }} }}\n  \
             web: {{ <<: *quick, depends_on: {{ db: {{ condition: {need} }} }} }}\n"
        );
        context.write("compose.yaml", text);
        let late = compose(&context, ["up", "-d", "--wait", "--wait-timeout", "1", "web"]);
        late.assert_code(1);
        assert!(late.stderr.contains("application not healthy after "), "{late}");
        composed(&context, ["down"]);
    }
    assert_clean(&context);
}

#[test]
fn in_the_foreground_output_is_shown_until_the_end() {
    let Some(context) = scene("in_the_foreground_output_is_shown_until_the_end") else { return };
    context.write(
        "compose.yaml",
        "
name: fore
x-quick: &quick { image: busybox, init: true }
services:
  one: { <<: *quick, command: sh -c 'echo first; exit 7', depends_on: [ two ] }
  two: { <<: *quick, command: sh -c 'echo second; exec sleep 1000' }
",
    );
    let aborted = compose(&context, ["up", "--exit-code-from", "one"]);
    aborted.assert_code(7);
    for line in
        ["Attaching to one-1, two-1\n", "one-1  | first\n", "two-1  | second\n", "one-1 exited with code 7\n"]
    {
        assert!(aborted.stdout.contains(line), "{line:?}\n{aborted}");
    }
    assert!(containers(&context).iter().all(|line| line.ends_with(" exited")), "{:?}", containers(&context));

    // The status that is asked for is the program's own, also where it is stopped for another's end.
    let text = "
name: fore
x-quick: &quick { image: busybox, volumes: [ './gate:/gate' ] }
services:
  one: { <<: *quick, command: sh -c 'cat /gate/pipe; exit 3' }
  two: { <<: *quick, command: sh -c 'trap \"exit 9\" TERM; echo up > /gate/pipe; while :; do sleep 1000 & wait; done' }
";
    let fore = std::fs::read_to_string(context.project().join("compose.yaml")).expect("the project");
    context.write("compose.yaml", text);
    context.write("gate/kept", "");
    let pipe = Command::new("mkfifo").arg(context.project().join("gate/pipe")).status();
    assert!(pipe.expect("there is a mkfifo program").success());
    compose(&context, ["up", "--exit-code-from", "two"]).assert_code(9);
    // And where it is not listened to.
    context.write("compose.yaml", text.replace("two: {", "two: { attach: false,"));
    compose(&context, ["up", "--exit-code-from", "two"]).assert_code(9);
    context.write("compose.yaml", fore);

    // Ctrl-C asks everything to end; what is written meanwhile is shown.
    let running = context.rbuild(["compose", "up"]).start();
    running.until("two-1  | second");
    running.signal(Signal::INT);
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert!(ended.stderr.contains("Gracefully Stopping... press Ctrl+C again to force"), "{ended:?}");
    assert!(ended.stdout.contains("two-1 exited with code 143"), "{ended:?}");
    context.rbuild(["down"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn the_foreground_ends_with_whom_it_was_asked_for() {
    let Some(context) = scene("the_foreground_ends_with_whom_it_was_asked_for") else { return };
    let quick = "name: whom\nx-quick: &quick { image: busybox, init: true }\nservices:\n";
    let text = format!(
        "{quick}  db: {{ <<: *quick, command: sh -c 'echo stored; exec sleep 1000' }}
  web: {{ <<: *quick, command: sh -c 'echo served; exit 3', depends_on: [ db ] }}\n"
    );
    context.write("compose.yaml", &text);
    // Who is named ends the whole, shown or not, and nobody who is only shown holds it up.
    let hidden = compose(&context, ["up", "--abort-on-container-exit", "--attach", "db", "db", "web"]);
    hidden.assert_code(3);
    for line in ["Attaching to db-1\n", "db-1  | stored\n", "web-1 exited with code 3\n"] {
        assert!(hidden.stdout.contains(line), "{line:?}\n{hidden}");
    }
    assert!(!hidden.stdout.contains("served"), "{hidden}");
    assert_eq!(containers(&context), ["whom-db-1 exited", "whom-web-1 exited"]);
    let shown = compose(&context, ["up", "--attach-dependencies", "web"]);
    shown.assert_code(0);
    assert!(shown.stdout.contains("Attaching to db-1, web-1\n"), "{shown}");
    assert!(shown.stdout.contains("web-1 exited with code 3\n"), "{shown}");
    assert_eq!(containers(&context), ["whom-db-1 running", "whom-web-1 exited"]);

    // Where no service is to be shown by itself, all are; `--no-attach` shows none, and waits all the same.
    let quiet =
        text.replace("exec sleep 1000", "exit 4").replace("<<: *quick,", "<<: *quick, attach: false,");
    context.write("compose.yaml", &quiet);
    let all = compose(&context, ["--parallel", "0", "up", "-t", "0"]);
    all.assert_code(0);
    for line in ["Attaching to db-1, web-1\n", "web-1  | served\n", "db-1 exited with code 4\n"] {
        assert!(all.stdout.contains(line), "{line:?}\n{all}");
    }
    let none = compose(&context, ["up", "--no-attach", "db", "--no-attach", "web"]);
    none.assert_code(0);
    assert!(!none.stdout.contains(" | "), "{none}");
    assert!(none.stdout.contains("db-1 exited with code 4\n"), "{none}");
    composed(&context, ["down", "-t", "0"]);
    assert_clean(&context);
}

#[test]
fn the_foreground_ends_all_that_is_meant_and_no_more() {
    let Some(context) = scene("the_foreground_ends_all_that_is_meant_and_no_more") else { return };
    // The end of one finds others that are just being started: none of them is left running.
    let others: String =
        (1..=8).map(|n| format!("  s{n}: {{ <<: *quick, command: sleep 1000 }}\n")).collect();
    let head = "name: calm\nx-quick: &quick { image: busybox, init: true }\nservices:\n";
    context.write("compose.yaml", format!("{head}  a: {{ <<: *quick, command: sh -c 'exit 7' }}\n{others}"));
    let aborted = compose(&context, ["up", "--exit-code-from", "a"]);
    aborted.assert_code(7);
    assert!(
        !containers(&context).iter().any(|line| line.ends_with(" running")),
        "{:?}",
        containers(&context)
    );
    let conflict = compose(&context, ["up", "-d", "--exit-code-from", "a"]);
    conflict.assert_code(1);
    assert!(conflict.stderr.contains("--detach cannot be combined with"), "{conflict}");
    composed(&context, ["down", "-t", "0"]);

    // Who is asked for twice is killed; who was not named goes on.
    let deaf = "sh -c 'trap \"\" TERM; echo deaf; exec sleep 1000'";
    let services = format!(
        "{head}  db: {{ <<: *quick, command: sleep 1000 }}\n  web: {{ <<: *quick, command: {deaf}, \
         depends_on: [ db ], stop_grace_period: 1h }}\n"
    );
    context.write("compose.yaml", &services);
    let running = context.rbuild(["compose", "up", "web"]).start();
    running.until("web-1  | deaf");
    running.signal(Signal::INT);
    running.until("Gracefully Stopping");
    running.signal(Signal::INT);
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert_eq!(containers(&context), ["calm-db-1 running", "calm-web-1 exited"]);

    // A terminal that goes away takes nothing with it.
    // Whoever runs the tests may have it ignored (`nohup`), which is inherited.
    let hears = ["env", "--default-signal=HUP"];
    let running = context.rbuild(["compose", "up", "db"]).through(hears).start();
    running.until("Attaching to db-1");
    running.signal(Signal::HUP);
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert_eq!(containers(&context), ["calm-db-1 running", "calm-web-1 exited"]);

    // A hook that fails keeps its container from being stopped; that is told.
    context.write(
        "compose.yaml",
        format!("{head}  db: {{ <<: *quick, command: sleep 1000, pre_stop: [ {{ command: 'false' }} ] }}\n"),
    );
    let running = context.rbuild(["compose", "up", "--no-recreate", "--trace"]).start();
    running.until("Attaching to db-1");
    running.signal(Signal::INT);
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert!(ended.stderr.contains("db hook exited with status 1"), "{ended:?}");
    assert_eq!(containers(&context), ["calm-db-1 running", "calm-web-1 exited"]);
    let anew = compose(&context, ["up", "-d", "--force-recreate"]);
    anew.assert_code(1);
    assert!(anew.stderr.contains("db hook exited with status 1"), "{anew}");
    assert_eq!(containers(&context), ["calm-db-1 running", "calm-web-1 exited"]);
    context.write("compose.yaml", &services);
    composed(&context, ["down", "-t", "0"]);
    assert_clean(&context);
}

#[test]
fn a_killed_up_is_gone_on_from() {
    let Some(context) = scene("a_killed_up_is_gone_on_from") else { return };
    let text = "
name: cut
x-quick: &quick { image: busybox, stop_signal: SIGKILL, command: sleep 1000 }
services:
  db: { <<: *quick, healthcheck: { test: test -e /gate/open, interval: 50ms, retries: 100000 }, volumes: [ './gate:/gate' ] }
  web: { <<: *quick, depends_on: { db: { condition: service_healthy } } }
";
    context.write("compose.yaml", text);
    context.write("gate/kept", "");
    let running = context.rbuild(["compose", "up", "-d"]).start();
    running.until("Container cut-db-1  Waiting");
    running.kill();
    assert_eq!(containers(&context), ["cut-db-1 running", "cut-web-1 created"]);
    context.write("gate/open", "");
    composed(&context, ["up", "-d"]);
    assert_eq!(containers(&context), ["cut-db-1 running", "cut-web-1 running"]);
    let down = context.rbuild(["down"]).run();
    down.assert_success();
    assert_clean(&context);
}

#[test]
fn who_was_told_to_stop_is_started_when_it_has_ended() {
    let Some(context) = scene("who_was_told_to_stop_is_started_when_it_has_ended") else { return };
    let text = r#"
name: bye
services:
  web:
    image: busybox
    stop_grace_period: 1h
    command: |
      sh -c 'trap "echo told; cat /gate/pipe; exit 0" TERM; mkfifo /gate/pipe; echo up > /gate/pipe; while :; do sleep 1000 & wait; done'
    pre_stop: [ { command: sh -c 'echo hook >> /gate/hooks' } ]
    volumes: [ './gate:/gate' ]
"#;
    context.write("compose.yaml", text);
    context.write("gate/kept", "");
    let pipe = context.project().join("gate/pipe");
    let told = |up: Running| {
        up.until("Container bye-web-1  Waiting");
        std::fs::write(&pipe, "").expect("the program reads before it ends");
        let ended = up.wait();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        ended.stderr
    };
    context.rbuild(["compose", "up", "-d"]).run().assert_success();
    for (number, (stop, start)) in
        [("down", &["up", "-d", "--wait"][..]), ("stop", &["start"])].iter().enumerate()
    {
        // It catches the signal by now.
        assert_eq!(std::fs::read_to_string(&pipe).expect("a pipe"), "up\n");
        let before = inspected(&context, "bye-web-1", "{{.State.StartedAt}}");
        let stop = context.rbuild(["compose", stop]).start();
        let logs = context.rbuild(["logs", "-f", "--since", &before, "bye-web-1"]).start();
        logs.until("told");
        logs.kill();
        stop.kill();
        let dry = context.rbuild([&["compose", "--dry-run"], *start].concat()).run();
        assert!(
            dry.stdout.starts_with("wait for the end of bye-web-1: it was told to stop\nstart bye-web-1: "),
            "{dry}"
        );
        let said = told(context.rbuild([&["compose"], *start].concat()).start());
        assert!(said.contains("Container bye-web-1  Exited"), "{said}");
        assert_eq!(containers(&context), ["bye-web-1 running"]);
        assert_ne!(inspected(&context, "bye-web-1", "{{.State.StartedAt}}"), before);
        let hooks = std::fs::read_to_string(context.project().join("gate/hooks")).expect("hooks");
        assert_eq!(hooks.lines().count(), number + 1);
    }
    let killed = |stop: &[&str]| {
        assert_eq!(std::fs::read_to_string(&pipe).expect("a pipe"), "up\n");
        let run = inspected(&context, "bye-web-1", "{{.State.StartedAt}}");
        let stop = context.rbuild(stop).start();
        let logs = context.rbuild(["logs", "-f", "--since", &run, "bye-web-1"]).start();
        logs.until("told");
        logs.kill();
        stop.kill();
        run
    };
    // No longer than somebody waits at all.
    killed(&["compose", "stop"]);
    let late = context.rbuild(["compose", "up", "-d", "--wait", "--wait-timeout", "1"]).run();
    assert_eq!(late.status.code(), Some(1), "{late}");
    told(context.rbuild(["compose", "up", "-d", "--wait"]).start());
    // Nobody knows whether a program ends that may take as long as it likes: it runs.
    let run = killed(&["stop", "-t", "-1", "bye-web-1"]);
    composed(&context, ["up", "-d"]);
    assert_eq!(inspected(&context, "bye-web-1", "{{.State.StartedAt}}"), run);
    std::fs::write(&pipe, "").expect("the program reads before it ends");
    context.rbuild(["wait", "bye-web-1"]).run().assert_success();
    composed(&context, ["down", "-t", "0"]);
    assert_clean(&context);
}

#[test]
fn one_program_runs_in_a_container_of_a_service() {
    let Some(context) = scene("one_program_runs_in_a_container_of_a_service") else { return };
    context.write(
        "compose.yaml",
        "
name: once
x-quick: &quick { image: busybox, stop_signal: SIGKILL }
services:
  db: { <<: *quick, command: sleep 1000, healthcheck: { test: 'true', interval: 1s } }
  job:
    <<: *quick
    read_only: true
    command: echo own
    environment: { A: '1', B: '2' }
    configs: [ { source: app, target: /etc/app.conf } ]
    secrets: [ token, { source: key, mode: 0400 } ]
    depends_on: { db: { condition: service_healthy } }
configs: { app: { content: 'name=once' } }
secrets: { token: { file: ./token }, key: { environment: KEY } }
",
    );
    context.write("token", "t0ken");
    let run = |arguments: &[&str]| {
        let all = ["compose", "run"].iter().chain(arguments).collect::<Vec<_>>();
        context.rbuild(all).env("KEY", "k3y").env("B", "mine").run()
    };
    let output = run(&[
        "--rm",
        "-e",
        "A=3",
        "-e",
        "B",
        "job",
        "sh",
        "-c",
        "echo $A $B; cat /etc/app.conf /run/secrets/token; cat /run/secrets/key; stat -c %a /run/secrets/key; exit 5",
    ]);
    output.assert_code(5);
    assert_eq!(output.stdout, "3 mine\nname=oncet0kenk3y400\n", "{output}");
    assert_eq!(containers(&context), ["once-db-1 running"]);

    let output = run(&["--no-deps", "--name", "mine", "job"]);
    output.assert_success();
    assert_eq!(output.stdout, "own\n", "{output}");
    assert_eq!(inspected(&context, "mine", "{{index .Config.Labels \"com.docker.compose.oneoff\"}}"), "True");
    run(&["--rm", "job", "no-such-program"]).assert_code(1);
    let detached = run(&["-d", "--entrypoint", "sleep 1000", "job"]);
    detached.assert_success();
    assert_eq!(containers(&context).len(), 3, "{:?}", containers(&context));

    // One in the background waits for what is typed, unless nobody is to type.
    run(&["-d", "--rm", "--no-deps", "--name", "hears", "job", "cat"]).assert_success();
    let heard = context.rbuild(["attach", "hears"]).input("heard\n").run();
    heard.assert_success();
    assert_eq!(heard.stdout, "heard\n", "{heard}");
    run(&["-d", "-i=false", "--no-deps", "--name", "deaf", "job", "cat"]).assert_success();
    assert_eq!(context.rbuild(["wait", "deaf"]).run().stdout, "0\n");
    context.rbuild(["rm", "deaf"]).run().assert_success();

    // Plain `down` leaves what `run` made.
    composed(&context, ["down", "-t", "0"]);
    assert_eq!(containers(&context).len(), 2, "{:?}", containers(&context));
    composed(&context, ["down", "-t", "0", "--remove-orphans"]);
    assert_eq!(containers(&context), [""; 0]);
    assert_clean(&context);
}

#[test]
fn images_are_built_where_they_are_missing_and_where_asked() {
    let Some(context) = scene("images_are_built_where_they_are_missing_and_where_asked") else { return };
    context.write(
        "compose.yaml",
        "
name: made
services:
  a: { build: ./a, stop_signal: SIGKILL }
  b: { build: { context: ./a, dockerfile_inline: \"FROM busybox\\nCOPY word /word\\nCMD [\\\"cat\\\", \\\"/word\\\"]\\n\" } }
",
    );
    context.write("a/Dockerfile", "FROM busybox\nCOPY word /word\nCMD sleep 1000\n");
    // What is missing for a Dockerfile in the project is told of by the key that it stands at.
    let early = context.rbuild(["compose", "build", "b"]).run();
    early.assert_code(1);
    let place = "services.b.build.dockerfile_inline:2\n";
    assert!(early.stderr.contains(place) && early.stderr.contains(">>> COPY word /word"), "{early}");
    context.write("a/word", "first");
    composed(&context, ["up", "-d"]);
    let first = id(&context, "made-a-1");
    let word = || context.rbuild(["exec", "made-a-1", "cat", "/word"]).run().stdout;
    assert_eq!(word(), "first");

    // The full name keeps docker's rule; the short one looks whether anything changed.
    context.write("a/word", "second");
    composed(&context, ["up", "-d"]);
    assert_eq!(first, id(&context, "made-a-1"));
    context.rbuild(["up", "-d", "--no-build"]).run().assert_success();
    assert_eq!(first, id(&context, "made-a-1"));
    // What a build will come to nobody knows before; with another reason at hand, that is the one.
    let perhaps = "recreate made-a-1: if its image is another one then\n";
    for (flags, says) in [(&["--no-build"][..], false), (&[], true), (&["--force-recreate"], false)] {
        let plan = context.rbuild([&["up", "--dry-run"][..], flags].concat()).run();
        assert_eq!(plan.stdout.contains(perhaps), says, "{plan}");
    }
    context.rbuild(["up", "-d"]).run().assert_success();
    assert_eq!(word(), "second");
    let second = id(&context, "made-a-1");
    context.rbuild(["up", "-d"]).run().assert_success();
    assert_eq!(second, id(&context, "made-a-1"));

    // Another section is another image, which has to be asked for.
    let project = std::fs::read_to_string(context.project().join("compose.yaml")).unwrap();
    let project = project.replace("build: ./a,", "build: { context: ./a, args: { A: b } },");
    context.write("compose.yaml", project);
    let other = context.rbuild(["up", "-d"]).run();
    other.assert_success();
    let warning = "warning: the image of service a was built before its `build` section changed";
    assert_eq!(other.stderr.matches("warning:").count(), 1, "{other}");
    assert!(other.stderr.contains(warning), "{other}");
    assert_eq!(second, id(&context, "made-a-1"));
    let full = context.rbuild(["compose", "up", "-d"]).run();
    assert!(!full.stderr.contains("warning:"), "{full}");

    context.write("a/word", "third");
    context.rbuild(["up", "-d", "--build"]).run().assert_success();
    assert_eq!(word(), "third");
    let quiet = context.rbuild(["up", "-d"]).run();
    assert!(!quiet.stderr.contains("warning:"), "{quiet}");

    context.write("a/word", "fourth");
    composed(&context, ["build", "-q"]);
    composed(&context, ["up", "-d"]);
    assert_eq!(word(), "fourth");
    let down = context.rbuild(["down", "--rmi", "local"]).run();
    down.assert_success();
    assert!(down.stderr.contains("Image made-a  Removed"), "{down}");
    assert_clean(&context);
}

#[cfg(feature = "crash-points")]
#[test]
fn a_crash_between_the_steps_of_a_recreation_is_finished() {
    let Some(context) = scene("a_crash_between_the_steps_of_a_recreation_is_finished") else { return };
    let file = |value: &str| {
        let text = format!(
            "name: anew\nservices: {{ web: {{ image: busybox, command: sleep 1000, stop_signal: SIGKILL, \
             environment: {{ A: '{value}' }}, volumes: [ /kept ] }} }}\n"
        );
        context.write("compose.yaml", text);
    };
    file("0");
    composed(&context, ["up", "-d"]);
    let volume = "{{range .Mounts}}{{.Name}}{{end}}";
    let kept = inspected(&context, "anew-web-1", volume);
    for (value, point) in
        ["project.made-beside", "project.old-stopped", "project.old-gone"].iter().enumerate()
    {
        file(&(value + 1).to_string());
        let cut =
            context.rbuild(["compose", "up", "-d"]).env("RBUILD_CRASH_POINT", format!("{point}:1")).run();
        assert_eq!(cut.status.code(), None, "{point}: {cut}");
        composed(&context, ["up", "-d"]);
        assert_eq!(containers(&context), ["anew-web-1 running"], "{point}");
        let environment = inspected(&context, "anew-web-1", "{{.Config.Env}}");
        assert!(environment.contains(&format!("A={}", value + 1)), "{point}: {environment}");
        assert_eq!(inspected(&context, "anew-web-1", volume), kept, "{point}");
    }
    context.rbuild(["down", "-v"]).run().assert_success();
    assert_eq!(resources(&context), [""; 0]);
    assert_clean(&context);
}

#[test]
fn services_swap_the_names_of_their_containers() {
    let Some(context) = scene("services_swap_the_names_of_their_containers") else { return };
    let write = |a: &str, b: &str| {
        let service = |name: &str| {
            format!("{{ image: busybox, command: sleep 1000, stop_signal: SIGKILL, container_name: {name} }}")
        };
        context.write(
            "compose.yaml",
            format!("name: swap\nservices:\n  a: {}\n  b: {}\n", service(a), service(b)),
        );
    };
    let check = |a: &str, b: &str| {
        let service =
            |name: &str| inspected(&context, name, "{{index .Config.Labels \"com.docker.compose.service\"}}");
        assert_eq!((service(a), service(b)), ("a".to_owned(), "b".to_owned()));
        assert_eq!(containers(&context), ["left running", "right running"]);
    };
    write("left", "right");
    composed(&context, ["up", "-d"]);
    write("right", "left");
    composed(&context, ["up", "-d"]);
    check("right", "left");
    #[cfg(feature = "crash-points")]
    for point in ["project.made-beside:1", "project.old-gone:1", "project.old-stopped:2"] {
        write("left", "right");
        let cut = context.rbuild(["compose", "up", "-d"]).env("RBUILD_CRASH_POINT", point).run();
        assert_eq!(cut.status.code(), None, "{point}: {cut}");
        composed(&context, ["up", "-d"]);
        check("left", "right");
        write("right", "left");
        composed(&context, ["up", "-d"]);
        check("right", "left");
    }
    context.rbuild(["down"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn a_network_of_another_project_outlives_this_one() {
    let Some(context) = scene("a_network_of_another_project_outlives_this_one") else { return };
    let service = "{ image: busybox, command: sleep 1000, stop_signal: SIGKILL }";
    let text = |name: &str| {
        format!("name: {name}\nservices:\n  web: {service}\nnetworks: {{ default: {{ name: shared }} }}\n")
    };
    context.write("one.yaml", text("one"));
    context.write("two.yaml", text("two"));
    composed(&context, ["-f", "one.yaml", "up", "-d"]);
    composed(&context, ["-f", "one.yaml", "kill"]);
    composed(&context, ["-f", "one.yaml", "rm", "-f"]);
    let foreign = composed(&context, ["-f", "two.yaml", "up", "-d"]);
    assert!(foreign.stderr.contains("was not created for project \"two\""), "{foreign}");
    let down = composed(&context, ["-f", "two.yaml", "down"]);
    assert!(!down.stderr.contains("Network"), "{down}");
    assert_eq!(resources(&context), ["shared"]);
    composed(&context, ["-f", "one.yaml", "down"]);
    assert_eq!(resources(&context), [""; 0]);
    assert_clean(&context);
}

#[test]
fn a_new_container_keeps_the_volumes_that_are_still_asked_for() {
    let Some(context) = scene("a_new_container_keeps_the_volumes_that_are_still_asked_for") else { return };
    let volumes = |image: &str, service: &str| {
        let text = format!(
            "
name: kept
services:
  web:
    build: {{ dockerfile_inline: \"FROM busybox\\nENV A=1\\n{image}\" }}
    command: sleep 1000
    stop_signal: SIGKILL
    volumes: {service}
"
        );
        context.write("compose.yaml", text);
        composed(&context, ["up", "-d", "--build"]);
        let mounts =
            inspected(&context, "kept-web-1", "{{range .Mounts}}{{.Destination}} {{.Name}}\n{{end}}");
        let mut mounts: Vec<String> = mounts.lines().map(str::to_owned).collect();
        mounts.sort();
        mounts
    };
    let all = volumes("VOLUME /image /image-too", "[ /own, /own-too ]");
    assert_eq!(all.len(), 4, "{all:?}");
    // In this order: those of the image, those of the service.
    let without = |gone: usize| {
        let mut left = all.clone();
        left.remove(gone);
        left
    };
    assert_eq!(volumes("VOLUME /image /image-too", "[ /own ]"), without(3));
    let left = volumes("VOLUME /image", "[ /own ]");
    assert_eq!(left, [all[0].clone(), all[2].clone()]);
    composed(&context, ["down", "-v"]);
    context.rbuild(["volume", "prune", "-af"]).run().assert_success();
    assert_clean(&context);
}

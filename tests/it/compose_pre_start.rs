//! Containers that run to their end before a service starts.

use std::fs;

use rbuild_testkit::context::TestContext;
use rustix::process::Signal;

use crate::compose_up::{compose, composed, containers, inspected};
use crate::scene::{assert_clean, scene};

/// Two services; what runs before `web` writes down that it ran, and waits where it is told to.
const FILE: &str = "
name: steps
x-quick: &quick { image: busybox, stop_signal: SIGKILL, init: true }
services:
  db: { <<: *quick, command: sleep 1000 }
  web:
    <<: *quick
    command: sleep 1000
    environment: { WHOSE: service, KEPT: service }
    labels: { route: web }
    user: '1000'
    depends_on: [ db ]
    volumes: [ './shared:/shared', /own ]
    pre_stop: [ { command: 'false' } ]
    pre_start:
      - command: [ sh, -c, 'nslookup db >/dev/null && echo first $$WHOSE $$KEPT `id -u` >> /shared/log; touch /own/made' ]
        user: root
        environment: { WHOSE: hook }
      - image: tools
        user: root
        command: [ sh, -c, 'echo second; test -e /shared/wait && sleep 1000; cat /shared/go && ls /own >> /shared/log' ]
";

fn prepare(context: &TestContext) {
    fs::create_dir(context.project().join("shared")).expect("a folder");
    context.write("compose.yaml", FILE);
    context.rbuild(["tag", "busybox", "tools"]).run().assert_success();
}

fn log(context: &TestContext) -> String {
    fs::read_to_string(context.project().join("shared/log")).unwrap_or_default()
}

fn tell(context: &TestContext, file: &str) {
    fs::write(context.project().join("shared").join(file), "").expect("a file");
}

/// Runs of both, each after the other.
fn runs(count: usize) -> String {
    "first hook service 0\nmade\n".repeat(count)
}

#[test]
fn what_runs_before_a_service_keeps_it_from_starting_until_it_is_done() {
    let Some(context) = scene("what_runs_before_a_service_keeps_it_from_starting_until_it_is_done") else {
        return;
    };
    prepare(&context);
    let failed = compose(&context, ["up", "-d"]);
    failed.assert_code(1);
    for text in [
        "the last lines of steps-web-pre_start1:\n  second\n",
        "error: service \"web\" pre_start[1] exited with code 1\n",
    ] {
        assert!(failed.stderr.contains(text), "{failed}");
    }
    let kept = ["steps-db-1 running", "steps-web-1 created", "steps-web-pre_start1 exited"];
    assert_eq!(containers(&context), kept);
    assert_eq!(log(&context), "first hook service 0\n");
    // It is none of the service's containers, and tells so.
    let labels = "{{index .Config.Labels \"com.docker.compose.hook\"}} {{.Config.Labels.route}}";
    assert!(inspected(&context, "steps-web-pre_start1", labels).starts_with("pre_start "), "its label");
    assert!(!inspected(&context, "steps-web-pre_start1", "{{.Config.Labels}}").contains("route"));
    assert_eq!(composed(&context, ["ps", "--format", "{{.Name}}"]).stdout, "steps-db-1\n");
    let exited = composed(&context, ["ps", "--status", "exited", "--format", "{{.Name}}"]).stdout;
    assert_eq!(exited, "steps-web-pre_start1\n", "by its state it is looked for");
    assert_eq!(composed(&context, ["logs", "web"]).stdout, "");
    assert!(composed(&context, ["ls", "-a"]).stdout.contains(" created(1), running(1) "), "ls");

    let meant = composed(&context, ["up", "-d", "--dry-run"]);
    assert_eq!(
        meant.stdout,
        "remove steps-web-pre_start1: left by an earlier run\n\
         run pre_start[0] of web: it was not done the last time\n\
         run pre_start[1] of web: it was not done the last time\n\
         start steps-web-1: new\n"
    );
    fs::remove_file(context.project().join("shared/log")).expect("what was written");
    tell(&context, "go");
    composed(&context, ["up", "-d"]);
    assert_eq!(containers(&context), ["steps-db-1 running", "steps-web-1 running"]);
    assert_eq!(log(&context), runs(1));

    // Neither what stays as it is nor more of it runs them again; who comes anew, or has stopped, does.
    composed(&context, ["up", "-d"]);
    composed(&context, ["up", "-d", "--scale", "web=2"]);
    composed(&context, ["run", "--rm", "web", "true"]);
    assert_eq!(log(&context), runs(1));
    composed(&context, ["kill", "web"]);
    composed(&context, ["rm", "-f", "web"]);
    composed(&context, ["create"]);
    assert_eq!(log(&context), runs(1));
    composed(&context, ["start"]);
    assert_eq!(log(&context), runs(2));
    composed(&context, ["kill", "web"]);
    composed(&context, ["up", "-d", "--force-recreate"]);
    assert_eq!(log(&context), runs(3));
    composed(&context, ["kill"]);
    composed(&context, ["down", "-v"]);
    assert_clean(&context);
}

#[test]
fn what_runs_before_a_service_is_heard_and_ends_with_it() {
    let Some(context) = scene("what_runs_before_a_service_is_heard_and_ends_with_it") else { return };
    prepare(&context);
    tell(&context, "wait");
    tell(&context, "go");
    let running = context.rbuild(["compose", "up"]).start();
    running.until("web pre_start[1] ->  | second");
    running.signal(Signal::INT);
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    assert_eq!(containers(&context), ["steps-db-1 exited", "steps-web-1 created"]);

    // A command that is cut off leaves it running; the next one waits for it and goes on.
    let running = context.rbuild(["compose", "up"]).start();
    running.until("web pre_start[1] ->  | second");
    running.kill();
    let there = ["steps-db-1 running", "steps-web-1 created", "steps-web-pre_start1 running"];
    assert_eq!(containers(&context), there);
    let meant = composed(&context, ["up", "-d", "--dry-run"]);
    assert_eq!(meant.stdout, "run pre_start[1] of web: it is under way already\nstart steps-web-1: new\n");
    let before = log(&context);
    let running = context.rbuild(["compose", "up"]).start();
    running.until("Attaching to db-1, web-1");
    context.rbuild(["kill", "steps-web-pre_start1"]).run().assert_success();
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    assert_eq!(log(&context), before, "the first was done");
    let there = ["steps-db-1 running", "steps-web-1 created", "steps-web-pre_start1 exited"];
    assert_eq!(containers(&context), there);
    // It goes with the containers of its service.
    composed(&context, ["rm", "-f", "db"]);
    assert_eq!(containers(&context), there);
    let removed = composed(&context, ["rm", "-f"]).stdout;
    assert_eq!(removed, "Going to remove steps-web-1, steps-web-pre_start1\n");
    assert_eq!(containers(&context), ["steps-db-1 running"]);
    composed(&context, ["down", "-v", "-t", "0"]);
    assert_clean(&context);
}

#[test]
fn what_was_not_done_before_a_service_is_done_by_whoever_starts_it() {
    let Some(context) = scene("what_was_not_done_before_a_service_is_done_by_whoever_starts_it") else {
        return;
    };
    prepare(&context);
    context.write("compose.yaml", FILE.replace("    pre_stop: [ { command: 'false' } ]\n", ""));
    compose(&context, ["up", "-d"]).assert_code(1);
    let failed = compose(&context, ["restart"]);
    failed.assert_code(1);
    assert!(failed.stderr.contains("error: service \"web\" pre_start[1] exited with code 1\n"), "{failed}");
    // Somebody who knows nothing of projects has started it: it runs, and it is told what is missing.
    context.rbuild(["start", "steps-web-1"]).run().assert_success();
    let there = ["steps-db-1 running", "steps-web-1 running", "steps-web-pre_start1 exited"];
    for _ in 0..2 {
        let told = composed(&context, ["up", "-d"]).stderr;
        assert!(told.contains("warning: web runs, though pre_start[1] has not ended well"), "{told}");
        assert_eq!(containers(&context), there);
    }
    // As long as they are there it is known.
    composed(&context, ["rm", "-f"]);
    assert_eq!(containers(&context), there);
    let refused = compose(&context, ["-p", "steps", "restart", "web"]);
    refused.assert_code(1);
    assert!(refused.stderr.contains("has not ended well (steps-web-pre_start1)"), "{refused}");
    assert_eq!(containers(&context), there);
    fs::remove_file(context.project().join("shared/log")).expect("what was written");
    tell(&context, "go");
    composed(&context, ["restart", "web"]);
    assert_eq!(containers(&context), there[..2]);
    assert_eq!(log(&context), runs(1));
    composed(&context, ["restart"]);
    assert_eq!(log(&context), runs(1), "it was done, and what runs is restarted without it");

    // What a killed command has begun is waited for, and nothing before it is done again.
    composed(&context, ["kill"]);
    tell(&context, "wait");
    let running = context.rbuild(["compose", "up"]).start();
    running.until("web pre_start[1] ->  | second");
    running.kill();
    let before = log(&context);
    let under_way = "run pre_start[1] of web: it is under way already\nstart steps-web-1: asked for\n";
    let meant = composed(&context, ["start", "web", "--dry-run"]).stdout;
    assert!(meant.ends_with(under_way), "{meant}");
    let waiting = context.rbuild(["compose", "start", "web"]).start();
    waiting.until("Container steps-web-pre_start1  Waiting");
    // Of one that is taken away meanwhile nobody knows whether it was done.
    waiting.signal(Signal::STOP);
    context.rbuild(["rm", "-f", "steps-web-pre_start1"]).run().assert_success();
    waiting.signal(Signal::CONT);
    let ended = waiting.wait();
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let gone = "container steps-web-pre_start1 was removed by another command";
    assert!(ended.stderr.contains(gone), "{ended:?}");
    assert_eq!(log(&context), before);
    fs::remove_file(context.project().join("shared/wait")).expect("the file");
    composed(&context, ["start", "web"]);
    assert!(log(&context).ends_with(&runs(1)), "{}", log(&context));
    composed(&context, ["kill"]);
    composed(&context, ["down", "-v"]);
    assert_clean(&context);
}

#[cfg(feature = "crash-points")]
#[test]
fn a_crash_while_something_runs_before_a_service_is_gone_on_from() {
    let Some(context) = scene("a_crash_while_something_runs_before_a_service_is_gone_on_from") else {
        return;
    };
    prepare(&context);
    tell(&context, "go");
    for point in ["project.before-made:1", "project.before-started:1", "project.before-made:2"] {
        let cut = context.rbuild(["compose", "up", "-d"]).env("RBUILD_CRASH_POINT", point).run();
        assert_eq!(cut.status.code(), None, "{point}: {cut}");
        composed(&context, ["up", "-d"]);
        assert_eq!(containers(&context), ["steps-db-1 running", "steps-web-1 running"], "{point}");
        assert!(log(&context).ends_with(&runs(1)), "{point}: {}", log(&context));
        composed(&context, ["kill"]);
        composed(&context, ["down", "-v"]);
    }
    assert_clean(&context);
}

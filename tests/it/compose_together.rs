//! Several commands on one project at the same time.

use std::fs;
use std::path::PathBuf;

use rbuild_testkit::context::TestContext;
use rbuild_testkit::running::Running;
use rustix::process::Signal;

use crate::compose_up::{composed, containers, inspected};
use crate::scene::{assert_clean, scene};

/// `web` starts behind a step that ends when it is let go, `slow` when `db` is let be healthy; `other` needs nobody.
const FILE: &str = "
name: both
x-quick: &quick { image: busybox, stop_signal: SIGKILL, command: sleep 1000, volumes: [ './shared:/shared' ] }
services:
  web:
    <<: *quick
    pre_start: &steps
      - command: sh -c 'echo first >> /shared/log'
      - command: sh -c 'echo begun | tee -a /shared/log; until test -e /shared/go; do sleep 0.02; done; echo ended >> /shared/log'
    post_start: [ { command: sh -c 'echo started >> /shared/log' } ]
  other: { <<: *quick, profiles: [ more ], develop: { watch: [ { path: watched, action: restart } ] } }
  db: { <<: *quick, profiles: [ more ], healthcheck: { test: test -e /shared/healthy, interval: 50ms, retries: 100000 } }
  slow: &slow { <<: *quick, profiles: [ more ], depends_on: { db: { condition: service_healthy } } }
  late: { <<: *slow, pre_start: *steps }
";

const WAITS: &str = "project both waits for process ";

fn prepare(context: &TestContext) -> PathBuf {
    let shared = context.project().join("shared");
    fs::create_dir(&shared).expect("a folder");
    context.write("compose.yaml", FILE);
    shared
}

fn log(context: &TestContext) -> String {
    fs::read_to_string(context.project().join("shared/log")).unwrap_or_default()
}

#[test]
fn several_that_start_a_service_run_what_comes_before_once() {
    let Some(context) = scene("several_that_start_a_service_run_what_comes_before_once") else { return };
    let shared = prepare(&context);
    // The one that does it shows its output, and goes on doing so while others do what they like.
    let first = context.rbuild(["compose", "up"]).start();
    first.until("web pre_start[1] ->  | begun");
    let others = [&["up", "-d"][..], &["start"], &["up", "-d", "--wait"]]
        .map(|verb| context.rbuild(["compose"].iter().chain(verb)).start());
    for other in &others {
        other.until(WAITS);
        other.until("(rbuild compose up), which is at work on this project");
    }
    // Who looks, who is asked to leave, and who takes nothing from the others does not wait.
    let tired = context.rbuild(["compose", "restart"]).start();
    tired.until(WAITS);
    tired.signal(Signal::INT);
    assert_eq!(tired.wait().status.code(), Some(130));
    composed(&context, ["logs"]);
    assert_eq!(composed(&context, ["run", "--rm", "web", "echo", "one"]).stdout, "one\n");
    composed(&context, ["up", "-d", "--dry-run"]);
    assert_eq!(containers(&context), ["both-web-1 created", "both-web-pre_start1 running"]);
    fs::write(shared.join("go"), "").expect("a file");
    for other in others {
        let ended = other.wait();
        assert!(ended.status.success(), "{ended:?}");
    }
    assert_eq!(containers(&context), ["both-web-1 running"]);
    assert_eq!(log(&context), "first\nbegun\nended\nstarted\n");
    composed(&context, ["stop"]);
    assert!(first.wait().status.success());

    // One that is killed has held nobody up, and what it began is not begun again.
    fs::remove_file(shared.join("go")).expect("the file");
    fs::remove_file(shared.join("log")).expect("the log");
    let first = context.rbuild(["compose", "up"]).start();
    first.until("web pre_start[1] ->  | begun");
    let second = context.rbuild(["compose", "up", "-d"]).start();
    second.until(WAITS);
    first.kill();
    second.until("Container both-web-pre_start1  Waiting");
    fs::write(shared.join("go"), "").expect("a file");
    let ended = second.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(log(&context), "first\nbegun\nended\nstarted\n");
    composed(&context, ["stop"]);

    // Nor does one that was asleep when it came to that, and meant to do all of it.
    for file in ["go", "log"] {
        fs::remove_file(shared.join(file)).expect("a file");
    }
    let late = |how: &str| {
        let call = context.rbuild(["compose", "--profile", "more", "up", how, "late"]).start();
        call.until("Container both-db-1  Waiting");
        call
    };
    let asleep = late("-d");
    let first = late("--no-color");
    asleep.signal(Signal::STOP);
    fs::write(shared.join("healthy"), "").expect("a file");
    first.until("late pre_start[1] ->  | begun");
    first.kill();
    asleep.signal(Signal::CONT);
    asleep.until("Container both-late-pre_start1  Waiting");
    fs::write(shared.join("go"), "").expect("a file");
    let ended = asleep.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(log(&context), "first\nbegun\nended\n");
    composed(&context, ["--profile", "more", "down", "-v"]);
    assert_clean(&context);
}

#[test]
fn while_one_waits_for_health_others_go_on() {
    let Some(context) = scene("while_one_waits_for_health_others_go_on") else { return };
    let shared = prepare(&context);
    let waits = |verb: &[&str]| {
        let call = context.rbuild(["compose", "--profile", "more"].iter().chain(verb)).start();
        call.until("Container both-db-1  Waiting");
        call
    };
    let both = [waits(&["up", "-d", "slow"]), waits(&["start", "slow"])];
    composed(&context, ["up", "-d", "other"]);
    composed(&context, ["restart", "other"]);
    composed(&context, ["stop", "other"]);
    assert_eq!(containers(&context), ["both-db-1 running", "both-other-1 exited", "both-slow-1 created"]);
    fs::write(shared.join("healthy"), "").expect("a file");
    for one in both {
        let ended = one.wait();
        assert!(ended.status.success(), "{ended:?}");
    }
    assert_eq!(inspected(&context, "both-slow-1", "{{.State.Status}}"), "running");
    fs::remove_file(shared.join("healthy")).expect("the file");

    // Who waits for one that another command makes anew waits for the new one, and does the rest.
    composed(&context, ["kill", "slow"]);
    let waiting = waits(&["up", "-d", "--wait", "slow"]);
    let making = waits(&["up", "-d", "--force-recreate", "slow", "db"]);
    fs::write(shared.join("healthy"), "").expect("a file");
    for one in [waiting, making] {
        let ended = one.wait();
        assert!(ended.status.success(), "{ended:?}");
        assert!(!ended.stderr.contains("Error"), "{ended:?}");
    }
    assert_eq!(containers(&context), ["both-db-1 running", "both-other-1 exited", "both-slow-1 running"]);
    fs::remove_file(shared.join("healthy")).expect("the file");

    // Who waits for one that is taken away is told so.
    composed(&context, ["rm", "-sf", "db", "slow"]);
    let told = |call: Running, what: &str| {
        let ended = call.wait();
        assert_eq!(ended.status.code(), Some(1), "{ended:?}");
        assert!(ended.stderr.contains(&format!("{what} by another command\n")), "{ended:?}");
        // It is no matter of the file.
        assert!(!ended.stderr.contains("compose.yaml"), "{ended:?}");
    };
    let both = [waits(&["up", "-d", "slow"]), waits(&["up", "-d", "--wait", "slow"])];
    composed(&context, ["kill", "db"]);
    for one in both {
        told(one, "dependency failed to start: container both-db-1 was stopped");
    }
    composed(&context, ["up", "-d", "db"]);
    let one = waits(&["start", "slow"]);
    composed(&context, ["rm", "-f", "slow"]);
    fs::write(shared.join("healthy"), "").expect("a file");
    told(one, "error: container both-slow-1 was removed");
    composed(&context, ["--profile", "more", "down", "-v"]);
    assert_clean(&context);
}

#[test]
fn a_new_one_that_is_not_ready_yet_is_left_to_who_made_it() {
    let Some(context) = scene("a_new_one_that_is_not_ready_yet_is_left_to_who_made_it") else { return };
    let shared = context.project().join("shared");
    fs::create_dir(&shared).expect("a folder");
    let write = |version: &str| {
        context.write(
            "compose.yaml",
            format!(
                "
name: both
services:
  web:
    image: busybox
    stop_signal: SIGKILL
    command: sh -c 'until test -e /shared/{version}; do sleep 0.02; done; touch /ready; exec sleep 1000'
    volumes: [ './shared:/shared' ]
    healthcheck: {{ test: test -e /ready, interval: 50ms, retries: 100000 }}
"
            ),
        );
    };
    fs::write(shared.join("zero"), "").expect("a file");
    write("zero");
    context.rbuild(["up", "-d", "--wait"]).run().assert_success();
    for (version, other) in [("one", &["up", "-d"][..]), ("two", &["up", "-d", "--start-first"])] {
        let old = inspected(&context, "both-web-1", "{{.Id}}");
        write(version);
        let first = context.rbuild(["up", "-d", "--start-first"]).start();
        first.until("_both-web-1  Waiting");
        let second = context.rbuild(other).start();
        second.until(WAITS);
        assert_eq!(inspected(&context, "both-web-1", "{{.Id}} {{.State.Status}}"), format!("{old} running"));
        fs::write(shared.join(version), "").expect("a file");
        for one in [first, second] {
            let ended = one.wait();
            assert!(ended.status.success(), "{ended:?}");
        }
        assert_eq!(containers(&context), ["both-web-1 running"]);
        let state = inspected(&context, "both-web-1", "{{.State.Health.Status}} {{.Config.Cmd}}");
        assert!(state.starts_with("healthy ") && state.contains(version), "{state}");
    }
    context.rbuild(["down", "-v"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn what_a_watched_file_restarts_waits_for_its_turn() {
    let Some(context) = scene("what_a_watched_file_restarts_waits_for_its_turn") else { return };
    let shared = prepare(&context);
    composed(&context, ["up", "-d", "other"]);
    let begun = || inspected(&context, "both-other-1", "{{.State.StartedAt}}");
    let before = begun();
    let first = context.rbuild(["compose", "up", "web"]).start();
    first.until("web pre_start[1] ->  | begun");
    let watch = || {
        let watch = context.rbuild(["compose", "--profile", "more", "watch", "--no-up"]).start();
        watch.until("Watch enabled");
        watch
    };
    // Who gives up meanwhile has done nothing, and does not say so.
    let tired = watch();
    context.write("watched", "1");
    tired.until(WAITS);
    tired.signal(Signal::INT);
    let ended = tired.wait();
    assert!(!ended.stdout.contains("restarted"), "{ended:?}");
    assert_eq!(begun(), before);

    let patient = watch();
    context.write("watched", "2");
    patient.until(WAITS);
    fs::write(shared.join("go"), "").expect("a file");
    patient.until("service(s) [\"other\"] restarted");
    assert_ne!(begun(), before);
    patient.signal(Signal::INT);
    patient.wait();
    composed(&context, ["stop", "web"]);
    assert!(first.wait().status.success());
    composed(&context, ["--profile", "more", "down", "-v"]);
    assert_clean(&context);
}

#[test]
fn who_waits_for_a_grace_is_in_nobodys_way() {
    let Some(context) = scene("who_waits_for_a_grace_is_in_nobodys_way") else { return };
    let file = "name: grace\nservices:\n  \
                web: { image: busybox, stop_grace_period: 1h, command: sh -c 'trap \"\" TERM; echo deaf; exec sleep 1000' }\n  \
                other: { image: busybox, stop_signal: SIGKILL, command: sleep 1000 }\n";
    context.write("compose.yaml", file);
    composed(&context, ["up", "-d"]);
    // It is not listening before it has said so.
    let log = context.rbuild(["compose", "logs", "-f", "web"]).start();
    log.until("deaf");
    let first = context.rbuild(["compose", "restart", "web"]).start();
    first.until("Container grace-web-1  Restarting");
    composed(&context, ["restart", "other"]);
    // It ends the grace, too; both start what has ended, which is done once.
    composed(&context, ["restart", "-t", "0", "web"]);
    let ended = first.wait();
    assert!(ended.status.success(), "{ended:?}");
    assert_eq!(containers(&context), ["grace-other-1 running", "grace-web-1 running"]);
    composed(&context, ["down", "-t", "0"]);
    log.wait();
    assert_clean(&context);
}

//! New containers that are ready before the old ones stop.

use rbuild_testkit::context::TestContext;

use crate::compose_up::{compose, containers, inspected};
use crate::scene::{assert_clean, scene};

/// A service that is ready once it has a file, and one that publishes a port.
fn write(context: &TestContext, version: &str, makes: &str) {
    let text = format!(
        "
name: roll
x-quick: &quick {{ image: busybox, stop_signal: SIGKILL }}
services:
  web:
    <<: *quick
    command: sh -c 'echo {version}; echo {version} starts >> /shared/log; {makes}; exec sleep 1000'
    healthcheck: {{ test: test -e /ready, interval: 50ms, retries: 3 }}
    volumes: [ './shared:/shared' ]
    pre_stop: [ {{ command: sh -c 'test -e /ready && echo stop >> /shared/log' }} ]
"
    );
    context.write("compose.yaml", text);
}

#[test]
fn the_old_one_goes_on_until_the_new_one_is_healthy() {
    let Some(context) = scene("the_old_one_goes_on_until_the_new_one_is_healthy") else { return };
    write(&context, "one", "touch /ready");
    context.rbuild(["up", "-d", "--wait"]).run().assert_success();
    let first = inspected(&context, "roll-web-1", "{{.Id}}");
    write(&context, "two", "touch /ready");
    context.rbuild(["up", "-d", "--start-first"]).run().assert_success();
    let second = inspected(&context, "roll-web-1", "{{.Id}}");
    assert_ne!(first, second);
    assert_eq!(containers(&context), ["roll-web-1 running"]);
    let log = || std::fs::read_to_string(context.project().join("shared/log")).expect("a log");
    assert_eq!(log(), "one starts\ntwo starts\nstop\n");

    // One that is never healthy, one that ends, and one that cannot run: each goes, and the old one stays.
    for (makes, why) in [
        ("true", "_roll-web-1 is unhealthy\n"),
        ("echo no disk; exit 3", "_roll-web-1 exited (3)\n"),
        ("exec /nowhere", "_roll-web-1 exited (127)\n"),
    ] {
        write(&context, "three", &format!("sleep 0; {makes}"));
        let failed = context.rbuild(["up", "-d", "--start-first"]).run();
        failed.assert_code(1);
        assert!(failed.stderr.contains(why) && failed.stderr.contains("\n  three\n"), "{failed}");
        assert_eq!(containers(&context), ["roll-web-1 running"]);
        assert_eq!(inspected(&context, "roll-web-1", "{{.Id}}"), second);
    }
    assert_eq!(log().matches("stop").count(), 1, "{}", log());

    #[cfg(feature = "crash-points")]
    for (point, stays) in [
        ("project.made-beside", 2),
        ("project.beside-started", 2),
        ("project.old-stopped", 2),
        ("project.old-gone", 1),
    ] {
        write(&context, point, "touch /ready");
        let up = ["up", "-d", "--start-first"];
        let cut = context.rbuild(up).env("RBUILD_CRASH_POINT", format!("{point}:1")).run();
        assert_eq!(cut.status.code(), None, "{point}: {cut}");
        assert_eq!(containers(&context).len(), stays, "{point}");
        context.rbuild(up).run().assert_success();
        assert_eq!(containers(&context), ["roll-web-1 running"], "{point}");
        assert!(inspected(&context, "roll-web-1", "{{.Config.Cmd}}").contains(point), "{point}");
    }
    let refused = context.rbuild(["up", "--start-first", "--no-start"]).run();
    refused.assert_code(1);
    assert!(refused.stderr.contains("cannot be combined"), "{refused}");
    let unknown = compose(&context, ["up", "--start-first"]);
    assert!(unknown.stderr.contains("--start-first"), "{unknown}");
    assert!(!unknown.status.success(), "only the short name has it: {unknown}");
    context.rbuild(["down", "-v"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn names_go_round_while_all_serve() {
    let Some(context) = scene("names_go_round_while_all_serve") else { return };
    let names = |names: [&str; 3]| {
        let mut text = "name: round\nservices:\n".to_owned();
        for (service, name) in ["a", "b", "c"].iter().zip(names) {
            text += &format!(
                "  {service}: {{ image: busybox, command: sleep 1000, stop_signal: SIGKILL, container_name: {name} }}\n"
            );
        }
        context.write("compose.yaml", text);
        context.rbuild(["up", "-d", "--start-first"]).run().assert_success();
        names.map(|name| inspected(&context, name, "{{index .Config.Labels \"com.docker.compose.service\"}}"))
    };
    assert_eq!(names(["one", "two", "three"]), ["a", "b", "c"]);
    assert_eq!(names(["two", "one", "three"]), ["a", "b", "c"]);
    assert_eq!(names(["one", "three", "two"]), ["a", "b", "c"]);
    assert_eq!(containers(&context), ["one running", "three running", "two running"]);
    // Where a new one is never ready, all have the names that they had.
    let path = context.project().join("compose.yaml");
    let text = std::fs::read_to_string(path).expect("the file");
    let swapped = text
        .replace("name: two", "name: x")
        .replace("name: three", "name: two")
        .replace("name: x", "name: three");
    context.write(
        "compose.yaml",
        swapped.replacen(
            "b: { image: busybox, command: sleep 1000",
            "b: { image: busybox, command: 'false'",
            1,
        ),
    );
    let failed = context.rbuild(["up", "-d", "--start-first"]).run();
    failed.assert_code(1);
    assert!(failed.stderr.contains("_two exited (1)\n"), "{failed}");
    assert_eq!(containers(&context), ["one running", "three running", "two running"]);
    // A name of somebody else is found out before anything is made.
    context.rbuild(["create", "--name", "taken", "busybox", "true"]).run().assert_success();
    context.write(
        "compose.yaml",
        "name: round\nservices: { a: { image: busybox, command: sleep 2000, container_name: taken } }\n",
    );
    let refused = context.rbuild(["up", "-d", "--start-first"]).run();
    refused.assert_code(1);
    assert!(refused.stderr.contains("compose.yaml:2") && refused.stderr.contains("\"/taken\""), "{refused}");
    assert_eq!(containers(&context), ["one running", "taken created", "three running", "two running"]);
    context.rbuild(["rm", "taken"]).run().assert_success();
    context.rbuild(["down", "--remove-orphans"]).run().assert_success();
    assert_clean(&context);
}

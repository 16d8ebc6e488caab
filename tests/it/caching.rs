//! When a step is done again and when it is not.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use crate::scene::{
    assert_clean, built, built_from, file, lines_in_cache_mounts, open_gate, scene, state, states,
};

/// Gives a file of the project another time.
fn touch(context: &rbuild_testkit::context::TestContext, path: &str, seconds: u64) {
    let file = File::options().write(true).open(context.project().join(path)).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
}

#[test]
fn only_what_changed_is_done_again() {
    let Some(context) = scene("only_what_changed_is_done_again") else { return };
    context.write("a/one", "1");
    context.write("b/two", "2");
    let text = "\
FROM busybox
RUN echo base > /base
COPY a /a
RUN cat /a/one > /first
COPY b /b
RUN cat /b/two > /second
";
    let first = built_from(&context, text, ["-t", "x"]);
    assert!(!states(&first).contains("CACHED"), "{first}");
    let again = built(&context, ["-t", "x"]);
    assert_eq!(states(&again), "CACHED CACHED CACHED CACHED CACHED", "{again}");
    touch(&context, "a/one", 1_000_000);
    touch(&context, "b/two", 2_000_000);
    let touched = built(&context, ["-t", "x"]);
    assert_eq!(states(&touched), "CACHED CACHED CACHED CACHED CACHED", "times are no content: {touched}");
    context.write("b/two", "3");
    let changed = built(&context, ["-t", "x"]);
    assert_eq!(state(&changed, "COPY a /a"), "CACHED", "{changed}");
    assert_eq!(state(&changed, "RUN cat /a/one"), "CACHED", "{changed}");
    assert_eq!(state(&changed, "COPY b /b"), "DONE", "{changed}");
    assert_eq!(state(&changed, "RUN cat /b/two"), "DONE", "{changed}");
    context.write("b/two", "2");
    let back = built(&context, ["-t", "x"]);
    assert_eq!(
        states(&back),
        "CACHED CACHED CACHED CACHED CACHED",
        "what was once done is remembered: {back}"
    );
    // The same size and the same time: only the content tells.
    context.write("b/two", "4");
    touch(&context, "b/two", 2_000_000);
    let sly = built(&context, ["-o", "out"]);
    assert_eq!(
        (state(&sly, "COPY b /b"), file(&context, "out/second")),
        ("DONE".into(), "4".into()),
        "{sly}"
    );
    // A mode is content.
    let mut permissions = fs::metadata(context.project().join("a/one")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    fs::set_permissions(context.project().join("a/one"), permissions).unwrap();
    let mode = built(&context, ["-t", "x"]);
    assert_eq!(
        (state(&mode, "RUN echo base"), state(&mode, "COPY a /a")),
        ("CACHED".into(), "DONE".into()),
        "{mode}"
    );
    assert_clean(&context);
}

#[test]
fn what_a_step_says_counts() {
    let Some(context) = scene("what_a_step_says_counts") else { return };
    let text = "FROM busybox\nARG A=1\nRUN echo one > /1\nENV E=1\nRUN echo two > /2\n";
    built_from(&context, text, []);
    let other = built(&context, ["--build-arg", "A=2"]);
    assert_eq!(states(&other), "DONE DONE", "a value that a RUN sees counts: {other}");
    let unseen = "FROM busybox\nRUN echo one > /1\nARG A=1\nRUN echo two > /2\n";
    built_from(&context, unseen, []);
    let late = built(&context, ["--build-arg", "A=2"]);
    assert_eq!(states(&late), "CACHED DONE", "a value that comes later does not: {late}");
    let commented = "# syntax=docker/dockerfile:1\n# a comment\nFROM busybox\n\nRUN   echo one > /1\n";
    let comment = built_from(&context, commented, []);
    assert_eq!(states(&comment), "CACHED", "how it is written does not: {comment}");
    let labelled = built(&context, ["--label", "a=b"]);
    assert_eq!(states(&labelled), "CACHED", "labels do not: {labelled}");
    assert_clean(&context);
}

#[test]
fn an_equal_stage_that_was_rebuilt_still_hits() {
    let Some(context) = scene("an_equal_stage_that_was_rebuilt_still_hits") else { return };
    let text = |comment: &str| {
        format!(
            "FROM busybox AS made\nRUN echo constant > /made # {comment}\n\
             FROM busybox\nCOPY --from=made /made /\nRUN cat /made > /seen\n"
        )
    };
    built_from(&context, &text("first"), []);
    let second = built_from(&context, &text("second"), []);
    assert_eq!(state(&second, "RUN echo constant"), "DONE", "{second}");
    assert_eq!(state(&second, "COPY --from=made"), "CACHED", "the same content: {second}");
    assert_eq!(state(&second, "RUN cat /made"), "CACHED", "{second}");
    assert_clean(&context);
}

#[test]
fn without_cache() {
    let Some(context) = scene("without_cache") else { return };
    let text = "\
FROM busybox AS a
RUN --mount=type=cache,target=/c echo x >> /c/a-runs && date +%N > /a
FROM busybox AS b
RUN --mount=type=cache,target=/c echo x >> /c/b-runs && date +%N > /b
FROM scratch
COPY --from=a /a /
COPY --from=b /b /
";
    built_from(&context, text, []);
    built(&context, ["--no-cache-filter", "b"]);
    let runs = |name| lines_in_cache_mounts(&context, name);
    assert_eq!((runs("a-runs"), runs("b-runs")), (1, 2));
    built(&context, ["--no-cache"]);
    assert_eq!((runs("a-runs"), runs("b-runs")), (2, 3));
    let output = built(&context, []);
    assert_eq!(states(&output), "CACHED CACHED CACHED CACHED", "{output}");
    assert_eq!((runs("a-runs"), runs("b-runs")), (2, 3));
    assert_clean(&context);
}

#[test]
fn equal_steps_run_once() {
    let Some(context) = scene("equal_steps_run_once") else { return };
    // Twice in one file, and in three processes at the same time: whoever runs it waits until the others wait for it.
    let step = "RUN --mount=type=cache,target=/c echo x >> /c/runs && mkfifo /c/gate && echo rea\"\"dy && cat /c/gate && echo made > /made\n";
    let text = format!(
        "FROM busybox AS a\n{step}FROM busybox AS b\n{step}FROM scratch\nCOPY --from=a /made /a\nCOPY --from=b /made /b\n"
    );
    context.write("Dockerfile", text);
    let calls: Vec<_> = ["out1", "out2", "out3"]
        .map(|out| context.rbuild(["build", "--progress", "plain", "-o", out, "."]).start())
        .into();
    for call in &calls {
        call.until_any(&[" ready", "waiting for"]);
    }
    open_gate(&context);
    for call in calls {
        let ended = call.wait();
        assert!(ended.status.success(), "{}", ended.stderr);
    }
    assert_eq!(lines_in_cache_mounts(&context, "runs"), 1);
    for out in ["out1/a", "out1/b", "out2/a", "out3/b"] {
        assert_eq!(file(&context, out), "made\n");
    }
    assert_clean(&context);
}

#[test]
fn a_failed_step_is_tried_again_and_what_came_before_is_not() {
    let Some(context) = scene("a_failed_step_is_tried_again_and_what_came_before_is_not") else { return };
    context.write("flag", "no");
    let text = "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/runs\nRUN --mount=target=/in test \"$(cat /in/flag)\" = yes\n";
    context.write("Dockerfile", text);
    for _ in 0..2 {
        crate::scene::build(&context, ["-t", "late"]).assert_code(1);
    }
    assert_eq!(crate::scene::images(&context), "busybox:latest", "a failed build names nothing");
    context.write("flag", "yes");
    built(&context, ["-t", "late"]);
    assert_eq!(lines_in_cache_mounts(&context, "runs"), 1);
    assert_eq!(crate::scene::images(&context), "busybox:latest late:latest");
    assert_clean(&context);
}

#[test]
fn authorities_of_the_host_leave_no_trace() {
    let Some(context) = scene("authorities_of_the_host_leave_no_trace") else { return };
    let pem = "-----BEGIN CERTIFICATE-----\nYQ==\n-----END CERTIFICATE-----\n";
    context.write("ca.pem", pem);
    let text = "FROM busybox\nRUN echo one > /one; test -z \"$SSL_CERT_FILE\" || cat \"$SSL_CERT_FILE\"\n\
                RUN test ! -e /dev/rbuild || ls /dev/rbuild\n";
    let with = built_from(&context, text, ["--ca", "ca.pem", "-t", "with", "--iidfile", "with.id"]);
    assert!(with.stderr.contains("BEGIN CERTIFICATE"), "the step is given them: {with}");
    let without = built(&context, ["-t", "without", "--iidfile", "without.id"]);
    assert_eq!(states(&without), "CACHED CACHED", "they are in no key: {without}");
    assert_eq!(file(&context, "with.id"), file(&context, "without.id"));
    let fresh = built(&context, ["--no-cache", "-o", "type=local,dest=out"]);
    assert!(!fresh.stderr.contains("BEGIN CERTIFICATE"), "nothing is given unasked: {fresh}");
    built(&context, ["--no-cache", "--ca", "ca.pem", "-o", "type=tar,dest=out.tar"]);
    let listed =
        std::process::Command::new("tar").arg("-tf").arg(context.project().join("out.tar")).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("one") && !listed.contains("rbuild") && !listed.contains("pem"), "{listed}");
    let config = context.rbuild(["inspect", "with"]).run();
    assert!(!config.assert_success().stdout.contains("SSL_CERT_FILE"), "{config}");
    let empty = context.write("empty.pem", "");
    let refused = context.rbuild(["build", "--ca", empty.to_str().unwrap(), "."]).run();
    refused.assert_code(1);
    assert!(refused.stderr.contains("holds no certificates"), "{refused}");
    assert_clean(&context);
}

//! What is left when a command ends, on whatever road: nothing.

use std::fs;

use rbuild_testkit::context::TestContext;
use rustix::process::Signal;

use crate::scene::{
    assert_clean, assert_no_leaks, assert_processes_end, build, built, images, lines_in_cache_mounts, scene,
};

/// A build whose last step says `ready` and then goes on, with a marker in its environment by which its processes are
/// found.
fn endless(context: &TestContext) {
    let marker = context.folder().display();
    let text = format!(
        "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/first\n\
         RUN echo rea\"\"dy; MARK={marker} sleep 1000 & MARK={marker} sleep 1001\n"
    );
    context.write("Dockerfile", text);
}

#[test]
fn an_interrupted_build() {
    let Some(context) = scene("an_interrupted_build") else { return };
    endless(&context);
    for signal in [Signal::INT, Signal::TERM] {
        let running = context.rbuild(["build", "--progress", "plain", "-t", "never", "."]).start();
        running.until(" ready");
        running.signal(signal);
        let ended = running.wait();
        assert_eq!(ended.status.code(), Some(130), "{}", ended.stderr);
        assert_clean(&context);
    }
    assert_eq!(lines_in_cache_mounts(&context, "first"), 1, "what had finished is used again");
    assert_eq!(images(&context), "busybox:latest");
}

#[test]
fn a_killed_build() {
    let Some(context) = scene("a_killed_build") else { return };
    endless(&context);
    let running = context.rbuild(["build", "--progress", "plain", "."]).start();
    running.until(" ready");
    running.kill();
    assert_processes_end(&context);
    // The next command takes away what was left.
    context.write(
        "Dockerfile",
        "FROM busybox\nRUN --mount=type=cache,target=/c echo x >> /c/first\nRUN echo two\n",
    );
    built(&context, []);
    assert_clean(&context);
    assert_eq!(lines_in_cache_mounts(&context, "first"), 1, "what had finished is used again");
}

#[test]
fn a_killed_command_leaves_its_container_running() {
    let Some(context) = scene("a_killed_command_leaves_its_container_running") else { return };
    let script = format!("echo ready; MARK={} sleep 1000", context.folder().display());
    let arguments = ["run", "--rm", "--name", "left", "-m", "64m", "busybox", "sh", "-c", &script];
    let running = context.rbuild(arguments).start();
    running.until("ready");
    running.kill();
    let listed = context.rbuild(["ps", "--format", "{{.Names}} {{.State}}"]).run();
    assert_eq!(listed.stdout, "left running\n", "{listed}");
    context.rbuild(["rm", "-f", "left"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn an_interrupted_container() {
    let Some(context) = scene("an_interrupted_container") else { return };
    let script =
        format!("trap 'exit 130' INT; MARK={} sleep 1000 & echo ready; wait", context.folder().display());
    let running = context.rbuild(["run", "--rm", "busybox", "sh", "-c", &script]).start();
    running.until("ready");
    running.signal(Signal::INT);
    let ended = running.wait();
    assert_eq!(ended.status.code(), Some(130), "{}", ended.stderr);
    assert_clean(&context);
}

#[test]
fn a_failed_build_leaves_nothing() {
    let Some(context) = scene("a_failed_build_leaves_nothing") else { return };
    let marker = context.folder().display();
    let text = format!(
        "FROM busybox AS slow\nRUN --mount=type=cache,target=/c mkfifo /c/up; echo up > /c/up; MARK={marker} sleep 1000\n\
         FROM busybox\nRUN --mount=type=cache,target=/c mkfifo /c/up; read up < /c/up; (MARK={marker} sleep 1000 &) ; exit 4\n\
         COPY --from=slow /x /\n"
    );
    context.write("Dockerfile", text);
    let output = build(&context, ["-t", "never"]);
    output.assert_code(1);
    assert!(output.stderr.contains("exit code: 4") && output.stderr.contains("Dockerfile:4"), "{output}");
    assert_clean(&context);
}

#[test]
fn processes_that_a_step_leaves_behind_end_with_it() {
    let Some(context) = scene("processes_that_a_step_leaves_behind_end_with_it") else { return };
    let marker = context.folder().display();
    let text =
        format!("FROM busybox\nRUN (MARK={marker} setsid nohup sleep 1000 >/dev/null 2>&1 &); echo over\n");
    context.write("Dockerfile", text);
    built(&context, []);
    assert_clean(&context);
}

#[test]
fn an_empty_runtime_folder_is_made_again() {
    let Some(context) = scene("an_empty_runtime_folder_is_made_again") else { return };
    context.write("Dockerfile", "FROM busybox\nRUN echo one\n");
    built(&context, []);
    // The process that syncs what was built uses the folder too, for a moment.
    assert_no_leaks(&context);
    let store8 = context.store8().expect("there is a store");
    fs::remove_dir_all(format!("/run/rbuild/{store8}")).unwrap();
    context.write("Dockerfile", "FROM busybox\nRUN echo two\n");
    built(&context, []);
    assert_no_leaks(&context);
    let doctor = context.rbuild(["doctor"]).run();
    assert!(doctor.stdout.ends_with(": good\n"), "{doctor}");
}

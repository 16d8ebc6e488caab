//! What is left of containers when everybody who looked after them was killed, and what the next command makes of it.

use std::fs;
use std::path::PathBuf;

use rbuild_testkit::context::TestContext;
use serde_json::Value;

use crate::scene::{assert_clean, assert_processes_end, furnish, said, scene};

/// The folder of a container in which its monitor writes, and what that wrote last.
pub(crate) fn state(context: &TestContext, id: &str) -> (PathBuf, Value) {
    let store8 = context.store8().expect("a store");
    let folder = PathBuf::from(format!("/run/rbuild/{store8}/containers/{id}"));
    let text = fs::read_to_string(folder.join("state.json")).expect("a state");
    let (_, body) = text.split_once('\n').expect("a first line");
    (folder, serde_json::from_str(body).expect("a record"))
}

/// Kills a process of a record, and waits until it is gone.
pub(crate) fn kill(process: &Value) {
    let pid = i32::try_from(process["pid"].as_i64().expect("a pid")).expect("a small number");
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    let handle = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()).expect("it lives");
    rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL).expect("it can be killed");
    rustix::event::poll(&mut [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)], None)
        .expect("it ends");
}

#[test]
fn what_removes_itself_goes_though_nobody_was_there() {
    let Some(context) = scene("what_removes_itself_goes_though_nobody_was_there") else { return };
    for verb in
        [&["ps", "-a"][..], &["container", "prune", "-f"], &["volume", "prune", "-af"], &["rmi", "busybox"]]
    {
        let id = said(
            &context,
            ["run", "-d", "--rm", "--network", "none", "-v", "/anonymous", "busybox", "sleep", "1000"],
        );
        let (folder, record) = state(&context, &id);
        kill(&record["monitor"]);
        kill(&record["state"]["init"]);
        // No monitor can take it up: it is as after a restart of the machine.
        fs::remove_dir_all(folder).unwrap();
        let output = context.rbuild(verb).run();
        output.assert_success();
        assert!(!output.stdout.contains("sleep"), "{output}");
        let left: Vec<_> = fs::read_dir(context.root().join("containers")).unwrap().collect();
        assert!(left.is_empty(), "after {verb:?}: {left:?}");
        assert_eq!(said(&context, ["volume", "ls", "-q"]), "", "after {verb:?}");
    }
    furnish(&context);
    assert_processes_end(&context);
    assert_clean(&context);
}

#[test]
fn one_that_nobody_can_reach_any_more_can_be_removed() {
    let Some(context) = scene("one_that_nobody_can_reach_any_more_can_be_removed") else { return };
    let id = said(&context, ["run", "-d", "--name", "out", "--init", "busybox", "sleep", "1000"]);
    let (folder, _) = state(&context, &id);
    // As a clean-up of `/run` does, and the end of a session for its user's folder there.
    fs::remove_dir_all(&folder).unwrap();
    for verb in [&["exec", "out", "true"][..], &["stop", "out"], &["kill", "out"]] {
        let refused = context.rbuild(verb).run();
        assert!(!refused.status.success(), "{refused}");
        for told in
            ["error: cannot reach the monitor of the container: `/run/", "` was removed\n", "`rbuild rm -f"]
        {
            assert!(refused.stderr.contains(told), "{told}: {refused}");
        }
    }
    assert_eq!(said(&context, ["ps", "--format", "{{.Names}} {{.State}}"]), "out running");
    said(&context, ["rm", "-f", "out"]);
    assert_processes_end(&context);
    assert_clean(&context);
}

#[test]
fn one_that_cannot_be_read_hides_no_other() {
    let Some(context) = scene("one_that_cannot_be_read_hides_no_other") else { return };
    for name in ["good", "bad"] {
        said(&context, ["create", "--name", name, "--network", "none", "busybox", "true"]);
        said(&context, ["start", name]);
        said(&context, ["wait", name]);
    }
    let id = said(&context, ["inspect", "--format", "{{.Id}}", "bad"]);
    // As a later version would write it.
    for folder in [context.root().join("containers").join(&id), state(&context, &id).0] {
        for file in ["last.json", "state.json"].map(|name| folder.join(name)) {
            if let Ok(text) = fs::read_to_string(&file) {
                let (head, body) = text.split_once('\n').unwrap();
                let words: Vec<&str> = head.split(' ').collect();
                fs::write(&file, format!("rbuild {} 9 {}\n{body}", words[1], words[3])).unwrap();
            }
        }
    }
    let listed = context.rbuild(["ps", "-a", "--format", "{{.Names}}"]).run();
    listed.assert_code(1);
    assert_eq!(listed.stdout, "good\n");
    assert!(listed.stderr.contains("has version 9, this program reads version 1"), "{listed}");
    assert_eq!(said(&context, ["inspect", "--format", "{{.State.Status}}", "good"]), "exited");
    context.rbuild(["container", "prune", "-f"]).run().assert_code(1);
    assert_eq!(fs::read_dir(context.root().join("containers")).unwrap().count(), 1);
}

#[test]
fn a_wait_goes_on_when_the_monitor_is_killed() {
    let Some(context) = scene("a_wait_goes_on_when_the_monitor_is_killed") else { return };
    let script = "trap 'exit 7' TERM; sleep 1000 & wait";
    let id =
        said(&context, ["run", "-d", "--name", "ww", "--network", "none", "busybox", "sh", "-c", script]);
    let waiting = context.rbuild(["wait", "ww"]).start();
    // It waits as soon as it has a socket to the monitor.
    let descriptors = format!("/proc/{}/fd", waiting.id());
    let is_connected = || {
        let links = fs::read_dir(&descriptors).unwrap().flatten();
        links
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .any(|link| link.to_string_lossy().starts_with("socket:"))
    };
    while !is_connected() {
        std::thread::yield_now();
    }
    kill(&state(&context, &id).1["monitor"]);
    said(&context, ["stop", "ww"]);
    let waited = waiting.wait();
    assert!(waited.status.success(), "{waited:?}");
    assert!(["7\n", "255\n"].contains(&waited.stdout.as_str()), "{waited:?}");
    said(&context, ["rm", "ww"]);
    assert_clean(&context);
}

#[test]
fn one_that_was_about_to_restart_is_connected_again() {
    let Some(context) = scene("one_that_was_about_to_restart_is_connected_again") else { return };
    let script = "echo x >> /runs; test $(wc -l < /runs) -gt 4 && exec sleep 1000; exit 1";
    let id =
        said(&context, ["run", "-d", "--name", "rr", "--restart", "always", "busybox", "sh", "-c", script]);
    // The pauses get longer: it is caught in one.
    let monitor = loop {
        let (_, record) = state(&context, &id);
        if record["state"]["status"] == "restarting" {
            break record["monitor"].clone();
        }
        said(&context, ["wait", "rr"]);
    };
    kill(&monitor);
    while context.rbuild(["exec", "rr", "wc", "-l", "/runs"]).run().stdout != "5 /runs\n" {}
    let links = said(&context, ["exec", "rr", "ls", "/sys/class/net"]);
    assert!(links.contains("eth0"), "{links}");
    // The start that the dead monitor did not come to is one of its restarts, of which `on-failure:N` has N.
    assert_eq!(said(&context, ["inspect", "--format", "{{.RestartCount}}", "rr"]), "4");
    said(&context, ["rm", "-f", "rr"]);
    assert_clean(&context);
}

#[test]
fn what_nobody_finished_goes_while_containers_run() {
    let Some(context) = scene("what_nobody_finished_goes_while_containers_run") else { return };
    said(&context, ["run", "-d", "--name", "runs", "--network", "none", "busybox", "sleep", "1000"]);
    // What a killed command was making; the monitor of the container is no reason to keep it.
    let dead = context.root().join("tmp").join("d".repeat(32));
    fs::create_dir(&dead).unwrap();
    said(&context, ["ps", "-q"]);
    assert!(!dead.exists());
    // What a power loss left of a `create`: no process is there that could tell of it, and the machine was started again.
    let lost = context.root().join("containers").join("e".repeat(64));
    fs::create_dir(&lost).unwrap();
    said(&context, ["ps", "-q"]);
    assert!(lost.exists(), "nobody looks again without a reason");
    let looked = format!("/run/rbuild/{}/looked-after", context.store8().unwrap());
    fs::remove_file(&looked).unwrap();
    said(&context, ["ps", "-q"]);
    assert!(!lost.exists() && fs::exists(&looked).unwrap());
    said(&context, ["rm", "-f", "runs"]);
    assert_clean(&context);
}

#[test]
fn what_a_killed_command_was_starting_is_waited_for() {
    let Some(context) = scene("what_a_killed_command_was_starting_is_waited_for") else { return };
    context.rbuild(["network", "create", "net"]).run().assert_success();
    let id =
        said(&context, ["create", "--network", "net", "--stop-signal", "KILL", "busybox", "sleep", "1000"]);
    let store8 = context.store8().expect("a store");
    let folder = PathBuf::from(format!("/run/rbuild/{store8}/containers/{id}"));
    for _ in 0..6 {
        let _ = fs::remove_file(folder.join("plan.json"));
        let first = context.rbuild(["start", &id]).start();
        let others = [(); 3].map(|()| context.rbuild(["start", &id]).start());
        // What the monitor is told, it writes down first; then it goes to work, whoever is there to hear of it.
        while !folder.join("plan.json").exists() {
            std::thread::yield_now();
        }
        first.kill();
        for other in others {
            let ended = other.wait();
            assert!(ended.status.success(), "{ended:?}");
        }
        assert_eq!(said(&context, ["inspect", "-f", "{{.State.Status}}", &id]), "running");
        context.rbuild(["stop", &id]).run().assert_success();
    }
    context.rbuild(["rm", &id]).run().assert_success();
    context.rbuild(["network", "rm", "net"]).run().assert_success();
    assert_clean(&context);
}

#[test]
fn who_is_removed_meanwhile_is_no_error_of_who_counts_bytes() {
    let Some(context) = scene("who_is_removed_meanwhile_is_no_error_of_who_counts_bytes") else { return };
    let names: Vec<String> = (0..12).map(|number| format!("gone-{number}")).collect();
    for name in &names {
        context
            .rbuild(["create", "--name", name, "--network", "none", "busybox", "true"])
            .run()
            .assert_success();
    }
    std::thread::scope(|scope| {
        let remover = scope.spawn(|| {
            for name in &names {
                context.rbuild(["rm", name]).run().assert_success();
            }
        });
        while !remover.is_finished() {
            context.rbuild(["ps", "-as"]).run().assert_success();
        }
        remover.join().unwrap();
    });
    assert_eq!(said(&context, ["ps", "-aqs"]), "");
    assert_clean(&context);
}

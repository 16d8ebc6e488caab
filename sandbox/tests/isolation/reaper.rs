//! A small first process beside the program.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::fd::AsFd;

use rbuild_sandbox::cgroup::Limits;
use rbuild_sandbox::profile::{self, FirstProcess, NewPrivileges, Options};
use rbuild_sandbox::{Lifetime, Order, Stdio, Stubs};
use rustix::process::{Signal, pidfd_send_signal};

use super::house::{House, shell};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("a reaper ends as its program does", statuses),
    ("a reaper passes signals on, real-time ones too", signals),
    ("a reaper reaps orphans and ends the rest", orphans),
    ("a program that cannot be executed is told through the reaper", refused),
    ("a reaper leaves the terminal to its program", terminal),
    ("a reaper has the rights and files of its program", rights),
];

fn reaped(script: &str) -> Options {
    let mut options = shell(script);
    options.first = FirstProcess::Reaper;
    options
}

fn statuses(house: &House) {
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
        assert_eq!(house.run(reaped(script), Vec::new()).exit.code(), code, "{script}");
    }
}

fn signals(house: &House) {
    let script = "trap 'echo term' TERM; trap 'echo rt' 35; trap 'exit 3' USR1; echo ready; while :; do sleep 1000 & wait $!; done";
    let (running, reader, _) = house.start(reaped(script), Vec::new()).unwrap();
    let mut lines = BufReader::new(File::from(reader));
    let mut next = || {
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        line
    };
    assert_eq!(next(), "ready\n");
    pidfd_send_signal(running.pidfd(), Signal::TERM).unwrap();
    assert_eq!(next(), "term\n");
    let realtime = rustix::process::Signal::from_named_raw(35);
    assert!(realtime.is_none(), "real-time signals have no names, which is why they are sent by a process");
    let sent = std::process::Command::new("kill").args(["-35", &running.pid().to_string()]).status().unwrap();
    assert!(sent.success());
    assert_eq!(next(), "rt\n");
    pidfd_send_signal(running.pidfd(), Signal::USR1).unwrap();
    assert_eq!(running.wait().unwrap().code(), 3);
}

fn orphans(house: &House) {
    // The orphan writes once it is nobody's but the reaper's; the one that sleeps must not keep the end waiting.
    let outcome = house.run(
        reaped(
            "mkfifo /tmp/gone; (sh -c 'exec 2>/dev/null; : > /tmp/gone' &) ; cat /tmp/gone; \
             sleep 1000 & \
             while grep -qs '^State:.Z' /proc/[0-9]*/status; do :; done; echo none left",
        ),
        Vec::new(),
    );
    assert_eq!((outcome.exit.code(), &*outcome.output), (0, "none left\n"));
}

fn refused(house: &House) {
    let mut options = Options::new(vec!["/bin/nothing".to_owned()]);
    options.first = FirstProcess::Reaper;
    let error = house.try_run(options, Vec::new(), Limits::default()).err().expect("it cannot run");
    assert_eq!(error.exit_status(), 127);
}

fn terminal(house: &House) {
    // A shell that is not in the foreground would be stopped by its read.
    let mut options = reaped("stty -echo; read line; echo \"got $line\"");
    options.terminal = Some((80, 25));
    let (root, _) = house.root();
    let spec = profile::container(options).unwrap();
    let order = Order { spec, root, mounts: Vec::new(), stubs: Stubs::Keep };
    let mut running = house.slot(Limits::default(), Lifetime::Bound).launch(order, Stdio::default()).unwrap();
    let master = running.take_terminal().expect("a terminal");
    rustix::io::write(master.as_fd(), b"it\n").unwrap();
    let mut text = Vec::new();
    let _ = File::from(master).read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    assert!(text.ends_with("got it\r\n"), "{text:?}");
    assert_eq!(running.wait().unwrap().code(), 0);
}

fn rights(house: &House) {
    let mut options = reaped(
        "for pid in 1 self; do grep -h -e ^Uid -e ^CapEff -e ^NoNewPrivs -e ^Seccomp: /proc/$pid/status; echo --; done; \
         readlink /proc/1/exe; ls /proc/1/fd 2>&1; echo --",
    );
    options.identity.uid = 1000;
    options.confinement.new_privileges = NewPrivileges::Forbidden;
    let outcome = house.run(options, Vec::new());
    let parts: Vec<&str> = outcome.output.split("--\n").collect();
    assert!(parts[0].lines().count() == 4, "{}", outcome.output);
    assert_eq!(parts[0], parts[1], "the first process has the rights of the program");
    assert_eq!(parts[2].lines().count(), 1, "its program and files cannot be seen: {}", parts[2]);
    assert!(parts[2].contains("ermission denied"), "{}", parts[2]);
}

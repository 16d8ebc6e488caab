//! Limits that hold, and counts that are told.

use rbuild_sandbox::cgroup::{Cgroup, CgroupRequest, Devices, Freeze, Layout, Limits};
use rbuild_testkit::privilege;

use super::house::{House, prefix, shell};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("too_much_memory_is_told", memory),
    ("too_many_processes_are_stopped", processes),
    ("usage_is_counted", usage),
    ("a_group_can_be_left_and_found_again", left),
    ("a_group_can_be_below_somebody_elses", below_another),
    ("a_group_can_be_frozen", frozen),
    ("resource_limits_are_set", rlimits),
];

fn has(test: &str, controller: &str) -> bool {
    let has = Layout::shared().controllers().iter().any(|known| known == controller);
    if !has {
        privilege::skipped(test, &format!("no cgroup controller {controller} here"));
    }
    has
}

fn memory(house: &House) {
    if !has("too_much_memory_is_told", "memory") {
        return;
    }
    let limits = Limits { memory: Some(16 << 20), memory_and_swap: Some(16 << 20), ..Limits::default() };
    let outcome = house
        .try_run(shell("dd if=/dev/zero of=/dev/null bs=64M count=1"), Vec::new(), limits.clone())
        .unwrap();
    assert_ne!(outcome.exit.code(), 0, "{}", outcome.output);
    assert!(outcome.exit.oom_killed);
    let fine = house.try_run(shell("true"), Vec::new(), limits).unwrap();
    assert!(!fine.exit.oom_killed);
}

fn processes(house: &House) {
    if !has("too_many_processes_are_stopped", "pids") {
        return;
    }
    let limits = Limits { pids: Some(8), ..Limits::default() };
    let script = "i=0; while [ $i -lt 20 ]; do sleep 100 & i=$((i+1)); done";
    let outcome = house.try_run(shell(script), Vec::new(), limits).unwrap();
    assert!(outcome.output.contains("can't fork"), "{}", outcome.output);
}

fn usage(house: &House) {
    let outcome = house.run(shell("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"), Vec::new());
    let usage = outcome.exit.usage;
    assert!(usage.cpu_us > 1000 && usage.peak_memory > 64 << 10, "{usage:?}");
}

fn left(house: &House) {
    let request = CgroupRequest {
        prefix: prefix(),
        name: "left".to_owned(),
        limits: Limits { pids: Some(10), ..Limits::default() },
        devices: Devices::All,
    };
    let layout = Layout::shared();
    let group = Cgroup::create(layout, &request).unwrap().expect("a group");
    group.leave();
    assert!(Cgroup::create(layout, &request).is_err(), "a name in use is refused");
    let again = Cgroup::open(layout, &request.prefix, &request.name).expect("the group");
    assert!(again.processes().is_empty());
    again.remove().unwrap();
    assert!(Cgroup::open(layout, &request.prefix, &request.name).is_none());
    drop(house.cgroup(Limits::default()));
}

fn below_another(_house: &House) {
    let theirs = format!("/{}-theirs", prefix());
    let request = CgroupRequest {
        prefix: format!("{theirs}/deep"),
        name: "x".to_owned(),
        limits: Limits::default(),
        devices: Devices::DefaultAnd(Vec::new()),
    };
    let layout = Layout::shared();
    let group = Cgroup::create(layout, &request).unwrap().expect("a group");
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    group.enter(sleeper.id() as i32).unwrap();
    let own = std::fs::read_to_string(format!("/proc/{}/cgroup", sleeper.id())).unwrap();
    let place = format!("{theirs}/deep/x");
    assert!(own.lines().all(|line| line.ends_with(&place)), "{own}");
    group.remove().unwrap();
    sleeper.wait().unwrap();
    // What is somebody else's stays.
    Cgroup::look(layout, &theirs, "deep").expect("the group around it").remove().unwrap();
    Cgroup::look(layout, "/", &theirs[1..]).expect("the group around that").remove().unwrap();
}

fn frozen(house: &House) {
    let (running, _reader, _) = house.start(shell("while true; do true; done"), Vec::new()).unwrap();
    let group = running.cgroup().expect("a group");
    if Layout::shared().mode() == rbuild_sandbox::cgroup::Mode::Legacy {
        privilege::skipped("a_group_can_be_frozen", "freezing needs cgroup version 2");
        return;
    }
    group.freeze(Freeze::Frozen).unwrap();
    group.freeze(Freeze::Thawed).unwrap();
    group.freeze(Freeze::Frozen).unwrap();
    // Killing reaches what is frozen.
    running.kill_all().unwrap();
    assert_eq!(running.wait().unwrap().code(), 137);
}

fn rlimits(house: &House) {
    let mut options = shell("ulimit -n; ulimit -Hn; ulimit -c");
    options.rlimits = vec![("nofile".to_owned(), 100, 200), ("RLIMIT_CORE".to_owned(), 0, 0)];
    assert_eq!(house.run(options, Vec::new()).output, "100\n200\n0\n");
    let mut options = shell("true");
    options.rlimits = vec![("nosuch".to_owned(), 1, 1)];
    assert!(rbuild_sandbox::profile::step(options).is_err());
}

//! Restarts, health, memory, removal.

use std::process::ExitCode;
use std::time::Duration;

use rbuild_model::container::{
    ContainerId, HealthCheck, HealthStatus, HealthTest, Removal, RestartPolicy, Signal, State, Status,
};
use rbuild_monitor::{Client, EarlyProbes, Grace, Place, Until, VolumeUse, WatchEvent};
use rbuild_sandbox::cgroup::{Cgroup, CgroupRequest, Layout, Limits};
use rbuild_sandbox::process::{Process, identify};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::house::House;
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("a_failing_container_is_started_again", restarts),
    ("a_stop_ends_restarts", stop_ends_restarts),
    ("policies_change_while_it_runs", updates),
    ("health_is_asked_for", health),
    ("a_healthy_container_is_known_before_its_first_interval", early),
    ("a_probe_that_takes_too_long_is_killed", slow_probe),
    ("a_probe_that_takes_too_long_and_says_nothing", slow_silent_probe),
    ("what_it_started_is_killed_with_it", slow_probes_children),
    ("who_watches_is_told_of_every_change", watched),
    ("memory_that_runs_out_is_told", memory),
    ("memory_that_runs_out_is_told_at_once", memory_of_a_child),
    ("a_container_that_removes_itself_waits_for_its_readers", removes),
];

fn restarts(house: &House) {
    let mut container = house.container("echo x >> /data/x; echo run $(wc -l < /data/x); exit 3");
    container.settings.restart = RestartPolicy::OnFailure { max: Some(2) };
    container.volumes.push(VolumeUse {
        name: "data".to_owned(),
        driver: "local".to_owned(),
        target: "/data".to_owned(),
        read_only: false,
    });
    container.start();
    container.await_log("run 3");
    // The third end is the last.
    let mut client = container.client();
    while client.inspect().unwrap().state.status() != Status::Exited {
        container.client().wait(Until::NotRunning).unwrap().exited().unwrap();
    }
    let record = client.inspect().unwrap();
    assert_eq!((record.restart_count, record.state.exit_code()), (2, 3));
    let (first, again) = (["mount", "unmount", "die 3"], ["mount", "start", "unmount", "die 3"]);
    assert_eq!(house.events(), [&first[..], &again, &again].concat());
}

fn stop_ends_restarts(house: &House) {
    let mut container = house.container("exit 1");
    container.settings.restart = RestartPolicy::Always;
    let waiter = container.client().wait(Until::NextExit).unwrap();
    container.start();
    assert_eq!(waiter.exited().unwrap().code, 1);
    let mut client = container.client();
    client.stop(None, Grace::Default).unwrap();
    assert_eq!(client.inspect().unwrap().state.status(), Status::Exited);
    let mut container = house.container("echo up; sleep 1000");
    container.settings.restart = RestartPolicy::Always;
    container.start();
    container.await_log("up");
    container.client().kill(Signal::KILL).unwrap();
    assert_eq!(container.client().inspect().unwrap().state.status(), Status::Exited, "killed by hand");
}

fn updates(house: &House) {
    let mut container = house.container("echo up; sleep 1000");
    container.settings.restart = RestartPolicy::Always;
    let pid = container.start();
    container.await_log("up");
    let limits = Limits { pids: Some(77), ..Limits::default() };
    container.client().update(Some(limits), Some(RestartPolicy::No)).unwrap();
    assert_eq!(container.plan().cgroup.limits.pids, None, "the plan in hand is not the one that is kept");
    let kept = std::fs::read_to_string(container.place.run().join("plan.json")).unwrap();
    assert!(kept.contains("\"pids\":77"));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    container.client().wait(Until::NotRunning).unwrap().exited().unwrap();
    assert_eq!(container.client().inspect().unwrap().state.status(), Status::Exited);
}

pub(super) fn check(test: &str, timeout: Duration) -> HealthCheck {
    HealthCheck {
        test: HealthTest::Shell {
            shell: vec!["/bin/sh".to_owned(), "-c".to_owned()],
            script: test.to_owned(),
        },
        interval: Duration::from_millis(20),
        timeout,
        start_period: Duration::ZERO,
        start_interval: Duration::from_secs(5),
        retries: 2,
    }
}

/// Waits until the events tell of something.
fn await_event(house: &House, wanted: &str) {
    let events = rbuild_store::events::Events::at(house.path().join("events"));
    let watch = events.watch().unwrap();
    while !house.events().iter().any(|event| event == wanted) {
        watch.wait(None).unwrap();
    }
}

fn health(house: &House) {
    let mut container = house.container("touch /data/good; echo up; sleep 1000");
    container.settings.health = Some(check("test -e /data/good && echo fine", Duration::from_secs(30)));
    container.start();
    await_event(house, "health_status: healthy");
    let State::Running(run) = container.state() else { panic!() };
    let health = run.health.unwrap();
    assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 0));
    assert_eq!(health.log.last().unwrap().output, "fine\n");
    assert_eq!(container.run_exec(&["rm", "/data/good"]).1, 0);
    await_event(house, "health_status: unhealthy");
    let State::Running(run) = container.state() else { panic!() };
    assert_eq!(run.health.unwrap().status, HealthStatus::Unhealthy);
    assert!(container.client().execs().unwrap().is_empty(), "probes are nobody's business");
    container.end();
    let State::Exited(ended) = container.record().state else { panic!() };
    assert_eq!(ended.health.unwrap().status, HealthStatus::Unhealthy);
}

fn early(house: &House) {
    let mut container = house.container("sleep 0.07; touch /data/good; sleep 1000");
    let hour = Duration::from_secs(3600);
    let test = check("test -e /data/good", Duration::from_secs(30));
    container.settings.health = Some(HealthCheck { interval: hour, retries: 1, ..test });
    container.settings.early_probes = EarlyProbes::On;
    container.start();
    await_event(house, "health_status: healthy");
    assert_eq!(house.events(), ["health_status: healthy"], "those that failed are as if they had not been");
    container.end();
}

fn slow_probe(house: &House) {
    let mut container = house.container("sleep 1000");
    container.settings.health = Some(check("echo begun; sleep 1000", Duration::from_secs(1)));
    container.start();
    await_event(house, "health_status: unhealthy");
    let State::Running(run) = container.state() else { panic!() };
    let log = run.health.unwrap().log;
    assert_eq!(log[0].exit_code, -1);
    assert_eq!(log[0].output, "Health check exceeded timeout (1s): begun\n");
    container.end();
}

fn slow_silent_probe(house: &House) {
    let mut container = house.container("sleep 1000");
    container.settings.health = Some(check("exec sleep 1000", Duration::from_millis(30)));
    container.start();
    await_event(house, "health_status: unhealthy");
    let State::Running(run) = container.state() else { panic!() };
    assert_eq!(run.health.unwrap().log[0].output, "Health check exceeded timeout (30ms)");
    container.end();
}

fn slow_probes_children(house: &House) {
    let mut container = house.container("while :; do sleep 1000 & wait; done");
    let test = "test -e /data/begun && exit 1; touch /data/begun; sleep 4242 & sleep 4242";
    container.settings.health = Some(check(test, Duration::from_millis(300)));
    container.start();
    await_event(house, "health_status: unhealthy");
    let CgroupRequest { prefix, name, .. } = container.plan().cgroup;
    for pid in Cgroup::open(Layout::shared(), &prefix, &name).unwrap().processes() {
        let Some(process) = identify(pid).and_then(Process::find) else { continue };
        let line = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line == "sleep\x004242\0" {
            let (pidfd, patience) = (process.pidfd(), Timespec { tv_sec: 30, tv_nsec: 0 });
            let ended = poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&patience)).unwrap();
            assert_eq!(ended, 1, "{pid} was left by its probe");
        }
    }
    container.end();
}

fn memory(house: &House) {
    let mut container = house.container("x=y; while :; do x=$x$x; done");
    container.limits =
        Limits { memory: Some(16 << 20), memory_and_swap: Some(16 << 20), ..Limits::default() };
    assert_eq!(container.run(), 137);
    let State::Exited(ended) = container.record().state else { panic!() };
    assert!(ended.oom_killed);
    assert_eq!(house.events(), ["oom", "die 137"]);
}

/// It is told when it happens, also by a limit that came later, and not again at the end.
fn memory_of_a_child(house: &House) {
    let script = "trap '(x=y; while :; do x=$x$x; done); echo over' USR1; echo ready; while :; do sleep 1000 & wait; done";
    let container = house.container(script);
    container.start();
    container.await_log("ready");
    let limits = Limits { memory: Some(16 << 20), memory_and_swap: Some(16 << 20), ..Limits::default() };
    container.client().update(Some(limits), None).unwrap();
    container.client().kill(Signal::from_number(10).unwrap()).unwrap();
    await_event(house, "oom");
    container.await_log("over");
    assert!(container.state().run().is_some(), "its parent lives");
    let end = container.client().wait(Until::NotRunning).unwrap();
    container.end();
    end.exited().unwrap();
    assert_eq!(house.events(), ["oom", "die 137"]);
}

fn removes(house: &House) {
    let mut container = house.container("echo last words; exit 4");
    container.settings.removal = Removal::Auto;
    let path = house.path().to_string_lossy().into_owned();
    container.settings.reap = ["reap", &path, &container.settings.id.to_string()].map(str::to_owned).to_vec();
    let (session, _) = container
        .client()
        .attach(rbuild_monitor::Attach { stdin: false, stdout: true, stderr: true })
        .unwrap();
    let waiter = container.client().wait(Until::Removed).unwrap();
    container.start();
    // Nothing goes while somebody has not got everything.
    assert_eq!(super::house::collect(session).0, "last words\n");
    assert_eq!(waiter.exited().unwrap().code, 4);
    assert!(!container.place.folder().exists());
}

/// Removes a container, as the hidden command of the program does.
pub(crate) fn reap(arguments: &[String]) -> ExitCode {
    let [path, id] = arguments else { return ExitCode::FAILURE };
    let id: ContainerId = id.parse().unwrap();
    let path = std::path::Path::new(path);
    let place = Place::new(&path.join("containers"), &path.join("run"), &id);
    let mut client = Client::find(&place).unwrap().unwrap();
    let lock = client.take_lock().unwrap();
    std::fs::remove_dir_all(place.folder()).unwrap();
    client.removed().unwrap();
    drop(lock);
    ExitCode::SUCCESS
}

fn watched(house: &House) {
    let script =
        "echo x >> /data/x; test $(wc -l < /data/x) -gt 1 && touch /data/again && sleep 1000; exit 3";
    let mut container = house.container(script);
    container.settings.restart = RestartPolicy::OnFailure { max: None };
    // The first run says nothing of its health, however long it takes.
    let probe = "until test -e /data/again; do sleep 0.01; done; exit 1";
    container.settings.health = Some(check(probe, Duration::from_secs(10)));
    container.settings.health.as_mut().unwrap().retries = 1;
    let mut watcher = container.client().watch().unwrap();
    container.start();
    let mut told = Vec::new();
    loop {
        let WatchEvent::Changed(moment) = watcher.next_event().unwrap() else { panic!("{told:?}") };
        let health = moment.health.map(|health| format!(" {health}")).unwrap_or_default();
        told.push(format!("{} {}{health}", moment.status, moment.code));
        if moment.health == Some(HealthStatus::Unhealthy) {
            break;
        }
    }
    // Who comes later begins with the present.
    let mut late = container.client().watch().unwrap();
    container.client().pause().unwrap();
    container.client().kill(Signal::KILL).unwrap();
    for watcher in [&mut watcher, &mut late] {
        while let WatchEvent::Changed(moment) = watcher.next_event().unwrap() {
            told.push(format!("{} {}", moment.status, moment.code));
            if moment.status == Status::Exited {
                break;
            }
        }
    }
    let runs =
        ["created 0", "running 0 starting", "restarting 3", "running 3 starting", "running 3 unhealthy"];
    let ends = ["paused 3", "running 3", "exited 137"];
    assert_eq!(told, [&runs[..], &ends, &["running 3"], &ends].concat());
    let mut client = container.client();
    let lock = client.take_lock().unwrap();
    client.removed().unwrap();
    drop(lock);
    assert_eq!(watcher.next_event().unwrap(), WatchEvent::Gone);
    assert_eq!(late.next_event().unwrap(), WatchEvent::Gone);
}

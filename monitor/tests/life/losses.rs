//! Monitors that are killed, in every state of their containers.

use std::time::Duration;

use rbuild_model::container::{HealthCheck, HealthTest, RestartPolicy, Signal, State, Status};
use rbuild_monitor::{
    Attach, Client, ClientError, ExecProgress, Grace, Handed, Observed, Program, Refusal, Stdin, Until,
};
use rbuild_network::duty::Duties;
use rbuild_network::link::StorePrefix;
use rbuild_network::names::EndpointId;
use rbuild_sandbox::cgroup::{Cgroup, CgroupRequest, Layout};
use rbuild_sandbox::process::Process;

use super::house::{Container, House, collect};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("a_container_outlives_its_monitor", outlives),
    ("an_end_that_nobody_saw_is_told", unseen),
    ("a_paused_container_is_taken_up", paused),
    ("a_container_that_waits_for_its_restart_is_taken_up", waiting),
    ("a_stop_goes_on_after_a_loss", stopping),
    ("a_stop_without_an_end_stays_one_after_a_loss", patient),
    ("who_waits_for_its_restart_with_networks_is_started_anew", interrupted),
    ("who_ended_unseen_with_networks_is_started_anew", lost_with_networks),
    ("executions_end_unseen_with_their_monitor", executing),
    ("a_container_that_never_ran_is_not_taken_up", created),
    ("a_terminal_ends_with_its_monitor", terminal),
    ("health_goes_on_after_a_loss", health),
    ("only_one_monitor_takes_up_a_container", race),
    ("another_boot_is_the_end", reboot),
];

fn adopt(container: &Container) -> Client {
    Client::adopt(&container.place, &Program::default(), None).unwrap().expect("it is taken up")
}

fn outlives(house: &House) {
    let mut container =
        house.container("trap 'echo bye; exit 9' TERM; echo one; until test -e /data/go; do :; done; echo two; while :; do sleep 1000 & wait; done");
    container.settings.stdin = Stdin::Open;
    let pid = container.start();
    container.await_log("one");
    container.kill_monitor();
    assert!(matches!(container.place.observe().unwrap(), Observed::Orphan(_)));
    assert!(Client::find(&container.place).unwrap().is_none());
    // It writes while nobody listens: the pipe keeps it.
    std::fs::write(format!("/proc/{pid}/root/data/go"), "").unwrap();
    let mut client = adopt(&container);
    container.await_log("two");
    let record = client.inspect().unwrap();
    assert_eq!(record.state.run().unwrap().init.pid, pid);
    assert_eq!(record.note["kept"], 1);
    assert!(matches!(container.place.observe().unwrap(), Observed::Settled(_)));
    assert_eq!(container.run_exec(&["cat", "/etc/none"]).1, 1, "programs run beside it");
    client.stop(None, Grace::Default).unwrap();
    let State::Exited(ended) = container.record().state else { panic!() };
    // The status is known as long as the kernel keeps it, or nobody has reaped the process.
    match ended.error.as_deref() {
        None => assert_eq!(ended.code, 9),
        Some(error) => assert_eq!((error, ended.code), ("monitor lost", 255)),
    }
    println!("    the status of the adopted program: {}", ended.code);
    assert!(container.log().ends_with("bye\n"));
}

fn unseen(house: &House) {
    let container = house.container("echo up; sleep 1000");
    let pid = container.start();
    container.await_log("up");
    let init = Process::find(container.record().state.run().unwrap().init).unwrap();
    container.kill_monitor();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    init.reap().unwrap();
    assert!(matches!(container.place.observe().unwrap(), Observed::Lost(_)));
    assert!(
        Client::adopt(&container.place, &Program::default(), None)
            .unwrap()
            .is_none_or(|mut client| { client.inspect().unwrap().state.status() == Status::Exited })
    );
    let lock = container.place.try_lock().unwrap();
    let record = match &lock {
        Some(lock) => container.place.settle(lock).unwrap(),
        None => container.record(),
    };
    let State::Exited(ended) = record.state else { panic!("{record:?}") };
    // What nobody has reaped yet can still be asked.
    let told = (ended.code, ended.error.as_deref());
    assert!(told == (255, Some("monitor lost")) || told == (137, None), "{told:?}");
    drop(lock);
    // And it can be started again, in spite of what is left of its control group.
    container.start();
    container.end();
}

fn paused(house: &House) {
    let container = house.container("echo up; sleep 1000");
    container.start();
    container.await_log("up");
    container.client().pause().unwrap();
    container.kill_monitor();
    assert!(matches!(container.place.observe().unwrap(), Observed::Orphan(_)));
    let mut client = adopt(&container);
    assert_eq!(client.inspect().unwrap().state.status(), Status::Paused);
    client.unpause().unwrap();
    assert_eq!(container.run_exec(&["/bin/sh", "-c", "exit 2"]).1, 2);
    client.pause().unwrap();
    client.kill(Signal::KILL).unwrap();
    assert_eq!(client.inspect().unwrap().state.status(), Status::Exited);
}

fn waiting(house: &House) {
    let mut container = house.container(
        "echo x >> /data/x; echo run $(wc -l < /data/x); test $(wc -l < /data/x) -gt 5 && sleep 1000; exit 1",
    );
    container.settings.restart = RestartPolicy::Always;
    container.start();
    // The pauses get longer: soon it is caught in one.
    let mut client = container.client();
    while client.inspect().unwrap().state.status() != Status::Restarting {
        container.client().wait(Until::NextExit).unwrap().exited().unwrap();
    }
    drop(client);
    container.kill_monitor();
    let observed = container.place.observe().unwrap();
    assert!(matches!(observed, Observed::Orphan(_)), "{observed:?}");
    let mut client = adopt(&container);
    container.await_log("run 6");
    assert!(client.inspect().unwrap().restart_count >= 5);
    client.kill(Signal::KILL).unwrap();
}

fn stopping(house: &House) {
    let mut container =
        house.container("trap 'echo asked' TERM; echo up; while :; do sleep 1000 & wait; done");
    container.settings.restart = RestartPolicy::Always;
    container.settings.stop_timeout = Some(Duration::from_millis(100));
    container.start();
    container.await_log("up");
    let mut client = container.client();
    let patience = Grace::For(Duration::from_secs(2));
    let asking = std::thread::spawn(move || client.stop(None, patience));
    container.await_log("asked");
    container.kill_monitor();
    assert!(asking.join().unwrap().is_err(), "the answer never comes");
    let client = adopt(&container);
    assert_eq!(client.wait(Until::NotRunning).unwrap().exited().unwrap().code, 137);
    assert_eq!(container.record().state.status(), Status::Exited, "the policy knows of the wish");
}

fn patient(house: &House) {
    let mut container = house
        .container("trap 'echo asked; sleep 0.3; exit 5' TERM; echo up; while :; do sleep 1000 & wait; done");
    container.settings.stop_timeout = Some(Duration::from_millis(100));
    container.start();
    container.await_log("up");
    let mut client = container.client();
    let asking = std::thread::spawn(move || client.stop(None, Grace::Forever));
    container.await_log("asked");
    container.kill_monitor();
    assert!(asking.join().unwrap().is_err(), "the answer never comes");
    let code = adopt(&container).wait(Until::NotRunning).unwrap().exited().unwrap().code;
    assert!([5, 255].contains(&code), "it was let end: {code}");
}

/// What is to be done for a container that has networks of its own, but is in none.
fn duties(house: &House, container: &Container) -> Duties {
    Duties {
        runtime: house.path().join("run"),
        endpoint: EndpointId::new(&container.settings.id.to_string()).unwrap(),
        store: StorePrefix::new("00000000").unwrap(),
        host_lock: house.path().join("host.lock"),
        nft: None,
        names: None,
        ports: Vec::new(),
        passage: Default::default(),
    }
}

fn interrupted(house: &House) {
    let mut container = house.container("exit 1");
    container.settings.restart = RestartPolicy::Always;
    let mut plan = container.plan();
    plan.duties = Some(duties(house, &container));
    container.client().start(plan, Handed::default()).unwrap();
    let mut client = container.client();
    while client.inspect().unwrap().state.status() != Status::Restarting {
        container.client().wait(Until::NextExit).unwrap().exited().unwrap();
    }
    drop(client);
    container.kill_monitor();
    let observed = container.place.observe().unwrap();
    assert!(matches!(observed, Observed::Interrupted(_)), "{observed:?}");
    assert!(Client::adopt(&container.place, &Program::default(), None).unwrap().is_none());
    // Whoever starts it anew gives it what it needs.
    container.settings.restart = RestartPolicy::No;
    assert_eq!(container.run(), 1);
}

fn lost_with_networks(house: &House) {
    let mut container = house.container("echo up; sleep 1000");
    container.settings.restart = RestartPolicy::Always;
    let mut plan = container.plan();
    plan.duties = Some(duties(house, &container));
    let mut client = container.client();
    client.start(plan, Handed::default()).unwrap();
    drop(client);
    container.await_log("up");
    let init = Process::find(container.record().state.run().unwrap().init).unwrap();
    container.kill_monitor();
    init.kill();
    init.reap().unwrap();
    // A monitor that took it up would run it in a network namespace without anything.
    assert!(Client::adopt(&container.place, &Program::default(), None).unwrap().is_none());
    let observed = container.place.observe().unwrap();
    assert!(matches!(observed, Observed::Interrupted(_)), "{observed:?}");
    assert!(house.events().iter().any(|event| event.starts_with("die")), "its end is told");
    assert!(container.place.try_lock().unwrap().is_some(), "nobody is in the way of a start");
    container.start();
    container.client().kill(Signal::KILL).unwrap();
}

fn executing(house: &House) {
    let container = house.container("echo up; sleep 1000");
    container.start();
    container.await_log("up");
    let id = container.client().exec_create(container.exec(&["sleep", "1000"])).unwrap();
    let session = container.client().exec_attach(&id, Attach::ALL, None).unwrap();
    let ExecProgress::Running { pid } = container.client().exec_inspect(&id).unwrap().progress else {
        panic!()
    };
    let program = Process::find(rbuild_sandbox::process::identify(pid).unwrap()).unwrap();
    container.kill_monitor();
    drop(session);
    let mut client = adopt(&container);
    assert!(matches!(client.exec_inspect(&id), Err(ClientError::Refused(Refusal::NoSuchExec(_)))));
    // It goes on, and ends with the container.
    assert!(rbuild_sandbox::process::is_alive(program.identity()));
    client.kill(Signal::KILL).unwrap();
    program.reap().unwrap();
}

fn created(house: &House) {
    let container = house.container("exit 0");
    let client = container.client();
    container.kill_monitor();
    drop(client);
    assert!(matches!(container.place.observe().unwrap(), Observed::Settled(_)));
    assert!(Client::adopt(&container.place, &Program::default(), None).unwrap().is_none());
    assert_eq!(container.run(), 0);
}

fn terminal(house: &House) {
    let mut container = house.container("echo up; sleep 1000");
    container.options.terminal = Some((80, 24));
    container.start();
    container.await_log("up");
    container.kill_monitor();
    // The first process of a pid namespace does not hear that its terminal is gone: it is told by whoever takes it up.
    let client = adopt(&container);
    assert_eq!(client.wait(Until::NotRunning).unwrap().exited().unwrap().code, 137);
    let State::Exited(ended) = container.record().state else { panic!() };
    assert_eq!(ended.error.as_deref(), Some("monitor lost, and the terminal with it"));
}

fn health(house: &House) {
    let mut container = house.container("touch /data/good; echo up; sleep 1000");
    container.settings.health = Some(HealthCheck {
        test: HealthTest::Command(vec!["test".to_owned(), "-e".to_owned(), "/data/good".to_owned()]),
        interval: Duration::from_millis(20),
        timeout: Duration::from_secs(10),
        start_period: Duration::ZERO,
        start_interval: Duration::from_secs(5),
        retries: 1,
    });
    container.start();
    container.await_log("up");
    container.kill_monitor();
    let mut client = adopt(&container);
    let events = rbuild_store::events::Events::at(house.path().join("events"));
    let watch = events.watch().unwrap();
    let told = |wanted: &str| house.events().iter().any(|event| event == wanted);
    while !told("health_status: healthy") {
        watch.wait(None).unwrap();
    }
    container.run_exec(&["rm", "/data/good"]);
    while !told("health_status: unhealthy") {
        watch.wait(None).unwrap();
    }
    client.kill(Signal::KILL).unwrap();
}

fn race(house: &House) {
    let container = house.container("echo up; sleep 1000");
    container.start();
    container.await_log("up");
    container.kill_monitor();
    let monitors: Vec<i32> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| adopt(&container).inspect().unwrap().monitor.unwrap().pid))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(monitors.iter().all(|pid| *pid == monitors[0]), "{monitors:?}");
    let (session, _) =
        container.client().attach(Attach { stdin: false, stdout: true, stderr: true }).unwrap();
    container.end();
    collect(session);
}

fn reboot(house: &House) {
    let container = house.container("echo up; sleep 1000");
    container.start();
    container.await_log("up");
    let init = Process::find(container.record().state.run().unwrap().init).unwrap();
    container.kill_monitor();
    // What another boot leaves: the record of a container that ran, and no run folder.
    let path = container.place.folder().join("last.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let (head, body) = text.split_once('\n').unwrap();
    let boot = container.record().boot;
    let body = body.replace(&boot, &"0".repeat(32));
    let words: Vec<&str> = head.split(' ').collect();
    let head = format!("{} {} {} {}", words[0], words[1], words[2], blake3::hash(body.as_bytes()).to_hex());
    std::fs::write(&path, format!("{head}\n{body}")).unwrap();
    container.place.clear().unwrap();
    init.kill();
    init.reap().unwrap();
    let CgroupRequest { prefix, name, .. } = container.plan().cgroup;
    Cgroup::open(Layout::shared(), &prefix, &name).unwrap().remove().unwrap();
    let observed = container.place.observe().unwrap();
    assert!(matches!(observed, Observed::Lost(_)), "{observed:?}");
    let lock = container.place.try_lock().unwrap().unwrap();
    let State::Exited(ended) = container.place.settle(&lock).unwrap().state else { panic!() };
    assert_eq!((ended.code, ended.error.as_deref()), (255, Some("the machine was restarted")));
    // The group that the killed monitor lived in is what the next command takes away.
    assert_eq!(Cgroup::reclaim(Layout::shared(), &prefix).unwrap().removed, 1);
}

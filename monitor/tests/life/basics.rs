//! Starting, waiting, stopping, pausing.

use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rbuild_model::container::{Signal, State, Status, Stopped};
use rbuild_monitor::{Client, ClientError, Grace, Handed, Refusal, Until};

use rbuild_sandbox::cgroup::{Cgroup, Layout};
use rbuild_sandbox::process::{Process, identify, is_alive};

use super::house::House;
use super::policies::check;
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("a_container_runs_to_its_end", runs),
    ("a_program_that_cannot_run_is_told_and_remembered", cannot_run),
    ("waits_end_when_they_should", waits),
    ("a_stop_is_a_question_first", stops),
    ("a_program_that_does_not_listen_is_killed", stop_kills),
    ("a_paused_container_stands_still", pauses),
    ("programs_run_beside_it", execs),
    ("a_container_can_be_started_again", again),
    ("nonsense_from_clients_harms_nobody", nonsense),
    ("both_sides_agree_on_a_version", versions),
    ("monitors_are_not_taken_for_remains", residence),
    ("the_last_monitor_takes_its_group_away", departure),
    ("who_listens_no_more_has_given_its_lock_back", leaving),
    ("an_idle_monitor_is_small", small),
    ("a_writer_that_an_execution_leaves_holds_nobody_up", left_writer),
    ("who_gave_up_removing_it_keeps_nobody_from_starting_it", given_back),
    ("too_many_clients_are_told_so", crowded),
    ("one_more_client_is_heard_when_there_is_no_descriptor_left", out_of_descriptors),
];

fn runs(house: &House) {
    let container = house.container("echo out; echo err >&2; exit 7");
    assert_eq!(container.run(), 7);
    let record = container.record();
    let State::Exited(ended) = &record.state else { panic!("{record:?}") };
    assert_eq!((ended.code, ended.oom_killed, ended.stopped), (7, false, Stopped::ByItself));
    assert!(ended.finished >= ended.started);
    let mut lines: Vec<String> = container.log().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["err", "out"]);
    assert_eq!(house.events(), ["die 7"]);
}

fn cannot_run(house: &House) {
    for (program, status) in [("nothing", 127), ("/etc", 126)] {
        let mut container = house.container("");
        container.options.args = vec![program.to_owned()];
        let error = container.client().start(container.plan(), Handed::default()).unwrap_err();
        let ClientError::Refused(Refusal::NotStarted { status: told, message }) = error else {
            panic!("{error:?}")
        };
        assert_eq!(told, status, "{message}");
        let State::Created { failure: Some(failure) } = container.record().state else { panic!() };
        assert_eq!(failure.code, i32::from(status));
        // It can be started after that.
        container.options.args = ["/bin/sh", "-c", "exit 3"].map(str::to_owned).to_vec();
        assert_eq!(container.run(), 3);
    }
}

fn waits(house: &House) {
    let container = house.container("cat /data/x; exit 5");
    assert_eq!(container.client().wait(Until::NotRunning).unwrap().exited().unwrap().code, 0, "never ran");
    let next = container.client().wait(Until::NextExit).unwrap();
    let removed = container.client().wait(Until::Removed).unwrap();
    container.start();
    assert_eq!(next.exited().unwrap().code, 5);
    assert_eq!(container.client().wait(Until::NotRunning).unwrap().exited().unwrap().code, 5);
    let mut client = container.client();
    let removed = removed.exited_within(Duration::ZERO).unwrap().expect_err("it is still there");
    let lock = client.take_lock().unwrap();
    assert!(container.place.try_lock().unwrap().is_none(), "nobody else gets it");
    client.removed().unwrap();
    assert_eq!(removed.exited().unwrap().code, 5);
    drop(lock);
}

fn stops(house: &House) {
    let container = house.container("trap 'exit 4' TERM; echo ready; while :; do sleep 1000 & wait; done");
    container.start();
    container.await_log("ready");
    container.client().stop(None, Grace::Default).unwrap();
    let State::Exited(ended) = container.record().state else { panic!() };
    assert_eq!((ended.code, ended.stopped), (4, Stopped::ByHand));
    // Again: nothing runs, nothing to do.
    container.client().stop(None, Grace::Default).unwrap();
    let mut container =
        house.container("trap 'exit 5' USR1; echo ready; while :; do sleep 1000 & wait; done");
    container.settings.stop_signal = Some("USR1".parse().unwrap());
    container.start();
    container.await_log("ready");
    container.client().stop(None, Grace::Forever).unwrap();
    assert_eq!(container.record().state.exit_code(), 5);
}

fn stop_kills(house: &House) {
    let container = house.container("trap '' TERM; echo ready; sleep 1000 & while :; do wait; done");
    container.start();
    container.await_log("ready");
    container.client().stop(None, Grace::For(Duration::from_millis(50))).unwrap();
    assert_eq!(container.record().state.exit_code(), 137);
    let container = house.container("sleep 1000");
    container.start();
    container.client().kill(Signal::KILL).unwrap();
    assert_eq!(container.record().state.exit_code(), 137);
    let error = container.client().kill(Signal::KILL).unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal::NotRunning)), "{error:?}");
}

fn pauses(house: &House) {
    let container =
        house.container("trap 'echo term; exit 6' TERM; echo ready; while :; do sleep 1000 & wait; done");
    let pid = container.start();
    container.await_log("ready");
    let mut client = container.client();
    client.pause().unwrap();
    assert!(matches!(container.record().state, State::Paused(_)));
    assert!(matches!(client.pause(), Err(ClientError::Refused(Refusal::Paused))));
    let create = client.exec_create(container.exec(&["true"]));
    assert!(matches!(create, Err(ClientError::Refused(Refusal::Paused))));
    // A signal waits until it goes on.
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    client.unpause().unwrap();
    assert!(matches!(client.unpause(), Err(ClientError::Refused(Refusal::NotPaused | Refusal::NotRunning))));
    assert_eq!(container.client().wait(Until::NotRunning).unwrap().exited().unwrap().code, 6);
    let container = house.container("sleep 1000");
    container.start();
    container.client().pause().unwrap();
    container.client().stop(None, Grace::For(Duration::from_millis(10))).unwrap();
    assert_eq!(container.record().state.exit_code(), 137, "a paused one is thawed and killed");
}

fn execs(house: &House) {
    let container = house.container("echo mark > /data/mark; echo ready; sleep 1000");
    container.start();
    container.await_log("ready");
    assert_eq!(container.run_exec(&["/bin/sh", "-c", "cat /data/mark; exit 9"]), ("mark\n".to_owned(), 9));
    let mut client = container.client();
    let id = client.exec_create(container.exec(&["nothing"])).unwrap();
    let error = client.exec_detached(&id).unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal::NotStarted { status: 127, .. })), "{error:?}");
    let state = client.exec_inspect(&id).unwrap();
    assert_eq!(state.progress, rbuild_monitor::ExecProgress::Ended { code: 127, pid: 0 });
    assert!(matches!(client.exec_detached(&id), Err(ClientError::Refused(Refusal::ExecStarted(_)))));
    let id = client.exec_create(container.exec(&["sleep", "1000"])).unwrap();
    let pid = client.exec_detached(&id).unwrap();
    assert_eq!(client.exec_inspect(&id).unwrap().progress, rbuild_monitor::ExecProgress::Running { pid });
    assert_eq!(client.execs().unwrap(), std::slice::from_ref(&id));
    client.exec_kill(&id, Signal::KILL).unwrap();
    // The end of the container is theirs too, and is not held up by them.
    let id = client.exec_create(container.exec(&["sleep", "1000"])).unwrap();
    let session = container.client().exec_attach(&id, rbuild_monitor::Attach::ALL, None).unwrap();
    client.kill(Signal::KILL).unwrap();
    assert_eq!(super::house::collect(session).1, rbuild_monitor::SessionEvent::ExecEnded(137));
    assert!(matches!(
        client.exec_create(container.exec(&["true"])),
        Err(ClientError::Refused(Refusal::NotRunning))
    ));
}

fn again(house: &House) {
    let container = house.container("echo x >> /data/x; cat /data/x | wc -l; exit 0");
    for _ in 0..3 {
        assert_eq!(container.run(), 0);
    }
    assert_eq!(container.log(), "1\n2\n3\n");
    let running = house.container("sleep 1000");
    running.start();
    let error = running.client().start(running.plan(), Handed::default()).unwrap_err();
    assert!(matches!(error, ClientError::Refused(Refusal::Running)), "{error:?}");
    assert_eq!(running.client().inspect().unwrap().note["kept"], 1);
    running.end();
}

fn nonsense(house: &House) {
    let container = house.container("sleep 1000");
    container.start();
    let control = container.place.run().join("control");
    for bytes in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 64], b"\x05\0\0\0\0{}{}{", b"\x02\0\0\0\x01hi", b""]
    {
        let mut stream = UnixStream::connect(&control).unwrap();
        stream.write_all(bytes).unwrap();
    }
    // A request before the greeting is refused.
    let mut stream = UnixStream::connect(&control).unwrap();
    let text = b"\"Pause\"";
    stream.write_all(&[&(text.len() as u32).to_le_bytes()[..], &[0], text].concat()).unwrap();
    let mut head = [0; 5];
    std::io::Read::read_exact(&mut stream, &mut head).unwrap();
    drop(stream);
    assert!(matches!(container.state(), State::Running(_)));
    container.end();
    assert!(Client::find(&container.place).unwrap().is_none_or(|mut client| client.inspect().is_ok()));
}

/// A monitor agrees on the newest version that both sides speak, and says what it speaks where there is none.
fn versions(house: &House) {
    let container = house.container("sleep 1000");
    container.start();
    let greet = |version: u32| {
        let mut stream = UnixStream::connect(container.place.run().join("control")).unwrap();
        let text = format!("{{\"Hello\":{{\"version\":{version}}}}}");
        let head = (text.len() as u32).to_le_bytes();
        stream.write_all(&[&head[..], &[0], text.as_bytes()].concat()).unwrap();
        let mut head = [0; 5];
        std::io::Read::read_exact(&mut stream, &mut head).unwrap();
        let mut answer = vec![0; u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize];
        std::io::Read::read_exact(&mut stream, &mut answer).unwrap();
        String::from_utf8(answer).unwrap()
    };
    let newer = greet(u32::MAX);
    assert!(newer.starts_with("{\"Hello\":{\"version\":2,"), "{newer}");
    assert_eq!(greet(0), "{\"Refused\":{\"Version\":{\"oldest\":1,\"newest\":2,\"asked\":0}}}");
    let told = Refusal::Version { oldest: 1, newest: 2, asked: 0 }.to_string();
    assert!(told.contains("use the rbuild that started the container"), "{told}");
    container.end();
}

fn leaving(house: &House) {
    for _ in 0..8 {
        let container = house.container("exec sleep 1000");
        container.start();
        container.end();
        // It leaves when nobody is connected: each look that finds it keeps it for a moment.
        while Client::find(&container.place).unwrap().is_some() {
            std::thread::yield_now();
        }
        assert!(container.place.try_lock().unwrap().is_some());
    }
}

fn residence(house: &House) {
    let container = house.container("sleep 1000");
    container.start();
    let monitor = container.record().monitor.unwrap();
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", monitor.pid)).unwrap();
    assert!(groups.lines().any(|line| line.ends_with("/monitors")), "{groups}");
    let prefix = container.plan().cgroup.prefix;
    assert_eq!(Cgroup::reclaim(Layout::shared(), &prefix).unwrap().removed, 0);
    assert!(is_alive(monitor));
    container.end();
}

fn departure(house: &House) {
    let mut container = house.container("exec sleep 1000");
    let prefix = container.plan().cgroup.prefix;
    let group = || Cgroup::look(Layout::shared(), &prefix, "monitors");
    let await_end = |process: Option<Process>| process.map(|process| process.reap().unwrap());

    // One that nobody had a use for.
    let unused = container.spawn();
    let monitor = loop {
        match group().and_then(|group| group.processes().first().copied()) {
            Some(pid) => break identify(pid).unwrap(),
            None => std::thread::yield_now(),
        }
    };
    drop(unused);
    await_end(Process::find(monitor));
    assert!(group().is_none());

    // One that kept its launching stage for the next probe.
    container.settings.health = Some(check("true", Duration::from_secs(10)));
    container.start();
    let monitor = container.record().monitor.and_then(Process::find);
    container.end();
    await_end(monitor);
    assert!(group().is_none());
}

fn small(house: &House) {
    let container = house.container("sleep 1000");
    container.start();
    let record = container.record();
    let (monitor, init) = (record.monitor.unwrap(), record.state.run().unwrap().init.pid);
    let children = || {
        let path = format!("/proc/{0}/task/{0}/children", monitor.pid);
        let text = std::fs::read_to_string(path).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()
    };
    // What made the start stays for a while; who asks after its end hears after the monitor has seen it.
    for other in children().into_iter().filter(|pid| *pid != init) {
        if let Some(process) = identify(other).and_then(Process::find) {
            process.reap().unwrap();
        }
    }
    container.client().inspect().unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", monitor.pid)).unwrap();
    let of = |name: &str| -> u64 {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse().unwrap()
    };
    let (dirty, clean) = (of("Private_Dirty:"), of("Private_Clean:"));
    println!("    an idle monitor has {dirty} KiB of its own, and {clean} KiB of its program alone");
    assert_eq!(children(), [init], "only the container");
    container.end();
    assert!(dirty <= 3 << 10, "{dirty} KiB");
}

fn left_writer(house: &House) {
    let container = house.container("echo up; sleep 1000");
    container.start();
    container.await_log("up");
    let (text, code) = container.run_exec(&["/bin/sh", "-c", "yes & yes >&2 & exit 3"]);
    assert_eq!(code, 3);
    assert!(text.len() <= 16 << 20, "{}", text.len());
    assert_eq!(container.run_exec(&["/bin/sh", "-c", "exit 4"]).1, 4, "it hears others");
    container.end();
}

fn given_back(house: &House) {
    let container = house.container("exit 6");
    let waiter = container.client().wait(Until::Removed).unwrap();
    let mut remover = container.client();
    let lock = remover.take_lock().unwrap();
    let refused = container.client().start(container.plan(), Handed::default()).unwrap_err();
    assert!(refused.to_string().contains("is being removed"), "{refused}");
    drop((remover, lock));
    // It learns of that before it hears the next one.
    assert_eq!(container.run(), 6);
    drop(waiter);
}

fn crowded(house: &House) {
    let container = house.container("echo up; sleep 1000");
    container.start();
    let mut clients: Vec<Client> = (0..512).map(|_| container.client()).collect();
    let refused = Client::find(&container.place).unwrap_err();
    assert!(matches!(refused, ClientError::Refused(Refusal::Crowded(512))), "{refused:?}");
    assert_eq!(clients[0].inspect().unwrap().state.status(), Status::Running);
    drop(clients);
    container.end();
}

fn out_of_descriptors(house: &House) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let container = house.container("echo up; sleep 1000");
    container.start();
    let monitor = container.record().monitor.unwrap().pid;
    let limits = std::fs::read_to_string(format!("/proc/{monitor}/limits")).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<&str> = files.split_whitespace().filter(|word| word.parse::<u64>().is_ok()).collect();
    assert_eq!(numbers[0], numbers[1], "as many as there may be");
    let mut first = container.client();
    let open = std::fs::read_dir(format!("/proc/{monitor}/fd")).unwrap().count() as u64;
    let pid = Pid::from_raw(monitor);
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let old = prlimit(pid, Resource::Nofile, Rlimit { current: Some(open), maximum }).unwrap();
    let mut second = container.client();
    assert_eq!(second.inspect().unwrap().state.status(), Status::Running);
    prlimit(pid, Resource::Nofile, old).unwrap();
    first.kill(Signal::KILL).unwrap();
}

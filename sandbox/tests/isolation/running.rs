//! Starting, ending, dying.

use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::process::{Command, ExitCode, Stdio as ProcessStdio};

use rbuild_sandbox::cgroup::Limits;
use rbuild_sandbox::profile::{self, Options};
use rbuild_sandbox::{Lifetime, Order, Stdio, Stubs};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use super::house::{House, chain, shell};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("a_program_runs_and_its_status_is_told", status),
    ("a_program_that_cannot_run_is_told_apart", no_program),
    ("standard_streams_are_connected", streams),
    ("a_created_program_waits_for_its_start", created),
    ("a_dropped_program_dies", dropped),
    ("an_unused_slot_leaves_nothing", unused_slot),
    ("programs_die_with_their_maker", maker_dies),
    ("an_independent_program_outlives_its_launcher", independent),
    ("a_terminal_is_its_own", terminal),
    ("many_steps_run_at_the_same_time", many),
    ("signals_reach_the_program", signals),
];

fn status(house: &House) {
    for (script, expected) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255)] {
        assert_eq!(house.run(shell(script), Vec::new()).exit.code(), expected, "{script}");
    }
    let by_name =
        Options { env: vec!["PATH=/nowhere:/bin".to_owned()], ..Options::new(vec!["true".to_owned()]) };
    assert_eq!(house.run(by_name, Vec::new()).exit.code(), 0);
}

fn no_program(house: &House) {
    std::fs::write(house.base().join("bin/plain"), "not executable").unwrap();
    std::fs::write(house.base().join("bin/broken"), "#!/nowhere\n").unwrap();
    let mut rights = std::fs::metadata(house.base().join("bin/broken")).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut rights, 0o755);
    std::fs::set_permissions(house.base().join("bin/broken"), rights).unwrap();
    for (program, expected) in [
        ("nothing", 127),
        ("/bin/nothing", 127),
        ("/bin", 126),
        ("/bin/plain", 126),
        ("/etc/kept/x", 127),
        ("/bin/broken", 127),
    ] {
        let error = house.try_run(Options::new(vec![program.to_owned()]), Vec::new(), Limits::default());
        let error = error.err().unwrap_or_else(|| panic!("{program} ran"));
        assert_eq!(error.exit_status(), expected, "{program}: {}", chain(&error));
        assert!(chain(&error).contains(program), "{}", chain(&error));
    }
}

fn streams(house: &House) {
    let output = house.shell("cat; echo out; echo err >&2; readlink /proc/self/fd/0");
    assert_eq!(output, "out\nerr\n/dev/null\n");
    let (root, _) = house.root();
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let (out_reader, out_writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let spec = profile::container(shell("cat")).unwrap();
    let order = Order { spec, root, mounts: Vec::new(), stubs: Stubs::Keep };
    let stdio = Stdio { stdin: Some(reader), stdout: Some(out_writer), stderr: None };
    let running = house.slot(Limits::default(), Lifetime::Bound).launch(order, stdio).unwrap();
    std::fs::File::from(writer).write_all(b"through\n").unwrap();
    let mut text = String::new();
    std::fs::File::from(out_reader).read_to_string(&mut text).unwrap();
    assert_eq!(text, "through\n");
    assert_eq!(running.wait().unwrap().code(), 0);
}

fn created(house: &House) {
    let (root, upper) = house.root();
    let order = Order {
        spec: profile::step(shell("echo ran > /data/file")).unwrap(),
        root,
        mounts: Vec::new(),
        stubs: Stubs::Remove,
    };
    let created = house.slot(Limits::default(), Lifetime::Bound).create(order, Stdio::default()).unwrap();
    assert!(created.pid() > 0);
    assert!(!upper.join("data/file").exists());
    let running = created.start().unwrap();
    assert_eq!(running.wait().unwrap().code(), 0);
    assert_eq!(std::fs::read_to_string(upper.join("data/file")).unwrap(), "ran\n");

    let (root, _) = house.root();
    let order =
        Order { spec: profile::step(shell("true")).unwrap(), root, mounts: Vec::new(), stubs: Stubs::Remove };
    let created = house.slot(Limits::default(), Lifetime::Bound).create(order, Stdio::default()).unwrap();
    let pidfd = created.pidfd().try_clone_to_owned().unwrap();
    drop(created);
    ended(&pidfd);
}

/// Waits for the end of a process; hangs if it does not end.
fn ended(pidfd: &impl std::os::fd::AsFd) {
    poll(&mut [PollFd::new(pidfd, PollFlags::IN)], None).unwrap();
}

fn dropped(house: &House) {
    let (running, _reader, _) = house.start(shell("sleep 1000"), Vec::new()).unwrap();
    let pidfd = running.pidfd().try_clone_to_owned().unwrap();
    drop(running);
    ended(&pidfd);
}

fn unused_slot(house: &House) {
    let mut slot = house.slot(Limits::default(), Lifetime::Bound);
    slot.wait_parked().unwrap();
    drop(slot);
    // One that is still on its way.
    drop(house.slot(Limits::default(), Lifetime::Bound));
}

/// The other side of [`maker_dies`]: starts a program, tells its pid, waits for ever.
pub(crate) fn hold() -> ExitCode {
    let house = House::new();
    let (running, _reader, _) = house.start(shell("sleep 1000 & sleep 1000"), Vec::new()).unwrap();
    let slot = house.slot(Limits::default(), Lifetime::Bound);
    println!("{} {}", running.pid(), house.path().display());
    drop(running.wait());
    drop(slot);
    ExitCode::FAILURE
}

fn maker_dies(_house: &House) {
    let mut maker = Command::new("/proc/self/exe").arg("hold").stdout(ProcessStdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(maker.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    let (pid, folder) = line.trim().split_once(' ').unwrap();
    let pidfd = pidfd_open(Pid::from_raw(pid.parse().unwrap()).unwrap(), PidfdFlags::empty()).unwrap();
    let groups = format!("rbuild-test-{}", maker.id());
    maker.kill().unwrap();
    maker.wait().unwrap();
    ended(&pidfd);
    std::fs::remove_dir_all(folder).unwrap();
    // What a dead maker cannot remove: its cgroups, by now without processes.
    for top in std::fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path().join(&groups))
    {
        let Ok(steps) = std::fs::read_dir(&top) else { continue };
        for step in steps.flatten().filter(|entry| entry.path().is_dir()) {
            remove_group(&step.path());
        }
        remove_group(&top);
    }
}

fn remove_group(path: &std::path::Path) {
    if let Ok(events) = std::fs::File::open(path.join("cgroup.events")) {
        let mut text = String::new();
        (&events).read_to_string(&mut text).unwrap();
        if text.contains("populated 1") {
            poll(&mut [PollFd::new(&events, PollFlags::PRI)], None).unwrap();
        }
    }
    let pids = std::fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default();
    for pid in pids.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
        if let Ok(pidfd) = pidfd_open(pid, PidfdFlags::empty()) {
            ended(&pidfd);
        }
    }
    std::fs::remove_dir(path).unwrap();
}

fn independent(house: &House) {
    let (root, _) = house.root();
    let other = rbuild_sandbox::Launcher::new(&rbuild_sandbox::LauncherConfig::default()).unwrap();
    let request = rbuild_sandbox::SlotRequest {
        cgroup: house.cgroup(Limits::default()),
        namespaces: rbuild_sandbox::Namespaces::default(),
        lifetime: Lifetime::Independent,
        oom_score_adj: None,
    };
    let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
    let slot = other.slot(request).unwrap();
    let order = Order {
        spec: profile::container(shell("cat; exit 9")).unwrap(),
        root,
        mounts: Vec::new(),
        stubs: Stubs::Keep,
    };
    let running = slot.launch(order, Stdio { stdin: Some(reader), ..Stdio::default() }).unwrap();
    drop(other);
    assert!(
        poll(
            &mut [PollFd::new(&running.pidfd(), PollFlags::IN)],
            Some(&rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 })
        )
        .unwrap()
            == 0
    );
    drop(writer);
    assert_eq!(running.wait().unwrap().code(), 9);
}

fn terminal(house: &House) {
    let mut options = shell(
        "tty; stty size; readlink /proc/self/fd/0; cat /proc/self/stat | cut -d' ' -f7; stat -c %t:%T:%u /dev/console",
    );
    options.env = vec!["PATH=/bin".to_owned()];
    options.terminal = Some((99, 33));
    options.identity.uid = 1000;
    let (root, _) = house.root();
    std::os::unix::fs::symlink("busybox", house.base().join("bin/cut")).unwrap();
    let order =
        Order { spec: profile::container(options).unwrap(), root, mounts: Vec::new(), stubs: Stubs::Keep };
    let mut running = house.slot(Limits::default(), Lifetime::Bound).launch(order, Stdio::default()).unwrap();
    let master = running.take_terminal().expect("a terminal");
    let mut text = Vec::new();
    // A pty whose other side is closed answers EIO instead of the end.
    let _ = std::fs::File::from(master).read_to_end(&mut text);
    let text = String::from_utf8(text).unwrap();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    assert_eq!(lines[..3], ["/dev/pts/0", "33 99", "/dev/pts/0"], "{text}");
    assert_ne!(lines[3], "0", "it has a controlling terminal");
    assert_eq!(lines[4], "88:0:1000", "{text}");
    assert_eq!(running.wait().unwrap().code(), 0);
}

fn many(house: &House) {
    std::thread::scope(|scope| {
        for number in 0..4_u8 {
            scope.spawn(move || {
                for round in 0..4_u8 {
                    let outcome =
                        house.run(shell(&format!("echo {number}.{round}; exit {number}")), Vec::new());
                    assert_eq!(outcome.output, format!("{number}.{round}\n"));
                    assert_eq!(outcome.exit.code(), number);
                }
            });
        }
    });
}

fn signals(house: &House) {
    let (running, reader, _) =
        house.start(shell("trap 'exit 5' TERM; echo ready; sleep 1000 & wait"), Vec::new()).unwrap();
    let mut ready = [0; 6];
    std::fs::File::from(reader).read_exact(&mut ready).unwrap();
    running.signal(Signal::TERM).unwrap();
    assert_eq!(running.wait().unwrap().code(), 5);
    let (running, _reader, _) = house.start(shell("sleep 1000 & sleep 1000"), Vec::new()).unwrap();
    running.kill_all().unwrap();
    poll(&mut [PollFd::new(&running.as_fd(), PollFlags::IN)], None).unwrap();
    assert_eq!(running.wait().unwrap().code(), 137);
}

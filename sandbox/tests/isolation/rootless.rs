//! The same isolation without root: the test program runs itself again as an ordinary user.

use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, Stdio as Io};

use rbuild_model::rootfs::{OverlayUpper, OverlayXattr, RootPlan};
use rbuild_sandbox::cgroup::{Cgroup, CgroupError, CgroupRequest, Limits};
use rbuild_sandbox::process::{self, Process};
use rbuild_sandbox::profile;
use rbuild_sandbox::rootless::{KeeperNeed, Mapping, RootlessConfig, RootlessError, enter};
use rbuild_sandbox::{Lifetime, Namespaces, Order, SlotRequest, Stdio, Stubs};
use rbuild_testkit::privilege;

use super::house::{House, chain, shell};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("an_ordinary_user_can_run_programs", ordinary_user),
    ("commands_of_a_user_share_a_keeper_that_leaves_with_the_last", shared_keeper),
    ("a_runtime_folder_that_others_can_enter_is_refused", exposed_runtime),
];

const USER: u32 = 12345;

/// Prepares the program to be run as an ordinary user, in a runtime folder of theirs.
fn as_user(house: &House, role: &str) -> (Command, PathBuf) {
    // Where nobody but root may look, an ordinary user cannot find the program: give it a copy.
    let program = house.path().join("program");
    if !program.exists() {
        std::fs::copy("/proc/self/exe", &program).unwrap();
        std::fs::set_permissions(house.path(), PermissionsExt::from_mode(0o755)).unwrap();
    }
    let runtime = house.path().join("runtime");
    if !runtime.exists() {
        std::fs::create_dir(&runtime).unwrap();
        std::fs::set_permissions(&runtime, PermissionsExt::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(&runtime, Some(USER), Some(USER)).unwrap();
    }
    let mut command = Command::new(program);
    command.arg(role).arg(&runtime).uid(USER).gid(USER).current_dir("/").env("TMPDIR", "/tmp");
    (command, runtime)
}

/// What the ordinary user prints who cannot do what is tested; it is told by who started them.
const CANNOT: &str = "cannot: ";
const CANNOT_IN_PART: &str = "cannot in part: ";

/// Tells what a user cannot do here; returns whether that is all of it.
fn cannot(test: &str, printed: &str) -> bool {
    let mut nothing = false;
    for line in printed.lines() {
        if let Some(reason) = line.strip_prefix(CANNOT) {
            privilege::skipped(test, reason);
            nothing = true;
        } else if line.starts_with(CANNOT_IN_PART) {
            privilege::skipped(test, line);
        }
    }
    nothing
}

fn ordinary_user(house: &House) {
    let (mut command, _) = as_user(house, "rootless");
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if cannot("an_ordinary_user_can_run_programs", &text) {
        return;
    }
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("0\npid 1 root 0\n"), "{text}");
}

/// A command that has entered, and stays until it is dropped.
struct Staying {
    child: Child,
    output: BufReader<ChildStdout>,
    namespaces: String,
}

impl Staying {
    fn start(house: &House, need: &str) -> Self {
        let (mut command, _) = as_user(house, "rootless-stay");
        let mut child = command.arg(need).stdin(Io::piped()).stdout(Io::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut staying = Self { child, output, namespaces: String::new() };
        staying.namespaces = staying.line();
        staying
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        line
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

fn shared_keeper(house: &House) {
    let alone = Staying::start(house, "joined");
    if cannot("commands_of_a_user_share_a_keeper_that_leaves_with_the_last", &alone.namespaces) {
        return;
    }
    let first = Staying::start(house, "started");
    let second = Staying::start(house, "started");
    let third = Staying::start(house, "joined");
    assert!(first.namespaces.contains("user:["), "{}", first.namespaces);
    assert_ne!(alone.namespaces, first.namespaces, "nobody had started a keeper yet");
    assert_eq!(first.namespaces, second.namespaces);
    assert_eq!(first.namespaces, third.namespaces);
    alone.end();
    first.end();
    let socket = house.path().join("runtime/keeper");
    let visit = UnixStream::connect(&socket).unwrap();
    let keeper = rustix::net::sockopt::socket_peercred(&visit).unwrap().pid;
    let keeper = rustix::process::pidfd_open(keeper, rustix::process::PidfdFlags::empty()).unwrap();
    drop(visit);
    second.end();
    let mut fourth = Staying::start(house, "leaving-one-behind");
    assert_eq!(third.namespaces, fourth.namespaces, "the third is still there");
    third.end();
    let inhabitant =
        fourth.line().trim().parse().ok().and_then(process::identify).and_then(Process::find).unwrap();
    let namespaces = fourth.namespaces.clone();
    fourth.end();
    let fifth = Staying::start(house, "joined");
    assert_eq!(
        namespaces, fifth.namespaces,
        "somebody lives there, as a container does whose monitor was killed"
    );
    fifth.end();
    inhabitant.kill();
    let mut gone = [rustix::event::PollFd::new(&keeper, rustix::event::PollFlags::IN)];
    rustix::event::poll(&mut gone, None).unwrap();
    assert!(!socket.exists(), "a keeper takes its socket away");
}

fn exposed_runtime(house: &House) {
    let (mut command, runtime) = as_user(house, "rootless-stay");
    std::fs::set_permissions(&runtime, PermissionsExt::from_mode(0o750)).unwrap();
    let output = command.arg("joined").stdin(Io::null()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && text.contains("with mode 750: it has to be yours alone"), "{text}");
}

/// Enters, says where, and stays until its input ends.
pub(crate) fn stay(runtime: &str, need: &str) -> ExitCode {
    let keeper = if need == "joined" { KeeperNeed::Joined } else { KeeperNeed::Started };
    let entered = match enter(&RootlessConfig { runtime: runtime.into(), keeper }) {
        Ok(entered) => entered,
        Err(RootlessError::Forbidden { cause, .. }) => {
            println!("{CANNOT}no user namespaces for ordinary users here: {cause}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            println!("{}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    let namespace = std::fs::read_link("/proc/self/ns/user").unwrap();
    let groups = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let map: Vec<&str> = groups.split_whitespace().collect();
    println!("{} uid {} map {map:?}", namespace.display(), rustix::process::geteuid().as_raw());
    if need == "leaving-one-behind" {
        let mut sleep = Command::new("sleep");
        let sleep = sleep.arg("1000").stdin(Io::null()).stdout(Io::null()).stderr(Io::null()).spawn();
        println!("{}", sleep.unwrap().id());
    }
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(entered);
    ExitCode::SUCCESS
}

/// Enters a user namespace and runs a program in it; also to be called by hand, by users with ranges.
pub(crate) fn run(runtime: &Path) -> ExitCode {
    let config = RootlessConfig { runtime: runtime.to_owned(), keeper: KeeperNeed::Joined };
    let entered = enter(&config);
    let mapping = match &entered {
        Ok(entered) => entered.mapping.clone(),
        Err(RootlessError::Forbidden { cause, .. }) => {
            println!("{CANNOT}no user namespaces for ordinary users here: {cause}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            println!("{}", chain(error));
            return ExitCode::FAILURE;
        }
    };
    println!("{mapping:?}");
    let house = House::new();
    let mut script =
        "id -u; echo pid $$ root $(stat -c %u /); echo x > /dev/null; ls -l /dev/null; cat /proc/self/uid_map; \
         mkdir /data/made && touch /data/made/file"
            .to_owned();
    // The marks of removed folders are extended attributes, which not every temporary folder takes (tmpfs before 6.6).
    let marked =
        rustix::fs::setxattr(house.path(), "user.rbuild.test", b"x", rustix::fs::XattrFlags::empty());
    match marked {
        Ok(()) => script += "; rm -r /etc",
        Err(_) => println!("{CANNOT_IN_PART}no user attributes in {}", house.path().display()),
    }
    std::os::unix::fs::symlink("busybox", house.base().join("bin/rm")).unwrap();
    std::os::unix::fs::symlink("busybox", house.base().join("bin/chown")).unwrap();
    if matches!(mapping, Mapping::Ranges { .. }) {
        script += "; chown 1000:1000 /data/made/file && stat -c %u:%g /data/made/file";
    }
    let (upper, work) = (house.path().join("upper"), house.path().join("work"));
    for folder in [&upper, &work] {
        std::fs::create_dir(folder).unwrap();
    }
    let root = RootPlan::Overlay {
        lowers: vec![house.base()],
        upper: Some(OverlayUpper { upper, work, volatile: true }),
        xattr: OverlayXattr::User,
    };
    let layout = rbuild_sandbox::cgroup::Layout::shared();
    let request = CgroupRequest {
        prefix: super::house::prefix(),
        name: "rootless".to_owned(),
        limits: Limits::default(),
        devices: rbuild_sandbox::cgroup::Devices::DefaultAnd(Vec::new()),
    };
    let cgroup = match Cgroup::create(layout, &request) {
        Ok(cgroup) => cgroup,
        Err(error) => {
            println!("{}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    println!("cgroup: {}", if cgroup.is_some() { "one of its own" } else { "none" });
    if cgroup.is_none() {
        // Without limits that is told; a limit that nothing enforces is not run with.
        let limits = Limits { memory: Some(64 << 20), ..Limits::default() };
        match Cgroup::create(layout, &CgroupRequest { limits, ..request.clone() }) {
            Err(CgroupError::Denied { controller: "memory", .. }) => {}
            other => {
                println!("a limit that cannot be enforced: {other:?}");
                return ExitCode::FAILURE;
            }
        }
    }
    let slot = SlotRequest {
        cgroup,
        namespaces: Namespaces::default(),
        lifetime: Lifetime::Bound,
        oom_score_adj: Some(200),
    };
    let order = Order {
        spec: profile::step(shell(&script)).unwrap(),
        root: root.into(),
        mounts: Vec::new(),
        stubs: Stubs::Remove,
    };
    let out = std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned().unwrap();
    let stdio = Stdio { stdin: None, stdout: Some(out.try_clone().unwrap()), stderr: Some(out) };
    let running = match house.launcher.slot(slot).and_then(|slot| slot.launch(order, stdio)) {
        Ok(running) => running,
        Err(error) => {
            println!("{}", chain(&error));
            return ExitCode::FAILURE;
        }
    };
    println!("notes: {:?}", running.notes());
    match running.wait() {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(error) => {
            println!("{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

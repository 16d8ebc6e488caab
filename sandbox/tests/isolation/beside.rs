//! Programs that run beside another, in its namespaces.

use std::io::Read as _;
use std::os::fd::OwnedFd;

use oci_spec::runtime::Spec;
use rbuild_sandbox::cgroup::{Cgroup, Limits};
use rbuild_sandbox::process::{Process, is_alive};
use rbuild_sandbox::profile::{self, Identity, Options, Privilege};
use rbuild_sandbox::{EnterRequest, LaunchError, Lifetime, Order, Stdio, Stubs};

use super::house::{House, shell};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("a_program_beside_another_sees_what_that_sees", sees),
    ("a_program_beside_another_has_rights_of_its_own", rights),
    ("a_program_beside_another_may_have_a_terminal", terminal),
    ("a_program_beside_another_that_cannot_run_is_told_apart", cannot_run),
    ("a_program_beside_another_ends_with_it", ends),
];

/// A program that waits for its end, to be beside of.
struct Host {
    process: Process,
    cgroup: Option<Cgroup>,
}

impl Host {
    fn start(house: &House) -> Self {
        let (root, _) = house.root();
        let mut options = shell("echo here > /data/mark; exec sleep 1000");
        options.hostname = Some("inside".to_owned());
        let order =
            Order { spec: profile::step(options).unwrap(), root, mounts: Vec::new(), stubs: Stubs::Keep };
        let slot = house.slot(Limits::default(), Lifetime::Independent);
        let (process, cgroup) = slot.launch(order, Stdio::default()).unwrap().release();
        Self { process, cgroup }
    }

    fn enter(
        &self,
        house: &House,
        options: Options,
    ) -> Result<(Process, Option<OwnedFd>, OwnedFd), LaunchError> {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap();
        let stdio = Stdio { stdin: None, stdout: Some(writer.try_clone().unwrap()), stderr: Some(writer) };
        let spec: Spec = profile::container(options).unwrap();
        let request = EnterRequest { init: &self.process, cgroup: self.cgroup.as_ref(), spec: &spec, stdio };
        let entered = house.launcher.enter(request)?;
        Ok((entered.process, entered.terminal, reader))
    }

    fn run(&self, house: &House, options: Options) -> (Option<i32>, String) {
        let (process, _, reader) = self.enter(house, options).unwrap();
        let mut text = String::new();
        std::fs::File::from(reader).read_to_string(&mut text).unwrap();
        (process.reap().unwrap().status.and_then(|status| status.code()), text)
    }

    fn end(self) {
        self.process.kill();
        let ended = self.process.reap().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended.status.unwrap()), Some(9));
        self.cgroup.map(Cgroup::remove).transpose().unwrap();
    }
}

fn sees(house: &House) {
    let host = Host::start(house);
    let look = "until cat /data/mark 2>/dev/null; do :; done; cat /proc/sys/kernel/hostname; \
                for ns in pid mnt net ipc uts cgroup; do \
                [ $(readlink /proc/1/ns/$ns) = $(readlink /proc/self/ns/$ns) ] || echo other $ns; done; \
                cat /proc/1/cgroup > /tmp/a; cat /proc/self/cgroup > /tmp/b; cmp /tmp/a /tmp/b; exit 6";
    assert_eq!(host.run(house, shell(look)), (Some(6), "here\ninside\n".to_owned()));
    // The entrants are gone.
    let children =
        std::fs::read_to_string(format!("/proc/self/task/{}/children", std::process::id())).unwrap();
    assert!(children.split_whitespace().any(|pid| pid == host.process.pid().to_string()), "{children}");
    assert!(children.split_whitespace().count() <= 2, "{children}");
    host.end();
}

fn rights(house: &House) {
    let host = Host::start(house);
    let show =
        "id -u; id -g; id -G; grep -E 'Cap(Eff|Bnd)|NoNewPrivs|Seccomp:' /proc/self/status; ls /proc/self/fd";
    let mut options = shell(show);
    options.identity = Identity { uid: 1000, gid: 50, groups: vec![50, 60] };
    options.cwd = "/tmp".to_owned();
    let (code, text) = host.run(house, options);
    assert_eq!(code, Some(0), "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[..3], ["1000", "50", "50 60"], "{text}");
    assert_eq!(lines[3], "CapEff:\t0000000000000000");
    assert_eq!(lines[4], "CapBnd:\t00000000a80425fb");
    assert_eq!(lines[5..7], ["NoNewPrivs:\t0", "Seccomp:\t2"]);
    assert_eq!(lines[7..], ["0", "1", "2", "3"], "the folder itself is the fourth: {text}");
    let mut options = shell("grep -E 'Seccomp:' /proc/self/status; echo $$ > /dev/null");
    options.confinement.privilege = Privilege::Privileged;
    assert_eq!(host.run(house, options), (Some(0), "Seccomp:\t0\n".to_owned()));
    host.end();
}

fn terminal(house: &House) {
    let host = Host::start(house);
    let mut options = shell("tty; stty size; exit 3");
    options.terminal = Some((99, 33));
    let (process, terminal, _) = host.enter(house, options).unwrap();
    let mut text = Vec::new();
    // The end of a terminal is an error to its master.
    let _ = std::fs::File::from(terminal.unwrap()).read_to_end(&mut text);
    assert_eq!(String::from_utf8(text).unwrap(), "/dev/pts/0\r\n33 99\r\n");
    assert_eq!(process.reap().unwrap().status.unwrap().code(), Some(3));
    host.end();
}

fn cannot_run(house: &House) {
    let host = Host::start(house);
    for (program, status) in [("nothing-of-this-name", 127), ("/etc/kept", 126), ("/nowhere/x", 127)] {
        let error = host.enter(house, Options::new(vec![program.to_owned()])).unwrap_err();
        assert_eq!(error.exit_status(), status, "{program}: {error:?}");
    }
    let mut options = shell("true");
    options.cwd = "/nowhere".to_owned();
    assert_eq!(host.enter(house, options).unwrap_err().exit_status(), 127);
    host.end();
}

fn ends(house: &House) {
    let host = Host::start(house);
    let (process, _, _reader) = host.enter(house, shell("sleep 1000")).unwrap();
    assert!(is_alive(process.identity()));
    host.process.kill();
    // The init does not end before all that were in its namespace are reaped: by us.
    let status = process.reap().unwrap().status.unwrap();
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    host.end();
}

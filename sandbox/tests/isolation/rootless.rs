//! The same isolation without root: the test program runs itself again as an ordinary user.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rbuild_model::rootfs::{OverlayUpper, OverlayXattr, RootPlan};
use rbuild_sandbox::cgroup::{Cgroup, Limits};
use rbuild_sandbox::profile;
use rbuild_sandbox::rootless::{Mapping, RootlessConfig, RootlessNetwork, enter};
use rbuild_sandbox::{Lifetime, Namespaces, Order, SlotRequest, Stdio, Stubs};

use super::house::{House, chain, shell};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[("an_ordinary_user_can_run_programs", ordinary_user)];

fn ordinary_user(house: &House) {
    // Where nobody but root may look, an ordinary user cannot find the program: give it a copy.
    let program = house.path().join("program");
    std::fs::copy("/proc/self/exe", &program).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(house.path(), open).unwrap();
    let output = Command::new(program)
        .arg("rootless")
        .uid(12345)
        .gid(12345)
        .current_dir("/")
        .env("TMPDIR", "/tmp")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    if text.contains("SKIPPED") {
        eprint!("{text}");
    }
    if text.contains("SKIPPED: ") {
        return;
    }
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("0\npid 1 root 0\n"), "{text}");
}

/// Enters a user namespace and runs a program in it; also to be called by hand, by users with ranges.
pub(crate) fn run() -> ExitCode {
    let mapping = match enter(&RootlessConfig { network: RootlessNetwork::Own }) {
        Ok(mapping) => mapping,
        Err(rbuild_sandbox::rootless::RootlessError::Forbidden { cause, .. }) => {
            println!("SKIPPED: no user namespaces for ordinary users here: {cause}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            println!("{}", chain(&error));
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
        Err(_) => println!("SKIPPED in part: no user attributes in {}", house.path().display()),
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
    let request = rbuild_sandbox::cgroup::CgroupRequest {
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
    let slot = SlotRequest {
        cgroup,
        namespaces: Namespaces::default(),
        lifetime: Lifetime::Bound,
        oom_score_adj: Some(200),
    };
    let order = Order {
        spec: profile::step(shell(&script)).unwrap(),
        root,
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

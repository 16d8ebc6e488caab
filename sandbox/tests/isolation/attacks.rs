//! What a program must not see or do, and images made to lead the launcher astray.

use std::fs;
use std::os::unix::fs::symlink;

use rbuild_sandbox::cgroup::Limits;
use rbuild_sandbox::profile::{Confinement, NewPrivileges, Privilege, Seccomp};
use rbuild_sandbox::{Access, Mount, MountSource, Restrictions, Tmpfs};

use super::house::{House, chain, guest, shell};
use crate::Scenario;

pub(crate) const ALL: &[Scenario] = &[
    ("a_program_sees_only_its_own", sees_only_its_own),
    ("capabilities_are_the_default_ones", capabilities),
    ("system_calls_are_filtered", filtered),
    ("sensitive_files_are_masked", masked),
    ("images_with_links_for_system_folders_are_contained", links),
    ("nothing_but_a_procfs_lies_on_proc", over_proc),
    ("a_folder_in_the_place_of_dev_stays_as_it_is", given_dev),
    ("a_target_that_is_exchanged_stays_in_the_root", exchanged),
    ("a_working_folder_cannot_lead_out", working_folder),
    ("devices_cannot_be_opened", devices),
    ("the_launchers_program_cannot_be_written", own_program),
    ("unknown_restrictions_are_refused", unknown_restrictions),
    ("privileged_is_wide_open", privileged),
];

fn sees_only_its_own(house: &House) {
    let script = "echo $$; ls -1 /proc/self/fd | wc -l; cat /proc/sys/kernel/hostname; ls /sys/class/net; umask; id -G; \
                  cat /proc/self/cgroup | grep -vc ':/$'; grep -c . /proc/net/route; cat /proc/self/oom_score_adj; \
                  grep -E 'SigIgn|SigBlk' /proc/self/status; readlink /proc/1/exe; \
                  grep -cE '/proc/self/fd|rbuild' /proc/self/environ";
    symlink("busybox", house.base().join("bin/wc")).unwrap();
    let outcome = house.run(shell(script), Vec::new());
    let expected = "1\n4\nbuildkitsandbox\nlo\n0022\n0\n0\n1\n100\n\
                    SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n/bin/busybox\n0\n";
    assert_eq!(outcome.output, expected);
}

fn capabilities(house: &House) {
    let script = "grep -E 'Cap|NoNew|^Seccomp:|Groups|^Uid' /proc/self/status";
    let facts = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
    let root = house.run(shell(script), Vec::new());
    let expected = "Uid: 0 0 0 0 Groups: CapInh: 0000000000000000 CapPrm: 00000000a80425fb CapEff: 00000000a80425fb \
                    CapBnd: 00000000a80425fb CapAmb: 0000000000000000 NoNewPrivs: 0 Seccomp: 2";
    assert_eq!(facts(&root.output), expected);
    let mut options = shell(script);
    options.identity.uid = 1000;
    options.identity.gid = 100;
    options.identity.groups = vec![100, 7];
    options.confinement.new_privileges = NewPrivileges::Forbidden;
    let user = house.run(options, Vec::new());
    let expected = "Uid: 1000 1000 1000 1000 Groups: 7 100 CapInh: 0000000000000000 CapPrm: 0000000000000000 \
                    CapEff: 0000000000000000 CapBnd: 00000000a80425fb CapAmb: 0000000000000000 NoNewPrivs: 1 Seccomp: 2";
    assert_eq!(facts(&user.output), expected);
    let mut options = shell(script);
    options.identity.uid = 1000;
    options.confinement.capabilities_dropped = vec!["ALL".to_owned()];
    options.confinement.capabilities_added = vec!["cap_net_bind_service".to_owned()];
    options.confinement.ambient = vec!["NET_BIND_SERVICE".to_owned()];
    let ambient = house.run(options, Vec::new());
    assert!(
        facts(&ambient.output)
            .contains("CapEff: 0000000000000400 CapBnd: 0000000000000400 CapAmb: 0000000000000400")
    );
}

const CALLS: [&str; 14] = [
    "unshare-user",
    "clone3",
    "mount",
    "fsopen",
    "keyctl",
    "io-uring",
    "socket-alg",
    "socket-vsock",
    "socket-inet",
    "too-new",
    "x32",
    "open-by-handle",
    "setns",
    "reboot",
];

fn filtered(house: &House) {
    let outcome = house.run(guest(&CALLS), Vec::new());
    let expected = "unshare-user: EPERM\nclone3: ENOSYS\nmount: EPERM\nfsopen: EPERM\nkeyctl: EPERM\nio-uring: EPERM\n\
                    socket-alg: EPERM\nsocket-vsock: EPERM\nsocket-inet: ok\ntoo-new: ENOSYS\nx32: ENOSYS\n\
                    open-by-handle: EPERM\nsetns: EPERM\nreboot: EPERM\n";
    assert_eq!(outcome.output, expected);
    // Also where no rights are left to load a filter with.
    let mut options = guest(&CALLS);
    options.identity.uid = 1000;
    options.confinement.new_privileges = NewPrivileges::Forbidden;
    assert_eq!(house.run(options, Vec::new()).output, expected);
    let mut options = guest(&["clone3", "keyctl"]);
    options.confinement.seccomp = Seccomp::Unconfined;
    assert!(!house.run(options, Vec::new()).output.contains("ENOSYS"));
}

fn masked(house: &House) {
    symlink("busybox", house.base().join("bin/wc")).unwrap();
    let script = "for f in /proc/keys /proc/timer_list /proc/interrupts; do cat $f; done | wc -c; ls /sys/firmware | wc -l; \
                  for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/fs/binfmt_misc/register \
                  /sys/kernel/uevent_helper; do (echo x > $f) 2>/dev/null && echo \"wrote $f\"; done; \
                  (echo 1 > /sys/fs/cgroup/memory/notify_on_release) 2>/dev/null && echo cgroup; echo end";
    assert_eq!(house.shell(script), "0\n0\nend\n");
    let calls = house.run(guest(&["umount-proc"]), Vec::new());
    assert_eq!(calls.output, "umount-proc: EPERM\n");
}

fn links(house: &House) {
    let host_links = || {
        ["/dev/fd", "/dev/null", "/dev/ptmx"].map(|path| {
            fs::symlink_metadata(path).ok().map(|facts| std::os::unix::fs::MetadataExt::ino(&facts))
        })
    };
    let links_before = host_links();
    let canary = house.path().join("canary");
    fs::create_dir(&canary).unwrap();
    for (name, target, contained) in [
        ("proc", "/tmp", false),
        ("proc", "../../../../proc", false),
        ("sys", "/tmp", false),
        ("dev", "/tmp", true),
        ("dev", canary.to_str().unwrap(), true),
        ("dev", "../../../../../../dev", true),
    ] {
        symlink(target, house.base().join(name)).unwrap();
        let result = house.try_run(shell("ls -l /dev/null"), Vec::new(), Limits::default());
        match result {
            Ok(outcome) => assert!(contained, "{name} -> {target} ran: {}", outcome.output),
            // A chain of links that ends in itself cannot be resolved at all.
            Err(error) => {
                assert!(!contained || chain(&error).contains("dev"), "{name} -> {target}: {}", chain(&error))
            }
        }
        fs::remove_file(house.base().join(name)).unwrap();
    }
    assert_eq!(fs::read_dir(&canary).unwrap().count(), 0, "nothing appeared on the host");
    assert_eq!(host_links(), links_before, "nothing of the host's was removed or made anew");
}

/// Exchanges two names in a folder for as long as it lives.
struct Racer {
    is_over: std::sync::Arc<std::sync::atomic::AtomicBool>,
    thread: Option<std::thread::JoinHandle<u64>>,
}

impl Racer {
    fn start(folder: std::path::PathBuf, one: &'static str, other: &'static str) -> Self {
        let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let seen = is_over.clone();
        let thread = std::thread::spawn(move || {
            let folder = fs::File::open(folder).unwrap();
            let mut rounds = 0;
            while !seen.load(std::sync::atomic::Ordering::Relaxed) {
                let how = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&folder, one, &folder, other, how).unwrap();
                rounds += 1;
            }
            rounds
        });
        Self { is_over, thread: Some(thread) }
    }

    fn rounds(mut self) -> u64 {
        self.is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap()
    }
}

fn exchanged(house: &House) {
    let (volume, outside) = (house.path().join("volume"), house.path().join("outside"));
    fs::create_dir_all(volume.join("d")).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(house.path().join("file"), "mine\n").unwrap();
    // One way out by the name of the host, one by the root, one up.
    let climbing = format!("../../../../../..{}", outside.display());
    for (number, led) in [outside.to_str().unwrap(), climbing.as_str(), "/"].into_iter().enumerate() {
        symlink(led, volume.join("l")).unwrap();
        let racer = Racer::start(volume.clone(), "d", "l");
        let mount = |target: String, source: MountSource| Mount {
            target: target.into(),
            source,
            access: Access::ReadWrite,
            restrictions: Restrictions::default(),
        };
        let mut landed = 0;
        for round in 0..25 {
            let target = format!("/v/d/x{number}-{round}");
            let mounts = vec![
                mount("/v".to_owned(), MountSource::Host(volume.clone())),
                mount(target.clone(), MountSource::Tmpfs(Tmpfs::default())),
                mount(format!("{target}f/deep/file"), MountSource::Host(house.path().join("file"))),
            ];
            // Where they land is decided by the race, and one may fail; but they land where the program sees them.
            let script = format!("grep -c '/x{number}-{round}' /proc/self/mountinfo");
            if let Ok(outcome) = house.try_run(shell(&script), mounts, Limits::default()) {
                assert_eq!(outcome.output, "2\n", "something landed outside of the root");
                landed += 1;
            }
            let names = [format!("/x{number}-{round}"), format!("/x{number}-{round}f")];
            assert!(names.iter().all(|name| !std::path::Path::new(name).exists()), "made on the host");
        }
        let rounds = racer.rounds();
        assert!(rounds > 100 && landed > 0, "nobody raced: {rounds} rounds, {landed} starts");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 0, "made outside through {led}");
        for name in ["d", "l"] {
            let path = volume.join(name);
            if path.is_symlink() {
                fs::remove_file(path).unwrap();
            } else if name == "l" {
                fs::rename(path, volume.join("d")).unwrap();
            }
        }
    }
}

fn over_proc(house: &House) {
    let fake = house.path().join("fake");
    fs::create_dir_all(fake.join("self/attr")).unwrap();
    fs::create_dir_all(fake.join("sys/kernel")).unwrap();
    fs::write(fake.join("cpuinfo"), "one\n").unwrap();
    for (link, target) in [("kernel", "/proc"), ("deep", "proc/self/../sys")] {
        symlink(target, house.base().join(link)).unwrap();
    }
    let bind = |target: &str, source: &str| Mount {
        target: target.into(),
        source: MountSource::Host(fake.join(source)),
        access: Access::ReadWrite,
        restrictions: Restrictions::default(),
    };
    let memory = |target: &str| Mount { source: MountSource::Tmpfs(Tmpfs::default()), ..bind(target, "") };
    for mount in [
        bind("/proc", ""),
        bind("/proc/", ""),
        bind("/kernel", ""),
        memory("/proc"),
        memory("/kernel"),
        bind("/proc/sys", "sys"),
        bind("/deep", "sys"),
        bind("/proc/self/attr", "self/attr"),
        bind("/proc/version", "cpuinfo"),
        bind("/kernel/cpuinfo", "cpuinfo"),
    ] {
        let target = mount.target.display().to_string();
        let refused = house.try_run(shell("true"), vec![mount], Limits::default());
        let error = refused.err().unwrap_or_else(|| panic!("{target} was covered"));
        assert!(chain(&error).contains("where only the kernel says what is true"), "{}", chain(&error));
    }
    // What tells of the machine may be told otherwise, and a procfs may lie on another.
    let outcome = house.run(shell("cat /proc/cpuinfo"), vec![bind("/proc/cpuinfo", "cpuinfo")]);
    assert_eq!(outcome.output, "one\n");
    let hosts = Mount { source: MountSource::Host("/proc".into()), ..bind("/proc", "") };
    let outcome = house.run(shell("stat -f -c %T /proc"), vec![hosts]);
    assert_eq!(outcome.output, "proc\n");
}

fn given_dev(house: &House) {
    use std::os::unix::fs::MetadataExt as _;
    symlink("dev", house.base().join("nodes")).unwrap();
    for target in ["/dev", "/nodes"] {
        let given = house.path().join(format!("given{}", target.len()));
        fs::create_dir(&given).unwrap();
        let null = given.join("null");
        let node = rustix::fs::FileType::CharacterDevice;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, &null, node, mode, rustix::fs::makedev(1, 3)).unwrap();
        std::os::unix::fs::chown(&null, Some(7), Some(8)).unwrap();
        let mount = Mount {
            target: target.into(),
            source: MountSource::Host(given.clone()),
            access: Access::ReadWrite,
            restrictions: Restrictions::default(),
        };
        assert_eq!(house.run(shell("ls /dev"), vec![mount]).output, "null\n");
        let left: Vec<_> = fs::read_dir(&given).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["null"], "nothing is made there");
        let meta = fs::metadata(&null).unwrap();
        assert_eq!((meta.mode() & 0o777, meta.uid(), meta.gid()), (0o600, 7, 8), "nothing is changed there");
    }
    let memory = Mount {
        target: "/dev".into(),
        source: MountSource::Tmpfs(Tmpfs::default()),
        access: Access::ReadWrite,
        restrictions: Restrictions::default(),
    };
    let outcome = house.run(shell("echo x > /dev/null && echo made"), vec![memory]);
    assert_eq!(outcome.output, "made\n", "memory of its own is filled as any");
}

fn working_folder(house: &House) {
    symlink("/proc/self/fd", house.base().join("fds")).unwrap();
    for path in [
        "/proc/self/fd/3",
        "/proc/self/fd/7",
        "/proc/self/cwd",
        "/fds/3",
        "/proc/1/root",
        "/proc/thread-self/fd/4",
    ] {
        let mut options = shell("cat ../../../../canary; ls");
        options.cwd = path.to_owned();
        let result = house.try_run(options, Vec::new(), Limits::default());
        assert!(
            result.is_err(),
            "{path} was entered: {}",
            result.map(|outcome| outcome.output).unwrap_or_default()
        );
    }
    let mut options = shell("echo $PWD");
    options.cwd = "/../../..".to_owned();
    assert_eq!(house.run(options, Vec::new()).output, "/\n");
}

fn devices(house: &House) {
    let script = "for n in 'b 254 0' 'b 8 0' 'c 1 1' 'c 10 200'; do mknod /data/d $n && (cat /data/d > /dev/null) 2>&1; rm /data/d; done; \
                  mknod /data/null c 1 3 && echo x > /data/null && echo null";
    symlink("busybox", house.base().join("bin/rm")).unwrap();
    let output = house.shell(script);
    assert_eq!(output.matches("Operation not permitted").count(), 4, "{output}");
    assert!(output.ends_with("null\n"), "{output}");
}

fn own_program(house: &House) {
    // A created program is still ours: what it runs can be seen from outside, and must not be writable.
    let (root, _) = house.root();
    let order = rbuild_sandbox::Order {
        spec: rbuild_sandbox::profile::step(shell("true")).unwrap(),
        root,
        mounts: Vec::new(),
        stubs: rbuild_sandbox::Stubs::Remove,
    };
    let slot = house.slot(Limits::default(), rbuild_sandbox::Lifetime::Bound);
    let created = slot.create(order, rbuild_sandbox::Stdio::default()).unwrap();
    let exe = format!("/proc/{}/exe", created.pid());
    let error = fs::OpenOptions::new().write(true).open(exe).unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(libc::EROFS | libc::EACCES | libc::ETXTBSY)), "{error}");
    // It cannot be traced by those it shares the namespaces with: its files in /proc belong to nobody there.
    let owner =
        std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{}/fd", created.pid())).unwrap());
    assert_eq!(owner, 0);
    drop(created);
}

fn unknown_restrictions(house: &House) {
    use oci_spec::runtime::Spec;
    let refused = |change: &dyn Fn(&mut Spec)| {
        let mut spec = rbuild_sandbox::profile::step(shell("true")).unwrap();
        change(&mut spec);
        let (root, _) = house.root();
        let order =
            rbuild_sandbox::Order { spec, root, mounts: Vec::new(), stubs: rbuild_sandbox::Stubs::Remove };
        let result = house
            .slot(Limits::default(), rbuild_sandbox::Lifetime::Bound)
            .launch(order, rbuild_sandbox::Stdio::default());
        let error = result.expect_err("a refusal");
        assert!(matches!(error, rbuild_sandbox::LaunchError::Order(_)), "{}", chain(&error));
    };
    refused(&|spec| {
        spec.process_mut().as_mut().unwrap().set_apparmor_profile(Some("strict".to_owned()));
    });
    refused(&|spec| {
        spec.process_mut().as_mut().unwrap().set_selinux_label(Some("x:y".to_owned()));
    });
    refused(&|spec| {
        let parameters = [("kernel.core_pattern".to_owned(), "x".to_owned())].into();
        spec.linux_mut().as_mut().unwrap().set_sysctl(Some(parameters));
    });
    refused(&|spec| {
        let parameters = [("net.ipv4/../../kernel/core_pattern".to_owned(), "x".to_owned())].into();
        spec.linux_mut().as_mut().unwrap().set_sysctl(Some(parameters));
    });
    refused(&|spec| {
        spec.linux_mut().as_mut().unwrap().set_namespaces(Some(Vec::new()));
    });
    refused(&|spec| {
        spec.process_mut().as_mut().unwrap().set_env(Some(vec!["NAME".to_owned()]));
    });
    refused(&|spec| {
        spec.process_mut().as_mut().unwrap().set_args(Some(vec!["x".repeat(200 << 10)]));
    });
}

fn privileged(house: &House) {
    let mut options = guest(&["unshare-user", "clone3", "umount-proc"]);
    options.confinement = Confinement { privilege: Privilege::Privileged, ..Confinement::default() };
    let output = house.run(options, Vec::new()).output;
    assert!(output.starts_with("unshare-user: ok\n") && !output.contains("ENOSYS"), "{output}");
}

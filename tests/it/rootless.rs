//! Without root: an ordinary user builds and runs, with the same result.
//!
//! One of the users here has no subordinate ids, so there is only one user in their namespace. The other one has a
//! range, in files that only the test's own mount namespace shows as `/etc/subuid` and its like; `cargo xtask rootless`
//! does the same in a machine that was made for it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use rbuild_testkit::context::{Output, TestContext};
use rbuild_testkit::privilege;
use serde_json::json;

use crate::containers_lost::kill;
use crate::scene;

const USER: u32 = 12345;
const EPOCH: &str = "1700000000";
const DOCKERFILE: &str = "FROM busybox\nRUN echo one > /one && ln /one /two && rm -r /tmp && mkdir /tmp\n\
    COPY Dockerfile /kept/\nRUN rm /two && mkfifo /fifo\nCMD cat /one && id -u\n";

/// The program as the user calls it.
fn as_user(context: &TestContext, arguments: &[&str]) -> Output {
    let program = context.folder().join("rbuild").to_string_lossy().into_owned();
    let user = USER.to_string();
    let mut all = vec!["--reuid", &user, "--regid", &user, "--clear-groups", "--", &program];
    all.extend(arguments);
    context.rbuild(all).env("SOURCE_DATE_EPOCH", EPOCH).run()
}

/// A folder of root's is not imported by a user, who sees all strangers as one; a folder of their own is.
fn imports_only_what_is_theirs(user: &TestContext, id: u32, call: fn(&TestContext, &[&str]) -> Output) {
    let folder = user.project().join("tree");
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(folder.join("file"), "x").unwrap();
    chown(&folder, Some(id), Some(id)).unwrap();
    let refused = call(user, &["import", "tree", "tree"]);
    refused.assert_code(1);
    for told in ["`file` belongs to somebody", "import a tar"] {
        assert!(refused.stderr.contains(told), "{refused}");
    }
    chown(folder.join("file"), Some(id), Some(id)).unwrap();
    call(user, &["import", "tree", "tree"]).assert_success();
}

/// A container whose monitor was killed, and no command is there: the next ones look after it as after any other.
fn outlives_its_monitor(user: &TestContext) {
    let says = |arguments: &[&str], wanted: &str| {
        let output = as_user(user, arguments);
        output.assert_success();
        assert!(output.stdout.contains(wanted), "{output}");
        output.stdout
    };
    says(&["run", "-d", "--name", "kept", "--network", "none", "x", "sleep", "1000"], "");
    let program = says(&["inspect", "kept", "--format", "{{.State.Pid}}"], "");
    kill(&json!({ "pid": processes(&program)[0] }));
    says(&["exec", "kept", "echo", "hi"], "hi");
    says(&["kill", "kept"], "kept");
    let code = says(&["wait", "kept"], "");
    // Kernels before 6.15 tell it only to the parent, which was the monitor.
    assert!(matches!(code.trim(), "137" | "255"), "{code}");
    says(&["rm", "kept"], "kept");
}

/// A file system that goes with the test, however that ends.
struct Mounted<'a>(&'a str);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", self.0]).status();
    }
}

/// Where trees have to be copied those verbs say so that make some, and no other.
fn says_where_it_copies(user: &TestContext) {
    // A file system without attributes, which overlays cannot mark anything on.
    let at = user.folder().join("ram");
    fs::create_dir(&at).unwrap();
    let at = at.to_str().unwrap();
    let owned = format!("{at}/store");
    assert!(Command::new("mount").args(["-t", "ramfs", "ramfs", at]).status().unwrap().success());
    let _mounted = Mounted(at);
    fs::create_dir(&owned).unwrap();
    chown(&owned, Some(USER), Some(USER)).unwrap();
    let base = user.project().join("base.tar");
    let says = |arguments: &[&str]| {
        let output = as_user(user, &[&["--root", &owned][..], arguments].concat());
        output.assert_success();
        output.stderr.contains("no overlay can be mounted")
    };
    let told =
        [&["load", "-i", base.to_str().unwrap()][..], &["ps", "-a"], &["images"], &["build", "-q", "."]];
    assert_eq!(told.map(says), [false, false, false, true]);
}

#[test]
fn an_ordinary_user_builds_the_image_that_root_builds() {
    let name = "an_ordinary_user_builds_the_image_that_root_builds";
    let Some(root) = scene::scene(name) else { return };
    let user = TestContext::new("/usr/bin/setpriv");
    fs::set_permissions(user.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_rbuild"), user.folder().join("rbuild")).unwrap();
    root.write("Dockerfile", DOCKERFILE);
    user.write("Dockerfile", DOCKERFILE);
    let base = user.project().join("base.tar");
    root.rbuild(["save", "-o", base.to_str().unwrap(), "busybox"]).run().assert_success();
    fs::set_permissions(&base, PermissionsExt::from_mode(0o644)).unwrap();
    for folder in [user.root(), user.runtime(), user.home(), user.project()] {
        chown(&folder, Some(USER), Some(USER)).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    }
    let loaded = as_user(&user, &["load", "-i", "base.tar"]);
    if loaded.stderr.contains("cannot make a user namespace") {
        return privilege::skipped(name, &loaded.stderr);
    }
    loaded.assert_success();
    assert!(loaded.stderr.contains("has no subordinate ids: add the line `12345:100000:65536`"), "{loaded}");
    let denied = as_user(&user, &["--root", root.root().to_str().unwrap(), "ps"]);
    denied.assert_code(1);
    assert!(denied.stderr.contains("hint: a store is one user's: name a folder of your own"), "{denied}");
    imports_only_what_is_theirs(&user, USER, as_user);
    let doctor = as_user(&user, &["doctor"]);
    let mounts = doctor.stdout.lines().find(|line| line.contains("mounts by descriptor"));
    assert!(mounts.is_some_and(|line| !line.contains("missing")), "{doctor}");
    let users = doctor.stdout.lines().find(|line| line.contains("users without root"));
    assert!(users.is_some_and(|line| line.contains("degraded") && line.contains("one id")), "{doctor}");
    assert!(doctor.stdout.contains("networks without root"), "{doctor}");
    let by_user = as_user(&user, &["build", "-q", "-t", "x", "."]);
    by_user.assert_success();
    let by_root = root.rbuild(["build", "-q", "-t", "x", "."]).env("SOURCE_DATE_EPOCH", EPOCH).run();
    by_root.assert_success();
    assert_eq!(by_user.raw_stdout, by_root.raw_stdout, "{by_user}{by_root}");
    let ran = as_user(&user, &["run", "--rm", "--network", "none", "x"]);
    ran.assert_success();
    assert_eq!(ran.stdout, "one\n0\n");
    assert!(!ran.stderr.contains("rules"), "who has no network hears of none: {ran}");
    let again = as_user(&user, &["images", "-q"]);
    again.assert_success();
    let owners = Command::new("find").arg(user.root()).args(["!", "-uid", "12345"]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&owners.stdout), "", "all of the store is the user's");
    let limited = as_user(&user, &["run", "--rm", "-m", "32m", "--network", "none", "x"]);
    limited.assert_code(125);
    assert!(limited.stderr.contains("the cgroup controller `memory`"), "{limited}");
    outlives_its_monitor(&user);
    says_where_it_copies(&user);
}

/// A user with a range of subordinate ids.
const RANGED: u32 = 12346;

/// Runs `$@` as the user, whom only this mount namespace knows: the files beside the script stand in for those of `/etc`.
const WITH_IDS: &str = r#"
for file in passwd group subuid subgid; do
    mount --bind "$ETC/$file" "/etc/$file" || exit 99
done
# Machines without udev make it for root alone.
if [ -c /dev/net/tun ]; then
    [ -e "$ETC/tun" ] || mknod -m 666 "$ETC/tun" c 10 200
    mount --bind "$ETC/tun" /dev/net/tun || exit 99
fi
exec setpriv --reuid 12346 --regid 12346 --clear-groups -- "$@"
"#;

/// The program as the user with a range calls it.
fn as_ranged(context: &TestContext, arguments: &[&str]) -> Output {
    let program = context.folder().join("rbuild").to_string_lossy().into_owned();
    let mut all = vec!["--mount", "--propagation", "private", "sh", "-c", WITH_IDS, "sh", &program];
    all.extend(arguments);
    let etc = context.folder().join("etc");
    context.rbuild(all).env("SOURCE_DATE_EPOCH", EPOCH).env("ETC", etc.to_str().unwrap()).run()
}

/// What listens on the machine's loopback is not reached by any of the addresses that the program which is the way out has
/// for the machine.
fn reaches_no_loopback_of_the_machine(user: &TestContext) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"of the machine\n");
        }
    });
    let mut said = String::new();
    TcpStream::connect(address).unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "of the machine\n");
    let routes = Command::new("ip").args(["-4", "route", "show", "default"]).output().unwrap();
    let routes = String::from_utf8(routes.stdout).unwrap();
    let of_machine: Vec<&str> = routes.lines().filter_map(|line| line.split(' ').nth(2)).collect();
    let script = format!(
        "own=$(ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'); \
         for at in $own 169.254.1.1 169.254.1.2 169.254.1.3 10.0.2.2 10.0.2.3 {}; do \
         timeout 2 nc $at {} < /dev/null & done; wait; echo asked $own",
        of_machine.join(" "),
        address.port()
    );
    let asked = as_ranged(user, &["run", "--rm", "busybox", "sh", "-c", &script]);
    asked.assert_success();
    assert!(asked.stdout.contains("asked 1") && !asked.stdout.contains("machine"), "{asked}");
}

/// The monitor of a container, and its program.
fn processes(program: &str) -> [i32; 2] {
    let program = program.trim();
    let status = fs::read_to_string(format!("/proc/{program}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    [monitor.trim(), program].map(|pid| pid.parse().unwrap())
}

/// Networks are made and taken away also while no container runs, who holds the namespace that they are in; and after the
/// last one was killed with its monitor.
fn has_networks_of_their_own(user: &TestContext) {
    let done = |arguments: &[&str]| {
        let output = as_ranged(user, arguments);
        output.assert_success();
        output.stdout
    };
    for name in ["one", "two"] {
        done(&["network", "create", name]);
    }
    done(&["network", "rm", "two"]);
    let script = "mkdir /www; echo served > /www/name; exec httpd -f -p 80 -h /www";
    let serve = ["run", "-d", "--name", "web", "--network", "one", "-p", "127.0.0.1::80", "busybox"];
    done(&[&serve[..], &["sh", "-c", script]].concat());
    let at = done(&["port", "web", "80/tcp"]);
    let served = || {
        let mut stream = TcpStream::connect(at.trim()).ok()?;
        stream.write_all(b"GET /name HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.ends_with("served\n").then_some(())
    };
    assert!((0..1000).find_map(|_| served()).is_some(), "{at}");
    let by_name = ["run", "--rm", "--network", "one", "busybox", "wget", "-qO-", "http://web/name"];
    assert_eq!(done(&by_name), "served\n");
    for pid in processes(&done(&["inspect", "web", "--format", "{{.State.Pid}}"])) {
        kill(&json!({ "pid": pid }));
    }
    done(&["rm", "-f", "web"]);
    assert_eq!(done(&["network", "prune", "-f"]), "Deleted Networks:\none\n\n");
}

/// Who holds the user's namespaces was killed, with the monitor: what runs lives on, and says how commands get at it again.
fn outlives_the_keeper(user: &TestContext) {
    let done = |arguments: &[&str]| {
        let output = as_ranged(user, arguments);
        output.assert_success();
        output.stdout
    };
    done(&["run", "-d", "--name", "kept", "--network", "none", "busybox", "sleep", "1000"]);
    let [monitor, program] = processes(&done(&["inspect", "kept", "--format", "{{.State.Pid}}"]));
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
    let own = namespace(&program.to_string());
    let is_keeper = |pid: &String| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name == "rbuild-keeper\n" && namespace(pid) == own
    };
    let all = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned());
    let keeper = all.filter(|name| name.parse::<i32>().is_ok()).find(is_keeper).expect("a keeper");
    for pid in [keeper.parse().unwrap(), monitor] {
        kill(&json!({ "pid": pid }));
    }
    assert_eq!(done(&["ps", "--format", "{{.Names}} {{.State}}"]), "kept running\n");
    let refused = as_ranged(user, &["exec", "kept", "true"]);
    let told = "they are of a user namespace whose keeper was killed; restart the container";
    assert!(!refused.status.success() && refused.stderr.contains(told), "{refused}");
    done(&["restart", "-t", "0", "kept"]);
    assert_eq!(done(&["exec", "kept", "echo", "here"]), "here\n");
    done(&["rm", "-f", "kept"]);
}

#[test]
fn a_user_with_subordinate_ids_builds_examples_hello() {
    let name = "a_user_with_subordinate_ids_builds_examples_hello";
    let Some(root) = scene::scene(name) else { return };
    let house = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let bases = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("bases");
    let made = Command::new(house.join("scripts/bases")).arg(&bases).output().unwrap();
    if !made.status.success() {
        return privilege::missing(name, &String::from_utf8_lossy(&made.stderr));
    }
    let user = TestContext::new("/usr/bin/unshare");
    fs::set_permissions(user.folder(), PermissionsExt::from_mode(0o755)).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_rbuild"), user.folder().join("rbuild")).unwrap();
    let etc = user.folder().join("etc");
    fs::create_dir(&etc).unwrap();
    for (file, line) in [
        ("passwd", format!("ranged:x:{RANGED}:{RANGED}::{}:/bin/sh\n", user.home().display())),
        ("group", format!("ranged:x:{RANGED}:\n")),
        ("subuid", "ranged:300000:65536\n".to_owned()),
        ("subgid", "ranged:300000:65536\n".to_owned()),
    ] {
        let host = std::path::Path::new("/etc").join(file);
        if !host.exists() {
            return privilege::missing(name, &format!("there is no {}", host.display()));
        }
        let own = if file.starts_with("sub") { String::new() } else { fs::read_to_string(host).unwrap() };
        fs::write(etc.join(file), own + &line).unwrap();
    }
    let hello = house.join("examples/hello");
    let hello = hello.to_str().unwrap();
    let copied = Command::new("cp").args(["-r", hello]).arg(user.project()).status().unwrap();
    assert!(copied.success());
    for (folder, image) in [("busybox", "busybox:latest"), ("debian", "debian:bookworm-slim")] {
        let tree = bases.join(folder);
        root.rbuild(["import", tree.to_str().unwrap(), image]).run().assert_success();
    }
    let archive = user.project().join("bases.tar");
    let archive = archive.to_str().unwrap();
    root.rbuild(["save", "-o", archive, "busybox:latest", "debian:bookworm-slim"]).run().assert_success();
    fs::set_permissions(archive, PermissionsExt::from_mode(0o644)).unwrap();
    for folder in [user.root(), user.runtime(), user.home(), user.project()] {
        chown(&folder, Some(RANGED), Some(RANGED)).unwrap();
        fs::set_permissions(&folder, PermissionsExt::from_mode(0o700)).unwrap();
    }
    let loaded = as_ranged(&user, &["load", "-i", archive]);
    if loaded.stderr.contains("cannot make a user namespace") {
        return privilege::skipped(name, &loaded.stderr);
    }
    if loaded.stderr.contains("newuidmap") {
        return privilege::missing(name, &loaded.stderr);
    }
    loaded.assert_success();
    assert!(!loaded.stderr.contains("has no subordinate ids"), "{loaded}");
    imports_only_what_is_theirs(&user, RANGED, as_ranged);
    let by_user = as_ranged(&user, &["build", "-q", "-t", "hello", "hello"]);
    by_user.assert_success();
    let by_root = root.rbuild(["build", "-q", "-t", "hello", hello]).env("SOURCE_DATE_EPOCH", EPOCH).run();
    by_root.assert_success();
    assert_eq!(by_user.raw_stdout, by_root.raw_stdout, "{by_user}{by_root}");
    let of_user = as_ranged(&user, &["run", "--rm", "hello", "you"]);
    of_user.assert_success();
    let of_root = root.rbuild(["run", "--rm", "hello", "you"]).run();
    of_root.assert_success();
    reaches_no_loopback_of_the_machine(&user);
    has_networks_of_their_own(&user);
    outlives_the_keeper(&user);
    assert_eq!(of_user.raw_stdout, of_root.raw_stdout, "{of_user}{of_root}");
    // Files of the image's other users belong to ids of the range, none to a user of the host.
    let store = Command::new("find").arg(user.root()).args(["-printf", "%U\\n"]).output().unwrap();
    let mut owners: Vec<u32> =
        String::from_utf8_lossy(&store.stdout).lines().map(|id| id.parse().unwrap()).collect();
    owners.sort_unstable();
    owners.dedup();
    assert!(owners.iter().all(|id| *id == RANGED || (300_000..365_536).contains(id)), "{owners:?}");
}

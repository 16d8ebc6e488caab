//! Containers in the foreground, with a real root made of busybox.
//!
//! The test program is its own stage, so it brings its own small harness. Everything here needs root: without it the
//! scenarios are told to be skipped.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a harness of its own reports by printing")]

mod place;

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;

use place::{Place, Watched};
use rbuild_engine::RunRequest;
use rbuild_engine::request::{
    Begins, DeviceRequest, Init, Missing, MountKind, MountRequest, NetworkRequest, PortRequest, Stdin,
};
use rbuild_network::ports::Protocol;
use rbuild_sandbox::{Access, Restrictions, Tmpfs};

/// A scenario: its name says what must hold.
type Scenario = (&'static str, fn(&Place));

const ALL: [Scenario; 9] = [
    ("output, error output and status are passed on", passes_on),
    ("a published port is reached from the host itself", ports),
    ("a device comes with what may be done with it", devices),
    ("a folder in memory is as it was asked for", tmpfs),
    ("a volume begins with what the image has, and keeps what is written", volumes),
    ("a volume of the image goes with its container", image_volumes),
    ("a name that is taken names its holder", names),
    ("a reaper is the first process if it is asked for", reaper),
    ("what cannot be had is told, and leaves nothing", refusals),
];

fn main() -> ExitCode {
    if let Some(status) = rbuild_sandbox::stage::dispatch(std::env::args_os()) {
        return status;
    }
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let chosen: Vec<_> = ALL
        .iter()
        .filter(|(name, _)| filter.as_ref().is_none_or(|part| name.contains(part.as_str())))
        .collect();
    if !rbuild_testkit::privilege::is_root("containers in the foreground") {
        return ExitCode::SUCCESS;
    }
    let place = Place::new();
    let mut failed = 0;
    println!("\nrunning {} scenarios", chosen.len());
    for (name, scenario) in &chosen {
        let ok = catch_unwind(AssertUnwindSafe(|| scenario(&place))).is_ok();
        let left = place.leftovers();
        println!("scenario {name} ... {}", if ok && left.is_empty() { "ok" } else { "FAILED" });
        if !left.is_empty() {
            eprintln!("    left behind: {left:?}");
        }
        failed += usize::from(!ok || !left.is_empty());
    }
    println!("\nresult: {} passed; {failed} failed\n", chosen.len() - failed);
    drop(place);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A request for a shell script without a network.
fn shell(script: &str) -> RunRequest {
    let mut request = RunRequest::new("busybox");
    request.command = ["sh", "-c", script].map(str::to_owned).to_vec();
    request.network = NetworkRequest::None;
    request
}

fn mount(target: &str, kind: MountKind) -> MountRequest {
    MountRequest { target: target.to_owned(), access: Access::ReadWrite, kind }
}

fn passes_on(place: &Place) {
    let mut request = shell("echo out; echo err >&2; echo $A $HOSTNAME; pwd; id -un; cat; exit 7");
    request.env.push("A=b".to_owned());
    request.hostname = Some("here".to_owned());
    request.workdir = Some("/tmp".to_owned());
    request.user = Some("nobody".to_owned());
    request.stdin = Stdin::Attached;
    let (code, output) = place.run_with(&request, Watched::feeding("typed\n"));
    assert_eq!((code, &*output), (7, "out\nb here\n/tmp\nnobody\ntyped\n--\nerr\n"));
}

fn ports(place: &Place) {
    let mut request = shell("httpd -p 80 -h /etc; echo ready; read line");
    request.network = NetworkRequest::Bridge;
    request.stdin = Stdin::Attached;
    let host_ip = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let port = place.free_port();
    request.published.push(PortRequest { host_ip, host_port: Some(port), port: 80, protocol: Protocol::Tcp });
    let act = move || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(b"GET /passwd HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("root:x:0:0"), "{answer}");
    };
    let (code, output) = place.run_with(&request, Watched::when("ready\n", act));
    assert_eq!((code, &*output), (0, "ready\n--\n"));
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect_err("the port is free again");
}

fn devices(place: &Place) {
    let script = "head -c 3 /dev/nought | wc -c; (echo x > /dev/nought) 2>&1 | grep -c 'not permitted'; head -c 1 /dev/kmsg 2>&1 | grep -c 'No such'";
    let mut request = shell(script);
    let (host, container) = ("/dev/zero".into(), "/dev/nought".into());
    request.devices.push(DeviceRequest { host, container, access: "r".to_owned() });
    // The rules of all containers let everybody write zeroes, so the right to write shows with another device.
    assert_eq!(place.run(&request).1, "3\n0\n1\n--\n");
    let device =
        ["/dev/fuse", "/dev/loop-control", "/dev/net/tun"].into_iter().find(|path| Path::new(path).exists());
    let Some(device) = device else {
        return rbuild_testkit::privilege::skipped(
            "rights to a device",
            "the host has none that opens freely",
        );
    };
    let mut request =
        shell("(: < /dev/given) && echo opened; (: > /dev/given) 2>&1 | grep -c 'not permitted'");
    let (host, container) = (device.into(), "/dev/given".into());
    request.devices.push(DeviceRequest { host, container, access: "r".to_owned() });
    assert_eq!(place.run(&request).1.lines().take(2).collect::<Vec<_>>(), ["opened", "1"]);
}

fn tmpfs(place: &Place) {
    let script = "stat -c '%a %u %g' /m; cp /bin/busybox /m/echo && /m/echo ran; \
                  dd if=/dev/zero of=/m/big bs=1M count=9 2>&1 | grep -c 'No space'";
    let mut request = shell(script);
    let tmpfs = Tmpfs { size: Some(4 << 20), mode: 0o750, uid: 7, gid: 8 };
    let restrictions = Restrictions { noexec: false, ..Restrictions::ALL };
    request.mounts.push(mount("/m", MountKind::Tmpfs { tmpfs: tmpfs.clone(), restrictions }));
    assert_eq!(place.run(&request).1, "750 7 8\nran\n1\n--\n");
    request.mounts = vec![mount("/m", MountKind::Tmpfs { tmpfs, restrictions: Restrictions::ALL })];
    assert!(!place.run(&request).1.contains("ran"));
}

fn volumes(place: &Place) {
    let volume = |begins| MountKind::Volume { name: Some("kept".to_owned()), begins, subpath: None };
    let mut request = shell("cat /etc/group | head -n 1; echo more > /etc/more; stat -c %a /etc");
    request.mounts.push(mount("/etc", volume(Begins::WithImage)));
    assert_eq!(place.run(&request).1, "root:x:0:\n755\n--\n");
    let mut request = shell("ls /v");
    request.mounts.push(mount("/v", volume(Begins::WithImage)));
    assert_eq!(place.run(&request).1, "group\nmore\npasswd\n--\n");
    let mut request = shell("ls /bin | wc -l");
    let name = Some("empty".to_owned());
    request
        .mounts
        .push(mount("/bin/applets", MountKind::Volume { name, begins: Begins::Empty, subpath: None }));
    place.run(&request);
    // A volume that is there but empty begins with what the image has as well, as Docker does it.
    let mut request = shell("ls /v");
    let name = Some("empty".to_owned());
    request.mounts.push(mount("/v", MountKind::Volume { name, begins: Begins::WithImage, subpath: None }));
    assert_eq!(place.run(&request).1, "--\n");
}

fn image_volumes(place: &Place) {
    let mut request = shell("ls /data; echo own > /data/own; stat -f -c %T /data; ls /data");
    request.image = "with-volume".to_owned();
    let (_, first) = place.run(&request);
    assert!(first.starts_with("from image\n") && first.ends_with("from image\nown\n--\n"), "{first}");
    assert_eq!(place.run(&request).1, first, "nothing is kept");
    let source = place.folder("host");
    request.mounts.push(mount("/data", MountKind::Bind { source: source.clone(), missing: Missing::Refuse }));
    assert!(place.run(&request).1.ends_with("own\n--\n"));
    assert_eq!(std::fs::read_to_string(source.join("own")).unwrap(), "own\n");
}

fn names(place: &Place) {
    let mut request = shell("echo ready; read line");
    request.name = Some("one".to_owned());
    request.stdin = Stdin::Attached;
    std::thread::scope(|scope| {
        let (told, tell) = std::sync::mpsc::channel();
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let held = request.clone();
        let first = scope.spawn(move || {
            let act = move || {
                told.send(()).unwrap();
                wait.recv().unwrap();
            };
            place.run_with(&held, Watched::when("ready\n", act))
        });
        tell.recv().unwrap();
        let error = place.fail(&request);
        assert!(error.contains("\"one\" is already in use by process"), "{error}");
        go.send(()).unwrap();
        assert_eq!(first.join().unwrap().0, 0);
    });
    assert_eq!(place.run(&request).0, 1, "the name is free again, and input is at its end");
}

fn reaper(place: &Place) {
    let mut request = shell("[ $$ = 1 ] || echo beside; exit 5");
    assert_eq!(place.run(&request), (5, "--\n".to_owned()));
    request.init = Init::Reaper;
    assert_eq!(place.run(&request), (5, "beside\n--\n".to_owned()));
}

fn refusals(place: &Place) {
    let mut request = shell("true");
    request
        .mounts
        .push(mount("/x", MountKind::Bind { source: "/no such folder".into(), missing: Missing::Refuse }));
    assert!(place.fail(&request).contains("bind source path does not exist: /no such folder"));
    let mut request = shell("true");
    request.network = NetworkRequest::Bridge;
    let port = place.free_port();
    let held = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let host_ip = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
    request.published.push(PortRequest { host_ip, host_port: Some(port), port: 80, protocol: Protocol::Tcp });
    assert!(place.fail(&request).contains("already in use"));
    drop(held);
    let mut request = shell("true");
    request.devices.push(DeviceRequest {
        host: "/etc/passwd".into(),
        container: "/dev/x".into(),
        access: "rwm".to_owned(),
    });
    assert!(place.fail(&request).contains("is not a device node"));
    assert!(
        place
            .fail(&RunRequest { entrypoint: Some(vec!["/nothing".to_owned()]), ..shell("") })
            .contains("/nothing")
    );
}

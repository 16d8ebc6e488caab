//! What there is only so much of, and what does not answer: descriptors, processes, readers, file systems. Nobody else is
//! held up by it, nothing half done stays, and it is told what there was too little of.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rbuild_testkit::context::TestContext;
use rbuild_testkit::leaks::Leaks;
use rbuild_testkit::privilege;
use rbuild_testkit::settle::settle;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use rustix::process::Signal;

use crate::containers_lost::{kill, state};
use crate::scene::{assert_clean, furnish, said, scene};

/// Flags of a container that needs no network and no time to end.
const PLAIN: [&str; 4] = ["--network", "none", "--stop-signal", "KILL"];

fn begin(context: &TestContext, name: &str, flags: &[&str], program: &[&str]) -> String {
    let line = [&["run", "-d", "--name", name], &PLAIN[..], flags, &["busybox"], program].concat();
    let output = context.rbuild(line).run();
    output.assert_success();
    String::from_utf8_lossy(&output.raw_stdout).trim().to_owned()
}

/// Descriptors of a process, and bytes of memory that it has.
fn possessions(pid: i64) -> (usize, u64) {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (files, resident.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024)
}

#[test]
fn who_reads_nothing_or_vanishes_holds_nobody_up() {
    let Some(context) = scene("who_reads_nothing_or_vanishes_holds_nobody_up") else { return };
    let program = "mkfifo /go /done; echo first; exec 3<>/go; \
                   while read -r word <&3; do case $word in \
                   flood) yes 0123456789abcdef | head -c 8000000; echo flooded > /done;; \
                   *) echo $word;; esac; done";
    let id = begin(&context, "busy", &[], &["sh", "-c", program]);
    let order = |word: &str| said(&context, ["exec", "busy", "sh", "-c", &format!("echo {word} > /go")]);
    let follower = context.rbuild(["logs", "-f", "busy"]).start();
    follower.until("first");
    let monitor = state(&context, &id).1["monitor"]["pid"].as_i64().unwrap();
    let (files, memory) = possessions(monitor);

    // Three readers that stop reading, and the container goes on: its megabytes are in the log.
    let attached = context.rbuild(["attach", "--no-stdin", "busy"]).start();
    while !attached.within("ping", Duration::from_millis(100)) {
        order("ping");
    }
    let executed = context.rbuild(["exec", "busy", "yes", "unread"]).start();
    executed.until("unread");
    for reader in [&follower, &attached, &executed] {
        reader.signal(Signal::STOP);
    }
    order("flood");
    assert_eq!(said(&context, ["exec", "busy", "cat", "/done"]), "flooded");
    let grown = possessions(monitor).1.saturating_sub(memory);
    assert!(grown < 4 << 20, "{grown} bytes are kept for readers that do not read");
    for reader in [attached, executed, follower] {
        reader.kill();
    }
    said(&context, ["exec", "busy", "killall", "yes"]);

    // Many who vanish leave nothing with the monitor.
    for _ in 0..8 {
        let clients = [
            context.rbuild(["attach", "--no-stdin", "busy"]).start(),
            context.rbuild(["exec", "busy", "true"]).start(),
            context.rbuild(["wait", "busy"]).start(),
        ];
        order("more");
        clients.into_iter().for_each(|client| drop(client.kill()));
    }
    // Programs of theirs have ended, and who comes now is answered after who went.
    let listed = || said(&context, ["top", "busy", "-o", "pid,args"]);
    while listed().lines().any(|line| line.ends_with(" true")) {}
    order("last");
    let (left, _) = possessions(monitor);
    assert!(left <= files, "{left} descriptors, {files} before");
    said(&context, ["rm", "-f", "busy"]);
    assert_clean(&context);
}

#[test]
fn few_descriptors_are_enough_or_it_is_told() {
    let Some(context) = scene("few_descriptors_are_enough_or_it_is_told") else { return };
    // The soft limit of a session is not what the command may have.
    context.write(
        "compose.yaml",
        "name: many\nservices: { a: { image: busybox, command: sleep 1000, stop_signal: SIGKILL, scale: 20 } }\n",
    );
    let soft = ["sh", "-c", "ulimit -Sn 40; exec \"$@\"", "sh"];
    context.rbuild(["compose", "up", "-d"]).through(soft).run().assert_success();
    assert_eq!(said(&context, ["ps", "-q"]).lines().count(), 20);
    context.rbuild(["compose", "down"]).through(soft).run().assert_success();

    let run = [&["run", "--rm"], &PLAIN[..], &["busybox", "echo", "ran"]].concat();
    let mut refused = 0;
    for files in ["10", "14", "18", "22", "26", "64"] {
        let few = ["sh", "-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"];
        let output = context.rbuild(&run).through(few).run();
        if output.status.success() {
            assert_eq!(output.stdout, "ran\n", "{files}");
        } else {
            refused += 1;
            assert!(output.stderr.contains("Too many open files"), "{files}: {output}");
            assert!(!output.stderr.contains("internal error"), "{files}: {output}");
            output.assert_code(125);
        }
        assert_eq!(said(&context, ["ps", "-aq"]), "", "{files}");
    }
    assert!((2..6).contains(&refused), "{refused} of six");
    assert_clean(&context);
}

/// A control group that counts processes, gone at the end.
struct Few(PathBuf);

impl Few {
    fn make() -> Option<Self> {
        let name = format!("rbuild-few-{}", std::process::id());
        ["/sys/fs/cgroup/pids", "/sys/fs/cgroup"].into_iter().find_map(|top| {
            let group = Self(Path::new(top).join(&name));
            fs::create_dir(&group.0).ok()?;
            group.0.join("pids.max").exists().then_some(group)
        })
    }
}

impl Drop for Few {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

#[test]
fn a_machine_without_a_process_to_spare() {
    let test = "a_machine_without_a_process_to_spare";
    let Some(context) = scene(test) else { return };
    let Some(few) = Few::make() else { return privilege::skipped(test, "no control groups of processes") };
    let enter = format!("echo $$ > {}/cgroup.procs; exec \"$@\"", few.0.display());
    let run = [&["run", "--rm"], &PLAIN[..], &["busybox", "echo", "ran"]].concat();
    let (mut refused, mut ran) = (0, 0);
    for most in [1, 2, 3, 4, 6, 9, 40] {
        fs::write(few.0.join("pids.max"), most.to_string()).unwrap();
        let output = context.rbuild(&run).through(["sh", "-c", &enter, "sh"]).run();
        if output.status.success() {
            assert_eq!(output.stdout, "ran\n", "{most}");
            ran += 1;
        } else {
            refused += 1;
            assert!(output.stderr.contains("Resource temporarily unavailable"), "{most}: {output}");
            assert!(!output.stderr.contains("internal error"), "{most}: {output}");
        }
        // What was begun is undone, with the processes that there are.
        assert_eq!(said(&context, ["ps", "-aq"]), "", "{most}");
    }
    assert!(refused > 0 && ran > 0, "{refused} refused, {ran} ran");
    assert_clean(&context);
}

#[test]
fn what_a_container_shares_by_name_goes_with_it() {
    let Some(context) = scene("what_a_container_shares_by_name_goes_with_it") else { return };
    let leave = "touch /dev/shm/rbuild-left /dev/mqueue/rbuild-left && ls /dev/shm /dev/mqueue";
    begin(&context, "first", &["--ipc", "shareable"], &["sleep", "1000"]);
    let left = said(&context, ["exec", "first", "sh", "-c", leave]);
    assert_eq!(left.matches("rbuild-left").count(), 2, "{left}");
    // Seen by whom it is shared with, and by nobody else.
    let list = |ipc: &str| {
        let look = ["sh", "-c", "ls /dev/shm; ls /dev/mqueue"];
        let line = [&["run", "--rm", "--ipc", ipc], &PLAIN[..], &["busybox"], &look].concat();
        let output = context.rbuild(line).run();
        output.assert_success();
        output.stdout
    };
    assert!(list("container:first").contains("rbuild-left"));
    assert_eq!(list("private"), "");
    assert!(!Path::new("/dev/shm/rbuild-left").exists() && !Path::new("/dev/mqueue/rbuild-left").exists());
    said(&context, ["restart", "first"]);
    assert_eq!(said(&context, ["exec", "first", "ls", "/dev/shm"]), "", "it does not outlive a run");
    said(&context, ["rm", "-f", "first"]);
    assert_clean(&context);
}

/// A file system that answers nothing but the kernel's greeting.
struct Silent {
    device: Option<File>,
    at: PathBuf,
}

impl Silent {
    fn mount(at: &Path) -> Option<Self> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        fs::create_dir_all(at).unwrap();
        let data = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other\0", device.as_raw_fd());
        let data = std::ffi::CStr::from_bytes_with_nul(data.as_bytes()).unwrap();
        mount("silent", at, "fuse", MountFlags::empty(), data).ok()?;
        let mut silent = Self { device: Some(device), at: at.to_owned() };
        let (unique, operation) = silent.request();
        assert_eq!(operation, 26, "FUSE_INIT");
        let mut reply = Vec::new();
        reply.extend((16_u32 + 64).to_ne_bytes());
        reply.extend(0_i32.to_ne_bytes());
        reply.extend(unique.to_ne_bytes());
        // Version 7.31, and a write of a page at most; nothing else is promised.
        for number in [7_u32, 31, 4096, 0, 0, 4096] {
            reply.extend(number.to_ne_bytes());
        }
        reply.resize(16 + 64, 0);
        silent.device.as_mut().unwrap().write_all(&reply).unwrap();
        Some(silent)
    }

    /// Waits until somebody asks it for something. The question is not taken: the kernel would let nobody go who has asked.
    fn await_question(&self) {
        let mut asked = [PollFd::new(self.device.as_ref().unwrap(), PollFlags::IN)];
        let patience = Timespec { tv_sec: 120, tv_nsec: 0 };
        assert_eq!(poll(&mut asked, Some(&patience)).unwrap(), 1, "nobody asks");
    }

    /// Takes a question; returns its number and kind.
    fn request(&mut self) -> (u64, u32) {
        let mut buffer = vec![0; 64 << 10];
        let count = self.device.as_mut().unwrap().read(&mut buffer).unwrap();
        assert!(count >= 40, "{count}");
        let operation = u32::from_ne_bytes(buffer[4..8].try_into().unwrap());
        (u64::from_ne_bytes(buffer[8..16].try_into().unwrap()), operation)
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // Whoever still asks is told that it is gone.
        self.device = None;
        let _ = unmount(&self.at, UnmountFlags::DETACH);
    }
}

#[test]
fn a_file_system_that_does_not_answer_holds_up_who_asks_it_and_nobody_else() {
    let test = "a_file_system_that_does_not_answer_holds_up_who_asks_it_and_nobody_else";
    let Some(context) = scene(test) else { return };
    let Some(silent) = Silent::mount(&context.folder().join("silent")) else {
        return privilege::skipped(test, "no file systems of programs (`/dev/fuse`)");
    };
    begin(&context, "other", &[], &["sleep", "1000"]);
    let volume = format!("{}/data:/data", silent.at.display());
    let line = [&["run", "--name", "waits"], &PLAIN[..], &["-v", &volume, "busybox", "true"]].concat();
    let waiting = context.rbuild(line).start();
    silent.await_question();
    assert_eq!(said(&context, ["exec", "other", "echo", "here"]), "here");
    assert_eq!(said(&context, ["run", "--rm", "--network", "none", "busybox", "echo", "too"]), "too");
    said(&context, ["stop", "other"]);
    assert!(said(&context, ["ps", "-a", "--format", "{{.Names}}"]).contains("other"));
    // Who waits can be told to stop.
    waiting.signal(Signal::INT);
    let ended = waiting.wait();
    assert!(!ended.status.success(), "{ended:?}");
    drop(silent);
    context.rbuild(["rm", "-f", "waits", "other"]).run().assert_success();
    assert_clean(&context);
}

/// A file system in a file, which can be broken.
struct Breakable {
    at: PathBuf,
    image: PathBuf,
}

impl Breakable {
    fn make(context: &TestContext) -> Option<Self> {
        let broken = Self { at: context.folder().join("disk"), image: context.folder().join("disk.img") };
        fs::create_dir_all(&broken.at).unwrap();
        File::create(&broken.image).unwrap().set_len(64 << 20).unwrap();
        let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&broken.image).status();
        (made.is_ok_and(|status| status.success()) && broken.mount()).then_some(broken)
    }

    fn mount(&self) -> bool {
        let mut command = Command::new("mount");
        command.args(["-o", "loop,errors=remount-ro"]).args([&self.image, &self.at]);
        command.output().is_ok_and(|output| output.status.success())
    }

    /// Has the kernel find it damaged: from now on nothing can be written.
    fn damage(&self) -> bool {
        let found = Command::new("findmnt").args(["-no", "SOURCE"]).arg(&self.at).output().unwrap();
        let source = String::from_utf8(found.stdout).unwrap();
        let device = source.trim().trim_start_matches("/dev/");
        fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").is_ok()
            && fs::write(self.at.join("probe"), "").is_err()
    }

    fn repair(&self) {
        assert!(Command::new("umount").arg(&self.at).status().unwrap().success());
        let check = Command::new("fsck.ext4").args(["-p", "-f"]).arg(&self.image).output().unwrap();
        assert!(check.status.code().is_some_and(|code| code <= 1), "{check:?}");
        assert!(self.mount());
    }
}

impl Drop for Breakable {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

#[test]
fn a_store_that_can_be_written_no_more() {
    let test = "a_store_that_can_be_written_no_more";
    let Some(mut context) = scene(test) else { return };
    let Some(disk) = Breakable::make(&context) else {
        return privilege::skipped(test, "no file system in a file (loop devices, ext4)");
    };
    context.set("RBUILD_ROOT", disk.at.join("store"));
    furnish(&context);
    let id = begin(&context, "works", &[], &["sh", "-c", "echo begun; sleep 1000"]);
    let store8 = fs::read_to_string(disk.at.join("store/meta.json")).unwrap();
    let store8: serde_json::Value = serde_json::from_str(&store8).unwrap();
    let run = PathBuf::from("/run/rbuild").join(&store8["id"].as_str().unwrap()[..8]);
    let record = |name: &str| -> serde_json::Value {
        let text = fs::read_to_string(run.join("containers").join(&id).join(name)).unwrap();
        serde_json::from_str(text.split_once('\n').unwrap().1).unwrap()
    };
    if !disk.damage() {
        return privilege::skipped(test, "a file system of this kernel cannot be broken");
    }

    // Nothing is done by halves: each verb says why it does nothing. What runs goes on.
    for line in [
        &["run", "--rm", "--network", "none", "busybox", "true"][..],
        &["rm", "-f", "works"],
        &["volume", "create", "more"],
        &["ps"],
        &["system", "prune", "-f"],
    ] {
        let output = context.rbuild(line).run();
        assert!(!output.status.success(), "{output}");
        // Older kernels have another word for what was written before the damage.
        let told = ["ead-only file system", "the disk or its file system failed"];
        assert!(told.iter().any(|told| output.stderr.contains(told)), "{output}");
        assert!(!output.stderr.contains("internal error"), "{output}");
    }
    let (monitor, init) =
        (record("state.json")["monitor"].clone(), record("state.json")["state"]["init"].clone());
    for process in [&monitor, &init] {
        assert!(Path::new(&format!("/proc/{}", process["pid"])).exists(), "{process}");
    }

    // The machine goes down and up, its disk is mended: the container is known, and starts.
    kill(&monitor);
    kill(&init);
    disk.repair();
    let listed = said(&context, ["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    assert_eq!(listed, "works exited");
    said(&context, ["start", "works"]);
    assert_eq!(said(&context, ["exec", "works", "echo", "here"]), "here");
    said(&context, ["rm", "-f", "works"]);
    // What the commands before left behind to sync the store empties the trash last.
    settle(|| Leaks { processes: context.leaks().processes, ..Leaks::default() }).assert_none();
    let doctor = context.rbuild(["doctor"]).run();
    assert!(doctor.stdout.ends_with(": good\n"), "{doctor}");
    said(&context, ["system", "prune", "-af"]);
    let _ = fs::remove_dir_all(run);
}

#[test]
fn a_privileged_container_divides_its_own_group_and_an_ordinary_one_does_not() {
    let test = "a_privileged_container_divides_its_own_group_and_an_ordinary_one_does_not";
    let Some(context) = scene(test) else { return };
    let divide = "cd /sys/fs/cgroup; if [ -d memory ]; then cd memory; fi; mkdir inner && rmdir inner";
    let attempt = |flags: &[&str]| {
        let line = [&["run", "--rm"], &PLAIN[..], flags, &["busybox", "sh", "-c", divide]].concat();
        context.rbuild(line).run()
    };
    attempt(&["--privileged"]).assert_success();
    for flags in [&[][..], &["--cap-add", "ALL"]] {
        let output = attempt(flags);
        assert!(output.stderr.contains("Read-only file system"), "{output}");
    }
    assert_clean(&context);
}

#[test]
fn what_was_killed_for_memory_is_told_while_the_container_runs() {
    let Some(context) = scene("what_was_killed_for_memory_is_told_while_the_container_runs") else { return };
    begin(&context, "short", &["--memory", "16m", "--memory-swap", "16m"], &["sleep", "1000"]);
    let look = || said(&context, ["inspect", "--format", "{{.State.OOMKilled}} {{.State.Status}}", "short"]);
    assert_eq!(look(), "false running");
    context.rbuild(["exec", "short", "tail", "/dev/zero"]).run().assert_code(137);
    assert_eq!(look(), "true running");
    said(&context, ["rm", "-f", "short"]);
    assert_clean(&context);
}

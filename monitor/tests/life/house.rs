//! A root file system, folders of containers, and a look at what is left.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rbuild_model::container::{ContainerId, LogConfig, Removal, RestartPolicy, State};
use rbuild_model::rootfs::{OverlayUpper, OverlayXattr, RootPlan};
use rbuild_monitor::log::{Filter, read};
use rbuild_monitor::{
    Attach, Client, EarlyProbes, ExecPlan, ExecPrivilege, Handed, Place, Plan, Program, Record, Residence,
    Session, SessionEvent, Settings, Shares, Spawned, Stdin, Until, VolumeUse,
};
use rbuild_sandbox::cgroup::{Cgroup, CgroupRequest, Devices, Layout, Limits};
use rbuild_sandbox::process::{Process, is_alive};
use rbuild_sandbox::profile::{self, Options};

/// One scenario's folders.
pub(crate) struct House {
    folder: tempfile::TempDir,
    prefix: String,
    next: AtomicU32,
}

/// A container that is to be.
pub(crate) struct Container {
    residence: Residence,
    pub(crate) place: Place,
    pub(crate) settings: Settings,
    pub(crate) options: Options,
    pub(crate) limits: Limits,
    pub(crate) volumes: Vec<VolumeUse>,
    root: RootPlan,
    prefix: String,
}

impl House {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let base = folder.path().join("base");
        for name in ["bin", "etc", "tmp", "data"] {
            fs::create_dir_all(base.join(name)).unwrap();
        }
        fs::copy("/bin/busybox", base.join("bin/busybox")).expect("a static busybox in /bin");
        for name in
            ["sh", "cat", "sleep", "stty", "dd", "head", "yes", "test", "touch", "rm", "wc", "tr", "kill"]
        {
            symlink("busybox", base.join("bin").join(name)).unwrap();
        }
        for name in ["containers", "run", "events"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        Self {
            folder,
            prefix: format!("rbuild-mon-{}-{number}", std::process::id()),
            next: AtomicU32::new(0),
        }
    }

    /// Makes a container that runs a shell script.
    pub(crate) fn container(&self, script: &str) -> Container {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut bytes = [0xc0; 32];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        let id = ContainerId::from_bytes(bytes);
        let path = |name: &str| self.folder.path().join(name);
        let place = Place::new(&path("containers"), &path("run"), &id);
        fs::create_dir(place.folder()).unwrap();
        let (upper, work) = (place.folder().join("upper"), place.folder().join("work"));
        fs::create_dir(&upper).unwrap();
        fs::create_dir(&work).unwrap();
        let mut options = Options::new(["/bin/sh", "-c", script].map(str::to_owned).to_vec());
        options.env = vec!["PATH=/bin".to_owned()];
        Container {
            place,
            residence: Residence { prefix: self.prefix.clone(), name: "monitors".to_owned() },
            settings: Settings {
                id,
                attributes: [("name".to_owned(), format!("c{number}"))].into(),
                env: Vec::new(),
                stdin: Stdin::Closed,
                log: LogConfig::default(),
                restart: RestartPolicy::No,
                health: None,
                early_probes: EarlyProbes::Off,
                stop_signal: None,
                stop_timeout: Some(Duration::from_secs(10)),
                removal: Removal::Keep,
                events: Some(path("events")),
                reap: Vec::new(),
            },
            options,
            limits: Limits::default(),
            volumes: Vec::new(),
            root: RootPlan::Overlay {
                lowers: vec![path("base")],
                upper: Some(OverlayUpper { upper, work, volatile: false }),
                xattr: OverlayXattr::Trusted,
            },
            prefix: self.prefix.clone(),
        }
    }

    /// The actions of all events so far.
    pub(crate) fn events(&self) -> Vec<String> {
        let events = rbuild_store::events::Events::at(self.folder.path().join("events"));
        let batch = events.read(rbuild_store::events::Position::OLDEST, usize::MAX).unwrap();
        let action = |line: Vec<u8>| {
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let code = value["attributes"]["exitCode"].as_str().map(|code| format!(" {code}"));
            format!("{}{}", value["action"].as_str().unwrap(), code.unwrap_or_default())
        };
        batch.events.into_iter().map(|(_, line)| action(line)).collect()
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// Waits for all monitors to leave; ends what is left, and tells what it was.
    pub(crate) fn leftovers(&self) -> String {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder.path().join("containers")).unwrap().flatten() {
            let Ok(id) = entry.file_name().to_string_lossy().parse::<ContainerId>() else { continue };
            let place =
                Place::new(&self.folder.path().join("containers"), &self.folder.path().join("run"), &id);
            let Ok(observed) = place.observe() else { continue };
            if let Some(process) = observed.record().monitor.and_then(Process::find) {
                // A monitor leaves when nothing runs and nobody is connected.
                if observed.record().state.is_active() {
                    found.push(format!("monitor of {}", id.short()));
                    process.kill();
                }
                let _ = process.reap();
            }
        }
        // The group that monitors live in stays for the next one.
        let inside = format!("*/{}/*", self.prefix);
        let groups = std::process::Command::new("find")
            .args(["/sys/fs/cgroup", "-type", "d", "-path", &inside, "!", "-name", "monitors"])
            .output()
            .unwrap();
        found.extend(String::from_utf8_lossy(&groups.stdout).lines().map(|group| format!("group {group}")));
        let _ = Cgroup::reclaim(Layout::shared(), &self.prefix);
        found.join(", ")
    }
}

impl Container {
    pub(crate) fn plan(&self) -> Plan {
        Plan {
            spec: profile::container(self.options.clone()).unwrap(),
            root: self.root.clone(),
            mounts: Vec::new(),
            cgroup: CgroupRequest {
                prefix: self.prefix.clone(),
                name: self.settings.id.to_string(),
                limits: self.limits.clone(),
                devices: Devices::DefaultAnd(Vec::new()),
            },
            duties: None,
            volumes: self.volumes.clone(),
            shares: Shares::default(),
            note: serde_json::json!({ "kept": 1 }),
        }
    }

    pub(crate) fn client(&self) -> Client {
        let found = Client::find(&self.place).unwrap_or_else(|error| panic!("{error:?}"));
        found.unwrap_or_else(|| {
            let begun = self.spawn().begin(&self.place, &self.settings);
            begun.unwrap_or_else(|error| panic!("{error:?}"))
        })
    }

    /// Starts a monitor that knows nothing of it yet.
    pub(crate) fn spawn(&self) -> Spawned {
        let program = Program { residence: Some(self.residence.clone()), ..Program::default() };
        Spawned::new(&program).unwrap_or_else(|error| panic!("{error:?}"))
    }

    /// Starts it; returns the pid.
    pub(crate) fn start(&self) -> i32 {
        self.client().start(self.plan(), Handed::default()).unwrap_or_else(|error| panic!("{error:?}")).pid
    }

    /// Runs it to its end; returns the status.
    pub(crate) fn run(&self) -> i32 {
        let waiter = self.client().wait(Until::NextExit).unwrap();
        self.start();
        waiter.exited().unwrap().code
    }

    pub(crate) fn log(&self) -> String {
        let config = &self.settings.log;
        let mut reader = read(self.place.folder(), &self.settings.id, config, Filter::default()).unwrap();
        let mut text = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            text.extend(entry.bytes);
        }
        String::from_utf8(text).unwrap()
    }

    /// Waits until the log holds a text.
    pub(crate) fn await_log(&self, wanted: &str) {
        let config = &self.settings.log;
        let mut reader = read(self.place.folder(), &self.settings.id, config, Filter::default()).unwrap();
        let mut text = String::new();
        loop {
            while let Some(entry) = reader.next_entry().unwrap() {
                text.push_str(&String::from_utf8_lossy(&entry.bytes));
            }
            if text.contains(wanted) {
                return;
            }
            reader.wait(None).unwrap();
        }
    }

    pub(crate) fn record(&self) -> Record {
        self.place.observe().unwrap().record().clone()
    }

    pub(crate) fn state(&self) -> State {
        self.client().inspect().unwrap().state
    }

    /// Kills the monitor without a warning, and waits for its end.
    pub(crate) fn kill_monitor(&self) {
        let monitor = self.record().monitor.expect("it has a monitor");
        let process = Process::find(monitor).expect("its monitor lives");
        process.kill();
        process.reap().unwrap();
        assert!(!is_alive(monitor));
    }

    /// Makes sure that nothing runs any more.
    pub(crate) fn end(&self) {
        if let Ok(Some(mut client)) = Client::find(&self.place) {
            let _ = client.kill(rbuild_model::container::Signal::KILL);
        }
    }

    pub(crate) fn exec(&self, words: &[&str]) -> ExecPlan {
        ExecPlan {
            args: words.iter().map(|word| (*word).to_owned()).collect(),
            env: Vec::new(),
            cwd: None,
            user: None,
            privilege: ExecPrivilege::Ordinary,
            terminal: None,
            stdin: Stdin::Closed,
            note: serde_json::Value::Null,
        }
    }

    /// Runs a program beside the container's to its end; returns its output and status.
    pub(crate) fn run_exec(&self, words: &[&str]) -> (String, i32) {
        let id = self.client().exec_create(self.exec(words)).unwrap();
        let session = self.client().exec_attach(&id, Attach::ALL, None).unwrap();
        let (text, end) = collect(session);
        match end {
            SessionEvent::ExecEnded(code) => (text, code),
            other => panic!("{other:?}"),
        }
    }
}

/// Reads a session to its end: all output as text, and how it ended.
pub(crate) fn collect(mut session: Session) -> (String, SessionEvent) {
    let mut text = Vec::new();
    loop {
        match session.next_event().unwrap() {
            SessionEvent::Stdout(bytes) | SessionEvent::Stderr(bytes) => text.extend(bytes),
            end => return (String::from_utf8_lossy(&text).into_owned(), end),
        }
    }
}

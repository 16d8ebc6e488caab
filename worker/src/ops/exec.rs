//! RUN: a program in an isolated process over an active snapshot.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rbuild_confined::Root;
use rbuild_confined::users::{UserSpec, Users};
use rbuild_devices::Given;
use rbuild_model::event::ExitStatus;
use rbuild_model::step::{EnvVar, Exec, Limits, NetworkMode, SecurityMode};
use rbuild_sandbox::mounts::mount_for_program;
use rbuild_sandbox::profile::{self, Confinement, HostNamespaces, Identity, Options, Privilege};
use rbuild_sandbox::{
    Access, Exit, FileContent, Foreign, Mount, MountSource, Order, Restrictions, RootSource, Running, Slot,
    Stdio, Stubs, cgroup,
};
use rbuild_snapshotter::{Active, Writes};
use rbuild_solver::{RunAsk, Tree, Usage};
use rbuild_store::{FileError, Room, RoomError};

use crate::authorities::AUTHORITY_BUNDLES;
use crate::berths::Berth;
use crate::error::{MemoryShortage, StepError};
use crate::locking::StepLocks;
use crate::mounts;
use crate::network::StepNetwork;
use crate::output::{Log, Output, Printed};
use crate::room::Guard;
use crate::runner::{Made, Runner};
use crate::tasks::Task;

/// Where a step finds extra certificate authorities. Below `/dev`, which is never part of a layer.
const CA_PATH: &str = "/dev/rbuild/ca.pem";

/// The variables by which common programs are told of certificate authorities.
const CA_VARIABLES: [&str; 8] = [
    "SSL_CERT_FILE",
    "CURL_CA_BUNDLE",
    "REQUESTS_CA_BUNDLE",
    "PIP_CERT",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "CARGO_HTTP_CAINFO",
    "AWS_CA_BUNDLE",
];

/// The largest bundle that is read.
const MAX_BUNDLE_BYTES: u64 = 16 << 20;

/// Runs the program; returns the snapshot it wrote, not yet committed.
pub(crate) fn run(
    runner: &Runner<'_>,
    task: &Task,
    exec: &Exec,
    ask: &RunAsk,
    locks: &StepLocks<'_>,
) -> Result<Made, StepError> {
    let Some(Tree::Chain(base)) = ask.inputs.first() else {
        return Err(StepError::Unsupported { what: "RUN in a folder of the client".to_owned() });
    };
    if exec.cgroup_parent.is_some() {
        return Err(StepError::Unsupported { what: "--cgroup-parent".to_owned() });
    }
    let active = runner.snapshotter().prepare(base).map_err(StepError::Snapshot)?;
    match (Program { runner, task, exec, ask, active: &active }).run(locks) {
        Ok(ran) => Ok(Made { active, usage: ran.usage, log: ran.log, room: ran.room }),
        Err(error) => Err(runner.give_up(active, error)),
    }
}

/// The program of one step, and the snapshot that it writes.
struct Program<'r, 'a> {
    runner: &'r Runner<'a>,
    task: &'r Task,
    exec: &'r Exec,
    ask: &'r RunAsk,
    active: &'r Active,
}

/// What a program finds besides its root.
struct Equipment {
    mounts: Vec<Mount>,
    /// What mounts add to its environment.
    env: Vec<EnvVar>,
    /// What it gets with its devices.
    given: Given,
}

/// What is known of a program that ran.
struct Ran {
    usage: Usage,
    log: Option<String>,
    room: Room,
}

/// How a program came to its end.
struct Ended {
    printed: Printed,
    exit: Exit,
    /// Why it was stopped, if there was no room for what it wrote.
    full: Option<RoomError>,
}

impl Program<'_, '_> {
    fn run(&self, locks: &StepLocks<'_>) -> Result<Ran, StepError> {
        let Self { runner, ask, exec, .. } = *self;
        let given = runner.berths().devices(ask.step)?;
        // Whatever has to be waited for comes first: berths are for steps that go on at once.
        let mut prepared = mounts::prepare(runner, ask, &exec.mounts, exec.script.as_ref(), locks)?;
        let mut mounts = given.mounts();
        mounts.append(&mut prepared.mounts);
        let equipment = Equipment { mounts, env: std::mem::take(&mut prepared.env), given };
        let guard = match Guard::begin(runner, self.active, &prepared.caches) {
            Ok(guard) => guard,
            Err(error) => {
                drop(equipment);
                return prepared.release(runner, Err(error));
            }
        };
        let result = self.in_berth(equipment, guard.as_ref());
        // However it ended, what is in the caches now is counted; before their locks are given back.
        let counted = match (result, guard) {
            (Ok(ran), Some(guard)) => guard.end().map(|room| Ran { room, ..ran }),
            (Err(error), Some(guard)) => {
                if let Err(left) = guard.abandon() {
                    runner.note(&format!("failed to count what a failed step left in its caches: {left}"));
                }
                Err(error)
            }
            (result, None) => result,
        };
        prepared.release(runner, counted)
    }

    fn limits(&self) -> &Limits {
        &self.runner.graph().note(self.ask.step).limits
    }

    fn in_berth(&self, equipment: Equipment, guard: Option<&Guard>) -> Result<Ran, StepError> {
        let runner = self.runner;
        let Berth { name, network, slot, kind } =
            runner.berths().take(self.exec, self.limits(), &equipment.given.rules)?;
        let order = self.order(&network, equipment);
        let result = order.and_then(|order| self.in_slot(slot, order, &name, guard));
        runner.berths().leave(kind, network);
        result
    }

    /// Says what is to run, and what it is to see.
    fn order(&self, network: &StepNetwork, equipment: Equipment) -> Result<Order, StepError> {
        let Self { runner, exec, active, .. } = *self;
        let Equipment { mut mounts, env, given } = equipment;
        let plan = runner.snapshotter().root(active, Writes::Volatile).map_err(StepError::Snapshot)?;
        // Mounted once: who it is that runs is looked up in the root that it gets.
        let root = mount_for_program(&plan)?;
        let tree = root.try_clone().map_err(|error| FileError::new("look into", "the step's root", error))?;
        let tree = Root::from_fd(tree).map_err(|error| StepError::Snapshot(error.into()))?;
        let user = |source| StepError::User { user: exec.user.clone(), source };
        let spec: UserSpec = exec.user.parse().map_err(user)?;
        let mut identity = Users::load(&tree).lookup(&spec).map_err(user)?;
        identity.groups.extend(given.groups.iter().copied());
        let mut env = environment(exec, &env, &identity.home);
        env.retain(|var| !given.env.iter().any(|other| other.name == var.name));
        env.extend(given.env.iter().cloned());
        if let Some(extra) = runner.extra_ca(self.ask.step) {
            mounts.push(ca_mount(&tree, extra));
            for name in CA_VARIABLES {
                if !env.iter().any(|var| var.name == name) {
                    env.push(EnvVar { name: name.to_owned(), value: CA_PATH.to_owned() });
                }
            }
        }
        let mut options = Options::new(exec.argv.clone());
        options.env = env.into_iter().map(|EnvVar { name, value }| format!("{name}={value}")).collect();
        options.cwd = exec.cwd.clone();
        options.devices = given.devices((identity.uid, identity.gid));
        options.identity = Identity { uid: identity.uid, gid: identity.gid, groups: identity.groups };
        options.hostname = Some(exec.hostname.clone()).filter(|name| !name.is_empty());
        options.rlimits = exec
            .ulimits
            .iter()
            .map(|limit| (limit.name.clone(), unlimited(limit.soft), unlimited(limit.hard)))
            .collect();
        options.host_namespaces =
            HostNamespaces { network: network.mode == NetworkMode::Host, ..HostNamespaces::default() };
        if let Some(size) = exec.shm_size {
            options.shm_size = size;
        }
        if exec.security == SecurityMode::Insecure {
            options.confinement = Confinement { privilege: Privilege::Privileged, ..Confinement::default() };
        }
        let mut all = host_files(runner, exec, network)?;
        all.append(&mut mounts);
        Ok(Order {
            spec: profile::step(options)?,
            root: RootSource::Mounted(root),
            mounts: all,
            stubs: Stubs::Remove,
        })
    }

    /// Runs it to its end; `group` is the name of its control group.
    fn in_slot(
        &self,
        slot: Slot,
        order: Order,
        group: &str,
        guard: Option<&Guard>,
    ) -> Result<Ran, StepError> {
        let Self { runner, exec, .. } = *self;
        let command = exec.argv.join(" ");
        let launch = |source| match Foreign::explain(&exec.platform, &source) {
            Some(source) => StepError::Foreign { command: command.clone(), source: Box::new(source) },
            None => StepError::Launch { command: command.clone(), source },
        };
        let (output, ends) =
            Output::open().map_err(|error| FileError::new("make", "the step's pipes", error))?;
        let stdio = Stdio { stdin: None, stdout: Some(ends.stdout), stderr: Some(ends.stderr) };
        let running = slot.launch(order, stdio).map_err(launch)?;
        for note in running.notes() {
            runner.note(note);
        }
        let (name, path) = runner.log_file();
        let Ended { printed, exit, full } = self.until_it_ends(running, output, &path, guard)?;
        if printed.is_cut() {
            let name = runner.graph().note(self.ask.step).kept_name();
            runner.note(&format!(
                "`{name}` printed more than its log keeps: {} holds the first 64 MiB",
                path.display()
            ));
        }
        if runner.cancel().is_cancelled() {
            return Err(StepError::Cancelled);
        }
        if let Some(full) = full {
            return Err(StepError::Room(full));
        }
        let logged = printed.bytes > 0;
        let status = status(&exit);
        if status != ExitStatus::Code(0) {
            let shortage = exit
                .oom_killed
                .then(|| MemoryShortage { process: cgroup::victim(group), limit: self.limits().memory });
            return Err(StepError::Exited {
                command,
                status,
                tail: printed.tail,
                log: logged.then_some(path),
                shortage: shortage.map(Box::new),
            });
        }
        let usage = Usage {
            cpu: Some(Duration::from_micros(exit.usage.cpu_us)),
            peak_memory: Some(exit.usage.peak_memory),
            bytes: None,
        };
        Ok(Ran { usage, log: logged.then_some(name), room: Room::default() })
    }

    /// Reads what a running program prints, and waits for its end, which whoever cancels hastens.
    fn until_it_ends(
        &self,
        running: Running,
        output: Output,
        log: &Path,
        guard: Option<&Guard>,
    ) -> Result<Ended, StepError> {
        let process = || {
            let pidfd = running.pidfd().try_clone_to_owned();
            pidfd.map_err(|error| FileError::new("keep", "the step's process", error))
        };
        // The end of its init is the end of everything in the step's pid namespace.
        let kill = |pidfd: &OwnedFd| {
            let _ = rustix::process::pidfd_send_signal(pidfd, rustix::process::Signal::KILL);
        };
        let (pidfd, to_stop) = (process()?, process()?);
        let registration = self.runner.cancel().on_cancel(move || kill(&pidfd));
        let watched = || {
            let printed = output.drain(self.task, &mut Log::at(log));
            let printed = printed.map_err(|error| FileError::new("write the log", log, error));
            if printed.is_err() {
                // Nobody reads what it prints any more: what is left of it is not worth waiting for.
                let _ = running.kill_all();
            }
            (printed, running.wait().map_err(StepError::Wait))
        };
        let ((printed, exit), full) = match guard {
            Some(guard) => guard.watch(|| kill(&to_stop), watched),
            None => (watched(), None),
        };
        drop(registration);
        Ok(Ended { printed: printed?, exit: exit?, full })
    }
}

fn status(exit: &Exit) -> ExitStatus {
    use std::os::unix::process::ExitStatusExt as _;
    match (exit.oom_killed, exit.status.signal()) {
        (true, Some(_)) => ExitStatus::OutOfMemory,
        (true, None) if exit.code() == 137 => ExitStatus::OutOfMemory,
        (_, Some(signal)) => ExitStatus::Signal(signal as u8),
        (_, None) => ExitStatus::Code(exit.code()),
    }
}

fn unlimited(limit: i64) -> u64 {
    u64::try_from(limit).unwrap_or(u64::MAX)
}

/// The environment of the program: what was declared, then proxies, then what mounts add, then `HOME` if nobody set it.
fn environment(exec: &Exec, mounts: &[EnvVar], home: &Path) -> Vec<EnvVar> {
    let mut env = exec.env.clone();
    for var in &exec.proxy.0 {
        if !env.iter().any(|known| known.name == var.name) {
            env.push(var.clone());
        }
    }
    for var in mounts {
        let keeps_own = var.name == "SSH_AUTH_SOCK";
        match env.iter_mut().find(|known| known.name == var.name) {
            Some(_) if keeps_own => {}
            Some(known) => known.value = var.value.clone(),
            None => env.push(var.clone()),
        }
    }
    if !env.iter().any(|var| var.name == "HOME") {
        env.push(EnvVar { name: "HOME".to_owned(), value: home.to_string_lossy().into_owned() });
    }
    env
}

/// The files by which a step knows its host and finds names.
fn host_files(runner: &Runner<'_>, exec: &Exec, network: &StepNetwork) -> Result<Vec<Mount>, StepError> {
    let networks = runner.networks();
    let hosts = networks.hosts(network, &exec.hostname, &exec.extra_hosts)?;
    let file = |target: &str, text: String| Mount {
        target: target.into(),
        source: MountSource::File(FileContent { bytes: text.into_bytes(), mode: 0o644, uid: 0, gid: 0 }),
        access: Access::ReadOnly,
        restrictions: Restrictions::ALL,
    };
    Ok(vec![file("/etc/hosts", hosts), file("/etc/resolv.conf", networks.resolv_conf(network))])
}

/// The image's own authorities and the extra ones, in one file.
fn ca_mount(tree: &Root, extra: &[u8]) -> Mount {
    let own = AUTHORITY_BUNDLES.iter().find_map(|path| tree.read(path, MAX_BUNDLE_BYTES).ok());
    let mut bytes = own.unwrap_or_default();
    if !bytes.is_empty() && !bytes.ends_with(b"\n") {
        bytes.push(b'\n');
    }
    bytes.extend_from_slice(extra);
    Mount {
        target: CA_PATH.into(),
        source: MountSource::File(FileContent { bytes, mode: 0o444, uid: 0, gid: 0 }),
        access: Access::ReadOnly,
        restrictions: Restrictions::ALL,
    }
}

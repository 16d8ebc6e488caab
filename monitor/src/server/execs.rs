//! Programs that run beside the container's own: those of clients, and probes of its health.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::time::Instant;

use jiff::Timestamp;
use oci_spec::runtime::{BoxBuilder, Spec, User};
use rbuild_sandbox::cgroup::Cgroup;
use rbuild_sandbox::process::{self, Process};
use rbuild_sandbox::profile::{self, Confinement, Privilege};
use rbuild_sandbox::{EnterRequest, LaunchError, Launcher, Stdio};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;

use super::streams::{self, Streams};
use crate::health::{Dropped, OUTPUT};
use crate::plan::{ExecPlan, ExecPrivilege, Stdin};
use crate::protocol::{ExecId, ExecProgress};

/// Ended executions that are remembered.
const REMEMBERED: usize = 256;
/// How often it is looked for processes that are to be killed.
const MOST_LOOKS: usize = 32;

/// Whose program it is.
#[derive(Debug)]
pub(super) enum Kind {
    /// A client's; with the connection that has its streams.
    Client(Option<u64>),
    /// A probe.
    Probe(ProbeOutput),
}

/// What a probe wrote so far.
#[derive(Debug)]
pub(super) struct ProbeOutput {
    pub(super) bytes: Vec<u8>,
    pub(super) dropped: Dropped,
    pub(super) start: Timestamp,
    pub(super) deadline: Instant,
    pub(super) timed_out: bool,
}

impl ProbeOutput {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        let room = OUTPUT - self.bytes.len();
        self.bytes.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() > room {
            self.dropped = Dropped::Some;
        }
    }
}

/// One execution.
#[derive(Debug)]
pub(super) struct Exec {
    pub(super) plan: ExecPlan,
    pub(super) progress: ExecProgress,
    pub(super) kind: Kind,
    pub(super) process: Option<Process>,
    pub(super) streams: Streams,
}

/// All executions of a container.
#[derive(Debug, Default)]
pub(super) struct Execs {
    pub(super) all: BTreeMap<ExecId, Exec>,
    /// In the order of their making.
    order: Vec<ExecId>,
}

impl Execs {
    /// Registers one.
    pub(super) fn add(&mut self, id: ExecId, plan: ExecPlan, kind: Kind) {
        if self.order.len() >= REMEMBERED {
            let ended = |id: &&ExecId| {
                self.all.get(*id).is_none_or(|exec| matches!(exec.progress, ExecProgress::Ended { .. }))
            };
            if let Some(place) = self.order.iter().position(|id| ended(&id)) {
                let id = self.order.remove(place);
                self.all.remove(&id);
            }
        }
        let exec =
            Exec { plan, progress: ExecProgress::Created, kind, process: None, streams: Streams::default() };
        self.order.push(id.clone());
        self.all.insert(id, exec);
    }

    pub(super) fn remove(&mut self, id: &ExecId) {
        self.all.remove(id);
        self.order.retain(|known| known != id);
    }

    /// Whether a probe runs.
    pub(super) fn has_probe(&self) -> bool {
        self.all.values().any(|exec| matches!(exec.kind, Kind::Probe(_)))
    }

    /// Forgets all: the container has ended.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Makes the spec of a program that runs beside the container's.
fn spec_of(mut spec: Spec, plan: &ExecPlan) -> Result<Spec, String> {
    let mut process = spec.process().clone().unwrap_or_default();
    let mut env = process.env().clone().unwrap_or_default();
    let name = |entry: &String| entry.split('=').next().unwrap_or_default().to_owned();
    for entry in &plan.env {
        env.retain(|known| name(known) != name(entry));
        if entry.contains('=') {
            env.push(entry.clone());
        }
    }
    if plan.terminal.is_some() && !env.iter().any(|entry| entry.starts_with("TERM=")) {
        env.push("TERM=xterm".to_owned());
    }
    process.set_args(Some(plan.args.clone())).set_env(Some(env)).set_terminal(Some(plan.terminal.is_some()));
    if let Some(cwd) = &plan.cwd {
        process.set_cwd(cwd.into());
    }
    if let Some((uid, gid, groups)) = &plan.user {
        let mut user = User::default();
        user.set_uid(*uid).set_gid(*gid).set_additional_gids(Some(groups.clone()));
        process.set_user(user);
    }
    let size = plan.terminal.map(|(columns, rows)| {
        BoxBuilder::default().width(columns).height(rows).build().map_err(|error| error.to_string())
    });
    process.set_console_size(size.transpose()?);
    if plan.privilege == ExecPrivilege::Privileged {
        let confinement = Confinement { privilege: Privilege::Privileged, ..Confinement::default() };
        let mask = profile::capability_mask(&confinement).map_err(|error| error.to_string())?.to_oci();
        let mut sets = process.capabilities().clone().unwrap_or_default();
        sets.set_bounding(Some(mask.clone())).set_effective(Some(mask.clone())).set_permitted(Some(mask));
        process.set_capabilities(Some(sets));
        if let Some(linux) = spec.linux_mut() {
            linux.set_seccomp(None);
        }
    }
    spec.set_process(Some(process));
    Ok(spec)
}

/// Runs a program beside the container's.
pub(super) fn run(
    launcher: &Launcher,
    spec: Spec,
    plan: &ExecPlan,
    init: &Process,
    cgroup: Option<&Cgroup>,
) -> Result<(Process, Streams), (u8, String)> {
    let spec = spec_of(spec, plan).map_err(|why| (125, why))?;
    let pipes = |errno: Errno| (125, format!("cannot make pipes: {errno}"));
    let (mut near, stdio) = match plan.terminal {
        Some(_) => (Streams::default(), Stdio::default()),
        None => make_pipes(plan.stdin).map_err(pipes)?,
    };
    let told = |error: LaunchError| (error.exit_status(), crate::chain(&error));
    let entered = launcher.enter(EnterRequest { init, cgroup, spec: &spec, stdio }).map_err(told)?;
    if let Some(master) = entered.terminal {
        near = streams::of_terminal(master).map_err(pipes)?;
    }
    Ok((entered.process, near))
}

/// Kills a program that runs beside the container's, and what it started: all of its session, which it leads.
pub(super) fn kill_session(leader: &Process, cgroup: Option<&Cgroup>) {
    leader.kill();
    let session = Pid::from_raw(leader.pid());
    let mut kill = |pid| {
        // Held before it is looked at: then no other can have its number.
        let held = process::identify(pid).and_then(Process::find);
        if let Some(process) = held
            && rustix::process::getsid(Pid::from_raw(pid)).ok() == session
        {
            process.kill();
            return true;
        }
        false
    };
    kill_all(&mut || cgroup.map(Cgroup::processes).unwrap_or_default(), &mut kill);
}

/// Kills what there is until a look shows nothing new: what was made meanwhile, by one that was not dead yet. Whatever makes
/// processes faster than that goes with the container.
fn kill_all(there: &mut dyn FnMut() -> Vec<i32>, kill: &mut dyn FnMut(i32) -> bool) {
    let mut killed = BTreeSet::new();
    for _ in 0..MOST_LOOKS {
        let known = killed.len();
        for pid in there() {
            if !killed.contains(&pid) && kill(pid) {
                killed.insert(pid);
            }
        }
        if killed.len() == known {
            return;
        }
    }
}

fn make_pipes(stdin: Stdin) -> Result<(Streams, Stdio), Errno> {
    let output = || -> Result<(OwnedFd, OwnedFd), Errno> {
        let (near, far) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&near, true)?;
        Ok((near, far))
    };
    let (stdout, out) = output()?;
    let (stderr, err) = output()?;
    let (input, far) = if stdin == Stdin::Closed {
        (None, None)
    } else {
        let (far, near) = pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&near, true)?;
        (Some(near), Some(far))
    };
    let streams = Streams::of_pipes(Some(stdout), Some(stderr), input);
    Ok((streams, Stdio { stdin: far, stdout: Some(out), stderr: Some(err) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> ExecPlan {
        ExecPlan {
            args: vec!["x".to_owned()],
            env: vec!["A=2".to_owned(), "C=".to_owned(), "D".to_owned()],
            cwd: None,
            user: None,
            privilege: ExecPrivilege::Ordinary,
            terminal: None,
            stdin: Stdin::Closed,
            note: serde_json::Value::Null,
        }
    }

    #[test]
    fn a_program_beside_has_what_the_container_has_unless_told_otherwise() {
        let mut options = profile::Options::new(vec!["init".to_owned()]);
        options.env = vec!["A=1".to_owned(), "B=1".to_owned(), "D=1".to_owned()];
        options.cwd = "/srv".to_owned();
        options.identity.uid = 7;
        let spec = profile::container(options).unwrap();
        let made = spec_of(spec.clone(), &plan()).unwrap();
        let process = made.process().clone().unwrap();
        assert_eq!(process.env().clone().unwrap(), ["B=1", "A=2", "C="]);
        assert_eq!((process.cwd().to_str().unwrap(), process.user().uid()), ("/srv", 7));
        assert_eq!(process.capabilities(), spec.process().as_ref().unwrap().capabilities());
        assert!(made.linux().as_ref().unwrap().seccomp().is_some());
        let terminal = ExecPlan {
            cwd: Some("/tmp".to_owned()),
            user: Some((1, 2, vec![2, 3])),
            privilege: ExecPrivilege::Privileged,
            terminal: Some((80, 24)),
            ..plan()
        };
        let made = spec_of(spec, &terminal).unwrap();
        let process = made.process().clone().unwrap();
        assert!(process.env().clone().unwrap().contains(&"TERM=xterm".to_owned()));
        assert_eq!((process.user().uid(), process.user().gid()), (1, 2));
        assert!(made.linux().as_ref().unwrap().seccomp().is_none());
        assert_eq!(process.console_size().unwrap().width(), 80);
    }

    #[test]
    fn what_makes_processes_without_end_is_not_followed_without_end() {
        let (mut newest, mut killed) = (11, vec![]);
        kill_all(
            &mut || {
                newest += 1;
                (10..newest).collect()
            },
            &mut |pid| {
                killed.push(pid);
                // One is of another session.
                pid != 10
            },
        );
        let others = killed.iter().filter(|pid| **pid == 10).count();
        assert_eq!((others, killed.len() - others), (MOST_LOOKS, MOST_LOOKS), "each is killed once");
        let mut looks = 0;
        kill_all(
            &mut || {
                looks += 1;
                vec![7, 8]
            },
            &mut |_| true,
        );
        assert_eq!(looks, 2);
    }

    #[test]
    fn of_what_a_probe_writes_without_end_little_is_kept() {
        let mut output = ProbeOutput {
            bytes: Vec::new(),
            dropped: Dropped::None,
            start: Timestamp::UNIX_EPOCH,
            deadline: Instant::now(),
            timed_out: false,
        };
        output.push(&[b'x'; OUTPUT]);
        assert_eq!((output.bytes.len(), output.dropped), (OUTPUT, Dropped::None));
        // A gigabyte, as it is read.
        for _ in 0..32 << 10 {
            output.push(&[b'y'; 32 << 10]);
        }
        assert!(output.bytes.capacity() < 2 * OUTPUT, "{}", output.bytes.capacity());
        assert_eq!((output.bytes.len(), output.dropped), (OUTPUT, Dropped::Some));
        assert_eq!(
            crate::health::output(&output.bytes, output.dropped),
            format!("{}...", "x".repeat(OUTPUT))
        );
    }

    #[test]
    fn ended_executions_are_forgotten_when_there_are_many() {
        let mut execs = Execs::default();
        for number in 0..REMEMBERED + 5 {
            let id = ExecId(number.to_string());
            execs.add(id.clone(), plan(), Kind::Client(None));
            if number != 1 {
                execs.all.get_mut(&id).unwrap().progress = ExecProgress::Ended { code: 0, pid: 1 };
            }
        }
        assert_eq!(execs.all.len(), REMEMBERED);
        assert!(execs.all.contains_key(&ExecId("1".to_owned())), "it did not run yet");
    }
}

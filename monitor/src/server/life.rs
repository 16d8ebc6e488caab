//! Starts, ends, restarts, probes, and taking up what a dead monitor left.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio as ProcessStdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rbuild_model::container::{Ended, Health, Probe, Removal, Run, StartFailure, State, Stopped};
use rbuild_network::duty::Service;
use rbuild_network::names::Presence;
use rbuild_sandbox::cgroup::{Cgroup, Layout};
use rbuild_sandbox::process::{self, Process};
use rbuild_sandbox::{Launcher, LauncherConfig, Lifetime, Namespaces, Order, Sharing, SlotRequest, Stubs};

use super::chain;
use super::connection::Role;
use super::execs::{self, Kind, ProbeOutput};
use super::monitor::{Live, Monitor, Phase};
use super::streams::{self, Streams, read_some};
use crate::backoff;
use crate::document::{self, Promise};
use crate::health::{self, Dropped, Machine};
use crate::log::Source;
use crate::place::PLAN;
use crate::plan::{ExecPlan, ExecPrivilege, Handed, Plan, Stdin};
use crate::protocol::frame::{self, encode};
use crate::protocol::{ExecId, ExecProgress, Reply, Until};
use crate::record::LOST;

/// Why a program could not be run: the status that stands for it, and the text.
type Failure = (u8, String);

impl Monitor {
    /// Runs the container for somebody who asked for it.
    pub(super) fn first_start(&mut self, plan: Plan, handed: Handed) -> Result<(i32, Vec<String>), Failure> {
        let started = self.begin_run(plan, handed);
        if let Err((status, message)) = &started {
            self.start_failed(*status, message);
        }
        started
    }

    fn begin_run(&mut self, plan: Plan, handed: Handed) -> Result<(i32, Vec<String>), Failure> {
        let failed = |error: &dyn std::error::Error| (125, chain(error));
        document::write(&self.place.plan(), PLAN, &plan, Promise::Written).map_err(|error| failed(&error))?;
        let Handed { network, ipc, uts, place, ports } = handed;
        self.handed = Handed { network, ipc, uts, place, ports: Vec::new() };
        let duties = plan.duties.clone();
        let note = plan.note.clone();
        self.open_log().map_err(|error| (125, format!("cannot open the container's log: {error}")))?;
        let mut notes = Vec::new();
        if let Some(duties) = duties {
            let place = self
                .handed
                .place
                .as_ref()
                .map(OwnedFd::try_clone)
                .transpose()
                .map_err(|error| failed(&error))?;
            let namespace = self.handed.network.as_ref().map(OwnedFd::as_fd);
            let (service, failures) =
                Service::start(duties, namespace, place, ports).map_err(|error| failed(&error))?;
            notes.extend(failures.iter().map(|error| chain(error)));
            self.service = Some(service);
        }
        let (pid, more) = self.launch(plan, note)?;
        notes.extend(more);
        Ok((pid, notes))
    }

    fn start_failed(&mut self, status: u8, message: &str) {
        // Failures other than of the program itself have a number of their own in the record.
        let code = if status == 125 { 128 } else { i32::from(status) };
        let error = message.to_owned();
        let now = Timestamp::now();
        self.record.state = match self.record.previous.take() {
            None => State::Created { failure: Some(StartFailure { code, error }) },
            Some(last) => State::Exited(Ended { code, error: Some(error), finished: now, ..last }),
        };
        self.record.previous = self.record.state.ended().cloned();
        self.phase = Phase::Idle;
        self.give_back_networks();
        self.keep_record();
        self.tell_end();
        self.remove_if_due();
    }

    /// Runs the program of a plan.
    fn launch(&mut self, plan: Plan, note: serde_json::Value) -> Result<(i32, Vec<String>), Failure> {
        let failed = |error: &dyn std::error::Error| (125, chain(error));
        let Plan { spec, root, mounts, cgroup, .. } = plan;
        let process = spec.process().clone().unwrap_or_default();
        let owner = (process.user().uid(), process.user().gid());
        let is_terminal = process.terminal().unwrap_or(false);
        if let Some(left) = Cgroup::open(Layout::shared(), &cgroup.prefix, &cgroup.name) {
            left.remove().map_err(|error| failed(&error))?;
        }
        let launcher = Launcher::new(&LauncherConfig::default())
            .map_err(|error| (error.exit_status(), chain(&error)))?;
        let group = Cgroup::create(Layout::shared(), &cgroup).map_err(|error| failed(&error))?;
        let clone = |fd: &Option<OwnedFd>| fd.as_ref().map(OwnedFd::try_clone).transpose();
        let mut namespaces =
            Namespaces::of_spec(&spec, clone(&self.handed.network).map_err(|error| failed(&error))?);
        for (slot, fd) in [(&mut namespaces.ipc, &self.handed.ipc), (&mut namespaces.uts, &self.handed.uts)] {
            if let Some(fd) = clone(fd).map_err(|error| failed(&error))? {
                *slot = Sharing::Join(fd);
            }
        }
        let request = SlotRequest {
            cgroup: group,
            namespaces,
            lifetime: Lifetime::Independent,
            oom_score_adj: process.oom_score_adj(),
        };
        let launched = (|| {
            let told = |error: rbuild_sandbox::LaunchError| (error.exit_status(), chain(&error));
            let slot = launcher.slot(request).map_err(told)?;
            let (mut near, stdio) = if is_terminal {
                (Streams::default(), Default::default())
            } else {
                let pipes = |errno| (125, format!("cannot make the container's pipes: {errno}"));
                streams::make(&self.place, self.settings.stdin, owner).map_err(pipes)?
            };
            let mut created =
                slot.create(Order { spec, root, mounts, stubs: Stubs::Keep }, stdio).map_err(told)?;
            if let Some(master) = created.take_terminal() {
                near = streams::of_terminal(master)
                    .map_err(|errno| (125, format!("cannot use the terminal: {errno}")))?;
            }
            let notes = created.notes().to_vec();
            // Before the program runs: whoever comes after this monitor has to know that it does.
            let init = process::identify(created.pid()).ok_or((125, "the program is gone".to_owned()))?;
            let early = self.settings.early_probes;
            let machine = self.settings.health.clone().map(|check| Machine::new(check, early));
            let health = machine.as_ref().map(|machine| machine.health().clone());
            self.health = machine;
            self.record.state = State::Running(Run { init, started: Timestamp::now(), health });
            self.record.note = note;
            self.keep_record();
            let running = created.start().map_err(told)?;
            Ok((running.release(), near, notes))
        })();
        drop(launcher);
        let ((process, cgroup), streams, notes) = match launched {
            Ok(launched) => launched,
            Err(failure) => {
                // Nothing else of this process can run now: what was made for the program ends, and is reaped.
                process::reap_all();
                self.health = None;
                return Err(failure);
            }
        };
        let pid = process.pid();
        self.phase = Phase::Running(Box::new(Live {
            process,
            cgroup,
            streams,
            since: Instant::now(),
            before: Duration::ZERO,
            paused: false,
            kill_at: None,
            stopping: false,
            fate: None,
        }));
        if let Some(service) = &mut self.service {
            let _ = service.is_running(Presence::Running);
        }
        self.schedule_probe();
        process::trim_heap();
        Ok((pid, notes))
    }

    pub(super) fn read_plan(&self) -> Result<Option<Plan>, String> {
        document::read(&self.place.plan(), PLAN).map_err(|error| chain(&error))
    }

    /// Writes the record in both places.
    fn keep_record(&mut self) {
        self.save();
        if !self.given_up {
            let _ = self.place.write_last(&self.record, Promise::Written);
        }
    }

    /// Takes up a container whose monitor was lost.
    pub(super) fn take_up(&mut self) {
        // Without a log its output is read and passed on all the same.
        let _ = self.open_log();
        match self.record.state.clone() {
            State::Running(run) => self.take_up_run(&run, false),
            State::Paused(run) => self.take_up_run(&run, true),
            State::Restarting { next, .. } => {
                let left =
                    Duration::try_from(next.duration_since(Timestamp::now())).unwrap_or(Duration::ZERO);
                self.take_up_networks(None);
                self.phase = Phase::Waiting(Instant::now() + left);
            }
            _ => {}
        }
        self.save();
    }

    fn take_up_run(&mut self, run: &Run, paused: bool) {
        let plan = self.read_plan().ok().flatten();
        let cgroup = plan
            .as_ref()
            .and_then(|plan| Cgroup::open(Layout::shared(), &plan.cgroup.prefix, &plan.cgroup.name));
        let Some(process) = Process::find(run.init) else {
            // It ended since somebody saw it alive.
            if let Some(cgroup) = cgroup {
                let _ = cgroup.remove();
            }
            self.record.lose("monitor lost");
            self.record.previous = self.record.state.ended().cloned();
            self.keep_record();
            self.tell_die();
            self.restart_if_due(Duration::ZERO);
            return;
        };
        self.take_up_networks(Some(run.init.pid));
        let started = run.started;
        let before = Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or(Duration::ZERO);
        let check = self.settings.health.clone();
        self.health = check.map(|check| match &run.health {
            Some(health) => Machine::resume(check, health.clone()),
            None => Machine::resume(check, Health::starting()),
        });
        let process_of = plan.as_ref().and_then(|plan| plan.spec.process().as_ref());
        let has_terminal = process_of.and_then(oci_spec::runtime::Process::terminal).unwrap_or(false);
        let now = Instant::now();
        self.phase = Phase::Running(Box::new(Live {
            process,
            cgroup,
            streams: if has_terminal { Streams::default() } else { streams::reopen(&self.place) },
            since: now,
            before,
            paused,
            kill_at: match self.record.stopped {
                // Its terminal was the last monitor's: nobody can speak with it any more.
                _ if has_terminal => Some(now),
                // It is still asked to stop; its time begins anew.
                Stopped::ByHand => Some(now + self.settings.stop_timeout.unwrap_or(DEFAULT_GRACE)),
                Stopped::ByItself => None,
            },
            stopping: has_terminal || self.record.stopped == Stopped::ByHand,
            fate: has_terminal.then_some("monitor lost, and the terminal with it"),
        }));
        if !paused {
            self.schedule_probe();
        }
    }

    /// Takes up what is to be done for the networks, with the namespaces of the process that has them.
    fn take_up_networks(&mut self, init: Option<i32>) {
        let plan = self.read_plan().ok().flatten();
        let namespace = |name: &str| {
            let path = format!("/proc/{}/ns/{name}", init?);
            std::fs::File::open(path).ok().map(OwnedFd::from)
        };
        let lists = |kind| {
            let linux = plan.as_ref().and_then(|plan| plan.spec.linux().as_ref());
            let listed = linux.and_then(|linux| linux.namespaces().as_ref());
            listed.is_some_and(|listed| listed.iter().any(|namespace| namespace.typ() == kind))
        };
        if lists(oci_spec::runtime::LinuxNamespaceType::Network) {
            self.handed.network = namespace("net");
        }
        if let Some(duties) = plan.and_then(|plan| plan.duties) {
            let network = self.handed.network.as_ref().map(OwnedFd::as_fd);
            self.service = Service::start(duties, network, None, Vec::new()).ok().map(|(service, _)| service);
        }
    }

    /// The program has ended.
    pub(super) fn ended(&mut self) {
        let Phase::Running(live) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        let age = live.age();
        let Live { process, cgroup, streams, fate, .. } = *live;
        self.end_execs();
        let ended = process.reap();
        let oom_killed = cgroup.as_ref().is_some_and(Cgroup::oom_killed);
        if let Some(cgroup) = cgroup {
            // What is left in it, if it has no pid namespace of its own, ends here.
            let _ = cgroup.remove();
        }
        self.drain(&streams);
        let time = i64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(i64::MAX);
        for lines in &mut self.lines {
            if let (Some(record), Some(log)) = (lines.finish(time), &mut self.log) {
                let _ = log.write(&record);
            }
        }
        drop(streams);
        let status = ended.ok().and_then(|ended| ended.status);
        let started = self.record.state.run().map_or_else(Timestamp::now, |run| run.started);
        let last = Ended {
            started,
            finished: Timestamp::now(),
            code: status.map_or(LOST, code_of),
            oom_killed,
            stopped: self.record.stopped,
            error: fate.or(status.is_none().then_some("monitor lost")).map(str::to_owned),
            health: self.health.take().map(|machine| machine.health().clone()),
        };
        self.probe_due = None;
        self.record.previous = Some(last.clone());
        self.record.state = State::Exited(last);
        self.restart_if_due(age);
        self.tell_die();
        self.keep_record();
        self.tell_end();
        self.remove_if_due();
    }

    /// Begins the pause before the next start, if the policy wants one; else gives back what a run needs.
    fn restart_if_due(&mut self, age: Duration) {
        let State::Exited(last) = &self.record.state else { return };
        let (policy, count) = (self.settings.restart, self.record.restart_count);
        if backoff::restarts(policy, last.code, last.stopped, count) {
            let pause = self.backoff.pause(age);
            let next = Timestamp::now().checked_add(pause).unwrap_or(Timestamp::MAX);
            self.record.state = State::Restarting { last: last.clone(), next };
            self.phase = Phase::Waiting(Instant::now() + pause);
            if let Some(service) = &mut self.service {
                let _ = service.is_running(Presence::Stopped);
            }
        } else {
            self.phase = Phase::Idle;
            self.give_back_networks();
        }
    }

    fn give_back_networks(&mut self) {
        if let Some(service) = self.service.take() {
            // What fails is found by the next command that looks after networks.
            let _ = service.end();
        }
        self.handed = Handed::default();
        self.record.note = serde_json::Value::Null;
    }

    /// Tells that the program has ended.
    fn tell_die(&self) {
        let Some(last) = self.record.state.ended() else { return };
        if last.oom_killed {
            self.teller.tell("oom", &self.settings.attributes, &[]);
        }
        let seconds = last.finished.duration_since(last.started).as_secs().max(0).to_string();
        let more = [("exitCode", &*last.code.to_string()), ("execDuration", &*seconds)];
        self.teller.tell("die", &self.settings.attributes, &more);
    }

    /// Tells clients that the program has ended.
    fn tell_end(&mut self) {
        let error = self.record.state.ended().and_then(|ended| ended.error.clone());
        let exited = Reply::Exited { code: self.record.state.exit_code(), error };
        for connection in &mut self.connections {
            match &mut connection.role {
                Role::Waiting(Until::NotRunning | Until::NextExit) => {
                    connection.say(&exited);
                    connection.role = Role::Requests;
                }
                Role::AwaitsEnd => {
                    connection.say(&Reply::Done);
                    connection.role = Role::Requests;
                }
                Role::Attached(attached) => attached.complete = true,
                _ => {}
            }
        }
    }

    /// Gives up a restart that is due.
    pub(super) fn cancel_restart(&mut self) {
        if let State::Restarting { last, .. } = &self.record.state {
            let stopped = self.record.stopped;
            self.record.state = State::Exited(Ended { stopped, ..last.clone() });
        }
        self.phase = Phase::Idle;
        self.give_back_networks();
        self.keep_record();
        self.tell_end();
        self.remove_if_due();
    }

    /// Removes a container that is to remove itself, once all who are connected got everything.
    pub(super) fn remove_if_due(&mut self) {
        let due = self.settings.removal == Removal::Auto
            && matches!(self.phase, Phase::Idle)
            && (self.record.state.ended().is_some() || self.has_failed())
            && !self.given_up
            && self.reaper.is_none()
            && !self.settings.reap.is_empty()
            && !self.connections.iter().any(|connection| {
                connection.removes || matches!(connection.role, Role::Attached(_) | Role::AwaitsEnd)
            });
        if !due {
            return;
        }
        let child = Command::new("/proc/self/exe")
            .args(&self.settings.reap)
            .env_clear()
            .stdin(ProcessStdio::null())
            .stdout(ProcessStdio::null())
            .stderr(ProcessStdio::null())
            .spawn();
        if let Ok(child) = child {
            self.reaper = Process::find_child(child.id() as i32);
        }
        // Once: what fails is found by the next command that looks at the container.
        self.settings.reap.clear();
    }

    fn has_failed(&self) -> bool {
        matches!(&self.record.state, State::Created { failure: Some(_) })
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        if let Phase::Running(live) = &mut self.phase
            && live.kill_at.is_some_and(|at| at <= now)
        {
            live.kill_at = None;
            if let Some(cgroup) = &live.cgroup {
                let _ = cgroup.kill();
            }
            live.process.kill();
        }
        if matches!(&self.phase, Phase::Waiting(at) if *at <= now) {
            self.restart();
        }
        if self.service.as_ref().and_then(Service::deadline).is_some_and(|at| at <= now)
            && let Some(service) = &mut self.service
        {
            service.turn();
        }
        if self.probe_due.is_some_and(|at| at <= now) {
            self.probe_due = None;
            self.begin_probe();
        }
        for exec in self.execs.all.values_mut() {
            if let Kind::Probe(output) = &mut exec.kind
                && !output.timed_out
                && output.deadline <= now
            {
                output.timed_out = true;
                if let Some(process) = &exec.process {
                    process.kill();
                }
            }
        }
    }

    /// Runs the program again, as the policy wants it.
    fn restart(&mut self) {
        self.record.restart_count = self.record.restart_count.saturating_add(1);
        let plan = self.read_plan().and_then(|plan| plan.ok_or_else(|| "the plan is gone".to_owned()));
        let result = plan.map_err(|why| (125, why)).and_then(|plan| {
            let note = plan.note.clone();
            self.launch(plan, note)
        });
        match result {
            Ok(_) => self.teller.tell("start", &self.settings.attributes, &[]),
            Err((status, message)) => self.start_failed(status, &message),
        }
    }

    /// Plans the next probe.
    pub(super) fn schedule_probe(&mut self) {
        if let (Phase::Running(live), Some(machine)) = (&self.phase, &mut self.health)
            && !live.stopping
        {
            self.probe_due = Some(Instant::now() + machine.interval(live.age()));
        }
    }

    fn begin_probe(&mut self) {
        let Some(machine) = &self.health else { return };
        let check = machine.check().clone();
        let plan = ExecPlan {
            args: check.test.argv(),
            env: Vec::new(),
            cwd: None,
            user: None,
            privilege: ExecPrivilege::Ordinary,
            terminal: None,
            stdin: Stdin::Closed,
            note: serde_json::Value::Null,
        };
        let id = ExecId(crate::log::fresh_id());
        let words = plan.args.join(" ");
        let start = Timestamp::now();
        let output = ProbeOutput {
            bytes: Vec::new(),
            dropped: Dropped::None,
            start,
            deadline: Instant::now() + check.timeout,
            timed_out: false,
        };
        if !machine.is_silent() {
            let of_exec = [("execID", &*id.0)];
            self.teller.tell(&format!("exec_create: {words}"), &self.settings.attributes, &of_exec);
            self.teller.tell(&format!("exec_start: {words}"), &self.settings.attributes, &of_exec);
        }
        self.execs.add(id.clone(), plan, Kind::Probe(output));
        if let Err((_, message)) = self.run_exec(&id) {
            self.execs.remove(&id);
            self.probed(Probe { start, end: Timestamp::now(), exit_code: -1, output: message });
        }
    }

    fn probed(&mut self, probe: Probe) {
        let (Phase::Running(live), Some(machine)) = (&self.phase, &mut self.health) else { return };
        let change = machine.probed(probe, live.age());
        if let Some(status) = change {
            self.teller.tell(&format!("health_status: {status}"), &self.settings.attributes, &[]);
        }
        if !live.paused {
            self.schedule_probe();
        }
        self.save();
    }

    /// Runs an execution that was made ready; returns its pid.
    pub(super) fn run_exec(&mut self, id: &ExecId) -> Result<i32, Failure> {
        let plan = self.read_plan().map_err(|why| (125, why))?.ok_or((125, "the plan is gone".to_owned()))?;
        let (Phase::Running(live), Some(exec)) = (&self.phase, self.execs.all.get_mut(id)) else {
            return Err((125, "the container is not running".to_owned()));
        };
        match execs::run(plan.spec, &exec.plan, &live.process, live.cgroup.as_ref()) {
            Ok((process, streams)) => {
                let pid = process.pid();
                exec.progress = ExecProgress::Running { pid };
                exec.process = Some(process);
                exec.streams = streams;
                Ok(pid)
            }
            Err((status, message)) => {
                exec.progress = ExecProgress::Ended { code: status.into(), pid: 0 };
                Err((status, message))
            }
        }
    }

    /// Reads output of an execution once.
    pub(super) fn read_exec(&mut self, id: &ExecId, source: Source) {
        let Some(exec) = self.execs.all.get_mut(id) else { return };
        let slot = match source {
            Source::Stdout => &mut exec.streams.stdout,
            Source::Stderr => &mut exec.streams.stderr,
        };
        let Some(fd) = slot else { return };
        let mut buffer = [0; 32 << 10];
        match read_some(&*fd, &mut buffer) {
            Some(count) => self.exec_output(id, source, &buffer[..count]),
            None => *slot = None,
        }
    }

    fn exec_output(&mut self, id: &ExecId, source: Source, bytes: &[u8]) {
        let Some(exec) = self.execs.all.get_mut(id) else { return };
        match &mut exec.kind {
            Kind::Probe(output) => output.push(bytes),
            Kind::Client(None) => {}
            Kind::Client(Some(number)) => {
                let number = *number;
                let Some(connection) = self.connection(number) else { return };
                let Role::Exec(_, attach) = &connection.role else { return };
                let (kind, wanted) = match source {
                    Source::Stdout => (frame::Kind::Stdout, attach.stdout),
                    Source::Stderr => (frame::Kind::Stderr, attach.stderr),
                };
                if wanted && !bytes.is_empty() {
                    encode(kind, bytes, &mut connection.outbox);
                }
            }
        }
    }

    /// An execution has ended.
    pub(super) fn exec_ended(&mut self, id: &ExecId) {
        let Some(process) = self.execs.all.get_mut(id).and_then(|exec| exec.process.take()) else { return };
        let status = process.reap().ok().and_then(|ended| ended.status);
        let code = status.map_or(LOST, code_of);
        let streams =
            self.execs.all.get_mut(id).map(|exec| std::mem::take(&mut exec.streams)).unwrap_or_default();
        let mut buffer = [0; 32 << 10];
        for (source, fd) in [(Source::Stdout, &streams.stdout), (Source::Stderr, &streams.stderr)] {
            let Some(fd) = fd else { continue };
            while let Some(count @ 1..) = read_some(fd, &mut buffer) {
                self.exec_output(id, source, &buffer[..count]);
            }
        }
        let Some(exec) = self.execs.all.get_mut(id) else { return };
        exec.progress = ExecProgress::Ended { code, pid: process.pid() };
        match std::mem::replace(&mut exec.kind, Kind::Client(None)) {
            Kind::Client(Some(number)) => {
                if let Some(connection) = self.connection(number) {
                    connection.say(&Reply::ExecEnded { code });
                    connection.role = Role::Requests;
                }
            }
            Kind::Client(None) => {}
            Kind::Probe(output) => {
                self.execs.remove(id);
                let timeout = self.health.as_ref().map(|machine| machine.check().timeout).unwrap_or_default();
                let (exit_code, text) = if output.timed_out {
                    (-1, format!("Health check exceeded timeout ({})", go_duration(timeout)))
                } else {
                    (code, health::output(&output.bytes, output.dropped))
                };
                if self.health.as_ref().is_some_and(|machine| !machine.is_silent()) {
                    let more = [("execID", &*id.0), ("exitCode", &*exit_code.to_string())];
                    self.teller.tell("exec_die", &self.settings.attributes, &more);
                }
                self.probed(Probe { start: output.start, end: Timestamp::now(), exit_code, output: text });
            }
        }
    }

    /// Ends all executions: the container has ended.
    fn end_execs(&mut self) {
        let ids: Vec<ExecId> = self.execs.all.keys().cloned().collect();
        for id in ids {
            if let Some(process) = self.execs.all.get(&id).and_then(|exec| exec.process.as_ref()) {
                process.kill();
            }
            if matches!(self.execs.all.get(&id), Some(exec) if matches!(exec.kind, Kind::Probe(_))) {
                // A probe that was cut short tells nothing about the health.
                if let Some(process) = self.execs.all.get_mut(&id).and_then(|exec| exec.process.take()) {
                    let _ = process.reap();
                }
            } else {
                self.exec_ended(&id);
            }
        }
        self.execs.clear();
    }
}

/// The time that a program has to end if nothing else was said, when its monitor was lost meanwhile.
const DEFAULT_GRACE: Duration = Duration::from_secs(10);

/// The status of a program as shells tell it.
fn code_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(LOST)
}

/// Writes a duration as Docker's messages have it (`30s`, `1m30s`, `1.5s`, `100ms`).
fn go_duration(time: Duration) -> String {
    if time < Duration::from_secs(1) {
        return format!("{}ms", time.as_secs_f64() * 1000.0);
    }
    let (hours, minutes) = (time.as_secs() / 3600, time.as_secs() / 60 % 60);
    let seconds = (time.as_secs() % 60) as f64 + f64::from(time.subsec_nanos()) / 1e9;
    match (hours, minutes) {
        (0, 0) => format!("{seconds}s"),
        (0, _) => format!("{minutes}m{seconds}s"),
        _ => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_docker_does() {
        for (millis, text) in
            [(100, "100ms"), (1500, "1.5s"), (30_000, "30s"), (90_000, "1m30s"), (3_600_000, "1h0m0s")]
        {
            assert_eq!(go_duration(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn statuses_are_those_of_shells() {
        assert_eq!(code_of(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code_of(ExitStatus::from_raw(9)), 137);
    }
}

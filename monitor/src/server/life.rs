//! Starts, ends, restarts, and removal at the end.

use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio as ProcessStdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rbuild_model::container::{Ended, Run, StartFailure, State};
use rbuild_network::duty::{Found, Service, Withdrawn, withdraw};
use rbuild_network::names::Presence;
use rbuild_sandbox::cgroup::{Cgroup, Layout, Limits, OomWatch};
use rbuild_sandbox::process::{self, Process};
use rbuild_sandbox::{Launcher, LauncherConfig, Lifetime, Namespaces, Order, SlotRequest, Stubs};

use super::connection::Role;
use super::execs::{self, Kind};
use super::monitor::{Live, Monitor, Phase};
use super::shares;
use super::streams::{self, Streams};
use crate::document::{self, Promise};
use crate::health::Machine;
use crate::place::PLAN;
use crate::plan::{Handed, Plan};
use crate::protocol::{Reply, Until};
use crate::record::LOST;
use crate::{backoff, chain};

/// A launcher is kept for what comes within this time: another one costs some milliseconds of processor time.
const SOON: Duration = Duration::from_millis(500);
/// How long it stays when nothing comes: its end takes a millisecond, which programs that end at once would wait for.
const LINGER: Duration = Duration::from_millis(100);

/// Why a program could not be run: the status that stands for it, and the text.
pub(super) type Failure = (u8, String);

impl Monitor {
    /// Runs the container for somebody who asked for it.
    pub(super) fn first_start(&mut self, plan: Plan, handed: Handed) -> Result<(i32, Vec<String>), Failure> {
        let started = self.begin_run(plan, handed);
        if let Err((status, message)) = &started {
            self.start_failed(*status, message);
        }
        started
    }

    fn begin_run(&mut self, mut plan: Plan, handed: Handed) -> Result<(i32, Vec<String>), Failure> {
        self.is_reaped = false;
        let failed = |error: &dyn std::error::Error| (125, chain(error));
        self.owed.clone_from(&plan.duties);
        document::write(&self.place.plan(), PLAN, &plan, Promise::Volatile)
            .map_err(|error| failed(&error))?;
        let Handed { network, place, ports } = handed;
        self.handed = Handed { network, place, ports: Vec::new() };
        let note = std::mem::take(&mut plan.note);
        self.open_log().map_err(|error| (125, format!("cannot open the container's log: {error}")))?;
        let mut notes = Vec::new();
        if let Some(duties) = plan.duties.take() {
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
            self.owed = None;
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
        let Plan { spec, root, mut mounts, cgroup, shares, volumes, .. } = plan;
        let process = spec.process().clone().unwrap_or_default();
        let owner = (process.user().uid(), process.user().gid());
        let is_terminal = process.terminal().unwrap_or(false);
        if let Some(left) = Cgroup::open(Layout::shared(), &cgroup.prefix, &cgroup.name) {
            left.remove().map_err(|error| failed(&error))?;
        }
        let launcher = self.take_launcher()?;
        let group = Cgroup::create(Layout::shared(), &cgroup).map_err(|error| failed(&error))?;
        let clone = |fd: &Option<OwnedFd>| fd.as_ref().map(OwnedFd::try_clone).transpose();
        let mut namespaces =
            Namespaces::of_spec(&spec, clone(&self.handed.network).map_err(|error| failed(&error))?);
        shares::join(&self.place, &shares, &mut namespaces, &mut mounts).map_err(|why| (125, why))?;
        // Known before the program runs: what it does at once is told, too.
        let oom = watched(group.as_ref(), &cgroup.limits);
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
            let mut created = slot
                .create(Order { spec, root: root.into(), mounts, stubs: Stubs::Keep }, stdio)
                .map_err(told)?;
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
        let ((process, cgroup), streams, notes) = match launched {
            Ok(launched) => launched,
            Err(failure) => {
                drop(launcher);
                // Nothing else of this process can run now: what was made for the program ends, and is reaped.
                process::reap_all();
                self.health = None;
                return Err(failure);
            }
        };
        self.launcher = Some(launcher);
        volumes.iter().for_each(|volume| self.teller.tell_mount(volume));
        self.volumes = volumes;
        let pid = process.pid();
        self.phase = Phase::Running(Box::new(Live {
            process,
            cgroup,
            oom,
            oom_told: false,
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

    /// Takes the launcher that is there, or makes one. Who has used it puts it back, unless it failed.
    pub(super) fn take_launcher(&mut self) -> Result<Launcher, Failure> {
        let made = || Launcher::new(&LauncherConfig::default());
        self.launcher.take().map_or_else(made, Ok).map_err(|error| (error.exit_status(), chain(&error)))
    }

    /// Lets the launcher go when it had no use for a while and has none soon.
    pub(super) fn drop_launcher_if_idle(&mut self, now: Instant) {
        let is_soon = |at: Instant| at.saturating_duration_since(now) < SOON;
        let stays = match &self.phase {
            // It is for the start that this process was made for.
            Phase::Idle => true,
            Phase::Waiting(at) => is_soon(*at),
            Phase::Running(_) => self.probe_due.is_some_and(is_soon) || self.execs.has_probe(),
        };
        if stays || self.launcher.is_none() {
            self.launcher_due = None;
        } else if *self.launcher_due.get_or_insert(now + LINGER) <= now {
            self.launcher = None;
            self.launcher_due = None;
        }
    }

    pub(super) fn read_plan(&self) -> Result<Option<Plan>, String> {
        document::read(&self.place.plan(), PLAN).map_err(|error| chain(&error))
    }

    /// Writes the record in both places.
    pub(super) fn keep_record(&mut self) {
        self.save();
        if !self.given_up {
            let _ = self.place.write_last(&self.record, Promise::Written);
        }
    }

    /// The program has ended.
    pub(super) fn ended(&mut self) {
        // It may be what the program died of.
        self.tell_oom();
        let Phase::Running(live) = std::mem::replace(&mut self.phase, Phase::Idle) else { return };
        let age = live.age();
        let Live { process, cgroup, oom, oom_told, streams, fate, .. } = *live;
        self.end_execs();
        let ended = process.reap();
        let oom_killed = cgroup.as_ref().is_some_and(Cgroup::oom_killed);
        // The end of the group would be told by it as well.
        drop(oom);
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
        // Whoever is told of the end and looks finds it written down.
        self.keep_record();
        if oom_killed && !oom_told {
            // Without a limit of its own nobody watched it: the machine's memory was short.
            self.teller.tell("oom", &self.settings.attributes, &[]);
        }
        self.tell_die();
        self.tell_end();
        self.remove_if_due();
    }

    /// Tells that the memory of the program was used up, if it was.
    pub(super) fn tell_oom(&mut self) {
        let Phase::Running(live) = &mut self.phase else { return };
        if live.oom.as_mut().is_some_and(OomWatch::happened) {
            live.oom_told = true;
            self.teller.tell("oom", &self.settings.attributes, &[]);
        }
    }

    /// Begins the pause before the next start, if the policy wants one; else gives back what a run needs.
    ///
    /// One whose networks this monitor does not have would come up without any: whoever meets it next starts it anew.
    pub(super) fn restart_if_due(&mut self, age: Duration) {
        let State::Exited(last) = &self.record.state else { return };
        let (policy, count) = (self.settings.restart, self.record.restart_count);
        if backoff::restarts(policy, last.code, last.stopped, count) {
            let pause = self.backoff.pause(age);
            let next = Timestamp::now().checked_add(pause).unwrap_or(Timestamp::MAX);
            self.record.state = State::Restarting { last: last.clone(), next };
            self.phase = Phase::Waiting(Instant::now() + pause);
            if let Some(service) = &mut self.service {
                let _ = service.is_running(Presence::Stopped);
            } else if self.owed.is_some() {
                self.phase = Phase::Idle;
                self.give_back_networks();
            }
        } else {
            self.phase = Phase::Idle;
            self.give_back_networks();
        }
    }

    /// Another program may have changed the rules that hold networks apart.
    pub(super) fn mend_rules(&mut self) {
        let Some(service) = &mut self.service else { return };
        let action = match service.mend_rules() {
            Ok(Found::Whole) => return,
            Ok(Found::Damaged) => {
                "network_rules: another program changed or removed them, they were made again".to_owned()
            }
            Err(error) => format!("network_rules: {}", chain(&error)),
        };
        self.teller.tell(&action, &self.settings.attributes, &[]);
    }

    fn give_back_networks(&mut self) {
        // What fails is found by the next command that looks after networks.
        let withdrawn = match self.service.take() {
            Some(service) => Some(service.end()),
            None => self.owed.take().map(|duties| withdraw(&duties, self.handed.place.take())),
        };
        if let Some(Withdrawn { left, sockets, errors: _ }) = withdrawn {
            left.iter().for_each(|network| self.teller.tell_disconnect(network));
            self.spent = sockets;
        }
        self.handed = Handed::default();
        self.record.note = serde_json::Value::Null;
    }

    /// Tells that the program has ended.
    pub(super) fn tell_die(&mut self) {
        for volume in std::mem::take(&mut self.volumes) {
            self.teller.tell_unmount(&volume);
        }
        let Some(last) = self.record.state.ended() else { return };
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

    /// Has a container that has ended looked after, if something is to be done then: it removes itself, or has volumes to
    /// give back. All who are connected have got everything by then.
    pub(super) fn remove_if_due(&mut self) {
        let due = matches!(self.phase, Phase::Idle)
            && (self.record.state.ended().is_some() || self.has_failed())
            && !self.given_up
            && self.reaper.is_none()
            && !self.is_reaped
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
        self.is_reaped = true;
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
        if self.service.as_ref().and_then(Service::rules_deadline).is_some_and(|at| at <= now) {
            self.mend_rules();
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
                if let (Some(process), Phase::Running(live)) = (&exec.process, &self.phase) {
                    execs::kill_session(process, live.cgroup.as_ref());
                }
            }
        }
    }

    /// Runs the program again, as the policy wants it.
    fn restart(&mut self) {
        self.record.restart_count = self.record.restart_count.saturating_add(1);
        let plan = self.read_plan().and_then(|plan| plan.ok_or_else(|| "the plan is gone".to_owned()));
        let result = plan.map_err(|why| (125, why)).and_then(|mut plan| {
            let note = std::mem::take(&mut plan.note);
            self.launch(plan, note)
        });
        match result {
            Ok(_) => self.teller.tell("start", &self.settings.attributes, &[]),
            Err((status, message)) => self.start_failed(status, &message),
        }
    }
}

/// The status of a program as shells tell it.
pub(super) fn code_of(status: ExitStatus) -> i32 {
    status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(LOST)
}

/// Watches the memory of a group that has a limit; without one it is used up with the machine's.
pub(super) fn watched(group: Option<&Cgroup>, limits: &Limits) -> Option<OomWatch> {
    group.filter(|_| limits.memory.is_some()).and_then(Cgroup::watch_oom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_those_of_shells() {
        assert_eq!(code_of(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(code_of(ExitStatus::from_raw(9)), 137);
    }
}

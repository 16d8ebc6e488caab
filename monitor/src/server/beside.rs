//! Programs beside the container's own, from their start to what is told of their end; probes of health among them.

use std::os::unix::process::ExitStatusExt as _;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use rbuild_model::container::{Probe, Signal};

use super::connection::Role;
use super::execs::{self, Kind, ProbeOutput};
use super::life::{Failure, code_of};
use super::monitor::{Monitor, Phase};
use super::output::MOST_LEFT;
use super::streams::read_some;
use crate::health::{self, Dropped};
use crate::log::Source;
use crate::plan::{ExecPlan, ExecPrivilege, Stdin};
use crate::protocol::frame::{self, encode};
use crate::protocol::{ExecId, ExecProgress, Reply};
use crate::record::LOST;

impl Monitor {
    /// Plans the next probe.
    pub(super) fn schedule_probe(&mut self) {
        if let (Phase::Running(live), Some(machine)) = (&self.phase, &mut self.health)
            && !live.stopping
        {
            self.probe_due = Some(Instant::now() + machine.interval(live.age()));
        }
    }

    pub(super) fn begin_probe(&mut self) {
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
            if self.is_ending() {
                // There was nothing left to begin it in: the end of the container comes next.
                return;
            }
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
        let launcher = self.take_launcher()?;
        let (Phase::Running(live), Some(exec)) = (&self.phase, self.execs.all.get_mut(id)) else {
            return Err((125, "the container is not running".to_owned()));
        };
        match execs::run(&launcher, plan.spec, &exec.plan, &live.process, live.cgroup.as_ref()) {
            Ok((process, streams)) => {
                self.launcher = Some(launcher);
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
            // What it left behind may write on and on: no pipe holds more than this.
            for _ in 0..MOST_LEFT / buffer.len() {
                let Some(count @ 1..) = read_some(fd, &mut buffer) else { break };
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
                let is_killed = status.and_then(|status| status.signal()) == Some(Signal::KILL.number());
                if is_killed && !output.timed_out && self.is_ending() {
                    // Cut short by the end of the container, which comes next: it tells nothing about the health.
                    return;
                }
                let timeout = self.health.as_ref().map(|machine| machine.check().timeout).unwrap_or_default();
                let said = health::output(&output.bytes, output.dropped);
                let (exit_code, text) = if output.timed_out {
                    let colon = if said.is_empty() { "" } else { ": " };
                    (-1, format!("Health check exceeded timeout ({}){colon}{said}", go_duration(timeout)))
                } else {
                    (code, said)
                };
                if self.health.as_ref().is_some_and(|machine| !machine.is_silent()) {
                    let more = [("execID", &*id.0), ("exitCode", &*exit_code.to_string())];
                    self.teller.tell("exec_die", &self.settings.attributes, &more);
                }
                self.probed(Probe { start: output.start, end: Timestamp::now(), exit_code, output: text });
            }
        }
    }

    fn is_ending(&self) -> bool {
        matches!(&self.phase, Phase::Running(live) if live.process.is_ending())
    }

    /// Ends all executions: the container has ended.
    pub(super) fn end_execs(&mut self) {
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
}

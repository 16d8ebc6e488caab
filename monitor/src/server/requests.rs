//! What clients ask, and what they are answered.

use std::time::Instant;

use rbuild_model::container::{Removal, RestartPolicy, Signal, State, Stopped};
use rbuild_sandbox::cgroup::{Freeze, Layout, Limits};

use super::connection::{Attached, Health, Role};
use super::execs::Kind;
use super::life::watched;
use super::monitor::{Monitor, Phase};
use super::{execs, streams};
use crate::chain;
use crate::document::{self, Promise};
use crate::log::Lines;
use crate::place::{PLAN, SETTINGS};
use crate::plan::{ExecPlan, Handed, HandedList, Plan, Stdin};
use crate::protocol::frame::{self, Frame};
use crate::protocol::{
    Attach, ExecId, ExecProgress, ExecState, Grace, OLDEST, Refusal, Reply, Request, Until, VERSION,
};
use crate::record::{Moment, Patience, Uptime};

/// What a request comes to.
enum Answer {
    /// This is it.
    Now(Reply),
    /// It comes later, or was sent already.
    Later,
}

type Answered = Result<Answer, Refusal>;

impl Monitor {
    /// Does what a client has asked so far.
    pub(super) fn requests_of(&mut self, number: u64) {
        loop {
            let Some(connection) = self.connection(number) else { return };
            let frame = match connection.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => return,
                Err(_) => return self.forget(number),
            };
            if frame.kind != frame::Kind::Message {
                self.stream_frame(number, &frame);
                continue;
            }
            let answer = match frame.read::<Request>() {
                Ok(request) => self.answer(number, request),
                Err(error) => Err(Refusal::Unexpected(chain(&error))),
            };
            let Some(connection) = self.connection(number) else { return };
            match answer {
                Ok(Answer::Now(reply)) => connection.say(&reply),
                Ok(Answer::Later) => {}
                Err(refusal) => connection.say(&Reply::Refused(refusal)),
            }
        }
    }

    fn answer(&mut self, number: u64, request: Request) -> Answered {
        let Some(connection) = self.connection(number) else { return Ok(Answer::Later) };
        if let Request::Hello { version } = request {
            connection.greeted = true;
            return if version >= OLDEST {
                Ok(Answer::Now(Reply::Hello { version: version.min(VERSION), pid: std::process::id() }))
            } else {
                Err(Refusal::Version { oldest: OLDEST, newest: VERSION, asked: version })
            };
        }
        if !connection.greeted {
            return Err(Refusal::Unexpected("the first message has to be a greeting".to_owned()));
        }
        if connection.role != Role::Requests {
            return Err(Refusal::Unexpected("this connection is waiting, or has streams".to_owned()));
        }
        let done = |result: Result<(), Refusal>| result.map(|()| Answer::Now(Reply::Done));
        match request {
            Request::Hello { .. } => unreachable!("answered above"),
            Request::Start { plan, handed } => self.ask_start(number, *plan, handed),
            Request::Stop { signal, grace } => self.ask_stop(number, signal, grace),
            Request::Kill { signal } => self.ask_kill(number, signal),
            Request::Pause => done(self.freeze(Freeze::Frozen)),
            Request::Unpause => done(self.freeze(Freeze::Thawed)),
            Request::Wait { until } => Ok(self.ask_wait(number, until)),
            Request::Watch => Ok(self.ask_watch(number)),
            Request::Attach(streams) => self.ask_attach(number, streams),
            Request::Resize { columns, rows } => match &self.phase {
                Phase::Running(live) => {
                    if let (true, Some(master)) = (live.streams.is_terminal, &live.streams.stdout) {
                        streams::resize(master, columns, rows);
                    }
                    Ok(Answer::Now(Reply::Done))
                }
                _ => Err(Refusal::NotRunning),
            },
            Request::ExecCreate { plan } => self.ask_exec_create(*plan),
            Request::ExecStart { id, attach, size } => self.ask_exec_start(number, &id, attach, size),
            Request::ExecResize { id, columns, rows } => done(self.exec(&id).map(|exec| {
                if let (true, Some(master)) = (exec.streams.is_terminal, &exec.streams.stdout) {
                    streams::resize(master, columns, rows);
                }
            })),
            Request::ExecKill { id, signal } => done(self.exec(&id).and_then(|exec| match &exec.process {
                Some(process) => {
                    process.signal(signal.number()).map_err(|error| Refusal::Failed(error.to_string()))
                }
                None => Err(Refusal::NotRunning),
            })),
            Request::ExecInspect { id } => {
                let exec = self.exec(&id)?;
                let state = ExecState { id: id.clone(), plan: exec.plan.clone(), progress: exec.progress };
                Ok(Answer::Now(Reply::ExecInspected(Box::new(state))))
            }
            Request::Execs => {
                let open = self.execs.all.iter().filter(|(_, exec)| {
                    matches!(exec.kind, Kind::Client(_))
                        && !matches!(exec.progress, ExecProgress::Ended { .. })
                });
                Ok(Answer::Now(Reply::Execs(open.map(|(id, _)| id.clone()).collect())))
            }
            Request::Update { limits, restart } => done(self.update(limits.map(|limits| *limits), restart)),
            Request::Rename { name } => {
                self.settings.attributes.insert("name".to_owned(), name);
                done(self.keep_settings())
            }
            Request::Names { hosts, serving } => done(self.ask_names(&hosts, serving)),
            Request::Inspect => {
                self.save();
                Ok(Answer::Now(Reply::Inspected(Box::new(self.record.clone()))))
            }
            Request::TakeLock => self.ask_lock(number),
            Request::Removed => {
                self.was_removed();
                Ok(Answer::Now(Reply::Done))
            }
            Request::WillRemove => {
                if let Some(connection) = self.connection(number) {
                    connection.removes = true;
                }
                Ok(Answer::Now(Reply::Done))
            }
        }
    }

    fn ask_start(&mut self, number: u64, plan: Plan, list: HandedList) -> Answered {
        match &self.phase {
            Phase::Running(live) if live.paused => return Err(Refusal::Paused),
            Phase::Running(_) => return Err(Refusal::Running),
            Phase::Waiting(_) => return Err(Refusal::Restarting),
            Phase::Idle => {}
        }
        if self.given_up {
            return Err(Refusal::Unexpected("the container is being removed".to_owned()));
        }
        let fds =
            self.connection(number).map(|connection| std::mem::take(&mut connection.fds)).unwrap_or_default();
        let Some(handed) = Handed::of_fds(list, fds) else {
            return Err(Refusal::Unexpected("descriptors are missing".to_owned()));
        };
        let resumes = std::mem::take(&mut self.resumes);
        self.record.restart_count = if resumes { self.record.restart_count.saturating_add(1) } else { 0 };
        self.record.stopped = Stopped::ByItself;
        self.record.patience = None;
        self.backoff = Default::default();
        let pid_notes = self.first_start(plan, handed);
        let (pid, notes) = pid_notes.map_err(|(status, message)| Refusal::NotStarted { status, message })?;
        Ok(Answer::Now(Reply::Started { pid, notes }))
    }

    fn ask_stop(&mut self, number: u64, signal: Option<Signal>, grace: Grace) -> Answered {
        if !self.note_stop() {
            return Ok(Answer::Now(Reply::Done));
        }
        let signal = signal.or(self.settings.stop_signal).unwrap_or(Signal::TERM);
        let grace = match grace {
            Grace::Default => self.settings.stop_timeout,
            Grace::For(time) => Some(time),
            Grace::Forever => None,
        };
        let Phase::Running(live) = &mut self.phase else { return Ok(Answer::Now(Reply::Done)) };
        live.stopping = true;
        self.probe_due = None;
        // What cannot be told to end is ended a little later.
        let told = live.process.signal(signal.number()).is_ok();
        let patience = if told { grace } else { Some(std::time::Duration::from_secs(2)) };
        let kill_at = patience.map(|time| Instant::now() + time);
        live.kill_at = match (live.kill_at, kill_at) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
        let left = live.kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        self.record.patience = Some(match left {
            Some(left) => Patience::Until(Uptime::after(left)),
            None => Patience::Endless,
        });
        self.save();
        self.thaw();
        self.await_end(number);
        Ok(Answer::Later)
    }

    fn ask_kill(&mut self, number: u64, signal: Signal) -> Answered {
        if matches!(self.phase, Phase::Idle) {
            return Err(Refusal::NotRunning);
        }
        let stops = signal == Signal::KILL || self.settings.stop_signal.is_none_or(|stop| stop == signal);
        if stops && !self.note_stop() {
            return Ok(Answer::Now(Reply::Done));
        }
        let Phase::Running(live) = &mut self.phase else { return Err(Refusal::Restarting) };
        if signal == Signal::KILL {
            live.kill_at = Some(Instant::now());
            self.thaw();
            self.await_end(number);
            return Ok(Answer::Later);
        }
        live.process.signal(signal.number()).map_err(|error| Refusal::Failed(error.to_string()))?;
        self.thaw();
        Ok(Answer::Now(Reply::Done))
    }

    /// Remembers that somebody asked the container to stop, for good; tells whether a program runs.
    fn note_stop(&mut self) -> bool {
        match &self.phase {
            Phase::Idle => return false,
            Phase::Waiting(_) => {
                self.record.stopped = Stopped::ByHand;
                self.cancel_restart();
                return false;
            }
            Phase::Running(_) => {}
        }
        self.record.stopped = Stopped::ByHand;
        if self.settings.removal == Removal::Keep && self.settings.restart != RestartPolicy::No {
            // Before the signal: after a power loss in between it must not be started again. On a full disk the program has
            // to end all the same, as it may be what fills it; its end is written down once more.
            let _ = self.place.write_last(&self.record, Promise::Synced);
        }
        self.save();
        true
    }

    fn await_end(&mut self, number: u64) {
        if let Some(connection) = self.connection(number) {
            connection.role = Role::AwaitsEnd;
        }
    }

    /// Thaws a container that is to end: what is frozen sees no signal.
    fn thaw(&mut self) {
        if matches!(&self.phase, Phase::Running(live) if live.paused) {
            let _ = self.freeze(Freeze::Thawed);
        }
    }

    fn freeze(&mut self, state: Freeze) -> Result<(), Refusal> {
        let Phase::Running(live) = &mut self.phase else {
            return Err(if matches!(self.phase, Phase::Waiting(_)) {
                Refusal::Restarting
            } else {
                Refusal::NotRunning
            });
        };
        let wanted = state == Freeze::Frozen;
        match (live.paused, wanted) {
            (true, true) => return Err(Refusal::Paused),
            (false, false) => return Err(Refusal::NotPaused),
            _ => {}
        }
        let Some(cgroup) = &live.cgroup else {
            return Err(Refusal::Failed("it has no control group, which pausing needs".to_owned()));
        };
        cgroup.freeze(state).map_err(|error| Refusal::Failed(chain(&error)))?;
        live.paused = wanted;
        let Some(run) = self.record.state.run().cloned() else { return Err(Refusal::NotRunning) };
        self.record.state = if wanted { State::Paused(run) } else { State::Running(run) };
        if wanted {
            self.probe_due = None;
        } else {
            self.schedule_probe();
        }
        self.save();
        Ok(())
    }

    fn ask_wait(&mut self, number: u64, until: Until) -> Answer {
        if until == Until::NotRunning && matches!(self.phase, Phase::Idle) {
            let error = self.record.state.ended().and_then(|ended| ended.error.clone());
            return Answer::Now(Reply::Exited { code: self.record.state.exit_code(), error });
        }
        if let Some(connection) = self.connection(number) {
            connection.role = Role::Waiting(until);
        }
        Answer::Now(Reply::Waiting)
    }

    fn ask_watch(&mut self, number: u64) -> Answer {
        // Who watches already is told first what it does not know yet.
        self.save();
        if let Some(connection) = self.connection(number) {
            connection.role = Role::Watching;
        }
        Answer::Now(Reply::Changed(Box::new(Moment::of(&self.record))))
    }

    fn ask_attach(&mut self, number: u64, streams: Attach) -> Answered {
        match &self.phase {
            Phase::Running(live) if live.paused => return Err(Refusal::Paused),
            Phase::Waiting(_) => return Err(Refusal::Restarting),
            _ => {}
        }
        let position = self.log.as_ref().and_then(crate::log::Writer::position);
        if let Some(connection) = self.connection(number) {
            connection.role = Role::Attached(Attached { streams, lags: None, complete: false });
        }
        Ok(Answer::Now(Reply::Attached { position }))
    }

    /// Takes bytes for a stream, or a size.
    fn stream_frame(&mut self, number: u64, frame: &Frame) {
        let Some(connection) = self.connection(number) else { return };
        match connection.role.clone() {
            Role::Attached(attached) => {
                let ends = frame.kind == frame::Kind::Stdin && frame.bytes.is_empty();
                let Phase::Running(live) = &mut self.phase else { return };
                match frame.size() {
                    Some((columns, rows)) => {
                        if let (true, Some(master)) = (live.streams.is_terminal, &live.streams.stdout) {
                            streams::resize(master, columns, rows);
                        }
                    }
                    None if ends && attached.streams.stdin => self.end_input(),
                    None if attached.streams.stdin && frame.kind == frame::Kind::Stdin => {
                        live.streams.input.push(&frame.bytes);
                        live.streams.input.flush();
                    }
                    None => {}
                }
            }
            Role::Exec(id, attach) => {
                let Some(exec) = self.execs.all.get_mut(&id) else { return };
                let ends = frame.kind == frame::Kind::Stdin && frame.bytes.is_empty();
                match frame.size() {
                    Some((columns, rows)) => {
                        if let (true, Some(master)) = (exec.streams.is_terminal, &exec.streams.stdout) {
                            streams::resize(master, columns, rows);
                        }
                    }
                    None if ends && attach.stdin && !exec.streams.is_terminal => {
                        exec.streams.input.ending = true;
                        exec.streams.input.flush();
                    }
                    None if attach.stdin && frame.kind == frame::Kind::Stdin => {
                        exec.streams.input.push(&frame.bytes);
                        exec.streams.input.flush();
                    }
                    None => {}
                }
            }
            // What came too late for the program that it was meant for.
            Role::Requests | Role::Waiting(_) | Role::Watching | Role::AwaitsEnd => {}
        }
    }

    /// An attached input has ended: so has the program's, if it is to be attached once.
    pub(super) fn end_input(&mut self) {
        if let Phase::Running(live) = &mut self.phase
            && self.settings.stdin == Stdin::Once
            && !live.streams.is_terminal
        {
            live.streams.input.ending = true;
            live.streams.input.flush();
        }
    }

    fn exec(&mut self, id: &ExecId) -> Result<&mut execs::Exec, Refusal> {
        self.execs.all.get_mut(id).ok_or_else(|| Refusal::NoSuchExec(id.0.clone()))
    }

    fn ask_exec_create(&mut self, plan: ExecPlan) -> Answered {
        self.check_runs()?;
        let id = ExecId(crate::log::fresh_id());
        self.execs.add(id.clone(), plan, Kind::Client(None));
        Ok(Answer::Now(Reply::ExecCreated { id }))
    }

    fn check_runs(&self) -> Result<(), Refusal> {
        match &self.phase {
            Phase::Running(live) if live.paused => Err(Refusal::Paused),
            Phase::Running(_) => Ok(()),
            Phase::Waiting(_) => Err(Refusal::Restarting),
            Phase::Idle => Err(Refusal::NotRunning),
        }
    }

    fn ask_exec_start(
        &mut self,
        number: u64,
        id: &ExecId,
        attach: Option<Attach>,
        size: Option<(u16, u16)>,
    ) -> Answered {
        let exec = self.exec(id)?;
        if exec.progress != ExecProgress::Created {
            return Err(Refusal::ExecStarted(id.0.clone()));
        }
        if exec.plan.terminal.is_some() && size.is_some() {
            exec.plan.terminal = size;
        }
        self.check_runs()?;
        let pid = self.run_exec(id).map_err(|(status, message)| Refusal::NotStarted { status, message })?;
        let exec = self.exec(id)?;
        match attach {
            Some(attach) => {
                exec.kind = Kind::Client(Some(number));
                if !attach.stdin && !exec.streams.is_terminal {
                    exec.streams.input.ending = true;
                    exec.streams.input.flush();
                }
                if let Some(connection) = self.connection(number) {
                    connection.role = Role::Exec(id.clone(), attach);
                }
            }
            None => {
                exec.streams.input.ending = true;
                exec.streams.input.flush();
            }
        }
        Ok(Answer::Now(Reply::ExecStarted { pid }))
    }

    fn update(&mut self, limits: Option<Limits>, restart: Option<RestartPolicy>) -> Result<(), Refusal> {
        let failed = |error: &dyn std::error::Error| Refusal::Failed(chain(error));
        if let Some(limits) = limits {
            if let Phase::Running(live) = &mut self.phase {
                // An ordinary user may have none: a limit that nobody keeps is not taken.
                let cgroup = live.cgroup.as_mut().ok_or_else(|| {
                    Refusal::Failed("it has no control group, which limits need".to_owned())
                })?;
                cgroup.update(Layout::shared(), &limits).map_err(|error| failed(&error))?;
                if live.oom.is_none() {
                    live.oom = watched(Some(cgroup), &limits);
                }
            }
            if let Some(mut plan) = self.read_plan().map_err(Refusal::Failed)? {
                plan.cgroup.limits = limits;
                document::write(&self.place.plan(), PLAN, &plan, Promise::Volatile)
                    .map_err(|error| failed(&error))?;
            }
        }
        if let Some(restart) = restart {
            self.settings.restart = restart;
            if self.record.stopped == Stopped::ByHand {
                // It was of no use on the disk while nothing started it again.
                let _ = self.place.write_last(&self.record, Promise::Synced);
            }
            if restart == RestartPolicy::No && matches!(self.phase, Phase::Waiting(_)) {
                self.cancel_restart();
            }
        }
        self.keep_settings()
    }

    fn keep_settings(&self) -> Result<(), Refusal> {
        document::write(&self.place.settings(), SETTINGS, &self.settings, Promise::Volatile)
            .map_err(|error| Refusal::Failed(chain(&error)))
    }

    fn ask_lock(&mut self, number: u64) -> Answered {
        if !matches!(self.phase, Phase::Idle) {
            return Err(Refusal::Running);
        }
        let copy = rustix::io::fcntl_dupfd_cloexec(&self.lock, 3)
            .map_err(|errno| Refusal::Failed(errno.to_string()))?;
        let Some(connection) = self.connection(number) else { return Ok(Answer::Later) };
        if connection.say_with(&Reply::Lock, &copy) == Health::Gone {
            self.forget(number);
            return Ok(Answer::Later);
        }
        if let Some(connection) = self.connection(number) {
            connection.took_lock = true;
        }
        self.given_up = true;
        self.log = None;
        self.lines = [Lines::new(crate::log::Source::Stdout), Lines::new(crate::log::Source::Stderr)];
        Ok(Answer::Later)
    }

    /// The container is gone: all who wait for anything are told.
    pub(super) fn was_removed(&mut self) {
        self.given_up = true;
        for connection in &mut self.connections {
            connection.took_lock = false;
        }
        let error = self.record.state.ended().and_then(|ended| ended.error.clone());
        let exited = Reply::Exited { code: self.record.state.exit_code(), error };
        for connection in &mut self.connections {
            match connection.role {
                Role::Waiting(_) => connection.say(&exited),
                Role::Watching => connection.say(&Reply::Gone),
                _ => continue,
            }
            connection.role = Role::Requests;
        }
    }
}

//! The state of a monitor, and its loop: what is waited for, and who handles what happened.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rbuild_model::container::State;
use rbuild_network::duty::{Duties, Service, Spent};
use rbuild_sandbox::Launcher;
use rbuild_sandbox::cgroup::{Cgroup, OomWatch, Residence};
use rbuild_sandbox::process::Process;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::connection::Connection;
use super::execs::{Execs, Kind};
use super::streams::Streams;
use crate::backoff::Backoff;
use crate::events::Teller;
use crate::health::Machine;
use crate::log::{Context, Lines, Source, Writer};
use crate::output::Spool;
use crate::place::{Lock, Place};
use crate::plan::{Handed, Settings, VolumeUse};
use crate::protocol::ExecId;
use crate::record::{Moment, Record};

/// What a monitor is made of.
pub(super) struct Parts {
    pub(super) place: Place,
    pub(super) lock: Lock,
    pub(super) settings: Settings,
    pub(super) record: Record,
    pub(super) listener: OwnedFd,
    pub(super) holds: Vec<OwnedFd>,
    /// The namespace that networks are made in, if it is not this process's own.
    pub(super) networks: Option<OwnedFd>,
    pub(super) adopts: bool,
    pub(super) resumes: bool,
}

/// What the container does.
#[derive(Debug)]
pub(super) enum Phase {
    /// Nothing.
    Idle,
    /// Its program runs.
    Running(Box<Live>),
    /// It will be started again.
    Waiting(Instant),
}

/// A program that runs.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) process: Process,
    pub(super) cgroup: Option<Cgroup>,
    /// Tells when its memory is used up, where that has a limit.
    pub(super) oom: Option<OomWatch>,
    /// Whether it was told.
    pub(super) oom_told: bool,
    pub(super) streams: Streams,
    /// When this monitor took it up, and how long it ran already then.
    pub(super) since: Instant,
    pub(super) before: Duration,
    pub(super) paused: bool,
    /// When everything in it is killed.
    pub(super) kill_at: Option<Instant>,
    /// Whether somebody asked it to stop: its health is nobody's concern any more.
    pub(super) stopping: bool,
    /// What there is to say about its end beforehand.
    pub(super) fate: Option<&'static str>,
}

impl Live {
    pub(super) fn age(&self) -> Duration {
        self.before + self.since.elapsed()
    }
}

/// The state of a monitor.
pub(super) struct Monitor {
    pub(super) place: Place,
    pub(super) lock: Lock,
    pub(super) settings: Settings,
    pub(super) record: Record,
    pub(super) listener: OwnedFd,
    /// The command that made it, until that has connected as all others do.
    maker: Option<OwnedFd>,
    _holds: Vec<OwnedFd>,
    residence: Option<Residence>,
    /// What the next start or probe is made by, if that is soon.
    pub(super) launcher: Option<Launcher>,
    /// When it goes.
    pub(super) launcher_due: Option<Instant>,
    pub(super) phase: Phase,
    pub(super) handed: Handed,
    pub(super) service: Option<Service>,
    /// What is to be given back to networks at the end, as long as no service does it.
    pub(super) owed: Option<Duties>,
    /// What the networks of the last run were given back with.
    pub(super) spent: Spent,
    pub(super) log: Option<Writer>,
    pub(super) lines: [Lines; 2],
    pub(super) spool: Spool,
    pub(super) connections: Vec<Connection>,
    pub(super) next_number: u64,
    pub(super) execs: Execs,
    pub(super) health: Option<Machine>,
    pub(super) probe_due: Option<Instant>,
    pub(super) backoff: Backoff,
    pub(super) teller: Teller,
    /// The volumes of the program that runs.
    pub(super) volumes: Vec<VolumeUse>,
    /// A descriptor that is given up for a client that comes when there is no other.
    pub(super) spare: Option<OwnedFd>,
    /// Until when no client is heard for want of descriptors.
    pub(super) deaf_until: Option<Instant>,
    /// What those who watch were told last.
    pub(super) told: Option<Moment>,
    /// The process that looks after the container when it has ended.
    pub(super) reaper: Option<Process>,
    /// Whether there was one since the last start.
    pub(super) is_reaped: bool,
    /// Whether the next start is the one that a monitor before this one did not come to: it counts as a restart.
    pub(super) resumes: bool,
    /// Whether somebody else has the lock, to remove the container: nothing is written any more.
    pub(super) given_up: bool,
}

/// What a descriptor belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Listener,
    Maker,
    Service,
    Rules,
    Reaper,
    Output(Source),
    Input,
    Oom,
    End,
    Client(u64),
    ExecOutput(ExecId, Source),
    ExecInput(ExecId),
    ExecEnd(ExecId),
}

impl Monitor {
    pub(super) fn new(parts: Parts, residence: Option<Residence>, launcher: Option<Launcher>) -> Self {
        let Parts { place, lock, settings, record, listener, holds, networks, adopts, resumes } = parts;
        let teller = Teller::new(settings.events.clone(), settings.id);
        let mut monitor = Self {
            place,
            lock,
            settings,
            record,
            listener,
            maker: None,
            _holds: holds,
            residence,
            // What is taken up runs already.
            launcher: launcher.filter(|_| !adopts),
            launcher_due: None,
            phase: Phase::Idle,
            handed: Handed { place: networks, ..Handed::default() },
            service: None,
            owed: None,
            spent: Spent::default(),
            log: None,
            lines: [Lines::new(Source::Stdout), Lines::new(Source::Stderr)],
            spool: Spool::default(),
            connections: Vec::new(),
            next_number: 0,
            execs: Execs::default(),
            health: None,
            probe_due: None,
            backoff: Backoff::default(),
            teller,
            volumes: Vec::new(),
            spare: None,
            deaf_until: None,
            told: None,
            reaper: None,
            is_reaped: false,
            resumes,
            given_up: false,
        };
        if adopts {
            monitor.take_up();
        }
        monitor
    }

    /// Serves until there is nothing more to do. `maker` is the command that made it.
    pub(super) fn serve(mut self, maker: OwnedFd) {
        self.maker = Some(maker);
        loop {
            if self.may_leave() || self.is_interrupted() {
                break;
            }
            self.keep_spare();
            let Ok(tokens) = self.wait() else { break };
            if self.deaf_until.is_some_and(|at| at <= Instant::now()) {
                self.deaf_until = None;
            }
            for token in tokens {
                self.handle(&token);
            }
            self.tick(Instant::now());
            self.flush();
            self.drop_launcher_if_idle(Instant::now());
        }
        self.leave();
    }

    /// Gives back what it holds.
    pub(super) fn leave(mut self) {
        // The record goes on naming us: who finds the lock held and us alive knows whose end to wait for. But what is to
        // be started anew has nobody.
        if self.is_interrupted() {
            self.record.monitor = None;
            self.save();
        }
        let Self { lock, listener, residence, launcher, given_up, .. } = self;
        if !given_up {
            lock.release();
        }
        drop(listener);
        super::leave(residence, launcher);
    }

    /// Whether its program is to run again, and only a command can give it what it needs for that.
    pub(super) fn is_interrupted(&self) -> bool {
        matches!(self.phase, Phase::Idle) && matches!(self.record.state, State::Restarting { .. })
    }

    fn may_leave(&self) -> bool {
        matches!(self.phase, Phase::Idle)
            && self.maker.is_none()
            && self.reaper.is_none()
            && self.connections.is_empty()
    }

    /// Writes the record for everybody to see.
    pub(super) fn save(&mut self) {
        if self.given_up {
            return;
        }
        if let (State::Running(run) | State::Paused(run), Some(machine)) =
            (&mut self.record.state, &self.health)
        {
            run.health = Some(machine.health().clone());
        }
        // On a full disk there is nobody to tell; those who ask are answered from memory.
        let _ = self.place.write_state(&self.record);
        self.tell_watchers();
    }

    pub(super) fn open_log(&mut self) -> std::io::Result<()> {
        let context =
            Context { attributes: &self.settings.attributes, env: &self.settings.env, id: &self.settings.id };
        let (folder, id) = (self.place.folder(), &self.settings.id);
        self.log = Some(Writer::open(folder, id, &self.settings.log, &context)?);
        Ok(())
    }

    /// Waits for something to happen; returns what did, in the order in which it is to be handled.
    fn wait(&self) -> Result<Vec<Token>, Errno> {
        let mut tokens = Vec::new();
        let mut fds = Vec::new();
        let mut add = |token, fd, flags| {
            tokens.push(token);
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        };
        if let Phase::Running(live) = &self.phase {
            for (source, fd) in
                [(Source::Stdout, &live.streams.stdout), (Source::Stderr, &live.streams.stderr)]
            {
                if let Some(fd) = fd {
                    add(Token::Output(source), fd.as_fd(), PollFlags::IN);
                }
            }
            if let (Some(fd), false) = (&live.streams.input.fd, live.streams.input.waiting.is_empty()) {
                add(Token::Input, fd.as_fd(), PollFlags::OUT);
            }
            if let Some(oom) = &live.oom {
                add(Token::Oom, oom.as_fd(), oom.flags());
            }
            add(Token::End, live.process.pidfd(), PollFlags::IN);
        }
        for (id, exec) in &self.execs.all {
            if !self.has_room_for(&exec.kind) {
                // Its client is slow: its own pipe holds it back, and nothing else.
            } else {
                for (source, fd) in
                    [(Source::Stdout, &exec.streams.stdout), (Source::Stderr, &exec.streams.stderr)]
                {
                    if let Some(fd) = fd {
                        add(Token::ExecOutput(id.clone(), source), fd.as_fd(), PollFlags::IN);
                    }
                }
            }
            if let (Some(fd), false) = (&exec.streams.input.fd, exec.streams.input.waiting.is_empty()) {
                add(Token::ExecInput(id.clone()), fd.as_fd(), PollFlags::OUT);
            }
            if let Some(process) = &exec.process {
                add(Token::ExecEnd(id.clone()), process.pidfd(), PollFlags::IN);
            }
        }
        if let Some(fd) = self.service.as_ref().and_then(Service::poll_fd) {
            add(Token::Service, fd, PollFlags::IN);
        }
        if let Some(fd) = self.service.as_ref().and_then(Service::rules_fd) {
            add(Token::Rules, fd, PollFlags::IN);
        }
        if let Some(reaper) = &self.reaper {
            add(Token::Reaper, reaper.pidfd(), PollFlags::IN);
        }
        for connection in &self.connections {
            let mut flags = PollFlags::empty();
            if self.takes_input(&connection.role) {
                flags |= PollFlags::IN;
            }
            if !connection.outbox.is_empty() {
                flags |= PollFlags::OUT;
            }
            add(Token::Client(connection.number), connection.socket.as_fd(), flags);
        }
        if self.deaf_until.is_none() {
            add(Token::Listener, self.listener.as_fd(), PollFlags::IN);
        }
        if let Some(maker) = &self.maker {
            add(Token::Maker, maker.as_fd(), PollFlags::IN);
        }
        let time = self.next_deadline().map(|deadline| {
            let left = deadline.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().min(1 << 30) as i64, tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut fds, time.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Vec::new()),
            Err(errno) => return Err(errno),
        }
        let ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(tokens.into_iter().zip(ready).filter(|(_, ready)| *ready).map(|(token, _)| token).collect())
    }

    fn next_deadline(&self) -> Option<Instant> {
        let service = self.service.as_ref().and_then(Service::deadline);
        let rules = self.service.as_ref().and_then(Service::rules_deadline);
        let mut deadlines = vec![self.deaf_until, self.probe_due, self.launcher_due, service, rules];
        match &self.phase {
            Phase::Running(live) => deadlines.push(live.kill_at),
            Phase::Waiting(at) => deadlines.push(Some(*at)),
            Phase::Idle => {}
        }
        deadlines.extend(self.execs.all.values().map(|exec| match &exec.kind {
            Kind::Probe(output) if !output.timed_out => Some(output.deadline),
            _ => None,
        }));
        deadlines.into_iter().flatten().min()
    }

    fn handle(&mut self, token: &Token) {
        match token {
            Token::Listener => self.accept(),
            // It said all that it had to say; its end says that it has connected, or is gone.
            Token::Maker => self.maker = None,
            Token::Service => {
                if let Some(service) = &mut self.service {
                    service.turn();
                }
            }
            Token::Rules => self.mend_rules(),
            Token::Reaper => {
                if let Some(reaper) = self.reaper.take() {
                    let _ = reaper.reap();
                }
            }
            Token::Output(source) => self.read_output(*source),
            Token::Input => {
                if let Phase::Running(live) = &mut self.phase {
                    live.streams.input.flush();
                }
            }
            Token::Oom => self.tell_oom(),
            Token::End => self.ended(),
            Token::Client(number) => self.serve_client(*number),
            Token::ExecOutput(id, source) => self.read_exec(id, *source),
            Token::ExecInput(id) => {
                if let Some(exec) = self.execs.all.get_mut(id) {
                    exec.streams.input.flush();
                }
            }
            Token::ExecEnd(id) => self.exec_ended(id),
        }
    }
}

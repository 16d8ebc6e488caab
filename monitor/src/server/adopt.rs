//! Taking up what a monitor left that was killed: the same processes, pipes, group, and what was still to be done.

use std::io::ErrorKind;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Process as OciProcess};
use rbuild_model::container::{Health, ProcessIdentity, Run, State, Stopped};
use rbuild_network::duty::Service;
use rbuild_network::names::Presence;
use rbuild_sandbox::cgroup::{Cgroup, Layout};
use rbuild_sandbox::process::{Process, is_alive};

use super::life::watched;
use super::monitor::{Live, Monitor, Phase};
use super::streams::{self, Streams};
use crate::backoff;
use crate::health::Machine;
use crate::plan::Plan;
use crate::record::Patience;

impl Monitor {
    /// Takes up a container whose monitor was lost.
    pub(super) fn take_up(&mut self) {
        // Without a log its output is read and passed on all the same.
        let _ = self.open_log();
        match self.record.state.clone() {
            State::Running(run) => self.take_up_run(&run, false),
            State::Paused(run) => self.take_up_run(&run, true),
            State::Restarting { next, .. } => {
                // One with networks is not taken up in its pause: they went with the other monitor.
                self.phase = Phase::Waiting(Instant::now() + backoff::left(next, Timestamp::now()));
            }
            _ => {}
        }
        self.save();
    }

    fn take_up_run(&mut self, run: &Run, paused: bool) {
        let mut plan = self.read_plan().ok().flatten();
        self.owed = plan.as_mut().and_then(|plan| plan.duties.take());
        self.volumes = plan.as_mut().map(|plan| std::mem::take(&mut plan.volumes)).unwrap_or_default();
        let cgroup = plan
            .as_ref()
            .and_then(|plan| Cgroup::open(Layout::shared(), &plan.cgroup.prefix, &plan.cgroup.name));
        let Some(process) = Process::find(run.init) else {
            // It ended since somebody saw it alive.
            if let Some(cgroup) = cgroup {
                let _ = cgroup.remove();
            }
            let monitor = self.record.monitor;
            self.record.lose("monitor lost");
            self.record.monitor = monitor;
            self.keep_record();
            self.tell_die();
            self.restart_if_due(Duration::ZERO);
            return;
        };
        let end = self.take_up_networks(plan.as_ref(), run.init);
        let started = run.started;
        let before = Duration::try_from(Timestamp::now().duration_since(started)).unwrap_or(Duration::ZERO);
        let check = self.settings.health.clone();
        self.health = check.map(|check| match &run.health {
            Some(health) => Machine::resume(check, health.clone()),
            None => Machine::resume(check, Health::starting()),
        });
        let process_of = plan.as_ref().and_then(|plan| plan.spec.process().as_ref());
        let has_terminal = process_of.and_then(OciProcess::terminal).unwrap_or(false);
        let now = Instant::now();
        // What happened before was told by the other monitor.
        let oom_told = cgroup.as_ref().is_some_and(Cgroup::oom_killed);
        let oom = plan.as_ref().and_then(|plan| watched(cgroup.as_ref(), &plan.cgroup.limits));
        self.phase = Phase::Running(Box::new(Live {
            process,
            cgroup,
            oom,
            oom_told,
            streams: if has_terminal { Streams::default() } else { streams::reopen(&self.place) },
            since: now,
            before,
            paused,
            kill_at: match self.record.stopped {
                // Its terminal was the last monitor's: nobody can speak with it any more.
                _ if has_terminal => Some(now),
                // It is still asked to stop.
                Stopped::ByHand => match self.record.patience {
                    Some(Patience::Endless) => None,
                    Some(Patience::Until(moment)) => Some(now + moment.left()),
                    None => self.settings.stop_timeout.map(|time| now + time),
                },
                Stopped::ByItself => None,
            },
            stopping: has_terminal || self.record.stopped == Stopped::ByHand,
            fate: has_terminal.then_some("monitor lost, and the terminal with it"),
        }));
        if end == End::Near {
            self.ended();
        } else if !paused {
            self.schedule_probe();
        }
    }

    /// Takes up what is to be done for the networks, with the namespace of the process that has them; tells whether it
    /// still has.
    fn take_up_networks(&mut self, plan: Option<&Plan>, init: ProcessIdentity) -> End {
        let namespaces = plan.and_then(|plan| plan.spec.linux().as_ref()?.namespaces().as_deref());
        let is_network = |listed: &LinuxNamespace| listed.typ() == LinuxNamespaceType::Network;
        if namespaces.is_some_and(|listed| listed.iter().any(is_network)) {
            let opened = std::fs::File::open(format!("/proc/{}/ns/net", init.pid));
            // A process that ends leaves its namespaces first; and its number may be another's by now.
            let has_left = matches!(&opened, Err(error) if error.kind() == ErrorKind::NotFound);
            if has_left || !is_alive(init) {
                return End::Near;
            }
            self.handed.network = opened.ok().map(OwnedFd::from);
            if self.handed.network.is_none() {
                return End::Far;
            }
        }
        if let Some(duties) = self.owed.clone() {
            let network = self.handed.network.as_ref().map(OwnedFd::as_fd);
            let place = self.handed.place.as_ref().and_then(|place| place.try_clone().ok());
            self.service =
                Service::start(duties, network, place, Vec::new()).ok().map(|(service, _)| service);
            if let Some(service) = &mut self.service {
                self.owed = None;
                // The other monitor may have had no time to say so.
                let _ = service.is_running(Presence::Running);
            }
        }
        End::Far
    }
}

/// Whether a program that is taken up will end at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It has ended or is just ending; its networks are gone with it.
    Near,
    /// It runs.
    Far,
}

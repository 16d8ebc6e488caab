//! Places for steps to run in, made ahead.
//!
//! Joining control groups and making a network namespace takes longer than most steps do (the kernel waits for grace
//! periods), and depends on nothing that a step says. So while one step runs, the berths of the next ones are made by
//! a thread of their own: as many as may still be wanted, and never more than [`AHEAD`] at a time.
//!
//! Only ordinary steps use them. A step with another network, limits of its own, or rights of its own gets a berth
//! made for it.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rbuild_model::graph::StepId;
use rbuild_model::step::{Exec, Limits, NetworkMode, SecurityMode};
use rbuild_sandbox::cgroup::{DeviceRule, Devices};
use rbuild_sandbox::{LaunchError, Lifetime, Namespaces, Network, Slot, SlotRequest};
use rbuild_store::UniqueId;

use crate::cdi::{Given, StepDevices};
use crate::error::StepError;
use crate::network::StepNetwork;
use crate::worker::Worker;

/// How many berths are kept ready.
const AHEAD: usize = 2;

/// A place for one step to run in.
pub(crate) struct Berth {
    /// What its control group is called.
    pub(crate) name: String,
    pub(crate) network: StepNetwork,
    pub(crate) slot: Slot,
}

/// What a berth is made for.
struct Purpose<'a> {
    network: NetworkMode,
    security: SecurityMode,
    limits: &'a Limits,
    devices: &'a [DeviceRule],
}

/// The berths of one build.
pub(crate) struct Berths<'a> {
    worker: &'a Worker,
    devices: &'a StepDevices,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Berth>,
    /// Steps that may still want one.
    expected: usize,
    /// Whether one is being made ahead right now.
    making: bool,
    /// Whether some step has run: builds that run nothing make nothing.
    begun: bool,
    closed: bool,
}

impl<'a> Berths<'a> {
    /// Prepares for a number of steps; nothing is made before the first one runs.
    pub(crate) fn new(worker: &'a Worker, steps: usize, devices: &'a StepDevices) -> Self {
        let state = State { expected: steps, ..State::default() };
        Self { worker, devices, state: Mutex::new(state), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A step will not run: its result was found.
    pub(crate) fn forgo(&self) {
        let mut state = self.state();
        state.expected = state.expected.saturating_sub(1);
    }

    /// Returns what a step is given with its devices.
    pub(crate) fn devices(&self, step: StepId) -> Result<Given, StepError> {
        Ok(self.devices.given(step)?)
    }

    /// Returns a berth for a step, in which it may use `devices`.
    pub(crate) fn take(
        &self,
        exec: &Exec,
        limits: &Limits,
        devices: &[DeviceRule],
    ) -> Result<Berth, StepError> {
        let ordinary = exec.network == NetworkMode::Default
            && exec.security == SecurityMode::Sandbox
            && *limits == Limits::default()
            && devices.is_empty();
        let ready = {
            let mut state = self.state();
            state.expected = state.expected.saturating_sub(1);
            state.begun = true;
            // One that is nearly there is had sooner than a new one.
            while ordinary && state.ready.is_empty() && state.making && !state.closed {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            let ready = if ordinary { state.ready.pop_front() } else { None };
            self.changed.notify_all();
            ready
        };
        match ready {
            Some(berth) => Ok(berth),
            None => self.make(&Purpose { network: exec.network, security: exec.security, limits, devices }),
        }
    }

    /// Makes berths ahead until [`Berths::close`]; the body of a thread.
    pub(crate) fn keep_ready(&self) {
        let mut state = self.state();
        loop {
            while !(state.closed || state.begun && state.ready.len() < AHEAD.min(state.expected)) {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.closed {
                break;
            }
            state.making = true;
            drop(state);
            let making = Making(self);
            let limits = Limits::default();
            let made = self.make(&Purpose {
                network: NetworkMode::Default,
                security: SecurityMode::Sandbox,
                limits: &limits,
                devices: &[],
            });
            drop(making);
            state = self.state();
            match made {
                Ok(berth) => state.ready.push_back(berth),
                // Whoever wants one makes it, and tells why that cannot be done.
                Err(_) => state.expected = 0,
            }
            self.changed.notify_all();
        }
        let unused: Vec<Berth> = state.ready.drain(..).collect();
        drop(state);
        for Berth { name: _, network, slot } in unused {
            drop(slot);
            // An address that stays is found by the next command.
            let _ = self.worker.networks.detach(&network);
        }
    }

    /// Ends the making ahead.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    fn make(&self, purpose: &Purpose<'_>) -> Result<Berth, StepError> {
        let id = UniqueId::random()?.to_string();
        let network = self.worker.networks.attach(purpose.network, &id)?;
        match self.slot(purpose, &id, &network) {
            Ok(slot) => Ok(Berth { name: id, network, slot }),
            Err(source) => {
                let _ = self.worker.networks.detach(&network);
                Err(StepError::Launch { command: "the step".to_owned(), source })
            }
        }
    }

    fn slot(&self, purpose: &Purpose<'_>, id: &str, network: &StepNetwork) -> Result<Slot, LaunchError> {
        let devices = match purpose.security {
            SecurityMode::Sandbox => Devices::DefaultAnd(purpose.devices.to_vec()),
            SecurityMode::Insecure => Devices::All,
        };
        let namespace =
            network.namespace.as_ref().map(OwnedFd::try_clone).transpose().map_err(LaunchError::Socket)?;
        self.worker.launcher()?.slot(SlotRequest {
            cgroup: self.worker.cgroup(id, purpose.limits, devices)?,
            namespaces: Namespaces {
                network: match (namespace, network.mode) {
                    (Some(namespace), _) => Network::Join(namespace),
                    (None, NetworkMode::Host) => Network::Host,
                    (None, _) => Network::None,
                },
                ..Namespaces::default()
            },
            lifetime: Lifetime::Bound,
            oom_score_adj: None,
        })
    }
}

/// Says that a berth is being made, for as long as it lives: nobody waits for a thread that panicked.
struct Making<'a, 'w>(&'a Berths<'w>);

impl Drop for Making<'_, '_> {
    fn drop(&mut self) {
        self.0.state().making = false;
        self.0.changed.notify_all();
    }
}

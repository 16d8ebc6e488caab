//! Places for steps to run in, made ahead.
//!
//! Making control groups, a process in them and a network namespace takes longer than many steps do, and depends on nothing
//! that a step says. So while one step runs, the berths of the next ones are made by
//! a thread of their own: as many as may still be wanted, and never more than [`AHEAD`] at a time.
//!
//! A network outlives its step: it costs most of all, and what a step can do to it goes with its processes. So the next
//! one gets it, unless something is left in it, as a connection that the kernel still remembers: then it gets another.
//!
//! Only ordinary steps use them. A step with another network, limits of its own, or rights of its own gets a berth
//! made for it, and nobody gets its network.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use rbuild_devices::Given;
use rbuild_model::event::Event;
use rbuild_model::graph::StepId;
use rbuild_model::step::{Exec, Limits, NetworkMode, SecurityMode};
use rbuild_sandbox::cgroup::{DeviceRule, Devices};
use rbuild_sandbox::{LaunchError, Lifetime, Namespaces, Network, Slot, SlotRequest};
use rbuild_store::UniqueId;

use crate::cdi::StepDevices;
use crate::error::StepError;
use crate::network::StepNetwork;
use crate::tasks::Tasks;
use crate::worker::Worker;

/// How many berths are kept ready.
const AHEAD: usize = 2;

/// A place for one step to run in.
pub(crate) struct Berth {
    /// What its control group is called.
    pub(crate) name: String,
    pub(crate) network: StepNetwork,
    pub(crate) slot: Slot,
    pub(crate) kind: BerthKind,
}

/// Whom a berth is made for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum BerthKind {
    /// Any step that asks for nothing special.
    Ordinary,
    /// One step, by what it asks for.
    Special,
}

impl BerthKind {
    fn of(exec: &Exec, limits: &Limits, devices: &[DeviceRule]) -> Self {
        let asks_for_nothing = exec.network == NetworkMode::Default
            && exec.security == SecurityMode::Sandbox
            && *limits == Limits::default()
            && devices.is_empty();
        if asks_for_nothing { Self::Ordinary } else { Self::Special }
    }
}

/// What a berth is made for.
struct Purpose<'a> {
    kind: BerthKind,
    network: NetworkMode,
    security: SecurityMode,
    limits: &'a Limits,
    devices: &'a [DeviceRule],
}

/// The berths of one build.
pub(crate) struct Berths<'a> {
    worker: &'a Worker,
    tasks: &'a Tasks,
    devices: &'a StepDevices,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    ready: VecDeque<Berth>,
    /// Networks whose steps have ended.
    left: VecDeque<StepNetwork>,
    /// Steps that may still want one. Those that were found but whose trees are gone are among them until the end, when
    /// it shows that nobody reads them: for these a berth or two may be made that nobody takes. (Only counting
    /// the runs that are asked for would make none ahead: a step is asked for when the one below it has ended.)
    expected: usize,
    /// Whether one is being made ahead right now.
    making: bool,
    /// Whether some step has run: builds that run nothing make nothing.
    begun: bool,
    closed: bool,
}

/// What there is to do beside the steps.
enum Chore {
    Make,
    GiveBack(StepNetwork),
}

impl State {
    /// Returns what is to be done next; `None` is to wait for something.
    fn chore(&mut self) -> Option<Chore> {
        if !self.closed && self.begun && self.ready.len() < AHEAD.min(self.expected) {
            return Some(Chore::Make);
        }
        let wanted = if self.closed { 0 } else { self.expected.saturating_sub(self.ready.len()) };
        if self.left.len() > wanted { self.left.pop_front().map(Chore::GiveBack) } else { None }
    }
}

impl<'a> Berths<'a> {
    /// Prepares for a number of steps; nothing is made before the first one runs.
    pub(crate) fn new(worker: &'a Worker, tasks: &'a Tasks, steps: usize, devices: &'a StepDevices) -> Self {
        let state = State { expected: steps, ..State::default() };
        Self { worker, tasks, devices, state: Mutex::new(state), changed: Condvar::new() }
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
        let kind = BerthKind::of(exec, limits, devices);
        let ordinary = kind == BerthKind::Ordinary;
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
            None => {
                let (network, security) = (exec.network, exec.security);
                self.make(&Purpose { kind, network, security, limits, devices })
            }
        }
    }

    /// Takes the network of a step that has ended.
    pub(crate) fn leave(&self, kind: BerthKind, network: StepNetwork) {
        match kind {
            BerthKind::Ordinary => {
                self.state().left.push_back(network);
                self.changed.notify_all();
            }
            BerthKind::Special => self.give_back(&network),
        }
    }

    /// Gives the address of a network back that nobody uses any more.
    fn give_back(&self, network: &StepNetwork) {
        if let Err(error) = self.worker.networks.detach(network) {
            // The next command takes the address back; the step's work is not thrown away for it.
            let note = format!("failed to give the address of a step back: {error}");
            self.tasks.events().event(Event::Note(note));
        }
    }

    /// Makes berths ahead until [`Berths::close`], and gives back what nobody wants; the body of a thread.
    pub(crate) fn keep_ready(&self) {
        let mut state = self.state();
        loop {
            match state.chore() {
                Some(Chore::Make) => {
                    state.making = true;
                    drop(state);
                    let made = self.make_ahead();
                    state = self.state();
                    match made {
                        Ok(berth) => state.ready.push_back(berth),
                        // Whoever wants one makes it, and tells why that cannot be done.
                        Err(_) => state.expected = 0,
                    }
                    self.changed.notify_all();
                }
                Some(Chore::GiveBack(network)) => {
                    drop(state);
                    self.give_back(&network);
                    drop(network);
                    state = self.state();
                }
                None if state.closed => break,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
        let unused: Vec<Berth> = state.ready.drain(..).collect();
        drop(state);
        for Berth { name: _, network, slot, kind: _ } in unused {
            drop(slot);
            self.give_back(&network);
        }
    }

    /// Ends the making ahead.
    pub(crate) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    fn make_ahead(&self) -> Result<Berth, StepError> {
        let _making = Making(self);
        self.make(&Purpose {
            kind: BerthKind::Ordinary,
            network: NetworkMode::Default,
            security: SecurityMode::Sandbox,
            limits: &Limits::default(),
            devices: &[],
        })
    }

    fn make(&self, purpose: &Purpose<'_>) -> Result<Berth, StepError> {
        let id = UniqueId::random()?.to_string();
        let network = match purpose.kind {
            BerthKind::Ordinary => self.left_as_new(),
            BerthKind::Special => None,
        };
        let network = match network {
            Some(network) => network,
            None => self.worker.networks.attach(purpose.network, &id)?,
        };
        match self.slot(purpose, &id, &network) {
            Ok(slot) => Ok(Berth { name: id, network, slot, kind: purpose.kind }),
            Err(source) => {
                let _ = self.worker.networks.detach(&network);
                Err(StepError::Launch { command: "the step".to_owned(), source })
            }
        }
    }

    /// Returns a network that a step left as it had found it; those that are not so are given back.
    fn left_as_new(&self) -> Option<StepNetwork> {
        loop {
            let network = self.state().left.pop_front()?;
            if self.worker.networks.is_as_new(&network) {
                return Some(network);
            }
            self.give_back(&network);
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

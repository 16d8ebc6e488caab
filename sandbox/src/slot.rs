//! Slots: inits parked in their cgroups and namespaces, waiting for an order.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::cgroup::Cgroup;
use crate::compile::{self, Compiled, DeviceControl};
use crate::launcher::{LaunchError, Server};
use crate::order::{Order, Stdio, Stubs};
use crate::running::{Created, Running};
use crate::script::{InitMessage, Report, Role, SpawnRequest};
use crate::wire;

/// What a slot is made with: everything that takes long and does not depend on what will run in it.
#[derive(Debug)]
pub struct SlotRequest {
    /// The cgroup that it is born into; without one it stays in the caller's.
    pub cgroup: Option<Cgroup>,
    /// Its namespaces.
    pub namespaces: Namespaces,
    /// Whether it ends with its maker.
    pub lifetime: Lifetime,
    /// How likely the kernel ends it first when memory runs out; `None` for as likely as the caller.
    pub oom_score_adj: Option<i32>,
}

/// Whether a process ends with the program that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lifetime {
    /// It is killed when its [`Slot`] or [`Running`] is dropped, and when the program dies in whatever way.
    Bound,
    /// Once its program runs, it goes on without the maker, whose child it is.
    Independent,
}

/// The namespaces of a slot. There is always a mount namespace of its own.
#[derive(Debug)]
pub struct Namespaces {
    /// Where its network is.
    pub network: Network,
    /// Whose processes it sees.
    pub pid: Sharing,
    /// Whose System V and POSIX message objects it sees.
    pub ipc: Sharing,
    /// Whose host name it has.
    pub uts: Sharing,
    /// Where its view of cgroups starts.
    pub cgroup: Sharing,
}

/// The network of a slot.
#[derive(Debug)]
pub enum Network {
    /// A new namespace with only a loopback link.
    None,
    /// The caller's.
    Host,
    /// A namespace that somebody prepared.
    Join(OwnedFd),
}

/// Whether a namespace is a new one.
#[derive(Debug)]
pub enum Sharing {
    /// A new one.
    Own,
    /// The caller's.
    Host,
    /// Another one, by descriptor. Not for cgroup namespaces.
    Join(OwnedFd),
}

impl Default for Namespaces {
    fn default() -> Self {
        let own = || Sharing::Own;
        Self { network: Network::None, pid: own(), ipc: own(), uts: own(), cgroup: own() }
    }
}

impl Namespaces {
    /// Returns the namespaces that a spec asks for; it says whether there is a network, the caller says which.
    pub fn of_spec(spec: &Spec, network: Option<OwnedFd>) -> Self {
        let listed = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
        let own = |typ| listed.is_some_and(|list| list.iter().any(|namespace| namespace.typ() == typ));
        let sharing = |typ| if own(typ) { Sharing::Own } else { Sharing::Host };
        Self {
            network: match network {
                Some(namespace) => Network::Join(namespace),
                None if own(LinuxNamespaceType::Network) => Network::None,
                None => Network::Host,
            },
            pid: sharing(LinuxNamespaceType::Pid),
            ipc: sharing(LinuxNamespaceType::Ipc),
            uts: sharing(LinuxNamespaceType::Uts),
            cgroup: sharing(LinuxNamespaceType::Cgroup),
        }
    }

    /// Returns each type with whether it is another one than the host's.
    pub(crate) fn listed(&self) -> [(LinuxNamespaceType, bool); 5] {
        let own = |sharing: &Sharing| !matches!(sharing, Sharing::Host);
        [
            (LinuxNamespaceType::Network, self.own_network()),
            (LinuxNamespaceType::Pid, own(&self.pid)),
            (LinuxNamespaceType::Ipc, own(&self.ipc)),
            (LinuxNamespaceType::Uts, own(&self.uts)),
            (LinuxNamespaceType::Cgroup, own(&self.cgroup)),
        ]
    }

    pub(crate) fn own_network(&self) -> bool {
        !matches!(self.network, Network::Host)
    }

    pub(crate) fn own_ipc(&self) -> bool {
        !matches!(self.ipc, Sharing::Host)
    }

    pub(crate) fn own_uts(&self) -> bool {
        !matches!(self.uts, Sharing::Host)
    }

    /// Returns the clone flags, and what is to be joined after the clone.
    fn split(&self) -> Result<(u64, Vec<&OwnedFd>), LaunchError> {
        let mut flags = libc::CLONE_NEWNS as u64;
        let mut join = Vec::new();
        match &self.network {
            Network::None => flags |= libc::CLONE_NEWNET as u64,
            Network::Host => {}
            Network::Join(namespace) => join.push(namespace),
        }
        for (sharing, flag) in [(&self.ipc, libc::CLONE_NEWIPC), (&self.uts, libc::CLONE_NEWUTS)] {
            match sharing {
                Sharing::Own => flags |= flag as u64,
                Sharing::Host => {}
                Sharing::Join(namespace) => join.push(namespace),
            }
        }
        match &self.pid {
            Sharing::Own => flags |= libc::CLONE_NEWPID as u64,
            // It is born there: nobody enters a pid namespace later.
            Sharing::Host | Sharing::Join(_) => {}
        }
        if matches!(self.cgroup, Sharing::Join(_)) {
            return Err(LaunchError::CannotJoin { namespace: "cgroup" });
        }
        Ok((flags, join))
    }
}

/// A parked init. Dropping it ends it.
#[derive(Debug)]
pub struct Slot {
    server: Arc<Server>,
    order: OwnedFd,
    report: OwnedFd,
    pidfd: OwnedFd,
    pid: i32,
    parked: bool,
    request: SlotRequest,
}

impl Slot {
    /// Asks for an init; does not wait for it to be parked.
    pub(crate) fn ask(server: Arc<Server>, request: SlotRequest) -> Result<Self, LaunchError> {
        let pair = || {
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(|errno| LaunchError::Socket(errno.into()))
        };
        let (report, report_far) = pair()?;
        let (order, order_far) = pair()?;
        let (flags, enter) = request.namespaces.split()?;
        let joins = request.cgroup.as_ref().map(Cgroup::entries).transpose()?.unwrap_or_default();
        let unified = request.cgroup.as_ref().and_then(Cgroup::unified);
        let pid = match &request.namespaces.pid {
            Sharing::Join(namespace) => Some(namespace.as_fd()),
            Sharing::Own | Sharing::Host => None,
        };
        let message = SpawnRequest {
            role: Role::Init,
            namespaces: flags,
            cgroup_namespace: matches!(request.namespaces.cgroup, Sharing::Own),
            bound: request.lifetime == Lifetime::Bound,
            oom_score_adj: request.oom_score_adj,
            cgroup: unified.is_some(),
            pid: pid.is_some(),
            joins: joins.len(),
            loopback: matches!(request.namespaces.network, Network::None),
        };
        let mut fds = vec![report_far.as_fd(), order_far.as_fd()];
        fds.extend(unified);
        fds.extend(pid);
        fds.extend(joins.iter().map(AsFd::as_fd));
        fds.extend(enter.iter().map(|namespace| namespace.as_fd()));
        server.send(&message, &fds)?;
        drop((report_far, order_far));
        let mut answer = wire::receive::<Report>(&report)?;
        match (answer.message, answer.fds.pop()) {
            (Report::Spawned { pid }, Some(pidfd)) => {
                Ok(Self { server, order, report, pidfd, pid, parked: false, request })
            }
            (Report::Failed(failure), _) => Err(LaunchError::Stage(failure)),
            _ => Err(LaunchError::Protocol),
        }
    }

    /// Waits until the init is parked; [`launch`](Self::launch) does that by itself.
    pub fn wait_parked(&mut self) -> Result<(), LaunchError> {
        if self.parked {
            return Ok(());
        }
        match wire::receive::<InitMessage>(&self.order)?.message {
            InitMessage::Parked => {
                self.parked = true;
                Ok(())
            }
            InitMessage::Failed(failure) => Err(LaunchError::Stage(failure)),
            InitMessage::Ready { .. } | InitMessage::Cloned { .. } => Err(LaunchError::Protocol),
        }
    }

    /// Runs a program; returns when it was executed. What it runs with is undone by [`Running::wait`].
    pub fn launch(self, order: Order, stdio: Stdio) -> Result<Running, LaunchError> {
        self.begin(order, stdio, false)?.start()
    }

    /// Makes everything ready for a program; it waits for [`Created::start`].
    pub fn create(self, order: Order, stdio: Stdio) -> Result<Created, LaunchError> {
        self.begin(order, stdio, true)
    }

    fn begin(mut self, order: Order, stdio: Stdio, hold: bool) -> Result<Created, LaunchError> {
        let control = match &self.request.cgroup {
            Some(cgroup) if cgroup.controls_devices() => DeviceControl::Cgroup,
            _ => DeviceControl::None,
        };
        let keep = order.stubs;
        let compiled = compile::compile(order, stdio, &self.request.namespaces, control, hold)?;
        self.wait_parked()?;
        let fds: Vec<_> = compiled.fds.iter().map(AsFd::as_fd).collect();
        wire::send(&self.order, &compiled.script, &compiled.blob, &fds)?;
        let mut answer = match wire::receive::<InitMessage>(&self.order) {
            Ok(answer) => answer,
            Err(error) => return Err(self.died(error)),
        };
        let root = root_of(compiled)?;
        match answer.message {
            InitMessage::Ready { stubs, notes } => {
                let stubs = if keep == Stubs::Remove { stubs } else { Vec::new() };
                let Self { server, order, report, pidfd, pid, parked: _, request } = self;
                let SlotRequest { cgroup, namespaces, lifetime, oom_score_adj: _ } = request;
                let own_pids = matches!(namespaces.pid, Sharing::Own);
                let terminal = answer.fds.pop();
                let running =
                    Running::new(server, report, pidfd, pid, cgroup, lifetime, own_pids, root, stubs, notes);
                Ok(Created::new(running, order, hold, terminal))
            }
            InitMessage::Failed(failure) => Err(LaunchError::Stage(failure)),
            InitMessage::Parked | InitMessage::Cloned { .. } => Err(LaunchError::Protocol),
        }
    }

    fn died(&self, error: wire::WireError) -> LaunchError {
        match error {
            wire::WireError::Closed => LaunchError::Died { pid: self.pid },
            error => error.into(),
        }
    }
}

/// Keeps the root's mount of what was sent; all the rest is the init's alone now.
fn root_of(compiled: Compiled) -> Result<OwnedFd, LaunchError> {
    rustix::io::fcntl_dupfd_cloexec(compiled.root(), 3).map_err(|errno| LaunchError::Socket(errno.into()))
}

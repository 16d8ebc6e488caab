//! What a plan consists of.

use std::fmt;

use rbuild_model::container::{ContainerId, Signal};
use rbuild_model::project::{Condition, NetworkKey, ServiceName, VolumeKey};

use super::cause::Cause;
use super::unfinished::is_temporary;
use super::wanted::AnonymousVolumes;

/// Operations in an order in which each comes after all it waits for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What is to be done.
    pub operations: Vec<Planned>,
    /// The containers that are as they should be.
    pub kept: Vec<Existing>,
    /// What people should know.
    pub warnings: Vec<Warning>,
}

impl Plan {
    /// Adds another plan behind its own operations, which do not wait for each other; returns the place of the first.
    pub fn append(&mut self, mut more: Self) -> usize {
        let begin = self.operations.len();
        for planned in &mut more.operations {
            planned.after.iter_mut().for_each(|before| before.0 += begin);
        }
        self.operations.append(&mut more.operations);
        begin
    }

    /// Whether it does more than wait.
    pub fn changes(&self) -> bool {
        self.operations.iter().any(|planned| !planned.operation.only_waits())
    }

    /// Whether an operation is another one, or plainly comes after it: no more than one stands between them.
    pub(super) fn plainly_follows(&self, one: OperationId, other: OperationId) -> bool {
        let before = |place: OperationId| &self.operations[place.0].after;
        one == other
            || before(one).contains(&other)
            || before(one).iter().any(|between| before(*between).contains(&other))
    }

    /// Adds an operation and returns its place.
    pub(super) fn add(
        &mut self,
        operation: Operation,
        cause: Cause,
        mut after: Vec<OperationId>,
    ) -> OperationId {
        after.sort_unstable();
        after.dedup();
        self.operations.push(Planned { operation, cause, after });
        OperationId(self.operations.len() - 1)
    }
}

/// Where an operation stands in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(pub usize);

/// An operation, why it is there, and what has to be done before.
#[derive(Clone, Debug, PartialEq)]
pub struct Planned {
    /// What is done.
    pub operation: Operation,
    /// Why.
    pub cause: Cause,
    /// What it waits for: earlier operations of the plan.
    pub after: Vec<OperationId>,
}

impl Planned {
    /// The keys that lead from the top of the project to what is made, or to whom it is made for.
    pub fn path(&self) -> Vec<String> {
        let path = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        match (&self.operation, &self.cause) {
            (Operation::CreateNetwork { key, .. }, _) => path(&["networks", key.as_str()]),
            (Operation::CreateVolume { key, .. }, _) => path(&["volumes", key.as_str()]),
            (
                Operation::Create(new)
                | Operation::Recreate { new, .. }
                | Operation::MakeBeside { new, .. }
                | Operation::AwaitBeside(new)
                | Operation::TakeOver { new, .. },
                _,
            ) => path(&["services", new.service.as_str()]),
            (Operation::Await { service: wanted, .. }, Cause::NeededBy { service, .. }) => {
                path(&["services", service.as_str(), "depends_on", wanted.as_str()])
            }
            (Operation::RunBefore(before), _) => {
                path(&["services", before.service.as_str(), "pre_start", &before.at.to_string()])
            }
            (Operation::Start(container), _) => path(&["services", container.service()]),
            (Operation::Stop(container) | Operation::AwaitEnd(container), _) => {
                path(&["services", &container.service])
            }
            _ => Vec::new(),
        }
    }
}

/// What is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A network is made.
    CreateNetwork {
        /// Its key.
        key: NetworkKey,
        /// Its name.
        name: String,
    },
    /// A network is removed.
    RemoveNetwork {
        /// Its name.
        name: String,
    },
    /// A container leaves a network.
    Disconnect {
        /// The container.
        container: Existing,
        /// The network's name.
        network: String,
    },
    /// A container joins a network.
    Connect {
        /// The container.
        container: Existing,
        /// The network.
        key: NetworkKey,
        /// Its name.
        network: String,
    },
    /// A volume is made.
    CreateVolume {
        /// Its key.
        key: VolumeKey,
        /// Its name.
        name: String,
    },
    /// A volume is removed.
    RemoveVolume {
        /// Its name.
        name: String,
    },
    /// A container is made.
    Create(New),
    /// A container is made under another name, the old one is stopped and removed, the new one gets its name.
    Recreate {
        /// The old one.
        old: Existing,
        /// The new one.
        new: New,
        /// What it keeps of the old one.
        anonymous: AnonymousVolumes,
    },
    /// A container is made under another name, and the old one goes on.
    MakeBeside {
        /// The old one.
        old: Existing,
        /// The new one.
        new: New,
        /// What it keeps of the old one.
        anonymous: AnonymousVolumes,
    },
    /// A container that was made beside another and runs is waited for until it is ready, and nothing else.
    AwaitBeside(New),
    /// A container that was made beside another and runs is waited for until it is ready; then the old one is stopped and
    /// removed, and the new one gets its name. Where it never is, it goes and the old one stays.
    TakeOver {
        /// The old one.
        old: Existing,
        /// The new one.
        new: New,
    },
    /// A container of a service runs to its end, before the service's own; unless these run by now.
    RunBefore(Before),
    /// A container is started.
    Start(Startable),
    /// The containers of a service are waited for.
    Await {
        /// The service.
        service: ServiceName,
        /// How far it has to be.
        condition: Condition,
        /// Whether the plan fails if it never is.
        required: bool,
    },
    /// The containers of a service are waited for until they do what they are there for.
    AwaitReady {
        /// The service.
        service: ServiceName,
    },
    /// A container that was told to stop is waited for until it has ended.
    AwaitEnd(Existing),
    /// A container is stopped.
    Stop(Existing),
    /// A container is sent a signal.
    Kill {
        /// The container.
        container: Existing,
        /// The signal.
        signal: Signal,
    },
    /// A container is held still.
    Pause(Existing),
    /// A container that is held still goes on.
    Unpause(Existing),
    /// A container gets its final name.
    Rename {
        /// The container.
        container: Existing,
        /// The name.
        name: String,
    },
    /// A container that does not run is removed.
    Remove {
        /// The container.
        container: Existing,
        /// Whether its anonymous volumes go with it.
        volumes: AnonymousVolumes,
    },
}

impl Operation {
    /// Whether it makes no container, network or volume, and removes and changes none.
    pub(super) const fn only_runs(&self) -> bool {
        self.only_waits() || matches!(self, Self::Stop(_) | Self::RunBefore(_) | Self::Start(_))
    }

    /// Whether it does no more than wait for containers.
    pub(super) const fn only_waits(&self) -> bool {
        matches!(
            self,
            Self::Await { .. } | Self::AwaitReady { .. } | Self::AwaitBeside(_) | Self::AwaitEnd(_)
        )
    }
}

/// A container that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Its number.
    pub number: u64,
}

/// A container that is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    /// Its service.
    pub service: ServiceName,
    /// Its number.
    pub number: u64,
    /// Its name.
    pub name: String,
}

/// A container that runs to its end before those of a service start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Before {
    /// The service.
    pub service: ServiceName,
    /// Where it stands in `pre_start`.
    pub at: usize,
    /// Its name.
    pub name: String,
    /// The only container of the service, if there is no more than one: its anonymous volumes are mounted, too.
    pub only: Option<Startable>,
    /// The containers of the service that start behind it.
    pub starts: Vec<Startable>,
}

/// A container to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Startable {
    /// It is there already.
    Existing(Existing),
    /// The plan makes it.
    New(New),
}

impl Startable {
    /// Returns its name.
    pub fn name(&self) -> &str {
        match self {
            Self::Existing(container) => &container.name,
            Self::New(container) => &container.name,
        }
    }

    /// Returns its service.
    pub(super) fn service(&self) -> &str {
        match self {
            Self::Existing(container) => &container.service,
            Self::New(container) => container.service.as_str(),
        }
    }
}

/// Something that people should know, though the plan goes on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Warning {
    /// Containers of services that the project no longer has.
    #[error(
        "Found orphan containers ([{}]) for this project. If you removed or renamed this service in your compose file, \
         you can run this command with the --remove-orphans flag to clean it up.", names.join(" ")
    )]
    Orphans {
        /// Their names.
        names: Vec<String>,
    },
    /// The new container cannot start before the old one has stopped.
    #[error("{container} stops before the new one starts: {why}")]
    StopFirst {
        /// The container.
        container: String,
        /// Why.
        why: String,
    },
    /// A service runs, and what was to run before has not ended well.
    #[error(
        "{service} runs, though pre_start[{at}] has not ended well: {container} is left of it. \
         `rbuild compose restart {service}` runs it again"
    )]
    StepLeft {
        /// The service.
        service: ServiceName,
        /// Where it stands in `pre_start`.
        at: usize,
        /// What is left of it.
        container: String,
    },
    /// A network of another project.
    #[error(
        "a network with name {name} exists but was not created for project \"{project}\".\n\
         Set `external: true` to use an existing network"
    )]
    ForeignNetwork {
        /// Its name.
        name: String,
        /// This project.
        project: String,
    },
    /// A volume of another project.
    #[error(
        "volume \"{name}\" already exists but was created for project \"{owner}\" (expected \"{project}\"). \
         Use `external: true` to use an existing volume"
    )]
    ForeignVolume {
        /// Its name.
        name: String,
        /// Whose it is.
        owner: String,
        /// This project.
        project: String,
    },
    /// A volume that no project made.
    #[error(
        "volume \"{name}\" already exists but was not created by Docker Compose. Use `external: true` to use an existing volume"
    )]
    UnlabelledVolume {
        /// Its name.
        name: String,
    },
    /// A volume that is defined otherwise now and was kept.
    #[error("Volume \"{name}\" exists but doesn't match configuration in compose file; it is kept as it is")]
    VolumeKept {
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CreateNetwork { name, .. } => write!(f, "create network {name}"),
            Self::RemoveNetwork { name } => write!(f, "remove network {name}"),
            Self::Disconnect { container, network } => {
                write!(f, "disconnect {} from {network}", container.name)
            }
            Self::Connect { container, network, .. } => write!(f, "connect {} to {network}", container.name),
            Self::CreateVolume { name, .. } => write!(f, "create volume {name}"),
            Self::RemoveVolume { name } => write!(f, "remove volume {name}"),
            Self::Create(new) => write!(f, "create {}", new.name),
            Self::Recreate { old, new, .. }
                if old.name != new.name && !is_temporary(&old.name, &new.name) =>
            {
                write!(f, "recreate {} as {}", old.name, new.name)
            }
            Self::Recreate { new, .. } => write!(f, "recreate {}", new.name),
            Self::MakeBeside { new, .. } => write!(f, "make the new {} beside the old one", new.name),
            Self::AwaitBeside(new) => write!(f, "wait until the new {} is ready", new.name),
            Self::TakeOver { new, .. } => write!(f, "let the new {} take over when it is ready", new.name),
            Self::RunBefore(Before { service, at, .. }) => write!(f, "run pre_start[{at}] of {service}"),
            Self::Start(container) => write!(f, "start {}", container.name()),
            Self::Await { service, condition, .. } => {
                write!(f, "wait for {service} ({})", condition.as_str())
            }
            Self::AwaitReady { service } => write!(f, "wait until {service} is ready"),
            Self::AwaitEnd(container) => write!(f, "wait for the end of {}", container.name),
            Self::Stop(container) => write!(f, "stop {}", container.name),
            Self::Kill { container, signal } => write!(f, "kill {} with {signal}", container.name),
            Self::Pause(container) => write!(f, "pause {}", container.name),
            Self::Unpause(container) => write!(f, "unpause {}", container.name),
            Self::Rename { container, name } => write!(f, "rename {} to {name}", container.name),
            Self::Remove { container, .. } => write!(f, "remove {}", container.name),
        }
    }
}

impl fmt::Display for Planned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.operation, self.cause)
    }
}

impl fmt::Display for Plan {
    /// One line an operation, in an order in which they can be done one after the other.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.operations.iter().try_for_each(|planned| writeln!(f, "{planned}"))
    }
}

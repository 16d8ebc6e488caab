//! What happens while a plan is carried out, told to whoever watches.

use std::fmt;

use rbuild_model::container::Definition;

use super::operation::OperationId;

/// Hears what happens; from several threads at once.
pub trait Watcher: Sync {
    /// Something happened.
    fn happened(&self, happening: Happening);

    /// A container is about to be started: whoever wants all of its output attaches now.
    fn will_start(&self, _definition: &Definition) {}

    /// A container that was made anew has taken the place and the name of another.
    fn replaced(&self, _definition: &Definition) {}

    /// A hook wrote something.
    fn said(&self, _hook: &HookPlace, _output: &[u8]) {}
}

/// Nobody watches.
#[derive(Clone, Copy, Debug)]
pub struct Unwatched;

impl Watcher for Unwatched {
    fn happened(&self, _happening: Happening) {}
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happening {
    /// The operation of the plan that it belongs to.
    pub operation: OperationId,
    /// To what.
    pub subject: Subject,
    /// What.
    pub phase: Phase,
}

/// To what something happens.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A container, by its name.
    Container(String),
    /// A network, by its name.
    Network(String),
    /// A volume, by its name.
    Volume(String),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(name) => write!(f, "Container {name}"),
            Self::Network(name) => write!(f, "Network {name}"),
            Self::Volume(name) => write!(f, "Volume {name}"),
        }
    }
}

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It is under way.
    Begun(Act),
    /// It is done.
    Done(Act),
    /// It was not necessary after all, for this reason.
    Skipped(String),
    /// It is wanted gone, and stays, as something else uses it: who.
    InUse(String),
    /// It failed.
    Failed(String),
    /// Something that people should know.
    Note(String),
}

/// What is done to something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It is made.
    Create,
    /// It is made anew.
    Recreate,
    /// It is started.
    Start,
    /// It is waited for until its program runs.
    AwaitStart,
    /// It is waited for until it is healthy.
    AwaitHealth,
    /// It is waited for until it has ended.
    AwaitEnd,
    /// It is stopped.
    Stop,
    /// It is sent a signal.
    Kill,
    /// It is held still.
    Pause,
    /// It goes on.
    Unpause,
    /// It gets its name.
    Rename,
    /// It is removed.
    Remove,
    /// It joins a network.
    Connect,
    /// It leaves a network.
    Disconnect,
}

/// Where a hook belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HookPlace {
    /// The service.
    pub service: String,
    /// Where in it.
    pub at: HookAt,
}

/// Where in a service a hook belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookAt {
    /// It runs in the container with this number.
    Container(u64),
    /// It is this one of those that run before the service starts.
    PreStart(usize),
}

impl fmt::Display for HookPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            HookAt::Container(number) => write!(f, "{}-{number} ->", self.service),
            HookAt::PreStart(at) => write!(f, "{} pre_start[{at}] ->", self.service),
        }
    }
}

//! Why an operation was not done.

use rbuild_model::project::ServiceName;
use rbuild_store::LockError;

use crate::containers::ContainerError;
use crate::error::{GroupPlace, RunError};
use crate::networks::{MemberError, NetworksError};
use crate::projects::NotPossible;
use crate::volumes::VolumesError;

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    /// A container.
    #[error(transparent)]
    Container(Box<ContainerError>),
    /// A network.
    #[error(transparent)]
    Networks(Box<NetworksError>),
    /// A container in a network.
    #[error(transparent)]
    Member(Box<MemberError>),
    /// A volume.
    #[error(transparent)]
    Volumes(Box<VolumesError>),
    /// The service says something that cannot be had.
    #[error(transparent)]
    NotPossible(Box<NotPossible>),
    /// A service is waited for and has no health check.
    #[error("container {container} has no healthcheck configured")]
    NoHealthCheck {
        /// Its container.
        container: String,
    },
    /// A service is waited for and is not healthy.
    #[error("container {container} is unhealthy")]
    Unhealthy {
        /// Its container.
        container: String,
    },
    /// A service is waited for and does not run any more.
    #[error("container {container} exited ({code})")]
    Exited {
        /// Its container.
        container: String,
        /// The status.
        code: i32,
    },
    /// A service is waited for, and its container is gone or was never started.
    #[error("container {container} is {state}")]
    NotStarted {
        /// Its container.
        container: String,
        /// What it does.
        state: &'static str,
    },
    /// A service was to do its work to the end.
    #[error("service \"{service}\" didn't complete successfully: exit {code}")]
    NotCompleted {
        /// The service.
        service: ServiceName,
        /// Its container.
        container: String,
        /// The status.
        code: i32,
    },
    /// The services are not ready in the time that they were given.
    #[error("application not healthy after {seconds}s")]
    NotReady {
        /// How long that was.
        seconds: u64,
    },
    /// A hook failed.
    #[error("{service} hook exited with status {status}{}", after_colon(output))]
    Hook {
        /// The service.
        service: String,
        /// Its key and place below that.
        at: (&'static str, usize),
        /// The status.
        status: i32,
        /// What it wrote.
        output: String,
    },
    /// A container that runs before a service starts failed.
    #[error("service \"{service}\" pre_start[{at}] exited with code {code}")]
    PreStart {
        /// The service.
        service: ServiceName,
        /// Where it stands in `pre_start`.
        at: usize,
        /// The container.
        container: String,
        /// The status.
        code: i32,
    },
    /// A container was to be started or waited for, and somebody stopped it.
    #[error("container {container} was stopped by another command")]
    Stopped {
        /// Its name.
        container: String,
    },
    /// A container was to be started or waited for, and somebody removed it.
    #[error("container {container} was removed by another command")]
    Removed {
        /// Its name.
        container: String,
    },
    /// A container was waited for, and another command has made one in its place.
    #[error("container {container} was made anew by another command while it was waited for")]
    Overtaken {
        /// Its name.
        container: String,
    },
    /// Nobody else may change the project meanwhile, and that cannot be had.
    #[error("cannot keep other commands from changing the project")]
    Hold(#[source] Box<LockError>),
    /// The events of the store cannot be watched.
    #[error("cannot wait for the containers of a service")]
    Watch(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It was wished that nothing more is done.
    #[error("interrupted")]
    Halted,
}

fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

impl OperationError {
    /// Returns whether a name is another container's.
    pub(super) fn is_taken_name(&self) -> bool {
        matches!(self, Self::Container(error) if matches!(**error, ContainerError::NameTaken { .. }))
    }

    /// Returns the container that it is about, where that is another than the operation's.
    pub(super) fn container(&self) -> Option<&str> {
        match self {
            Self::NoHealthCheck { container }
            | Self::Unhealthy { container }
            | Self::Exited { container, .. }
            | Self::NotStarted { container, .. }
            | Self::Stopped { container }
            | Self::Removed { container }
            | Self::Overtaken { container }
            | Self::PreStart { container, .. }
            | Self::NotCompleted { container, .. } => Some(container),
            _ => None,
        }
    }

    /// The keys and positions below the service that it is about, as far as they are known.
    pub fn keys(&self) -> Vec<String> {
        match self {
            Self::Hook { at: (key, number), .. } => vec![(*key).to_owned(), number.to_string()],
            Self::Container(error) => match &**error {
                ContainerError::Run(RunError::Group { place: GroupPlace::Further, .. }) => {
                    vec!["group_add".to_owned()]
                }
                ContainerError::Run(RunError::User { .. } | RunError::Group { .. }) => {
                    vec!["user".to_owned()]
                }
                _ => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Whether the message says to what it happened.
    pub fn names_its_subject(&self) -> bool {
        !matches!(self, Self::Container(_) | Self::Watch(_) | Self::Halted)
    }

    /// Whether it happened because another command had it otherwise: nothing in the files is wrong.
    pub fn is_others(&self) -> bool {
        matches!(self, Self::Stopped { .. } | Self::Removed { .. } | Self::Overtaken { .. })
    }

    /// Whether what the container wrote last tells more.
    pub(super) fn has_log(&self) -> bool {
        matches!(
            self,
            Self::Unhealthy { .. } | Self::Exited { .. } | Self::NotCompleted { .. } | Self::PreStart { .. }
        )
    }
}

/// Keeps large errors out of every result.
macro_rules! boxed {
    ($($variant:ident: $source:ty),+ $(,)?) => {$(
        impl From<$source> for OperationError {
            fn from(source: $source) -> Self {
                Self::$variant(Box::new(source))
            }
        }
    )+};
}

boxed!(
    Container: ContainerError,
    Networks: NetworksError,
    Member: MemberError,
    Volumes: VolumesError,
    NotPossible: NotPossible,
);

//! Why something was not done with a container.

use rbuild_model::container::{ContainerId, InvalidName};

use crate::error::RunError;
use crate::volumes::VolumesError;

/// Why something was not done with a container. The texts that programs look for are Docker's.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// Nothing has the name, the id, or an id that begins so.
    #[error("No such container: {0}")]
    NotFound(String),
    /// Several ids begin so.
    #[error("multiple IDs found with provided prefix: {0}")]
    Ambiguous(String),
    /// The name is another's.
    #[error(
        "Conflict. The container name \"/{name}\" is already in use by container \"{holder}\". You have to remove (or \
         rename) that container to be able to reuse that name."
    )]
    NameTaken {
        /// The name.
        name: String,
        /// Who has it.
        holder: ContainerId,
    },
    /// The name cannot be one.
    #[error(transparent)]
    Name(#[from] InvalidName),
    /// The state of the container forbids it.
    #[error("{0}")]
    State(String),
    /// What is asked for contradicts itself, or makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// What is asked for is not there yet.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What.
        what: String,
    },
    /// Its program could not be started; the container stays, and remembers why.
    #[error("failed to start container {id}: {why}")]
    Start {
        /// The container, in short.
        id: String,
        /// The status that stands for it: 127, 126 or 128.
        code: u8,
        /// What went wrong.
        why: String,
    },
    /// The monitor did not do it.
    #[error(transparent)]
    Monitor(Box<rbuild_monitor::ClientError>),
    /// Its networks could not be had.
    #[error("failed to set up container networking")]
    Networks(#[source] Box<crate::networks::NetworksError>),
    /// A volume could not be had.
    #[error(transparent)]
    Volumes(Box<VolumesError>),
    /// What a container is made of could not be had.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Files that it is given could not be written into what is mounted in it.
    #[error("failed to write configs and secrets into what is mounted at `{target}`")]
    Given {
        /// Where that is in the container.
        target: String,
        /// Why not.
        source: Box<ContainerError>,
    },
    /// An image could not be found or made.
    #[error(transparent)]
    Image(Box<rbuild_images::ImagesError>),
    /// An archive could not be read.
    #[error("failed to read the archive")]
    Archive(#[source] std::io::Error),
    /// An archive could not be extracted.
    #[error("failed to extract the archive")]
    Extract(#[source] Box<rbuild_snapshotter::extract::ExtractError>),
    /// Its log could not be read.
    #[error("failed to read the log")]
    Log(#[source] rbuild_monitor::log::ReadError),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] rbuild_store::DatabaseError),
    /// A row is not what was written there.
    #[error("the definition of container {id} is damaged")]
    Damaged {
        /// The container.
        id: String,
        /// Where it departs from the form.
        #[source]
        source: serde_json::Error,
    },
    /// A definition was written by a later rbuild.
    #[error("container {id} was made by a newer rbuild (form {found}): use that one")]
    Future {
        /// The container.
        id: String,
        /// The form of its definition.
        found: u64,
    },
}

/// Keeps large errors out of every result.
macro_rules! boxed {
    ($($variant:ident: $source:ty),+ $(,)?) => {$(
        impl From<$source> for ContainerError {
            fn from(source: $source) -> Self {
                Self::$variant(Box::new(source))
            }
        }
    )+};
}

boxed!(
    Monitor: rbuild_monitor::ClientError,
    Networks: crate::networks::NetworksError,
    Volumes: VolumesError,
    Image: rbuild_images::ImagesError,
);

/// Passes errors of the crates below on as what a run tells about them.
macro_rules! through_run {
    ($($source:ty),+ $(,)?) => {$(
        impl From<$source> for ContainerError {
            fn from(source: $source) -> Self {
                Self::Run(source.into())
            }
        }
    )+};
}

through_run!(
    rbuild_confined::Error,
    rbuild_network::error::Error,
    rbuild_sandbox::cgroup::CgroupError,
    rbuild_sandbox::mounts::MountError,
    rbuild_sandbox::profile::ProfileError,
    rbuild_snapshotter::Error,
    rbuild_store::FileError,
    rbuild_store::LockError,
);

impl ContainerError {
    /// Something wants a program that runs, and the container is between two of its runs.
    pub(super) fn restarting(id: ContainerId) -> Self {
        Self::State(format!("Container {id} is restarting, wait until the container is running"))
    }

    /// Returns the exit status of a `run` that fails so.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Start { code: code @ (126 | 127), .. } => *code,
            Self::Volumes(error) if error.is_absence() => 127,
            Self::Run(RunError::DeviceAway { source, .. })
                if source.kind() == std::io::ErrorKind::NotFound =>
            {
                127
            }
            _ => 125,
        }
    }
}

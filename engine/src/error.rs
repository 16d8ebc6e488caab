//! Why a container did not run.

use std::path::PathBuf;

use rbuild_confined::users::UserError;

/// Why a container did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The image could not be had.
    #[error("failed to get the image {name}")]
    Image {
        /// As it was asked for.
        name: String,
        /// Why not.
        #[source]
        source: Box<rbuild_images::ImagesError>,
    },
    /// There is nothing to run.
    #[error("no command specified: the image has neither ENTRYPOINT nor CMD; name a program after the image")]
    NoCommand,
    /// The user cannot be told.
    #[error("unable to find user {user}")]
    User {
        /// As it was written.
        user: String,
        /// Why not.
        #[source]
        source: UserError,
    },
    /// Something that is asked for makes no sense.
    #[error("invalid {what}: {why}")]
    Invalid {
        /// What.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Something is asked for that there is not yet.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What.
        what: String,
    },
    /// The container's name is in use.
    #[error("the container name {name:?} is already in use{}", .holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default())]
    NameInUse {
        /// The name.
        name: String,
        /// By whom, if it is known.
        holder: Option<String>,
    },
    /// A mount's source is missing.
    #[error("invalid mount config for type \"bind\": bind source path does not exist: {}", path.display())]
    BindMissing {
        /// The path.
        path: PathBuf,
    },
    /// Its options cannot be made a process of.
    #[error("failed to prepare the process")]
    Profile(#[from] rbuild_sandbox::profile::ProfileError),
    /// Its cgroup could not be made.
    #[error("failed to limit the container")]
    Cgroup(#[from] rbuild_sandbox::cgroup::CgroupError),
    /// Its process could not be made.
    #[error("failed to start {command:?}")]
    Launch {
        /// The command as one text.
        command: String,
        /// Why.
        #[source]
        source: rbuild_sandbox::LaunchError,
    },
    /// Its process could not be waited for or cleaned up after.
    #[error("failed to wait for the container")]
    Wait(#[from] rbuild_sandbox::WaitError),
    /// Its tree could not be mounted.
    #[error("failed to mount the container's tree")]
    Mount(#[from] rbuild_sandbox::mounts::MountError),
    /// Its files could not be kept.
    #[error("failed to keep the container's files")]
    Snapshot(#[from] rbuild_snapshotter::Error),
    /// A tree could not be read or written.
    #[error(transparent)]
    Tree(#[from] rbuild_confined::Error),
    /// A volume could not be filled.
    #[error("failed to fill the volume {name}")]
    Fill {
        /// Its name.
        name: String,
        /// Why not.
        #[source]
        source: rbuild_snapshotter::copier::CopyError,
    },
    /// Its network could not be made.
    #[error("failed to set up the container's network")]
    Network(#[from] rbuild_network::error::Error),
    /// A port could not be had.
    #[error(transparent)]
    Port(#[from] rbuild_network::ports::PortError),
    /// A published port could not be carried.
    #[error(transparent)]
    Forward(#[from] rbuild_network::forward::ForwardError),
    /// What was named is no device, and no folder of devices.
    #[error("error gathering device information while adding custom device: `{}` is not a device node", path.display())]
    NotADevice {
        /// The path.
        path: PathBuf,
    },
    /// A file of ours failed.
    #[error("failed to {act} `{}`", path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// A file of the store failed.
    #[error(transparent)]
    File(#[from] rbuild_store::FileError),
    /// A lock failed.
    #[error(transparent)]
    Lock(#[from] rbuild_store::LockError),
}

impl RunError {
    /// Returns the exit status that docker gives for it: 127 for a program that does not exist, 126 for one that
    /// cannot be executed, 125 for all else.
    pub fn exit_status(&self) -> u8 {
        match self {
            Self::Launch { source, .. } => source.exit_status(),
            _ => 125,
        }
    }
}

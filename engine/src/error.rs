//! Why a container did not run.

use std::path::PathBuf;

use rbuild_confined::users::UserError;

/// Where a group is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupPlace {
    /// Behind a user: `user:group`.
    User,
    /// Among further groups.
    Further,
}

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
    /// A group cannot be told.
    #[error("unable to find group {group}")]
    Group {
        /// As it was written.
        group: String,
        /// Where it was written.
        place: GroupPlace,
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
    /// Its tree could not be mounted.
    #[error("failed to mount the container's tree")]
    Mount(#[from] rbuild_sandbox::mounts::MountError),
    /// Its files could not be kept.
    #[error("failed to keep the container's files")]
    Snapshot(#[from] rbuild_snapshotter::Error),
    /// A tree could not be read or written.
    #[error(transparent)]
    Tree(#[from] rbuild_confined::Error),
    /// Its network could not be made.
    #[error("failed to set up the container's network")]
    Network(#[from] rbuild_network::error::Error),
    /// The namespace that networks are made in could not be had.
    #[error("cannot find the network namespace of this user")]
    Place {
        /// Why not.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A device cannot be looked at.
    #[error("failed to look at the device `{}`", path.display())]
    DeviceAway {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// What was named is no device, and no folder of devices.
    #[error("error gathering device information while adding custom device \"{}\": not a device node", path.display())]
    NotADevice {
        /// The path.
        path: PathBuf,
    },
    /// There is nobody who has devices of the kind that is asked for.
    #[error("could not select device driver {driver:?} with capabilities: {}", docker_list(.capabilities))]
    NoDeviceDriver {
        /// Who was asked for.
        driver: String,
        /// What the devices are to do.
        capabilities: Vec<Vec<String>>,
    },
    /// No file says what devices of these names are.
    #[error("CDI device injection failed: unresolvable CDI devices {}{}", .names.join(", "), rbuild_devices::doubts(.problems))]
    UnknownDevices {
        /// The names.
        names: Vec<String>,
        /// What is wrong with files that may have them.
        problems: Vec<String>,
    },
    /// A device cannot be had.
    #[error(transparent)]
    Device(#[from] rbuild_devices::DeviceError),
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

/// Lists of lists as Docker writes them: `[[gpu compute]]`.
fn docker_list(lists: &[Vec<String>]) -> String {
    let lists: Vec<String> = lists.iter().map(|list| format!("[{}]", list.join(" "))).collect();
    format!("[{}]", lists.join(" "))
}

//! Why there is no plan.

use rbuild_model::project::{NetworkKey, ServiceName, VolumeKey};

use super::order::Cycle;

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Services depend on each other.
    #[error(transparent)]
    Cycle(#[from] Cycle),
    /// A service that was named is not in the project.
    #[error("no such service: {name}")]
    NoSuchService {
        /// The name.
        name: String,
    },
    /// Nothing is left to do anything with.
    #[error("no service selected")]
    NothingSelected,
    /// An external network is not there.
    #[error("network {name} declared as external, but could not be found")]
    ExternalNetwork {
        /// Its key in the project.
        key: NetworkKey,
        /// Its name.
        name: String,
    },
    /// A network is there that no project made.
    #[error(
        "network {name} was found but has incorrect label com.docker.compose.network set to \"\" (expected: \"{key}\")"
    )]
    UnlabelledNetwork {
        /// Its name.
        name: String,
        /// Its key in the project.
        key: NetworkKey,
    },
    /// An external volume is not there.
    #[error("external volume \"{name}\" not found")]
    ExternalVolume {
        /// Its key in the project.
        key: VolumeKey,
        /// Its name.
        name: String,
    },
    /// A network has to be made anew, and programs of `run` are in it: nothing would start them again.
    #[error(
        "network {name} has to be made anew, because its definition changed, and is used by {} of `run`: end it first",
        containers.join(", ")
    )]
    NetworkInUse {
        /// Its name.
        name: String,
        /// Those containers.
        containers: Vec<String>,
    },
    /// A volume has to be made anew, and containers would go with it that the plan does not make again.
    #[error(
        "volume \"{name}\" cannot be made anew while {} uses it: name its service too, or remove the container first",
        containers.join(", ")
    )]
    VolumeInUse {
        /// Its name.
        name: String,
        /// Those containers.
        containers: Vec<String>,
    },
    /// A container's fixed name cannot be given to several.
    #[error(
        "services.{service}: can't set container_name and {service} as container name must be unique: \
         {wanted} containers are wanted"
    )]
    NameNotUnique {
        /// The service.
        service: ServiceName,
        /// How many are wanted.
        wanted: u64,
    },
    /// More containers are wanted than there can be.
    #[error("service {service}: {wanted} containers are wanted, a service has at most {most}")]
    TooMany {
        /// The service.
        service: ServiceName,
        /// How many are wanted.
        wanted: u64,
        /// How many there can be.
        most: u64,
    },
    /// What a service shares with another is not there, and the other one is left alone.
    #[error(
        "service {service} shares with {parent}, which has no container; start it or leave --no-deps out"
    )]
    NoParent {
        /// The service.
        service: ServiceName,
        /// What it shares with.
        parent: ServiceName,
    },
}

impl PlanError {
    /// The way out, where the message does not say it.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::ExternalNetwork { name, .. } => Some(format!(
                "`rbuild network create {name}` makes it; without `external: true` the project makes its own"
            )),
            Self::ExternalVolume { name, .. } => Some(format!(
                "`rbuild volume create {name}` makes it; without `external: true` the project makes its own"
            )),
            Self::UnlabelledNetwork { name, .. } => Some(format!(
                "somebody else made it: `external: true` uses it as it is; another `name:`, or `rbuild network rm {name}`, \
                 gives the project its own"
            )),
            _ => None,
        }
    }

    /// The keys that lead to what it is about from the top of the project, where that says something of it.
    pub fn path(&self) -> Vec<String> {
        let path = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        match self {
            Self::ExternalNetwork { key, .. } | Self::UnlabelledNetwork { key, .. } => {
                path(&["networks", key.as_str()])
            }
            Self::ExternalVolume { key, .. } => path(&["volumes", key.as_str()]),
            Self::NameNotUnique { service, .. } => path(&["services", service.as_str(), "container_name"]),
            Self::TooMany { service, .. } => path(&["services", service.as_str(), "scale"]),
            Self::NoParent { service, .. } => path(&["services", service.as_str()]),
            Self::Cycle(_)
            | Self::NoSuchService { .. }
            | Self::NothingSelected
            | Self::NetworkInUse { .. }
            | Self::VolumeInUse { .. } => Vec::new(),
        }
    }
}

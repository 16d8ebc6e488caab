//! Why something could not be done with a network.

use rbuild_network::error::Error as LinkError;
use rbuild_network::hosts::HostNameError;
use rbuild_network::names::{IdError, NamesError};
use rbuild_network::ports::PortError;
use rbuild_store::DatabaseError;

/// Why something could not be done with a network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworksError {
    /// There is none of that name or id.
    #[error("network {0} not found")]
    NotFound(String),
    /// Several have ids that begin so.
    #[error("network {name} is ambiguous ({count} matches found on ID prefix)")]
    Ambiguous {
        /// What was given.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// There is one of that name.
    #[error("network with name {0} already exists")]
    Exists(String),
    /// A network that is there without being made can be neither made nor removed.
    #[error("{name} is a pre-defined network and cannot be {act}")]
    Predefined {
        /// Its name.
        name: String,
        /// What was tried.
        act: &'static str,
    },
    /// It is in use.
    #[error("error while removing network: network {name} has active endpoints ({})", endpoints.join(", "))]
    InUse {
        /// Its name.
        name: String,
        /// Its endpoints: names and ids.
        endpoints: Vec<String>,
    },
    /// What is asked for makes no sense.
    #[error("invalid network config:\n{}", .0.join("\n"))]
    Config(Vec<String>),
    /// The driver is not there.
    #[error(transparent)]
    Driver(#[from] rbuild_model::network::UnknownDriver),
    /// What is asked for an endpoint makes no sense.
    #[error("invalid config for network {network}: invalid endpoint settings:\n{}", mistakes.join("\n"))]
    Endpoint {
        /// Which network.
        network: String,
        /// What is wrong.
        mistakes: Vec<String>,
    },
    /// Some things do not go together.
    #[error("{0}")]
    Conflict(String),
    /// The container is there already.
    #[error("endpoint with name {container} already exists in network {network}")]
    Connected {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// The container is not there.
    #[error("container {container} is not connected to network {network}")]
    NotConnected {
        /// The container.
        container: String,
        /// The network.
        network: String,
    },
    /// Something is asked for that there is not yet.
    #[error("{0} is not supported yet")]
    Unsupported(String),
    /// No port of a range is free.
    #[error("all ports of the range {first}-{last}/{protocol} are already in use")]
    NoPort {
        /// The first of the range.
        first: u16,
        /// The last of the range.
        last: u16,
        /// Which protocol.
        protocol: &'static str,
        /// Why the last one could not be had.
        #[source]
        source: PortError,
    },
    /// A port could not be had.
    #[error(transparent)]
    Port(#[from] PortError),
    /// A name cannot stand in a file of names.
    #[error(transparent)]
    HostName(#[from] HostNameError),
    /// The kernel, or a file of ours.
    #[error("failed to set up the network {network}")]
    Link {
        /// Which network.
        network: String,
        /// Why.
        #[source]
        source: LinkError,
    },
    /// The place where networks are made cannot be reached.
    #[error(transparent)]
    Site(#[from] LinkError),
    /// The rows.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// A random number could not be had.
    #[error(transparent)]
    Store(#[from] rbuild_store::FileError),
}

impl From<NamesError> for NetworksError {
    fn from(error: NamesError) -> Self {
        Self::Site(error.into())
    }
}

impl From<IdError> for NetworksError {
    fn from(error: IdError) -> Self {
        Self::Site(error.into())
    }
}

impl NetworksError {
    /// Names the network in a failure of the crate below.
    pub(super) fn link(network: &str) -> impl FnOnce(LinkError) -> Self {
        let network = network.to_owned();
        move |source| Self::Link { network, source }
    }
}

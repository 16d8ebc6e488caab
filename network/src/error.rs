//! What can go wrong with a network.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::address::AddressRange;
use crate::driver::DriverKind;
use crate::firewall::FirewallError;
use crate::names::{EndpointId, IdError, NamesError, NetworkId};
use crate::netlink::socket::NetlinkError;

/// A file of the runtime folder, or of the kernel's settings, could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {act} {}", path.display())]
pub struct FileError {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl FileError {
    pub(crate) fn new(act: &'static str, path: &Path, source: io::Error) -> Self {
        Self { act, path: path.to_owned(), source }
    }

    /// Which kind of failure it was.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Why an act on a network failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The kernel refused.
    #[error("cannot {act}")]
    Kernel {
        /// What was being done.
        act: String,
        /// What the kernel said.
        source: NetlinkError,
    },
    /// The rights are missing.
    #[error("cannot {act}: the right to administer networks (CAP_NET_ADMIN) is missing")]
    NotPermitted {
        /// What was being done.
        act: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A network namespace could not be made.
    #[error("cannot make a network namespace")]
    Namespace {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not take a setting of a link.
    #[error("cannot set {setting} for the link {link} of the container")]
    Setting {
        /// Which one, with its value.
        setting: String,
        /// The link inside.
        link: String,
        /// What the kernel said; that there is no such file if it knows no such setting.
        source: io::Error,
    },
    /// The namespace that networks are made in was not found.
    #[error("cannot reach the network of containers")]
    Place {
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The name service of a container could not be made.
    #[error("cannot make the name service of a container")]
    NameService {
        /// What the kernel said.
        source: io::Error,
    },
    /// An id does not have the form of one.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A file could not be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file of a network could not be used.
    #[error(transparent)]
    Names(#[from] NamesError),
    /// The packet filter could not be set up.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
    /// All subnets of the pools overlap with something.
    #[error(
        "all predefined address pools have been fully subnetted: every range overlaps with a route or address of this host"
    )]
    PoolsExhausted,
    /// The subnet that was asked for is in use.
    #[error(
        "the subnet {subnet} overlaps with {used}, where a route or address of this host leads (`ip route` lists them)"
    )]
    SubnetInUse {
        /// What was asked for.
        subnet: String,
        /// What is in its way.
        used: AddressRange,
    },
    /// A part of the network lies elsewhere.
    #[error("invalid {what} {value}: the subnet {subnet} does not contain this address")]
    Outside {
        /// The gateway, the range, an auxiliary address.
        what: &'static str,
        /// What was asked for.
        value: String,
        /// Where it should lie.
        subnet: String,
    },
    /// The network exists and was made otherwise.
    #[error("the network {network} exists with the subnet {existing}, not {asked}")]
    SubnetDiffers {
        /// Which network.
        network: NetworkId,
        /// What it has.
        existing: String,
        /// What was asked for.
        asked: String,
    },
    /// A network cannot be removed while it is used.
    #[error("the network {network} has active endpoints: {}", endpoints.join(", "))]
    InUse {
        /// Which network.
        network: NetworkId,
        /// Who uses it.
        endpoints: Vec<String>,
    },
    /// There is no such network on this host.
    #[error("the network {network} is not set up on this host")]
    NotSetUp {
        /// Which network.
        network: NetworkId,
    },
    /// The network's bridge lacks.
    #[error("the bridge {bridge} of the network {network} was removed by someone else")]
    BridgeGone {
        /// Which network.
        network: NetworkId,
        /// Its bridge.
        bridge: String,
    },
    /// The name that was asked for its bridge cannot be had.
    #[error("the bridge of the network {network} cannot be called `{bridge}`: {reason}")]
    BridgeRefused {
        /// Which network.
        network: NetworkId,
        /// What was asked for.
        bridge: String,
        /// Why not.
        reason: String,
    },
    /// All addresses of the network are taken.
    #[error("no free address is left in {subnet} of the network {network}")]
    AddressesExhausted {
        /// Which network.
        network: NetworkId,
        /// Its subnet.
        subnet: String,
    },
    /// The address that was asked for cannot be had.
    #[error("the address {address} cannot be given to `{endpoint}` in {subnet}: {reason}")]
    AddressRefused {
        /// What was asked for.
        address: IpAddr,
        /// For whom.
        endpoint: EndpointId,
        /// The network's subnet.
        subnet: String,
        /// Why not.
        reason: String,
    },
    /// The endpoint is there already.
    #[error("the endpoint `{endpoint}` exists already in the network {network}")]
    EndpointExists {
        /// Which network.
        network: NetworkId,
        /// Which endpoint.
        endpoint: EndpointId,
    },
    /// The endpoint is not there.
    #[error("the endpoint `{endpoint}` is not in the network {network}")]
    NotAttached {
        /// Which network.
        network: NetworkId,
        /// Which endpoint.
        endpoint: EndpointId,
    },
    /// The driver has nothing of the kind.
    #[error("the network driver `{driver}` cannot {act}")]
    Unsupported {
        /// Which driver.
        driver: DriverKind,
        /// What was asked.
        act: &'static str,
    },
}

impl Error {
    pub(crate) fn kernel(act: impl Into<String>) -> impl FnOnce(NetlinkError) -> Self {
        let act = act.into();
        move |source| match source {
            NetlinkError::Refused { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Self::NotPermitted { act, source }
            }
            source => Self::Kernel { act, source },
        }
    }
}

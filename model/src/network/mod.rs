//! Networks as people define them, and what containers want of them.
//!
//! These are wishes: what a network or endpoint came to on this host is known by the crate that makes it.

mod definition;
mod endpoint;
mod mac;
mod mode;
mod port;

pub use definition::{AddressPool, Driver, Ipam, NetworkDefinition, Switch, UnknownDriver};
pub use endpoint::{EndpointSettings, EndpointWish};
pub use mac::{Mac, MacError};
pub use mode::NetworkMode;
pub use port::{HostPort, PortBinding, Protocol};

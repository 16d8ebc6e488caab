//! A stub resolver: the hosts file, then the name servers of `resolv.conf`.
//!
//! It asks for addresses of both families, follows the aliases within an answer, and repeats over TCP what did
//! not fit. Addresses that no registry has (link-local, multicast, unspecified) are left out, so that no name
//! leads to a service of the machine or of its cloud.

mod config;
mod message;
mod stub;

pub use stub::addresses_of;
pub(super) use stub::{Stub, is_forbidden};

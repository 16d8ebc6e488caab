//! The host's own network: nothing to make, nothing to attach, and no isolation.

use super::bare::Bare;
use crate::driver::{DriverKind, NamespaceNeed};

/// The driver `host`.
pub const HOST: Bare = Bare {
    kind: DriverKind::Host,
    namespace: NamespaceNeed::Host,
    no_addresses: "have addresses or published ports: its processes use those of the host",
};

//! No network: a namespace whose only link is the loopback.

use super::bare::Bare;
use crate::driver::{DriverKind, NamespaceNeed};

/// The driver `none`.
pub const NONE: Bare = Bare {
    kind: DriverKind::None,
    namespace: NamespaceNeed::Private,
    no_addresses: "have addresses or published ports: it leads nowhere",
};

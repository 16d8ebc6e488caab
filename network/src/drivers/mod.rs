//! The kinds of networks, one file each.

mod bare;
pub mod bridge;
pub mod host;
pub mod none;

use crate::driver::{DriverKind, NetworkDriver};

/// All kinds of networks.
pub const DRIVERS: &[&dyn NetworkDriver] = &[&bridge::Bridge, &host::HOST, &none::NONE];

/// The driver of a kind.
pub fn driver(kind: DriverKind) -> &'static dyn NetworkDriver {
    *DRIVERS.iter().find(|driver| driver.kind() == kind).expect("every kind has its driver in the list")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_driver() {
        for kind in [DriverKind::Bridge, DriverKind::Host, DriverKind::None] {
            assert_eq!(driver(kind).kind(), kind);
        }
        assert_eq!(DRIVERS.len(), 3);
    }
}

//! The root folder: layout, database, locks, leases, durability.

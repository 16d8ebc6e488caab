//! The values that every other crate speaks in.

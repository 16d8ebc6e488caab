//! Processes in isolation.

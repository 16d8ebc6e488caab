//! Networks of containers and steps.

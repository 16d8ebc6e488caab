//! The supervisor process of a container.

//! The Docker Engine API over the same store (its own milestone; nothing is served yet).
